//! What the tables of rooms have space for: publications that do not fit are refused before they are ordered. And
//! tables that are cleared.

use super::Rooms;
use crate::{
    bound::bound,
    mailbox::{Answer, AnswerRefusal, PublishRefusal},
    name::RoomName,
    room::RoomKey,
    run::Run,
    table::{TableLimits, Verdict},
};

/// Most removals of a cleared table that are ordered as one run.
const REMOVALS_PER_RUN: usize = bound(512, 2);

impl Rooms {
    /// Takes out of a run what the table of its room has no space for, and what would not change it, and
    /// answers those who have published that.
    pub(super) fn sift(&mut self, key: RoomKey, run: &mut Run) {
        let room = &self.rooms[key];
        let Some(limits) = room.rules.table else {
            return;
        };
        // Who comes is given the whole table in one answer, so that it never has more than an answer may.
        let most = room.log.table_bytes() + self.pasts.left_for_tables();
        let most = most.min(self.bounds.answer.bytes);
        let mut admission = room.log.admission(TableLimits {
            bytes: limits.bytes.min(most),
            ..limits
        });
        let mut top = room.log.top();
        let taken = run.sift(|record| match admission.judge(record) {
            Verdict::Ordered => {
                top.offset += 1;
                None
            }
            Verdict::Idle => Some(Ok(top)),
            Verdict::Refused => Some(Err(PublishRefusal::TableFull)),
        });
        for (publication, fate) in taken {
            match fate {
                Ok(top) => {
                    let published = publication.answer(super::id_of(self.home, key), top);
                    self.deliver(publication.publisher.core, published);
                }
                Err(reason) => self.refuse(&publication, reason),
            }
        }
    }

    /// Removes all keys of a room's table, as if each removal was published. In a held room they would overtake the
    /// publications that wait, so that nothing is done there.
    pub(super) fn clear_table(&mut self, name: &RoomName, stamp: u64) -> Answer {
        if self.ending.is_some() {
            return Answer::Refused(AnswerRefusal::Busy);
        }
        let Some(&key) = self.by_name.get(name) else {
            return Answer::Done;
        };
        self.close_run(key);
        let room = &mut self.rooms[key];
        if room.backlog.is_some() {
            return Answer::Refused(AnswerRefusal::Busy);
        }
        let removals: Vec<_> = room.log.removals().collect();
        for records in removals.chunks(REMOVALS_PER_RUN) {
            let messages = (records.into(), records.iter().map(|_| stamp).collect());
            let (id, outgoing) = (super::id_of(self.home, key), &mut self.outgoing);
            super::append(id, room, messages, self.wall_ms, outgoing);
        }
        self.pasts.count(key, room, None);
        self.note_if_empty(key);
        Answer::Done
    }
}
