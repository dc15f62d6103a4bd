//! Spreads deadlines pseudo-randomly, so that those of many connections do not coincide.

/// A part of `whole`, from 0 to just below it, that looks random and is always the same for the
/// same number: neighbouring numbers end far apart.
pub(crate) fn part(whole: u64, number: u64) -> u64 {
    ((u128::from(whole) * u128::from(mix(number))) >> 64) as u64
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_neighbouring_numbers_fill_the_whole() {
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            tenths[part(10, number) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (60..140).contains(count)),
            "{tenths:?}"
        );
        assert_eq!(part(0, 7), 0);
        assert!(part(u64::MAX, 7) < u64::MAX);
    }
}
