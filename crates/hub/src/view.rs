//! What an operator sees of a home's rooms: those with the most subscribers or messages; all of them, some at a
//! time.

use std::cmp::Reverse;

use crate::name::RoomName;

/// Most rooms that one report examines, so that it takes a core about a millisecond. They are always the
/// first slots of the home: rooms beyond do not appear.
pub const LOOKED_AT_MAX: usize = 10_000;

/// The rooms of one home that stand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// The number of rooms that the home has.
    pub of: usize,
    /// The number of rooms examined, at most 10,000.
    pub looked_at: usize,
    /// Milliseconds between the latest sweeps before the previous report and before this one.
    pub window_ms: u64,
    /// The rooms with the most subscribers, in descending order.
    pub largest: Vec<Seen>,
    /// The rooms with the most messages since the previous report, in descending order.
    pub busiest: Vec<Seen>,
}

/// Some rooms of one home, of a list that has all of them. Rooms that are made or reaped meanwhile may be missing;
/// all others are there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The rooms, and the number of subscribers of each, on all cores.
    pub rooms: Vec<(RoomName, u32)>,
    /// Where the list goes on; `None` if these are the last ones.
    pub next: Option<u32>,
}

/// One room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: RoomName,
    /// The number of the core that orders its messages.
    pub home: u16,
    /// The number of its subscribers, on all cores.
    pub subscribers: u32,
    /// The number of cores that have its subscribers.
    pub cores: usize,
    /// The offset of its latest message, which is the number of its messages.
    pub messages: u64,
    /// The number of messages since the previous report.
    pub messages_new: u64,
}

impl RoomView {
    /// Picks `top` rooms of each kind among those examined.
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
