//! What waits to be sent to one connection, and the one call that sends it.
//!
//! Three sources, in this order: what is for this connection alone (replies, pongs, closes), the
//! body of an HTTP answer, and its lag in each of its rooms. A frame of which a part has left is
//! finished before another source gets its turn.

use std::io::{self, IoSlice};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    shard::{Shards, Subscription},
    socket::{Sealing, Sent, Socket},
};

/// Runs of bytes in one call; the kernel takes at most 1,024.
const RUNS_MAX: usize = 512;

/// After so many bytes of an answer with a body others have their turn, though the socket takes
/// more: a peer that reads as fast as is encrypted for it would have the core until the last of
/// them. Other queues have bounds of their own.
const ANSWER_BYTES_PER_TURN: usize = 256 << 10;

/// One connection's queue. Unallocated while it is empty.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    /// Frames for this connection alone; the first `direct_sent` bytes have left.
    pub(crate) direct: Vec<u8>,
    direct_sent: usize,
    /// Of the bytes in `direct` that have not left, so many at the front end a frame of which a
    /// part has.
    begun_bytes: usize,
    /// The body of an HTTP answer; follows `direct`. Boxed: few connections have one.
    body: Option<Box<Bytes>>,
    half_sent: Option<HalfSent>,
    pub(crate) sending: Sending,
}

/// A room's frame of which a part has left.
#[derive(Clone, Copy, Debug)]
struct HalfSent {
    /// Which of the connection's subscriptions.
    subscription: usize,
    /// The position in that room's log where the frame ends.
    end: u64,
}

/// What a queue keeps when its connection leaves its rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// All that waits, the lag in its rooms included.
    All,
    /// What is for this connection alone.
    Own,
    /// The rest of a frame that has begun to leave.
    Begun,
}

/// Where a queue stands with its core's flusher. Times are when bytes last left, in milliseconds
/// since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Nothing to send, unless its rooms have news since the flusher's last turn.
    #[default]
    Idle,
    /// On the flusher's list.
    Dirty,
    /// The socket takes no more until it reports otherwise.
    Blocked { progress_ms: u64 },
    /// On the flusher's list, after its socket was full.
    Unblocked { progress_ms: u64 },
}

impl Sending {
    /// Whether the socket takes no more.
    pub(crate) fn is_blocked(self) -> bool {
        matches!(self, Self::Blocked { .. })
    }

    /// Bytes count as having left so much later.
    pub(crate) fn put_off(&mut self, by_ms: u64) {
        match self {
            Self::Idle | Self::Dirty => {}
            Self::Blocked { progress_ms } | Self::Unblocked { progress_ms } => {
                *progress_ms += by_ms;
            }
        }
    }

    /// Whether the socket did not take all that there was.
    pub(crate) fn is_behind(self) -> bool {
        matches!(self, Self::Blocked { .. } | Self::Unblocked { .. })
    }
}

/// What a call to [`SendQueue::transmit`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transmitted {
    /// How many bytes the socket took.
    pub(crate) sent: usize,
    pub(crate) rest: Rest,
}

/// What is left to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// A part of an answer's body, for the next turn.
    NextTurn,
    /// Something, and the socket is full.
    Blocked,
}

/// What one send was offered, in order: sources, and how many bytes of each.
type Offered = SmallVec<[(Source, usize); 4]>;

/// Where a run of bytes comes from.
#[derive(Clone, Copy)]
enum Source {
    Direct,
    Body,
    Room(usize),
}

impl SendQueue {
    /// Bytes that are for this connection alone.
    pub(crate) fn direct_bytes(&self) -> usize {
        let body = self.body.as_ref().map_or(0, |body| body.len());
        self.direct.len() - self.direct_sent + body
    }

    /// Bytes of memory held for this connection alone. The body of an answer is the site's.
    pub(crate) fn held_bytes(&self) -> usize {
        self.direct.capacity()
    }

    /// What is missing of a room's frame of which a part has left, in bytes: what the queue itself
    /// would have to hold if it left its rooms now.
    pub(crate) fn half_sent_bytes(&self, subscriptions: &[Subscription], shards: &Shards) -> usize {
        self.half_sent.map_or(0, |half| {
            let (_, cursor) = shards.position(subscriptions[half.subscription]);
            (half.end - cursor) as usize
        })
    }

    /// The bytes that wait here, the lag in its rooms included.
    pub(crate) fn bytes(&self, subscriptions: &[Subscription], shards: &Shards) -> usize {
        let lag = subscriptions.iter().map(|s| shards.lag(*s)).sum::<usize>();
        self.direct_bytes() + lag
    }

    /// Whether more waits than is allowed, here and in so many bytes of ciphertext before it. A
    /// queue whose only content is one message may be longer, or a message above the bound could
    /// never be delivered; and what is for the connection alone is held back at its source, so
    /// alone it is no reason to evict.
    pub(crate) fn is_over(
        &self,
        bytes_max: usize,
        sealed_bytes: usize,
        subscriptions: &[Subscription],
        shards: &Shards,
    ) -> bool {
        if self.bytes(subscriptions, shards) + sealed_bytes <= bytes_max {
            return false;
        }
        let mut lagging = subscriptions.iter().filter(|s| shards.lag(**s) > 0);
        match (lagging.next(), lagging.next()) {
            (None, _) => false,
            (Some(only), None) if self.direct_bytes() == 0 => {
                let (log, cursor) = shards.position(*only);
                !log.is_last_frame(cursor)
            }
            _ => true,
        }
    }

    /// Queues the body of an HTTP answer behind what is in `direct`.
    pub(crate) fn push_body(&mut self, body: Bytes) {
        if !body.is_empty() {
            self.body = Some(Box::new(body));
        }
    }

    /// Before its subscriptions are taken away: moves what is to be sent of their logs into the
    /// connection's own bytes, and gives up what is not to be `kept`. The rest of a half-sent frame
    /// is, always, so that what follows begins at a frame's boundary.
    pub(crate) fn detach(&mut self, subscriptions: &[Subscription], shards: &Shards, kept: Kept) {
        if kept == Kept::Begun {
            self.direct.truncate(self.direct_sent + self.begun_bytes);
        }
        let half = self.half_sent.take();
        if let Some(half) = half {
            let (log, cursor) = shards.position(subscriptions[half.subscription]);
            let mut rest = log.run(cursor, half.end).concat();
            self.begun_bytes = rest.len();
            rest.extend_from_slice(&self.direct[self.direct_sent..]);
            self.direct = rest;
            self.direct_sent = 0;
        }
        if kept == Kept::Begun {
            self.direct.drain(..self.direct_sent);
            self.direct_sent = 0;
            self.direct.shrink_to_fit();
        }
        if kept != Kept::All {
            return;
        }
        for (at, subscription) in subscriptions.iter().enumerate() {
            let (log, cursor) = shards.position(*subscription);
            let from = half.filter(|half| half.subscription == at);
            let [front, back] = log.run(from.map_or(cursor, |half| half.end), log.head());
            self.direct.extend_from_slice(front);
            self.direct.extend_from_slice(back);
        }
    }

    /// Sends what waits, in as few calls as possible: one, but for very many rooms, or for more
    /// than is encrypted at a time.
    pub(crate) fn transmit(
        &mut self,
        socket: &mut Socket,
        sealing: &mut Sealing,
        subscriptions: &[Subscription],
        shards: &mut Shards,
    ) -> io::Result<Transmitted> {
        let (mut all_sent, mut all_taken) = (0, 0);
        loop {
            let (sources, sent) = self.send_once(socket, sealing, subscriptions, shards)?;
            let waiting = sources.iter().map(|(_, bytes)| bytes).sum::<usize>();
            all_sent += sent.wire;
            all_taken += sent.taken;
            self.advance(sent.taken, &sources, subscriptions, shards);
            let is_empty = sent.taken == waiting && sources.len() < RUNS_MAX / 2;
            let rest = match () {
                () if sent.is_full => Rest::Blocked,
                () if is_empty => Rest::Nothing,
                () if self.body.is_some() && all_taken >= ANSWER_BYTES_PER_TURN => Rest::NextTurn,
                () => continue,
            };
            let sent = all_sent;
            return Ok(Transmitted { sent, rest });
        }
    }

    fn send_once<'a>(
        &'a self,
        socket: &mut Socket,
        sealing: &mut Sealing,
        subscriptions: &[Subscription],
        shards: &'a Shards,
    ) -> io::Result<(Offered, Sent)> {
        let mut sources = Offered::new();
        let mut runs: SmallVec<[IoSlice<'a>; 6]> = SmallVec::new();
        let mut offer = |source: Source, parts: [&'a [u8]; 2]| {
            let bytes = parts[0].len() + parts[1].len();
            if bytes > 0 && runs.len() < RUNS_MAX - 1 {
                sources.push((source, bytes));
                let filled = parts.into_iter().filter(|part| !part.is_empty());
                runs.extend(filled.map(IoSlice::new));
            }
        };
        if let Some(half) = self.half_sent {
            let (log, cursor) = shards.position(subscriptions[half.subscription]);
            offer(Source::Room(half.subscription), log.run(cursor, half.end));
        }
        offer(Source::Direct, [&self.direct[self.direct_sent..], &[]]);
        if let Some(body) = &self.body {
            offer(Source::Body, [body, &[]]);
        }
        for (at, subscription) in subscriptions.iter().enumerate() {
            let (log, cursor) = shards.position(*subscription);
            let from = match self.half_sent {
                Some(half) if half.subscription == at => half.end,
                _ => cursor,
            };
            offer(Source::Room(at), log.run(from, log.head()));
        }
        let sent = socket.send(&runs, sealing)?;
        Ok((sources, sent))
    }

    fn advance(
        &mut self,
        mut sent: usize,
        sources: &[(Source, usize)],
        subscriptions: &[Subscription],
        shards: &mut Shards,
    ) {
        for (source, offered) in sources {
            let taken = sent.min(*offered);
            if taken == 0 {
                break;
            }
            sent -= taken;
            match source {
                Source::Direct => self.advance_direct(taken),
                Source::Body => self.advance_body(taken),
                Source::Room(at) => {
                    shards.advance(subscriptions[*at], taken);
                    let (log, cursor) = shards.position(subscriptions[*at]);
                    let end = log.frame_end(cursor);
                    self.half_sent = (end != cursor).then_some(HalfSent {
                        subscription: *at,
                        end,
                    });
                }
            }
        }
    }

    fn advance_direct(&mut self, bytes: usize) {
        if self.direct_sent + bytes == self.direct.len() {
            self.direct.clear();
            self.direct_sent = 0;
            self.begun_bytes = 0;
            return;
        }
        let mut end = self.begun_bytes;
        while end < bytes {
            end += next_bytes(&self.direct[self.direct_sent + end..]);
        }
        self.begun_bytes = end - bytes;
        self.direct_sent += bytes;
        if self.direct_sent >= self.direct.len() / 2 {
            // A peer that never quite catches up must not keep what it has had in memory.
            // Half is moved at most once for every byte that left.
            self.direct.drain(..self.direct_sent);
            self.direct_sent = 0;
        }
    }

    /// Gives up what waits, and the memory: nothing can be sent any more.
    pub(crate) fn clear(&mut self) {
        self.half_sent = None;
        self.direct = Vec::new();
        self.direct_sent = 0;
        self.begun_bytes = 0;
        self.body = None;
    }

    /// Its socket is full: what waits now may wait long, in no more memory than it needs.
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

/// How many bytes the first whole thing in `direct` has: a frame, or the head of the 101 before all
/// frames, which begins with a letter where every frame of this server begins with a set bit.
fn next_bytes(direct: &[u8]) -> usize {
    match direct[0] & 0x80 {
        0 => {
            let end = direct.windows(4).position(|four| four == b"\r\n\r\n");
            end.map_or(direct.len(), |end| end + 4)
        }
        _ => codec::frame::encoded_bytes(direct),
    }
}

#[cfg(test)]
mod tests {
    use codec::Kind;

    use super::*;
    use crate::encoder::WireForm;

    #[test]
    fn rest_of_a_frame_that_has_begun_is_all_that_is_kept() {
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
        let mut all = head.to_vec();
        let mut ends = vec![head.len()];
        for bytes in [0, 1, 125, 126, 300, 65_536, 7] {
            codec::encode_message(Kind::Binary, &vec![0xff; bytes], &mut all);
            ends.push(all.len());
        }
        for step in [1, 2, 3, 127, 1_000, 50_000] {
            let mut queue = SendQueue::default();
            queue.direct.extend_from_slice(&all);
            let mut sent = 0;
            while sent + step < all.len() {
                queue.advance_direct(step);
                sent += step;
                if step < 100 && sent > 1_000 {
                    break;
                }
            }
            let end = *ends.iter().find(|end| **end >= sent).unwrap();
            let waited = queue.direct.capacity();
            queue.detach(&[], &Shards::default(), Kept::Begun);
            assert_eq!(queue.direct, all[sent..end], "after {sent}");
            assert!(queue.held_bytes() <= waited.min(end - sent + 64));
        }
    }

    #[test]
    fn queue_is_over_its_bound_from_the_first_byte_beyond() {
        let room = hub::RoomId {
            home: hub::CoreId(0),
            token: 1,
        };
        let mut shards = Shards::default();
        let subscriptions = [shards.subscribe(room, WireForm::Plain, slotmap::Key::null())];
        let mut queue = SendQueue::default();
        for _ in 0..2 {
            shards.append(room, |_, log| log.append([&[0x82, 98], &[0; 98]]));
        }
        let is_over = |queue: &SendQueue, shards: &Shards, bytes_max| {
            queue.is_over(bytes_max, 0, &subscriptions, shards)
        };
        for (bytes_max, expected) in [(199, true), (200, false), (201, false)] {
            assert_eq!(is_over(&queue, &shards, bytes_max), expected, "{bytes_max}");
        }
        // What is for the connection alone counts with it.
        queue.direct = vec![0x8a, 0];
        for (bytes_max, expected) in [(201, true), (202, false), (203, false)] {
            assert_eq!(is_over(&queue, &shards, bytes_max), expected, "{bytes_max}");
        }
        // So does what has been encrypted.
        for (bytes_max, expected) in [(231, true), (232, false)] {
            let is_over = queue.is_over(bytes_max, 30, &subscriptions, &shards);
            assert_eq!(is_over, expected, "{bytes_max}");
        }
        // A single message may be longer than the bound.
        let mut shards = Shards::default();
        let subscriptions = [shards.subscribe(room, WireForm::Plain, slotmap::Key::null())];
        shards.append(room, |_, log| log.append([&[0x82, 98], &[0; 98]]));
        let queue = SendQueue::default();
        assert!(!queue.is_over(1, 0, &subscriptions, &shards));
    }

    #[test]
    fn queue_that_never_empties_keeps_only_what_waits() {
        let mut queue = SendQueue::default();
        let mut number = 0u32;
        for round in 0..10_000 {
            while queue.direct_bytes() < 4_000 {
                queue.direct.extend_from_slice(&number.to_be_bytes());
                number += 1;
            }
            let rest = &queue.direct[queue.direct_sent..];
            let oldest = u32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
            assert_eq!(oldest, number - 1_000, "round {round}");
            queue.advance_direct(400);
        }
        assert!(queue.direct.capacity() <= 4 * 4_000);
    }
}
