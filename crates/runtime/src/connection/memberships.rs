//! What one connection has to do with rooms: those it is in, and what it has asked for and awaits.
//!
//! *Bounded:* the rooms by `rooms_per_connection_max`, publications by `publish_window_bytes` and the
//! largest message beyond it: with a full window, or with a request that its home has no space for, the
//! connection is not read.

use std::{collections::VecDeque, sync::Arc};

use hub::{ConnectionId, CoreId, Request, RoomId, RoomName};

use super::{Outgoing, RoomSide};
use crate::{
    encoding::BodyForm,
    out::Remainder,
    rooms::{Membership, Requests, Shards, Subscription, Subscriptions, Ticket, publication_bytes},
};

/// One connection's side of the rooms.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    pub(crate) subscriptions: Subscriptions,
    /// Bytes of its publications that no home has ordered yet.
    pub(crate) window_bytes: u32,
    /// How many of its joins and publications are not answered yet.
    pub(crate) unanswered: u32,
    /// Whether its session is handed no message before all of them are.
    pub(crate) waits_for_answers: bool,
    /// Whether nobody but the peer is owed what the session waits for.
    pub(crate) ends_if_reset: bool,
    /// The serial number of the latest ticket, of a room or of a publication.
    serial: u32,
    extras: Option<Box<Extras>>,
}

/// State that few connections have.
#[derive(Debug, Default)]
struct Extras {
    /// Requests that did not fit into their homes' batches, in order.
    deferred: VecDeque<Request>,
    /// Whether the connection has a turn when the home of the first of them has space, which it has asked
    /// for once.
    awaits_home: bool,
    /// Rooms whose homes have not answered yet.
    asked: Vec<Asked>,
    user: Option<Arc<str>>,
}

/// A room whose home has not answered yet.
#[derive(Debug)]
struct Asked {
    ticket: Ticket,
    name: RoomName,
    /// In which form the connection wants its messages.
    body: BodyForm,
}

impl Memberships {
    /// The ticket of a room whose home is asked now; `None` if there would be more rooms than `max`.
    pub(crate) fn room(&mut self, max: usize) -> Option<Ticket> {
        let serial = self.next_serial();
        self.subscriptions.ask(serial, max)
    }

    /// The room of this name is asked for with this ticket, for its messages in this form.
    pub(crate) fn note_asked(&mut self, ticket: Ticket, name: RoomName, body: BodyForm) {
        self.extras().asked.push(Asked { ticket, name, body });
    }

    /// The home of a room has answered. Returns the form in which its messages were asked for; `None` of
    /// the room that the connection opens in.
    pub(crate) fn forget_asked(&mut self, room: Ticket) -> Option<BodyForm> {
        let extras = self.extras.as_mut()?;
        let at = extras.asked.iter().position(|it| it.ticket == room)?;
        let Asked { body, .. } = extras.asked.swap_remove(at);
        self.tidy();
        Some(body)
    }

    /// The next question's ticket.
    pub(crate) fn question(&mut self) -> Ticket {
        Ticket::new(self.next_serial(), 0)
    }

    /// The next publication's ticket; it takes so many bytes of the window.
    pub(crate) fn publication(&mut self, bytes: usize) -> Ticket {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        Ticket::new(self.next_serial(), 0)
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Whether so much is published and not ordered yet that the connection is not read.
    pub(crate) fn is_window_full(&self, bytes_max: usize) -> bool {
        self.window_bytes as usize >= bytes_max
    }

    /// A join or a publication is answered, which gives so many bytes of the window back.
    pub(crate) fn replied(&mut self, bytes: u32) {
        self.window_bytes = self.window_bytes.saturating_sub(bytes);
        self.unanswered = self.unanswered.saturating_sub(1);
        self.waits_for_answers &= self.unanswered > 0;
    }

    /// Hands a request to its home, or defers it if there is no space for it, or others are deferred.
    pub(crate) fn ask(&mut self, request: Request, requests: &mut Requests) {
        let has_deferred = self.has_deferred();
        if !has_deferred && !requests.is_full(requests.home_of(&request)) {
            return requests.push(request);
        }
        self.extras().deferred.push_back(request);
    }

    /// Whether requests are deferred.
    pub(crate) fn has_deferred(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| !extras.deferred.is_empty())
    }

    /// Hands over deferred requests in order; returns the first home that has no space for the next.
    pub(crate) fn hand_over(&mut self, requests: &mut Requests) -> Option<CoreId> {
        let extras = self.extras.as_mut()?;
        while let Some(request) = extras.deferred.front() {
            let home = requests.home_of(request);
            if requests.is_full(home) {
                return Some(home);
            }
            if let Some(request) = extras.deferred.pop_front() {
                requests.push(request);
            }
        }
        self.tidy();
        None
    }

    /// Whether the connection has yet to ask for a turn when the home of the first deferred request has space. To
    /// be called once for each such turn: from now on it has asked.
    pub(crate) fn begins_to_await_home(&mut self) -> bool {
        !std::mem::replace(&mut self.extras().awaits_home, true)
    }

    /// The home has space, and the connection has the turn that it asked for.
    pub(crate) fn home_has_space(&mut self) {
        if let Some(extras) = &mut self.extras {
            extras.awaits_home = false;
        }
    }

    /// Takes the publications that are still deferred when the connection ends.
    pub(crate) fn take_owed(&mut self) -> impl Iterator<Item = Request> {
        let extras = self.extras.as_mut();
        let deferred = extras.map(|extras| std::mem::take(&mut extras.deferred));
        let deferred = deferred.into_iter().flatten();
        deferred.filter(|request| matches!(request, Request::Publish { .. }))
    }

    /// Gives the box back if nothing is in it.
    fn tidy(&mut self) {
        let is_empty = |extras: &Extras| {
            extras.deferred.is_empty() && extras.asked.is_empty() && extras.user.is_none()
        };
        if self.extras.as_deref().is_some_and(is_empty) {
            self.extras = None;
        }
    }

    /// Bytes of memory that are held for requests that their homes have no space for.
    pub(crate) fn held_bytes(&self) -> usize {
        let deferred = self.extras.iter().flat_map(|extras| &extras.deferred);
        deferred
            .map(|request| match request {
                Request::Publish { record, .. } => publication_bytes(record.sent_bytes()),
                _ => publication_bytes(0),
            })
            .sum()
    }

    /// Whose connection this is, if that was said.
    pub(crate) fn user(&self) -> Option<&Arc<str>> {
        self.extras.as_ref()?.user.as_ref()
    }

    /// This is whose connection it is.
    pub(crate) fn set_user(&mut self, user: Arc<str>) {
        self.extras().user = Some(user);
    }

    /// Leaves a room; the `remainder` of its messages is still sent. A room that was only asked for is
    /// left when its home answers.
    pub(crate) fn leave(
        &mut self,
        room: Ticket,
        remainder: Remainder,
        out: &mut Outgoing,
        rooms: &mut RoomSide,
        subscriber: ConnectionId,
    ) {
        match self.subscriptions.get(room) {
            Some(Membership::In(subscription)) => {
                out.queue.detach(subscription, &rooms.shards, remainder);
                self.subscriptions.remove(room);
                let room = rooms.shards.unsubscribe(subscription);
                rooms.requests.push(Request::Leave { room, subscriber });
            }
            Some(Membership::Asked) => self.subscriptions.set(room, Membership::GivenUp),
            Some(Membership::GivenUp) | None => {}
        }
    }

    /// Leaves all rooms, of which nothing is sent any more. Joins that are not answered yet are undone when
    /// the answer arrives and finds no connection.
    pub(crate) fn leave_all(&mut self, rooms: &mut RoomSide, subscriber: ConnectionId) {
        for membership in self.subscriptions.take() {
            if let Membership::In(subscription) = membership {
                let room = rooms.shards.unsubscribe(subscription);
                rooms.requests.push(Request::Leave { room, subscriber });
            }
        }
    }

    /// Whether its rooms have something that was not sent to it.
    pub(crate) fn is_owed(&self, shards: &Shards) -> bool {
        !self.joined(|room| shards.owed_bytes(room) > 0).is_empty()
    }

    /// The tickets under which the connection is in this room.
    pub(crate) fn in_room(&self, room: RoomId, rooms: &RoomSide) -> Vec<Ticket> {
        self.joined(|subscription| rooms.shards.room(subscription) == room)
    }

    /// The tickets under which the connection is in the room of this name, or has asked for it.
    pub(crate) fn in_room_named(&self, name: &RoomName, rooms: &RoomSide) -> Vec<Ticket> {
        let joined = self.joined(|subscription| {
            let room = rooms.shards.room(subscription);
            rooms.shards.name(room) == Some(name)
        });
        let asked = self.extras.iter().flat_map(|extras| &extras.asked);
        let asked = asked.filter(|asked| asked.name == *name);
        joined
            .into_iter()
            .chain(asked.map(|asked| asked.ticket))
            .collect()
    }

    fn joined(&self, is_meant: impl Fn(Subscription) -> bool) -> Vec<Ticket> {
        let tickets = self.subscriptions.tickets();
        tickets
            .filter(|ticket| match self.subscriptions.get(*ticket) {
                Some(Membership::In(subscription)) => is_meant(subscription),
                Some(Membership::Asked | Membership::GivenUp) | None => false,
            })
            .collect()
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests;
