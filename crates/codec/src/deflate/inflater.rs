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

/// Decompresses the messages of any number of connections, one at a time; one per core. Empty
/// until first used, then about 50 KiB.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Decompress>,
}

impl Inflater {
    /// Appends to `out`, which is empty, what the payload of a message was before compression.
    /// Stops as soon as that would be longer than `bytes_max`.
    pub(crate) fn inflate(
        &mut self,
        compressed: &[u8],
        window: &Window,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        if compressed.is_empty() {
            return Ok(());
        }
        // Any window of the client fits into the largest.
        let stream = self
            .stream
            .get_or_insert_with(|| Decompress::new_with_window_bits(false, WINDOW_BITS_MAX));
        let received_bytes = compressed.len();
        let mut rest = compressed;
        for _ in 0..=LAST_BLOCKS_MAX {
            begin(stream, window, out)?;
            match feed(stream, rest, received_bytes, bytes_max, out)? {
                Fed::Open => return end(stream, compressed, bytes_max, out),
                Fed::Ended([]) => return Ok(()),
                Fed::Ended(more) => rest = more,
            }
        }
        Err(FrameError::DeflateInvalid)
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("used", &self.stream.is_some())
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
        let most = bytes_max.saturating_add(1) - out.len();
        let more = received_bytes.max(out.len()).max(GROWTH_BYTES_MIN);
        out.reserve_exact(more.min(most));
    }
}
