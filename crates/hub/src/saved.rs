//! A room as it outlives its process: what its home hands out when it ends, and another home takes at the next
//! start.
//!
//! Nothing in it depends on the process, on its number of cores or on its clocks but that of the wall.

use crate::{
    history::Unrecoverable,
    log::Position,
    name::RoomName,
    record::{Record, Version},
};

/// What is kept of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRoom {
    /// Its name.
    pub name: RoomName,
    /// The position of its latest message: the next one gets the offset behind it.
    pub position: Position,
    /// Its latest messages, oldest first.
    pub messages: Vec<SavedMessage>,
    /// The offset from which on these are all messages that it was to keep.
    pub whole_from: u64,
    /// Why the message before these is not here any more, if one was given up.
    pub missing: Option<Unrecoverable>,
    /// The latest message of each key with its offset, in rooms with a table.
    pub table: Vec<(u64, Record)>,
    /// The idempotency keys of its latest publications, oldest first.
    pub keys: Vec<SavedKey>,
    /// The latest version of what is published there as a whole.
    pub version: Option<Version>,
}

/// A message that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMessage {
    /// Its offset.
    pub offset: u64,
    /// When it was ordered, in milliseconds of the wall clock since 1970.
    pub at_ms: u64,
    /// The message.
    pub record: Record,
}

/// An idempotency key that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedKey {
    /// The key's hash.
    pub key: u128,
    /// The hash of what was published with it.
    pub body: u128,
    /// The offset of the publication.
    pub offset: u64,
    /// When it was used, in milliseconds of the wall clock since 1970.
    pub at_ms: u64,
}

/// Some rooms of a home that ends.
#[derive(Debug)]
pub struct SavedPage {
    /// The rooms, which the home has no longer.
    pub rooms: Vec<SavedRoom>,
    /// Whether the home has no others.
    pub is_last: bool,
}

/// How much of its rooms a home hands out at once.
#[derive(Clone, Copy, Debug)]
pub struct PageBounds {
    /// Most rooms, those included of which nothing is kept.
    pub rooms: usize,
    /// The bytes of messages with which a page is complete; the room that reaches them is whole.
    pub bytes: usize,
}

/// What became of rooms that were to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rooms that are back with what they kept.
    pub rooms: u64,
    /// Rooms of which the position alone is back.
    pub positions: u64,
    /// Rooms of which the rules of now keep nothing, or for which there is no place.
    pub left_out: u64,
}

impl SavedRoom {
    /// Nothing but the position of a room, and its latest version.
    pub(crate) fn bare(name: RoomName, position: Position, version: Option<Version>) -> Self {
        Self {
            name,
            position,
            messages: Vec::new(),
            whole_from: position.offset.saturating_add(1),
            missing: None,
            table: Vec::new(),
            keys: Vec::new(),
            version,
        }
    }

    /// Bytes of its messages, roughly: what they hold of memory, and what they will take in a file.
    pub fn bytes(&self) -> usize {
        let of = |record: &Record| record.payload.len() + record.meta().len();
        let messages = self.messages.iter().map(|it| of(&it.record));
        let table = self.table.iter().map(|(_, it)| of(it));
        let counted = self.messages.len() + self.table.len() + self.keys.len() + 1;
        messages.chain(table).sum::<usize>()
            + self.version.as_ref().map_or(0, Version::bytes)
            + counted * size_of::<SavedKey>()
            + self.name.as_str().len()
    }

    /// Gives up everything but the position and the version, for want of space. Returns whether there was more.
    pub fn strip(&mut self) -> bool {
        let had_more = !(self.messages.is_empty() && self.table.is_empty() && self.keys.is_empty());
        if had_more {
            *self = Self::bare(self.name.clone(), self.position, self.version.take());
        }
        had_more
    }
}

impl std::ops::AddAssign for Restored {
    fn add_assign(&mut self, other: Self) {
        self.rooms += other.rooms;
        self.positions += other.positions;
        self.left_out += other.left_out;
    }
}
