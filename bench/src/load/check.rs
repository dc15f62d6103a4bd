//! Checks that the server sends exactly the right bytes, in order.

use super::wire::Template;
use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// What the server did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The bytes are not a message that a client sent: type, length or content differ.
    Content,
    /// A message arrived twice, or after a later one.
    Repeated {
        /// The sequence number that was due.
        due: u32,
        /// The sequence number that arrived.
        came: u32,
    },
    /// Messages are missing.
    Skipped {
        /// The sequence number that was due.
        due: u32,
        /// The sequence number that arrived.
        came: u32,
    },
    /// A message arrived before it was sent.
    Unsent,
    /// A message names a sender that does not send.
    Stranger(u32),
    /// A message belongs to a room that the connection is not in.
    NotMember(usize),
    /// One subscriber received other bytes than another did.
    Disagreement,
    /// The server closed the connection.
    Closed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => write!(f, "a reply differs in type, length or content"),
            Self::Repeated { due, came } => {
                write!(
                    f,
                    "message {came} came when {due} was due: repeated or out of order"
                )
            }
            Self::Skipped { due, came } => {
                write!(
                    f,
                    "message {came} came when {due} was due: one was lost or is out of order"
                )
            }
            Self::Unsent => write!(f, "a reply came for a message that was not sent yet"),
            Self::Stranger(id) => write!(f, "a message names {id} as its sender, who sent none"),
            Self::NotMember(room) => {
                write!(
                    f,
                    "a message of room {room} came, which the connection is not in"
                )
            }
            Self::Disagreement => write!(f, "two subscribers received different bytes"),
            Self::Closed => write!(f, "the server closed the connection"),
        }
    }
}

/// Checks one connection that must receive its own messages.
#[derive(Clone, Copy, Debug)]
pub struct EchoCheck {
    sender: u32,
    due: u32,
    at: usize,
}

impl EchoCheck {
    /// A check for the connection that uses `sender` as its name.
    #[must_use]
    pub fn new(sender: u32) -> Self {
        Self {
            sender,
            due: 0,
            at: 0,
        }
    }

    /// The number of complete messages that have returned.
    #[must_use]
    pub fn returned(&self) -> u32 {
        self.due
    }

    /// The number of bytes that are missing of the current message.
    #[must_use]
    pub fn left(&self, template: &Template) -> usize {
        template.frame_bytes() - self.at
    }

    /// Checks received bytes; returns how many messages they complete. `sent` is the number of
    /// messages sent.
    pub fn receive(
        &mut self,
        template: &mut Template,
        sent: u32,
        mut bytes: &[u8],
    ) -> Result<u32, Fault> {
        let before = self.due;
        while !bytes.is_empty() {
            if self.due == sent {
                return Err(Fault::Unsent);
            }
            let expected = &template.expected(self.sender, self.due)[self.at..];
            let length = expected.len().min(bytes.len());
            if bytes[..length] != expected[..length] {
                return Err(self.fault(template, bytes));
            }
            let whole = length == expected.len();
            bytes = &bytes[length..];
            self.at = if whole { 0 } else { self.at + length };
            self.due += u32::from(whole);
        }
        Ok(self.due - before)
    }

    fn fault(&self, template: &Template, bytes: &[u8]) -> Fault {
        let whole = bytes.get(..template.frame_bytes()).filter(|_| self.at == 0);
        match whole.and_then(|frame| template.parse(frame)) {
            Some((sender, _)) if sender != self.sender => Fault::Stranger(sender),
            Some((_, came)) => order_fault(self.due, came),
            None => Fault::Content,
        }
    }
}

/// That another number came than was due.
#[must_use]
pub fn order_fault(due: u32, came: u32) -> Fault {
    if came < due {
        Fault::Repeated { due, came }
    } else {
        Fault::Skipped { due, came }
    }
}

/// A client that sends to a room.
#[derive(Debug, Default)]
pub struct Sender {
    /// The number of messages it has sent.
    pub sent: u32,
    due: u32,
    times: VecDeque<Instant>,
}

impl Sender {
    /// Records that the latency of its next message counts from `time`.
    pub fn sends(&mut self, time: Instant) -> u32 {
        self.times.push_back(time);
        self.sent += 1;
        self.sent - 1
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    time: Instant,
    sender: usize,
}

/// The one sequence of bytes that every subscriber of a room must receive. The subscriber that is
/// ahead extends it, checked message by message; the others are compared with it.
#[derive(Debug)]
pub struct RoomLog {
    bytes: Vec<u8>,
    base: u64,
    checked: u64,
    frame_bytes: u64,
    first_entry: u64,
    entries: VecDeque<Entry>,
    first_sender: u32,
    senders: Vec<Sender>,
}

impl RoomLog {
    /// A log for a room with `senders` senders, whose names begin with `first_sender`.
    #[must_use]
    pub fn new(template: &Template, first_sender: u32, senders: usize) -> Self {
        Self {
            bytes: Vec::new(),
            base: 0,
            checked: 0,
            frame_bytes: template.frame_bytes() as u64,
            first_entry: 0,
            entries: VecDeque::new(),
            first_sender,
            senders: (0..senders).map(|_| Sender::default()).collect(),
        }
    }

    /// The number of bytes missing of the current message, for a subscriber that has received `at`
    /// bytes.
    #[must_use]
    pub fn left(&self, at: u64) -> usize {
        (self.frame_bytes - at % self.frame_bytes) as usize
    }

    /// A sender by its index in the room.
    pub fn sender(&mut self, index: usize) -> &mut Sender {
        &mut self.senders[index]
    }

    /// Checks bytes that a subscriber received after `at` bytes; calls `completed` with the time of
    /// each message that they complete.
    pub fn receive(
        &mut self,
        template: &Template,
        at: u64,
        bytes: &[u8],
        completed: impl FnMut(Instant, u64),
    ) -> Result<u64, Fault> {
        let known = &self.bytes[(at - self.base) as usize..];
        let shared = known.len().min(bytes.len());
        if known[..shared] != bytes[..shared] {
            return Err(Fault::Disagreement);
        }
        if bytes.len() > shared {
            self.bytes.extend_from_slice(&bytes[shared..]);
            self.check(template)?;
        }
        let end = at + bytes.len() as u64;
        self.complete(at, end, completed);
        Ok(end)
    }

    fn check(&mut self, template: &Template) -> Result<(), Fault> {
        let end = self.base + self.bytes.len() as u64;
        while self.checked + self.frame_bytes <= end {
            let start = (self.checked - self.base) as usize;
            let frame = &self.bytes[start..start + self.frame_bytes as usize];
            let (id, number) = template.parse(frame).ok_or(Fault::Content)?;
            let index = id.wrapping_sub(self.first_sender) as usize;
            let sender = self.senders.get_mut(index).ok_or(Fault::Stranger(id))?;
            if number != sender.due {
                return Err(order_fault(sender.due, number));
            }
            let time = sender.times.pop_front().ok_or(Fault::Unsent)?;
            self.entries.push_back(Entry {
                time,
                sender: index,
            });
            sender.due += 1;
            self.checked += self.frame_bytes;
        }
        Ok(())
    }

    fn complete(&self, at: u64, end: u64, mut completed: impl FnMut(Instant, u64)) {
        let mut entries = self.entries_between(at, end).peekable();
        while let Some(first) = entries.next() {
            let mut same = 1;
            while entries.next_if(|entry| entry.time == first.time).is_some() {
                same += 1;
            }
            completed(first.time, same);
        }
    }

    /// The number of messages of this sender that end between two positions.
    #[must_use]
    pub fn messages_of(&self, sender: usize, at: u64, end: u64) -> u32 {
        let own = self
            .entries_between(at, end)
            .filter(|entry| entry.sender == sender);
        own.count() as u32
    }

    fn entries_between(&self, at: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let first = (at / self.frame_bytes - self.first_entry) as usize;
        let until = (end / self.frame_bytes - self.first_entry) as usize;
        self.entries.range(first..until)
    }

    /// Whether the log holds so many bytes that trimming it is worthwhile.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.bytes.len() > 256 * 1024
    }

    /// Drops the bytes before `least`, which every subscriber has received.
    pub fn forget(&mut self, least: u64) {
        let whole = least.min(self.checked) / self.frame_bytes;
        let bytes = whole * self.frame_bytes - self.base;
        self.bytes.drain(..bytes as usize);
        self.base += bytes;
        self.entries.drain(..(whole - self.first_entry) as usize);
        self.first_entry = whole;
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
