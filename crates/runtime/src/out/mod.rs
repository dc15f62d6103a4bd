//! What waits to be sent to one connection, and buffers for it. Nothing here knows of sockets.

mod send_queue;
mod spare;

#[cfg(test)]
pub(crate) use send_queue::lag;
pub(crate) use send_queue::{Plan, Remainder, SendQueue, Sending, kept_bytes};
pub(crate) use spare::Spare;
