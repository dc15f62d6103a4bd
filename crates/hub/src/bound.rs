//! Bounds of work that splits in turns, which the simulation has smaller.

/// The bound that is shipped. With the feature `small-bounds`, which is for the crate `simulation` alone, it is
/// the other one, so that a dozen peers reach what otherwise takes thousands.
#[must_use]
pub const fn bound(shipped: usize, simulated: usize) -> usize {
    match cfg!(feature = "small-bounds") {
        true => simulated,
        false => shipped,
    }
}
