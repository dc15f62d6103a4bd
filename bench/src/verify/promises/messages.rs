//! What was sent, and what became of it.

use super::super::history::Message;

/// What the publisher knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There was no answer.
    Unknown,
    /// It has its place, as was said at this time.
    Acknowledged(u64),
    /// It has none.
    Refused,
}

/// A message that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The room.
    pub room: u32,
    /// Stands for its bytes.
    pub digest: u64,
    /// When, in events.
    pub at: u64,
    /// When, in microseconds.
    pub at_us: u64,
    /// To which life of the server.
    pub incarnation: u32,
    /// What the publisher knows.
    pub fate: Fate,
    /// Where it lies: which log of the room, and the offset.
    pub place: Option<(usize, u64)>,
}

impl Sent {
    /// A message without an answer.
    #[must_use]
    pub fn new(room: u32, digest: u64, at: u64, at_us: u64, incarnation: u32) -> Self {
        Self {
            room,
            digest,
            at,
            at_us,
            incarnation,
            fate: Fate::Unknown,
            place: None,
        }
    }

    /// The server says that it has its place.
    pub fn acknowledge(&mut self, now: u64) {
        self.fate = Fate::Acknowledged(now);
    }

    /// The server says that it has none.
    pub fn refuse(&mut self) {
        self.fate = Fate::Refused;
    }
}

/// All messages, by publisher and number.
#[derive(Debug, Default)]
pub struct Messages(Vec<Vec<Sent>>);

impl Messages {
    /// Adds the next message of its publisher.
    pub fn add(&mut self, message: Message, sent: Sent) {
        let from = message.from as usize;
        if self.0.len() <= from {
            self.0.resize_with(from + 1, Vec::new);
        }
        debug_assert_eq!(self.0[from].len(), message.number as usize);
        self.0[from].push(sent);
    }

    /// A message, if it was ever sent.
    #[must_use]
    pub fn get(&self, message: Message) -> Option<&Sent> {
        self.0
            .get(message.from as usize)?
            .get(message.number as usize)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, message: Message) -> Option<&mut Sent> {
        let of = self.0.get_mut(message.from as usize)?;
        of.get_mut(message.number as usize)
    }

    /// All messages.
    pub fn iter(&self) -> impl Iterator<Item = (Message, &Sent)> {
        (0..).zip(&self.0).flat_map(|(from, all)| {
            let numbered = (0..).zip(all);
            numbered.map(move |(number, sent)| (Message { from, number }, sent))
        })
    }
}
