//! Which connections are subscribed to which rooms, and the names of these.

use crate::load::memberships::Spread;
use crate::load::wire::hexadecimal;

/// The namespace of all rooms, whose rules servers are started with.
const NAMESPACE: &str = "bench:";
/// Digits of a room's number: hexadecimal, so that all names are as long.
pub const DIGITS: usize = 8;

/// The name of a room.
#[must_use]
pub fn name(room: usize) -> String {
    format!("{NAMESPACE}{room:0DIGITS$x}")
}

/// The room of this name.
#[must_use]
pub fn room_called(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(NAMESPACE)?.as_bytes();
    let room = (digits.len() == DIGITS).then(|| hexadecimal(digits))?;
    room.map(|room| room as usize)
}

/// Who is in which room.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Layout {
    /// Rooms one after the other, each with connections of its own.
    Rooms {
        /// The number of rooms.
        rooms: usize,
        /// Subscribers of each.
        members: usize,
    },
    /// Connections that are in many rooms each.
    Spread(Spread),
}

impl Layout {
    /// The number of connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        match self {
            Self::Rooms { rooms, members } => rooms * members,
            Self::Spread(spread) => spread.connections,
        }
    }

    /// The number of rooms.
    #[must_use]
    pub fn rooms(&self) -> usize {
        match self {
            Self::Rooms { rooms, .. } => *rooms,
            Self::Spread(spread) => spread.connections,
        }
    }

    /// Subscribers of each room.
    #[must_use]
    pub fn members(&self) -> usize {
        match self {
            Self::Rooms { members, .. } => *members,
            Self::Spread(spread) => spread.rooms_each,
        }
    }

    /// The rooms of a connection.
    #[must_use]
    pub fn rooms_of(&self, connection: usize) -> Vec<usize> {
        match self {
            Self::Rooms { members, .. } => vec![connection / members],
            Self::Spread(spread) => spread.rooms_of(connection).collect(),
        }
    }

    /// The subscriber that publishes in a room.
    #[must_use]
    pub fn publisher(&self, room: usize) -> usize {
        match self {
            Self::Rooms { members, .. } => room * members,
            Self::Spread(_) => room,
        }
    }
}

/// The place of each subscription among all.
#[derive(Debug)]
pub struct Places {
    layout: Layout,
    /// For connections in many rooms: which member of a room a connection is, by its distance from the publisher.
    positions: Vec<Option<usize>>,
}

impl Places {
    /// The places of all subscriptions.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let positions = match layout {
            Layout::Rooms { .. } => Vec::new(),
            Layout::Spread(spread) => spread.positions(),
        };
        Self { layout, positions }
    }

    /// The place of a subscription, if there is one.
    #[must_use]
    pub fn of(&self, room: usize, connection: usize) -> Option<usize> {
        let members = self.layout.members();
        let position = match self.layout {
            Layout::Rooms { .. } => (connection / members == room).then_some(connection % members),
            Layout::Spread(spread) => {
                let count = spread.connections;
                (room < count).then(|| self.positions[(connection + count - room) % count])?
            }
        };
        position.map(|position| room * members + position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_those_of_their_rooms_and_of_no_others() {
        assert_eq!(room_called(&name(0x2a)), Some(0x2a));
        for other in ["bench:2a", "other:0000002a", "bench:0000002g", ""] {
            assert_eq!(room_called(other), None);
        }
    }

    #[test]
    fn every_subscription_has_a_place_of_its_own() {
        let spread = Spread {
            connections: 12,
            rooms_each: 3,
            payload_bytes: 64,
            at_once: 4,
        };
        let rooms = Layout::Rooms {
            rooms: 3,
            members: 4,
        };
        for layout in [rooms, Layout::Spread(spread)] {
            let places = Places::new(layout);
            let mut taken = HashSet::new();
            for connection in 0..layout.connections() {
                for room in 0..layout.rooms() + 2 {
                    let is_in = layout.rooms_of(connection).contains(&room);
                    let place = places.of(room, connection);
                    assert_eq!(place.is_some(), is_in, "{connection} in {room}");
                    assert!(place.is_none_or(|place| taken.insert(place)));
                }
            }
            assert_eq!(taken.len(), layout.rooms() * layout.members());
            assert!(
                (0..layout.rooms()).all(|it| layout.rooms_of(layout.publisher(it)).contains(&it))
            );
        }
    }
}
