//! How rooms outlive their process: a home that ends hands them out some at a time, and one that begins takes them.
//!
//! *Invariant:* what was handed out is complete. From the first page on the home orders nothing any more, so that no
//! position is acknowledged that a later start would give again.

use std::sync::Arc;

use super::Rooms;
use crate::{
    log::Log,
    mailbox::PublishRefusal,
    room::RoomKey,
    rules::RoomRules,
    saved::{PageBounds, Restored, SavedPage, SavedRoom},
};

/// The highest offset that a room comes back with. No room reaches it in a hundred years of a billion messages a second;
/// whatever says otherwise is damaged, and offsets behind it would not fit.
const OFFSET_MAX: u64 = 1 << 62;

/// What a home has yet to hand out.
#[derive(Debug)]
pub(super) struct Ending {
    rooms: Vec<RoomKey>,
}

impl Rooms {
    /// Hands out the next rooms, which are gone from here then. With the first page the home ends.
    pub(super) fn save(&mut self, most: PageBounds) -> SavedPage {
        if self.ending.is_none() {
            self.close_runs();
            self.vacate_all();
            let rooms = self.rooms.keys().collect();
            self.ending = Some(Ending { rooms });
        }
        let mut page = SavedPage {
            rooms: Vec::new(),
            is_last: false,
        };
        let mut bytes = 0;
        for _ in 0..most.rooms {
            if bytes >= most.bytes {
                return page;
            }
            let next = self.ending.as_mut().and_then(|ending| ending.rooms.pop());
            let saved = match next {
                Some(key) => self.save_room(key),
                None => match self.retired.take_latest() {
                    Some((name, log)) => {
                        self.budget.give_back(1);
                        Some(log.save(name))
                    }
                    None => {
                        page.is_last = true;
                        return page;
                    }
                },
            };
            bytes += saved.as_ref().map_or(0, SavedRoom::bytes);
            page.rooms.extend(saved);
        }
        page
    }

    /// Takes a room out, and returns what is to be kept of it.
    fn save_room(&mut self, key: RoomKey) -> Option<SavedRoom> {
        let wall_ms = self.wall_ms;
        let mut room = self.remove(key)?;
        self.budget.give_back(1);
        let backlog = room.backlog.take().unwrap_or_default();
        for publication in backlog.into_waiting() {
            self.waiting_bytes -= publication.bytes();
            self.refuse(&publication, PublishRefusal::RoomGone);
        }
        room.log.trim(&room.rules, wall_ms);
        outlives(&room.rules, &room.log).then(|| room.log.save(room.name))
    }

    /// Takes rooms that another home handed out, as far as the rules of now keep something of them and there is
    /// space.
    pub(super) fn restore(&mut self, saved: Vec<SavedRoom>) -> Restored {
        let mut restored = Restored::default();
        for room in saved {
            match self.restore_room(room) {
                Some(true) => restored.rooms += 1,
                Some(false) => restored.positions += 1,
                None => restored.left_out += 1,
            }
        }
        restored
    }

    /// Whether the room is back with more than its position; `None` if it is not back.
    fn restore_room(&mut self, saved: SavedRoom) -> Option<bool> {
        let name = saved.name.clone();
        let is_here = self.by_name.contains_key(&name) || self.retired.has(&name);
        if is_here || self.ending.is_some() || saved.position.offset > OFFSET_MAX {
            return None;
        }
        let rules = self.rules.rules(&name);
        let log = Log::restored(saved, &rules, self.wall_ms);
        let keeps_more = log.has_more_than_a_position();
        if !outlives(&rules, &log) || !keeps_more && self.retired.len() >= self.bounds.positions {
            return None;
        }
        if !self.budget.take() {
            return None;
        }
        if keeps_more {
            let key = self.insert(name, rules, log);
            self.keep_within_bounds();
            self.note_if_empty(key);
        } else {
            self.retired.put(name, log.bare(), self.now_ms);
        }
        Some(keeps_more)
    }
}

/// Whether anything of a room outlives its process. One that has a history and no positions beyond its own life is
/// meant to be over with it, as one-shot rooms are.
fn outlives(rules: &Arc<RoomRules>, log: &Log) -> bool {
    rules.keeps_position || rules.history.is_none() && !log.is_bare()
}
