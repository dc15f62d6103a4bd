//! Subscribers that are not sent what they publish themselves.
//!
//! A message is a subscriber's own if it has the subscriber's details: not equal ones, but that very value. Who
//! has had everything before such a message is past it at once. For one that lags, the message is noted as a run
//! of bytes, over which the cursor is moved when it comes there.
//!
//! *Bounded:* a run that is noted counts as bytes that wait, so that what bounds the lag bounds the runs, too. The log
//! keeps the messages themselves for as long as others wait before them; when memory is short, who causes that is
//! looked for by [these bytes](Shards::kept_bytes) and not by its lag.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use hub::{Details, RoomId};
use slab::Slab;

use super::{Shard, ShardKey, Shards, Subscription};
use crate::rooms::standing::Standing;

/// Which of these subscribers one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnKey(NonZeroU32);

/// These subscribers of a core. Few subscribers are such, so that nothing of it lies beside the cursors of others.
#[derive(Default)]
pub(super) struct OwnMessages {
    entries: Slab<Own>,
    /// By their room, and where their details lie.
    keys: HashMap<(RoomId, *const Details), OwnKey>,
    /// Runs of all entries.
    runs: usize,
}

/// One of them.
struct Own {
    room: RoomId,
    /// What its messages have beside their payloads. It is kept, so that nothing else comes to lie there.
    details: Arc<Details>,
    subscription: Subscription,
    /// Its own messages between its cursor and the head, ascending; others lie before each.
    runs: VecDeque<Run>,
    /// Bytes and frames of all runs.
    bytes: u64,
    frames: u64,
}

/// Messages that follow each other in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: u64,
    to: u64,
    frames: u64,
}

impl OwnKey {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl OwnMessages {
    /// The subscriber of a room whose messages have these details.
    pub(super) fn find(&self, room: RoomId, details: &Arc<Details>) -> Option<OwnKey> {
        if self.keys.is_empty() {
            return None;
        }
        self.keys.get(&(room, Arc::as_ptr(details))).copied()
    }

    /// The shard of such a subscriber.
    pub(super) fn shard(&self, key: OwnKey) -> ShardKey {
        self.entries[key.index()].subscription.shard
    }

    /// How many bytes a subscriber lags behind whose cursor is so far from the head.
    pub(super) fn lag(&self, key: OwnKey, behind: usize) -> usize {
        let own = &self.entries[key.index()];
        behind - own.bytes as usize + own.runs.len() * size_of::<Run>()
    }

    /// How many bytes of memory a subscriber takes whose cursor is so far from the head: its own messages stay in the
    /// log for as long as others wait before them.
    pub(super) fn kept(&self, key: OwnKey, behind: usize) -> usize {
        behind + self.entries[key.index()].runs.len() * size_of::<Run>()
    }

    /// How many bytes are to be sent to a subscriber whose cursor is so far from the head.
    pub(super) fn unsent(&self, key: OwnKey, behind: u64) -> u64 {
        behind - self.entries[key.index()].bytes
    }

    /// How many frames are passed over.
    pub(super) fn frames(&self, key: OwnKey) -> u64 {
        self.entries[key.index()].frames
    }

    /// Where the first run begins, if there is one.
    pub(super) fn first(&self, key: OwnKey) -> Option<u64> {
        Some(self.entries[key.index()].runs.front()?.from)
    }

    /// What lies between the runs and behind the last: from where to where.
    pub(super) fn between(&self, key: OwnKey, head: u64) -> impl Iterator<Item = (u64, u64)> {
        let runs = &self.entries[key.index()].runs;
        let ends = runs.iter().skip(1).map(|run| run.from).chain([head]);
        let pieces = runs.iter().map(|run| run.to).zip(ends);
        pieces.filter(|(from, to)| from < to)
    }

    /// Memory that the runs take, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.runs * size_of::<Run>()
    }

    fn enter(&mut self, room: RoomId, details: Arc<Details>, subscription: Subscription) -> OwnKey {
        let place = (room, Arc::as_ptr(&details));
        let index = self.entries.insert(Own {
            room,
            details,
            subscription,
            runs: VecDeque::new(),
            bytes: 0,
            frames: 0,
        });
        let key = OwnKey(NonZeroU32::MIN.saturating_add(index as u32));
        self.keys.insert(place, key);
        key
    }

    /// The subscriber is gone.
    pub(super) fn remove(&mut self, key: OwnKey) {
        let own = self.entries.remove(key.index());
        self.runs -= own.runs.len();
        let place = (own.room, Arc::as_ptr(&own.details));
        // Another subscriber may have come with the same details.
        if self.keys.get(&place) == Some(&key) {
            self.keys.remove(&place);
        }
    }

    /// The subscriber lies elsewhere in its shard.
    pub(super) fn moved(&mut self, key: OwnKey, to: Subscription) {
        self.entries[key.index()].subscription = to;
    }

    /// Notes one frame of the subscriber's own.
    fn note(&mut self, key: OwnKey, from: u64, to: u64) {
        let own = &mut self.entries[key.index()];
        own.bytes += to - from;
        own.frames += 1;
        match own.runs.back_mut() {
            Some(last) if last.to == from => {
                last.to = to;
                last.frames += 1;
            }
            _ => {
                self.runs += 1;
                let frames = 1;
                own.runs.push_back(Run { from, to, frames });
            }
        }
    }

    /// Forgets the runs up to a place to which the subscriber's cursor moves. Returns where that comes to stand.
    pub(super) fn advance(&mut self, key: OwnKey, mut to: u64) -> u64 {
        let own = &mut self.entries[key.index()];
        while let Some(run) = own.runs.front().filter(|run| run.from <= to) {
            to = to.max(run.to);
            own.bytes -= run.to - run.from;
            own.frames -= run.frames;
            own.runs.pop_front();
            self.runs -= 1;
        }
        if own.runs.is_empty() {
            own.runs = VecDeque::new();
        }
        to
    }
}

impl Shards {
    /// From now on, messages of its room with these very details are not sent to this subscriber.
    pub(crate) fn pass_over(&mut self, subscription: Subscription, details: Arc<Details>) {
        let room = self.room(subscription);
        let key = self.own.enter(room, details, subscription);
        let before = self.at_mut(subscription).own.replace(key);
        if let Some(before) = before {
            self.own.remove(before);
        }
    }

    /// The latest frame of a shard, from `before` to its head, is this subscriber's own.
    pub(super) fn pass(&mut self, key: OwnKey, before: u64) {
        let subscription = self.own.entries[key.index()].subscription;
        let shard = &mut self.shards[subscription.shard];
        let head = shard.log.head();
        let subscriber = &mut shard.subscribers[subscription.subscriber as usize];
        if subscriber.standing.cursor(head) < before {
            return self.own.note(key, before, head);
        }
        subscriber.standing = Standing::Log(head).into();
        shard.readers.advance(before, head, head);
        self.trim(subscription.shard);
    }

    /// What is to be sent to this subscription behind [`unsent`](Self::unsent): the pieces between its own messages.
    pub(crate) fn unsent_behind(
        &self,
        subscription: Subscription,
    ) -> impl Iterator<Item = [&[u8]; 2]> {
        let (Shard { log, .. }, subscriber) = self.at(subscription);
        let own = subscriber.own.into_iter();
        let pieces = own.flat_map(move |own| self.own.between(own, log.head()));
        pieces.map(move |(from, to)| log.run(from, to))
    }
}
