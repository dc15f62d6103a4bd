//! What an application gives the runtime: a route for each request, a session for each connection.
//!
//! A session is the application protocol of one connection. It does no I/O and never waits: it is
//! handed each message and says through its [`Outlet`] what follows.

use std::borrow::Cow;

use bytes::Bytes;
use codec::{CloseCode, Kind, Message, Request};
use hub::{ConnectionId, Publication, Request as HubRequest, RoomName};

use crate::{
    encoder::{Context, Encoder, WireForm},
    end::Refused,
    outbox::Outboxes,
    shard::{Shards, Subscription},
    tally::Tally,
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
}

/// What becomes of a request.
pub enum Route {
    /// Upgrade it to a WebSocket with this session.
    Open(Opening),
    /// Answer it over HTTP and close.
    Answer(Answer),
}

/// A session about to open.
pub struct Opening {
    /// Its entry's name in the application's table, for logs.
    pub protocol: &'static str,
    /// The subprotocol that the 101 names.
    pub subprotocol: Option<&'static str>,
    /// The room that it is in from the start: the 101 leaves when its home has ordered the join.
    pub room: Option<RoomName>,
    /// The session.
    pub session: Box<dyn Session>,
}

/// An HTTP answer. The connection closes after it.
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
}

impl Answer {
    /// A status with a line of text for people.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            fields: vec![("Content-Type", "text/plain; charset=utf-8".into())],
            body: Bytes::from(format!("{text}\n")),
            refused: None,
        }
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
    /// A whole message has come. Text is valid UTF-8.
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>);

    /// The connection is over.
    fn closed(&mut self) {}
}

/// What a session can do with its connection and its rooms.
pub struct Outlet<'a> {
    pub(crate) publisher: ConnectionId,
    pub(crate) direct: &'a mut Vec<u8>,
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) form: WireForm,
    pub(crate) context: &'a mut Context,
    pub(crate) subscriptions: &'a [Subscription],
    pub(crate) shards: &'a Shards,
    pub(crate) outboxes: &'a mut Outboxes,
    pub(crate) window_bytes: &'a mut usize,
    pub(crate) tally: &'a mut Tally,
    pub(crate) received_ns: u64,
    pub(crate) close: Option<(CloseCode, &'static str)>,
}

impl Outlet<'_> {
    /// Sends a message to this connection alone.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        self.encoder
            .append(self.form, self.context, kind, payload, self.direct);
        self.tally.sent(kind, payload.len(), 1);
    }

    /// Publishes a message in the connection's room. Every subscriber has it, this connection
    /// included. Without a room it publishes nothing and returns `false`.
    pub fn publish(&mut self, kind: Kind, payload: &[u8]) -> bool {
        let Some(subscription) = self.subscriptions.first() else {
            return false;
        };
        self.tally.published += 1;
        *self.window_bytes += publication_bytes(payload.len());
        self.outboxes.push(HubRequest::Publish {
            room: self.shards.room(*subscription),
            publisher: self.publisher,
            publication: Publication {
                tag: tag_of(kind),
                stamp: self.received_ns,
                payload: Bytes::copy_from_slice(payload),
            },
        });
        true
    }

    /// Closes the connection after what was sent so far.
    pub fn close(&mut self, code: CloseCode, text: &'static str) {
        self.close.get_or_insert((code, text));
    }
}

/// What a publication counts for against the bounds on its way to the room: its payload and what
/// carries it, so that empty messages are bounded too.
pub(crate) fn publication_bytes(payload: usize) -> usize {
    payload + size_of::<HubRequest>()
}

pub(crate) fn tag_of(kind: Kind) -> u8 {
    match kind {
        Kind::Text => 0,
        Kind::Binary => 1,
    }
}

pub(crate) fn kind_of(tag: u8) -> Kind {
    match tag {
        0 => Kind::Text,
        _ => Kind::Binary,
    }
}
