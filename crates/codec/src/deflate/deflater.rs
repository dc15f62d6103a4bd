//! Messages in, compressed frames out (RFC 7692 section 7.2.1).

use std::fmt;

use flate2::{Compress, Compression, FlushCompress};

use super::{FLUSH_TAIL, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::frame::{self, HeaderBytes, Kind};

/// The compressed form of an empty message (RFC 7692 section 7.2.3.6).
const EMPTY: u8 = 0x00;

/// The smallest step by which the output grows, in bytes. If zlib has more than six bytes left, it
/// does not repeat the end of a flush.
const GROWTH_BYTES_MIN: usize = 64;

/// Memory of a compressor apart from its window, in bytes; its level makes no difference. zlib-rs
/// takes a hash table of 128 KiB, 112 KiB for pending output and 6 KiB of state in one allocation,
/// which the allocator rounds up to pages.
const FIXED_BYTES: usize = 256 << 10;

/// Memory for each byte of the window: the window itself twice, and a link of two bytes.
const BYTES_FOR_WINDOW_BYTE: usize = 4;

/// Compresses messages with one zlib stream. Either it serves all connections and compresses each
/// message by itself, or it belongs to one connection with context takeover.
pub struct Deflater {
    stream: Compress,
}

impl Deflater {
    /// A compressor of this `level`, 1 (fastest) to 9 (smallest), and with a window of 2 to the
    /// power of `window_bits` bytes, 9 to 15. Values outside count as the nearest in range.
    #[must_use]
    pub fn new(level: u32, window_bits: u8) -> Self {
        let level = Compression::new(level.clamp(1, 9));
        let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        Self {
            stream: Compress::new_with_window_bits(level, false, window_bits),
        }
    }

    /// Most memory of a compressor with a window of this many bits, in bytes.
    #[must_use]
    pub fn bytes_max(window_bits: u8) -> usize {
        let window_bits = window_bits.clamp(WINDOW_BITS_MIN, WINDOW_BITS_MAX);
        FIXED_BYTES + (BYTES_FOR_WINDOW_BYTE << window_bits)
    }

    /// Appends the message as one compressed frame (RSV1) that refers to no earlier message.
    /// Returns false, having appended nothing, if that frame would not be shorter than the
    /// uncompressed one.
    pub fn encode_message(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.stream.reset();
        self.encode_next(kind, payload, out);
        let plain_bytes = frame::header(kind.into(), payload.len()).len() + payload.len();
        let is_shorter = out.len() - start < plain_bytes;
        if !is_shorter {
            out.truncate(start);
        }
        is_shorter
    }

    /// Appends the message as one compressed frame that may refer to earlier messages (context
    /// takeover). It is appended even if it is longer than the uncompressed one, since the peer's
    /// window must follow.
    pub fn encode_next(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // The length of the header is known only after compression, so the longest has its place.
        let content = start + HeaderBytes::BYTES_MAX;
        out.resize(content, 0);
        if payload.is_empty() {
            // zlib emits nothing for a second flush without input, so the empty block is written
            // here.
            out.push(EMPTY);
        } else {
            self.flush(payload, out);
            debug_assert!(out.ends_with(&FLUSH_TAIL), "a flush ends so");
            out.truncate(out.len() - FLUSH_TAIL.len());
        }
        let header = frame::compressed_header(kind, out.len() - content);
        let header_end = start + header.len();
        out[start..header_end].copy_from_slice(&header);
        out.drain(header_end..content);
    }

    /// Appends the compressed payload, up to the end of a flush.
    fn flush(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let mut rest = payload;
        // zlib has completed a flush when it leaves room in the output.
        while !rest.is_empty() || out.len() == out.capacity() {
            out.reserve(payload.len() / 2 + GROWTH_BYTES_MIN);
            let before = self.stream.total_in();
            self.stream
                .compress_vec(rest, out, FlushCompress::Sync)
                .expect("a stream that is not finished takes input");
            rest = &rest[(self.stream.total_in() - before) as usize..];
        }
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}
