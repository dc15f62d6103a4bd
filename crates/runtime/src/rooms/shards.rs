//! A room's subscribers on one core: the room's log here, and a cursor into it for each.
//!
//! Subscribers to whom messages look alike on the wire share a shard: a room has one for each form.
//!
//! ```text
//!  delivery ──offer──▶ log ──next_slice──▶ subscribers with news, some of each room in turn
//!                       ▲                        │ unsent: a run of bytes
//!            trimmed ───┴── taken: so many of them have left
//! ```
//!
//! *Fair:* shards with news take turns, in each of which a slice of their subscribers is visited. A round of a
//! shard ends when all have been; messages that are offered meanwhile belong to the next round.
//!
//! *Bounded:* what was offered and not visited yet has a bound for each room ([`Shards::must_park`]).
//! Deliveries beyond it are parked beside the room's shards, which keeps no other room waiting.
//!
//! *Conflated:* where messages have keys, who cannot keep up leaves the log and is given the latest of each key
//! (`conflation.rs`).

mod batches;
mod compact;
mod conflation;
mod own;
mod parking;

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use hub::{Delivery, Details, RoomId, RoomName, bound};
use slab::Slab;
use slotmap::{SlotMap, new_key_type};
use smallvec::SmallVec;

use self::own::{OwnKey, OwnMessages};
use super::{
    BatchInterval,
    latest::Latest,
    readers::Readers,
    room_log::RoomLog,
    standing::{Packed, Standing},
};
use crate::{encoding::WireForm, ids::ConnectionKey};
use batches::Batch;
pub(crate) use batches::{Gathering, Reach};
pub(crate) use conflation::ConflationSum;
pub(crate) use parking::{Parked, ParkedSum};

/// How much may be offered to a room before all of its subscribers here have been visited, in bytes: far
/// below what a subscriber may lag behind, so that a burst alone never closes a subscriber that keeps up.
const UNVISITED_BYTES_MAX: u64 = bound(256 << 10, 1 << 10) as u64;

new_key_type! {
    /// A shard's slot on its core.
    struct ShardKey;
}

/// One room on one core, in one form.
struct Shard {
    room: RoomId,
    form: WireForm,
    log: RoomLog,
    /// Where messages have had keys: their keys, and what is kept for those who have left the log.
    latest: Option<Box<Latest>>,
    /// Those who have not.
    readers: Readers,
    subscribers: Slab<Subscriber>,
    round: Option<Round>,
    /// The head of the log when the latest whole round began: subscribers that keep up have had
    /// everything before it.
    visited: u64,
    /// The receipt times of the messages for the next round, from which their latency is measured.
    stamps: Vec<u64>,
    /// What is gathered and no news yet, in a room whose messages leave together.
    batch: Option<Box<Batch>>,
    /// Whether it is on the list of those that have become sparse.
    is_noted_sparse: bool,
}

/// A walk over a shard's subscribers.
struct Round {
    /// The next subscriber to be visited.
    next: usize,
    /// The log's head when it began.
    head: u64,
    /// The receipt times of the messages that it sends.
    stamps: Vec<u64>,
}

/// A subscriber: whose it is, and how far it is.
struct Subscriber {
    connection: ConnectionKey,
    /// Which of the connection's rooms this is.
    slot: u8,
    standing: Packed,
    /// Which it is of those that are not sent what they publish themselves, if it is one.
    own: Option<OwnKey>,
}

/// A crowded room is mostly these.
const _: () = assert!(size_of::<Subscriber>() <= 24);

/// A connection's end of its subscription: where its subscriber is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    shard: ShardKey,
    subscriber: u32,
}

/// A room on this core.
struct RoomHere {
    name: RoomName,
    forms: SmallVec<[ShardKey; 1]>,
    /// Deliveries that came while the room's bound was reached, in order.
    parked: VecDeque<Delivery>,
    /// For how long its messages are gathered, if they are, by which rules.
    interval: Option<BatchInterval>,
    rules: u64,
}

/// What is to be sent to a subscription: each part in two runs, the second of which is empty unless the log's
/// ring wraps within it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsent<'a> {
    /// The rest of the frame of which a part has been sent; empty between frames.
    pub(crate) half_sent: [&'a [u8]; 2],
    /// The frames behind it, up to the next message of the subscriber's own, if it is not sent these.
    pub(crate) whole: [&'a [u8]; 2],
    /// Whether more is to be sent behind that message.
    pub(crate) has_more: bool,
}

/// A subscriber to which something is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) connection: ConnectionKey,
    pub(crate) slot: u8,
}

/// All shards of one core.
#[derive(Default)]
pub(crate) struct Shards {
    shards: SlotMap<ShardKey, Shard>,
    rooms: HashMap<RoomId, RoomHere>,
    /// Shards with news, in the order of their turns, each once.
    news: VecDeque<ShardKey>,
    /// Rooms with parked deliveries in which a round has ended, so that these may be delivered now.
    relieved: Vec<RoomId>,
    /// Shards most of whose subscribers have left, each once.
    sparse: Vec<ShardKey>,
    /// Subscribers that are not sent what they publish themselves.
    own: OwnMessages,
    /// Shards with a batch, by when it is over.
    due: BTreeSet<(u64, ShardKey)>,
    /// How often the rules of rooms have changed.
    rules: u64,
    /// Subscribers of all shards.
    subscriptions: usize,
    /// Bytes of memory that all logs, what is kept beside them, and parked deliveries take.
    held_bytes: usize,
    parked: ParkedSum,
    conflation: ConflationSum,
}

impl Shards {
    /// Adds a subscriber that gets what is offered from now on, in this form. If the room gathers its messages, its
    /// open frame is to be [closed](Self::close_frames) before.
    pub(crate) fn subscribe(
        &mut self,
        room: RoomId,
        name: &RoomName,
        form: WireForm,
        visit: Visit,
    ) -> Subscription {
        let key = self.shard(room, name, form);
        let shard = &mut self.shards[key];
        shard.readers.enter();
        self.subscriptions += 1;
        let subscriber = shard.subscribers.insert(Subscriber {
            connection: visit.connection,
            slot: visit.slot,
            standing: Standing::Log(shard.log.head()).into(),
            own: None,
        });
        Subscription {
            shard: key,
            subscriber: subscriber as u32,
        }
    }

    fn shard(&mut self, room: RoomId, name: &RoomName, form: WireForm) -> ShardKey {
        let shards = &mut self.shards;
        let here = self.rooms.entry(room).or_insert_with(|| RoomHere {
            name: name.clone(),
            forms: SmallVec::new(),
            parked: VecDeque::new(),
            interval: None,
            // It has not asked yet.
            rules: self.rules.wrapping_sub(1),
        });
        let found = here.forms.iter().find(|key| shards[**key].form == form);
        found.copied().unwrap_or_else(|| {
            let key = shards.insert(Shard {
                room,
                form,
                log: RoomLog::default(),
                latest: None,
                readers: Readers::default(),
                subscribers: Slab::new(),
                round: None,
                visited: 0,
                stamps: Vec::new(),
                batch: None,
                is_noted_sparse: false,
            });
            here.forms.push(key);
            key
        })
    }

    /// Removes a subscriber, and the shard with its last; returns the room that was left.
    pub(crate) fn unsubscribe(&mut self, subscription: Subscription) -> RoomId {
        let shard = &mut self.shards[subscription.shard];
        let room = shard.room;
        self.subscriptions -= 1;
        let held_bytes = shard.held_bytes();
        let subscriber = shard.subscribers.remove(subscription.subscriber as usize);
        self.forget_standing(subscription.shard, subscriber.standing.get());
        let shard = &self.shards[subscription.shard];
        self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        if let Some(own) = subscriber.own {
            self.own.remove(own);
        }
        self.trim(subscription.shard);
        self.note_if_sparse(subscription.shard);
        if self.shards[subscription.shard].subscribers.is_empty() {
            self.remove(subscription.shard);
        }
        room
    }

    fn remove(&mut self, key: ShardKey) {
        let Some(shard) = self.shards.remove(key) else {
            return;
        };
        self.held_bytes -= shard.held_bytes();
        self.conflation.shards -= usize::from(shard.latest.is_some());
        if shard.round.is_some() {
            self.news.retain(|other| *other != key);
        }
        if let Some(batch) = &shard.batch {
            self.forget_batch(key, batch);
        }
        if let Entry::Occupied(mut here) = self.rooms.entry(shard.room) {
            here.get_mut().forms.retain(|other| *other != key);
            match here.get().forms.is_empty() {
                true if here.get().parked.is_empty() => drop(here.remove()),
                // The parked messages have no receiver left, but parked acknowledgements do, so they are
                // still delivered.
                _ => self.relieved.push(shard.room),
            }
        }
    }

    /// How many subscribers all rooms have here.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Bytes of memory that all logs, what is kept beside them, and parked deliveries take.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes + self.own.held_bytes()
    }

    /// The name of a room that has subscribers here.
    pub(crate) fn name(&self, room: RoomId) -> Option<&RoomName> {
        self.rooms.get(&room).map(|here| &here.name)
    }

    /// The connections of a room's subscribers here.
    pub(crate) fn subscribers(&self, room: RoomId) -> Vec<ConnectionKey> {
        let forms = self.rooms.get(&room).map_or(&[][..], |here| &here.forms);
        let shards = forms.iter().map(|key| &self.shards[*key]);
        let subscribers = shards.flat_map(|shard| &shard.subscribers);
        subscribers.map(|(_, it)| it.connection).collect()
    }

    /// A room of which nothing is parked any more needs no memory for that, and none at all if it has no
    /// subscribers here.
    fn forget_if_empty(&mut self, room: RoomId) {
        if let Entry::Occupied(mut here) = self.rooms.entry(room) {
            here.get_mut().parked = VecDeque::new();
            if here.get().forms.is_empty() {
                here.remove();
            }
        }
    }

    /// Appends one frame to the room's log in each form that anybody here has, by `append`, which is told
    /// the room's name and may find that there is nothing to append in a form. The message was received at `stamp_ns`
    /// and has these details; of one with a key, who cannot keep up is given only the latest. Returns for how many
    /// subscribers it is.
    pub(crate) fn offer(
        &mut self,
        room: RoomId,
        stamp_ns: u64,
        details: Option<&Arc<Details>>,
        mut append: impl FnMut(&RoomName, WireForm, &mut RoomLog),
    ) -> usize {
        let Some(RoomHere { name, forms, .. }) = self.rooms.get(&room) else {
            return 0;
        };
        let own = details.and_then(|details| self.own.find(room, details));
        let own = own.map(|own| (own, self.own.shard(own)));
        let keyed = details.and_then(|details| details.keyed.as_ref());
        let of = keyed.map(|keyed| &keyed.key);
        let mut passed = None;
        let mut subscribers = 0;
        let mut stamp_ns = Some(stamp_ns);
        for key in forms {
            let shard = &mut self.shards[*key];
            debug_assert!(shard.batch.is_none(), "what was told before is gathered");
            subscribers += shard.subscribers.len();
            let (head, held_bytes) = (shard.log.head(), shard.held_bytes());
            append(name, shard.form, &mut shard.log);
            if shard.log.head() == head {
                continue;
            }
            shard.readers.fall_behind(head);
            if of.is_some() || shard.latest.is_some() {
                shard.note_key(of, &mut self.conflation);
                // There may be nobody in the log who would have it trimmed.
                shard.trim();
            }
            self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
            shard.stamps.extend(stamp_ns.take());
            if shard.round.is_none() {
                shard.begin_round();
                self.news.push_back(*key);
            }
            passed = passed.or(own.filter(|(_, of)| of == key).map(|(own, _)| (own, head)));
        }
        if let Some((own, head)) = passed {
            self.pass(own, head);
            subscribers -= 1;
        }
        subscribers
    }

    /// Whether a shard has news.
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Adds the next subscribers of the shard whose turn it is, of at most `most` that are looked at.
    /// If this ends the round, the receipt times of its messages are added to `finished`.
    pub(crate) fn next_slice(
        &mut self,
        most: usize,
        visits: &mut Vec<Visit>,
        finished: &mut Vec<u64>,
    ) {
        let Some(key) = self.news.pop_front() else {
            return;
        };
        let shard = &mut self.shards[key];
        if shard.visit(most, visits) {
            finished.extend(shard.end_round());
            let here = self.rooms.get(&shard.room);
            if here.is_some_and(|here| !here.parked.is_empty()) {
                self.relieved.push(shard.room);
            }
        }
        if shard.round.is_some() {
            self.news.push_back(key);
        }
    }

    /// The room of a subscription.
    pub(crate) fn room(&self, subscription: Subscription) -> RoomId {
        self.shards[subscription.shard].room
    }

    /// How many bytes a subscription is behind.
    pub(crate) fn lag(&self, subscription: Subscription) -> usize {
        let (shard, subscriber) = self.at(subscription);
        let head = shard.log.head();
        let behind = (head - subscriber.standing.cursor(head)) as usize;
        let own = subscriber.own;
        own.map_or(behind, |own| self.own.lag(own, behind))
    }

    /// How many bytes of memory are kept for a subscription: its lag, those of its own messages that lie between, and
    /// what it takes to be conflated.
    pub(crate) fn kept_bytes(&self, subscription: Subscription) -> usize {
        let (shard, subscriber) = self.at(subscription);
        let head = shard.log.head();
        let standing = subscriber.standing.get();
        let behind = (head - subscriber.standing.cursor(head)) as usize;
        let own = subscriber.own;
        let kept = own.map_or(behind, |own| self.own.kept(own, behind));
        kept + shard.conflated_bytes(standing)
    }

    /// Whether all that a subscription is behind is one frame, or the rest of one.
    pub(crate) fn is_last_frame(&self, subscription: Subscription) -> bool {
        let (Shard { log, .. }, subscriber) = self.at(subscription);
        let cursor = subscriber.standing.cursor(log.head());
        match subscriber.own {
            None => log.is_last_frame(cursor),
            Some(own) => {
                let unsent = self.own.unsent(own, log.head() - cursor);
                cursor + unsent <= log.next_frame_end(cursor)
            }
        }
    }

    /// What is to be sent to this subscription: all, unless messages of its own lie between.
    pub(crate) fn unsent(&self, subscription: Subscription) -> Unsent<'_> {
        let (Shard { log, .. }, subscriber) = self.at(subscription);
        let cursor = subscriber.standing.cursor(log.head());
        let end = log.frame_end(cursor);
        let own = subscriber.own;
        let first = own.and_then(|own| self.own.first(own));
        Unsent {
            half_sent: log.run(cursor, end),
            whole: log.run(end, first.unwrap_or(log.head())),
            has_more: first.is_some() && self.unsent_behind(subscription).next().is_some(),
        }
    }

    /// Whether a part of a frame has been sent to this subscription and the rest has not.
    pub(crate) fn is_half_sent(&self, subscription: Subscription) -> bool {
        let (Shard { log, .. }, subscriber) = self.at(subscription);
        let cursor = subscriber.standing.cursor(log.head());
        log.frame_end(cursor) != cursor
    }

    /// So many of a subscription's bytes have been sent.
    pub(crate) fn taken(&mut self, subscription: Subscription, bytes: usize) {
        self.advance(subscription, |cursor| cursor + bytes as u64);
    }

    /// Moves a subscription's cursor on.
    fn advance(&mut self, subscription: Subscription, to: impl FnOnce(u64) -> u64) {
        let shard = &mut self.shards[subscription.shard];
        let subscriber = &mut shard.subscribers[subscription.subscriber as usize];
        let Standing::Log(from) = subscriber.standing.get() else {
            return;
        };
        let mut to = to(from);
        if let Some(own) = subscriber.own {
            to = self.own.advance(own, to);
        }
        subscriber.standing = Standing::Log(to).into();
        shard.readers.advance(from, to, shard.log.head());
        self.trim(subscription.shard);
    }

    /// Passes over all that a subscription has not been sent, from the end of the frame of which a part
    /// has; that rest is the caller's to send. What is gathered and not in the log yet still follows. Returns how
    /// many messages are passed over.
    pub(crate) fn skip(&mut self, subscription: Subscription) -> u64 {
        let (Shard { log, .. }, subscriber) = self.at(subscription);
        let messages = log.messages_behind(subscriber.standing.cursor(log.head()));
        // Each of its own has a frame of its own.
        let own = subscriber.own.map_or(0, |own| self.own.frames(own));
        let head = log.head();
        self.advance(subscription, |_| head);
        messages - own
    }

    fn at(&self, subscription: Subscription) -> (&Shard, &Subscriber) {
        let shard = &self.shards[subscription.shard];
        (shard, &shard.subscribers[subscription.subscriber as usize])
    }

    fn at_mut(&mut self, subscription: Subscription) -> &mut Subscriber {
        let shard = &mut self.shards[subscription.shard];
        &mut shard.subscribers[subscription.subscriber as usize]
    }

    /// Forgets what all subscribers of a shard have had.
    fn trim(&mut self, key: ShardKey) {
        let shard = &mut self.shards[key];
        if shard.log.is_empty() {
            return;
        }
        self.held_bytes -= shard.held_bytes();
        shard.trim();
        self.held_bytes += shard.held_bytes();
    }
}

impl Shard {
    /// Forgets what nobody needs any more who is in the log.
    fn trim(&mut self) {
        let tail = self.readers.tail().unwrap_or(self.log.head());
        self.log.trim(tail);
        if let Some(latest) = &mut self.latest {
            latest.trim(&self.log);
        }
    }

    fn begin_round(&mut self) {
        self.round = Some(Round {
            next: 0,
            head: self.news_end(),
            stamps: std::mem::take(&mut self.stamps),
        });
    }

    /// Visits the next subscribers; returns whether they were the last of the round.
    fn visit(&mut self, most: usize, visits: &mut Vec<Visit>) -> bool {
        let head = self.news_end();
        let Some(round) = &mut self.round else {
            return true;
        };
        // Slots of subscribers that have left lie between those of others.
        let end = (round.next + most).min(self.subscribers.capacity());
        for at in round.next..end {
            if let Some(subscriber) = self.subscribers.get(at)
                && subscriber.standing.has_news(head)
            {
                visits.push(Visit {
                    connection: subscriber.connection,
                    slot: subscriber.slot,
                });
            }
        }
        round.next = end;
        end == self.subscribers.capacity()
    }

    /// Returns the receipt times of the round's messages. If something was offered since it began, the next
    /// round begins.
    fn end_round(&mut self) -> Vec<u64> {
        let Some(round) = self.round.take() else {
            return Vec::new();
        };
        self.visited = round.head;
        if self.news_end() > round.head {
            self.begin_round();
        }
        round.stamps
    }
}

#[cfg(test)]
mod tests;
