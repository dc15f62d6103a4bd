//! What clients send: the tables of their messages, and which method a command has.
//!
//! Only fields that a server acts on are read. Where a feature is not offered, its field is still
//! here, so that a session can refuse it instead of ignoring it.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};

use crate::json::{self, Fill, Text};
use crate::message::{Field, Message, Unread, ignore, message};
use crate::protobuf::{self, Wire};
use crate::{Encoding, Malformed};

/// How many subscriptions one connect command may ask for. A subscription takes far more memory
/// than its shortest form on the wire, so their number is bounded and not only their bytes.
pub const CONNECT_SUBSCRIPTIONS_MAX: usize = 1024;

/// How many headers one connect command may have.
pub const CONNECT_HEADERS_MAX: usize = 64;

/// What a page says in place of header fields, which it cannot set, in the order of the wire.
pub type Headers<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The subscriptions that a connect command names, in the order of the wire.
pub type Subscriptions<'a> = Vec<(Cow<'a, str>, SubscribeRequest<'a>)>;

message! {
    /// The first command of a connection.
    ConnectRequest {
        /// A JSON Web Token; empty for an anonymous connection.
        1 "token" token: Cow<'a, str>,
        /// For the application, which may decide by it who this is.
        2 "data" data: Option<&'a [u8]>,
        /// Positions of server-side subscriptions, and subscriptions that one-way clients ask for.
        3 "subs" subs: Subscriptions<'a>,
        /// The client's program, as it calls itself.
        4 "name" name: Cow<'a, str>,
        /// Its version.
        5 "version" version: Cow<'a, str>,
        /// What the client says in place of header fields.
        6 "headers" headers: Headers<'a>,
        /// Bits of what the client understands.
        7 "flag" flag: i64,
    }
}

/// Commands inside another message: a string in JSON, bytes in Protobuf.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame<'a>(pub Cow<'a, [u8]>);

impl<'a> Field<'a> for Frame<'a> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        self.0 = Cow::Borrowed(value.bytes()?);
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        if let Some(Text(text)) = map.next_value()? {
            self.0 = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
        }
        Ok(())
    }
}

message! {
    /// Commands for a connection whose transport goes only one way, sent beside it in a request of their own.
    EmulationRequest {
        /// The node that has the connection.
        1 "node" node: Cow<'a, str>,
        /// The secret of the connection.
        2 "session" session: Cow<'a, str>,
        /// The commands, as one frame of the connection.
        3 "data" data: Frame<'a>,
    }
}

impl<'a> EmulationRequest<'a> {
    /// Reads a request's whole body.
    ///
    /// # Errors
    ///
    /// Where the body is no such message.
    pub fn read(encoding: Encoding, body: &'a [u8]) -> Result<Self, Malformed> {
        match encoding {
            Encoding::Json => json::read(body),
            Encoding::Protobuf => {
                let mut request = Self::default();
                protobuf::merge(&mut request, body)?;
                Ok(request)
            }
        }
    }
}

message! {
    /// Asks for the messages of a channel.
    SubscribeRequest {
        /// The channel's name; empty inside [`ConnectRequest::subs`], where it stands beside.
        1 "channel" channel: Cow<'a, str>,
        /// A token for this channel, if one is needed.
        2 "token" token: Cow<'a, str>,
        /// Whether to send what came after `offset`.
        3 "recover" recover: bool,
        /// The epoch of `offset`; empty if the client knows none.
        6 "epoch" epoch: Cow<'a, str>,
        /// The offset of the last message that the client has.
        7 "offset" offset: u64,
        /// For the application.
        8 "data" data: Option<&'a [u8]>,
        /// Whether the client wants to be told of gaps.
        9 "positioned" positioned: bool,
        /// Whether the client wants to recover later.
        10 "recoverable" recoverable: bool,
        /// Whether the client wants to know who comes and goes.
        11 "join_leave" join_leave: bool,
        /// The delta format that the client can read; empty for none.
        12 "delta" delta: Cow<'a, str>,
        /// A filter by tags.
        13 "tf" filter: Option<Unread>,
        /// Bits of what the client understands, [`SUBSCRIBE_NUMERIC_CHANNELS`] and
        /// [`SUBSCRIBE_REFUSE_UNRECOVERABLE`].
        14 "flag" flag: i64,
        /// The kind of subscription: [`KIND_STREAM`], [`KIND_MAP`] or another.
        15 "type" kind: i32,
        /// The step of a map subscription: 2 asks for the state, 1 for what came after a position; 0 is live.
        16 "phase" phase: i32,
    }
}

/// The kind of a channel whose messages follow each other.
pub const KIND_STREAM: i32 = 0;
/// The kind of a channel that has a value for each key.
pub const KIND_MAP: i32 = 1;
/// In [`SubscribeRequest::phase`]: asks for what came after a position.
pub const PHASE_STREAM: i32 = 1;

/// In [`SubscribeRequest::flag`]: the client understands numbers in place of channels' names.
pub const SUBSCRIBE_NUMERIC_CHANNELS: i64 = 1;
/// In [`SubscribeRequest::flag`]: error 112 is wanted when the position cannot be recovered.
pub const SUBSCRIBE_REFUSE_UNRECOVERABLE: i64 = 2;

message! {
    /// Ends a subscription.
    UnsubscribeRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
    }
}

message! {
    /// Publishes in a channel.
    PublishRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
        /// The payload; `None` if the field is absent, and `null` if it is JSON's `null`.
        2 "data" data: Option<&'a [u8]>,
        /// The kind of channel, [`KIND_STREAM`], [`KIND_MAP`] or another.
        3 "type" kind: i32,
        /// In a map, the key whose value this is.
        4 "key" key: Cow<'a, str>,
        /// In a map, whether the key is removed; then there is no payload.
        5 "removed" removed: bool,
    }
}

message! {
    /// Asks who is in a channel.
    PresenceRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
    }
}

message! {
    /// Asks how many are in a channel.
    PresenceStatsRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
    }
}

message! {
    /// A place in the stream of a channel.
    StreamPosition {
        /// The offset of a message.
        1 "offset" offset: u64,
        /// Its epoch; empty if the client knows none.
        2 "epoch" epoch: Cow<'a, str>,
    }
}

message! {
    /// Asks for kept messages of a channel.
    HistoryRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
        /// How many messages; 0 asks for the position alone, and a negative number for all.
        7 "limit" limit: i32,
        /// The place after which to begin, or before which in reverse.
        8 "since" since: Option<StreamPosition<'a>>,
        /// Whether the newest message comes first.
        9 "reverse" reverse: bool,
    }
}

message! {
    /// Calls a method of the application.
    RpcRequest {
        /// The method's argument.
        1 "data" data: Option<&'a [u8]>,
        /// The method's name.
        2 "method" method: Cow<'a, str>,
    }
}

message! {
    /// A message to the application, without a reply.
    SendRequest {
        /// The payload.
        1 "data" data: Option<&'a [u8]>,
    }
}

message! {
    /// Shows a new token of the connection.
    RefreshRequest {
        /// The token.
        1 "token" token: Cow<'a, str>,
    }
}

message! {
    /// Shows a new token of a subscription.
    SubRefreshRequest {
        /// The channel's name.
        1 "channel" channel: Cow<'a, str>,
        /// The token.
        2 "token" token: Cow<'a, str>,
        /// What is asked for; 0 is a refresh, and other numbers are not of streams.
        3 "type" kind: i32,
    }
}

/// One command of a client.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Command<'a> {
    /// The number that the reply repeats; 0 if there is to be none.
    pub id: u32,
    /// What is asked for.
    pub method: Method<'a>,
}

/// Declares the methods as a table in the order in which they are looked for: the first that a
/// command has is the one that it means.
macro_rules! methods {
    ($($(#[$docs:meta])* $rank:literal $number:literal $json:literal $method:ident($request:ident),)*) => {
        /// What a command asks for.
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub enum Method<'a> {
            $($(#[$docs])* $method($request<'a>),)*
            /// The command has an id but no method that a client may call.
            Unknown,
            /// The command is empty, which answers a ping.
            #[default]
            Pong,
        }

        impl<'a> Method<'a> {
            fn rank(&self) -> u8 {
                match self {
                    $(Self::$method(_) => $rank,)*
                    Self::Unknown | Self::Pong => u8::MAX,
                }
            }

            /// A field of a command in Protobuf.
            fn merge(&mut self, number: u32, value: Wire<'a>) -> Result<(), Malformed> {
                match number {
                    $($number if $rank <= self.rank() => {
                        let take = |it| match it {
                            Self::$method(request) => (Some(request), Self::Pong),
                            other => (None, other),
                        };
                        self.fill(take, Self::$method, |request| request.merge(value))
                    })*
                    _ => {
                        self.see(number == PING.0);
                        Ok(())
                    }
                }
            }

            /// A field of a command in JSON.
            fn read<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
                match name {
                    $($json if $rank <= self.rank() => {
                        let take = |it| match it {
                            Self::$method(request) => (Some(request), Self::Pong),
                            other => (None, other),
                        };
                        self.fill(take, Self::$method, |request| request.read(map))
                    })*
                    _ => {
                        self.see(name == PING.1);
                        ignore(map)
                    }
                }
            }
        }
    };
}

/// The field `ping` of a command, which only servers have a use for: a client that sends it asks
/// for a method that does not exist.
const PING: (u32, &str) = (11, "ping");

methods! {
    /// Begins the connection.
    1 4 "connect" Connect(ConnectRequest),
    /// Subscribes to a channel.
    2 5 "subscribe" Subscribe(SubscribeRequest),
    /// Ends a subscription.
    3 6 "unsubscribe" Unsubscribe(UnsubscribeRequest),
    /// Publishes in a channel.
    4 7 "publish" Publish(PublishRequest),
    /// Asks who is in a channel.
    5 8 "presence" Presence(PresenceRequest),
    /// Asks how many are in a channel.
    6 9 "presence_stats" PresenceStats(PresenceStatsRequest),
    /// Asks for kept messages.
    7 10 "history" History(HistoryRequest),
    /// Calls a method of the application.
    8 13 "rpc" Rpc(RpcRequest),
    /// Sends to the application.
    9 12 "send" Send(SendRequest),
    /// Shows a new token of the connection.
    10 14 "refresh" Refresh(RefreshRequest),
    /// Shows a new token of a subscription.
    11 15 "sub_refresh" SubRefresh(SubRefreshRequest),
}

impl<'a> Method<'a> {
    /// Reads a value of the method that `make` makes. It goes to the request that `take` finds here
    /// already, or replaces another method; an absent one changes nothing.
    fn fill<T, E>(
        &mut self,
        take: fn(Self) -> (Option<T>, Self),
        make: fn(T) -> Self,
        read: impl FnOnce(&mut Option<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut request, other) = take(mem::take(self));
        read(&mut request)?;
        *self = request.map_or(other, make);
        Ok(())
    }

    /// Notes that there is a method, though none that may be called.
    fn see(&mut self, is_ping: bool) {
        if is_ping && *self == Self::Pong {
            *self = Self::Unknown;
        }
    }
}

impl Command<'_> {
    /// A command that has nothing but an id is no pong.
    pub(crate) fn classified(mut self) -> Self {
        self.method.see(self.id != 0);
        self
    }
}

impl<'a> Message<'a> for Command<'a> {
    fn merge_field(&mut self, number: u32, value: Wire<'a>) -> Result<(), Malformed> {
        match number {
            1 => self.id.merge(value),
            _ => self.method.merge(number, value),
        }
    }

    fn read_field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match name {
            "id" => self.id.read(map),
            _ => self.method.read(name, map),
        }
    }
}

message! {
    /// An entry of a map in Protobuf, which is a repeated message of keys and values.
    Entry {
        1 "key" key: Cow<'a, str>,
        2 "value" value: Option<SubscribeRequest<'a>>,
    }
}

message! {
    /// The same of a map of texts.
    HeaderEntry {
        1 "key" key: Cow<'a, str>,
        2 "value" value: Cow<'a, str>,
    }
}

impl<'a> Field<'a> for Headers<'a> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        if self.len() == CONNECT_HEADERS_MAX {
            return Err(Malformed::Headers);
        }
        let mut entry = HeaderEntry::default();
        protobuf::merge(&mut entry, value.bytes()?)?;
        self.push((entry.key, entry.value));
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        map.next_value_seed(FillHeaders(self))
    }
}

/// Reads a JSON object of texts; `null` is an empty one.
struct FillHeaders<'m, 'a>(&'m mut Headers<'a>);

impl<'de> DeserializeSeed<'de> for FillHeaders<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FillHeaders<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if self.0.len() == CONNECT_HEADERS_MAX {
                return Err(M::Error::custom(Malformed::Headers));
            }
            let Text(value) = map.next_value()?;
            self.0.push((name, value));
        }
        Ok(())
    }
}

impl<'a> Field<'a> for Subscriptions<'a> {
    fn merge(&mut self, value: Wire<'a>) -> Result<(), Malformed> {
        if self.len() == CONNECT_SUBSCRIPTIONS_MAX {
            return Err(Malformed::Subscriptions);
        }
        let mut entry = Entry::default();
        protobuf::merge(&mut entry, value.bytes()?)?;
        self.push((entry.key, entry.value.unwrap_or_default()));
        Ok(())
    }

    fn read<M: MapAccess<'a>>(&mut self, map: &mut M) -> Result<(), M::Error> {
        map.next_value_seed(FillSubscriptions(self))
    }
}

/// Reads a JSON object from channels' names to requests; `null` is an empty one.
struct FillSubscriptions<'m, 'a>(&'m mut Subscriptions<'a>);

impl<'de> DeserializeSeed<'de> for FillSubscriptions<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FillSubscriptions<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(channel)) = map.next_key()? {
            if self.0.len() == CONNECT_SUBSCRIPTIONS_MAX {
                return Err(M::Error::custom(Malformed::Subscriptions));
            }
            let mut request = SubscribeRequest::default();
            map.next_value_seed(Fill(&mut request))?;
            self.0.push((channel, request));
        }
        Ok(())
    }
}
