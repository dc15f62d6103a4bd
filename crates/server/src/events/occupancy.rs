//! What the homes of rooms tell of them: which are occupied, and which are vacated.

use hub::{Occupancy, RoomName};

use super::{
    event::{Event, EventKind, What},
    witness::room_told,
};
use crate::world::Live;

/// Homes ask it only where somebody wants to know ([`Sink::wants_occupancy`](super::Sink::wants_occupancy)).
impl Occupancy for Live {
    fn occupied(&self, room: &RoomName) {
        tell(self, EventKind::Occupied, room, What::Occupied);
    }

    fn vacated(&self, room: &RoomName) {
        tell(self, EventKind::Vacated, room, What::Vacated);
    }

    fn debounce_ms(&self) -> u64 {
        let debounce = self.events().map(|sink| sink.debounce());
        debounce.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
    }
}

fn tell(live: &Live, kind: EventKind, room: &RoomName, what: fn(Box<str>) -> What) {
    if let Some(sink) = live.events().filter(|sink| sink.wants(kind)) {
        sink.tell(Event::now(what(room_told(live, room.as_str()))));
    }
}
