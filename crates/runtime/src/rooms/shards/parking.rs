//! Deliveries that wait beside their room, because too much of it is offered and not visited yet.

use hub::{Delivery, RoomId};

use super::{RoomHere, Shards, UNVISITED_BYTES_MAX};

/// Whether a parked delivery is the first of its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It is the first: the room's home is to be asked to hold the room.
    First,
    /// Others wait before it.
    Another,
}

/// How much is parked on a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ParkedSum {
    /// Rooms of which deliveries are parked.
    pub(crate) rooms: usize,
    /// Bytes of these deliveries.
    pub(crate) bytes: usize,
}

impl Shards {
    /// How much is parked.
    pub(crate) fn parked(&self) -> ParkedSum {
        self.parked
    }

    /// Whether a delivery of this room must be parked: others are, or more is offered and not visited than
    /// the bound.
    pub(crate) fn must_park(&self, room: RoomId) -> bool {
        self.rooms
            .get(&room)
            .is_some_and(|here| !here.parked.is_empty() || self.exceeds_bound(here))
    }

    fn exceeds_bound(&self, here: &RoomHere) -> bool {
        here.forms.iter().any(|key| {
            let shard = &self.shards[*key];
            shard.round.is_some() && shard.log.head() - shard.visited >= UNVISITED_BYTES_MAX
        })
    }

    /// Keeps a delivery beside its room until that is below its bound again.
    pub(crate) fn park(
        &mut self,
        room: RoomId,
        delivery: Delivery,
        bytes: usize,
    ) -> Option<Parked> {
        let here = self.rooms.get_mut(&room)?;
        let parked = match here.parked.is_empty() {
            true => Parked::First,
            false => Parked::Another,
        };
        self.parked.rooms += usize::from(parked == Parked::First);
        self.parked.bytes += bytes;
        here.parked.push_back(delivery);
        self.held_bytes += bytes;
        Some(parked)
    }

    /// As [`park`](Self::park), before everything that is parked already.
    pub(crate) fn park_first(
        &mut self,
        room: RoomId,
        delivery: Delivery,
        bytes: usize,
    ) -> Option<Parked> {
        let parked = self.park(room, delivery, bytes)?;
        let here = self.rooms.get_mut(&room)?;
        here.parked.rotate_right(1);
        Some(parked)
    }

    /// Whether deliveries of this room are parked.
    pub(crate) fn has_parked(&self, room: RoomId) -> bool {
        let here = self.rooms.get(&room);
        here.is_some_and(|here| !here.parked.is_empty())
    }

    /// Whether more is offered to a room and not visited than the bound.
    pub(crate) fn has_unvisited_excess(&self, room: RoomId) -> bool {
        let here = self.rooms.get(&room);
        here.is_some_and(|here| self.exceeds_bound(here))
    }

    /// Takes the next parked delivery of a room that is below its bound. The caller offers it before it asks
    /// for another; the room's home may go on when [none is parked](Self::has_parked) then.
    pub(crate) fn unpark(
        &mut self,
        bytes_of: impl Fn(&Delivery) -> usize,
    ) -> Option<(RoomId, Delivery)> {
        while let Some(room) = self.relieved.last().copied() {
            let has_space = !self.has_unvisited_excess(room);
            let here = self.rooms.get_mut(&room).filter(|_| has_space);
            let Some(delivery) = here.and_then(|here| here.parked.pop_front()) else {
                self.relieved.pop();
                continue;
            };
            let bytes = bytes_of(&delivery);
            self.held_bytes -= bytes;
            self.parked.bytes -= bytes;
            if !self.has_parked(room) {
                self.parked.rooms -= 1;
                self.relieved.pop();
                self.forget_if_empty(room);
            }
            return Some((room, delivery));
        }
        None
    }

    /// Has [`unpark`](Self::unpark) look at this room, of which something was parked though it is below its bound.
    pub(crate) fn relieve(&mut self, room: RoomId) {
        if self.relieved.last() != Some(&room) {
            self.relieved.push(room);
        }
    }

    /// Whether rooms are to be looked at by [`unpark`](Self::unpark).
    pub(crate) fn has_relieved(&self) -> bool {
        !self.relieved.is_empty()
    }
}
