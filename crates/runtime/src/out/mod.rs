//! What waits to be sent to one connection, and buffers for it. Nothing here knows of sockets.

mod send_queue;
mod spare;

pub(crate) use send_queue::{Plan, Remainder, SendQueue, Sending, lag};
pub(crate) use spare::Spare;
