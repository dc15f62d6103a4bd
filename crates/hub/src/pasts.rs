//! The ledger of what all rooms of a home keep of their past, in the order in which they were last touched.

use std::{collections::BTreeSet, ops::Bound};

use crate::room::{Counted, Room, RoomKey};

/// What the rooms of one home keep of their past, counted in bytes and bounded.
pub(crate) struct Pasts {
    bytes: usize,
    bytes_max: usize,
    /// How many of the bytes are tables, which are not given up.
    table_bytes: usize,
    /// Rooms that keep something, the longest untouched first.
    rooms: BTreeSet<Place>,
    /// Those of them that keep messages: keys are not given up for want of memory.
    givers: BTreeSet<Place>,
    /// The room that was looked at last for what has expired.
    looked_at: Option<Place>,
}

/// When the past of a room last grew, and the room.
type Place = (u64, RoomKey);

impl Pasts {
    /// A ledger of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: 0,
            bytes_max,
            table_bytes: 0,
            rooms: BTreeSet::new(),
            givers: BTreeSet::new(),
            looked_at: None,
        }
    }

    /// Bytes that all rooms keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// By how many bytes tables may grow. They are not given up for want of memory, so that they may have half
    /// of it: the other half is for what is.
    pub(crate) fn left_for_tables(&self) -> usize {
        (self.bytes_max / 2).saturating_sub(self.table_bytes)
    }

    /// Brings the ledger up to date with a room. `touched_ms` is now if its past has grown, in milliseconds
    /// of the sweeps.
    pub(crate) fn count(&mut self, key: RoomKey, room: &mut Room, touched_ms: Option<u64>) {
        let before = room.counted;
        let now = Counted {
            bytes: room.log.kept_bytes(),
            table_bytes: room.log.table_bytes(),
            has_messages: room.log.has_messages(),
            touched_ms: touched_ms.unwrap_or(before.touched_ms),
        };
        room.counted = now;
        self.change(key, before, now);
    }

    /// Takes a room that is no more out of the ledger.
    pub(crate) fn remove(&mut self, key: RoomKey, room: &mut Room) {
        let before = std::mem::take(&mut room.counted);
        self.change(key, before, Counted::default());
    }

    fn change(&mut self, key: RoomKey, before: Counted, now: Counted) {
        self.bytes = self.bytes - before.bytes + now.bytes;
        self.table_bytes = self.table_bytes - before.table_bytes + now.table_bytes;
        let place = |it: Counted| (it.touched_ms, key);
        let listed = |it: Counted| (it.bytes > 0).then(|| place(it));
        relist(&mut self.rooms, listed(before), listed(now));
        let giving = |it: Counted| it.has_messages.then(|| place(it));
        relist(&mut self.givers, giving(before), giving(now));
    }

    /// The room that has to give a message, because all together keep too much.
    pub(crate) fn must_give(&self) -> Option<RoomKey> {
        let (_, key) = self
            .givers
            .first()
            .filter(|_| self.bytes > self.bytes_max)?;
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

fn relist(rooms: &mut BTreeSet<Place>, before: Option<Place>, now: Option<Place>) {
    if before == now {
        return;
    }
    if let Some(before) = before {
        rooms.remove(&before);
    }
    rooms.extend(now);
}
