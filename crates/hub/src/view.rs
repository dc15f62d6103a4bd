//! What an operator sees of a home's rooms: those that stand out.

use std::cmp::Reverse;

use crate::name::RoomName;

/// How many rooms one look takes in at most, so that it takes a core about a millisecond.
pub const LOOKED_AT_MAX: usize = 10_000;

/// The rooms of one home that stand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// How many rooms the home has.
    pub of: usize,
    /// How many of them were looked at: 10,000 at most.
    pub looked_at: usize,
    /// Milliseconds since the look before this one, or since the start.
    pub window_ms: u64,
    /// Those with the most subscribers, the most first.
    pub largest: Vec<Seen>,
    /// Those with the most messages since the look before this one, the most first.
    pub busiest: Vec<Seen>,
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: RoomName,
    /// The core that numbers its messages.
    pub home: u16,
    /// Its subscribers, on all cores.
    pub subscribers: u32,
    /// How many cores they are on.
    pub cores: usize,
    /// The number of its latest message.
    pub messages: u64,
    /// How many of them came since the look before this one.
    pub messages_new: u64,
}

impl RoomView {
    /// The `top` of each kind among the rooms that were looked at.
    pub(crate) fn new(of: usize, window_ms: u64, mut seen: Vec<Seen>, top: usize) -> Self {
        let looked_at = seen.len();
        seen.sort_unstable_by_key(|room| Reverse(room.subscribers));
        let largest = seen.iter().take(top).cloned().collect();
        seen.retain(|room| room.messages_new > 0);
        seen.sort_unstable_by_key(|room| Reverse(room.messages_new));
        seen.truncate(top);
        Self {
            of,
            looked_at,
            window_ms,
            largest,
            busiest: seen,
        }
    }
}
