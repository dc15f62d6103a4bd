//! What the server says unasked.

use crate::publication::{Publication, write_info};
use crate::reply::{ConnectResult, Expiry};
use crate::writer::{Key, Writer};

/// News of a channel or, with an empty channel, of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Push<'a> {
    /// A message of the channel.
    Publication(Publication<'a>),
    /// A client came.
    Join {
        /// Its `ClientInfo` as Protobuf bytes.
        info: &'a [u8],
    },
    /// A client left.
    Leave {
        /// Its `ClientInfo` as Protobuf bytes.
        info: &'a [u8],
    },
    /// The server ended the subscription.
    Unsubscribe {
        /// One of [`Unsubscribed`](crate::Unsubscribed), or the application's; from 2500 on the
        /// client subscribes again.
        code: u32,
        /// For people.
        reason: &'a str,
    },
    /// The server subscribed the client.
    Subscribe(Subscribed<'a>),
    /// A message from the application to this client alone.
    Message {
        /// The payload.
        data: &'a [u8],
    },
    /// The connection is open. Only clients that never ask are told so, all others by a reply.
    Connect(&'a ConnectResult<'a>),
    /// The server is about to close. Only transports without close codes have it.
    Disconnect {
        /// One of [`Disconnect`](crate::Disconnect), or the application's.
        code: u32,
        /// For people.
        reason: &'a str,
    },
    /// The connection's time to live changed, for clients that cannot ask.
    Refresh(Expiry),
}

/// The state of a subscription that the server made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Subscribed<'a> {
    /// Whether the client may recover from a position later.
    pub recoverable: bool,
    /// The epoch of the channel; empty in one without positions.
    pub epoch: &'a str,
    /// The position from which the client counts.
    pub offset: u64,
    /// Whether the server watches the client's position.
    pub positioned: bool,
    /// For the application; empty for none.
    pub data: &'a [u8],
}

impl Subscribed<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.flag(Key("recoverable", 1), self.recoverable);
        writer.text(Key("epoch", 4), self.epoch);
        writer.number(Key("offset", 5), self.offset);
        writer.flag(Key("positioned", 6), self.positioned);
        writer.payload(Key("data", 7), self.data);
    }
}

impl Push<'_> {
    pub(crate) fn write(&self, writer: &mut Writer<'_>, channel: &str) {
        writer.text(Key("channel", 2), channel);
        match *self {
            Self::Publication(it) => writer.object(Key("pub", 4), |writer| it.write(writer)),
            Self::Join { info } => writer.object(Key("join", 5), |it| client(it, info)),
            Self::Leave { info } => writer.object(Key("leave", 6), |it| client(it, info)),
            Self::Unsubscribe { code, reason } => {
                writer.object(Key("unsubscribe", 7), |it| {
                    it.number(Key("code", 2), code.into());
                    it.text(Key("reason", 3), reason);
                });
            }
            Self::Message { data } => {
                writer.object(Key("message", 8), |it| it.payload(Key("data", 1), data));
            }
            Self::Subscribe(it) => writer.object(Key("subscribe", 9), |writer| it.write(writer)),
            Self::Connect(it) => writer.object(Key("connect", 10), |writer| it.write(writer)),
            Self::Disconnect { code, reason } => {
                writer.object(Key("disconnect", 11), |it| {
                    it.number(Key("code", 1), code.into());
                    it.text(Key("reason", 2), reason);
                });
            }
            Self::Refresh(expiry) => writer.object(Key("refresh", 12), |it| {
                expiry.write(it, Key("expires", 1), Key("ttl", 2));
            }),
        }
    }
}

fn client(writer: &mut Writer<'_>, info: &[u8]) {
    writer.object(Key("info", 1), |writer| write_info(writer, info));
}
