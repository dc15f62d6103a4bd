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
