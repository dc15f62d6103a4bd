//! `/connection/...`: sessions of the Centrifuge protocol, which unmodified SDKs speak.
//!
//! ```text
//!  transports.rs: a WebSocket, or a stream with its first frame ──┐   emulation.rs: further frames for streams
//!                                                                 ▼        │
//!  frame ─▶ session.rs ─▶ commands, some at a time ─▶ state.rs ─┬─▶ connect.rs      who it is (granted.rs: its first rooms)
//!             │  ▲                                              ├─▶ subscribe.rs    rooms, recovery
//!             │  └─ rest of a frame, kept                       ├─▶ publish.rs      messages
//!             │                                                 ├─▶ questions.rs    history, presence
//!             ▼                                                 ├─▶ oneshot.rs      one-shot rooms
//!                                                               └─▶ hooks.rs        what back ends decide
//!           replies of one step in one frame ◀── answers.rs: answers of the rooms
//!           (wire.rs: as the transport has them)  events.rs: what else happens to it
//!                                                 orders.rs: what back ends have it do
//!
//!  rooms' messages ─▶ ../bodies.rs: one push for each form and core
//! ```
//!
//! What the protocol calls a channel is a room. Who may do what is decided by `access`, the same for every
//! transport; messages are read and written by the crate `centrifuge`.

mod answers;
mod connect;
mod emulation;
mod events;
mod granted;
mod hooks;
mod identity;
mod oneshot;
mod orders;
mod publish;
mod questions;
mod session;
mod state;
mod subscribe;
mod subscriptions;
mod term;
mod transports;
mod wire;

pub use emulation::InTransit;
pub(super) use identity::told_of;
pub(super) use wire::Wire;
pub(crate) use wire::data_of;

use super::{Asked, Begun, Protocol, Refusal, Select, Transport, epoch, local};
use crate::world::Openness;

pub(super) const WEBSOCKET: Protocol = Protocol {
    name: "centrifuge",
    select: Select::Path("/connection/websocket"),
    transport: Transport::WebSocket,
    open: |asked| open(asked, transports::websocket),
};

pub(super) const HTTP_STREAM: Protocol = Protocol {
    name: "centrifuge-http-stream",
    select: Select::Path("/connection/http_stream"),
    transport: Transport::Streams(&["POST"]),
    open: |asked| open(asked, transports::http_stream),
};

pub(super) const SSE: Protocol = Protocol {
    name: "centrifuge-sse",
    select: Select::Path("/connection/sse"),
    transport: Transport::Streams(&["GET", "POST"]),
    open: |asked| open(asked, transports::sse),
};

pub(super) const EMULATION: Protocol = Protocol {
    name: "centrifuge-emulation",
    select: Select::Path("/emulation"),
    transport: Transport::Answers(&["POST"]),
    open: |asked| open(asked, emulation::open),
};

pub(super) const UNI_WEBSOCKET: Protocol = Protocol {
    name: "centrifuge-uni-websocket",
    select: Select::Path("/connection/uni_websocket"),
    transport: Transport::WebSocket,
    open: |asked| open(asked, transports::uni_websocket),
};

pub(super) const UNI_HTTP_STREAM: Protocol = Protocol {
    name: "centrifuge-uni-http-stream",
    select: Select::Path("/connection/uni_http_stream"),
    transport: Transport::Streams(&["POST"]),
    open: |asked| open(asked, transports::uni_http_stream),
};

pub(super) const UNI_SSE: Protocol = Protocol {
    name: "centrifuge-uni-sse",
    select: Select::Path("/connection/uni_sse"),
    transport: Transport::Streams(&["GET", "POST"]),
    open: |asked| open(asked, transports::uni_sse),
};

fn open(
    asked: &Asked<'_>,
    over: fn(&Asked<'_>) -> Result<Begun, Refusal>,
) -> Result<Begun, Refusal> {
    if asked.world.settled.openness == Openness::Dev {
        local::check(asked.request)?;
    }
    over(asked)
}
