//! The bound on rooms, over all cores.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Bounds the rooms of all cores together, including the retired logs of former rooms. All homes share
/// it; it changes only when a room is made or its log is dropped.
#[derive(Debug)]
pub struct RoomBudget {
    rooms: AtomicUsize,
    rooms_max: AtomicUsize,
}

impl RoomBudget {
    /// A budget of `rooms_max` rooms over all cores.
    pub fn new(rooms_max: usize) -> Arc<Self> {
        Arc::new(Self {
            rooms: AtomicUsize::new(0),
            rooms_max: AtomicUsize::new(rooms_max),
        })
    }

    /// The number of rooms and retired logs now.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Sets a new bound. Existing rooms stay, even if they exceed it.
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
