//! What waits to be sent to one connection.
//!
//! ```text
//!  plan ──▶ runs of bytes ──▶ (a send) ──▶ settle: so many of them have left
//! ```
//!
//! Three sources, in this order: what is for this connection alone (replies, pongs, closes), the
//! body of an HTTP answer, and its lag in each of its rooms. A frame of which a part has left is
//! finished before another source gets its turn.
//!
//! In a room whose messages have keys, a connection whose socket is full leaves the log (`conflate`). It is given
//! the latest of each key, a little at a time, whenever its own bytes have left (`refill`).

use std::io::IoSlice;

use bytes::Bytes;
use hub::bound;
use smallvec::SmallVec;

use crate::{
    clock::RecentMs,
    encoding::Encoded,
    rooms::{Shards, Subscription, Subscriptions, Unsent},
};

/// How much of a room that a connection is [conflated](Shards::conflate) in is put into its own bytes at a time:
/// little, since later values of the same keys are of no use to what waits there.
const LATEST_BYTES: usize = bound(16 << 10, 64);

/// Runs of bytes in one call; the kernel takes at most 1,024.
const RUNS_MAX: usize = 512;

/// One connection's queue. Unallocated while it is empty.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Frames for this connection alone; the first `direct_sent` bytes have left.
    direct: Vec<u8>,
    /// In four bytes, because every connection has one;
    /// [`advance_direct`](Self::advance_direct) keeps it below half of the buffer.
    direct_sent: u32,
    /// The body of an HTTP answer; follows `direct`. Boxed: few connections have one.
    body: Option<Box<Bytes>>,
    pub(crate) sending: Sending,
}

/// What is still sent of a room that the connection leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remainder {
    /// All that was not sent yet.
    All,
    /// The rest of a frame that has begun to leave, so that the next one begins at a frame's boundary.
    HalfSent,
}

/// Whether the queue is listed for sending, and whether its socket is full: then `progress` is when the
/// socket last took bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Nothing to send, unless its rooms have news.
    #[default]
    Idle,
    /// On the core's list of connections with something to send.
    Pending,
    /// The socket takes no more until it reports otherwise.
    Blocked { progress: RecentMs },
    /// On the core's list, after its socket was full.
    Unblocked { progress: RecentMs },
}

impl Sending {
    /// Whether the socket takes no more.
    pub(crate) fn is_blocked(self) -> bool {
        matches!(self, Self::Blocked { .. })
    }

    /// Whether the socket did not take all that there was.
    pub(crate) fn is_behind(self) -> bool {
        matches!(self, Self::Blocked { .. } | Self::Unblocked { .. })
    }

    /// Something waits. Returns whether the connection is to be listed for it: not if it is listed already,
    /// or its socket is full.
    #[must_use]
    pub(crate) fn pend(&mut self) -> bool {
        let is_idle = *self == Self::Idle;
        if is_idle {
            *self = Self::Pending;
        }
        is_idle
    }

    /// The socket is full, and a send at `now_ms` had progress or had none.
    pub(crate) fn block(&mut self, has_progress: bool, now_ms: u64) {
        let progress = match *self {
            Self::Unblocked { progress } if !has_progress => progress,
            _ => RecentMs::at(now_ms),
        };
        *self = Self::Blocked { progress };
    }

    /// The socket may take more. Returns whether it was full, so that the connection is to be sent to.
    #[must_use]
    pub(crate) fn unblock(&mut self) -> bool {
        let Self::Blocked { progress } = *self else {
            return false;
        };
        *self = Self::Unblocked { progress };
        true
    }
}

/// What is to be sent next.
pub(crate) struct Plan<'a> {
    /// Runs of bytes, in order.
    pub(crate) runs: SmallVec<[IoSlice<'a>; 6]>,
    pub(crate) offered: Offered,
}

/// Where the runs of a plan come from.
#[derive(Debug)]
pub(crate) struct Offered {
    sources: SmallVec<[(Source, usize); 4]>,
    bytes: usize,
    /// Whether the plan holds all that waits.
    is_all: bool,
}

/// Where a run of bytes comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    Direct,
    Body,
    Room(u8, Subscription),
}

impl SendQueue {
    /// Frames for this connection alone, to which more can be appended. Whoever appends says so to the
    /// core ([`Actor::queued`](crate::connection::Actor::queued)).
    pub(crate) fn direct(&mut self) -> &mut Vec<u8> {
        &mut self.direct
    }

    /// Bytes that are for this connection alone: frames, and the body of an HTTP answer.
    pub(crate) fn direct_bytes(&self) -> usize {
        let body = self.body.as_ref().map_or(0, |body| body.len());
        self.direct.len() - self.sent() + body
    }

    /// Whether the body of an HTTP answer waits.
    pub(crate) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Bytes of memory held for this connection alone. The body of an answer is the site's.
    pub(crate) fn held_bytes(&self) -> usize {
        self.direct.capacity()
    }

    /// The bytes that wait here, the lag in its rooms included.
    pub(crate) fn bytes(&self, subscriptions: &Subscriptions, shards: &Shards) -> usize {
        self.direct_bytes() + lag(subscriptions, shards)
    }

    /// Whether more waits than is allowed, here and in so many bytes of ciphertext before it. A
    /// queue whose only content is one message may be longer, or a message above the bound could
    /// never be delivered. A connection's own bytes never close it by themselves, because it is not
    /// read while they fill the queue.
    pub(crate) fn is_over(
        &self,
        bytes_max: usize,
        sealed_bytes: usize,
        subscriptions: &Subscriptions,
        shards: &Shards,
    ) -> bool {
        if self.bytes(subscriptions, shards) + sealed_bytes <= bytes_max {
            return false;
        }
        let rooms = subscriptions.with_news().map(|(_, room)| room);
        let mut lagging = rooms.filter(|room| shards.lag(*room) > 0);
        match (lagging.next(), lagging.next()) {
            (None, _) => false,
            (Some(only), None) if self.direct_bytes() == 0 => !shards.is_last_frame(only),
            _ => true,
        }
    }

    /// Queues the body of an HTTP answer behind what is in `direct`.
    pub(crate) fn push_body(&mut self, body: Bytes) {
        if !body.is_empty() {
            self.body = Some(Box::new(body));
        }
    }

    /// Before a subscription is taken away: copies the `remainder` of its log, and of the frame that is open behind
    /// it, into the connection's own bytes. The rest of a half-sent frame goes to the front, so that what follows begins at a frame's
    /// boundary.
    pub(crate) fn detach(&mut self, room: Subscription, shards: &Shards, remainder: Remainder) {
        let unsent = shards.unsent(room);
        if shards.is_half_sent(room) {
            let mut rest = unsent.half_sent.concat();
            rest.extend_from_slice(&self.direct[self.sent()..]);
            self.direct = rest;
            self.direct_sent = 0;
        }
        if remainder == Remainder::All {
            let behind = shards.unsent_behind(room).flatten();
            for part in unsent.whole.into_iter().chain(behind) {
                self.direct.extend_from_slice(part);
            }
            let open = shards.open_frame(room);
            for part in open.iter().flat_map(Encoded::parts) {
                self.direct.extend_from_slice(part);
            }
        }
    }

    /// Has the connection leave the logs of rooms whose messages have keys, because its socket is full: it is
    /// given the latest of each key when that takes more.
    pub(crate) fn conflate(&mut self, subscriptions: &mut Subscriptions, shards: &mut Shards) {
        let rooms = subscriptions.with_news();
        let rooms = rooms.filter(|(_, room)| shards.may_conflate(*room));
        for (slot, room) in rooms.collect::<SmallVec<[_; 4]>>() {
            self.detach(room, shards, Remainder::HalfSent);
            shards.conflate(room);
            subscriptions.settle(slot, true, false);
        }
    }

    /// Puts the latest of rooms in which the connection is conflated into its own bytes, if nothing waits there.
    /// Returns whether there is something.
    pub(crate) fn refill(
        &mut self,
        subscriptions: &mut Subscriptions,
        shards: &mut Shards,
    ) -> bool {
        if shards.conflation().laggards == 0 || self.direct_bytes() > 0 {
            return false;
        }
        let rooms = subscriptions.with_news();
        let rooms = rooms.filter(|(_, room)| shards.is_conflated(*room));
        for (slot, room) in rooms.collect::<SmallVec<[_; 4]>>() {
            if shards.give_latest(room, LATEST_BYTES, &mut self.direct) {
                subscriptions.settle(slot, false, false);
            }
        }
        self.direct_bytes() > 0
    }

    /// What is to be sent next: all that waits, but for very many rooms, and for what lies behind messages that
    /// the connection is not sent because they are its own.
    pub(crate) fn plan<'a>(
        &'a self,
        subscriptions: &Subscriptions,
        shards: &'a Shards,
    ) -> Plan<'a> {
        let mut plan = Plan {
            runs: SmallVec::new(),
            offered: Offered {
                sources: SmallVec::new(),
                bytes: 0,
                is_all: true,
            },
        };
        let mut rooms = subscriptions.with_news();
        // The first of them is in the middle of a frame, if any is.
        let first = rooms.next();
        let first = first.map(|(slot, room)| (Source::Room(slot, room), shards.unsent(room)));
        if let Some((source, unsent)) = first {
            plan.add(source, unsent.half_sent);
        }
        plan.add(Source::Direct, [&self.direct[self.sent()..], &[]]);
        if let Some(body) = &self.body {
            plan.add(Source::Body, [body, &[]]);
        }
        if let Some((source, unsent)) = first {
            plan.add_whole(source, &unsent);
        }
        for (slot, room) in rooms {
            plan.add_whole(Source::Room(slot, room), &shards.unsent(room));
        }
        plan
    }

    /// So many bytes of a plan have left. Returns whether nothing is left to be sent.
    pub(crate) fn settle(
        &mut self,
        offered: &Offered,
        mut taken: usize,
        subscriptions: &mut Subscriptions,
        shards: &mut Shards,
    ) -> bool {
        let is_empty = taken == offered.bytes && offered.is_all;
        for &(source, bytes) in &offered.sources {
            let of_this = taken.min(bytes);
            taken -= of_this;
            match source {
                Source::Direct => self.advance_direct(of_this),
                Source::Body => self.advance_body(of_this),
                Source::Room(slot, room) => {
                    shards.taken(room, of_this);
                    let has_more = shards.lag(room) > 0;
                    let is_half_sent = has_more && shards.is_half_sent(room);
                    subscriptions.settle(slot, has_more, is_half_sent);
                }
            }
            if of_this < bytes {
                break;
            }
        }
        is_empty
    }

    fn advance_direct(&mut self, bytes: usize) {
        let sent = self.sent() + bytes;
        self.direct_sent = 0;
        if sent == self.direct.len() {
            return self.direct.clear();
        }
        match u32::try_from(sent) {
            Ok(few) if sent < self.direct.len() / 2 => self.direct_sent = few,
            // A peer that never quite catches up must not keep what it has had in memory.
            // Half is moved at most once for every byte that left.
            _ => drop(self.direct.drain(..sent)),
        }
    }

    /// How many bytes of `direct` have left.
    fn sent(&self) -> usize {
        self.direct_sent as usize
    }

    /// Gives up what waits, and the memory: nothing can be sent any more.
    pub(crate) fn clear(&mut self) {
        self.direct = Vec::new();
        self.direct_sent = 0;
        self.body = None;
    }

    /// Gives back memory that is not needed, because behind a full socket the bytes may wait long.
    pub(crate) fn shrink(&mut self) {
        if self.direct.capacity() > 2 * self.direct.len() {
            self.direct.shrink_to_fit();
        }
    }

    fn advance_body(&mut self, bytes: usize) {
        if let Some(body) = &mut self.body {
            let _ = body.split_to(bytes);
            if body.is_empty() {
                self.body = None;
            }
        }
    }
}

impl<'a> Plan<'a> {
    /// Adds the whole frames of a room.
    fn add_whole(&mut self, source: Source, unsent: &Unsent<'a>) {
        self.add(source, unsent.whole);
        self.offered.is_all &= !unsent.has_more;
    }

    fn add(&mut self, source: Source, parts: [&'a [u8]; 2]) {
        let bytes = parts[0].len() + parts[1].len();
        if bytes == 0 {
            return;
        }
        if self.runs.len() >= RUNS_MAX - 1 {
            self.offered.is_all = false;
            return;
        }
        self.offered.sources.push((source, bytes));
        self.offered.bytes += bytes;
        let filled = parts.into_iter().filter(|part| !part.is_empty());
        self.runs.extend(filled.map(IoSlice::new));
    }
}

/// Bytes that a connection is behind in all its rooms.
pub(crate) fn lag(subscriptions: &Subscriptions, shards: &Shards) -> usize {
    let rooms = subscriptions.with_news();
    rooms.map(|(_, room)| shards.lag(room)).sum()
}

/// Bytes of memory that all its rooms keep for a connection.
pub(crate) fn kept_bytes(subscriptions: &Subscriptions, shards: &Shards) -> usize {
    let rooms = subscriptions.with_news();
    rooms.map(|(_, room)| shards.kept_bytes(room)).sum()
}

#[cfg(test)]
mod tests;
