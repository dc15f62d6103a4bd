//! The rooms of one session: which it has asked for and is in, and on which terms; and who is told of that.

use std::{sync::Arc, time::Instant};

use access::Granted;
use hub::{Details, RoomName};
use runtime::{Explained, Ticket};

use super::term::Term;
use crate::{
    events::{Why, Witness},
    moderation::Pass,
    oneshot::Seat,
};

/// One room of a session.
pub struct Subscription {
    /// The room.
    pub name: RoomName,
    /// The ticket of its join.
    pub ticket: Ticket,
    /// What the subscriber has of it.
    pub granted: Granted,
    /// Who has asked for it.
    pub origin: Origin,
    /// Whether the join was answered.
    pub is_joined: bool,
    /// Whether the back end is told of it.
    pub telling: Telling,
    /// When it ends, and who may let it go on.
    pub term: Term,
    /// The token of its own that it has shown last.
    pub pass: Pass,
    /// Whether its token lets it publish, whatever the namespace says.
    pub publishes: bool,
    /// Whether it loses the oldest messages when it is too slow, and not the room.
    pub skips: bool,
    /// What its messages say of their publisher, where that differs from the rest of the session.
    pub details: Option<Arc<Details>>,
    /// The place in a one-shot room.
    pub seat: Option<Box<Seat>>,
}

/// Whether the back end is told of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It is not.
    Never,
    /// It is to be told.
    Yet,
    /// It was told, and is to be told of the end.
    Told,
}

/// Who has asked for a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The client, with a subscribe command.
    Subscribe,
    /// The client, in its connect command.
    Connect,
    /// Its token, or the rule of personal rooms.
    Grant,
    /// A back end, while it was connected.
    Order,
}

impl Subscription {
    /// Whether the client has not asked for it by a command of its own, and so cannot ask for it again without a new
    /// connection.
    pub fn is_server_side(&self) -> bool {
        self.origin != Origin::Subscribe
    }

    fn tell(&mut self, witness: &Witness) {
        if self.is_joined && self.telling == Telling::Yet {
            self.telling = Telling::Told;
            witness.subscribed(self.name.as_str());
        }
    }

    fn tell_left(&mut self, witness: &Witness, why: Why) {
        if self.telling == Telling::Told {
            self.telling = Telling::Never;
            witness.unsubscribed(self.name.as_str(), why);
        }
    }
}

/// Up to so many rooms, the list has no place to spare.
const FEW: usize = 4;

/// All rooms of a session.
#[derive(Default)]
pub struct Subscriptions {
    rooms: Vec<Subscription>,
    /// Tells what happens, if anybody wants to know it.
    witness: Option<Box<Seen>>,
}

/// What is told of a session.
struct Seen {
    by: Witness,
    /// Whether it was told that the session is connected. Nothing is told before.
    is_connected: bool,
}

impl Subscriptions {
    /// What happens is told from now on, as soon as the session is connected.
    pub fn witnessed_by(&mut self, witness: Option<Witness>) {
        self.witness = witness.map(|by| {
            Box::new(Seen {
                by,
                is_connected: false,
            })
        });
    }

    /// Tells that the session is connected, and in which rooms it is.
    pub fn tell_connected(&mut self) {
        let Some(seen) = &mut self.witness else {
            return;
        };
        seen.is_connected = true;
        seen.by.connected();
        self.rooms.iter_mut().for_each(|it| it.tell(&seen.by));
    }

    /// Tells that the session is in the room of this ticket, if that is so and was not told.
    pub fn tell_joined(&mut self, ticket: Ticket) {
        let room = self.rooms.iter_mut().find(|it| it.ticket == ticket);
        let seen = self.witness.as_ref().filter(|seen| seen.is_connected);
        if let Some((room, seen)) = room.zip(seen) {
            room.tell(&seen.by);
        }
    }

    /// Tells that the session is over.
    pub fn tell_over(&mut self, reason: Explained) {
        let Some(seen) = self.witness.take().filter(|seen| seen.is_connected) else {
            return;
        };
        for room in &mut self.rooms {
            room.tell_left(&seen.by, Why::DISCONNECTED);
        }
        seen.by.disconnected(reason);
    }

    /// The room of this name, if the session has asked for it.
    pub fn named(&self, name: &str) -> Option<&Subscription> {
        self.rooms.iter().find(|it| it.name.as_str() == name)
    }

    /// The same, to change it.
    pub fn named_mut(&mut self, name: &str) -> Option<&mut Subscription> {
        self.rooms.iter_mut().find(|it| it.name.as_str() == name)
    }

    /// The room of this ticket.
    pub fn of(&self, ticket: Ticket) -> Option<&Subscription> {
        self.rooms.iter().find(|it| it.ticket == ticket)
    }

    /// The room of this ticket, to change it.
    pub fn of_mut(&mut self, ticket: Ticket) -> Option<&mut Subscription> {
        self.rooms.iter_mut().find(|it| it.ticket == ticket)
    }

    /// Whether the session is in the room of this name.
    pub fn has_joined(&self, name: &str) -> bool {
        self.named(name).is_some_and(|it| it.is_joined)
    }

    /// Whether the session has asked for the room of this name, and has no answer yet.
    pub fn is_joining(&self, name: &str) -> bool {
        self.named(name).is_some_and(|it| !it.is_joined)
    }

    /// The names of the rooms that the session was granted.
    pub fn granted(&self) -> impl Iterator<Item = &str> {
        let rooms = self.rooms.iter().filter(|it| it.origin == Origin::Grant);
        rooms.map(|it| it.name.as_str())
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// The one-shot room with this seat.
    pub fn seated(&self, number: u64) -> Option<&Subscription> {
        let has = |it: &Seat| it.number == Some(number);
        self.rooms
            .iter()
            .find(|it| it.seat.as_deref().is_some_and(has))
    }

    /// A one-shot room whose life is over by `now`.
    pub fn over(&self, now: Instant) -> Option<&Subscription> {
        let is_over = |it: &Seat| it.over <= now;
        self.rooms
            .iter()
            .find(|it| it.seat.as_deref().is_some_and(is_over))
    }

    /// When the next of the one-shot rooms is over.
    pub fn next_over(&self) -> Option<Instant> {
        let seats = self.rooms.iter().filter_map(|it| it.seat.as_deref());
        seats.map(|seat| seat.over).min()
    }

    /// Adds a room. Most sessions have one or two, so that the place for a few more would be most of what an idle
    /// session holds.
    pub fn add(&mut self, subscription: Subscription) {
        if self.rooms.len() < FEW {
            self.rooms.reserve_exact(1);
        }
        self.rooms.push(subscription);
    }

    /// Removes all rooms of a session that was never connected; yields their tickets.
    pub fn drain(&mut self) -> impl Iterator<Item = Ticket> {
        self.rooms.drain(..).map(|it| it.ticket)
    }

    /// Removes the room of this ticket, because of this.
    pub fn remove(&mut self, ticket: Ticket, why: Why) -> Option<Subscription> {
        let at = self.rooms.iter().position(|it| it.ticket == ticket)?;
        let mut room = self.rooms.swap_remove(at);
        if let Some(seen) = &self.witness {
            room.tell_left(&seen.by, why);
        }
        Some(room)
    }

    /// The rooms whose names fit: their tickets, and whether each [is of the server's
    /// side](Subscription::is_server_side).
    pub fn those(&self, fits: impl Fn(&str) -> bool) -> Vec<(Ticket, bool)> {
        let those = self.rooms.iter().filter(|it| fits(it.name.as_str()));
        those.map(|it| (it.ticket, it.is_server_side())).collect()
    }

    /// One that was opened by a token of which this is so.
    pub fn with_pass(&self, fits: impl Fn(Pass) -> bool) -> Option<&Subscription> {
        self.rooms.iter().find(|it| fits(it.pass))
    }

    /// When the next of them ends, or is asked about, in seconds since 1970.
    pub fn next_term(&self) -> Option<i64> {
        self.rooms.iter().filter_map(|it| it.term.next()).min()
    }

    /// One that is over by `now_s`.
    pub fn expired(&self, now_s: i64) -> Option<&Subscription> {
        self.rooms.iter().find(|it| it.term.is_over(now_s))
    }

    /// One about which a back end is to be asked by `now_s`.
    pub fn to_be_asked(&self, now_s: i64) -> Option<Ticket> {
        let to_be_asked = self.rooms.iter().find(|it| it.term.is_to_be_asked(now_s));
        to_be_asked.map(|it| it.ticket)
    }
}
