//! What a server says, and what a client asks, in either form of the protocol.

use std::borrow::Cow;

/// A message of the server's.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// It wants a sign of life.
    Ping,
    /// The answer to the command with this number.
    Reply(u32, Reply<'a>),
    /// A message of a room.
    Publication(Cow<'a, str>, Publication<'a>),
    /// A subscription is over.
    Unsubscribed(Cow<'a, str>, u32),
    /// The connection is over, where no close frame says so.
    Disconnected(u32),
    /// Something that these clients have no use for.
    Other,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// An error.
    Failed(u32),
    /// The client is connected.
    Connected(Connected<'a>),
    /// The client is subscribed.
    Subscribed(Subscribed<'a>),
    /// The message has its place.
    Published,
    /// Who is in a room.
    Present(Vec<Box<str>>),
    /// Something else.
    Other,
}

/// The answer to the connect command.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Connected<'a> {
    /// The name under which the client is connected.
    pub client: Cow<'a, str>,
    /// How later commands name the client's stream; empty over a WebSocket.
    pub session: Cow<'a, str>,
    /// The node that these commands must reach; empty over a WebSocket.
    pub node: Cow<'a, str>,
}

/// The answer to a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// Whether it can recover, and has positions.
    pub recoverable: bool,
    /// The log's epoch.
    pub epoch: Cow<'a, str>,
    /// The position.
    pub offset: u64,
    /// Whether `publications` is everything that was missed.
    pub recovered: bool,
    /// What is still to be asked in a room of keys; 0 if nothing is.
    pub phase: u32,
    /// Messages that were missed.
    pub publications: Vec<Publication<'a>>,
}

/// A message of a room.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Publication<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// Its place.
    pub offset: u64,
    /// The epoch, if it is named.
    pub epoch: Cow<'a, str>,
    /// The key whose value it is, in a room of keys.
    pub key: Cow<'a, str>,
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// The sign of life.
    Pong,
    /// The first command, with a token if there is one.
    Connect(Option<&'a str>),
    /// Subscribes to a room, and recovers from a position.
    Subscribe(&'a str, Option<(&'a str, u64)>),
    /// Subscribes to a room that has the latest value of each key.
    SubscribeKeys(&'a str),
    /// Publishes in a room.
    Publish(&'a str, &'a [u8]),
    /// Sets the value of a key of a room.
    Set(&'a str, &'a str, &'a [u8]),
    /// Asks who is in a room.
    Presence(&'a str),
}
