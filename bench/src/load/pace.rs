//! When messages are sent: as soon as the previous ones have returned, or at a fixed rate.

use std::time::{Duration, Instant};

/// When to send messages.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// Closed loop: this many at once, and the next when all have returned. It finds the capacity.
    Closed {
        /// Messages in one send.
        at_once: u32,
    },
    /// Fixed rate: this many a second over all senders, whatever returns. It finds the latency.
    Fixed {
        /// Messages a second.
        per_second: f64,
    },
}

/// The times at which messages of a fixed rate are due.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    first: Instant,
    per_second: f64,
    gone: u64,
}

impl Schedule {
    /// A schedule whose first message is due at `first`.
    #[must_use]
    pub fn new(first: Instant, per_second: f64) -> Self {
        Self {
            first,
            per_second,
            gone: 0,
        }
    }

    /// When the next message is due.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.first + Duration::from_secs_f64(self.gone as f64 / self.per_second)
    }

    /// The number and time of the next message, if it is due now.
    pub fn next(&mut self, now: Instant) -> Option<(u64, Instant)> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.gone += 1;
        Some((self.gone - 1, due))
    }
}

/// How often the load must check the clock at this rate: at least every 50 µs.
#[must_use]
pub fn interval(per_second: f64) -> Duration {
    Duration::from_secs_f64((0.5 / per_second).max(50e-6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_late_clock_gives_all_that_is_due_at_its_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 100.0);
        let now = start + Duration::from_millis(25);
        let due: Vec<_> = std::iter::from_fn(|| schedule.next(now)).collect();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(due, [(0, at(0)), (1, at(10)), (2, at(20))]);
    }
}
