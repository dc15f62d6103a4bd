//! What the tables of rooms have space for: publications that do not fit are refused before they are ordered.

use super::Rooms;
use crate::{
    mailbox::PublishRefusal,
    room::RoomKey,
    run::Run,
    table::{TableLimits, Verdict},
};

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
}
