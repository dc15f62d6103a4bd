//! For how long a room's messages are gathered before they leave together.

use std::time::Duration;

/// From the first message of a batch to the moment when all of them leave, in whole milliseconds from 20 to 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchInterval {
    ms: u16,
}

impl BatchInterval {
    /// The shortest: two frames of a page that is drawn 60 times a second, and a few times what timers are exact to.
    pub const MIN: Duration = Duration::from_millis(20);

    /// The longest: beyond it, people notice that what they have said comes late.
    pub const MAX: Duration = Duration::from_millis(500);

    /// This interval, without fractions of a millisecond; `None` if it is out of range.
    pub fn new(interval: Duration) -> Option<Self> {
        let is_within = (Self::MIN..=Self::MAX).contains(&interval);
        is_within.then_some(Self {
            ms: interval.as_millis() as u16,
        })
    }

    /// The interval in milliseconds.
    pub(crate) fn ms(self) -> u64 {
        u64::from(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_is_within_its_bounds_or_none() {
        let of = |us| BatchInterval::new(Duration::from_micros(us)).map(BatchInterval::ms);
        assert_eq!(
            [0, 19_999, 20_000, 20_900, 500_000, 500_001].map(of),
            [None, None, Some(20), Some(20), Some(500), None]
        );
    }
}
