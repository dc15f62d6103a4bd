//! What the server answers to commands.

use crate::codes::ErrorCode;
use crate::publication::{Publication, write_info};
use crate::writer::{Key, Writer};

/// The answer to one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// The command failed.
    Error(Failure<'a>),
    /// The connection is open.
    Connect(ConnectResult<'a>),
    /// The client is subscribed.
    Subscribe(SubscribeResult<'a>),
    /// The client is not subscribed any more.
    Unsubscribe,
    /// The message has its place.
    Publish,
    /// Who is in the channel: each client's id, and its `ClientInfo` as Protobuf bytes.
    Presence(&'a [(&'a str, &'a [u8])]),
    /// How many are in the channel.
    PresenceStats {
        /// Connections.
        clients: u32,
        /// Different users among them.
        users: u32,
    },
    /// Kept messages.
    History(HistoryResult<'a>),
    /// What the called method returned.
    Rpc {
        /// The payload.
        data: &'a [u8],
    },
    /// The connection's new token holds.
    Refresh(Expiry),
    /// The subscription's new token holds.
    SubRefresh(Expiry),
}

/// Why a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure<'a> {
    /// One of [`ErrorCode`], or from 400 to 1999 one of the application.
    pub code: u32,
    /// For people.
    pub message: &'a str,
    /// Whether the client should try again.
    pub temporary: bool,
}

impl From<ErrorCode> for Failure<'_> {
    fn from(code: ErrorCode) -> Self {
        Self {
            code: code.code().into(),
            message: code.message(),
            temporary: code.is_temporary(),
        }
    }
}

/// When a connection or a subscription needs a new token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expiry {
    /// It needs none.
    #[default]
    Never,
    /// In so many seconds.
    After(u32),
}

impl Expiry {
    pub(crate) fn write(self, writer: &mut Writer<'_>, expires: Key, ttl: Key) {
        if let Self::After(seconds) = self {
            writer.flag(expires, true);
            writer.number(ttl, seconds.into());
        }
    }
}

/// The answer to `connect`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectResult<'a> {
    /// The connection's id.
    pub client: &'a str,
    /// The server's version, which SDKs demand not to be empty.
    pub version: &'a str,
    /// When a new token is needed.
    pub expiry: Expiry,
    /// For the application; empty for none.
    pub data: &'a [u8],
    /// Server-side subscriptions by channel.
    pub subs: &'a [(&'a str, SubscribeResult<'a>)],
    /// The server pings each so many seconds; 0 for never.
    pub ping: u32,
    /// Whether the client must answer pings.
    pub pong: bool,
    /// The secret that names this connection in requests of emulated transports; otherwise empty.
    pub session: &'a str,
    /// The node that those requests must reach; otherwise empty.
    pub node: &'a str,
    /// The server's time in milliseconds since 1970; 0 to say none.
    pub time: u64,
}

impl ConnectResult<'_> {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        writer.any_text(Key("client", 1), self.client);
        writer.any_text(Key("version", 2), self.version);
        self.expiry.write(writer, Key("expires", 3), Key("ttl", 4));
        writer.payload(Key("data", 5), self.data);
        if !self.subs.is_empty() {
            writer.any_map(Key("subs", 6), self.subs, |writer, it| it.write(writer));
        }
        writer.number(Key("ping", 7), self.ping.into());
        writer.flag(Key("pong", 8), self.pong);
        writer.text(Key("session", 9), self.session);
        writer.text(Key("node", 10), self.node);
        writer.number(Key("time", 11), self.time);
    }
}

/// The answer to `subscribe`, and the state of a server-side subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SubscribeResult<'a> {
    /// When a new token is needed.
    pub expiry: Expiry,
    /// Whether the client may recover from a position later.
    pub recoverable: bool,
    /// The epoch of the channel; empty in one without positions.
    pub epoch: &'a str,
    /// What the client missed, the oldest first.
    pub publications: &'a [Publication<'a>],
    /// Whether `publications` is all that it missed.
    pub recovered: bool,
    /// The position from which the client counts.
    pub offset: u64,
    /// Whether the server watches the client's position.
    pub positioned: bool,
    /// For the application; empty for none.
    pub data: &'a [u8],
    /// Whether the client asked to recover.
    pub was_recovering: bool,
    /// The kind of subscription, 0 for a stream.
    pub kind: u32,
    /// In a map, the latest value of each key.
    pub state: &'a [Publication<'a>],
}

impl SubscribeResult<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        self.expiry.write(writer, Key("expires", 1), Key("ttl", 2));
        writer.flag(Key("recoverable", 3), self.recoverable);
        writer.text(Key("epoch", 6), self.epoch);
        writer.list(Key("publications", 7), self.publications, |writer, it| {
            it.write(writer);
        });
        writer.flag(Key("recovered", 8), self.recovered);
        writer.number(Key("offset", 9), self.offset);
        writer.flag(Key("positioned", 10), self.positioned);
        writer.payload(Key("data", 11), self.data);
        writer.flag(Key("was_recovering", 12), self.was_recovering);
        writer.number(Key("type", 15), self.kind.into());
        writer.list(Key("state", 18), self.state, |writer, it| it.write(writer));
    }
}

/// The answer to `history`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryResult<'a> {
    /// The messages, in the order that was asked for.
    pub publications: &'a [Publication<'a>],
    /// The epoch of the channel.
    pub epoch: &'a str,
    /// The offset of the newest message; 0 if there was none.
    pub offset: u64,
}

impl HistoryResult<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.any_list(Key("publications", 1), self.publications, |writer, it| {
            it.write(writer);
        });
        writer.any_text(Key("epoch", 2), self.epoch);
        writer.any_number(Key("offset", 3), self.offset);
    }
}

impl Reply<'_> {
    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Error(failure) => writer.object(Key("error", 2), |error| {
                error.number(Key("code", 1), failure.code.into());
                error.text(Key("message", 2), failure.message);
                error.flag(Key("temporary", 3), failure.temporary);
            }),
            Self::Connect(result) => writer.object(Key("connect", 5), |it| result.write(it)),
            Self::Subscribe(result) => writer.object(Key("subscribe", 6), |it| result.write(it)),
            Self::Unsubscribe => writer.object(Key("unsubscribe", 7), |_| {}),
            Self::Publish => writer.object(Key("publish", 8), |_| {}),
            Self::Presence(clients) => writer.object(Key("presence", 9), |it| {
                it.any_map(Key("presence", 1), clients, |it, info| write_info(it, info));
            }),
            Self::PresenceStats { clients, users } => {
                writer.object(Key("presence_stats", 10), |stats| {
                    stats.any_number(Key("num_clients", 1), (*clients).into());
                    stats.any_number(Key("num_users", 2), (*users).into());
                });
            }
            Self::History(result) => writer.object(Key("history", 11), |it| result.write(it)),
            Self::Rpc { data } => {
                writer.object(Key("rpc", 13), |it| it.payload(Key("data", 1), data));
            }
            Self::Refresh(expiry) => writer.object(Key("refresh", 14), |it| {
                expiry.write(it, Key("expires", 3), Key("ttl", 4));
            }),
            Self::SubRefresh(expiry) => writer.object(Key("sub_refresh", 15), |it| {
                expiry.write(it, Key("expires", 1), Key("ttl", 2));
            }),
        }
    }
}
