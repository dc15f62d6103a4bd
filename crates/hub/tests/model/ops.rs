//! The random operations.

use proptest::prelude::*;

/// The cores, each with its mailbox.
pub const CORES: u16 = 3;

#[derive(Clone, Debug)]
pub enum Op {
    Join {
        core: u16,
        name: u8,
    },
    /// One who joined at some time joins that room again, to go on where it was.
    ComeBack {
        who: usize,
        wish: Wish,
    },
    /// Who is in a room is asked for.
    Count {
        name: u8,
    },
    Leave {
        who: usize,
    },
    /// All leave a room who know that they are in it.
    Empty {
        name: u8,
    },
    /// One who joined at some time publishes to that room, which may be no more.
    Publish {
        who: usize,
    },
    PublishByName {
        core: u16,
        name: u8,
    },
    Hold {
        who: usize,
    },
    Resume {
        who: usize,
    },
    Lose {
        name: u8,
    },
    /// The home's turn ends: what is released is ordered, and deliveries reach the mailboxes.
    EndTurn,
    /// The core takes one delivery from its mailbox.
    Deliver {
        core: u16,
    },
    /// Time goes on by this many milliseconds.
    Sweep {
        ms: u64,
    },
}

/// What one who comes back wants.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    Missed,
    Latest,
    /// The newest messages, at least where it says nothing of its position.
    Newest {
        messages: usize,
        age_ms: u64,
        says_where: bool,
    },
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        Just(Wish::Missed),
        Just(Wish::Latest),
        (0..8usize, 0..12u64, any::<bool>()).prop_map(|(messages, tens, says_where)| {
            Wish::Newest {
                messages,
                age_ms: 10 * tens,
                says_where,
            }
        }),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..CORES, 0..4u8).prop_map(|(core, name)| Op::Join { core, name }),
        4 => (any::<usize>(), wish()).prop_map(|(who, wish)| Op::ComeBack { who, wish }),
        1 => (0..4u8).prop_map(|name| Op::Count { name }),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        2 => (0..4u8).prop_map(|name| Op::Empty { name }),
        8 => any::<usize>().prop_map(|who| Op::Publish { who }),
        2 => (0..CORES, 0..5u8).prop_map(|(core, name)| Op::PublishByName { core, name }),
        2 => any::<usize>().prop_map(|who| Op::Hold { who }),
        2 => any::<usize>().prop_map(|who| Op::Resume { who }),
        1 => (0..5u8).prop_map(|name| Op::Lose { name }),
        5 => Just(Op::EndTurn),
        8 => (0..CORES).prop_map(|core| Op::Deliver { core }),
        // Tens, so that times are met to the millisecond.
        2 => (0..10u64).prop_map(|tens| Op::Sweep { ms: 10 * tens }),
    ]
}
