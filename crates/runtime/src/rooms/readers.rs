//! Where the readers of a log stand, counted, so that its tail is known without asking all of them.
//!
//! Positions are divided into steps of 16 KiB. Each step counts the readers that stand in it; readers at
//! the head are counted separately. When one moves, two counters change, however
//! many others there are; the log may forget whatever lies before the first step with a reader.

use std::collections::VecDeque;

use hub::bound;

/// How finely positions are told apart, in bytes.
const STEP_BYTES: u64 = bound(16 << 10, 64) as u64;

/// For how many steps an idle log keeps its memory, four bytes each.
const STEPS_KEPT: usize = 8;

/// The readers of one log.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Those that have read everything.
    at_head: usize,
    /// Those that have not.
    behind: usize,
    /// How many of those that are behind stand in each step, from `first_step` on. The first count and
    /// the last are not 0.
    steps: VecDeque<u32>,
    first_step: u64,
}

impl Readers {
    /// Another one, which begins at the head.
    pub(crate) fn enter(&mut self) {
        self.at_head += 1;
    }

    /// One that stood at `position` is gone.
    pub(crate) fn leave(&mut self, position: u64, head: u64) {
        if position == head {
            self.at_head -= 1;
        } else {
            self.forget(position);
        }
    }

    /// The log grows beyond `head`: whoever stands there is behind from now on.
    pub(crate) fn fall_behind(&mut self, head: u64) {
        let readers = std::mem::take(&mut self.at_head);
        if readers > 0 {
            self.behind += readers;
            *self.count(head / STEP_BYTES) += readers as u32;
        }
    }

    /// One has read on from a position below `head` to another.
    pub(crate) fn advance(&mut self, from: u64, to: u64, head: u64) {
        if from == to {
            return;
        }
        // The new place first: a step that would only be empty for a moment is not dropped.
        if to == head {
            self.at_head += 1;
        } else {
            self.behind += 1;
            *self.count(to / STEP_BYTES) += 1;
        }
        self.forget(from);
    }

    /// A position at or before which nobody stands who is not at `head`. `None` if all are there.
    pub(crate) fn tail(&self) -> Option<u64> {
        (self.behind > 0).then_some(self.first_step * STEP_BYTES)
    }

    fn forget(&mut self, position: u64) {
        self.behind -= 1;
        *self.count(position / STEP_BYTES) -= 1;
        while self.steps.front() == Some(&0) {
            self.steps.pop_front();
            self.first_step += 1;
        }
        while self.steps.back() == Some(&0) {
            self.steps.pop_back();
        }
        // A room whose readers keep up uses one counter again and again.
        if self.steps.is_empty() && self.steps.capacity() > STEPS_KEPT {
            self.steps = VecDeque::new();
        }
    }

    fn count(&mut self, step: u64) -> &mut u32 {
        if self.steps.is_empty() {
            self.first_step = step;
        }
        while step < self.first_step {
            self.steps.push_front(0);
            self.first_step -= 1;
        }
        let at = (step - self.first_step) as usize;
        while at >= self.steps.len() {
            self.steps.push_back(0);
        }
        &mut self.steps[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readers that move, come and go as chance has it, beside a list of where each stands.
    #[test]
    fn tail_is_at_or_before_the_slowest_reader_and_no_more_than_a_step() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let (mut readers, mut places, mut head) = (Readers::default(), Vec::<u64>::new(), 0);
        for step in 0..100_000 {
            match below(8) {
                0 => {
                    readers.enter();
                    places.push(head);
                }
                1 if !places.is_empty() => {
                    let at = below(places.len() as u64) as usize;
                    readers.leave(places.swap_remove(at), head);
                }
                2 => {
                    readers.fall_behind(head);
                    head += 1 + below(20_000);
                }
                _ if !places.is_empty() => {
                    let at = below(places.len() as u64) as usize;
                    let from = places[at];
                    let to = match below(2) {
                        0 => head,
                        _ => from + below(head - from + 1),
                    };
                    readers.advance(from, to, head);
                    places[at] = to;
                }
                _ => {}
            }
            let slowest = places.iter().copied().filter(|place| *place < head).min();
            let tail = readers.tail();
            assert_eq!(tail.is_some(), slowest.is_some(), "step {step}");
            if let (Some(tail), Some(slowest)) = (tail, slowest) {
                assert_eq!(tail, slowest / STEP_BYTES * STEP_BYTES, "step {step}");
            }
        }
    }

    /// What is kept depends on how far the slowest is behind, and not on how many readers there are.
    #[test]
    fn one_that_lags_takes_a_counter_for_each_step_however_many_readers_there_are() {
        for many in [1, 1_000] {
            let mut readers = Readers::default();
            for _ in 0..many {
                readers.enter();
            }
            let mut head = 0;
            while head < 100 * STEP_BYTES {
                readers.fall_behind(head);
                head += STEP_BYTES / 2;
                // All but one have read everything by the end of the turn.
                for _ in 1..many {
                    readers.advance(head - STEP_BYTES / 2, head, head);
                }
                assert!(readers.steps.len() as u64 <= head / STEP_BYTES + 1);
            }
            assert_eq!(readers.tail(), Some(0));
            readers.leave(0, head);
            assert_eq!(readers.tail(), None);
            assert!(readers.steps.capacity() <= STEPS_KEPT);
        }
    }
}
