//! The chunked coding, for response bodies whose length is not known beforehand (RFC 9112 section
//! 7.1).
//!
//! ```text
//!  header(payload.len()) │ payload │ END      … any number of times
//!  LAST
//! ```

use std::ops::Deref;

/// The CR LF behind the payload of each chunk.
pub const END: &[u8] = b"\r\n";

/// The last chunk, which ends a body, without a trailer section.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// The bytes before the payload of a chunk: up to 16 hexadecimal digits, CR and LF.
///
/// It serves payloads that many connections share, as [`crate::frame::HeaderBytes`] does.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; Self::BYTES_MAX],
    /// The index of the first byte; the header is written from its end.
    start: u8,
}

impl HeaderBytes {
    const BYTES_MAX: usize = 18;
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// The header of a chunk whose payload has `payload_bytes` bytes, at least 1.
///
/// # Panics
/// If `payload_bytes` is 0, because an empty chunk would end the body.
#[must_use]
pub fn header(payload_bytes: usize) -> HeaderBytes {
    assert!(payload_bytes > 0, "an empty chunk would end the body");
    let mut bytes = [0; HeaderBytes::BYTES_MAX];
    let (digits, end) = bytes.split_at_mut(HeaderBytes::BYTES_MAX - END.len());
    end.copy_from_slice(END);
    let mut start = digits.len();
    let mut rest = payload_bytes;
    while rest > 0 {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    HeaderBytes {
        bytes,
        start: start as u8,
    }
}

/// Appends a chunk to `out`, or nothing if `payload` is empty.
pub fn encode(payload: &[u8], out: &mut Vec<u8>) {
    if !payload.is_empty() {
        out.extend_from_slice(&header(payload.len()));
        out.extend_from_slice(payload);
        out.extend_from_slice(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_each_length_is_its_shortest_hexadecimal() {
        for bits in 0..usize::BITS {
            for payload_bytes in [1 << bits, usize::MAX >> bits] {
                let expected = format!("{payload_bytes:x}\r\n");
                assert_eq!(&*header(payload_bytes), expected.as_bytes());
            }
        }
    }

    #[test]
    fn encode_of_nothing_does_not_end_the_body() {
        let mut out = Vec::new();
        encode(b"0123456789abcdef!", &mut out);
        encode(b"", &mut out);
        encode(b"\r\n", &mut out);
        assert_eq!(out, b"11\r\n0123456789abcdef!\r\n2\r\n\r\n\r\n");
    }
}
