//! Reading rooms before anybody is let in.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use hub::{Restored, SavedRoom};
use runtime::Homes;
use thiserror::Error;
use tracing::{info, warn};

use super::{Bounds, State, file};

/// How many rooms, and how many bytes of them, are given to their homes at once.
const BATCH_ROOMS: usize = 4_096;
const BATCH_BYTES: usize = 8 << 20;

/// What became of the rooms that a process before this one has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the homes took.
    pub restored: Restored,
    /// Rooms that cannot be read.
    pub unreadable: u64,
    /// Whether there was a file that was not used, or not all of it.
    pub is_refused: bool,
}

/// The file of rooms cannot be removed, so that a later start could use it again.
#[derive(Debug, Error)]
#[error(
    "state_dir: the rooms that were read cannot be marked as used: {0}; a later start would give their positions \
     again: let the server's user remove files there"
)]
pub struct Unusable(#[from] std::io::Error);

/// Rooms on their way to their homes.
struct Batches<'a> {
    homes: &'a Homes,
    deadline: Instant,
    rooms: Vec<SavedRoom>,
    bytes: usize,
    outcome: Outcome,
    is_late: bool,
}

impl State {
    /// Gives rooms back to their homes, and takes the file away that has them. The log has the result. A file that
    /// cannot be used is set aside, and rooms have new epochs.
    ///
    /// # Errors
    ///
    /// [`Unusable`] if the file cannot be taken away.
    pub fn restore(&self, homes: &Homes) -> Result<Outcome, Unusable> {
        let (begun, Bounds { bytes, time }) = (Instant::now(), self.bounds);
        let mut batches = Batches {
            homes,
            deadline: begun + time,
            rooms: Vec::new(),
            bytes: 0,
            outcome: Outcome::default(),
            is_late: false,
        };
        // The store verifies the file first; should it stumble over one nevertheless, the server starts.
        let read = catch_unwind(AssertUnwindSafe(|| {
            file::read(&self.directory, bytes, |room| batches.take(room))
        }));
        batches.flush();
        let mut outcome = batches.outcome;
        let was_used = match read {
            Ok(Ok(false)) => return Ok(outcome),
            Ok(Ok(true)) => true,
            Ok(Err(error)) => refused(&error.to_string()),
            Err(_) => refused("it is damaged"),
        };
        outcome.is_refused = !was_used || batches.is_late;
        file::retire(&self.directory, was_used)?;
        tell(&outcome, batches.is_late, begun.elapsed());
        Ok(outcome)
    }
}

impl Batches<'_> {
    /// Takes a room; returns whether there is time for more.
    fn take(&mut self, room: Option<SavedRoom>) -> bool {
        let Some(room) = room else {
            self.outcome.unreadable += 1;
            return true;
        };
        self.bytes += room.bytes();
        self.rooms.push(room);
        if self.rooms.len() >= BATCH_ROOMS || self.bytes >= BATCH_BYTES {
            self.flush();
        }
        self.is_late |= Instant::now() >= self.deadline;
        !self.is_late
    }

    fn flush(&mut self) {
        self.bytes = 0;
        let rooms = std::mem::take(&mut self.rooms);
        match self.homes.restore(rooms, self.deadline) {
            Ok(restored) => self.outcome.restored += restored,
            Err(_) => self.is_late = true,
        }
    }
}

/// Tells the operator that the file is not used; returns that.
fn refused(why: &str) -> bool {
    warn!(
        why,
        "the rooms in state_dir cannot be used: they get new epochs, and the file is kept as rooms.redb.refused"
    );
    false
}

fn tell(outcome: &Outcome, is_late: bool, took: Duration) {
    let Restored {
        rooms,
        positions,
        left_out,
    } = outcome.restored;
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(rooms, positions, ms, "rooms were restored from state_dir");
    if left_out > 0 {
        info!(
            left_out,
            "rooms in state_dir were left out: their rules keep nothing any more, or rooms_max or positions_max is \
             reached"
        );
    }
    if outcome.unreadable > 0 {
        warn!(
            unreadable = outcome.unreadable,
            "rooms in state_dir cannot be read, and get new epochs"
        );
    }
    if is_late {
        warn!("state_timeout was over before all rooms were restored: the others get new epochs");
    }
}
