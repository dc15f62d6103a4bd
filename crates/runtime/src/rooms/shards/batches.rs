//! Rooms whose messages leave together: what such a room tells is gathered until its interval is over.
//!
//! ```text
//!  delivery ──gather──▶ open frame ──close──▶ log ──(the interval is over)──▶ news
//! ```
//!
//! Where one frame may carry several messages, they are gathered in one, which is packed, and compressed, when it
//! is closed. In other forms each message has its frame in the log at once. Either way nobody is visited before
//! the interval is over, so that each subscriber is sent all of it at once.
//!
//! A frame is closed earlier when somebody joins, who must have nothing of what was told before. Whoever leaves
//! takes a copy along ([`Shards::open_frame`]), and the frame stays open for the others.
//!
//! *Bounded:* a batch leaves early when it has as many bytes as a batch may have.

use std::sync::Arc;

use codec::Kind;
use hub::{Details, RoomId, RoomName};

use super::{RoomHere, Shard, ShardKey, Shards, Subscription, UNVISITED_BYTES_MAX};
use crate::{
    encoding::{Delivered, Encoded, Encoder, RoomEvent, WireForm},
    rooms::BatchInterval,
};

/// The most bytes of a batch: a part of what may be offered to a room and not visited, so that a room is never
/// parked for what it has only gathered.
const BATCH_BYTES_MAX: usize = UNVISITED_BYTES_MAX as usize / 4;

/// How a message is gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gathering {
    /// When the batch is over if this message begins it, in milliseconds of deadlines.
    pub(crate) due_ms: u64,
    /// From how many bytes on it leaves early, if that is less than any batch may have.
    pub(crate) bytes_max: usize,
}

/// For whom something was encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The room's subscribers here.
    pub(crate) recipients: usize,
    /// Those of them that get a frame more for it; the others have it in one that was open already.
    pub(crate) frames: usize,
    /// Bytes that were encoded, in all forms together.
    pub(crate) bytes: usize,
}

/// What a shard has that is no news yet.
pub(super) struct Batch {
    /// When it is to be, in milliseconds of deadlines.
    due_ms: u64,
    /// What lies in the log from here on belongs to it.
    from: u64,
    /// The receipt times of its messages.
    stamps: Vec<u64>,
    open: OpenFrame,
}

/// Messages of a frame that may become longer.
struct OpenFrame {
    kind: Kind,
    bodies: Vec<u8>,
    /// How many there are, of those who come and go too.
    messages: u64,
    /// Whether it is counted for those that it is for, which it is with its first message.
    is_counted: bool,
}

impl Shards {
    /// The rules of rooms may be others from now on: rooms ask for their intervals again.
    pub(crate) fn forget_intervals(&mut self) {
        self.rules += 1;
    }

    /// How a room's messages are gathered, if they are, by `ask`, which is asked again when rules have changed. What
    /// was gathered by another interval is news then: a room of several forms may have a batch at any time.
    pub(crate) fn interval(
        &mut self,
        room: RoomId,
        encoder: &mut Encoder,
        ask: impl FnOnce(&RoomName) -> Option<BatchInterval>,
    ) -> Option<BatchInterval> {
        let here = self.rooms.get_mut(&room)?;
        if here.rules == self.rules {
            return here.interval;
        }
        here.rules = self.rules;
        let interval = ask(&here.name);
        if std::mem::replace(&mut here.interval, interval) != interval {
            for key in here.forms.clone() {
                if let Some(batch) = &self.shards[key].batch {
                    self.due.remove(&(batch.due_ms, key));
                    self.end_batch(key, encoder);
                }
            }
        }
        interval
    }

    /// Encodes what has happened in a room for all subscribers here, once for each form, and keeps it until the
    /// batch to which it belongs is over.
    pub(crate) fn gather(
        &mut self,
        room: RoomId,
        event: RoomEvent<'_>,
        (stamp_ns, details): (u64, Option<&Arc<Details>>),
        how: Gathering,
        encoder: &mut Encoder,
    ) -> Reach {
        let mut reach = Reach::default();
        let own = details.and_then(|details| self.own.find(room, details));
        let own = own.map(|own| (own, self.own.shard(own)));
        let mut passed = None;
        let Some(RoomHere { name, forms, .. }) = self.rooms.get(&room) else {
            return reach;
        };
        let told = Delivered { room: name, event };
        let bytes_max = how.bytes_max.min(BATCH_BYTES_MAX);
        let how = Gathering { bytes_max, ..how };
        let mut stamp_ns = Some(stamp_ns);
        for key in forms {
            let shard = &mut self.shards[*key];
            let (held_bytes, had_batch) = (shard.held_bytes(), shard.batch.is_some());
            let head = shard.log.head();
            shard.gather(&told, &mut stamp_ns, how, encoder, &mut reach);
            if !encoder.gathers(shard.form) {
                passed = passed.or(own.filter(|(_, of)| of == key).map(|(own, _)| (own, head)));
            }
            if !had_batch && shard.batch.is_some() {
                self.due.insert((how.due_ms, *key));
            }
            if shard.batched_bytes() >= bytes_max {
                reach.bytes += shard.open_bytes();
                if shard.let_go(encoder) {
                    self.news.push_back(*key);
                }
            }
            self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        }
        if let Some((own, head)) = passed {
            self.pass(own, head);
            reach.recipients -= 1;
            reach.frames -= 1;
        }
        reach
    }

    /// When the first batch is over, in milliseconds of deadlines; `None` if nothing is gathered.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Makes news of the batch that is over first, if that is not after `by_ms`. Returns how many bytes were
    /// packed for that.
    pub(crate) fn let_next_go(&mut self, by_ms: u64, encoder: &mut Encoder) -> Option<usize> {
        if self.next_due_ms()? > by_ms {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        Some(self.end_batch(key, encoder))
    }

    /// Makes news of a shard's batch, which is not among those that are due any more. Returns how many bytes were
    /// packed for that.
    fn end_batch(&mut self, key: ShardKey, encoder: &mut Encoder) -> usize {
        let shard = &mut self.shards[key];
        let held_bytes = shard.held_bytes();
        let packed_bytes = shard.open_bytes();
        if shard.let_go(encoder) {
            self.news.push_back(key);
        }
        shard.batch = None;
        self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        packed_bytes
    }

    /// Closes the open frames of a room, because somebody joins it. Returns how many bytes were packed for that.
    pub(crate) fn close_frames(&mut self, room: RoomId, encoder: &mut Encoder) -> usize {
        // Most joins come while no frame of any room is open.
        if self.due.is_empty() {
            return 0;
        }
        let here = self.rooms.get(&room);
        let mut packed_bytes = 0;
        for key in here.map_or(&[][..], |here| &here.forms) {
            let shard = &mut self.shards[*key];
            let held_bytes = shard.held_bytes();
            packed_bytes += shard.open_bytes();
            shard.close_frame(encoder);
            self.held_bytes = self.held_bytes - held_bytes + shard.held_bytes();
        }
        packed_bytes
    }

    /// The frame that is open in a subscription's room, as it is now and not compressed: it follows what the log
    /// has.
    pub(crate) fn open_frame(&self, subscription: Subscription) -> Option<Encoded<'_>> {
        let shard = &self.shards[subscription.shard];
        let open = &shard.batch.as_ref()?.open;
        let packing = shard.form.packing;
        (open.messages > 0).then(|| Encoded::of(packing, open.kind, &open.bodies))
    }

    /// How many bytes a subscription has not been sent, those of an open frame included.
    pub(crate) fn owed_bytes(&self, subscription: Subscription) -> usize {
        self.lag(subscription) + self.shards[subscription.shard].open_bytes()
    }

    /// A shard is no more, nor is its batch.
    pub(super) fn forget_batch(&mut self, key: ShardKey, batch: &Batch) {
        self.due.remove(&(batch.due_ms, key));
    }
}

/// What became of something that was to be gathered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gathered {
    /// Nothing is told of it in this form.
    Nothing,
    /// It shares a frame with what was told before.
    InOpenFrame,
    /// It is the first message, or the only one, of a frame.
    InFrameOfItsOwn,
}

impl Shard {
    /// Bytes of memory that its log and its batch take, and what is kept beside the log.
    pub(super) fn held_bytes(&self) -> usize {
        let batch = self.batch.as_ref().map_or(0, |batch| batch.held_bytes());
        let latest = self.latest.as_ref().map_or(0, |latest| latest.held_bytes());
        self.log.held_bytes() + batch + latest
    }

    /// Up to where the log is news, or was: what lies behind that is a batch.
    pub(super) fn news_end(&self) -> u64 {
        let batch = self.batch.as_ref();
        batch.map_or(self.log.head(), |batch| batch.from)
    }

    /// Adds something to its batch, which may begin with that.
    fn gather(
        &mut self,
        told: &Delivered<'_>,
        stamp_ns: &mut Option<u64>,
        how: Gathering,
        encoder: &mut Encoder,
        reach: &mut Reach,
    ) {
        reach.recipients += self.subscribers.len();
        let had_batch = self.batch.is_some();
        let from = self.log.head();
        self.batch
            .get_or_insert_with(|| Box::new(Batch::new(how.due_ms, from)));
        let gathered = match encoder.gathers(self.form) {
            true => {
                let open_bytes = self.open_bytes();
                if open_bytes > 0 && open_bytes + told.event.bytes() > how.bytes_max {
                    reach.bytes += open_bytes;
                    self.close_frame(encoder);
                }
                self.append_to_open(told, encoder)
            }
            false => self.append(told, encoder),
        };
        match gathered {
            Gathered::Nothing if !had_batch => return self.batch = None,
            Gathered::Nothing => return,
            Gathered::InOpenFrame => {}
            Gathered::InFrameOfItsOwn => reach.frames += self.subscribers.len(),
        }
        reach.bytes += told.event.bytes();
        if let Some(batch) = &mut self.batch {
            batch.stamps.extend(stamp_ns.take());
        }
    }

    fn append_to_open(&mut self, told: &Delivered<'_>, encoder: &Encoder) -> Gathered {
        let form = self.form;
        let batch = self.batch.as_mut();
        batch.map_or(Gathered::Nothing, |batch| {
            batch.open.append(told, form, encoder)
        })
    }

    /// Appends a frame for this alone.
    fn append(&mut self, told: &Delivered<'_>, encoder: &mut Encoder) -> Gathered {
        let head = self.log.head();
        if let Some(frame) = encoder.encode(self.form, told) {
            self.log.append(frame.parts());
        }
        if self.log.head() == head {
            return Gathered::Nothing;
        }
        self.readers.fall_behind(head);
        self.note_no_key();
        Gathered::InFrameOfItsOwn
    }

    /// How many bytes its batch has, in the log and in the open frame.
    fn batched_bytes(&self) -> usize {
        let in_log = self.log.head() - self.news_end();
        in_log as usize + self.open_bytes()
    }

    /// How long its open frame is, in bytes that are not packed yet.
    fn open_bytes(&self) -> usize {
        let batch = self.batch.as_ref();
        batch.map_or(0, |batch| batch.open.bodies.len())
    }

    /// What is told from now on is not in the same frame as what was told before.
    fn close_frame(&mut self, encoder: &mut Encoder) {
        let Some(batch) = &mut self.batch else {
            return;
        };
        let open = &mut batch.open;
        if open.messages == 0 {
            return;
        }
        self.readers.fall_behind(self.log.head());
        let frame = encoder.pack(self.form.packing, open.kind, &open.bodies);
        self.log.append_of_many(frame.parts(), open.messages);
        open.bodies.clear();
        open.messages = 0;
        open.is_counted = false;
        self.note_no_key();
    }

    /// What its batch has is news from now on; returns whether a round begins with that.
    fn let_go(&mut self, encoder: &mut Encoder) -> bool {
        self.close_frame(encoder);
        let Some(batch) = &mut self.batch else {
            return false;
        };
        batch.from = self.log.head();
        self.stamps.append(&mut batch.stamps);
        let begins = self.round.is_none() && self.news_end() > self.visited;
        if begins {
            self.begin_round();
        }
        begins
    }
}

impl Batch {
    fn new(due_ms: u64, from: u64) -> Self {
        Self {
            due_ms,
            from,
            stamps: Vec::new(),
            open: OpenFrame {
                kind: Kind::Text,
                bodies: Vec::new(),
                messages: 0,
                is_counted: false,
            },
        }
    }

    fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.open.bodies.capacity() + self.stamps.capacity() * size_of::<u64>()
    }
}

impl OpenFrame {
    fn append(&mut self, told: &Delivered<'_>, form: WireForm, encoder: &Encoder) -> Gathered {
        let before = self.bodies.len();
        let Some(kind) = encoder.gather(form.body, told, &mut self.bodies) else {
            return Gathered::Nothing;
        };
        if self.bodies.len() == before {
            return Gathered::Nothing;
        }
        self.kind = kind;
        self.messages += 1;
        let is_message = matches!(told.event, RoomEvent::Message { .. });
        match is_message && !std::mem::replace(&mut self.is_counted, true) {
            true => Gathered::InFrameOfItsOwn,
            false => Gathered::InOpenFrame,
        }
    }
}

#[cfg(test)]
mod tests;
