//! The commands that the load sends, and the frames that answer them.

use crate::load::wire::{append_text, hexadecimal};
use codec::{Kind, frame};

/// Digits of a room's name, and of a publication's number: hexadecimal, so that all are as long.
const DIGITS: usize = 8;
/// The names of rooms and the numbers begin behind these.
const PUBLISH: &str = "publish ";
const JOINED: &str = "joined ";

/// Appends the command to join a room.
pub fn append_join(room: usize, out: &mut Vec<u8>) {
    append_text(format!("join {room:0DIGITS$x}").as_bytes(), out);
}

/// The room that an answer says to be joined.
#[must_use]
pub fn joined(answer: &str) -> Option<usize> {
    let name = answer.strip_prefix(JOINED)?.as_bytes();
    (name.len() == DIGITS)
        .then(|| hexadecimal(name))?
        .map(|room| room as usize)
}

/// The text of the first message of `bytes`, which is short and arrived whole, and what follows it.
#[must_use]
pub fn short_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let [0x81, length @ 0..126, rest @ ..] = bytes else {
        return None;
    };
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((str::from_utf8(text).ok()?, rest))
}

/// Publications of one length, in which only the room and the number change.
#[derive(Clone, Debug)]
pub struct Publication {
    payload: Vec<u8>,
    /// As a member is sent it.
    frame: Vec<u8>,
    /// Where the room's name lies in a frame.
    room: usize,
}

impl Publication {
    /// Commands of `payload_bytes`, or as many as they need.
    #[must_use]
    pub fn new(payload_bytes: usize) -> Self {
        let mut payload = command(0, 0).into_bytes();
        let letters = payload.len()..payload_bytes.max(payload.len());
        payload.extend(letters.map(|at| b'a' + (at % 23) as u8));
        let mut frame = Vec::new();
        frame::encode_message(Kind::Text, &payload, &mut frame);
        Self {
            room: frame.len() - payload.len() + PUBLISH.len(),
            payload,
            frame,
        }
    }

    /// Bytes of what a member is sent.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// Appends a publication as its publisher sends it.
    pub fn append(&mut self, room: usize, number: u32, out: &mut Vec<u8>) {
        let command = command(room, number);
        self.payload[..command.len()].copy_from_slice(command.as_bytes());
        append_text(&self.payload, out);
    }

    /// A publication as a member must be sent it.
    #[cfg(test)]
    pub fn delivered(&mut self, room: usize, number: u32) -> Vec<u8> {
        self.append(room, number, &mut Vec::new());
        let mut frame = Vec::new();
        frame::encode_message(Kind::Text, &self.payload, &mut frame);
        frame
    }

    /// Room and number of what a member was sent; nothing if it is no such publication.
    #[must_use]
    pub fn parse(&self, frame: &[u8]) -> Option<(usize, u32)> {
        let (room, gap) = (self.room, self.room + DIGITS);
        let (number, rest) = (gap + 1, gap + 1 + DIGITS);
        let same = frame.len() == self.frame.len()
            && frame[..room] == self.frame[..room]
            && frame[gap..number] == self.frame[gap..number]
            && frame[rest..] == self.frame[rest..];
        if !same {
            return None;
        }
        let room = hexadecimal(&frame[room..gap])?;
        Some((room as usize, hexadecimal(&frame[number..rest])?))
    }
}

fn command(room: usize, number: u32) -> String {
    format!("{PUBLISH}{room:0DIGITS$x} {number:0DIGITS$x} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publication_names_its_room_and_number() {
        for payload_bytes in [0, 100, 128, 70_000] {
            let mut publication = Publication::new(payload_bytes);
            let frame = publication.delivered(0x3e7, 0x0123_4567);
            assert_eq!(frame.len(), publication.frame_bytes());
            assert_eq!(publication.parse(&frame), Some((0x3e7, 0x0123_4567)));
        }
    }

    #[test]
    fn publication_with_any_other_byte_is_none() {
        let mut publication = Publication::new(128);
        let frame = publication.delivered(7, 9);
        for at in 0..frame.len() {
            let mut other = frame.clone();
            other[at] ^= 0x80;
            assert_eq!(publication.parse(&other), None, "byte {at}");
        }
        assert_eq!(publication.parse(&frame[..frame.len() - 1]), None);
    }

    #[test]
    fn answers_are_read_one_by_one() {
        let mut bytes = Vec::new();
        for text in ["joined 0000002a", "error: no"] {
            frame::encode_message(Kind::Text, text.as_bytes(), &mut bytes);
        }
        let (first, rest) = short_text(&bytes).unwrap();
        assert_eq!(joined(first), Some(42));
        assert_eq!(short_text(&rest[..5]), None);
        let (second, rest) = short_text(rest).unwrap();
        assert_eq!((second, joined(second), rest), ("error: no", None, &[][..]));
        assert_eq!(joined("joined 2a"), None);
    }
}
