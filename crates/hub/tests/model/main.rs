//! Random requests against a naive model of rooms, through the pure state and first-in-first-out
//! mailboxes that lag behind by random amounts.
//!
//! The model orders each publication at once, or when its held room is released; it knows each
//! position, each answer and each epoch before the home says it, what a subscriber that comes back has
//! missed, and who is in each room.

#![allow(clippy::unwrap_used)]

mod occupancy;
mod ops;
mod truth;
mod world;

use proptest::prelude::*;

use crate::{ops::op, world::World};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rooms_under_random_operations_do_as_the_model_says(
        ops in proptest::collection::vec(op(), 1..200)
    ) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.settle();
    }
}
