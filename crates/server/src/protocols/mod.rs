//! The table of protocols: what selects each protocol, and the session that it opens.
//!
//! To add a protocol, add one file beside these with its `PROTOCOL`, its `mod` line, and one line in `TABLE`.
//!
//! ```text
//!  request ─▶ select ─▶ Asked ─▶ its protocol's `open` ─┬─▶ Started: a session, and the answer's Head
//!                                                      ├─▶ AtCost: the same, after a signature
//!                                                      ├─▶ Body: the request's body decides
//!                                                      └─▶ Answer, or a Refusal
//! ```

use std::sync::Arc;

use codec::{Request, negotiate};
use runtime::Answer;

use self::{
    http::Cors,
    opening::{Begun, Head, Later, Refusal, Started},
};
use crate::world::{Live, World};

mod bodies;
mod centrifuge;
mod echo;
mod epoch;
mod http;
mod local;
mod lws_minimal;
mod oneshot;
mod opening;
mod raw;
mod room;
mod shown;
mod witnessed;

/// All protocols. A path takes precedence over a subprotocol, and earlier entries over later.
const TABLE: &[Protocol] = &[
    echo::PROTOCOL,
    room::EVENTS,
    room::PROTOCOL,
    centrifuge::WEBSOCKET,
    centrifuge::HTTP_STREAM,
    centrifuge::SSE,
    centrifuge::EMULATION,
    centrifuge::UNI_WEBSOCKET,
    centrifuge::UNI_HTTP_STREAM,
    centrifuge::UNI_SSE,
    oneshot::PROTOCOL,
    lws_minimal::PROTOCOL,
];

/// Beginnings of the targets of requests that have in their query what others have in a body.
pub const LONG_TARGETS: &[&str] = &["/connection/sse?", "/connection/uni_sse?"];

pub use self::bodies::Bodies;
pub use self::centrifuge::InTransit;
pub(crate) use self::centrifuge::data_of;
pub use self::epoch::{named as epoch_named, text as epoch_text};
pub use self::local::is_loopback as is_of_this_machine;
pub use self::raw::ignored as parameters_ignored;
pub use self::shown::{shown_name, shown_path};

/// An application protocol.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Its name, for logs.
    name: &'static str,
    /// What selects it.
    select: Select,
    /// What carries it.
    transport: Transport,
    /// Opens its session.
    open: fn(&Asked<'_>) -> Result<Begun, Refusal>,
}

/// What carries a protocol.
#[derive(Clone, Copy, Debug)]
enum Transport {
    /// A WebSocket.
    WebSocket,
    /// Answers over HTTP that last, to requests with one of these methods.
    Streams(&'static [&'static str]),
    /// Answers over HTTP, to requests with one of these methods; no session opens.
    Answers(&'static [&'static str]),
}

/// What selects a protocol, and the text that its session is opened with.
#[derive(Clone, Copy, Debug)]
enum Select {
    /// Exactly this path; the session is opened with "".
    Path(&'static str),
    /// A path with this prefix; the session is opened with the rest, as it stands in the request.
    PathPrefix(&'static str),
    /// A path with this prefix and this ending, in a request that does not want another protocol; the session is
    /// opened with what lies between.
    PathBetween(&'static str, &'static str),
    /// One of these subprotocols, in order of preference, on a path that no other entry has. The
    /// session is opened with the chosen subprotocol, which the 101 names.
    Subprotocol(&'static [&'static str]),
}

/// A request for a protocol.
pub struct Asked<'a> {
    protocol: &'static Protocol,
    request: &'a Request<'a>,
    /// What [`Select`] found.
    text: &'a str,
    world: &'a World,
    live: &'a Arc<Live>,
    /// Whether pages of all origins are permitted.
    accepts_any_origin: bool,
}

/// The names of all protocols.
pub fn names() -> Vec<&'static str> {
    let opens = |it: &&Protocol| !matches!(it.transport, Transport::Answers(_));
    TABLE.iter().filter(opens).map(|it| it.name).collect()
}

/// Finds the protocol that a request asks for. `None` means that the site answers the request.
pub fn select<'a>(
    request: &'a Request<'a>,
    world: &'a World,
    live: &'a Arc<Live>,
    accepts_any_origin: bool,
) -> Option<Asked<'a>> {
    let asked = |protocol, text| Asked {
        protocol,
        request,
        text,
        world,
        live,
        accepts_any_origin,
    };
    let by_path = TABLE.iter().find_map(|protocol| {
        let rest = match protocol.select {
            Select::Path(path) => (request.path() == path).then_some("")?,
            Select::PathPrefix(prefix) => request.path().strip_prefix(prefix)?,
            Select::PathBetween(..) if request.wants_upgrade() => return None,
            Select::PathBetween(prefix, ending) => {
                let rest = request.path().strip_prefix(prefix)?;
                rest.strip_suffix(ending)?
            }
            Select::Subprotocol(_) => return None,
        };
        Some(asked(protocol, rest))
    });
    if by_path.is_some() || !request.wants_upgrade() {
        return by_path;
    }
    TABLE.iter().find_map(|protocol| match protocol.select {
        Select::Subprotocol(names) => Some(asked(protocol, negotiate(request, names)?)),
        Select::Path(_) | Select::PathPrefix(_) | Select::PathBetween(..) => None,
    })
}

impl Asked<'_> {
    /// Whether a page's Origin matters for it: it does for everything that is more than a page.
    pub fn is_for_permitted_origins(&self) -> bool {
        self.request.wants_upgrade() || !matches!(self.protocol.transport, Transport::WebSocket)
    }

    /// What the Origin, which is permitted, comes to in the fields of an answer.
    fn cors(&self) -> Cors {
        Cors::of(self.request, self.accepts_any_origin)
    }

    /// The answer to a method that a protocol over HTTP does not take, or that asks which it takes.
    fn of_other_method(&self) -> Option<Answer> {
        let (Transport::Streams(methods) | Transport::Answers(methods)) = self.protocol.transport
        else {
            return None;
        };
        match self.request.method() {
            "OPTIONS" => Some(self.cors().preflight(self.request, methods)),
            "HEAD" if methods.contains(&"GET") => None,
            method if methods.contains(&method) => None,
            _ => Some(self.cors().method_not_allowed(methods)),
        }
    }
}
