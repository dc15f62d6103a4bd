//! What the rooms of a home keep of their past: trimmed when it expires, given up for want of memory, forgotten on
//! request, and kept by other rules after a reload.

use std::sync::Arc;

use super::Rooms;
use crate::{
    bound::bound,
    mailbox::{Answer, AnswerRefusal},
    name::RoomName,
    occupancy::Said,
    room::RoomKey,
    rules::RuleBook,
};

/// Most rooms whose past is looked at in one sweep for what has expired. Reading trims, too, so that nobody is
/// given an expired message; only its memory is given back late.
const TRIMMED_PER_SWEEP: usize = bound(1024, 2);

/// Most rooms that follow other rules in one sweep.
const CONFIGURED_PER_SWEEP: usize = bound(16_384, 2);

impl Rooms {
    /// Bytes that all rooms keep of their past.
    pub fn past_bytes(&self) -> usize {
        self.pasts.bytes()
    }

    /// Has the rooms that exist follow other rules: some at each sweep, and each at once when somebody joins.
    pub(super) fn configure(&mut self, rules: Arc<dyn RuleBook>) {
        self.rules = rules;
        self.to_configure = self.rooms.keys().collect();
    }

    pub(super) fn follow_rules(&mut self) {
        for _ in 0..CONFIGURED_PER_SWEEP {
            let Some(key) = self.to_configure.pop() else {
                return;
            };
            self.follow(key);
        }
    }

    /// Has a room follow the rules of now, if it does not.
    pub(super) fn follow(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.get_mut(key) {
            let rules = self.rules.rules(&room.name);
            if !Arc::ptr_eq(&rules, &room.rules) {
                room.follow(rules, self.wall_ms);
                self.pasts.count(key, room, None);
                self.note_occupied(key);
            }
        }
    }

    /// Ends a room that has been empty for long enough, and keeps what its rules say of it.
    pub(super) fn reap_or_keep(&mut self, key: RoomKey, idle_ms: u64, position_ttl_ms: u64) {
        let Some(room) = self.rooms.get_mut(key) else {
            // The room was lost after it emptied.
            return;
        };
        if !room.cores.is_empty() || room.backlog.is_some() {
            room.awaits_reaping = false;
            return;
        }
        room.forget_table_if_unused(self.now_ms);
        self.pasts.count(key, room, None);
        if !room.log.is_bare() || room.said != Said::Vacated {
            // It keeps a part of its past, or is yet to be told of: it is looked at again when that may be over.
            self.emptied.push_back((key, self.now_ms));
        } else if self.now_ms.saturating_sub(room.idle_since_ms) < idle_ms {
            self.emptied.push_back((key, room.idle_since_ms));
        } else if let Some(room) = self.remove(key) {
            match position_ttl_ms {
                0 => self.budget.give_back(1),
                _ if !room.rules.keeps_position => self.budget.give_back(1),
                _ => {
                    self.retired.put(room.name, room.log.bare(), self.now_ms);
                    if self.retired.len() > self.bounds.positions && self.give_up_position() {
                        self.budget.give_back(1);
                    }
                }
            }
        }
    }

    /// Gives back the memory of what has expired, of some rooms.
    pub(super) fn trim_pasts(&mut self) {
        for _ in 0..TRIMMED_PER_SWEEP {
            let Some(key) = self.pasts.next() else {
                return;
            };
            self.trim(key);
        }
    }

    pub(super) fn trim(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key];
        room.log.trim(&room.rules, self.wall_ms);
        self.pasts.count(key, room, None);
    }

    /// Forgets the messages of a room. Its keys of publications stay, so that a repeated one has no second place.
    pub(super) fn forget_history(&mut self, name: &RoomName) -> Answer {
        if self.ending.is_some() {
            // What was handed out already would come back.
            return Answer::Refused(AnswerRefusal::Busy);
        }
        if let Some(&key) = self.by_name.get(name) {
            self.close_run(key);
            let room = &mut self.rooms[key];
            room.log.forget_history();
            self.pasts.count(key, room, None);
            self.note_if_empty(key);
        }
        Answer::Done
    }

    /// While all rooms keep more than they may, the longest untouched gives its oldest
    /// messages. Keys stay: they are bounded for each room.
    pub(super) fn keep_within_bounds(&mut self) {
        while let Some(key) = self.pasts.must_give() {
            let room = &mut self.rooms[key];
            room.log.drop_oldest();
            self.pasts.count(key, room, None);
            self.kept.messages_given_up += 1;
        }
    }

    /// Forgets the position that has been kept longest, if there is any, because another one or a room needs
    /// its place.
    pub(super) fn give_up_position(&mut self) -> bool {
        let is_given_up = self.retired.drop_oldest();
        self.kept.positions_given_up += u64::from(is_given_up);
        is_given_up
    }

    /// Tells all who watch what is kept here now.
    pub(super) fn say_what_is_kept(&mut self) {
        self.kept.past_bytes = self.pasts.bytes() as u64;
        self.kept.positions = self.retired.len() as u64;
        let before = std::mem::replace(&mut self.kept_said, self.kept);
        self.budget.keeps(before, self.kept);
    }
}
