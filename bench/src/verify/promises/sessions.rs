//! What each subscriber must be given next.

use super::super::history::{Message, Position, What};
use super::log::{Entry, Placed};
use super::messages::Fate;
use super::{Checker, Promise};
use std::collections::BTreeMap;

/// As many messages a server of the protocol hands out to who comes back.
const RECOVERED_MAX: u64 = 300;

/// The least code with which the protocol ends a subscription.
const LOST_MIN: u32 = 2000;

/// A client of the checker, in its present connection.
#[derive(Debug, Default)]
pub struct Client {
    /// Its connection.
    pub session: Session,
    /// Whether it has stopped reading in this connection.
    pub has_stalled: bool,
    /// Whether it does not read now.
    pub is_stalled: bool,
}

/// A connection.
#[derive(Debug, Default)]
pub enum Session {
    /// There is none.
    #[default]
    Away,
    /// It speaks the protocol.
    Protocol(Protocol),
    /// It is in one room.
    Raw(Run),
}

/// A connection that speaks the protocol.
#[derive(Debug)]
pub struct Protocol {
    /// Its name.
    pub id: Box<str>,
    incarnation: u32,
    /// Its subscriptions.
    pub rooms: BTreeMap<u32, Subscription>,
}

/// What a raw client was given in one connection.
#[derive(Debug)]
pub struct Run {
    /// The room.
    pub room: u32,
    /// The life of the server.
    pub incarnation: u32,
    /// The messages.
    pub messages: Vec<Message>,
}

/// A subscription, as far as it has come.
#[derive(Debug)]
pub enum Subscription {
    /// It was asked for.
    Asked {
        /// The position from which to recover.
        from: Option<Position>,
        /// How far each log of the room was known to go then.
        tops: Vec<u64>,
    },
    /// It exists.
    On(Reading),
}

/// Where a subscriber is.
#[derive(Debug)]
pub struct Reading {
    /// Which log of the room.
    pub log: usize,
    /// The offset that must come next.
    pub next: u64,
    phase: Phase,
    /// The reply must lead at least here.
    least: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The messages of the reply are coming.
    Reply { recovered: bool },
    /// The first message behind the reply is to come.
    Seam { recovered: bool },
    /// Messages come as they are published.
    Live,
}

impl Phase {
    /// The promise that a gap breaks.
    fn of_gap(self) -> Promise {
        match self {
            Self::Reply { .. } | Self::Seam { recovered: true } => Promise::Recovery,
            Self::Seam { recovered: false } | Self::Live => Promise::NoGap,
        }
    }
}

impl Checker {
    pub(super) fn connected(&mut self, client: u32, id: &str) {
        let incarnation = self.incarnation;
        self.ids.insert(id.into());
        *self.client(client) = Client {
            session: Session::Protocol(Protocol {
                id: id.into(),
                incarnation,
                rooms: BTreeMap::new(),
            }),
            ..Client::default()
        };
    }

    pub(super) fn entered(&mut self, client: u32, room: u32) {
        let incarnation = self.incarnation;
        *self.client(client) = Client {
            session: Session::Raw(Run {
                room,
                incarnation,
                messages: Vec::new(),
            }),
            ..Client::default()
        };
    }

    /// The life of the server with which a client is connected.
    pub(super) fn incarnation_of(&mut self, client: u32) -> u32 {
        match &self.client(client).session {
            Session::Away => self.incarnation,
            Session::Protocol(it) => it.incarnation,
            Session::Raw(it) => it.incarnation,
        }
    }

    fn rooms_of(&mut self, client: u32) -> Option<&mut BTreeMap<u32, Subscription>> {
        match &mut self.client(client).session {
            Session::Protocol(it) => Some(&mut it.rooms),
            Session::Away | Session::Raw(_) => None,
        }
    }

    pub(super) fn asked(&mut self, client: u32, room: u32, from: Option<Position>) {
        let tops = self.room(room).logs.iter().map(|it| it.top).collect();
        if let Some(rooms) = self.rooms_of(client) {
            rooms.insert(room, Subscription::Asked { from, tops });
        }
    }

    pub(super) fn subscribed(
        &mut self,
        client: u32,
        room: u32,
        position: &Position,
        recovered: bool,
    ) {
        let asked = self.rooms_of(client).and_then(|it| it.remove(&room));
        let Some(Subscription::Asked { from, tops }) = asked else {
            return;
        };
        let told = position.offset;
        let (log, name_is_kept) = {
            let from = from.as_ref();
            let is_kept = from.is_none_or(|it| it.epoch == position.epoch);
            let incarnation = self.incarnation_of(client);
            let room = self.room(room);
            (room.epoch(&position.epoch, told, incarnation), is_kept)
        };
        let least = tops.get(log).copied().unwrap_or(0);
        self.count_subscription(from.as_ref(), position, recovered);
        let next = match (&from, recovered) {
            (Some(from), true) => {
                if !name_is_kept {
                    self.findings.add(Promise::Recovery, || {
                        format!("client {client}, room {room}: recovered into another epoch")
                    });
                }
                from.offset.saturating_add(1)
            }
            _ => {
                self.must_reach(client, room, told, least);
                let log = &mut self.room(room).logs[log];
                log.top = log.top.max(told);
                told.saturating_add(1)
            }
        };
        let phase = Phase::Reply { recovered };
        let reading = Reading {
            log,
            next,
            phase,
            least,
        };
        if let Some(rooms) = self.rooms_of(client) {
            rooms.insert(room, Subscription::On(reading));
        }
    }

    fn count_subscription(&mut self, from: Option<&Position>, to: &Position, recovered: bool) {
        let counts = &mut self.counts;
        let count = match (from, recovered) {
            (None, _) => &mut counts.subscriptions,
            (Some(_), true) => &mut counts.exact,
            (Some(from), false) if from.epoch != to.epoch => &mut counts.told_epoch,
            (Some(from), false) if to.offset.saturating_sub(from.offset) > RECOVERED_MAX => {
                &mut counts.told_cap
            }
            (Some(_), false) => &mut counts.told_past,
        };
        *count += 1;
    }

    /// A subscription begins where others already were when it was asked for, or later.
    fn must_reach(&mut self, client: u32, room: u32, reached: u64, least: u64) {
        if reached < least {
            self.findings.add(Promise::Recovery, || {
                format!(
                    "client {client}, room {room}: the reply leads to {reached}, and {least} was there before \
                     it was asked for"
                )
            });
        }
    }

    pub(super) fn caught_up(&mut self, client: u32, room: u32) {
        let Some(Subscription::On(reading)) =
            self.rooms_of(client).and_then(|it| it.get_mut(&room))
        else {
            return;
        };
        if let Phase::Reply { recovered } = reading.phase {
            reading.phase = Phase::Seam { recovered };
            let (reached, least) = (reading.next - 1, reading.least);
            if recovered {
                self.must_reach(client, room, reached, least);
            }
        }
    }

    pub(super) fn lost(&mut self, client: u32, room: u32, code: u32) {
        *self.counts.lost.entry(code).or_default() += 1;
        self.must_not_be_slow(client, code);
        if code < LOST_MIN {
            self.findings.add(Promise::NoGap, || {
                format!("client {client}, room {room}: lost with {code}, which tells nothing")
            });
        }
        if let Some(rooms) = self.rooms_of(client) {
            rooms.remove(&room);
        }
    }

    pub(super) fn delivered(&mut self, client: u32, what: &What) {
        let What::Delivered {
            room,
            message,
            digest,
            offset,
            epoch,
            recovered,
        } = what
        else {
            return;
        };
        self.must_be_sent(client, *room, *message, *digest);
        if !recovered {
            self.note_wait(client, *message);
        }
        if let Session::Raw(run) = &mut self.client(client).session {
            run.messages.push(*message);
            self.counts.raw_deliveries += 1;
            return;
        }
        let count = match recovered {
            true => &mut self.counts.recovered,
            false => &mut self.counts.deliveries,
        };
        *count += 1;
        let offset = offset.unwrap_or(0);
        let Some(log) = self.follow(client, *room, offset, *recovered) else {
            return;
        };
        let name = self.room(*room).logs[log].name();
        if epoch.as_ref().is_some_and(|it| **it != *name) {
            self.findings.add(Promise::Order, || {
                format!("client {client}, room {room}: {offset} came with another epoch")
            });
        }
        let entry = Entry {
            message: *message,
            digest: *digest,
            incarnation: self.incarnation_of(client),
        };
        self.place(*room, log, offset, entry);
    }

    /// A message must have been sent in its room, with these bytes.
    fn must_be_sent(&mut self, client: u32, room: u32, message: Message, digest: u64) {
        let wrong = match self.messages.get(message) {
            None => "which nobody has sent",
            Some(sent) if sent.room != room => "which was sent to another room",
            Some(sent) if sent.digest != digest => "with other bytes than were sent",
            Some(_) => return,
        };
        self.findings.add(Promise::Order, || {
            format!("client {client}, room {room}: was given {message:?}, {wrong}")
        });
    }

    fn note_wait(&mut self, client: u32, message: Message) {
        let Some(sent) = self.messages.get(message) else {
            return;
        };
        let waited_us = self.at_us.saturating_sub(sent.at_us);
        if !self.client(client).has_stalled {
            let beside_stalled = self.stalled > 0;
            self.counts.waits.delivery(waited_us, beside_stalled);
            self.must_not_wait(client, waited_us, "a message");
        }
    }

    /// Moves a subscriber on by a message; returns in which log that lies.
    fn follow(&mut self, client: u32, room: u32, offset: u64, recovered: bool) -> Option<usize> {
        let subscription = self.rooms_of(client).and_then(|it| it.get_mut(&room));
        let Some(Subscription::On(reading)) = subscription else {
            self.findings.add(Promise::NoGap, || {
                format!("client {client}, room {room}: was given {offset} without a subscription")
            });
            return None;
        };
        let (expected, phase, log) = (reading.next, reading.phase, reading.log);
        reading.next = expected.max(offset.saturating_add(1));
        if let Phase::Seam { .. } = phase {
            reading.phase = Phase::Live;
        }
        if recovered && phase == (Phase::Reply { recovered: false }) {
            self.findings.add(Promise::Recovery, || {
                format!(
                    "client {client}, room {room}: was told that {offset} is lost, and given it"
                )
            });
        } else if offset != expected {
            self.findings.add(phase.of_gap(), || {
                format!("client {client}, room {room}: was given {offset} in place of {expected}")
            });
        }
        Some(log)
    }

    fn place(&mut self, room: u32, log: usize, offset: u64, entry: Entry) {
        let placed = self.room(room).logs[log].place(offset, entry);
        match placed {
            Placed::Known => {}
            Placed::New => self.take_place(log, offset, entry.message),
            Placed::Conflict(known) => {
                let promise = match known.incarnation == entry.incarnation {
                    true => Promise::Order,
                    false => Promise::Epochs,
                };
                self.findings.add(promise, || {
                    let name = self.rooms[room as usize].logs[log].name();
                    format!(
                        "room {room}, epoch {name}, offset {offset}: {:?} ({:016x}) and {:?} ({:016x})",
                        known.message, known.digest, entry.message, entry.digest
                    )
                });
            }
            Placed::Absurd => self.findings.add(Promise::NoGap, || {
                format!("room {room}: {offset} is far beyond all other offsets")
            }),
        }
    }

    /// A message is seen at a place for the first time.
    fn take_place(&mut self, log: usize, offset: u64, message: Message) {
        let Some(sent) = self.messages.get_mut(message) else {
            return;
        };
        let before = sent.place.replace((log, offset));
        let is_refused = sent.fate == Fate::Refused;
        if let Some(before) = before {
            self.findings.add(Promise::Kept, || {
                format!("{message:?} lies at {before:?} and at {:?}", (log, offset))
            });
        }
        if is_refused {
            self.findings.add(Promise::Kept, || {
                format!("{message:?} was refused, and lies at {offset}")
            });
        }
    }

    /// Keeps what a raw client was given until the logs are known.
    pub(super) fn keep_run(&mut self, session: Session) {
        if let Session::Raw(run) = session {
            self.room(run.room).runs.push(run);
        }
    }
}
