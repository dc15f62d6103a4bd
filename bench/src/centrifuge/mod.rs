//! The Centrifuge protocol as the bench's own clients speak it: of the checker, and of the load.
//!
//! ```text
//!   Command ─▶ json │ protobuf ─▶ frames ─▶ socket
//!      Said ◀─ json │ protobuf ◀─ frames ◀─ socket
//! ```
//!
//! *Never:* the server's own code for the protocol, whose mistakes these clients would share.

pub mod frames;
mod json;
mod protobuf;
mod said;

pub use frames::{Frame, Frames};
pub use said::{Command, Publication, Reply, Said, Subscribed};

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
}
