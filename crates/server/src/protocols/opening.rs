//! From what a protocol has decided of a request to what the runtime does with it: a session opens, at once or
//! after costly work, the request's body is awaited, or it is answered.

use hub::{NameError, RoomName, Terms};
use runtime::{
    Answer, AtCost, BodyForm, KeepAlive, Lag, Opening, Pings, Refused, Route, Session, Streaming,
    TakeBody, TakeBodyFrom, Taken,
};

use super::{Asked, Transport, http, witnessed::Whose};

/// What becomes of a request that is not refused at once.
pub enum Begun {
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
pub struct Later {
    pub open: Box<dyn FnOnce() -> Result<Started, Refusal>>,
    /// Bytes that are kept until then.
    pub held_bytes: usize,
}

/// A session, and what it begins with.
pub struct Started {
    pub session: Box<dyn Session>,
    /// Its room, if it has one.
    pub room: Option<RoomName>,
    /// What else it wants of that room.
    pub terms: Option<Box<Terms>>,
    pub body: BodyForm,
    pub lag: Lag,
    pub head: Head,
    /// Whose it is, if somebody wants to know what happens to it and it does not tell that itself.
    pub whose: Option<Whose>,
}

/// The head of the answer with which a session opens.
pub enum Head {
    /// The 101 of a WebSocket.
    WebSocket {
        /// The subprotocol that the 101 names.
        subprotocol: Option<&'static str>,
        pings: Pings,
    },
    /// That of an answer over HTTP that lasts.
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

impl Asked<'_> {
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
        let open = move || open().map(|started| started.opens(name));
        match self.protocol.transport {
            Transport::WebSocket => Route::OpenAtCost(AtCost {
                decide: Box::new(move || open().map_err(Refusal::answer)?.web_socket()),
                held_bytes,
            }),
            Transport::Streams(_) | Transport::Answers(_) => {
                let cors = self.cors();
                let refused = move |refusal: Refusal| cors.add_to(refusal.answer());
                Route::StreamAtCost(AtCost {
                    decide: Box::new(move || open().map_err(refused)?.stream()),
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

impl Opens {
    fn web_socket(self) -> Result<Opening, Answer> {
        match self {
            Self::WebSocket(opening) => Ok(opening),
            Self::Stream(_) => Err(Answer::text(500, "No WebSocket opens.")),
        }
    }

    fn stream(self) -> Result<Streaming, Answer> {
        match self {
            Self::Stream(streaming) => Ok(streaming),
            Self::WebSocket(_) => Err(Answer::text(500, "No stream opens.")),
        }
    }
}

impl Started {
    fn opens(self, protocol: &'static str) -> Opens {
        let Self {
            session,
            room,
            terms,
            body,
            lag,
            head,
            whose,
        } = self;
        let session = match whose {
            Some(whose) => whose.witness(session, protocol),
            None => session,
        };
        match head {
            Head::WebSocket { subprotocol, pings } => Opens::WebSocket(Opening {
                protocol,
                subprotocol,
                room,
                terms,
                body,
                lag,
                pings,
                session,
            }),
            Head::Stream { fields, keep_alive } => Opens::Stream(Streaming {
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
    pub fn taken(self, protocol: &'static str) -> Taken {
        match self.opens(protocol).stream() {
            Ok(streaming) => Taken::Stream(Box::new(streaming)),
            Err(answer) => Taken::Answer(answer),
        }
    }

    /// A session in no room, over a WebSocket without a subprotocol.
    pub fn new(session: impl Session + 'static) -> Self {
        Self {
            session: Box::new(session),
            room: None,
            terms: None,
            body: BodyForm::RAW,
            lag: Lag::Close,
            head: Head::WebSocket {
                subprotocol: None,
                pings: Pings::Frames,
            },
            whose: None,
        }
    }
}
