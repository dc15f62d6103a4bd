//! Writing a message in either encoding, field by field, with zero values left out.

use memchr::memchr;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::Serialize;

use crate::Encoding;

/// The name of a field in JSON, and its number in Protobuf.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) &'static str, pub(crate) u32);

/// Appends the fields of one message.
pub(crate) struct Writer<'o> {
    encoding: Encoding,
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Appends a whole message: an object, or a message behind its length.
    pub(crate) fn message(
        encoding: Encoding,
        out: &'o mut Vec<u8>,
        body: impl FnOnce(&mut Writer<'_>),
    ) {
        Writer { encoding, out }.enclosed(body);
    }

    /// Appends the fields of a message in Protobuf, with neither length nor number before them.
    pub(crate) fn fields(out: &'o mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
        let encoding = Encoding::Protobuf;
        body(&mut Writer { encoding, out });
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Appends fields that are encoded already, to a message in Protobuf.
    pub(crate) fn encoded(&mut self, fields: &[u8]) {
        debug_assert_eq!(self.encoding, Encoding::Protobuf);
        self.out.extend_from_slice(fields);
    }

    /// A number, unless it is 0.
    pub(crate) fn number(&mut self, key: Key, value: u64) {
        if value != 0 {
            self.any_number(key, value);
        }
    }

    /// A number, which JSON shows also if it is 0.
    pub(crate) fn any_number(&mut self, key: Key, value: u64) {
        match self.encoding {
            Encoding::Json => {
                self.name(key);
                self.json(&value);
            }
            Encoding::Protobuf if value == 0 => {}
            Encoding::Protobuf => {
                encode_key(key.1, WireType::Varint, self.out);
                encode_varint(value, self.out);
            }
        }
    }

    /// A truth, unless it is false.
    pub(crate) fn flag(&mut self, key: Key, value: bool) {
        match self.encoding {
            _ if !value => {}
            Encoding::Json => {
                self.name(key);
                self.json(&true);
            }
            Encoding::Protobuf => self.any_number(key, 1),
        }
    }

    /// A string, unless it is empty.
    pub(crate) fn text(&mut self, key: Key, value: &str) {
        if !value.is_empty() {
            self.any_text(key, value);
        }
    }

    /// A string, which JSON shows also if it is empty.
    pub(crate) fn any_text(&mut self, key: Key, value: &str) {
        match self.encoding {
            Encoding::Json => {
                self.name(key);
                self.json(value);
            }
            Encoding::Protobuf if value.is_empty() => {}
            Encoding::Protobuf => self.bytes(key, value.as_bytes()),
        }
    }

    /// A payload, unless it is empty. In JSON it is a value, which loses its newlines, because they
    /// would end the message; outside of strings they mean nothing, and inside they cannot be.
    pub(crate) fn payload(&mut self, key: Key, value: &[u8]) {
        match self.encoding {
            _ if value.is_empty() => {}
            Encoding::Json => {
                self.name(key);
                let mut rest = value;
                while let Some(end) = memchr(b'\n', rest) {
                    self.out.extend_from_slice(&rest[..end]);
                    rest = &rest[end + 1..];
                }
                self.out.extend_from_slice(rest);
            }
            Encoding::Protobuf => self.bytes(key, value),
        }
    }

    /// A message inside this one, also if it is empty.
    pub(crate) fn object(&mut self, key: Key, body: impl FnOnce(&mut Writer<'_>)) {
        self.begin(key);
        self.enclosed(body);
    }

    /// A list of messages, which JSON shows also if it is empty.
    pub(crate) fn any_list<T>(
        &mut self,
        key: Key,
        items: &[T],
        each: impl Fn(&mut Writer<'_>, &T),
    ) {
        match self.encoding {
            Encoding::Json => {
                self.name(key);
                self.out.push(b'[');
                for item in items {
                    self.separate();
                    self.enclosed(|writer| each(writer, item));
                }
                self.out.push(b']');
            }
            Encoding::Protobuf => {
                for item in items {
                    self.object(key, |writer| each(writer, item));
                }
            }
        }
    }

    /// A list of messages, unless it is empty.
    pub(crate) fn list<T>(&mut self, key: Key, items: &[T], each: impl Fn(&mut Writer<'_>, &T)) {
        if !items.is_empty() {
            self.any_list(key, items, each);
        }
    }

    /// A map from names to messages, which JSON shows also if it is empty.
    pub(crate) fn any_map<T>(
        &mut self,
        key: Key,
        entries: &[(&str, T)],
        each: impl Fn(&mut Writer<'_>, &T),
    ) {
        match self.encoding {
            Encoding::Json => self.object(key, |map| {
                for (name, value) in entries {
                    map.entry(name);
                    map.enclosed(|writer| each(writer, value));
                }
            }),
            // In Protobuf a map is a list of entries with a key and a value.
            Encoding::Protobuf => self.any_list(key, entries, |writer, (name, value)| {
                writer.text(Key("key", 1), name);
                writer.object(Key("value", 2), |writer| each(writer, value));
            }),
        }
    }

    /// A map from names to strings, unless it is empty.
    pub(crate) fn texts<T: AsRef<str>>(&mut self, key: Key, entries: &[(T, T)]) {
        match self.encoding {
            _ if entries.is_empty() => {}
            Encoding::Json => self.object(key, |map| {
                for (name, value) in entries {
                    map.entry(name.as_ref());
                    map.json(value.as_ref());
                }
            }),
            Encoding::Protobuf => self.any_list(key, entries, |writer, (name, value)| {
                writer.text(Key("key", 1), name.as_ref());
                writer.text(Key("value", 2), value.as_ref());
            }),
        }
    }

    fn bytes(&mut self, key: Key, value: &[u8]) {
        encode_key(key.1, WireType::LengthDelimited, self.out);
        encode_varint(value.len() as u64, self.out);
        self.out.extend_from_slice(value);
    }

    fn begin(&mut self, key: Key) {
        match self.encoding {
            Encoding::Json => self.name(key),
            Encoding::Protobuf => encode_key(key.1, WireType::LengthDelimited, self.out),
        }
    }

    /// The fields of a message in braces or behind their length.
    fn enclosed(&mut self, body: impl FnOnce(&mut Writer<'_>)) {
        let encoding = self.encoding;
        let mut inner = Writer {
            encoding,
            out: &mut *self.out,
        };
        match encoding {
            Encoding::Json => {
                inner.out.push(b'{');
                body(&mut inner);
                self.out.push(b'}');
            }
            Encoding::Protobuf => {
                let start = inner.out.len();
                inner.out.push(0);
                body(&mut inner);
                put_length(self.out, start);
            }
        }
    }

    /// The name of a field of a JSON object; names of the protocol need no escapes.
    fn name(&mut self, key: Key) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.0.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// The name of an entry of a JSON object, which may be any string.
    fn entry(&mut self, name: &str) {
        self.separate();
        self.json(name);
        self.out.push(b':');
    }

    /// A comma, unless this is the first field or item.
    fn separate(&mut self) {
        if !matches!(self.out.last(), Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    fn json(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut *self.out, value).expect("memory takes numbers and strings");
    }
}

/// Puts the length of what stands behind `start` in the place of the byte there. Lengths of 128 and
/// more need further bytes, for which the rest moves.
fn put_length(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start - 1;
    let mut prefix = [0; 10];
    let mut free = &mut prefix[..];
    encode_varint(length as u64, &mut free);
    let used = 10 - free.len();
    out.splice(start..=start, prefix[..used].iter().copied());
}
