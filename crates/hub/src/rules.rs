//! What a room keeps beside its order: its past, its position, who is in it.

use std::{fmt, sync::Arc};

use crate::{history::HistoryLimits, name::RoomName, pace::Pace, table::TableLimits};

/// The rules of a room, as far as its home has to know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomRules {
    /// How much of its past the room keeps. `None`: nothing.
    pub history: Option<HistoryLimits>,
    /// How much the room's table may have, the latest message of each key. `None`: it has no table. A room
    /// with a table has no history.
    pub table: Option<TableLimits>,
    /// Whether the epoch and the offset of its latest message outlive the room for a time, so that whoever
    /// comes back with a position learns what it has missed.
    pub keeps_position: bool,
    /// Whether the room knows who is in it.
    pub has_presence: bool,
    /// Up to how many members each who comes and goes is announced to the others; 0 is never.
    pub announced_members_max: usize,
    /// How often messages may come from all publishers together.
    pub pace: Option<Pace>,
    /// How often they may come from each of them.
    pub publisher_pace: Option<Pace>,
    /// Whether it is told when the room has its first subscriber, and when its last one has gone.
    pub tells_occupancy: bool,
}

/// Finds the rules of each room.
pub trait RuleBook: Send + Sync {
    /// The rules of the room of this name. They are shared by many rooms, since each room keeps them.
    fn rules(&self, name: &RoomName) -> Arc<RoomRules>;
}

/// No room keeps anything.
#[derive(Debug, Default)]
pub struct NoRules(Arc<RoomRules>);

impl RuleBook for NoRules {
    fn rules(&self, _: &RoomName) -> Arc<RoomRules> {
        self.0.clone()
    }
}

impl fmt::Debug for dyn RuleBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuleBook")
    }
}
