//! The latest frame of each key of a room, for those of its subscribers who read more slowly than it speaks.
//!
//! ```text
//!  offer ──▶ log ──▶ subscribers that keep up            every frame, in order
//!              │
//!              └──▶ latest frame of each key ──▶ others  round after round over the keys, and of each
//!                   that somebody lacks                  what is the latest when its turn comes
//! ```
//!
//! *Fair:* each of the others goes over the keys in rounds, so that a key has its turn however often it or
//! another changes.
//!
//! *Bounded:* a frame is kept while one of the others lacks it, one for each key; beside that, each of them has
//! four bytes for each key. A key that is gone counts until its removal has been told, so that their number has
//! a bound of its own ([`LACKED_KEYS_MAX`]).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hub::bound;
use slab::Slab;

use super::room_log::RoomLog;

/// Most keys of which frames are kept: more than a room may have at a time, so that only removals of ever other
/// keys, which nobody reads, come to it.
pub(super) const LACKED_KEYS_MAX: usize = bound(16_384, 8);

/// What a core keeps of the keys of a room, in one form.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// The key of each frame of the room's log, in order; `None` of a frame without one.
    of_log: VecDeque<Option<Arc<str>>>,
    places: Vec<Place>,
    by_key: HashMap<Arc<str>, u32>,
    /// Places without a frame.
    vacant: Vec<u32>,
    laggards: Slab<Laggard>,
    /// Bytes of frames, their keys, and what the laggards have.
    bytes: usize,
}

/// A place for a key. It serves one key after another, but counts on.
#[derive(Debug, Default)]
struct Place {
    /// How many frames it has had. Only whether two counts differ, and by how much, means anything.
    updates: u32,
    /// How many laggards lack its frame.
    lacked_by: u32,
    frame: Option<Frame>,
}

#[derive(Debug)]
struct Frame {
    key: Arc<str>,
    bytes: Box<[u8]>,
}

/// A subscriber that has left the log.
#[derive(Debug, Default)]
struct Laggard {
    /// By place, the count of updates up to which it has had them. Places beyond its end have none.
    had: Vec<u32>,
    /// The place whose turn is next.
    next: usize,
}

/// What a laggard was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Updates that it will never be given, because there were later ones of the same key.
    pub(super) passed_over: u64,
    /// Whether it lacks nothing any more.
    pub(super) is_all: bool,
}

/// There are more keys that somebody lacks than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Latest {
    /// Whether anybody has left the log.
    pub(super) fn has_laggards(&self) -> bool {
        !self.laggards.is_empty()
    }

    /// Bytes of memory that it takes, but for the tables' own.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
            + self.of_log.capacity() * size_of::<Option<Arc<str>>>()
            + self.places.capacity() * size_of::<Place>()
    }

    /// Bytes of memory that are held for one of those who have left the log.
    pub(super) fn bytes_of(&self, laggard: usize) -> usize {
        size_of::<Laggard>() + self.laggards[laggard].had.capacity() * size_of::<u32>()
    }

    /// A frame was appended to the log, of this key if it has one.
    pub(super) fn note(&mut self, key: Option<&Arc<str>>, log: &RoomLog) -> Result<(), TooMany> {
        let Some(key) = key else {
            self.note_none(log);
            return Ok(());
        };
        self.of_log.resize(log.frames() - 1, None);
        self.of_log.push_back(Some(key.clone()));
        if !self.has_laggards() {
            return Ok(());
        }
        let place = self.place(key, || log.frame(log.frames() - 1));
        let laggards = self.laggards.len() as u32;
        let Place {
            updates,
            lacked_by,
            frame,
        } = &mut self.places[place];
        *updates = updates.wrapping_add(1);
        if *lacked_by > 0
            && let Some(frame) = frame
        {
            self.bytes -= frame.bytes.len();
            frame.bytes = log.frame(log.frames() - 1).concat().into();
            self.bytes += frame.bytes.len();
        }
        *lacked_by = laggards;
        match self.by_key.len() > LACKED_KEYS_MAX {
            true => Err(TooMany),
            false => Ok(()),
        }
    }

    /// A frame without a key was appended to the log.
    pub(super) fn note_none(&mut self, log: &RoomLog) {
        self.of_log.resize(log.frames(), None);
    }

    /// The log has forgotten its oldest frames.
    pub(super) fn trim(&mut self, log: &RoomLog) {
        let gone = self.of_log.len().saturating_sub(log.frames());
        self.of_log.drain(..gone);
        if log.is_empty() {
            self.of_log = VecDeque::new();
        }
    }

    /// A subscriber leaves the log, of which it lacks the latest `lacks` frames. Returns its number here. Frames
    /// without a key are nothing to it from now on.
    pub(super) fn enter(&mut self, log: &RoomLog, lacks: usize) -> usize {
        let had: Vec<_> = self.places.iter().map(|place| place.updates).collect();
        let laggard = self.laggards.insert(Laggard { had, next: 0 });
        let frames = log.frames();
        // The newest first: it is the one that is kept.
        for at in (frames - lacks..frames).rev() {
            if let Some(key) = self.of_log.get(at).cloned().flatten() {
                let place = self.place(&key, || log.frame(at));
                let had = self.laggards[laggard].had(place);
                let Place {
                    updates, lacked_by, ..
                } = &mut self.places[place];
                *lacked_by += u32::from(*had == *updates);
                *had = had.wrapping_sub(1);
            }
        }
        self.bytes += self.bytes_of(laggard);
        laggard
    }

    /// The place of a key. One that is new to it has the frame that `frame` finds, which nobody lacks yet.
    fn place<'l>(&mut self, key: &Arc<str>, frame: impl FnOnce() -> [&'l [u8]; 2]) -> usize {
        if let Some(place) = self.by_key.get(key) {
            return *place as usize;
        }
        let place = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let frame = Frame {
            key: key.clone(),
            bytes: frame().concat().into(),
        };
        self.bytes += frame.held_bytes();
        self.places[place as usize].frame = Some(frame);
        self.by_key.insert(key.clone(), place);
        place as usize
    }

    /// Appends frames that the laggard lacks, until these are `most` bytes or more.
    pub(super) fn give(&mut self, laggard: usize, most: usize, out: &mut Vec<u8>) -> Given {
        let end = out.len() + most;
        let mut given = Given::default();
        let places = self.places.len();
        let held = self.bytes_of(laggard);
        for _ in 0..places {
            if out.len() >= end {
                self.count_again(laggard, held);
                return given;
            }
            let it = &mut self.laggards[laggard];
            let at = it.next % places;
            it.next = at + 1;
            let had = it.had(at);
            let place = &mut self.places[at];
            if *had == place.updates {
                continue;
            }
            let updates = place.updates.wrapping_sub(*had);
            given.passed_over += u64::from(updates) - 1;
            *had = place.updates;
            if let Some(frame) = &place.frame {
                out.extend_from_slice(&frame.bytes);
            }
            self.has_one_laggard_less(at);
        }
        self.count_again(laggard, held);
        // Each place has had its turn, and nothing has changed since.
        given.is_all = true;
        given
    }

    /// One who has left the log comes back to it, or goes for good.
    pub(super) fn leave(&mut self, laggard: usize) {
        self.bytes -= self.bytes_of(laggard);
        let Laggard { had, .. } = self.laggards.remove(laggard);
        if self.laggards.is_empty() {
            return self.forget();
        }
        for at in 0..self.places.len() {
            if had.get(at).copied().unwrap_or(0) != self.places[at].updates {
                self.has_one_laggard_less(at);
            }
        }
    }

    /// Forgets everybody who has left the log, and what is kept for them.
    pub(super) fn forget(&mut self) {
        *self = Self {
            of_log: std::mem::take(&mut self.of_log),
            ..Self::default()
        };
    }

    /// One of those who lack the frame at this place does not any more; the last of them takes it along.
    fn has_one_laggard_less(&mut self, at: usize) {
        let place = &mut self.places[at];
        place.lacked_by -= 1;
        if place.lacked_by == 0
            && let Some(frame) = place.frame.take()
        {
            self.bytes -= frame.held_bytes();
            self.by_key.remove(&frame.key);
            self.vacant.push(at as u32);
        }
    }

    fn count_again(&mut self, laggard: usize, before: usize) {
        self.bytes = self.bytes - before + self.bytes_of(laggard);
    }

    /// Checks that what is counted is what is there.
    #[cfg(test)]
    fn audit(&self) {
        let frames = self.places.iter().filter_map(|it| it.frame.as_ref());
        let frames: usize = frames.map(Frame::held_bytes).sum();
        let laggards = self.laggards.iter().map(|(at, _)| self.bytes_of(at));
        assert_eq!(self.bytes, frames + laggards.sum::<usize>());
        for (at, place) in self.places.iter().enumerate() {
            let lacks = |it: &Laggard| it.had.get(at).copied().unwrap_or(0) != place.updates;
            let lacked_by = self.laggards.iter().filter(|(_, it)| lacks(it)).count();
            assert_eq!(lacked_by, place.lacked_by as usize, "place {at}");
            assert_eq!(place.frame.is_some(), lacked_by > 0, "place {at}");
        }
    }
}

impl Laggard {
    /// The count up to which it has had the frames of a place.
    fn had(&mut self, place: usize) -> &mut u32 {
        if place >= self.had.len() {
            self.had.resize(place + 1, 0);
        }
        &mut self.had[place]
    }
}

impl Frame {
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.key.len() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests;
