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
    /// A room is asked something, or is to do something.
    Ask {
        name: u8,
        asked: Asked,
    },
    /// All rooms are asked for.
    List,
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
    /// The same for a message that has more than a payload.
    PublishParticular {
        core: u16,
        name: u8,
        particular: Particular,
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

/// What a room is asked.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    Count,
    Table,
    /// A page that begins so far below the top, or at an end.
    Page {
        below: Option<u64>,
        limit: usize,
        is_reversed: bool,
    },
    ForgetHistory,
    ClearTable,
}

/// What a message has beside its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Particular {
    /// A version of this epoch.
    Version(u8, u64),
    /// It is not to be kept.
    Passing,
    /// It erases the message so far below the latest one that anybody has been told of.
    Erasing(u64),
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        2 => Just(Asked::Count),
        2 => Just(Asked::Table),
        2 => (proptest::option::of(0..9u64), 0..6usize, any::<bool>()).prop_map(
            |(below, limit, is_reversed)| Asked::Page {
                below,
                limit,
                is_reversed,
            }
        ),
        1 => Just(Asked::ForgetHistory),
        1 => Just(Asked::ClearTable),
    ]
}

fn particular() -> impl Strategy<Value = Particular> {
    prop_oneof![
        (0..2u8, 0..9u64).prop_map(|(epoch, version)| Particular::Version(epoch, version)),
        Just(Particular::Passing),
        (0..8u64).prop_map(Particular::Erasing),
    ]
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
        3 => (0..5u8, asked()).prop_map(|(name, asked)| Op::Ask { name, asked }),
        1 => Just(Op::List),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        2 => (0..4u8).prop_map(|name| Op::Empty { name }),
        8 => any::<usize>().prop_map(|who| Op::Publish { who }),
        2 => (0..CORES, 0..5u8).prop_map(|(core, name)| Op::PublishByName { core, name }),
        5 => (0..CORES, 0..5u8, particular()).prop_map(|(core, name, particular)| {
            Op::PublishParticular {
                core,
                name,
                particular,
            }
        }),
        2 => any::<usize>().prop_map(|who| Op::Hold { who }),
        2 => any::<usize>().prop_map(|who| Op::Resume { who }),
        1 => (0..5u8).prop_map(|name| Op::Lose { name }),
        5 => Just(Op::EndTurn),
        8 => (0..CORES).prop_map(|core| Op::Deliver { core }),
        // Tens, so that times are met to the millisecond.
        2 => (0..10u64).prop_map(|tens| Op::Sweep { ms: 10 * tens }),
    ]
}
