//! Asks the homes of rooms on behalf of nobody who is connected, from any thread.
//!
//! ```text
//!  Desk ─[Errand]─▶ run, on the core of the home ─▶ Requests ─▶ home
//!   ▲     mailbox       Errands: who awaits what                  │
//!   └──[one place]── Errands::published, … ◀── deliver.rs ◀───────┘
//! ```
//!
//! An errand has a place at its core from when it is given until it is answered, so that one bound holds for those
//! that wait and for those under way. Nothing waits here for anything else: whoever has no place is refused at once,
//! and an answer is dropped if nobody takes it.

use std::{
    collections::HashMap,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use codec::Kind;
use flume::{Receiver, Sender};
use hub::{
    Answer, ConnectionId, Details, Listing, Position, PublishRefusal, Question, Record, Request,
    RoomName, Target, Ticket,
};

use super::{Core, State};
use crate::{
    connection::Fate,
    kernel::RandomState,
    rooms::{home_of_name, publication_bytes, tag_of},
    turn::bounds,
};

/// The token of who asks at a desk, which no connection has.
const NOBODY: u64 = 0;

/// Publishes in rooms and asks about them without a connection; from any thread.
#[derive(Clone)]
pub struct Desk {
    cores: Arc<[Tray]>,
    homes: RandomState,
}

/// A core has no place for a further request of a desk, or it has ended: nothing was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a core has no space for a further request")]
pub struct DeskFull;

/// Where a desk puts its errands for one core.
struct Tray {
    mailbox: Sender<Errand>,
    places: Arc<Places>,
}

/// The places of one core's errands.
struct Places {
    taken: AtomicUsize,
    taken_max: usize,
    /// Bytes of the publications among them.
    bytes: AtomicUsize,
    bytes_max: usize,
    /// The core has ended, or is about to.
    is_closed: AtomicBool,
}

/// One taken place, which is given back when this is dropped.
struct Place {
    places: Arc<Places>,
    bytes: usize,
}

/// Something to be done by a core for a desk.
pub(crate) struct Errand {
    asked: Asked,
    place: Place,
}

/// What is asked of a core, and who gets the answer.
enum Asked {
    Publish(RoomName, Record, Sender<Fate>),
    Ask(RoomName, Question, Sender<Answer>),
    List(u32, Sender<Listing>),
}

/// What a core knows of the errands that it is given.
#[derive(Clone)]
pub(crate) struct Inbox {
    mailbox: Receiver<Errand>,
    places: Arc<Places>,
}

/// A core's errands whose answers have not come.
#[derive(Default)]
pub(crate) struct Errands {
    open: HashMap<Ticket, (Awaited, Place)>,
    serial: u64,
}

/// Who awaits what.
enum Awaited {
    Fate(Sender<Fate>),
    Answer(Sender<Answer>),
    Listing(Sender<Listing>),
}

impl Desk {
    /// A desk for cores that have so many places each, and the same hashes as their requests; and what each core is
    /// to be given.
    pub(crate) fn new(
        cores: usize,
        taken_max: usize,
        bytes_max: usize,
        homes: RandomState,
    ) -> (Self, Vec<Inbox>) {
        let (trays, inboxes): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| tray(taken_max, bytes_max)).unzip();
        let cores = trays.into();
        (Self { cores, homes }, inboxes)
    }

    /// Publishes a message in the room of this name, which is made if it does not exist. The answer is its position,
    /// or why it was refused; if the answer's sender is gone, the core has ended, and nobody knows.
    ///
    /// However long the payload is, it is delivered: its bound is the caller's. Where rates are counted by connection,
    /// all that is published so counts as of one.
    ///
    /// # Errors
    ///
    /// [`DeskFull`] if the room's core has no place for it: as many requests as
    /// [`Config::desk_requests_max`](crate::Config::desk_requests_max) are there, or more bytes of publications than
    /// [`Config::outbox_bytes_max`](crate::Config::outbox_bytes_max) said at start. One publication has a place
    /// however long it is.
    pub fn publish(
        &self,
        room: RoomName,
        kind: Kind,
        payload: Bytes,
        details: Option<Arc<Details>>,
    ) -> Result<Receiver<Result<Position, PublishRefusal>>, DeskFull> {
        let tag = tag_of(kind);
        let record = Record {
            tag,
            payload,
            details,
        };
        let bytes = publication_bytes(record.sent_bytes() + record.meta().len());
        let home = self.home(&room);
        self.give(home, bytes, |reply| Asked::Publish(room, record, reply))
    }

    /// Asks something about the room of this name, or has it do something.
    ///
    /// # Errors
    ///
    /// [`DeskFull`], as of [`publish`](Self::publish).
    pub fn ask(&self, room: RoomName, question: Question) -> Result<Receiver<Answer>, DeskFull> {
        let home = self.home(&room);
        self.give(home, 0, |reply| Asked::Ask(room, question, reply))
    }

    /// Lists rooms whose home is this core (from 0), some at a time: from 0 on, and then from where the
    /// [last answer](Listing::next) says.
    ///
    /// # Errors
    ///
    /// [`DeskFull`], as of [`publish`](Self::publish), or if there is no such core.
    pub fn list(&self, core: usize, from: u32) -> Result<Receiver<Listing>, DeskFull> {
        self.give(core, 0, |reply| Asked::List(from, reply))
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    fn home(&self, room: &RoomName) -> usize {
        home_of_name(&self.homes, self.cores.len(), room).index()
    }

    fn give<T>(
        &self,
        core: usize,
        bytes: usize,
        asked: impl FnOnce(Sender<T>) -> Asked,
    ) -> Result<Receiver<T>, DeskFull> {
        let Tray { mailbox, places } = self.cores.get(core).ok_or(DeskFull)?;
        let place = places.take(bytes).ok_or(DeskFull)?;
        let (reply, answer) = flume::bounded(1);
        let asked = asked(reply);
        mailbox
            .try_send(Errand { asked, place })
            .map_err(|_| DeskFull)?;
        // A core that ends closes first and empties its mailbox then: whatever comes too late for that sees it here.
        match places.is_closed.load(Ordering::SeqCst) {
            true => Err(DeskFull),
            false => Ok(answer),
        }
    }
}

fn tray(taken_max: usize, bytes_max: usize) -> (Tray, Inbox) {
    let (sender, mailbox) = flume::bounded(taken_max);
    let places = Arc::new(Places {
        taken: AtomicUsize::new(0),
        taken_max,
        bytes: AtomicUsize::new(0),
        bytes_max,
        is_closed: AtomicBool::new(false),
    });
    let tray = Tray {
        mailbox: sender,
        places: places.clone(),
    };
    (tray, Inbox { mailbox, places })
}

impl Places {
    /// Takes a place, if there is one. Bytes beyond the bound are let in where there are none.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        if self.is_closed.load(Ordering::SeqCst) {
            return None;
        }
        let one_more = |taken| (taken < self.taken_max).then_some(taken + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.taken.fetch_update(set, fetch, one_more).ok()?;
        let mut place = Place {
            places: self.clone(),
            bytes: 0,
        };
        let so_many_more = |taken: usize| {
            let after = taken.saturating_add(bytes);
            (bytes == 0 || taken == 0 || after <= self.bytes_max).then_some(after)
        };
        self.bytes.fetch_update(set, fetch, so_many_more).ok()?;
        place.bytes = bytes;
        Some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Inbox {
    /// Errands that wait or are under way, and bytes of the publications among them.
    pub(crate) fn taken(&self) -> (usize, usize) {
        let Places { taken, bytes, .. } = &*self.places;
        (taken.load(Ordering::Acquire), bytes.load(Ordering::Acquire))
    }

    /// Takes no further errands, and drops those that wait.
    fn close(&self) {
        self.places.is_closed.store(true, Ordering::SeqCst);
        drop(self.mailbox.drain());
    }
}

impl Errands {
    fn note(&mut self, awaited: Awaited, place: Place) -> Ticket {
        self.serial += 1;
        let ticket = Ticket(self.serial);
        self.open.insert(ticket, (awaited, place));
        ticket
    }

    /// How many are under way.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// What has become of a publication.
    pub(super) fn published(&mut self, ticket: Ticket, fate: Fate) {
        if let Some((Awaited::Fate(reply), place)) = self.open.remove(&ticket) {
            // Whoever has its answer may ask again at once.
            drop(place);
            let _ = reply.try_send(fate);
        }
    }

    /// The answer to a question.
    pub(super) fn answered(&mut self, ticket: Ticket, answer: Answer) {
        if let Some((Awaited::Answer(reply), place)) = self.open.remove(&ticket) {
            drop(place);
            let _ = reply.try_send(answer);
        }
    }

    /// Some rooms of the home.
    pub(super) fn listed(&mut self, ticket: Ticket, listing: Listing) {
        if let Some((Awaited::Listing(reply), place)) = self.open.remove(&ticket) {
            drop(place);
            let _ = reply.try_send(listing);
        }
    }
}

/// Takes errands for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>, inbox: Inbox) {
    while let Ok(first) = inbox.mailbox.recv_async().await {
        core.state.borrow_mut().run_errands(first, &inbox);
        core.turnstile.pass().await;
    }
}

impl State {
    /// Hands a turn's errands to the homes of rooms.
    fn run_errands(&mut self, first: Errand, inbox: &Inbox) {
        let now = self.begin_turn();
        let others = inbox.mailbox.try_iter().take(bounds::ERRANDS - 1);
        for Errand { asked, place } in std::iter::once(first).chain(others) {
            let request = self.request_of(asked, place, now.ns);
            self.parts.rooms.requests.push(request);
        }
    }

    fn request_of(&mut self, asked: Asked, place: Place, stamp: u64) -> Request {
        let errands = &mut self.errands;
        let nobody = ConnectionId {
            core: self.parts.id,
            token: NOBODY,
        };
        match asked {
            Asked::Publish(room, record, reply) => {
                self.parts.counters.tally.published += 1;
                Request::Publish {
                    to: Target::Name(room),
                    publisher: nobody,
                    ticket: errands.note(Awaited::Fate(reply), place),
                    stamp,
                    record,
                }
            }
            Asked::Ask(name, question, reply) => Request::Ask {
                name,
                asker: nobody,
                ticket: errands.note(Awaited::Answer(reply), place),
                stamp,
                question,
            },
            Asked::List(from, reply) => Request::List {
                from,
                asker: nobody,
                ticket: errands.note(Awaited::Listing(reply), place),
            },
        }
    }
}

/// Ends a core's errands with it, however it ends: whoever awaits an answer sees that none comes.
pub(crate) struct Closing(pub(crate) Rc<Core>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.try_borrow_mut() {
            state.depths.desk.close();
            state.errands.open.clear();
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("cores", &self.cores.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
