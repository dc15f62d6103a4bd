//! The table of one-shot rooms: which there are, who sits in each, and whether its message was there.
//!
//! Pure: time, names and digests are arguments. A room that is over is as good as gone, whether it was forgotten
//! yet or not.
//!
//! *Bounded:* as many rooms as the caller says. A call forgets at most [`FORGOTTEN_AT_ONCE`] of those that are
//! over, and so always makes room for one.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::{Duration, Instant},
};

use hub::{ConnectionId, RoomName};
use strum::{EnumCount as _, VariantArray as _};

use crate::secret::Digest;

/// Most rooms that one call forgets.
const FORGOTTEN_AT_ONCE: usize = 64;

/// All one-shot rooms.
#[derive(Default)]
pub struct Table {
    rooms: HashMap<RoomName, Room>,
    /// When each of them is over, the next one first.
    ends: BinaryHeap<Reverse<(Instant, RoomName)>>,
    /// The number of the latest seat.
    seats: u64,
    counts: Counts,
}

struct Room {
    secret: Digest,
    over: Instant,
    /// Who has come with the secret last, and its seat.
    page: Option<(ConnectionId, u64)>,
    message: Message,
}

/// What has become of a room's one message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Awaited,
    /// It is on its way to the room's home.
    UnderWay,
    Published,
}

/// A room that is to be made.
pub struct Newcomer {
    pub name: RoomName,
    pub secret: Digest,
    pub over: Instant,
}

/// A place in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number, which no other seat has; `None` for who comes to publish, whom nobody replaces.
    pub number: Option<u64>,
    /// When the room is over.
    pub over: Instant,
}

/// There are as many rooms as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The time until the next of them is over.
    pub for_now: Duration,
}

/// Why somebody does not come in, as the log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEntry {
    /// There is no such room, or its life is over, or neither its secret was shown nor a token that publishes.
    #[error(
        "no such room, or it is over, or neither its secret nor a subscription token with \"publish\": true"
    )]
    Closed,
    /// Who sits there cannot be told to go at the moment.
    #[error("whoever sits there cannot be told to go at the moment (commands_max)")]
    Busy,
}

/// Why a message is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPublication {
    /// Another one is the room's message.
    Taken,
    /// There is no such room, or its life is over.
    Over,
}

/// What of a one-shot room was refused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray, strum::EnumCount, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum RefusedFor {
    /// To make one: the namespace does not exist or has none.
    Namespace,
    /// To make one: the address asks too often.
    Rate,
    /// To make one: there are as many as there may be.
    Full,
    /// To subscribe, or to come as a publisher.
    Entry,
    /// To publish.
    Message,
}

/// What there is, and what has become of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rooms now.
    pub rooms: usize,
    /// Rooms that were made.
    pub created: u64,
    /// Rooms whose message was published.
    pub answered: u64,
    /// Rooms that were over before that.
    pub unanswered: u64,
    refused: [u64; RefusedFor::COUNT],
}

impl Counts {
    /// What was refused, and how often.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = RefusedFor::VARIANTS.iter();
        all.map(|what| ((*what).into(), self.refused[*what as usize]))
    }
}

impl Table {
    pub fn create(
        &mut self,
        newcomer: Newcomer,
        rooms_max: usize,
        now: Instant,
    ) -> Result<(), Full> {
        self.forget_over(now);
        if self.rooms.len() >= rooms_max {
            self.refused(RefusedFor::Full);
            let next = self.ends.peek();
            let for_now = next.map(|Reverse((over, _))| over.saturating_duration_since(now));
            return Err(Full {
                for_now: for_now.unwrap_or_default(),
            });
        }
        let Newcomer { name, secret, over } = newcomer;
        let room = Room {
            secret,
            over,
            page: None,
            message: Message::Awaited,
        };
        self.ends.push(Reverse((over, name.clone())));
        self.rooms.insert(name, room);
        self.counts.created += 1;
        Ok(())
    }

    /// Whether this secret opens the room.
    pub fn check(&mut self, name: &RoomName, secret: &Digest, now: Instant) -> Result<(), NoEntry> {
        let opened = match opened(&mut self.rooms, name, secret, now) {
            Some(_) => Ok(()),
            None => Err(NoEntry::Closed),
        };
        self.note(opened, RefusedFor::Entry)
    }

    /// Lets `who` in, if the secret is the room's. `tell` tells who had come before that its seat is taken, and
    /// says whether that was possible.
    pub fn enter_as_page(
        &mut self,
        name: &RoomName,
        secret: &Digest,
        who: ConnectionId,
        now: Instant,
        tell: impl FnOnce(ConnectionId, u64) -> bool,
    ) -> Result<Seat, NoEntry> {
        let entered = match opened(&mut self.rooms, name, secret, now) {
            None => Err(NoEntry::Closed),
            Some(room) => match room.page {
                Some((before, seat)) if !tell(before, seat) => Err(NoEntry::Busy),
                _ => {
                    self.seats += 1;
                    let number = self.seats;
                    room.page = Some((who, number));
                    let over = room.over;
                    Ok(Seat {
                        number: Some(number),
                        over,
                    })
                }
            },
        };
        self.note(entered, RefusedFor::Entry)
    }

    pub fn enter_as_publisher(&mut self, name: &RoomName, now: Instant) -> Result<Seat, NoEntry> {
        let room = alive(&mut self.rooms, name, now);
        let seat = room.map(|room| Seat {
            number: None,
            over: room.over,
        });
        self.note(seat.ok_or(NoEntry::Closed), RefusedFor::Entry)
    }

    pub fn take(&mut self, name: &RoomName, now: Instant) -> Result<(), NoPublication> {
        let taken = match alive(&mut self.rooms, name, now) {
            None => Err(NoPublication::Over),
            Some(room) if room.message != Message::Awaited => Err(NoPublication::Taken),
            Some(room) => {
                room.message = Message::UnderWay;
                Ok(())
            }
        };
        self.note(taken, RefusedFor::Message)
    }

    pub fn answered(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get_mut(name) {
            room.message = Message::Published;
            self.counts.answered += 1;
        }
    }

    pub fn give_back(&mut self, name: &RoomName) {
        if let Some(room) = self.rooms.get_mut(name)
            && room.message == Message::UnderWay
        {
            room.message = Message::Awaited;
        }
    }

    pub fn refused(&mut self, what: RefusedFor) {
        self.counts.refused[what as usize] += 1;
    }

    pub fn has(&self, name: &str) -> bool {
        self.rooms.contains_key(name)
    }

    pub fn counts(&self) -> Counts {
        Counts {
            rooms: self.rooms.len(),
            ..self.counts
        }
    }

    pub fn forget_over(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let is_over = |Reverse((over, _)): &&Reverse<(Instant, RoomName)>| *over <= now;
            if self.ends.peek().filter(is_over).is_none() {
                return;
            }
            let forgotten = self.ends.pop();
            let room = forgotten.and_then(|Reverse((_, name))| self.rooms.remove(&name));
            match room.map(|room| room.message) {
                Some(Message::Awaited) => self.counts.unanswered += 1,
                // Its publisher has gone before the room's home had told it of the message.
                Some(Message::UnderWay) => self.counts.answered += 1,
                Some(Message::Published) | None => {}
            }
        }
    }

    fn note<T, E>(&mut self, result: Result<T, E>, what: RefusedFor) -> Result<T, E> {
        if result.is_err() {
            self.refused(what);
        }
        result
    }
}

/// The room of this name, if its life is not over.
fn alive<'t>(
    rooms: &'t mut HashMap<RoomName, Room>,
    name: &RoomName,
    now: Instant,
) -> Option<&'t mut Room> {
    rooms.get_mut(name).filter(|room| now < room.over)
}

/// The room of this name, if this secret opens it. It takes as long whether there is such a room or not.
fn opened<'t>(
    rooms: &'t mut HashMap<RoomName, Room>,
    name: &RoomName,
    secret: &Digest,
    now: Instant,
) -> Option<&'t mut Room> {
    let room = alive(rooms, name, now);
    let known = room.as_ref().map_or(Digest::OF_NOTHING, |it| it.secret);
    let fits = known.is(secret);
    room.filter(|_| fits)
}
