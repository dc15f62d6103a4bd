//! A publication on its way: the payload, and beside it what is the same for every subscriber.

use std::borrow::Cow;

use crate::message::{Field, message};
use crate::protobuf::{self, Wire};
use crate::writer::{Key, Writer};
use crate::{Encoding, Malformed};

message! {
    /// Who a client is, as other clients see it.
    ClientInfo {
        /// The user's id; empty for an anonymous one.
        1 "user" user: Cow<'a, str>,
        /// The connection's id.
        2 "client" client: Cow<'a, str>,
        /// What the application says of the connection. For JSON clients it is valid JSON.
        3 "conn_info" conn_info: Option<&'a [u8]>,
        /// What the application says of the subscription. For JSON clients it is valid JSON.
        4 "chan_info" chan_info: Option<&'a [u8]>,
    }
}

impl<'a> ClientInfo<'a> {
    /// The message in Protobuf, as it travels inside the server.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::fields(&mut out, |writer| self.write(writer));
        out
    }

    /// Reads what [`to_protobuf`](Self::to_protobuf) wrote.
    ///
    /// # Errors
    ///
    /// The bytes are no such message.
    pub fn from_protobuf(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut info = Self::default();
        protobuf::merge(&mut info, bytes)?;
        Ok(info)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.any_text(Key("user", 1), &self.user);
        writer.any_text(Key("client", 2), &self.client);
        writer.payload(Key("conn_info", 3), self.conn_info.unwrap_or_default());
        writer.payload(Key("chan_info", 4), self.chan_info.unwrap_or_default());
    }
}

/// Appends a `ClientInfo` that travels as its Protobuf bytes. One that cannot be read is written as
/// that of an unknown client.
pub(crate) fn write_info(writer: &mut Writer<'_>, info: &[u8]) {
    match writer.encoding() {
        Encoding::Protobuf => writer.encoded(info),
        Encoding::Json => ClientInfo::from_protobuf(info)
            .unwrap_or_default()
            .write(writer),
    }
}

const DATA: Key = Key("data", 4);
const INFO: Key = Key("info", 5);
const OFFSET: Key = Key("offset", 6);
const TAGS: Key = Key("tags", 7);
const KEY: Key = Key("key", 11);
const REMOVED: Key = Key("removed", 12);
const EPOCH: Key = Key("epoch", 14);

/// A message of a channel, as one subscriber gets it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Publication<'a> {
    /// What [`Publication::meta`] made; empty if there is neither info nor tags.
    pub meta: &'a [u8],
    /// The payload. For JSON clients it is valid JSON.
    pub data: &'a [u8],
    /// Its place in the channel; 0 in a channel without positions.
    pub offset: u64,
    /// The epoch of the offset, if the subscriber does not know it yet; otherwise empty.
    pub epoch: &'a str,
    /// In a map, the key whose value this is; otherwise empty.
    pub key: &'a str,
    /// In a map, whether the key is removed.
    pub removed: bool,
}

impl Publication<'_> {
    /// Encodes what does not depend on payload, place and subscriber: who published, and the tags in
    /// this order. It is a `Publication` message in Protobuf with only these fields, so another
    /// field behind it makes a whole one, because messages of proto3 concatenate.
    #[must_use]
    pub fn meta(info: Option<&ClientInfo<'_>>, tags: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::fields(&mut out, |writer| {
            if let Some(info) = info {
                writer.object(INFO, |writer| info.write(writer));
            }
            writer.texts(TAGS, tags);
        });
        out
    }

    pub(crate) fn write(&self, writer: &mut Writer<'_>) {
        match writer.encoding() {
            Encoding::Json => self.write_json(writer),
            Encoding::Protobuf => {
                writer.encoded(self.meta);
                writer.payload(DATA, self.data);
                writer.number(OFFSET, self.offset);
                self.write_rest(writer);
            }
        }
    }

    fn write_json(&self, writer: &mut Writer<'_>) {
        let meta = Meta::read(self.meta).unwrap_or_default();
        writer.payload(DATA, self.data);
        if let Some(info) = meta.info {
            writer.object(INFO, |writer| info.write(writer));
        }
        writer.number(OFFSET, self.offset);
        writer.texts(TAGS, &meta.tags);
        self.write_rest(writer);
    }

    fn write_rest(&self, writer: &mut Writer<'_>) {
        writer.text(KEY, self.key);
        writer.flag(REMOVED, self.removed);
        writer.text(EPOCH, self.epoch);
    }
}

/// What [`Publication::meta`] encodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta<'a> {
    /// Who published; `None` if it was the server's API.
    pub info: Option<ClientInfo<'a>>,
    /// The tags, in the order in which they were given.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

message! {
    /// An entry of a map of strings.
    Tag {
        1 "key" key: Cow<'a, str>,
        2 "value" value: Cow<'a, str>,
    }
}

impl<'a> Meta<'a> {
    /// Reads the publisher and the tags of a publication's meta.
    ///
    /// # Errors
    ///
    /// The bytes are no Protobuf message, or a field has another type.
    pub fn read(mut meta: &'a [u8]) -> Result<Self, Malformed> {
        let mut read = Self::default();
        while !meta.is_empty() {
            match protobuf::field(&mut meta)? {
                (5, info) => read.info.merge(info)?,
                (7, entry) => read.tags.push(Self::tag(entry)?),
                _ => {}
            }
        }
        Ok(read)
    }

    fn tag(entry: Wire<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), Malformed> {
        let mut tag = Tag::default();
        protobuf::merge(&mut tag, entry.bytes()?)?;
        Ok((tag.key, tag.value))
    }
}
