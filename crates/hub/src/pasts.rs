//! The ledger of what all rooms of a home keep of their past, in the order in which they were last touched.

use std::{collections::BTreeSet, ops::Bound};

use crate::room::{Counted, Room, RoomKey};

/// What the rooms of one home keep of their past, counted in bytes and bounded.
pub(crate) struct Pasts {
    bytes: usize,
    bytes_max: usize,
    /// Rooms that keep something, the longest untouched first.
    rooms: BTreeSet<(u64, RoomKey)>,
    /// The room that was looked at last for what has expired.
    looked_at: Option<(u64, RoomKey)>,
}

impl Pasts {
    /// A ledger of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            rooms: BTreeSet::new(),
            looked_at: None,
        }
    }

    /// Bytes that all rooms keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Brings the ledger up to date with a room. `touched_ms` is now if its past has grown, in milliseconds
    /// of the sweeps.
    pub(crate) fn count(&mut self, key: RoomKey, room: &mut Room, touched_ms: Option<u64>) {
        let bytes = room.log.kept_bytes();
        let before = room.counted;
        let touched_ms = touched_ms.unwrap_or(before.touched_ms);
        room.counted = Counted { bytes, touched_ms };
        self.bytes = self.bytes - before.bytes + bytes;
        let is_moved = before.touched_ms != touched_ms || bytes == 0;
        if before.bytes > 0 && is_moved {
            self.rooms.remove(&(before.touched_ms, key));
        }
        if bytes > 0 && (is_moved || before.bytes == 0) {
            self.rooms.insert((touched_ms, key));
        }
    }

    /// Takes a room that is no more out of the ledger.
    pub(crate) fn remove(&mut self, key: RoomKey, room: &mut Room) {
        let Counted { bytes, touched_ms } = std::mem::take(&mut room.counted);
        self.bytes -= bytes;
        self.rooms.remove(&(touched_ms, key));
    }

    /// The room that has to give something, because all together keep too much.
    pub(crate) fn must_give(&self) -> Option<RoomKey> {
        let (_, key) = self.rooms.first().filter(|_| self.bytes > self.bytes_max)?;
        Some(*key)
    }

    /// The next room to be looked at for what has expired; after the last one comes the first again.
    pub(crate) fn next(&mut self) -> Option<RoomKey> {
        let from = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.rooms.range((from, Bound::Unbounded)).next().copied();
        self.looked_at = next;
        next.map(|(_, key)| key)
    }
}
