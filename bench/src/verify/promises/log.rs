//! The log of a room, put together from what its subscribers were given.

use super::super::history::Message;
use super::sessions::Run;

/// Offsets leap by less than this; more is no place of a log that grows by one.
const LEAP_MAX: u64 = 1 << 20;

/// A room.
#[derive(Debug, Default)]
pub struct Room {
    /// Its logs, one for each epoch.
    pub logs: Vec<Log>,
    /// What raw clients were given, connection by connection.
    pub runs: Vec<Run>,
}

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// Stands for its bytes.
    pub digest: u64,
    /// Which life of the server showed it first.
    pub incarnation: u32,
}

/// One lifetime of a log.
#[derive(Debug)]
pub struct Log {
    name: Box<str>,
    /// The offset before the first that is known.
    base: u64,
    entries: Vec<Option<Entry>>,
    /// The latest position that anybody was told.
    pub top: u64,
    /// The latest life of the server that showed it.
    incarnation: u32,
}

/// What noting an entry came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Nobody had been given it.
    New,
    /// It is what others were given, or lies before the checker's time.
    Known,
    /// Others were given something else.
    Conflict(Entry),
    /// The offset is far beyond all others.
    Absurd,
}

impl Room {
    /// The log of this epoch, and how it is found again. `base` is the offset after which the checker learns
    /// of messages, if the epoch is new to it.
    pub fn epoch(&mut self, name: &str, base: u64, incarnation: u32) -> usize {
        let known = self.logs.iter().rposition(|it| *it.name == *name);
        let at = known.unwrap_or_else(|| {
            self.logs.push(Log {
                name: name.into(),
                base,
                entries: Vec::new(),
                top: base,
                incarnation,
            });
            self.logs.len() - 1
        });
        let log = &mut self.logs[at];
        log.incarnation = log.incarnation.max(incarnation);
        at
    }

    /// Places of the logs of this life of the server, below their tops, that nobody was given.
    #[must_use]
    pub fn unseen(&self, incarnation: u32) -> u64 {
        let logs = self.logs.iter().filter(|it| it.incarnation == incarnation);
        logs.map(Log::unseen).sum()
    }
}

impl Log {
    /// Notes that somebody was given this at this place.
    pub fn place(&mut self, offset: u64, entry: Entry) -> Placed {
        let Some(at) = offset.checked_sub(self.base.saturating_add(1)) else {
            return Placed::Known;
        };
        if at > self.entries.len() as u64 + LEAP_MAX {
            return Placed::Absurd;
        }
        let at = at as usize;
        if self.entries.len() <= at {
            self.entries.resize(at + 1, None);
        }
        self.top = self.top.max(offset);
        match &self.entries[at] {
            None => {
                self.entries[at] = Some(entry);
                Placed::New
            }
            Some(known) if (known.message, known.digest) == (entry.message, entry.digest) => {
                Placed::Known
            }
            Some(known) => Placed::Conflict(*known),
        }
    }

    /// The epoch's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Messages with their offsets, the latest first.
    pub fn backwards(&self) -> impl Iterator<Item = (u64, &Entry)> {
        let all = self.entries.iter().enumerate().rev();
        all.filter_map(|(at, entry)| Some((self.base + 1 + at as u64, entry.as_ref()?)))
    }

    /// Places below the top that nobody was given.
    #[must_use]
    pub fn unseen(&self) -> u64 {
        let seen = self.entries.iter().flatten().count() as u64;
        (self.top - self.base).saturating_sub(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32) -> Entry {
        Entry {
            message: Message { from: 0, number },
            digest: number.into(),
            incarnation: 0,
        }
    }

    #[test]
    fn place_tells_what_is_new_known_and_in_conflict() {
        let mut room = Room::default();
        let at = room.epoch("a", 4, 0);
        assert_eq!(room.epoch("a", 9, 0), at);
        let log = &mut room.logs[at];
        assert_eq!(log.place(6, entry(6)), Placed::New);
        assert_eq!(log.place(6, entry(6)), Placed::Known);
        assert_eq!(log.place(6, entry(7)), Placed::Conflict(entry(6)));
        assert_eq!(log.place(3, entry(3)), Placed::Known);
        assert_eq!(log.place(u64::MAX, entry(8)), Placed::Absurd);
        assert_eq!((log.top, log.unseen()), (6, 1));
        assert_eq!(
            log.backwards()
                .map(|(offset, _)| offset)
                .collect::<Vec<_>>(),
            [6]
        );
    }
}
