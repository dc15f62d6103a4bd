//! The rooms of one thread: their members, and the messages that some members still lack.

use std::{collections::HashMap, ops::Index};

use codec::{Message, encode_message};
use rustix::fd::RawFd;

/// Most memory that an emptied log keeps, so that the next messages need no allocation.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// A room: a log of consecutive encoded frames, and the sockets that read it.
///
/// Positions count the bytes since the room began, and never decrease.
#[derive(Default)]
pub struct Room {
    name: Box<str>,
    members: Vec<RawFd>,
    log: Vec<u8>,
    /// The position of the log's first byte.
    tail: u64,
    /// Whether it is listed in [`Rooms::dirty`].
    is_dirty: bool,
}

/// A member's place in its room.
#[derive(Clone, Copy)]
pub struct Seat {
    pub room: usize,
    /// Its index among the members.
    pub index: usize,
    /// The position up to which it has received everything; always between two frames.
    pub cursor: u64,
}

impl Room {
    /// The sockets of its members.
    pub fn members(&self) -> &[RawFd] {
        &self.members
    }

    /// The position behind the last frame.
    pub fn head(&self) -> u64 {
        self.tail + self.log.len() as u64
    }

    /// The bytes that a member with this cursor lacks: one run, the same for all members at the
    /// same position.
    pub fn since(&self, cursor: u64) -> &[u8] {
        &self.log[(cursor - self.tail) as usize..]
    }

    /// The length of the whole frames in `run`, including the one that contains byte `sent`.
    pub fn frame_end(run: &[u8], sent: usize) -> usize {
        if sent == run.len() {
            return sent;
        }
        let mut end = 0;
        while end < sent {
            end += frame_bytes(&run[end..]);
        }
        end
    }

    /// Drops the bytes before `oldest`, the lowest cursor. Bytes are moved only when at least as
    /// many are dropped, so that the work is linear in the bytes published.
    pub fn trim(&mut self, oldest: u64) {
        let gone = (oldest - self.tail) as usize;
        if gone == self.log.len() {
            self.tail = oldest;
            self.log.clear();
            self.log.shrink_to(KEPT_BYTES_MAX);
        } else if gone >= self.log.len() - gone {
            self.tail = oldest;
            self.log.drain(..gone);
        }
    }
}

/// The length of the server's unmasked frame at the beginning of `frames` (RFC 6455 section 5.2).
fn frame_bytes(frames: &[u8]) -> usize {
    match frames[1] {
        126 => 4 + usize::from(u16::from_be_bytes([frames[2], frames[3]])),
        127 => {
            let length = frames[2..10].iter();
            10 + length.fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        short => 2 + usize::from(short),
    }
}

/// All rooms of a thread, each at an index that it keeps while it has members.
#[derive(Default)]
pub struct Rooms {
    rooms: Vec<Room>,
    by_name: HashMap<Box<str>, usize>,
    /// Rooms without members.
    free: Vec<usize>,
    /// Rooms with messages from this turn.
    dirty: Vec<usize>,
}

impl Rooms {
    /// Adds a member to the room of this name, which is made for its first member.
    pub fn join(&mut self, name: &str, member: RawFd) -> Seat {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => self.begin(name),
        };
        let room = &mut self.rooms[at];
        room.members.push(member);
        Seat {
            room: at,
            index: room.members.len() - 1,
            cursor: room.head(),
        }
    }

    /// Removes a member. Returns the member, if any, that has moved to its index.
    pub fn leave(&mut self, seat: Seat) -> Option<RawFd> {
        let room = &mut self.rooms[seat.room];
        room.members.swap_remove(seat.index);
        if room.members.is_empty() {
            room.trim(room.head());
            self.by_name.remove(&room.name);
            self.free.push(seat.room);
        }
        room.members.get(seat.index).copied()
    }

    /// Appends a message to a room's log.
    pub fn publish(&mut self, at: usize, message: Message<'_>) {
        encode_message(message.kind, message.payload, &mut self.rooms[at].log);
        self.mark(at);
    }

    /// Marks a room for delivery at the end of the turn.
    pub fn mark(&mut self, at: usize) {
        if !self.rooms[at].is_dirty {
            self.rooms[at].is_dirty = true;
            self.dirty.push(at);
        }
    }

    /// Takes one of the marked rooms.
    pub fn next_dirty(&mut self) -> Option<usize> {
        let at = self.dirty.pop()?;
        self.rooms[at].is_dirty = false;
        Some(at)
    }

    /// See [`Room::trim`].
    pub fn trim(&mut self, at: usize, oldest: u64) {
        self.rooms[at].trim(oldest);
    }

    fn begin(&mut self, name: &str) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.rooms.push(Room::default());
            self.rooms.len() - 1
        });
        self.rooms[at].name = name.into();
        self.by_name.insert(name.into(), at);
        at
    }
}

impl Index<usize> for Rooms {
    type Output = Room;

    fn index(&self, at: usize) -> &Room {
        &self.rooms[at]
    }
}

#[cfg(test)]
mod tests {
    use codec::Kind;

    use super::*;

    fn message(payload: &[u8]) -> Message<'_> {
        let kind = Kind::Binary;
        let fragments = 1;
        Message {
            kind,
            payload,
            fragments,
        }
    }

    #[test]
    fn frame_end_of_every_cut_is_the_end_of_the_cut_frame() {
        let mut rooms = Rooms::default();
        let room = rooms.join("a", 7).room;
        let mut ends = vec![0];
        for bytes in [0, 1, 125, 126, 300, 65_535, 65_536] {
            rooms.publish(room, message(&vec![1; bytes]));
            ends.push(rooms[room].since(0).len());
        }
        let run = rooms[room].since(0);
        for sent in 0..=run.len() {
            let expected = ends[ends.partition_point(|end| *end < sent)];
            assert_eq!(Room::frame_end(run, sent), expected, "sent {sent}");
        }
    }

    #[test]
    fn trim_at_each_oldest_cursor_keeps_what_is_lacked() {
        let mut rooms = Rooms::default();
        let room = rooms.join("a", 7).room;
        for n in 0..10 {
            rooms.publish(room, message(&[n; 8]));
        }
        let all = rooms[room].since(0).to_vec();
        for oldest in (0..=100).step_by(10) {
            rooms.trim(room, oldest);
            assert_eq!(rooms[room].since(oldest), &all[oldest as usize..]);
            assert_eq!(rooms[room].head(), 100);
        }
        assert!(rooms[room].log.is_empty());
    }

    #[test]
    fn leave_moves_the_last_member_and_frees_the_empty_room() {
        let mut rooms = Rooms::default();
        let first = rooms.join("a", 7);
        let second = rooms.join("a", 8);
        assert_eq!(rooms.leave(first), Some(8));
        let moved = Seat { index: 0, ..second };
        assert_eq!(rooms.leave(moved), None);
        let other = rooms.join("b", 9);
        assert_eq!((other.room, rooms[other.room].members()), (0, &[9][..]));
        assert_eq!(rooms.join("a", 9).room, 1);
    }
}
