//! The checker: reads a history event by event, and says which promises of the server it breaks.
//!
//! ```text
//!                  ┌─▶ messages   what was sent, acknowledged, refused, and where it lies
//!  event ─▶ see ───┼─▶ log        each room's (epoch, offset) ─▶ message
//!                  ├─▶ sessions   what each subscriber must be given next
//!                  └─▶ presence   who must be in a room
//!  finish ─────────▶ what only the whole history shows
//! ```
//!
//! *Linear:* each event costs a few look-ups, and the end walks once over what was published.

mod counts;
mod ending;
mod findings;
mod log;
mod messages;
mod presence;
mod sessions;
#[cfg(test)]
mod tests;

pub use counts::Counts;
pub use findings::{Findings, Promise};

use super::history::{By, Event, What};
use log::Room;
use messages::{Messages, Sent};
use sessions::Client;
use std::collections::HashSet;

/// A client that reads may wait at most this long for a message or an acknowledgement, in microseconds.
const PATIENCE_US: u64 = 10_000_000;

/// Verifies a history.
#[derive(Debug, Default)]
pub struct Checker {
    /// Counts events, and is the time of what comes before what.
    now: u64,
    at_us: u64,
    /// How often the server was started before the present time.
    incarnation: u32,
    rooms: Vec<Room>,
    messages: Messages,
    clients: Vec<Client>,
    /// Clients that do not read at present.
    stalled: usize,
    /// The names of all clients that ever were.
    ids: HashSet<Box<str>>,
    is_quiet: bool,
    /// What is wrong.
    pub findings: Findings,
    /// What there was.
    pub counts: Counts,
}

impl Checker {
    /// Verifies a whole history.
    #[must_use]
    pub fn of(history: &[Event]) -> Self {
        let mut checker = Self::default();
        history.iter().for_each(|event| checker.see(event));
        checker.finish();
        checker
    }

    /// Takes the next event in.
    pub fn see(&mut self, event: &Event) {
        self.now += 1;
        self.at_us = event.at_us;
        let client = event.client;
        match &event.what {
            What::Connected { id } => self.connected(client, id),
            What::Entered { room } => self.entered(client, *room),
            What::Asked { room, from } => self.asked(client, *room, from.clone()),
            What::Subscribed {
                room,
                position,
                recovered,
            } => self.subscribed(client, *room, position, *recovered),
            What::CaughtUp { room } => self.caught_up(client, *room),
            What::Lost { room, code } => self.lost(client, *room, *code),
            What::Sent {
                room,
                message,
                digest,
            } => self.sent(client, *room, *message, *digest),
            What::Acknowledged { message } => self.acknowledged(client, *message),
            What::Refused { message, .. } => self.refused(*message),
            What::Delivered { .. } => self.delivered(client, &event.what),
            What::Stalled => self.stalls(client),
            What::Resumed => self.resumes(client),
            What::Ended { by } => self.ended(client, *by),
            What::Killed => self.counts.kills += 1,
            What::Restarted => self.incarnation += 1,
            What::Quiet => self.is_quiet = true,
            What::Present { room, ids } => self.present(*room, ids),
        }
    }

    /// How far the present log of a room is known to go.
    #[must_use]
    pub fn top(&self, room: u32) -> u64 {
        let log = self.rooms.get(room as usize).and_then(|it| it.logs.last());
        log.map_or(0, |it| it.top)
    }

    /// The room of this number. Rooms are numbered from 0, by the checker itself.
    fn room(&mut self, room: u32) -> &mut Room {
        let room = room as usize;
        if self.rooms.len() <= room {
            self.rooms.resize_with(room + 1, Room::default);
        }
        &mut self.rooms[room]
    }

    fn client(&mut self, client: u32) -> &mut Client {
        let client = client as usize;
        if self.clients.len() <= client {
            self.clients.resize_with(client + 1, Client::default);
        }
        &mut self.clients[client]
    }

    fn sent(&mut self, client: u32, room: u32, message: super::history::Message, digest: u64) {
        let sent = Sent::new(
            room,
            digest,
            self.now,
            self.at_us,
            self.incarnation_of(client),
        );
        self.counts.publications += 1;
        self.messages.add(message, sent);
    }

    fn acknowledged(&mut self, client: u32, message: super::history::Message) {
        let (now, at_us) = (self.now, self.at_us);
        let Some(sent) = self.messages.get_mut(message) else {
            return;
        };
        sent.acknowledge(now);
        let waited_us = at_us - sent.at_us;
        self.counts.acknowledged += 1;
        self.counts.waits.acknowledgement(waited_us);
        self.must_not_wait(client, waited_us, "an acknowledgement");
    }

    fn refused(&mut self, message: super::history::Message) {
        let is_placed = self.messages.get_mut(message).is_some_and(|sent| {
            sent.refuse();
            sent.place.is_some()
        });
        self.counts.refused += 1;
        if is_placed {
            self.findings.add(Promise::Kept, || {
                format!("{message:?} was refused, and is in the log")
            });
        }
    }

    /// Somebody who reads has waited so long.
    fn must_not_wait(&mut self, client: u32, waited_us: u64, what: &str) {
        if waited_us > PATIENCE_US && !self.client(client).has_stalled {
            let seconds = waited_us / 1_000_000;
            self.findings.add(Promise::Slow, || {
                format!("client {client} reads, and waited {seconds} s for {what}")
            });
        }
    }

    fn stalls(&mut self, client: u32) {
        let client = self.client(client);
        client.has_stalled = true;
        client.is_stalled = true;
        self.stalled += 1;
        self.counts.stalls += 1;
    }

    fn resumes(&mut self, client: u32) {
        let client = self.client(client);
        if std::mem::take(&mut client.is_stalled) {
            self.stalled -= 1;
        }
    }

    fn ended(&mut self, client: u32, by: By) {
        self.resumes(client);
        match by {
            By::Cut => self.counts.cuts += 1,
            By::Server(code) => {
                *self.counts.ended.entry(code).or_default() += 1;
                self.must_not_be_slow(client, code.into());
            }
        }
        let ended = std::mem::take(self.client(client));
        self.keep_run(ended.session);
    }

    /// The server says that a client is too slow, which must be one that has stopped reading.
    fn must_not_be_slow(&mut self, client: u32, code: u32) {
        /// The codes for slow clients: of a subscription, of a connection, and of a raw connection.
        const SLOW: [u32; 4] = [2500, 3008, 3010, 1013];
        if SLOW.contains(&code) && !self.client(client).has_stalled {
            self.findings.add(Promise::Slow, || {
                format!("client {client} reads, and was told {code} as if it did not")
            });
        }
    }
}
