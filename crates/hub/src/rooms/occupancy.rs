//! Tells of rooms that are occupied: at once when the first subscriber has come, and when the last one has been gone
//! for the debounce. So a room that empties and fills again says nothing, and however often it does, no more is
//! said of it than a pair for each debounce.

use std::{collections::VecDeque, mem, sync::Arc};

use super::Rooms;
use crate::{
    bound::bound,
    occupancy::{Occupancy, Said},
    room::{Room, RoomKey},
};

/// Most rooms of which a sweep tells that they are vacated, so that it takes a home well under a millisecond. The
/// next sweep goes on with the rest.
const VACATED_PER_SWEEP: usize = bound(4096, 2);

/// Who is told, and the rooms that may have to be told of.
pub(super) struct Watch {
    occupancy: Arc<dyn Occupancy>,
    /// Rooms that have become empty, and when, each at most once. Since then some may have been entered or left
    /// again; each is looked at when its turn comes, so that it may be told of up to one debounce late.
    emptied: VecDeque<(RoomKey, u64)>,
}

impl Rooms {
    /// The same rooms, which tell of their occupancy.
    #[must_use]
    pub fn watched_by(mut self, occupancy: Option<Arc<dyn Occupancy>>) -> Self {
        self.watch = occupancy.map(|occupancy| Watch {
            occupancy,
            emptied: VecDeque::new(),
        });
        self
    }

    /// The home is about to end, and with it all its rooms: those that are said to be occupied are vacated.
    pub fn vacate_all(&mut self) {
        let Some(watch) = &self.watch else {
            return;
        };
        for room in self.rooms.values_mut() {
            vacate(room, watch);
        }
    }

    /// Tells that a room is occupied, if it is and that was not said.
    pub(super) fn note_occupied(&mut self, key: RoomKey) {
        let Some(watch) = &self.watch else {
            return;
        };
        let room = &mut self.rooms[key];
        match room.said {
            _ if room.cores.is_empty() => {}
            Said::Vacated if room.rules.tells_occupancy => {
                room.said = Said::Occupied;
                watch.occupancy.occupied(&room.name);
            }
            Said::Empty { .. } => room.said = Said::Occupied,
            Said::Vacated | Said::Occupied => {}
        }
    }

    /// Begins the debounce of a room that is said to be occupied, if it has become empty.
    pub(super) fn note_emptied(&mut self, key: RoomKey) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let room = &mut self.rooms[key];
        if room.said == Said::Occupied && room.cores.is_empty() {
            let since_ms = self.now_ms;
            room.said = Said::Empty { since_ms };
            if !mem::replace(&mut room.awaits_vacating, true) {
                watch.emptied.push_back((key, since_ms));
            }
        }
    }

    /// Tells of rooms that have been empty for long enough.
    pub(super) fn tell_vacated(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let debounce_ms = watch.occupancy.debounce_ms();
        let now_ms = self.now_ms;
        let is_over = |since_ms: u64| now_ms.saturating_sub(since_ms) >= debounce_ms;
        for _ in 0..VACATED_PER_SWEEP {
            let key = match watch.emptied.front() {
                Some(&(key, since_ms)) if is_over(since_ms) => key,
                _ => return,
            };
            watch.emptied.pop_front();
            let Some(room) = self.rooms.get_mut(key) else {
                // It was lost meanwhile.
                continue;
            };
            match room.said {
                Said::Empty { since_ms } if !is_over(since_ms) => {
                    watch.emptied.push_back((key, since_ms));
                    continue;
                }
                Said::Empty { .. } => vacate(room, watch),
                Said::Occupied | Said::Vacated => {}
            }
            room.awaits_vacating = false;
        }
    }

    /// A room is no more.
    pub(super) fn note_removed(&self, room: &mut Room) {
        if let Some(watch) = &self.watch {
            vacate(room, watch);
        }
    }
}

fn vacate(room: &mut Room, watch: &Watch) {
    if mem::take(&mut room.said) != Said::Vacated {
        watch.occupancy.vacated(&room.name);
    }
}
