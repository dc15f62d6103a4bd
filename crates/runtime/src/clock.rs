//! Time: a loop reads it when a piece of its work begins and passes it on as [`Now`]. Only what has to be
//! measured reads it in between.

use std::time::Duration;

use crate::kernel::Instant;

/// A core that has done nothing for so long, no turn and no sweep, has stood still: the machine was
/// suspended, or the process was stopped. However busy a core is, a turn takes a fraction of that.
const STANDSTILL_NS: u64 = 1_000_000_000;

/// The monotonic clock of the process. All cores share its origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

/// One moment, as one core sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Nanoseconds since the process started, the same on all cores: durations are measured in them.
    pub(crate) ns: u64,
    /// Milliseconds for which this core has run: deadlines are set in them. The time in which the core
    /// stood still does not count, so that no deadline passes in it.
    pub(crate) ms: u64,
}

/// A moment of the last 24 days in four bytes: the low bits of [`Now::ms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecentMs(u32);

/// Tells the time in which a core ran from the time in which it stood still.
#[derive(Debug, Default)]
pub(crate) struct RunningTime {
    /// When the core was last seen to run.
    seen_ns: u64,
    stood_still_ns: u64,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Nanoseconds since the process started.
    pub(crate) fn ns(self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

impl RecentMs {
    /// That moment, in milliseconds of deadlines.
    pub(crate) fn at(ms: u64) -> Self {
        Self(ms as u32)
    }

    /// How long before `now_ms` it was, in milliseconds: 0 if it was after it.
    pub(crate) fn ago_ms(self, now_ms: u64) -> u64 {
        let ago_ms = (now_ms as u32).wrapping_sub(self.0).cast_signed();
        u64::from(ago_ms.max(0).cast_unsigned())
    }
}

impl RunningTime {
    /// The core runs at `ns`, nanoseconds since the process started. Beside that moment it returns for
    /// how many milliseconds the core has stood still before it, if it has.
    pub(crate) fn run_at(&mut self, ns: u64) -> (Now, Option<u64>) {
        let idle_ns = ns.saturating_sub(std::mem::replace(&mut self.seen_ns, ns));
        let has_stood_still = idle_ns >= STANDSTILL_NS && ns > idle_ns;
        if has_stood_still {
            self.stood_still_ns += idle_ns;
        }
        let now = Now {
            ns,
            ms: (ns - self.stood_still_ns) / 1_000_000,
        };
        (now, has_stood_still.then_some(idle_ns / 1_000_000))
    }
}

/// A configured duration in the unit of deadlines.
pub(crate) fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// The wall clock, in milliseconds since 1970; 0 before.
pub(crate) fn wall_ms(wall: std::time::SystemTime) -> u64 {
    let since = wall.duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_moment_is_as_long_ago_as_it_was_across_the_wrap() {
        for ms in [
            0,
            5,
            u64::from(u32::MAX) - 1,
            u64::from(u32::MAX) + 7,
            u64::MAX / 2,
        ] {
            for ago_ms in [0, 1, 5_000, 2_000_000_000] {
                assert_eq!(RecentMs::at(ms).ago_ms(ms + ago_ms), ago_ms, "{ms}");
                // A sweep acts on the time at which it began, and something may have left since.
                assert_eq!(RecentMs::at(ms + ago_ms).ago_ms(ms), 0, "{ms}");
            }
        }
    }

    #[test]
    fn deadlines_stand_still_only_while_nothing_runs() {
        let mut time = RunningTime::default();
        for (at_ms, expected_ms, stood_still_ms) in [
            (10_000, 10_000, None),
            (10_999, 10_999, None),
            (11_998, 11_998, None),
            (12_998, 11_998, Some(1_000)),
            (13_997, 12_997, None),
            (43_997, 12_997, Some(30_000)),
        ] {
            let (now, stood_still) = time.run_at(at_ms * 1_000_000);
            assert_eq!(
                (now.ms, stood_still),
                (expected_ms, stood_still_ms),
                "{at_ms}"
            );
            assert_eq!(now.ns, at_ms * 1_000_000);
        }
    }
}
