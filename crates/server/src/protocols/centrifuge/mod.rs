//! `/connection/websocket`: sessions of the Centrifuge protocol, which unmodified SDKs speak.
//!
//! ```text
//!  frame ─▶ session.rs ─▶ commands, some at a time ─┬─▶ connect.rs      who it is
//!             │  ▲                                  ├─▶ subscribe.rs    rooms, recovery
//!             │  └─ rest of a frame, kept           ├─▶ publish.rs      messages (one-shot rooms: oneshot.rs)
//!             ▼                                     └─▶ questions.rs    history, presence
//!           replies of one step in one frame ◀───────── answers of the rooms (answers.rs)
//!
//!  rooms' messages ─▶ bodies.rs: one push for each form and core
//! ```
//!
//! What the protocol calls a channel is a room. Who may do what is decided by `access`, the same for every
//! transport; messages are read and written by the crate `centrifuge`.

mod answers;
mod bodies;
mod connect;
mod epoch;
mod local;
mod oneshot;
mod publish;
mod questions;
mod session;
mod subscribe;
mod subscriptions;

use std::sync::Arc;

use centrifuge::Encoding;
use codec::negotiate;
use runtime::{BodyForm, Lag, Pings};

pub use bodies::Bodies;
pub(super) use connect::told_of;
pub(crate) use local::check as check_local;
use session::CentrifugeSession;

use super::{Asked, Begun, Protocol, Refusal, Select, Started};
use crate::world::Openness;

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "centrifuge",
    select: Select::Path("/connection/websocket"),
    open,
};

fn open(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let Asked {
        request,
        world,
        live,
        ..
    } = asked;
    if world.settled.openness == Openness::Dev {
        check_local(request)?;
    }
    let subprotocol = negotiate(request, &["centrifuge-json", "centrifuge-protobuf"]);
    let query = request.query().unwrap_or_default();
    let asks_for = |parameter: &str| query.split('&').any(|it| it == parameter);
    let is_protobuf = subprotocol == Some("centrifuge-protobuf")
        || asks_for("cf_protocol=protobuf")
        || asks_for("format=protobuf");
    let encoding = match is_protobuf {
        true => Encoding::Protobuf,
        false => Encoding::Json,
    };
    // For people who try the protocol with a program that answers no pings of its own.
    let pings = match asks_for("cf_ws_frame_ping_pong=true") {
        true => Pings::Frames,
        false => Pings::Messages,
    };
    let session = CentrifugeSession::new(Arc::clone(live), encoding, pings);
    Ok(Begun::Now(Started {
        subprotocol,
        body: form(encoding, false),
        lag: Lag::Leave,
        pings,
        ..Started::new(session)
    }))
}

/// The form of the messages of a room that a subscriber gets.
fn form(encoding: Encoding, hears_members: bool) -> BodyForm {
    BodyForm(match (encoding, hears_members) {
        (Encoding::Json, false) => 1,
        (Encoding::Json, true) => 2,
        (Encoding::Protobuf, false) => 3,
        (Encoding::Protobuf, true) => 4,
    })
}

/// The encoding of a form, and whether its subscribers are told who comes and goes.
fn of_form(form: BodyForm) -> Option<(Encoding, bool)> {
    match form.0 {
        1 => Some((Encoding::Json, false)),
        2 => Some((Encoding::Json, true)),
        3 => Some((Encoding::Protobuf, false)),
        4 => Some((Encoding::Protobuf, true)),
        _ => None,
    }
}
