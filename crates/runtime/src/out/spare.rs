//! Buffers that one connection has emptied and the next may fill.
//!
//! What a turn queues for its connections alone is freed when it has left. Given back to the
//! allocator, a megabyte of it goes back to the kernel turn by turn, and comes as fresh pages in
//! the next: 16 KiB echoed by 100 connections cost 12 µs of page faults a message.

/// Bytes that one core keeps at most.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// A buffer that is larger is not kept.
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// Nor is a smaller one, such as a pong leaves behind: to allocate it is cheap, and the bound would admit
/// half a million of the smallest.
const BUFFER_BYTES_MIN: usize = 1 << 10;

/// A core's spare buffers, all empty.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    buffers: Vec<Vec<u8>>,
    /// The capacity of all of them together.
    bytes: usize,
}

impl Spare {
    /// An empty buffer for `buffer`, if that has never held anything.
    pub(crate) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0
            && let Some(spare) = self.buffers.pop()
        {
            self.bytes -= spare.capacity();
            *buffer = spare;
        }
    }

    /// Takes the memory of `buffer` back, if it is empty; frees it if enough is kept already.
    pub(crate) fn take_back(&mut self, buffer: &mut Vec<u8>) {
        if !buffer.is_empty() || buffer.capacity() == 0 {
            return;
        }
        let buffer = std::mem::take(buffer);
        let bytes = buffer.capacity();
        let is_worth_it = (BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&bytes);
        if is_worth_it && self.bytes + bytes <= SPARE_BYTES_MAX {
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emptied_buffer_is_lent_to_the_next_who_has_none() {
        let mut spare = Spare::default();
        let mut one = vec![1; 2000];
        spare.take_back(&mut one);
        assert_eq!(one.len(), 2000, "what is not empty stays");
        one.clear();
        spare.take_back(&mut one);
        assert_eq!((one.capacity(), spare.bytes), (0, 2000));
        let mut other = vec![2; 3];
        spare.lend(&mut other);
        assert_eq!(other, [2; 3]);
        let mut none = Vec::new();
        spare.lend(&mut none);
        assert_eq!((none.len(), none.capacity(), spare.bytes), (0, 2000, 0));
    }

    #[test]
    fn no_more_is_kept_than_is_allowed() {
        let mut spare = Spare::default();
        spare.take_back(&mut Vec::with_capacity(BUFFER_BYTES_MAX + 1));
        spare.take_back(&mut Vec::with_capacity(BUFFER_BYTES_MIN - 1));
        assert_eq!(spare.buffers.len(), 0);
        for _ in 0..1000 {
            spare.take_back(&mut Vec::with_capacity(BUFFER_BYTES_MAX));
        }
        assert_eq!(spare.bytes, SPARE_BYTES_MAX);
    }
}
