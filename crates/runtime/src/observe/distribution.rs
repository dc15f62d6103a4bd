//! Distributions of durations and sizes, as one core records them.

use hdrhistogram::Histogram;

/// Shorter durations count as this, in nanoseconds.
const TIME_NS_MIN: u64 = 1_000;
/// Longer durations count as this, in nanoseconds: four times the last bucket's bound.
const TIME_NS_MAX: u64 = 64_000_000_000;
/// Durations are kept to two significant digits, so to 1 %.
const DIGITS: u8 = 2;

/// The first bucket of durations ends at 2^-17 s, which is 7.6 µs.
const BUCKET_FIRST_EXPONENT: i32 = -17;
/// The last bucket ends at 2^4 s, which is 16 s; longer durations are in the count alone.
const BUCKET_LAST_EXPONENT: i32 = 4;

/// A distribution of durations.
#[derive(Clone, Debug)]
pub struct Timing {
    recorded: Histogram<u64>,
    sum_ns: u128,
}

impl Default for Timing {
    fn default() -> Self {
        let recorded = Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS);
        Self {
            recorded: recorded.expect("the bounds are in order and the digits within 0..=5"),
            sum_ns: 0,
        }
    }
}

impl Timing {
    /// Records a duration in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.recorded.saturating_record(ns);
        // The sum is 128 bits wide: where thousands of messages are always in flight, their
        // durations add up to centuries.
        self.sum_ns += u128::from(ns);
    }

    /// Adds the durations that another core recorded.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can fail to fit.
        let added = self.recorded.add(&other.recorded);
        debug_assert!(added.is_ok());
        self.sum_ns += other.sum_ns;
    }

    /// The number of recorded durations.
    pub fn count(&self) -> u64 {
        self.recorded.len()
    }

    /// The sum of all durations, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_ns as f64 / 1e9
    }

    /// The duration in seconds, to 1 %, that this share (0 to 1) of all durations did not exceed; 0
    /// if none was recorded.
    pub fn quantile(&self, share: f64) -> f64 {
        self.recorded.value_at_quantile(share) as f64 / 1e9
    }

    /// The longest duration in seconds, to 1 %; 0 if none was recorded.
    pub fn max(&self) -> f64 {
        self.recorded.max() as f64 / 1e9
    }

    /// Pairs of an upper bound in seconds, ascending, and the number of durations up to that bound.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut recorded = self.recorded.iter_recorded().peekable();
        let mut total = 0;
        let exponents = BUCKET_FIRST_EXPONENT..=BUCKET_LAST_EXPONENT;
        exponents
            .map(|exponent| {
                let bound = 2f64.powi(exponent);
                let is_within = |ns: u64| ns as f64 <= bound * 1e9;
                while let Some(value) = recorded.next_if(|v| is_within(v.value_iterated_to())) {
                    total += value.count_since_last_iteration();
                }
                (bound, total)
            })
            .collect()
    }
}

/// The number of buckets of a distribution of sizes, without the one for larger sizes.
const SIZES: usize = 11;

/// A distribution of sizes, in buckets at powers of four from `4^first`.
#[derive(Clone, Debug)]
pub struct Sizes {
    first: u32,
    /// The last count is of sizes above all bounds.
    counts: [u64; SIZES + 1],
    sum: u64,
}

impl Sizes {
    /// A distribution whose first bucket ends at `4^first`.
    pub(crate) fn from_power(first: u32) -> Self {
        Self {
            first,
            counts: [0; SIZES + 1],
            sum: 0,
        }
    }

    /// Records a size.
    pub(crate) fn record(&mut self, size: usize) {
        let power = match size {
            0 | 1 => 0,
            // The smallest p with 4^p >= size.
            _ => ((size - 1).ilog2() / 2) + 1,
        };
        let bucket = power.saturating_sub(self.first) as usize;
        self.counts[bucket.min(SIZES)] += 1;
        self.sum += size as u64;
    }

    /// Adds the sizes that another core recorded.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    /// The number of recorded sizes.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all sizes.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Pairs of an upper bound, ascending, and the number of sizes up to that bound.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut total = 0;
        (self.first..)
            .zip(&self.counts[..SIZES])
            .map(|(power, count)| {
                total += count;
                (4f64.powi(power as i32), total)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_the_first_bucket_that_they_do_not_exceed() {
        let mut timing = Timing::default();
        for ns in [0, 7_000, 7_000, 9_000, 1_100_000_000, 60_000_000_000] {
            timing.record(ns);
        }
        let buckets = timing.buckets();
        assert_eq!(buckets.len(), 22);
        assert_eq!(buckets[0], (1.0 / 131_072.0, 3));
        assert_eq!(buckets[1].1, 4);
        assert_eq!(buckets[17], (1.0, 4));
        assert_eq!(buckets[18], (2.0, 5));
        assert_eq!(buckets[21], (16.0, 5));
        assert_eq!(timing.count(), 6);
        assert!((timing.sum_seconds() - 61.100_023).abs() < 1e-9);
    }

    #[test]
    fn time_that_is_longer_than_all_bounds_is_counted() {
        let mut timing = Timing::default();
        timing.record(u64::MAX);
        assert_eq!((timing.count(), timing.buckets()[21].1), (1, 0));
        assert!(timing.quantile(0.5) >= 63.0);
    }

    #[test]
    fn sum_of_the_longest_times_does_not_overflow() {
        let mut timing = Timing::default();
        for _ in 0..4 {
            timing.record(u64::MAX);
        }
        let other = timing.clone();
        timing.add(&other);
        assert!(timing.sum_seconds() > 1e11);
    }

    #[test]
    fn quantiles_are_exact_to_one_per_cent() {
        let mut timing = Timing::default();
        (1..=1000).for_each(|n| timing.record(n * 1_000_000));
        assert!((timing.quantile(0.99) - 0.990).abs() < 0.0099);
        assert!((timing.max() - 1.0).abs() < 0.01);
    }

    #[test]
    fn sizes_fall_into_the_first_bucket_that_they_do_not_exceed() {
        let mut sizes = Sizes::from_power(2);
        for size in [0, 1, 16, 17, 64, 65, 256, 16 << 20, (16 << 20) + 1] {
            sizes.record(size);
        }
        let buckets = sizes.buckets();
        assert_eq!(buckets[..3], [(16.0, 3), (64.0, 5), (256.0, 7)]);
        assert_eq!(buckets[SIZES - 1], ((16 << 20) as f64, 8));
        assert_eq!((sizes.count(), sizes.sum()), (9, 2 * (16 << 20) + 420));
    }

    #[test]
    fn distributions_of_two_cores_add_up() {
        let (mut one, mut other) = (Sizes::from_power(0), Sizes::from_power(0));
        one.record(3);
        other.record(300);
        one.add(&other);
        assert_eq!((one.count(), one.sum()), (2, 303));
        let (mut one, mut other) = (Timing::default(), Timing::default());
        one.record(10_000);
        other.record(20_000);
        other.record(20_000);
        one.add(&other);
        assert_eq!(one.count(), 3);
        assert!((one.sum_seconds() - 50e-6).abs() < 1e-9);
    }
}
