//! The end of a client's messages, which its next compressed message may refer to.

use std::collections::VecDeque;

/// Memory beside the kept bytes: the box of the queue, and fragmentation by buffers that have
/// grown. Measured: less than a kilobyte.
const EXTRA_BYTES: usize = 1 << 10;

/// The last decompressed bytes of the compressed messages. No heap is allocated until there are
/// any.
#[derive(Default)]
pub(crate) struct Window {
    #[expect(
        clippy::box_collection,
        reason = "one word in every reader, of which most keep nothing"
    )]
    bytes: Option<Box<VecDeque<u8>>>,
}

impl Window {
    /// Most memory for this many kept bytes, in bytes.
    pub(crate) fn bytes_max(kept_bytes: usize) -> usize {
        match kept_bytes {
            0 => 0,
            _ => kept_bytes + EXTRA_BYTES,
        }
    }

    /// Adds a message and keeps the last `bytes_max` bytes of all messages, a power of two or 0.
    /// The buffer grows with the bytes that arrive, by doubling, up to exactly `bytes_max`.
    pub(crate) fn push(&mut self, plain: &[u8], bytes_max: usize) {
        let plain = &plain[plain.len().saturating_sub(bytes_max)..];
        if plain.is_empty() {
            return;
        }
        let bytes = self.bytes.get_or_insert_default();
        let excess = (bytes.len() + plain.len()).saturating_sub(bytes_max);
        bytes.drain(..excess);
        let needed = bytes.len() + plain.len();
        if needed > bytes.capacity() {
            bytes.reserve_exact(needed.next_power_of_two() - bytes.len());
        }
        bytes.extend(plain);
    }

    /// The kept bytes in order, in two parts.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match &self.bytes {
            Some(bytes) => bytes.as_slices().into(),
            None => [&[], &[]],
        }
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// Heap held, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.bytes
            .as_ref()
            .map_or(0, |bytes| size_of::<VecDeque<u8>>() + bytes.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_keeps_the_last_bytes_and_no_more_room() {
        let stream: Vec<u8> = (0..40_000_u32).map(|i| (i / 7) as u8).collect();
        for (bytes_max, step) in [(512, 1), (512, 100), (1024, 5000), (1 << 15, 9999), (0, 5)] {
            let mut window = Window::default();
            let mut pushed = 0;
            for piece in stream.chunks(step) {
                window.push(piece, bytes_max);
                pushed += piece.len();
                let expected = &stream[pushed.saturating_sub(bytes_max)..pushed];
                let [first, second] = window.parts();
                assert_eq!([first, second].concat(), expected, "{bytes_max}, {step}");
                assert!(window.buffered_bytes() <= bytes_max.min(2 * pushed) + 32);
            }
        }
        assert_eq!(Window::default().buffered_bytes(), 0);
    }
}
