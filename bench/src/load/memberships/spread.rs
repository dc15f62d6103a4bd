//! Who is in which room, and in which order rooms are published in.

/// There are as many rooms as connections, so a room has as many members as a connection has rooms. Room
/// `n` has connection `n`, which publishes there, and those that follow it at the distances 1, 3, 6, 10 …
/// in a circle of all. The gaps between these distances differ, so any two rooms have few members in common
/// (of 50 at most 9, and 2.5 in the mean of 1,000 rooms): publications of two rooms meet at a socket by
/// chance alone, and no server can treat connections as one because they are in the same rooms.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Connections, and rooms.
    pub connections: usize,
    /// Rooms of a connection, and members of a room.
    pub rooms_each: usize,
    /// Of a publication.
    pub payload_bytes: usize,
    /// Publications in flight, an even number: two in each of half as many rooms.
    pub at_once: usize,
}

impl Spread {
    /// Of all connections.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.connections * self.rooms_each
    }

    /// The rooms of a connection.
    pub fn rooms_of(&self, connection: usize) -> impl Iterator<Item = usize> {
        let count = self.connections;
        (0..self.rooms_each)
            .map(move |position| (connection + count - distance(position) % count) % count)
    }

    /// For each distance from a room's publisher to a connection, which of the room's members that is.
    #[must_use]
    pub fn positions(&self) -> Vec<Option<usize>> {
        let mut positions = vec![None; self.connections];
        for position in 0..self.rooms_each {
            positions[distance(position) % self.connections] = Some(position);
        }
        positions
    }

    /// The room of a publication. Each room has its turn twice within as many publications as are in
    /// flight, so that it has two on their way, whose order shows.
    #[must_use]
    pub fn room_of_publication(&self, number: usize) -> usize {
        let pairs = self.at_once / 2;
        (number / self.at_once * pairs + number % pairs) % self.connections
    }
}

fn distance(position: usize) -> usize {
    position * (position + 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Work, catalogue};
    use std::collections::HashSet;

    /// Those of the catalogue, as they are and made tiny.
    fn spreads() -> Vec<Spread> {
        let mut spreads = Vec::new();
        for mut workload in catalogue(20_000) {
            for _ in 0..2 {
                if let Work::Memberships(spread) = workload.work {
                    spreads.push(spread);
                }
                workload.work.shrink();
            }
        }
        assert_eq!(spreads.len(), 2);
        spreads
    }

    fn members(spread: &Spread) -> Vec<HashSet<usize>> {
        let mut rooms = vec![HashSet::new(); spread.connections];
        for connection in 0..spread.connections {
            for room in spread.rooms_of(connection) {
                rooms[room].insert(connection);
            }
        }
        rooms
    }

    #[test]
    fn every_connection_has_as_many_rooms_and_every_room_as_many_members() {
        for spread in spreads() {
            let positions = spread.positions();
            for (room, members) in members(&spread).iter().enumerate() {
                assert_eq!(members.len(), spread.rooms_each);
                assert!(members.contains(&room), "its publisher");
                for connection in 0..spread.connections {
                    let distance = (connection + spread.connections - room) % spread.connections;
                    let is_member = positions[distance].is_some();
                    assert_eq!(is_member, members.contains(&connection));
                }
            }
        }
    }

    #[test]
    fn rooms_share_few_members() {
        for spread in spreads() {
            let rooms = members(&spread);
            let shared = |room: &usize| rooms[0].intersection(&rooms[*room]).count();
            let most = (1..spread.connections).max_by_key(shared);
            let most = most.map(|room| shared(&room)).unwrap();
            assert!(most < 10, "{most} of {}", spread.rooms_each);
        }
    }

    #[test]
    fn publications_go_to_all_rooms_alike_in_pairs() {
        for spread in spreads() {
            let rounds = 4 * spread.connections * spread.at_once;
            let mut counts = vec![0; spread.connections];
            for number in 0..rounds {
                counts[spread.room_of_publication(number)] += 1;
            }
            assert!(counts.iter().all(|&count| count == counts[0]), "{counts:?}");
            let first = spread.room_of_publication(0);
            assert_eq!(spread.room_of_publication(spread.at_once / 2), first);
        }
    }
}
