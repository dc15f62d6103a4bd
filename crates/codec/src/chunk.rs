//! Chunks: the pieces of a response's body whose length nobody knows beforehand (RFC 9112 section 7.1).
//!
//! ```text
//!  header(payload.len()) │ payload │ END      … any number of times
//!  LAST
//! ```

use std::ops::Deref;

/// What follows the payload of a chunk.
pub const END: &[u8] = b"\r\n";

/// The last chunk, with which a body ends, and no trailer.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// What precedes the payload of a chunk: up to 16 hexadecimal digits, CR and LF.
///
/// For payloads that are shared by many connections, as [`crate::frame::HeaderBytes`].
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; Self::BYTES_MAX],
    /// Where the header begins: it is written from its end.
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

/// The header of a chunk with a payload of `payload_bytes` bytes.
///
/// # Panics
/// If that is 0: such a chunk would be the last.
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

/// Appends a chunk, or nothing if there is no payload.
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
