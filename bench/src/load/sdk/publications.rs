//! What was published, and whether every subscriber receives all of it, in order, and nothing else.
//!
//! The first subscriber that is told of a publication has it read and compared with what was sent. All others of
//! the room must be told the same bytes, which is a comparison and costs the load little.

use super::inbox::append;
use super::layout::{DIGITS, Layout, Places, name, room_called};
use super::opening::Position;
use crate::centrifuge::{Command, Encoding, Publication, Reply, Said};
use crate::load::check::{Fault, order_fault};
use crate::load::wire::hexadecimal;
use anyhow::{Result, anyhow, bail, ensure};
use std::collections::VecDeque;
use std::time::Instant;

/// Publications have numbers from this one on, beyond those of all other commands.
const FIRST_ID: u32 = 1_000;

/// A publication on its way.
#[derive(Debug)]
struct Flying {
    since: Instant,
    /// Subscribers that have not received it.
    missing: usize,
    /// What the first subscriber was told; empty before.
    message: Vec<u8>,
}

#[derive(Debug)]
struct Room {
    /// The offset of the latest message before the first that was published here.
    offset: u64,
    /// The number of the first that is on its way.
    first: u32,
    flying: VecDeque<Flying>,
}

/// What a connection was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// A publication of a room.
    Delivered {
        /// The room.
        room: usize,
        /// When it was published.
        since: Instant,
        /// Whether all subscribers have it now.
        is_last: bool,
    },
    /// Its own publication has its place.
    Acknowledged,
}

/// All publications of a run.
#[derive(Debug)]
pub struct Publications {
    encoding: Encoding,
    layout: Layout,
    places: Places,
    rooms: Vec<Room>,
    /// The number that comes next, for each subscription.
    due: Vec<u32>,
    /// Where the digits of a room's name lie in what subscribers are told.
    digits_at: usize,
    /// Letters behind the numbers of each payload.
    filling: String,
    outstanding: u64,
    /// Buffers of messages that all subscribers have.
    spare: Vec<Vec<u8>>,
}

impl Publications {
    /// None yet, in rooms at these positions, whose payloads are of `payload_bytes`.
    #[must_use]
    pub fn new(
        encoding: Encoding,
        layout: Layout,
        positions: &[Position],
        payload_bytes: usize,
    ) -> Self {
        let room = |position: &Position| Room {
            offset: position.offset,
            first: 0,
            flying: VecDeque::new(),
        };
        let letters = 0..payload_bytes.saturating_sub(payload(0, 0, "").len());
        Self {
            encoding,
            layout,
            places: Places::new(layout),
            rooms: positions.iter().map(room).collect(),
            due: vec![0; layout.rooms() * layout.members()],
            digits_at: usize::MAX - DIGITS,
            filling: letters
                .map(|at| char::from(b'a' + (at % 23) as u8))
                .collect(),
            outstanding: 0,
            spare: Vec::new(),
        }
    }

    /// Publications times subscribers that have not received them.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.outstanding
    }

    /// Whether nothing of a room is on its way.
    #[must_use]
    pub fn is_quiet(&self, room: usize) -> bool {
        self.rooms[room].flying.is_empty()
    }

    /// Notes that the next message of a room is published; returns the offset that it must have.
    pub fn note(&mut self, room: usize, now: Instant) -> u64 {
        let members = self.layout.members();
        self.outstanding += members as u64;
        let number = self.next_number(room);
        let log = &mut self.rooms[room];
        log.flying.push_back(Flying {
            since: now,
            missing: members,
            message: self.spare.pop().unwrap_or_default(),
        });
        log.offset + u64::from(number) + 1
    }

    fn next_number(&self, room: usize) -> u32 {
        let log = &self.rooms[room];
        log.first + log.flying.len() as u32
    }

    /// The payload of the message that comes in a room when `ahead` more have been published.
    #[must_use]
    pub fn payload_ahead(&self, room: usize, ahead: u32) -> String {
        payload(room, self.next_number(room) + ahead, &self.filling)
    }

    /// Notes that the next message of a room is published, and appends the command that does so.
    pub fn publish(&mut self, room: usize, now: Instant, out: &mut Vec<u8>) {
        let (number, payload) = (self.next_number(room), self.payload_ahead(room, 0));
        self.note(room, now);
        let command = Command::Publish(&name(room), payload.as_bytes());
        append(
            self.encoding,
            FIRST_ID.wrapping_add(number).max(1),
            command,
            out,
        );
    }

    /// Takes what a connection was told.
    pub fn take(&mut self, connection: usize, message: &[u8]) -> Result<Taken> {
        let known = self.known(connection, message);
        if let Some((room, place)) = known {
            return Ok(self.deliver(room, place));
        }
        let said = self.encoding.read(message)?;
        let [said] = &said[..] else {
            bail!("{} messages in one", said.len());
        };
        match said {
            Said::Publication(name, publication) => {
                let (room, place) = self.check(connection, name, publication)?;
                let due = self.due[place];
                let log = &mut self.rooms[room];
                let stored = &mut log.flying[(due - log.first) as usize].message;
                // Different bytes may say the same thing, but no server has a reason for that.
                ensure!(
                    stored.is_empty() || stored == message,
                    "{}",
                    Fault::Disagreement
                );
                stored.clear();
                stored.extend_from_slice(message);
                let found = message
                    .windows(name.len())
                    .position(|it| it == name.as_bytes());
                self.digits_at = found.map_or(self.digits_at, |at| at + name.len() - DIGITS);
                Ok(self.deliver(room, place))
            }
            Said::Reply(_, Reply::Published) => Ok(Taken::Acknowledged),
            other => bail!("unexpected: {other:?}"),
        }
    }

    /// The room and the place, if this is what another subscriber was told of the publication that is due.
    fn known(&self, connection: usize, message: &[u8]) -> Option<(usize, usize)> {
        let digits = message.get(self.digits_at..self.digits_at + DIGITS)?;
        let room = hexadecimal(digits)? as usize;
        let place = self.places.of(room, connection)?;
        let log = &self.rooms[room];
        let flying = log.flying.get((self.due[place] - log.first) as usize)?;
        (flying.message == message).then_some((room, place))
    }

    /// Compares a publication with the one that is due.
    fn check(
        &self,
        connection: usize,
        name: &str,
        publication: &Publication<'_>,
    ) -> Result<(usize, usize)> {
        let fault = |fault: Fault| anyhow!("{fault}");
        let room = room_called(name).ok_or_else(|| fault(Fault::Content))?;
        let place = self.places.of(room, connection);
        let place = place.ok_or_else(|| fault(Fault::NotMember(room)))?;
        let digits = publication.data.get(1 + DIGITS..1 + 2 * DIGITS);
        let number = digits
            .and_then(hexadecimal)
            .ok_or_else(|| fault(Fault::Content))?;
        let (due, log) = (self.due[place], &self.rooms[room]);
        if number != due {
            return Err(fault(order_fault(due, number)));
        }
        if (due - log.first) as usize >= log.flying.len() {
            return Err(fault(Fault::Unsent));
        }
        if publication.data != payload(room, number, &self.filling).as_bytes() {
            return Err(fault(Fault::Content));
        }
        let offset = log.offset + u64::from(number) + 1;
        let told = publication.offset;
        ensure!(
            told == offset,
            "message {number} has the offset {told}, not {offset}"
        );
        Ok((room, place))
    }

    fn deliver(&mut self, room: usize, place: usize) -> Taken {
        let log = &mut self.rooms[room];
        let flying = &mut log.flying[(self.due[place] - log.first) as usize];
        flying.missing -= 1;
        let (since, is_last) = (flying.since, flying.missing == 0);
        self.due[place] += 1;
        self.outstanding -= 1;
        while log.flying.front().is_some_and(|it| it.missing == 0) {
            log.first += 1;
            self.spare.extend(log.flying.pop_front().map(|mut flying| {
                flying.message.clear();
                flying.message
            }));
        }
        Taken::Delivered {
            room,
            since,
            is_last,
        }
    }
}

/// A payload, valid JSON: a string that names its room and number.
#[must_use]
pub fn payload(room: usize, number: u32, filling: &str) -> String {
    format!("\"{room:0DIGITS$x}{number:0DIGITS$x}{filling}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout::Rooms {
        rooms: 2,
        members: 3,
    };

    /// With so many publications in room 1, whose log is at 7.
    fn published(encoding: Encoding, count: usize) -> Publications {
        let position = |offset| Position {
            epoch: "e".to_owned(),
            offset,
        };
        let positions = [position(0), position(7)];
        let mut publications = Publications::new(encoding, LAYOUT, &positions, 64);
        let mut commands = Vec::new();
        for _ in 0..count {
            publications.publish(1, Instant::now(), &mut commands);
        }
        assert_eq!(publications.outstanding(), 3 * count as u64);
        publications
    }

    fn push(name: &str, data: &str, offset: u64) -> Vec<u8> {
        format!(r#"{{"push":{{"channel":"{name}","pub":{{"data":{data},"offset":{offset}}}}}}}"#)
            .into_bytes()
    }

    fn right(publications: &Publications, number: u32) -> Vec<u8> {
        let data = payload(1, number, &publications.filling);
        assert_eq!(data.len(), 64);
        push(&name(1), &data, 8 + u64::from(number))
    }

    fn is_last(taken: Result<Taken>) -> bool {
        matches!(
            taken,
            Ok(Taken::Delivered {
                room: 1,
                is_last: true,
                ..
            })
        )
    }

    #[test]
    fn last_subscriber_completes_a_publication() {
        let mut publications = published(Encoding::Json, 2);
        let messages = [0, 1].map(|number| right(&publications, number));
        for (message, connection) in [(0, 3), (1, 3), (0, 4)] {
            assert!(!is_last(publications.take(connection, &messages[message])));
        }
        assert!(is_last(publications.take(5, &messages[0])));
        assert!(!is_last(publications.take(5, &messages[1])));
        assert!(is_last(publications.take(4, &messages[1])));
        assert!(publications.is_quiet(1));
        let reply = br#"{"id":1000,"publish":{}}"#;
        assert_eq!(publications.take(3, reply).unwrap(), Taken::Acknowledged);
    }

    #[test]
    fn every_fault_is_found_by_the_first_subscriber_and_by_the_others() {
        for is_first in [true, false] {
            let check =
                |connection: usize, fault: &dyn Fn(&Publications) -> Vec<u8>, word: &str| {
                    let mut publications = published(Encoding::Json, 2);
                    if !is_first {
                        let whole = right(&publications, 0);
                        publications.take(4, &whole).unwrap();
                    }
                    let message = fault(&publications);
                    let error = publications.take(connection, &message).unwrap_err();
                    assert!(error.to_string().contains(word), "{error}");
                };
            check(3, &|it| right(it, 1), "came when 0 was due");
            check(0, &|it| right(it, 0), "not in");
            check(
                3,
                &|it| push(&name(1), &payload(1, 0, &it.filling), 9),
                "offset 9",
            );
            let other = |it: &Publications| payload(1, 0, &it.filling.replace('b', "c"));
            check(3, &|it| push(&name(1), &other(it), 8), "content");
            check(3, &|_| br#"{"id":7,"error":{"code":103}}"#.to_vec(), "103");
            check(3, &|_| b"{\"push\"".to_vec(), "unreadable");
        }
        let mut publications = published(Encoding::Json, 1);
        let [whole, early] = [0, 1].map(|number| right(&publications, number));
        publications.take(3, &whole).unwrap();
        assert!(publications.take(3, &whole).is_err(), "it came twice");
        assert!(publications.take(3, &early).is_err(), "nobody sent it");
    }

    #[test]
    fn other_bytes_than_another_subscriber_was_told_are_found() {
        let mut publications = published(Encoding::Json, 1);
        let whole = right(&publications, 0);
        publications.take(3, &whole).unwrap();
        let other = [b" ", &whole[..]].concat();
        assert!(publications.take(4, &other).is_err());
        assert!(publications.take(4, &whole).is_ok());
    }
}
