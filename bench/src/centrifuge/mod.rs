//! The Centrifuge protocol as the bench's own clients speak it: of the checker, and of the load.
//!
//! ```text
//!   Command ─▶ json │ protobuf ─▶ frames │ requests ─▶ socket
//!      Said ◀─ json │ protobuf ◀─ frames │ streams  ◀─ socket
//! ```
//!
//! *Never:* the server's own code for the protocol, whose mistakes these clients would share.

pub mod frames;
mod json;
mod protobuf;
mod requests;
mod said;
mod streams;

pub use frames::{Frame, Frames};
pub use requests::{Answered, Requests};
pub use said::{Command, Publication, Reply, Said, Subscribed};
pub use streams::{Stream, Transport};

use anyhow::Result;
use codec::Opcode;

/// How messages of the protocol are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// JSON values, parted by newlines.
    Json,
    /// Protobuf messages, each behind its length.
    Protobuf,
}

impl Encoding {
    /// The path at which servers speak it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Json => "/connection/websocket",
            Self::Protobuf => "/connection/websocket?cf_protocol=protobuf",
        }
    }

    /// The opcode of a client's frames.
    #[must_use]
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Json => Opcode::Text,
            Self::Protobuf => Opcode::Binary,
        }
    }

    /// Appends a command to a message.
    pub fn append(self, id: u32, command: Command<'_>, message: &mut Vec<u8>) {
        match self {
            Self::Json => json::append(id, command, message),
            Self::Protobuf => protobuf::append(id, command, message),
        }
    }

    /// What a server says in a message.
    pub fn read(self, message: &[u8]) -> Result<Vec<Said<'_>>> {
        match self {
            Self::Json => json::read(message),
            Self::Protobuf => protobuf::read(message),
        }
    }

    /// The media type of requests with commands in it.
    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/octet-stream",
        }
    }

    /// The body of a request that brings commands to a stream.
    fn emulation(self, session: &str, node: &str, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::Json => json::emulation(session, node, frame),
            Self::Protobuf => protobuf::emulation(session, node, frame),
        }
    }

    /// How many bytes at the beginning are whole messages, in the form of a stream: lines, or messages behind
    /// their lengths.
    fn whole(self, bytes: &[u8]) -> usize {
        match self {
            Self::Json => memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Self::Protobuf => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let before = rest;
                    if protobuf::delimited(&mut rest).is_err() {
                        return bytes.len() - before.len();
                    }
                }
                bytes.len()
            }
        }
    }

    /// Takes the first of what a message says off it, with its length in Protobuf, so that it can be read alone.
    pub fn split_first<'a>(self, message: &mut &'a [u8]) -> Result<&'a [u8]> {
        let whole = *message;
        match self {
            Self::Json => {
                let end = memchr::memchr(b'\n', whole).unwrap_or(whole.len());
                *message = whole.get(end + 1..).unwrap_or_default();
                Ok(&whole[..end])
            }
            Self::Protobuf => {
                protobuf::delimited(message)?;
                Ok(&whole[..whole.len() - message.len()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_says_is_split_into_what_can_be_read_alone() {
        let check = |encoding: Encoding, mut message: &[u8]| {
            let whole = encoding.read(message).unwrap();
            let mut alone = Vec::new();
            while !message.is_empty() {
                let one = encoding.split_first(&mut message).unwrap();
                alone.extend(encoding.read(one).unwrap());
            }
            assert_eq!(alone, whole);
            assert_eq!(whole.len(), 3);
        };
        check(
            Encoding::Json,
            b"{\"id\":1,\"publish\":{}}\n{}\n{\"id\":2,\"publish\":{}}",
        );
        check(Encoding::Protobuf, &[4, 8, 1, 66, 0, 0, 4, 8, 2, 66, 0]);
        assert!(Encoding::Protobuf.split_first(&mut &[9, 0][..]).is_err());
    }
}
