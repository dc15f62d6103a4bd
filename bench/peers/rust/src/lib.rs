//! What the Rust peers share: listening on several threads, the paths they serve, and rooms.

mod listen;
mod rooms;

pub use listen::{Endpoint, serve};
pub use rooms::{Membership, Rooms};

/// Most messages that wait for one subscriber. One that lags further leaves the room and is closed.
pub const QUEUE_MESSAGES_MAX: usize = 1024;

/// Most queued messages that are taken before the socket is flushed.
pub const BATCH_MESSAGES: usize = 64;
