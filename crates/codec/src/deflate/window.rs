//! What a connection keeps of its client's messages, as its next one may refer to them.

use std::collections::VecDeque;

/// The last plain bytes of the messages that came compressed. Without heap until there are any.
#[derive(Default)]
pub(crate) struct Window {
    bytes: Option<Box<VecDeque<u8>>>,
}

impl Window {
    /// Adds a message and keeps the last `bytes_max` bytes of all. Grows with what came, by
    /// doubling, up to exactly that.
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
            let capacity = needed.next_power_of_two().min(bytes_max);
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend(plain);
    }

    /// Its bytes in order, in two parts.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match &self.bytes {
            Some(bytes) => bytes.as_slices().into(),
            None => [&[], &[]],
        }
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
