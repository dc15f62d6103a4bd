//! The table of protocols: what selects each protocol, and the session that it opens.
//!
//! To add a protocol, add one file beside these with its `PROTOCOL`, and one line in `TABLE`.
//!
//! ```text
//!  request ─▶ select ─▶ Asked ─▶ its protocol's `open` ─┬─▶ Started: a session, by its Way
//!                                                      ├─▶ AtCost: the same, after a signature
//!                                                      ├─▶ Body: the request's body decides
//!                                                      └─▶ Answer, or a Refusal
//! ```

use std::{borrow::Cow, sync::Arc};

use codec::{Request, negotiate};
use hub::{NameError, RoomName, Terms};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use runtime::{
    Answer, AtCost, BodyForm, KeepAlive, Lag, Opening, Pings, Refused, Route, Session, Streaming,
    TakeBody, TakeBodyFrom, Taken,
};

use self::http::Cors;
use crate::world::{Live, World};

mod bodies;
mod centrifuge;
mod echo;
mod epoch;
mod http;
mod local;
mod lws_minimal;
mod oneshot;
mod raw;
mod room;

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
pub use self::raw::ignored as parameters_ignored;

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

/// What becomes of a request that is not refused at once.
enum Begun {
    /// A session.
    Now(Started),
    /// A token is to be verified first.
    AtCost(Later),
    /// Its body decides.
    Body(TakeBody),
    /// Whose it is decides.
    BodyFrom(TakeBodyFrom),
}

/// Opens a session after costly work, or refuses it.
struct Later {
    open: Box<dyn FnOnce() -> Result<Started, Refusal>>,
    /// Bytes that are kept until then.
    held_bytes: usize,
}

/// A session, and what it begins with.
struct Started {
    session: Box<dyn Session>,
    /// Its room, if it has one.
    room: Option<RoomName>,
    /// What else it wants of that room.
    terms: Option<Box<Terms>>,
    body: BodyForm,
    lag: Lag,
    way: Way,
}

/// How the messages of a session travel.
enum Way {
    /// A WebSocket.
    WebSocket {
        /// The subprotocol that the 101 names.
        subprotocol: Option<&'static str>,
        pings: Pings,
    },
    /// An answer over HTTP that lasts.
    Stream {
        fields: http::Fields,
        keep_alive: KeepAlive,
    },
}

/// Why a session is not opened.
pub enum Refusal {
    /// The path has no good name for a room.
    Name(NameError),
    /// The key of its token is yet to come.
    TokenKey,
    /// The request cannot be understood: the status, and a sentence for people.
    Request(u16, &'static str),
    /// Something else: the status, a sentence for people, and what the end is counted for.
    Other(u16, String, Refused),
}

impl Refusal {
    /// The answer over HTTP.
    pub fn answer(self) -> Answer {
        match self {
            Self::Name(error) => {
                Answer::text(404, &format!("{error}.")).refusing(Refused::RoomName)
            }
            Self::TokenKey => {
                let sentence = "The token's key is not known yet; try again in a moment.";
                let answer = Answer::text(503, sentence).refusing(Refused::TokenKey);
                answer.with("Retry-After", "1")
            }
            Self::Request(status, sentence) => Answer::text(status, sentence),
            Self::Other(status, sentence, refused) => {
                Answer::text(status, &sentence).refusing(refused)
            }
        }
    }
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

    /// Opens the session, or says why not.
    pub fn route(&self) -> Route {
        if let Some(answer) = self.of_other_method() {
            return Route::Answer(answer);
        }
        let name = self.protocol.name;
        match (self.protocol.open)(self) {
            Ok(Begun::Now(started)) => match started.opens(name) {
                Opens::WebSocket(opening) => Route::Open(opening),
                Opens::Stream(streaming) => Route::Stream(streaming),
            },
            Ok(Begun::AtCost(later)) => self.later(later),
            Ok(Begun::Body(take)) => Route::Body(take),
            Ok(Begun::BodyFrom(take)) => Route::BodyFrom(take),
            Err(refusal) => Route::Answer(match self.protocol.transport {
                Transport::WebSocket => refusal.answer(),
                Transport::Streams(_) | Transport::Answers(_) => {
                    self.cors().add_to(refusal.answer())
                }
            }),
        }
    }

    /// Opens the session after costly work, or says why not.
    fn later(&self, later: Later) -> Route {
        let name = self.protocol.name;
        let Later { open, held_bytes } = later;
        match self.protocol.transport {
            Transport::WebSocket => Route::OpenAtCost(AtCost {
                decide: Box::new(move || match open().map(|started| started.opens(name)) {
                    Ok(Opens::WebSocket(opening)) => Ok(opening),
                    Ok(Opens::Stream(_)) => Err(Answer::text(500, "No WebSocket opens.")),
                    Err(refusal) => Err(refusal.answer()),
                }),
                held_bytes,
            }),
            Transport::Streams(_) | Transport::Answers(_) => {
                let cors = self.cors();
                Route::StreamAtCost(AtCost {
                    decide: Box::new(move || match open().map(|started| started.opens(name)) {
                        Ok(Opens::Stream(streaming)) => Ok(streaming),
                        Ok(Opens::WebSocket(_)) => Err(Answer::text(500, "No stream opens.")),
                        Err(refusal) => Err(cors.add_to(refusal.answer())),
                    }),
                    held_bytes,
                })
            }
        }
    }
}

/// What opens.
enum Opens {
    WebSocket(Opening),
    Stream(Streaming),
}

impl Started {
    fn opens(self, protocol: &'static str) -> Opens {
        let Self {
            session,
            room,
            terms,
            body,
            lag,
            way,
        } = self;
        match way {
            Way::WebSocket { subprotocol, pings } => Opens::WebSocket(Opening {
                protocol,
                subprotocol,
                room,
                terms,
                body,
                lag,
                pings,
                session,
            }),
            Way::Stream { fields, keep_alive } => Opens::Stream(Streaming {
                protocol,
                status: 200,
                fields,
                room,
                terms,
                body,
                lag,
                keep_alive,
                session,
            }),
        }
    }

    /// The stream that a request's body has come to.
    fn taken(self, protocol: &'static str) -> Taken {
        match self.opens(protocol) {
            Opens::Stream(streaming) => Taken::Stream(Box::new(streaming)),
            Opens::WebSocket(_) => Taken::Answer(Answer::text(500, "No stream opens.")),
        }
    }

    /// A session in no room, over a WebSocket without a subprotocol.
    fn new(session: impl Session + 'static) -> Self {
        Self {
            session: Box::new(session),
            room: None,
            terms: None,
            body: BodyForm::RAW,
            lag: Lag::Close,
            way: Way::WebSocket {
                subprotocol: None,
                pings: Pings::Frames,
            },
        }
    }
}

/// What the log and operators may see of a name that is secret: its first six characters.
pub fn shown_name(name: &str) -> Cow<'_, str> {
    match begin(name) {
        None => name.into(),
        Some(begin) => format!("{begin}...").into(),
    }
}

/// The first six characters of a name, if it has more.
fn begin(name: &str) -> Option<&str> {
    const NAME_CHARACTERS_MAX: usize = 6;
    let (end, _) = name.char_indices().nth(NAME_CHARACTERS_MAX)?;
    Some(&name[..end])
}

/// The part of a path that the log may show. Of a path that contains a name, such as a room's, that is
/// only the first six characters of the name, because a secret name may be what grants access.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let mut prefixes = TABLE.iter().filter_map(|protocol| match protocol.select {
        Select::PathPrefix(prefix) => Some((prefix, path.strip_prefix(prefix)?)),
        Select::Path(_) | Select::PathBetween(..) | Select::Subprotocol(_) => None,
    });
    let Some((prefix, rest)) = prefixes.next() else {
        return path.into();
    };
    let name = percent_decode_str(rest).decode_utf8_lossy();
    match begin(&name) {
        None => path.into(),
        Some(begin) => {
            let begin = utf8_percent_encode(begin, ESCAPED);
            format!("{prefix}{begin}...").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_shown_with_no_more_than_six_characters_of_a_rooms_name() {
        for (path, expected) in [
            ("/", "/"),
            ("/echo", "/echo"),
            ("/eecho-and-more", "/eecho-and-more"),
            ("/rooms", "/rooms"),
            ("/rooms/", "/rooms/"),
            ("/rooms/sesame", "/rooms/sesame"),
            ("/rooms/%73%65same", "/rooms/%73%65same"),
            ("/rooms/sesame!", "/rooms/sesame..."),
            ("/rooms/open/sesame", "/rooms/open%2Fs..."),
            ("/rooms/sesame!/sse", "/rooms/sesame..."),
            ("/rooms/open/sse", "/rooms/open%2Fs..."),
            (
                "/rooms/%C3%A4%C3%B6%C3%BC123456",
                "/rooms/%C3%A4%C3%B6%C3%BC123...",
            ),
            ("/rooms/a%0Ab%22%FFcdefg", "/rooms/a%0Ab%22%EF%BF%BDc..."),
        ] {
            assert_eq!(shown_path(path), expected, "{path}");
        }
    }
}
