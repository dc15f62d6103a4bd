//! What an application gives the runtime: a route for each request, and what opens or is answered by it.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use codec::Request;
use hub::{Occupancy, RoomName, RuleBook, Terms};

use super::{KeepAlive, Lag, Pings, Session};
use crate::{
    encoding::{BodyEncoder, BodyForm},
    end::Refused,
    rooms::BatchInterval,
};

/// The application: shared by all cores.
pub trait Application: Send + Sync + 'static {
    /// Decides what becomes of a request. A route to a session is a promise to upgrade; the
    /// runtime still refuses a request that is no valid upgrade (RFC 6455 section 4.2.1).
    fn route(&self, request: &Request<'_>) -> Route;

    /// What the log may show of a request's path: by default all of it, without its query. Here an
    /// application leaves out what is nobody else's business. The log cuts it, if it is long.
    fn shown_path<'a>(&self, request: &Request<'a>) -> Cow<'a, str> {
        request.path().into()
    }

    /// The names that [`Opening::protocol`] can have, at most 255: connections are counted by them.
    fn protocols(&self) -> Vec<&'static str>;

    /// Encodes the bodies of the forms that sessions ask for in [`Opening::body`]. Without it every
    /// form is [`BodyForm::RAW`].
    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        None
    }

    /// What each room keeps beside its order. Without it no room keeps anything.
    fn rules(&self) -> Arc<dyn RuleBook> {
        Arc::new(hub::NoRules::default())
    }

    /// Who is told which rooms are occupied, if anybody is. Asked once, at start.
    fn occupancy(&self) -> Option<Arc<dyn Occupancy>> {
        None
    }

    /// For how long the messages of this room are gathered on each core before they leave together, in one frame
    /// where their form [permits it](BodyEncoder::gathers). `None`, as without it: each leaves at once. Asked once
    /// for each room on a core, and again behind each new configuration.
    fn batch_interval(&self, _room: &RoomName) -> Option<BatchInterval> {
        None
    }
}

/// What becomes of a request.
pub enum Route {
    /// Upgrade it to a WebSocket with this session.
    Open(Opening),
    /// Upgrade it to a WebSocket, where it takes a signature or other costly work to say with which session, or
    /// that there is to be none. The upgrade is checked before that work.
    OpenAtCost(AtCost<Opening>),
    /// Answer it over HTTP with a stream that lasts for as long as this session.
    Stream(Streaming),
    /// Answer it with a stream, where it takes costly work to say with which, or that there is to be none.
    StreamAtCost(AtCost<Streaming>),
    /// Take its body, and make the answer or the stream of that. Every other route refuses a request with a
    /// body.
    Body(TakeBody),
    /// Take its body, where the answer also depends on whose request it is.
    BodyFrom(TakeBodyFrom),
    /// Answer it over HTTP.
    Answer(Answer),
}

/// Says what becomes of a request by its whole body, which is empty if the request has none. What is
/// needed of the head is to be kept in the closure.
///
/// A body longer than [`Limits::body_bytes_max`](codec::Limits::body_bytes_max) is answered 413 before
/// any of it is read, and one that is not whole within [`Timeouts::message`](crate::Timeouts::message)
/// after its head is answered 408: then this is not called.
pub type TakeBody = Box<dyn FnOnce(&[u8]) -> Taken>;

/// What becomes of a request whose body was taken.
pub enum Taken {
    /// It is answered.
    Answer(Answer),
    /// It is answered with a stream that lasts for as long as this session.
    Stream(Box<Streaming>),
}

/// As [`TakeBody`], with the client's address: the peer's, or the one that a trusted proxy has told.
pub type TakeBodyFrom = Box<dyn FnOnce(SocketAddr, &[u8]) -> Taken>;

/// A session about to open.
pub struct Opening {
    /// Its entry's name in the application's table, for logs.
    pub protocol: &'static str,
    /// The subprotocol that the 101 names.
    pub subprotocol: Option<&'static str>,
    /// The room that it is in from the start: the 101 leaves when its home has ordered the join.
    pub room: Option<RoomName>,
    /// What else it wants of that room.
    pub terms: Option<Box<Terms>>,
    /// In which form it gets the messages of its rooms.
    pub body: BodyForm,
    /// What happens when it does not read as fast as its rooms speak.
    pub lag: Lag,
    /// Who keeps the connection alive.
    pub pings: Pings,
    /// The session.
    pub session: Box<dyn Session>,
}

/// A session about to open of which more is known only after costly work. That is done in the part of a turn that
/// is meant for it, so that many of them keep nobody waiting; whoever has waited for longer than a handshake may
/// take is refused without it. Nothing is kept to compress what is sent to such a session.
pub struct AtCost<T> {
    /// Says which session opens, or what is answered instead.
    pub decide: Box<dyn FnOnce() -> Result<T, Answer>>,
    /// Bytes of memory that are kept until then; they count as unfinished.
    pub held_bytes: usize,
}

/// A session about to open whose messages are the body of an HTTP answer, as for server-sent events.
///
/// It has the queue, the bounds, the drain and the one reason for its end that a WebSocket has. What its
/// [`Outlet`](super::Outlet) and its rooms send are pieces of the body: one chunk each, or the bare bytes for a
/// peer that speaks HTTP/1.0. So what separates one message from the next is up to the application.
///
/// The peer has nothing more to say: whatever it sends behind its request is read and ignored, so that
/// the end of its stream is noticed, and with that the session ends.
///
/// The last chunk is sent if the session closes, the server drains or the connection reaches its age. If
/// messages may be missing it is left out, and over HTTP/1.0 the connection is reset, so that the peer
/// does not take what it has for the whole.
pub struct Streaming {
    /// Its entry's name in the application's table, for logs.
    pub protocol: &'static str,
    /// The status code, of those that have a body. An answer to HEAD has the same head and nothing else,
    /// and its session is not opened; that is also so for 204 and 304.
    pub status: u16,
    /// Header fields other than `Transfer-Encoding`, `Connection` and `Date`.
    pub fields: Vec<(&'static str, String)>,
    /// The room that it is in from the start: the head leaves when its home has ordered the join.
    pub room: Option<RoomName>,
    /// What else it wants of that room.
    pub terms: Option<Box<Terms>>,
    /// In which form it gets the messages of its rooms.
    pub body: BodyForm,
    /// What happens when it does not read as fast as its rooms speak.
    pub lag: Lag,
    /// What keeps it alive.
    pub keep_alive: KeepAlive,
    /// The session. Its [`receive`](Session::receive) is never called.
    pub session: Box<dyn Session>,
}

/// An HTTP answer. The connection closes after it, unless it is kept.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields other than `Content-Length`, `Connection` and `Date`.
    pub fields: Vec<(&'static str, String)>,
    /// The body that a GET would get. In an answer to HEAD, and with a status that has no body (304),
    /// the runtime tells its length alone.
    pub body: Bytes,
    /// Why this is not what was asked for, if it is not: what the end of the connection is counted
    /// and logged for.
    pub refused: Option<Refused>,
    /// Whether another request may follow on the connection, if its peer speaks HTTP/1.1 and wants that:
    /// for [`Timeouts::handshake`](crate::Timeouts::handshake), then the connection ends. It is not kept
    /// in a drain, nor where proxies name their clients in requests, because the next may be somebody
    /// else's.
    pub keep: bool,
}

impl Answer {
    /// A status with a line of text for people.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            fields: vec![("Content-Type", "text/plain; charset=utf-8".into())],
            body: Bytes::from(format!("{text}\n")),
            refused: None,
            keep: false,
        }
    }

    /// Keeps the connection for another request.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Says that the request is refused, and why.
    #[must_use]
    pub fn refusing(mut self, why: Refused) -> Self {
        self.refused = Some(why);
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }
}
