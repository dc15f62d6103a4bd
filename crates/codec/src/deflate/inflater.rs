//! Whole compressed messages in, plain messages out (RFC 7692 section 7.2.2).

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::{FLUSH_TAIL, WINDOW_BITS_MAX, Window};
use crate::error::FrameError;

/// What follows the payload: first what the sender left out, then a last block without content.
/// The stream ends exactly with it if the payload was whole, and in no other case: else the bytes
/// are taken for a piece of what is missing.
const END: [u8; 6] = {
    let [a, b, c, d] = FLUSH_TAIL;
    [a, b, c, d, 0x03, 0x00]
};

/// Most blocks in one message that say that they are the last (RFC 7692 section 7.2.3.4). One is
/// enough for any sender; after each the window must be set again, 32 KiB for two bytes received.
const LAST_BLOCKS_MAX: usize = 16;

/// Smallest step by which the plain message grows, in bytes.
const GROWTH_BYTES_MIN: usize = 256;

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
        // Any window of the client fits into the largest.
        let stream = self
            .stream
            .get_or_insert_with(|| Decompress::new_with_window_bits(false, WINDOW_BITS_MAX));
        begin(stream, window, out)?;
        let mut last_blocks = 0;
        for (piece, is_end) in [(compressed, false), (&END, true)] {
            let mut rest = piece;
            while !rest.is_empty() {
                grow(out, compressed.len(), bytes_max);
                let before = stream.total_in();
                let status = stream
                    .decompress_vec(rest, out, FlushDecompress::None)
                    .map_err(|_| FrameError::DeflateInvalid)?;
                rest = &rest[(stream.total_in() - before) as usize..];
                if out.len() > bytes_max {
                    return Err(FrameError::MessageTooBig);
                }
                if status == Status::StreamEnd {
                    if is_end && rest.is_empty() {
                        return Ok(());
                    }
                    last_blocks += 1;
                    if last_blocks > LAST_BLOCKS_MAX {
                        return Err(FrameError::DeflateInvalid);
                    }
                    begin(stream, window, out)?;
                }
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

/// Makes room in a full buffer: at first for as much as was received, then by doubling, up to one
/// byte more than is allowed, by which it is seen that there is more.
fn grow(out: &mut Vec<u8>, received_bytes: usize, bytes_max: usize) {
    if out.len() == out.capacity() {
        let most = bytes_max.saturating_add(1) - out.len();
        let more = received_bytes.max(out.len()).max(GROWTH_BYTES_MIN);
        out.reserve_exact(more.min(most));
    }
}
