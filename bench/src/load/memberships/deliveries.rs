//! Whether every member of a room receives all that is published there, in order, and nothing else.

use super::command::Publication;
use super::spread::Spread;
use crate::load::check::{Fault, order_fault};
use std::collections::VecDeque;
use std::time::Instant;

/// A publication on its way.
#[derive(Clone, Copy, Debug)]
struct Flying {
    since: Instant,
    /// Members that have not received it.
    missing: usize,
}

#[derive(Debug, Default)]
struct Room {
    /// The number of the first that is on its way.
    first: u32,
    flying: VecDeque<Flying>,
}

/// A publication that has come to one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// When it was published.
    pub since: Instant,
    /// Whether all members have it now.
    pub is_last: bool,
}

/// What was published, and how far every member of every room is.
#[derive(Debug)]
pub struct Deliveries {
    spread: Spread,
    positions: Vec<Option<usize>>,
    rooms: Vec<Room>,
    /// The number that comes next, for each member of each room.
    due: Vec<u32>,
    outstanding: u64,
}

impl Deliveries {
    /// Of which there were none yet.
    #[must_use]
    pub fn new(spread: Spread) -> Self {
        Self {
            positions: spread.positions(),
            rooms: (0..spread.connections).map(|_| Room::default()).collect(),
            due: vec![0; spread.memberships()],
            outstanding: 0,
            spread,
        }
    }

    /// Publications times members that have not received them.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Notes that the next message of a room is published, and gives its number.
    pub fn publish(&mut self, room: usize, now: Instant) -> u32 {
        let members = self.spread.rooms_each;
        let room = &mut self.rooms[room];
        room.flying.push_back(Flying {
            since: now,
            missing: members,
        });
        self.outstanding += members as u64;
        room.first + (room.flying.len() - 1) as u32
    }

    /// Takes a message that a connection received.
    pub fn take(
        &mut self,
        publication: &Publication,
        connection: usize,
        frame: &[u8],
    ) -> Result<Delivered, Fault> {
        let (number, came) = publication.parse(frame).ok_or(Fault::Content)?;
        let place = self.place(number, connection);
        let due = &mut self.due[place.ok_or(Fault::NotMember(number))?];
        let room = &mut self.rooms[number];
        if came != *due {
            return Err(order_fault(*due, came));
        }
        let flying = room.flying.get_mut((came - room.first) as usize);
        let flying = flying.ok_or(Fault::Unsent)?;
        *due += 1;
        flying.missing -= 1;
        let delivered = Delivered {
            since: flying.since,
            is_last: flying.missing == 0,
        };
        self.outstanding -= 1;
        while room.flying.front().is_some_and(|it| it.missing == 0) {
            room.flying.pop_front();
            room.first += 1;
        }
        Ok(delivered)
    }

    /// Where the number lies that a connection is to receive next in a room, if it is a member.
    fn place(&self, room: usize, connection: usize) -> Option<usize> {
        let count = self.spread.connections;
        if room >= count {
            return None;
        }
        let position = self.positions[(connection + count - room) % count]?;
        Some(room * self.spread.rooms_each + position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Spread = Spread {
        connections: 12,
        rooms_each: 3,
        payload_bytes: 64,
        at_once: 4,
    };
    /// Members of room 2.
    const MEMBERS: [usize; 3] = [2, 3, 5];

    struct Load {
        publication: Publication,
        deliveries: Deliveries,
    }

    impl Load {
        /// With so many publications in room 2.
        fn with(count: usize) -> Self {
            let mut deliveries = Deliveries::new(SPREAD);
            for number in 0..count {
                assert_eq!(deliveries.publish(2, Instant::now()), number as u32);
            }
            Self {
                publication: Publication::new(SPREAD.payload_bytes),
                deliveries,
            }
        }

        fn take(&mut self, connection: usize, room: usize, number: u32) -> Result<bool, Fault> {
            let frame = self.publication.delivered(room, number);
            let delivered = self.deliveries.take(&self.publication, connection, &frame);
            delivered.map(|delivered| delivered.is_last)
        }
    }

    #[test]
    fn last_member_completes_a_publication() {
        let mut load = Load::with(2);
        assert_eq!(load.deliveries.outstanding(), 6);
        // One member is a message ahead of the others.
        assert_eq!(load.take(MEMBERS[0], 2, 0), Ok(false));
        assert_eq!(load.take(MEMBERS[0], 2, 1), Ok(false));
        for number in 0..2 {
            assert_eq!(load.take(MEMBERS[1], 2, number), Ok(false));
            assert_eq!(load.take(MEMBERS[2], 2, number), Ok(true));
        }
        assert_eq!(load.deliveries.outstanding(), 0);
        assert_eq!(load.deliveries.publish(2, Instant::now()), 2);
        assert_eq!(load.take(MEMBERS[2], 2, 2), Ok(false));
    }

    #[test]
    fn lost_repeated_and_reordered_messages_are_found() {
        let mut load = Load::with(3);
        let skipped = Fault::Skipped { due: 0, came: 1 };
        assert_eq!(load.take(MEMBERS[0], 2, 1), Err(skipped));
        assert_eq!(load.take(MEMBERS[0], 2, 0), Ok(false));
        let repeated = Fault::Repeated { due: 1, came: 0 };
        assert_eq!(load.take(MEMBERS[0], 2, 0), Err(repeated));
    }

    #[test]
    fn message_that_nobody_sent_is_found() {
        let mut load = Load::with(1);
        assert_eq!(load.take(MEMBERS[0], 2, 0), Ok(false));
        assert_eq!(load.take(MEMBERS[0], 2, 1), Err(Fault::Unsent));
        let mut frame = load.publication.delivered(2, 0);
        *frame.last_mut().unwrap() ^= 1;
        let taken = load.deliveries.take(&load.publication, MEMBERS[1], &frame);
        assert_eq!(taken, Err(Fault::Content));
    }

    #[test]
    fn message_of_a_room_of_others_is_found() {
        let mut load = Load::with(1);
        for stranger in (0..SPREAD.connections).filter(|it| !MEMBERS.contains(it)) {
            assert_eq!(load.take(stranger, 2, 0), Err(Fault::NotMember(2)));
        }
        for room in [12, 13, 14, 24, u32::MAX as usize] {
            assert_eq!(load.take(2, room, 0), Err(Fault::NotMember(room)));
        }
    }
}
