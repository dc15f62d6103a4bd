//! The checker's clients: many connections on one thread, which publish, subscribe, are cut, come back, and
//! stop reading.
//!
//! ```text
//!  swarm (one epoll, what is due) ─▶ connection (one client) ─▶ the protocol ─▶ wire (frames │ stream) ─▶ socket
//!                                          │
//!                                          └─▶ history
//! ```
//!
//! *Never:* the server's own code for what is verified. Messages of the protocol are read and written in
//! [`crate::centrifuge`].

mod connection;
mod events;
mod rest;
mod swarm;
#[cfg(test)]
mod tests;
mod wire;

pub use swarm::{Plan, Swarm};
pub use wire::Sabotage;

use crate::centrifuge::Encoding;

/// How a client speaks with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The protocol in JSON.
    Json,
    /// The protocol in Protobuf.
    Protobuf,
    /// Messages of one room and nothing else.
    Raw,
    /// The messages of one room as events, with positions; it never publishes.
    Events,
}

impl Form {
    /// How its commands are encoded; nothing for raw clients, which have none.
    fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Json => Some(Encoding::Json),
            Self::Protobuf => Some(Encoding::Protobuf),
            Self::Raw | Self::Events => None,
        }
    }
}

/// A room's name on the wire: what all rooms of a run begin with, and its number.
#[derive(Clone, Debug)]
pub struct Names(pub String);

impl Names {
    /// The name of a room.
    #[must_use]
    pub fn of(&self, room: u32) -> String {
        format!("{}{room}", self.0)
    }

    /// The number of a named room.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.0)?.parse().ok()
    }
}
