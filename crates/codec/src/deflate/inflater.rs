//! Whole compressed messages in, plain messages out (RFC 7692 section 7.2.2).
//!
//! Beside what the RFC lets a sender do, three things are taken that peers were seen to send and other
//! servers take: a last block without the empty block that should follow it, the tail of the flush
//! left in, and no bytes at all for an empty message. Each is told from a message that was cut short.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{FLUSH_TAIL, WINDOW_BITS_MAX, Window};
use crate::error::FrameError;

/// What follows a payload whose stream has not ended: first what the sender left out, then a last
/// block without content. If the payload was whole the stream ends exactly with it, and nothing comes
/// of it: else the bytes are taken for a piece of what is missing.
const END: [u8; 6] = {
    let [a, b, c, d] = FLUSH_TAIL;
    [a, b, c, d, 0x03, 0x00]
};

/// Most blocks in one message that say that they are the last and are followed by more
/// (RFC 7692 section 7.2.3.4). One is enough for any sender; after each the window must be set again,
/// 32 KiB for two bytes received.
const LAST_BLOCKS_MAX: usize = 16;

/// Smallest step by which the plain message grows, in bytes.
const GROWTH_BYTES_MIN: usize = 256;

/// How a stream stands that was given some bytes.
enum Fed<'a> {
    /// It took them all and goes on.
    Open,
    /// It has ended, before these.
    Ended(&'a [u8]),
}

/// Compressed bytes that one call takes: a byte of an empty block takes ninety times what a plain one
/// does, so this is less than 0.1 ms, and nobody else waits for the whole of a message.
const BYTES_PER_CALL: usize = 1 << 10;

/// What zlib keeps for one stream, in bytes: its window, its tables, what it counts.
const STREAM_BYTES: usize = 48 << 10;

/// Lends what decompresses a message, and has it back when the message is whole: one per core, for
/// any number of connections. Empty until first used, then about 50 KiB.
#[derive(Default)]
pub struct Inflater {
    spare: Option<Decompress>,
}

/// A message that is being decompressed.
pub(crate) struct Inflation {
    stream: Decompress,
    /// Bytes of the payload that were taken.
    taken: usize,
    last_blocks: usize,
    plain: Vec<u8>,
}

impl Inflater {
    /// Begins with a message, which may refer to the window.
    pub(crate) fn begin(&mut self, window: &Window) -> Result<Inflation, FrameError> {
        // Any window of the client fits into the largest.
        let new = || Decompress::new_with_window_bits(false, WINDOW_BITS_MAX);
        let mut stream = self.spare.take().unwrap_or_else(new);
        begin(&mut stream, window, &[])?;
        Ok(Inflation {
            stream,
            taken: 0,
            last_blocks: 0,
            plain: Vec::new(),
        })
    }

    /// Ends with a message: returns what it was before compression.
    pub(crate) fn end(&mut self, inflation: Inflation) -> Vec<u8> {
        self.spare = Some(inflation.stream);
        inflation.plain
    }
}

impl Inflation {
    /// Goes on with the payload of the message, which is the same in each call; returns whether that
    /// was all. Stops as soon as what it was before compression would be longer than `bytes_max`.
    pub(crate) fn advance(
        &mut self,
        compressed: &[u8],
        window: &Window,
        bytes_max: usize,
    ) -> Result<bool, FrameError> {
        let Self {
            stream,
            taken,
            last_blocks,
            plain,
        } = self;
        let rest = &compressed[*taken..];
        let piece = &rest[..rest.len().min(BYTES_PER_CALL)];
        let is_last = piece.len() == rest.len();
        match feed(stream, piece, compressed.len(), bytes_max, plain)? {
            _ if compressed.is_empty() => return Ok(true),
            Fed::Open if is_last => {
                return end(stream, compressed, bytes_max, plain).map(|()| true);
            }
            Fed::Open => *taken += piece.len(),
            Fed::Ended([]) if is_last => return Ok(true),
            Fed::Ended(more) => {
                *taken += piece.len() - more.len();
                *last_blocks += 1;
                if *last_blocks > LAST_BLOCKS_MAX {
                    return Err(FrameError::DeflateInvalid);
                }
                begin(stream, window, plain)?;
            }
        }
        Ok(false)
    }

    /// Heap held, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        STREAM_BYTES + self.plain.capacity()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("used", &self.spare.is_some())
            .finish()
    }
}

/// A new stream whose blocks may refer to the window and to what came of the message so far.
fn begin(stream: &mut Decompress, window: &Window, out: &[u8]) -> Result<(), FrameError> {
    stream.reset(false);
    let out = &out[out.len().saturating_sub(1 << WINDOW_BITS_MAX)..];
    let [first, second] = window.parts();
    for part in [first, second, out] {
        if !part.is_empty() {
            stream
                .set_dictionary(part)
                .map_err(|_| FrameError::DeflateInvalid)?;
        }
    }
    Ok(())
}

/// Appends to `out` all that comes of these bytes, unless that would be longer than `bytes_max`.
fn feed<'a>(
    stream: &mut Decompress,
    mut rest: &'a [u8],
    received_bytes: usize,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<Fed<'a>, FrameError> {
    loop {
        grow(out, received_bytes, bytes_max);
        let before = stream.total_in();
        let status = stream
            .decompress_vec(rest, out, FlushDecompress::None)
            .map_err(|_| FrameError::DeflateInvalid)?;
        rest = &rest[(stream.total_in() - before) as usize..];
        if out.len() > bytes_max {
            return Err(FrameError::MessageTooBig);
        }
        match status {
            Status::StreamEnd => return Ok(Fed::Ended(rest)),
            // In a full buffer more may follow of bytes that were all taken.
            _ if rest.is_empty() && out.len() < out.capacity() => return Ok(Fed::Open),
            // With input and room there always is progress; a core must not hang on it.
            Status::BufError => return Err(FrameError::DeflateInvalid),
            Status::Ok => {}
        }
    }
}

/// Whether a message whose stream has not ended is whole: it ends where a flush does. Without the
/// tail of one it ends with a part of an empty block's header, three bits that are zero and what fills
/// their byte, and so never with 0xff: where the tail stands it was left in.
fn end(
    stream: &mut Decompress,
    compressed: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let missing = match compressed.ends_with(&FLUSH_TAIL) {
        true => &END[FLUSH_TAIL.len()..],
        false => &END,
    };
    let plain_bytes = out.len();
    match feed(stream, missing, compressed.len(), bytes_max, out)? {
        Fed::Ended([]) if out.len() == plain_bytes => Ok(()),
        Fed::Ended(_) | Fed::Open => Err(FrameError::DeflateInvalid),
    }
}

/// Makes room in a full buffer: at first for as much as was received, then by doubling, up to one
/// byte more than is allowed, by which it is seen that there is more.
fn grow(out: &mut Vec<u8>, received_bytes: usize, bytes_max: usize) {
    if out.len() == out.capacity() {
        // A reload may have lowered the limit since the message began.
        let most = bytes_max.saturating_add(1).saturating_sub(out.len());
        let more = received_bytes.max(out.len()).max(GROWTH_BYTES_MIN);
        out.reserve_exact(more.min(most));
    }
}
