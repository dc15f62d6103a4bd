//! How many rooms there may be on all cores together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many rooms there may be on all cores together, kept logs of former rooms included. Shared by
/// their homes; touched only when a room is made or its log is forgotten.
#[derive(Debug)]
pub struct RoomBudget {
    rooms: AtomicUsize,
    rooms_max: AtomicUsize,
}

impl RoomBudget {
    /// A budget of `rooms_max` rooms in all.
    pub fn new(rooms_max: usize) -> Arc<Self> {
        Arc::new(Self {
            rooms: AtomicUsize::new(0),
            rooms_max: AtomicUsize::new(rooms_max),
        })
    }

    /// How many rooms and kept logs there are now.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Allows so many from now on. Rooms that are there stay, even if they are more.
    pub fn allow(&self, rooms_max: usize) {
        self.rooms_max.store(rooms_max, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) -> bool {
        let rooms_max = self.rooms_max.load(Ordering::Relaxed);
        let more = |rooms| (rooms < rooms_max).then_some(rooms + 1);
        self.rooms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(crate) fn give_back(&self, rooms: usize) {
        self.rooms.fetch_sub(rooms, Ordering::Relaxed);
    }
}
