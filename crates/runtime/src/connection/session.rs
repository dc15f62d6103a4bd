//! What an application gives the runtime: a route for each request, a session for each connection.
//!
//! A session is the application protocol of one connection. It does no I/O and never blocks: it is
//! handed each message, and each answer of the rooms, and says through its [`Outlet`] what follows.

use std::{any::Any, borrow::Cow, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use codec::{CloseCode, Message, Request};
use hub::{
    Answer as RoomAnswer, JoinRefusal, LossReason, Position, PublishRefusal, Recovered, RoomName,
    RuleBook, Terms,
};

use super::Outlet;
use crate::{
    encoding::{BodyEncoder, BodyForm},
    end::{EndReason, Refused},
    rooms::{BatchInterval, Ticket},
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
    /// The same, where it takes a signature or other costly work to say which session, or that none is to be.
    /// The upgrade is checked before that work.
    OpenAtCost(AtCost<Opening>),
    /// Answer it over HTTP with a stream that lasts for as long as this session.
    Stream(Streaming),
    /// The same, where it takes costly work to say which, or that none is to be.
    StreamAtCost(AtCost<Streaming>),
    /// Take its body, and make the answer or the stream of that. Every other route refuses a request with a
    /// body.
    Body(TakeBody),
    /// The same, where the answer depends on whose request it is.
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

/// Who keeps a connection alive, at each [`Timeouts::ping_interval`](crate::Timeouts::ping_interval).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pings {
    /// The runtime, with a WebSocket's ping (RFC 6455 section 5.5.2).
    #[default]
    Frames,
    /// The session, with a message of its own ([`Session::ping`]); it says when that was answered
    /// ([`Outlet::ponged`]).
    Messages,
}

/// A session about to open whose messages are the body of an HTTP answer, as for server-sent events.
///
/// It has the queue, the bounds, the drain and the one reason for its end that a WebSocket has. What its
/// [`Outlet`] and its rooms send are pieces of the body: one chunk each, or the bare bytes for a peer that
/// speaks HTTP/1.0. So what separates one message from the next is up to the application.
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

/// What is sent on a stream at each [`Timeouts::ping_interval`](crate::Timeouts::ping_interval), so that nobody
/// on the way takes the connection for dead and a peer that has gone is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeepAlive {
    /// Nothing.
    #[default]
    Nothing,
    /// These bytes, which nobody answers; none are nothing.
    Bytes(Bytes),
    /// A message of the session's own ([`Session::ping`]), which the peer answers over another connection: see
    /// [`Pings::Messages`].
    Messages,
}

/// What happens to a connection for which more waits than [`Config::send_queue_bytes_max`] allows.
///
/// [`Config::send_queue_bytes_max`]: crate::Config::send_queue_bytes_max
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lag {
    /// It is closed with 1013.
    #[default]
    Close,
    /// It leaves the room in which it is the furthest behind, and its session is handed
    /// [`SessionEvent::Left`].
    Leave,
    /// It is not sent what it has missed of that room, and its session is handed
    /// [`SessionEvent::Skipped`].
    Skip,
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

/// One connection's application protocol.
pub trait Session {
    /// The connection is open, and in its first room if it has one. What is sent here comes before
    /// everything else.
    fn opened(&mut self, _outlet: &mut Outlet<'_>) {}

    /// A whole message has come. Text is valid UTF-8.
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>);

    /// The session was not done with what it was handed ([`Outlet::go_on_later`]), and it is its turn again.
    /// Until it is done it is handed no message.
    fn go_on(&mut self, _outlet: &mut Outlet<'_>) {}

    /// Whether it bounds by itself how often its peer may send messages, because one may have many commands;
    /// otherwise the runtime does ([`Config::message_rate`](crate::Config::message_rate)).
    fn counts_messages(&self) -> bool {
        false
    }

    /// Bytes of memory that it keeps of what it is not done with; they count as unfinished.
    fn held_bytes(&self) -> usize {
        0
    }

    /// What happens when the connection is the furthest behind in this room, where that differs from what its
    /// [`Opening`] says.
    fn lag(&self, _room: Ticket) -> Option<Lag> {
        None
    }

    /// The peer is to be asked for a sign of life: see [`Pings::Messages`].
    fn ping(&mut self, _outlet: &mut Outlet<'_>) {}

    /// The code and the text of the close frame that tells the peer of this end, where the session's own
    /// protocol has other ones than [`EndReason::explained`].
    fn close_code(&self, _reason: &EndReason) -> Option<(CloseCode, &'static str)> {
        None
    }

    /// What a stream says behind everything else, because its protocol tells of this end so; a stream has no
    /// close frame. It is not asked for an end at which nothing can be sent any more.
    fn last_words(&mut self, _reason: &EndReason) -> Option<Bytes> {
        None
    }

    /// Something else has happened. By default a room or a publication that is lost closes the
    /// connection, and everything else is ignored.
    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        outlet.close_for(&event);
    }

    /// The connection is over.
    fn closed(&mut self) {}
}

/// What a session learns besides messages of its peer.
pub enum SessionEvent {
    /// The connection is in the room that it asked for with this ticket, and has every message after
    /// `position`. Of the room in which it was opened that is said only if something of the room's past was asked
    /// for ([`Terms::recover`]), behind [`Session::opened`]: otherwise the head of the answer says it all.
    Joined {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// The position of the room's latest message before the join.
        position: Position,
        /// What is given of the room's past, if that was asked for.
        recovered: Option<Recovered>,
    },
    /// The room was not joined.
    JoinRefused {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// Why.
        reason: JoinRefusal,
    },
    /// The connection is in that room no longer, though it did not ask for that.
    Left {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// Why.
        reason: LeftReason,
    },
    /// The connection was too far behind in that room ([`Lag::Skip`]): it misses messages.
    Skipped {
        /// The ticket of [`Outlet::join`].
        room: Ticket,
        /// How many; those who come and go count, too, where the connection would have been told of them. 0 if
        /// it had the beginning of the latest message, whose rest it gets.
        messages: u64,
    },
    /// The publication has its place in the room's order.
    Published {
        /// The ticket of [`Outlet::publish`] or [`Outlet::publish_to`].
        publication: Ticket,
        /// Where.
        position: Position,
    },
    /// The publication was not delivered to anybody.
    Unpublished {
        /// The ticket of [`Outlet::publish`] or [`Outlet::publish_to`].
        publication: Ticket,
        /// Why.
        reason: PublishRefusal,
    },
    /// A question about a room is answered.
    Answered {
        /// The ticket of [`Outlet::ask_about`].
        question: Ticket,
        /// The answer.
        answer: RoomAnswer,
    },
    /// A command has had the connection ask for this room; the answer follows.
    Joining {
        /// The ticket, as of [`Outlet::join`].
        room: Ticket,
        /// The room.
        name: RoomName,
    },
    /// Somebody has handed the session a command of the application's own.
    Command(Arc<dyn Any + Send + Sync>),
    /// The time has come that the session was waiting for ([`Outlet::set_alarm`]).
    Alarm,
}

/// Why a connection is in a room no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// The room's order is lost: messages may be missing.
    Lost(LossReason),
    /// The connection was too far behind ([`Lag::Leave`]).
    Lagging,
    /// Somebody asked for it with a command.
    Commanded,
}
