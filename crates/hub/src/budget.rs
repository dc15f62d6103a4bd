//! The bound on rooms, over all cores, and what all homes keep of rooms' pasts, in numbers.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Bounds the rooms of all cores together, including the retired logs of former rooms. All homes share
/// it; it changes only when a room is made or its log is dropped.
#[derive(Debug)]
pub struct RoomBudget {
    rooms: AtomicUsize,
    rooms_max: AtomicUsize,
    kept: [AtomicU64; KEPT_NUMBERS],
}

/// What homes keep of rooms' pasts, and what they had to give up of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of histories and idempotency keys.
    pub past_bytes: u64,
    /// Former rooms whose epoch and offset are kept.
    pub positions: u64,
    /// Messages that histories gave up because all together had no more memory.
    pub messages_given_up: u64,
    /// Positions that were forgotten before their time because others needed their places.
    pub positions_given_up: u64,
}

const KEPT_NUMBERS: usize = 4;

impl Kept {
    fn numbers(self) -> [u64; KEPT_NUMBERS] {
        [
            self.past_bytes,
            self.positions,
            self.messages_given_up,
            self.positions_given_up,
        ]
    }
}

impl RoomBudget {
    /// A budget of `rooms_max` rooms over all cores.
    pub fn new(rooms_max: usize) -> Arc<Self> {
        Arc::new(Self {
            rooms: AtomicUsize::new(0),
            rooms_max: AtomicUsize::new(rooms_max),
            kept: Default::default(),
        })
    }

    /// The number of rooms and retired logs now.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// What all homes kept at their latest sweeps.
    pub fn kept(&self) -> Kept {
        let [past_bytes, positions, messages_given_up, positions_given_up] = self
            .kept
            .each_ref()
            .map(|number| number.load(Ordering::Relaxed));
        Kept {
            past_bytes,
            positions,
            messages_given_up,
            positions_given_up,
        }
    }

    /// One home keeps `now`, where it said `before` the last time.
    pub(crate) fn keeps(&self, before: Kept, now: Kept) {
        let changes = before.numbers().into_iter().zip(now.numbers());
        for (number, (before, now)) in self.kept.iter().zip(changes) {
            number.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
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
