//! Subscribers who are given the latest frame of each key, because they read more slowly than their room
//! speaks: who leaves the log for that, what they are given, and who comes back.

use std::sync::Arc;

use super::{Shard, ShardKey, Shards, Subscription};
use crate::rooms::standing::Standing;

/// What the rooms of a core have to do with keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConflationSum {
    /// Shards whose messages have keys.
    pub(super) shards: usize,
    /// Subscribers who have left their logs.
    pub(crate) laggards: usize,
    /// Subscribers for whom too much would have to be kept: they are to leave their rooms.
    pub(crate) lost: usize,
    /// Updates that subscribers were not given, because there were later ones of the same key.
    pub(crate) passed_over: u64,
}

impl Shards {
    /// What the rooms of this core have to do with keys.
    pub(crate) fn conflation(&self) -> ConflationSum {
        self.conflation
    }

    /// How many updates were passed over since this was last asked.
    pub(crate) fn take_passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.conflation.passed_over)
    }

    /// Whether any room here has messages with keys.
    pub(crate) fn has_keys(&self) -> bool {
        self.conflation.shards > 0
    }

    /// Whether a subscription whose socket is full is better off with the latest of each key: whole frames wait
    /// for it in a room whose messages have keys.
    pub(crate) fn may_conflate(&self, subscription: Subscription) -> bool {
        let (shard, subscriber) = self.at(subscription);
        let cursor = subscriber.standing.cursor(shard.log.head());
        let may_leave = shard.latest.is_some() && subscriber.own.is_none();
        may_leave && shard.log.frames_behind(cursor) > 0
    }

    /// Has a subscription leave the log: from now on it is [given](Self::give_latest) the latest frame of each
    /// key that it lacks. The rest of a frame of which a part has left is the caller's to send.
    pub(crate) fn conflate(&mut self, subscription: Subscription) {
        let (shard, subscriber) = self.at(subscription);
        let cursor = subscriber.standing.cursor(shard.log.head());
        let lacks = shard.log.frames_behind(cursor);
        let held_bytes = shard.held_bytes();
        let shard = &mut self.shards[subscription.shard];
        let head = shard.log.head();
        let Some(latest) = &mut shard.latest else {
            return;
        };
        let number = latest.enter(&shard.log, lacks);
        shard.readers.leave(cursor, head);
        let subscriber = &mut shard.subscribers[subscription.subscriber as usize];
        subscriber.standing = Standing::Latest(number).into();
        self.conflation.laggards += 1;
        self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        self.trim(subscription.shard);
    }

    /// Whether a subscription has left its log.
    pub(crate) fn is_conflated(&self, subscription: Subscription) -> bool {
        matches!(self.standing(subscription), Standing::Latest(_))
    }

    /// Whether a subscription has to leave its room.
    pub(crate) fn is_lost(&self, subscription: Subscription) -> bool {
        self.standing(subscription) == Standing::Lost
    }

    /// Appends what a subscription that has left its log lacks, until that are `most` bytes or more. One that
    /// lacks nothing is at the head of the log again; returns whether this is so.
    pub(crate) fn give_latest(
        &mut self,
        subscription: Subscription,
        most: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Standing::Latest(number) = self.standing(subscription) else {
            return true;
        };
        let shard = &mut self.shards[subscription.shard];
        let held_bytes = shard.held_bytes();
        let Some(latest) = &mut shard.latest else {
            return true;
        };
        let given = latest.give(number, most, out);
        self.conflation.passed_over += given.passed_over;
        if given.is_all {
            latest.leave(number);
            self.conflation.laggards -= 1;
            shard.readers.enter();
            let subscriber = &mut shard.subscribers[subscription.subscriber as usize];
            subscriber.standing = Standing::Log(shard.log.head()).into();
        }
        self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        given.is_all
    }

    /// A subscriber with this standing is gone from a shard.
    pub(super) fn forget_standing(&mut self, key: ShardKey, standing: Standing) {
        let shard = &mut self.shards[key];
        match (standing, &mut shard.latest) {
            (Standing::Log(cursor), _) => shard.readers.leave(cursor, shard.log.head()),
            (Standing::Latest(number), Some(latest)) => {
                latest.leave(number);
                self.conflation.laggards -= 1;
            }
            (Standing::Latest(_), None) => {}
            (Standing::Lost, _) => self.conflation.lost -= 1,
        }
    }

    fn standing(&self, subscription: Subscription) -> Standing {
        let shard = &self.shards[subscription.shard];
        let subscriber = &shard.subscribers[subscription.subscriber as usize];
        subscriber.standing.get()
    }
}

impl Shard {
    /// Bytes of memory that are held for a subscription which has left the log.
    pub(super) fn conflated_bytes(&self, standing: Standing) -> usize {
        match (standing, &self.latest) {
            (Standing::Latest(number), Some(latest)) => latest.bytes_of(number),
            _ => 0,
        }
    }

    /// A frame was appended to the log, of this key if it has one.
    pub(super) fn note_key(&mut self, of: Option<&Arc<str>>, sum: &mut ConflationSum) {
        if of.is_some() && self.latest.is_none() {
            self.latest = Some(Box::default());
            sum.shards += 1;
        }
        let Some(latest) = &mut self.latest else {
            return;
        };
        if latest.note(of, &self.log).is_err() {
            let lost = self.give_up_laggards();
            sum.laggards -= lost;
            sum.lost += lost;
        }
    }

    /// A frame without a key was appended to the log, perhaps of several messages.
    pub(super) fn note_no_key(&mut self) {
        if let Some(latest) = &mut self.latest {
            latest.note_none(&self.log);
        }
    }

    /// Forgets what is kept for those who have left the log; returns how many these were.
    fn give_up_laggards(&mut self) -> usize {
        let mut lost = 0;
        for (_, subscriber) in &mut self.subscribers {
            if matches!(subscriber.standing.get(), Standing::Latest(_)) {
                subscriber.standing = Standing::Lost.into();
                lost += 1;
            }
        }
        if let Some(latest) = &mut self.latest {
            latest.forget();
        }
        lost
    }
}
