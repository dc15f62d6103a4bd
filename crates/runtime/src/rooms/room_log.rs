//! A room's frames on one core, end to end, for as long as a subscriber has not had them.
//!
//! Positions are counted in bytes since the log began and never go back, so a subscriber needs no
//! more than a cursor. What it has not had is one run of bytes, two where the ring wraps, and the
//! same run for all who are equally far.

use std::collections::VecDeque;

/// The log. Empty and unallocated while nobody lags behind.
#[derive(Debug, Default)]
pub(crate) struct RoomLog {
    bytes: VecDeque<u8>,
    /// The position of the first byte kept.
    tail: u64,
    /// Where each frame that is at least partly kept ends, ascending; the last is the head.
    frames: VecDeque<FrameEnd>,
    /// The end of the latest frame that is forgotten wholly.
    forgotten: FrameEnd,
}

/// Where a frame ends.
#[derive(Clone, Copy, Debug, Default)]
struct FrameEnd {
    position: u64,
    /// How many messages lie before that, since the log began: a frame may have several.
    messages: u64,
}

impl RoomLog {
    /// The position after the last byte.
    pub(crate) fn head(&self) -> u64 {
        self.tail + self.bytes.len() as u64
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity() + self.frames.capacity() * size_of::<FrameEnd>()
    }

    /// Appends the frame of one message, of which these are the parts. One without any bytes is nothing to send:
    /// its end would never be passed, and so never be forgotten.
    pub(crate) fn append<const PARTS: usize>(&mut self, parts: [&[u8]; PARTS]) {
        self.append_of_many(parts, 1);
    }

    /// As [`append`](Self::append), one frame of so many messages.
    pub(crate) fn append_of_many<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        messages: u64,
    ) {
        let bytes = parts.iter().map(|part| part.len()).sum();
        if bytes == 0 {
            return;
        }
        self.bytes.reserve(bytes);
        for part in parts {
            self.bytes.extend(part);
        }
        self.frames.push_back(FrameEnd {
            position: self.head(),
            messages: self.latest().messages + messages,
        });
    }

    /// The bytes from position `from` up to `to`, in order; the second is empty unless the ring
    /// wraps in between. Both positions lie within what is kept.
    pub(crate) fn run(&self, from: u64, to: u64) -> [&[u8]; 2] {
        let from = (from - self.tail) as usize;
        let to = (to - self.tail) as usize;
        let (front, back) = self.bytes.as_slices();
        let split = front.len();
        [
            &front[from.min(split)..to.min(split)],
            &back[from.saturating_sub(split)..to.saturating_sub(split)],
        ]
    }

    /// How many frames are at least partly kept.
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// What is kept of a frame, the oldest of which has the number 0; the second is empty unless the ring wraps in
    /// between.
    pub(crate) fn frame(&self, number: usize) -> [&[u8]; 2] {
        let start = match number {
            0 => self.tail,
            _ => self.frames[number - 1].position,
        };
        self.run(start, self.frames[number].position)
    }

    /// The end of the frame in the middle of which `position` lies; `position` itself where it lies
    /// between two frames. It lies within what is kept.
    pub(crate) fn frame_end(&self, position: u64) -> u64 {
        if position == self.forgotten.position {
            return position;
        }
        let at = self.frames.partition_point(|it| it.position < position);
        self.frames.get(at).map_or(position, |it| it.position)
    }

    /// The end of the first frame of which something lies behind `position`; `position` itself if there is none.
    pub(crate) fn next_frame_end(&self, position: u64) -> u64 {
        let at = self.frames.partition_point(|it| it.position <= position);
        self.frames.get(at).map_or(position, |it| it.position)
    }

    /// How many whole frames follow `position`.
    pub(crate) fn frames_behind(&self, position: u64) -> usize {
        let end = self.frame_end(position);
        self.frames.len() - self.frames.partition_point(|it| it.position <= end)
    }

    /// How many messages are in the whole frames that follow `position`.
    pub(crate) fn messages_behind(&self, position: u64) -> u64 {
        let end = self.frame_end(position);
        let before = self.frames.partition_point(|it| it.position <= end);
        let last_before = before.checked_sub(1).map(|at| self.frames[at]);
        self.latest().messages - last_before.unwrap_or(self.forgotten).messages
    }

    /// The end of the latest frame.
    fn latest(&self) -> FrameEnd {
        self.frames.back().copied().unwrap_or(self.forgotten)
    }

    /// Whether what follows `position` is at most one frame, or the rest of one.
    pub(crate) fn is_last_frame(&self, position: u64) -> bool {
        match self.frames.len() {
            0 | 1 => true,
            frames => self.frames[frames - 2].position <= position,
        }
    }

    /// Forgets what lies before `position`; gives the memory back when nothing is left. A position before
    /// the tail changes nothing.
    pub(crate) fn trim(&mut self, position: u64) {
        if position <= self.tail {
            return;
        }
        if position == self.head() {
            *self = Self {
                tail: position,
                forgotten: self.latest(),
                ..Self::default()
            };
            return;
        }
        self.bytes.drain(..(position - self.tail) as usize);
        self.tail = position;
        let gone = self.frames.partition_point(|it| it.position <= position);
        if let Some(end) = self.frames.drain(..gone).next_back() {
            self.forgotten = end;
        }
        // One slow subscriber can make the log large. The memory is given back once three quarters are
        // unused, even if others still lag a little. As much as is in use is left to grow into, so that a
        // byte is moved at most once for each that is gone.
        if self.bytes.capacity() > 4 * self.bytes.len() {
            self.bytes.shrink_to(2 * self.bytes.len());
            self.frames.shrink_to(2 * self.frames.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(log: &RoomLog, from: u64) -> Vec<u8> {
        log.run(from, log.head()).concat()
    }

    #[test]
    fn log_that_wraps_yields_the_same_bytes_at_every_cursor() {
        let mut log = RoomLog::default();
        let mut expected = Vec::new();
        for n in 0..200u8 {
            let payload = vec![n; usize::from(n % 7)];
            log.append([&[0x81, n % 7], &payload]);
            expected.extend([0x81, n % 7]);
            expected.extend(&payload);
            if n % 3 == 0 {
                log.trim(log.head() - log.bytes.len().min(40) as u64);
            }
            for cursor in log.tail..=log.head() {
                assert_eq!(bytes(&log, cursor), expected[cursor as usize..]);
            }
        }
    }

    #[test]
    fn messages_behind_a_position_are_those_of_frames_of_which_nothing_lies_before_it() {
        let mut log = RoomLog::default();
        for messages in [1, 20, 3] {
            log.append_of_many([&[1, 2], &[3; 8]], messages);
        }
        for trimmed in [0, 5, 10, 15, 20] {
            log.trim(trimmed);
            let behind = (trimmed..=30).map(|from| log.messages_behind(from));
            let expected = (trimmed..=30).map(|from| [0, 3, 23, 24][(30 - from as usize) / 10]);
            assert!(behind.eq(expected), "trimmed to {trimmed}");
        }
        log.trim(30);
        assert_eq!(log.messages_behind(30), 0);
        log.append_of_many([&[1, 2], &[3; 8]], 7);
        log.append([&[1, 2], &[3; 8]]);
        let behind = [30, 31, 40, 50].map(|from| log.messages_behind(from));
        assert_eq!(behind, [8, 1, 1, 0]);
    }

    #[test]
    fn frames_are_told_apart_by_their_numbers() {
        let mut log = RoomLog::default();
        for n in 0..5 {
            log.append([&[n], &[n; 3]]);
        }
        log.trim(6);
        assert_eq!(log.frames(), 4);
        assert_eq!(log.frame(0).concat(), [1; 2], "of which a part is gone");
        for n in 1..4 {
            assert_eq!(log.frame(n).concat(), [n as u8 + 1; 4]);
        }
    }

    #[test]
    fn log_that_nobody_needs_holds_no_memory() {
        let mut log = RoomLog::default();
        log.append([&[1, 2], &[3; 1000]]);
        log.trim(log.head());
        assert_eq!((log.bytes.capacity(), log.frames.capacity()), (0, 0));
        assert_eq!(log.head(), 1002);
    }

    #[test]
    fn frames_without_bytes_hold_no_memory() {
        let mut log = RoomLog::default();
        for _ in 0..1_000 {
            log.append([&[], &[]]);
            log.trim(log.head());
        }
        assert_eq!(log.held_bytes(), 0);
    }

    #[test]
    fn log_that_has_become_short_gives_most_of_its_memory_back() {
        let mut log = RoomLog::default();
        for _ in 0..1_000 {
            log.append([&[0, 0], &[4; 998]]);
        }
        let all = log.held_bytes();
        assert!((1_000_000..3_000_000).contains(&all), "{all}");
        log.trim(990_000);
        assert!(log.held_bytes() <= 4 * 10_000, "{}", log.held_bytes());
        assert_eq!(bytes(&log, 990_000).len(), 10_000);
    }

    #[test]
    fn frame_end_of_a_half_sent_frame_is_that_frames_end() {
        let mut log = RoomLog::default();
        log.append([&[0, 0], &[1; 8]]);
        log.append([&[0, 0], &[2; 8]]);
        log.append([&[0, 0], &[3; 8]]);
        assert_eq!(log.frame_end(1), 10);
        assert_eq!(log.frame_end(10), 10);
        assert_eq!(log.frame_end(11), 20);
        log.trim(13);
        assert_eq!(log.frame_end(13), 20);
        assert_eq!(log.frame_end(14), 20);
        assert_eq!(log.frame_end(30), 30);
    }

    #[test]
    fn position_between_two_frames_is_no_half_sent_frame_whatever_is_forgotten() {
        let mut log = RoomLog::default();
        assert_eq!(log.frame_end(0), 0);
        log.append([&[0, 0], &[1; 8]]);
        assert_eq!(log.frame_end(0), 0);
        log.append([&[0, 0], &[2; 8]]);
        log.trim(10);
        assert_eq!((log.frame_end(10), log.frame_end(11)), (10, 20));
        log.trim(20);
        log.append([&[0, 0], &[3; 8]]);
        assert_eq!((log.frame_end(20), log.frame_end(21)), (20, 30));
    }

    #[test]
    fn last_frame_is_recognised_from_its_first_byte_on() {
        let mut log = RoomLog::default();
        assert!(log.is_last_frame(0));
        log.append([&[0, 0], &[1; 8]]);
        assert!(log.is_last_frame(0));
        log.append([&[0, 0], &[2; 8]]);
        assert!(!log.is_last_frame(9));
        assert!(log.is_last_frame(10));
        assert!(log.is_last_frame(15));
    }
}
