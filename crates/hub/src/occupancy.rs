//! Whether a room has subscribers, as somebody outside is told of it.

use std::fmt;

use crate::name::RoomName;

/// Is told when rooms become occupied, and when they are vacated.
///
/// It is called by homes in the midst of a turn, so it must not wait.
pub trait Occupancy: Send + Sync {
    /// The room has a first subscriber. It is said at once, and not again before the room was said to be vacated.
    fn occupied(&self, room: &RoomName);

    /// The room has had no subscriber for [`debounce_ms`](Self::debounce_ms).
    fn vacated(&self, room: &RoomName);

    /// For how long a room must have been empty to be vacated: one that is left and entered again within it has
    /// been occupied all the time. In milliseconds of the sweeps.
    fn debounce_ms(&self) -> u64;
}

impl fmt::Debug for dyn Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Occupancy")
    }
}

/// What was last said of a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing, or that it is vacated.
    #[default]
    Vacated,
    /// That it is occupied, and it is.
    Occupied,
    /// That it is occupied, and it has been empty since then, in milliseconds of the sweeps.
    Empty { since_ms: u64 },
}
