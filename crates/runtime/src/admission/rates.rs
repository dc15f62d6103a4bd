//! Rate limits: a token bucket kept in one number.
//!
//! This is the generic cell rate algorithm. A bucket is stored as the time at which it will be full
//! again. Taking a token moves that time forward by the time in which one token is refilled; if it
//! would then lie further ahead than the refill time of a whole burst, there is no token.

/// How often something may happen: a burst at once, then a number of times each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The refill time of one token.
    token_ns: u64,
    /// The refill time of a whole burst.
    burst_ns: u64,
}

impl Rate {
    /// A rate of `per_second` events each second with a burst of `burst` events, which counts as at
    /// least 1. `None`, which means no bound, if `per_second` is 0.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let token_ns = 1_000_000_000_u64.checked_div(per_second.into())?.max(1);
        let burst_ns = token_ns * u64::from(burst.max(1));
        Some(Self { token_ns, burst_ns })
    }
}

/// A token bucket; a new one is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When it is full again, in nanoseconds since the process started.
    full_at_ns: u64,
}

impl Bucket {
    /// Takes a token and returns whether there was one; always true without a rate. The time is in
    /// nanoseconds that never go back.
    pub fn allows(&mut self, rate: Option<Rate>, now_ns: u64) -> bool {
        rate.is_none_or(|rate| self.take(rate, now_ns))
    }

    /// Takes a token and returns whether there was one.
    fn take(&mut self, rate: Rate, now_ns: u64) -> bool {
        let full_at_ns = self.full_at_ns.max(now_ns) + rate.token_ns;
        let has_token = full_at_ns - now_ns <= rate.burst_ns;
        if has_token {
            self.full_at_ns = full_at_ns;
        }
        has_token
    }

    /// Takes as many tokens as something costs, if there is one. What costs more than a burst is possible, too: who
    /// comes next waits for it.
    ///
    /// # Errors
    /// The nanoseconds until there is one.
    pub fn charge(&mut self, rate: Rate, cost: u32, now_ns: u64) -> Result<(), u64> {
        let beyond_ns = self.full_at_ns.max(now_ns) + rate.token_ns - now_ns;
        match beyond_ns.checked_sub(rate.burst_ns) {
            None | Some(0) => {
                self.owe(rate, cost, now_ns);
                Ok(())
            }
            Some(wait_ns) => Err(wait_ns),
        }
    }

    /// Takes so many tokens whether or not they are there.
    pub fn owe(&mut self, rate: Rate, cost: u32, now_ns: u64) {
        let cost_ns = rate.token_ns.saturating_mul(cost.into());
        // An hour is as good as for ever, and no sum is too large.
        let most_ns = now_ns.saturating_add(3_600_000_000_000);
        let full_at_ns = self.full_at_ns.max(now_ns).saturating_add(cost_ns);
        self.full_at_ns = full_at_ns.min(most_ns.max(self.full_at_ns));
    }

    /// Whether no token is missing.
    pub(crate) fn is_full(self, now_ns: u64) -> bool {
        self.full_at_ns <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(bucket: &mut Bucket, rate: Rate, now_ns: u64, tries: u32) -> usize {
        (0..tries).filter(|_| bucket.take(rate, now_ns)).count()
    }

    #[test]
    fn bucket_gives_its_burst_and_then_one_token_at_a_time() {
        let rate = Rate::new(10, 5).unwrap();
        let mut bucket = Bucket::default();
        let start = 7 * SECOND;
        assert_eq!(taken(&mut bucket, rate, start, 20), 5);
        assert_eq!(taken(&mut bucket, rate, start + SECOND / 10 - 1, 20), 0);
        assert_eq!(taken(&mut bucket, rate, start + SECOND / 10, 20), 1);
        assert_eq!(taken(&mut bucket, rate, start + SECOND / 2, 20), 4);
        assert_eq!(taken(&mut bucket, rate, start + 60 * SECOND, 20), 5);
    }

    #[test]
    fn bucket_is_full_when_as_much_time_has_passed_as_was_taken() {
        let rate = Rate::new(4, 8).unwrap();
        let mut bucket = Bucket::default();
        assert!(bucket.is_full(0));
        assert_eq!(taken(&mut bucket, rate, 0, 2), 2);
        assert!(!bucket.is_full(SECOND / 2 - 1));
        assert!(bucket.is_full(SECOND / 2));
    }

    #[test]
    fn what_costs_more_than_there_is_makes_the_next_wait() {
        let rate = Rate::new(10, 5).unwrap();
        let mut bucket = Bucket::default();
        assert_eq!(bucket.charge(rate, 15, 0), Ok(()));
        assert_eq!(bucket.charge(rate, 1, 0), Err(11 * SECOND / 10));
        assert_eq!(bucket.charge(rate, 1, 11 * SECOND / 10 - 1), Err(1));
        assert_eq!(bucket.charge(rate, 1, 11 * SECOND / 10), Ok(()));
        bucket.owe(rate, u32::MAX, 2 * SECOND);
        assert_eq!(bucket.charge(rate, 1, 3602 * SECOND), Ok(()));
    }

    #[test]
    fn rate_of_nothing_is_no_rate() {
        assert_eq!(Rate::new(0, 5), None);
    }

    #[test]
    fn bucket_never_gives_more_than_burst_and_rate_allow() {
        let rate = Rate::new(1_000, 3).unwrap();
        let mut bucket = Bucket::default();
        let (mut now_ns, mut given) = (0, 0);
        for step in 0..10_000_u64 {
            now_ns += step * 7_919 % 1_700_000;
            given += taken(&mut bucket, rate, now_ns, 4) as u64;
            assert!(given <= 3 + now_ns * 1_000 / SECOND, "at {now_ns} ns");
        }
        assert!(given > now_ns * 900 / SECOND, "{given} in {now_ns} ns");
    }
}
