//! Why a connection is not read, and since when.

use crate::clock::RecentMs;

/// A pause in reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) wait: Wait,
    pub(crate) since: RecentMs,
}

/// What a connection waits for before it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The answers to what it has asked its rooms for.
    Answers,
    /// Room in its own queue.
    Queue,
    /// An order for what it published.
    Window,
    /// Room for requests to a home.
    Home,
}
