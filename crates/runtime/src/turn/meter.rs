//! Measures what a turn has spent on one kind of work.

use crate::clock::Clock;

/// A stopwatch with a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    clock: Clock,
    began_ns: u64,
    limit_ns: u64,
}

impl Meter {
    /// Measures work that began at `began_ns`, which is when the caller read the clock.
    pub(crate) fn since(began_ns: u64, clock: Clock, limit_ns: u64) -> Self {
        Self {
            clock,
            began_ns,
            limit_ns,
        }
    }

    /// Nanoseconds since it began.
    pub(crate) fn spent_ns(&self) -> u64 {
        self.clock.ns().saturating_sub(self.began_ns)
    }

    /// Whether the limit is reached: the work goes on in the next turn.
    pub(crate) fn is_used_up(&self) -> bool {
        self.spent_ns() >= self.limit_ns
    }
}

/// A meter for work in small pieces, of which one may cost no more than reading the clock: the clock is read
/// after so much work, reckoned in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    meter: Meter,
    bytes_per_look: usize,
    /// Work since the latest look, in bytes.
    unseen_bytes: usize,
    is_used_up: bool,
}

impl Pace {
    /// Looks at the meter after each `bytes_per_look` of work.
    pub(crate) fn new(meter: Meter, bytes_per_look: usize) -> Self {
        Self {
            meter,
            bytes_per_look,
            unseen_bytes: 0,
            is_used_up: false,
        }
    }

    /// A piece of work is done that counts as so many bytes.
    pub(crate) fn did(&mut self, bytes: usize) {
        self.unseen_bytes = self.unseen_bytes.saturating_add(bytes);
        if self.unseen_bytes >= self.bytes_per_look {
            self.unseen_bytes = 0;
            self.is_used_up = self.meter.is_used_up();
        }
    }

    /// Whether the limit was reached at the latest look.
    pub(crate) fn is_used_up(&self) -> bool {
        self.is_used_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_looks_at_the_clock_after_so_much_work_and_no_sooner() {
        let clock = Clock::start();
        let over = Meter::since(0, clock, 0);
        let mut pace = Pace::new(over, 100);
        pace.did(60);
        assert!(!pace.is_used_up());
        pace.did(40);
        assert!(pace.is_used_up());
        let mut pace = Pace::new(Meter::since(0, clock, u64::MAX), 100);
        pace.did(usize::MAX);
        pace.did(usize::MAX);
        assert!(!pace.is_used_up());
    }
}
