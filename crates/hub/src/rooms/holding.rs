//! Rooms that are held, because a core cannot keep up with them: their publications wait in backlogs, which are ordered
//! some at a time once no core holds the room any more.

use super::Rooms;
use crate::{bound::bound, mailbox::CoreId, room::RoomKey};

/// Most publications of backlogs that are ordered in one turn.
const RELEASED_PER_TURN: usize = bound(1024, 3);

impl Rooms {
    /// Orders publications from the backlogs of rooms that are no longer held, up to 1,024 of them.
    /// Returns whether more are left for another turn.
    pub fn order_released(&mut self) -> bool {
        let mut left = RELEASED_PER_TURN;
        while left > 0
            && let Some(key) = self.released.pop_front()
        {
            left -= self.order_backlog(key, left);
        }
        !self.released.is_empty()
    }

    pub(super) fn hold(&mut self, key: RoomKey, core: CoreId) {
        self.close_run(key);
        if let Some(room) = self.rooms.get_mut(key) {
            room.set_held(core, true);
            if room.is_held() {
                room.backlog.get_or_insert_default();
            }
        }
    }

    pub(super) fn resume(&mut self, key: RoomKey, core: CoreId) {
        if let Some(room) = self.rooms.get_mut(key) {
            room.set_held(core, false);
            self.release(key);
        }
    }

    /// Queues the room's backlog for ordering, if it has one and no core holds the room.
    pub(super) fn release(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key];
        if room.is_held() {
            return;
        }
        if let Some(backlog) = &mut room.backlog {
            if backlog.is_empty() {
                room.backlog = None;
            } else if !std::mem::replace(&mut backlog.is_listed, true) {
                self.released.push_back(key);
            }
        }
    }

    /// Orders one run of a released room's backlog, at most `most` publications; returns how many.
    /// Skips a room that was lost or held again after its release.
    fn order_backlog(&mut self, key: RoomKey, most: usize) -> usize {
        let Some(room) = self.rooms.get_mut(key) else {
            return 0;
        };
        let is_held = room.is_held();
        let Some(backlog) = &mut room.backlog else {
            return 0;
        };
        backlog.is_listed = false;
        if is_held {
            return 0;
        }
        let (mut run, len, bytes) = backlog.take_run(most);
        self.waiting_bytes -= bytes;
        self.order(key, &mut run);
        self.note_if_empty(key);
        self.release(key);
        len
    }
}
