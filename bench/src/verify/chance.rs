//! Chance from a seed (SplitMix64), so that a run makes the same choices again.

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `bound`; 0 if the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 => 0,
            bound => (self.next() % bound as u64) as usize,
        }
    }

    /// A number from `least` to below `bound`.
    pub fn between(&mut self, least: u64, bound: u64) -> u64 {
        least + self.next() % bound.saturating_sub(least).max(1)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        among.get(self.below(among.len())).copied()
    }

    /// How many times something happens that is expected `expected` times.
    pub fn times(&mut self, expected: f64) -> usize {
        let whole = expected.max(0.0).floor();
        let rest = expected.max(0.0) - whole;
        let once_more = (self.next() as f64 / u64::MAX as f64) < rest;
        whole as usize + usize::from(once_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_of_one_seed_repeats_and_stays_within_its_bounds() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.between(3, 9)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|it| (3..9).contains(it)));
    }

    #[test]
    fn times_are_as_many_as_expected() {
        let mut chance = Chance::new(7);
        let all: usize = (0..10_000).map(|_| chance.times(1.25)).sum();
        assert!((12_000..13_000).contains(&all), "{all}");
    }
}
