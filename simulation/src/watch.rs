//! Who is told which rooms are occupied: what it hears must make sense by itself, and fit who is in the rooms.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hub::{Occupancy, RoomName};

/// Of a room that is left and entered again within it nothing is said.
const DEBOUNCE_MS: u64 = 1_500;

/// What it has heard.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Heard>);

#[derive(Debug, Default)]
struct Heard {
    occupied: BTreeSet<String>,
    /// What made no sense, the first of it.
    fault: Option<String>,
}

impl Watch {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this room is said to be occupied.
    pub fn is_occupied(&self, room: &RoomName) -> bool {
        self.heard().occupied.contains(room.as_str())
    }

    /// How many rooms are said to be occupied.
    pub fn len(&self) -> usize {
        self.heard().occupied.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A room is occupied and vacated in turns.
    ///
    /// # Errors
    ///
    /// Where it was not.
    pub fn check(&self) -> Result<(), String> {
        self.heard().fault.clone().map_or(Ok(()), Err)
    }
}

impl Heard {
    fn note(&mut self, is_new: bool, what: &str, room: &RoomName) {
        if !is_new {
            let fault = || format!("{room} is said to be {what}, and it was");
            self.fault.get_or_insert_with(fault);
        }
    }
}

impl Occupancy for Watch {
    fn occupied(&self, room: &RoomName) {
        let mut heard = self.heard();
        let is_new = heard.occupied.insert(room.as_str().to_owned());
        heard.note(is_new, "occupied", room);
    }

    fn vacated(&self, room: &RoomName) {
        let mut heard = self.heard();
        let is_new = heard.occupied.remove(room.as_str());
        heard.note(is_new, "vacated", room);
    }

    fn debounce_ms(&self) -> u64 {
        DEBOUNCE_MS
    }
}
