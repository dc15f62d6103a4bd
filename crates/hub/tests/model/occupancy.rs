//! What the model holds true of what is said of rooms: occupied at once, vacated when they have been empty for long
//! enough, each in its turn.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex},
};

use hub::{Occupancy, RoomName};

pub const DEBOUNCE_MS: u64 = 40;

/// What the home has said: names of rooms, and whether they are occupied.
#[derive(Default)]
pub struct Heard(Mutex<Vec<(u8, bool)>>);

impl Heard {
    fn note(&self, room: &RoomName, is_occupied: bool) {
        let number = room.as_str().bytes().last().unwrap() - b'0';
        self.0.lock().unwrap().push((number, is_occupied));
    }
}

impl Occupancy for Heard {
    fn occupied(&self, room: &RoomName) {
        self.note(room, true);
    }

    fn vacated(&self, room: &RoomName) {
        self.note(room, false);
    }

    fn debounce_ms(&self) -> u64 {
        DEBOUNCE_MS
    }
}

/// What must be said.
#[derive(Default)]
pub struct Said {
    pub heard: Arc<Heard>,
    /// Rooms that are said to be occupied, and since when they are empty, if they are.
    occupied: BTreeMap<u8, Option<u64>>,
}

impl Said {
    pub fn joined(&mut self, name: u8) {
        let expected: &[_] = match self.occupied.insert(name, None) {
            None => &[(name, true)],
            Some(_) => &[],
        };
        assert_eq!(self.take(), expected);
    }

    /// The last subscriber has left.
    pub fn emptied(&mut self, name: u8, now_ms: u64) {
        let since = self.occupied.get_mut(&name).unwrap();
        since.get_or_insert(now_ms);
    }

    pub fn lost(&mut self, name: u8) {
        let expected: &[_] = match self.occupied.remove(&name) {
            None => &[],
            Some(_) => &[(name, false)],
        };
        assert_eq!(self.take(), expected);
    }

    /// None is vacated before its time, and none much later.
    pub fn swept(&mut self, now_ms: u64) {
        for (name, is_occupied) in self.take() {
            let since = self.occupied.remove(&name).unwrap();
            let since = since.expect("nobody is in a room that is vacated");
            assert!(!is_occupied && now_ms - since >= DEBOUNCE_MS, "{name}");
        }
        let empty = self.occupied.values().flatten();
        empty.for_each(|since| assert!(now_ms - since < 2 * DEBOUNCE_MS, "never vacated"));
    }

    /// Nothing else says anything.
    pub fn is_silent(&self) {
        assert_eq!(self.take(), []);
    }

    /// In the end all are vacated.
    pub fn ended(&mut self) {
        let said: Vec<_> = mem::take(&mut self.occupied).into_keys().collect();
        let mut heard = self.take();
        heard.sort_unstable();
        let expected: Vec<_> = said.into_iter().map(|name| (name, false)).collect();
        assert_eq!(heard, expected);
    }

    fn take(&self) -> Vec<(u8, bool)> {
        mem::take(&mut self.heard.0.lock().unwrap())
    }
}
