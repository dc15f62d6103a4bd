//! Complete compressed messages in, decompressed messages out (RFC 7692 section 7.2.2).
//!
//! Beyond the RFC, three forms are accepted that peers were seen to send and other servers accept:
//! a last block without the empty block that should follow it, a flush whose tail was not removed,
//! and no bytes at all for an empty message. Each can be distinguished from a truncated message.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{FLUSH_TAIL, WINDOW_BITS_MAX, Window};
use crate::error::FrameError;

/// Appended to a payload whose stream has not ended: first the tail that the sender removed, then a
/// last block without content. If the payload is complete, the stream ends exactly with these
/// bytes, and they yield nothing. Otherwise they are decoded as a part of what is missing.
const END: [u8; 6] = {
    let [a, b, c, d] = FLUSH_TAIL;
    [a, b, c, d, 0x03, 0x00]
};

/// Most blocks of one message that are marked as the last but are followed by more (RFC 7692
/// section 7.2.3.4). One is enough for any sender. After each the window must be set again, which
/// copies 32 KiB for two bytes received.
const LAST_BLOCKS_MAX: usize = 16;

/// The smallest step by which the decompressed message grows, in bytes.
const GROWTH_BYTES_MIN: usize = 256;

/// The state of a stream after some input.
enum Fed<'a> {
    /// The stream consumed all bytes and continues.
    Open,
    /// The stream ended before these bytes.
    Ended(&'a [u8]),
}

/// Most compressed bytes that one call processes. A byte of an empty block costs ninety times as
/// much as any other, so this takes less than 0.1 ms, and other connections need not wait for a
/// whole message.
const BYTES_PER_CALL: usize = 1 << 10;

/// Memory of zlib for one stream, in bytes: its window, its tables and its counters.
const STREAM_BYTES: usize = 48 << 10;

/// Lends the state that decompresses one message, and takes it back when the message is complete.
/// One per core serves any number of connections. It is empty until first used, and then about 50
/// KiB.
#[derive(Default)]
pub struct Inflater {
    spare: Option<Decompress>,
}

/// A message that is being decompressed.
pub(crate) struct Inflation {
    stream: Decompress,
    /// Bytes of the payload that were processed.
    taken: usize,
    last_blocks: usize,
    plain: Vec<u8>,
}

impl Inflater {
    /// Begins a message, which may refer to the window.
    pub(crate) fn begin(&mut self, window: &Window) -> Result<Inflation, FrameError> {
        // The largest window can decompress what was compressed with any smaller one.
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

    /// Ends a message, and returns it decompressed.
    pub(crate) fn end(&mut self, inflation: Inflation) -> Vec<u8> {
        self.spare = Some(inflation.stream);
        inflation.plain
    }
}

impl Inflation {
    /// Continues a message whose compressed `payload` is the same in each call; returns whether the
    /// message is complete. Stops as soon as the decompressed message would exceed `bytes_max`.
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

/// Begins a stream whose blocks may refer to the window and to `out`, the message so far.
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

/// Appends to `out` all that these bytes decompress to, unless it would then exceed `bytes_max`.
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
            // While the buffer is full, zlib may still have output of bytes that it has consumed.
            _ if rest.is_empty() && out.len() < out.capacity() => return Ok(Fed::Open),
            // With input and room zlib always makes progress; should it not, a core must not loop
            // for ever.
            Status::BufError => return Err(FrameError::DeflateInvalid),
            Status::Ok => {}
        }
    }
}

/// Checks that a message whose stream has not ended is complete: it must end where a flush does.
/// Without the tail of the flush it ends in the header of an empty block: three zero bits and the
/// padding of their byte. So it never ends with 0xff, and a tail that is present was not removed by
/// the sender.
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

/// Makes room in a full buffer: first for as many bytes as were received, then by doubling, up to
/// one byte more than is allowed, which shows that the message is too long.
fn grow(out: &mut Vec<u8>, received_bytes: usize, bytes_max: usize) {
    if out.len() == out.capacity() {
        // A reload of the settings may have lowered the limit since the message began.
        let most = bytes_max.saturating_add(1).saturating_sub(out.len());
        let more = received_bytes.max(out.len()).max(GROWTH_BYTES_MIN);
        out.reserve_exact(more.min(most));
    }
}
