//! What input may cost one connection in one turn.
//!
//! Input can cost far more than it weighs: a message of one byte has its header decoded, its answer
//! encoded, its publication ordered. So what a turn takes from a connection is charged by what it costs,
//! in nanoseconds of a usual processor: counted where that is enough, since counting takes no clock and
//! is the same each time; measured where nothing else tells, as with compressed messages. A connection
//! that has used up its share goes on in the next turn, after all others have had theirs.

use super::bounds::SHARE_NS;

/// A byte that was received: copied from the kernel, unmasked, copied into an answer, copied back.
const BYTE_NS: u64 = 1;

/// One event of the protocol: a message, whatever is in it, a ping, a pong, or as many fragments of an
/// unfinished message as the codec reads in one call, 16. It takes 0.15 to 0.5 µs with its answer.
const EVENT_NS: u64 = 512;

/// One call that inflates up to a kibibyte of a message that has arrived but is not wholly inflated. Ordinary text takes about this long;
/// blocks without content take ten times as long, which the clock shows.
const PIECE_NS: u64 = 8 << 10;

/// A publication on top of its message: it is ordered by its home, logged on each core and parted from
/// the log again, some 0.5 µs.
const PUBLICATION_NS: u64 = 512;

/// A command of a protocol within a message: it is parsed, looked up and answered, some 1 µs.
const COMMAND_NS: u64 = 1_000;

/// What is left of what one connection may cost in a turn.
#[derive(Debug)]
pub(crate) struct Share {
    left_ns: u64,
    /// When the next piece of work began, if work is measured.
    since_ns: Option<u64>,
}

/// One piece of work on received bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Bytes that the protocol took.
    pub(crate) bytes: usize,
    /// Whether they belong to a compressed message that is not wholly inflated yet.
    pub(crate) is_inflating: bool,
    /// Messages that were published.
    pub(crate) published: u64,
    /// Commands of protocols within messages.
    pub(crate) commands: u64,
    /// Payload of the messages that the protocol found, in bytes.
    pub(crate) payload_bytes: u64,
}

impl Share {
    /// The whole share of a turn. With `since_ns` work is measured too, from then on.
    pub(crate) fn new(since_ns: Option<u64>) -> Self {
        Self {
            left_ns: SHARE_NS,
            since_ns,
        }
    }

    /// Pays for a piece of work that is done by `now_ns`.
    pub(crate) fn pay(&mut self, work: Work, now_ns: impl FnOnce() -> u64) {
        let found = match work.is_inflating {
            true => PIECE_NS,
            false => EVENT_NS + PUBLICATION_NS * work.published + COMMAND_NS * work.commands,
        };
        let counted = BYTE_NS * work.bytes as u64 + found;
        let cost_ns = match &mut self.since_ns {
            None => counted,
            Some(since_ns) => {
                let now_ns = now_ns();
                let measured = now_ns.saturating_sub(std::mem::replace(since_ns, now_ns));
                counted.max(BYTE_NS * work.payload_bytes).max(measured)
            }
        };
        self.left_ns = self.left_ns.saturating_sub(cost_ns);
    }

    /// Whether others have their turn first.
    pub(crate) fn is_used_up(&self) -> bool {
        self.left_ns == 0
    }
}
