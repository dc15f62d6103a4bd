//! What one connection, and what all of them together, may cost a core in one turn.
//!
//! Input can cost far more than it weighs: a message of one byte has its header decoded, its answer
//! encoded, its publication ordered. So what a turn takes from a connection is charged by what it costs,
//! in nanoseconds of a usual processor: counted where that is enough, since counting takes no clock and
//! is the same each time; measured where nothing else tells, as with what came compressed. A connection
//! that has used up its share goes on in the next turn, after all others have had theirs.
//!
//! A share is for one connection and one turn, a ration (`ration.rs`) for all connections, one kind of
//! work and one turn; allowances and rates are for one peer or address and a second.

use crate::tally::Tally;

/// What a turn may take from one connection: what a message of 64 KiB costs, which is also one receive.
/// That is 127 messages of one byte, or as many pings: the last one may go beyond.
pub(crate) const SHARE_NS: u64 = 64 << 10;

/// A byte that was received: copied from the kernel, unmasked, copied into an answer, copied back.
const BYTE_NS: u64 = 1;

/// What the protocol found: a message, whatever is in it, a ping, a pong, or as many fragments of an
/// unfinished message as the codec reads in one call, 16. It takes 0.15 to 0.5 µs with its answer.
const EVENT_NS: u64 = 512;

/// A kibibyte of a compressed message that is not whole yet. Ordinary text takes about this long;
/// blocks without content take ten times as long, which the clock shows.
const PIECE_NS: u64 = 8 << 10;

/// A publication on top of its message: it is ordered by its home, logged on each core and parted from
/// the log again, some 0.5 µs.
const PUBLICATION_NS: u64 = 512;

/// TLS handshakes of all connections in one turn. A step signs, or agrees on a key: 0.1 ms with ECDSA,
/// so eight of them; ten times that with RSA, so one.
pub(crate) const HANDSHAKES_NS: u64 = 1_000_000;

/// What a step of a handshake counts for at least, so that in one turn at most 64 of them come to
/// nothing: who is gone is closed without any cryptography, which takes the kernel some 10 µs.
pub(crate) const HANDSHAKE_NS_MIN: u64 = HANDSHAKES_NS / 64;

/// What connections with compression may take in one turn, all together: to inflate a byte can take
/// ninety times what it takes to receive it, and to deflate an answer of 64 KiB half a millisecond. A
/// single message is not parted, so the last of a turn may take it beyond.
pub(crate) const COMPRESSION_NS: u64 = 2_000_000;

/// What is left of what one connection may cost in a turn.
pub(crate) struct Share {
    left_ns: u64,
    published: u64,
    payload_bytes: u64,
    /// When what is paid for next began, if it is measured.
    since_ns: Option<u64>,
}

impl Share {
    /// The whole share of a turn. What is measured begins now.
    pub(crate) fn new(tally: &Tally, since_ns: Option<u64>) -> Self {
        Self {
            left_ns: SHARE_NS,
            published: tally.published,
            payload_bytes: tally.payload_received.bytes(),
            since_ns,
        }
    }

    /// Pays for what the protocol found in so many bytes.
    pub(crate) fn pay(
        &mut self,
        bytes: usize,
        is_inflating: bool,
        tally: &Tally,
        now_ns: impl FnOnce() -> u64,
    ) {
        let published = tally.published - self.published;
        let payload_bytes = tally.payload_received.bytes() - self.payload_bytes;
        self.published = tally.published;
        self.payload_bytes = tally.payload_received.bytes();
        let found = match is_inflating {
            true => PIECE_NS,
            false => EVENT_NS + PUBLICATION_NS * published,
        };
        let counted = BYTE_NS * bytes as u64 + found;
        let cost_ns = match &mut self.since_ns {
            None => counted,
            Some(since_ns) => {
                let now_ns = now_ns();
                let measured = now_ns.saturating_sub(std::mem::replace(since_ns, now_ns));
                counted.max(BYTE_NS * payload_bytes).max(measured)
            }
        };
        self.left_ns = self.left_ns.saturating_sub(cost_ns);
    }

    /// Whether others have their turn first.
    pub(crate) fn is_used_up(&self) -> bool {
        self.left_ns == 0
    }
}
