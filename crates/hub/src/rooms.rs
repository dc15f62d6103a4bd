//! The rooms of one home core: the effect of each request, and the deliveries that follow from it.
//!
//! Pure and synchronous: requests in, deliveries out. The publications of one turn to one room are
//! gathered in a run and ordered together, before any other request sees the room, and at the
//! latest when deliveries are taken. Publications of a held room wait in its backlog. Who comes and goes
//! is announced with the next run, or when deliveries are taken.

#[cfg(feature = "audit")]
pub(crate) mod audit;
mod holding;
mod keeping;
mod occupancy;
mod outliving;
mod questions;
mod tables;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use slab::Slab;
use slotmap::{Key, KeyData, SlotMap};

use self::outliving::Ending;
use crate::{
    bound::bound,
    budget::{Kept, RoomBudget},
    log::{AnswerLimits, Envelope, Epoch, Log, Position},
    mailbox::{
        ConnectionId, CoreId, Delivery, JoinRefusal, LossReason, PublishRefusal, Request, RoomId,
        Stamps, Target, Terms, Ticket,
    },
    name::RoomName,
    pasts::Pasts,
    record::Record,
    retired_logs::RetiredLogs,
    room::{Room, RoomKey},
    rules::{RoomRules, RuleBook},
    run::{OpenRuns, Publication, Run},
};

/// Most empty rooms that one sweep examines, and most retired logs that it drops, so that it takes a
/// home well under a millisecond. The next sweep continues with the rest.
const REAPED_PER_SWEEP: usize = bound(1024, 2);

/// Bounds of one home.
#[derive(Clone, Copy, Debug)]
pub struct HomeBounds {
    /// Bytes of all backlogs together; each publication counts its payload and `size_of::<Request>()`.
    pub waiting_bytes: usize,
    /// Bytes of what all rooms keep of their past.
    pub past_bytes: usize,
    /// Positions of rooms that are no more.
    pub positions: usize,
    /// What one answer to a question or to a join may have.
    pub answer: AnswerLimits,
}

/// The rooms whose home is one core.
pub struct Rooms {
    home: CoreId,
    rooms: SlotMap<RoomKey, Room>,
    by_name: HashMap<RoomName, RoomKey>,
    /// All rooms at numbered places, so that a list of them can be given some at a time.
    listed: Slab<RoomKey>,
    retired: RetiredLogs,
    /// Rooms that became empty, and when. Since then some may have gained subscribers or emptied
    /// again. Each is examined only when its turn comes, so a room that empties often may be reaped
    /// up to one idle time late.
    emptied: VecDeque<(RoomKey, u64)>,
    /// This turn's publications.
    runs: OpenRuns,
    /// Rooms that are no longer held, whose backlogs are being ordered.
    released: VecDeque<RoomKey>,
    /// Bytes of all backlogs together.
    waiting_bytes: usize,
    bounds: HomeBounds,
    /// Rooms with members who have come or gone in this turn, each at least once.
    announcing: Vec<RoomKey>,
    pasts: Pasts,
    /// What is kept and was given up, up to date at the end of each sweep, and what of it was last said.
    kept: Kept,
    kept_said: Kept,
    rules: Arc<dyn RuleBook>,
    /// Rooms that do not follow the latest rules yet.
    to_configure: Vec<RoomKey>,
    now_ms: u64,
    wall_ms: u64,
    /// When an operator last asked, in milliseconds of the sweeps.
    looked_ms: u64,
    /// Set once the home has begun to hand its rooms out: it orders nothing any more.
    ending: Option<Ending>,
    budget: Arc<RoomBudget>,
    /// Who is told of the occupancy of rooms, if anybody is.
    watch: Option<occupancy::Watch>,
    epochs: Box<dyn FnMut() -> Epoch>,
    /// Deliveries that are not yet taken, by the receiving core.
    outgoing: Vec<Vec<Delivery>>,
}

impl Rooms {
    /// The rooms of `home`, which is one of `cores` cores. `epochs` yields the random epoch of each new
    /// log.
    pub fn new(
        home: CoreId,
        cores: usize,
        budget: Arc<RoomBudget>,
        bounds: HomeBounds,
        rules: Arc<dyn RuleBook>,
        epochs: impl FnMut() -> Epoch + 'static,
    ) -> Self {
        Self {
            home,
            rooms: SlotMap::with_key(),
            by_name: HashMap::new(),
            listed: Slab::new(),
            retired: RetiredLogs::default(),
            emptied: VecDeque::new(),
            runs: OpenRuns::default(),
            released: VecDeque::new(),
            waiting_bytes: 0,
            bounds,
            announcing: Vec::new(),
            pasts: Pasts::new(bounds.past_bytes),
            kept: Kept::default(),
            kept_said: Kept::default(),
            rules,
            to_configure: Vec::new(),
            now_ms: 0,
            wall_ms: 0,
            looked_ms: 0,
            ending: None,
            budget,
            watch: None,
            epochs: Box::new(epochs),
            outgoing: (0..cores).map(|_| Vec::new()).collect(),
        }
    }

    /// The same at this time of the wall clock, in milliseconds since 1970. Without it, what is ordered before
    /// the first sweep would count as older than any history keeps it.
    #[must_use]
    pub fn at(mut self, wall_ms: u64) -> Self {
        self.wall_ms = wall_ms;
        self
    }

    /// Applies one request. Its deliveries wait until [`take_outgoing`](Self::take_outgoing).
    pub fn apply(&mut self, request: Request) {
        match request {
            Request::Join {
                name,
                subscriber,
                ticket,
                terms,
            } => self.join(name, subscriber, ticket, terms),
            Request::Leave { room, subscriber } => self.leave(key_of(room), subscriber),
            Request::Ask {
                name,
                asker,
                ticket,
                stamp,
                question,
            } => self.ask(name, (asker, ticket, stamp), &question),
            Request::List {
                from,
                asker,
                ticket,
            } => self.list(from, asker, ticket),
            Request::Publish {
                to,
                publisher,
                ticket,
                stamp,
                record,
            } => self.publish(
                to,
                Publication {
                    publisher,
                    ticket,
                    stamp,
                    record,
                },
            ),
            Request::Hold { room, core } => self.hold(key_of(room), core),
            Request::Resume { room, core } => self.resume(key_of(room), core),
            Request::Lose { name, reason } => self.lose(&name, reason),
            Request::Sweep {
                now_ms,
                wall_ms,
                idle_ms,
                position_ttl_ms,
            } => {
                // What came before this keeps its time.
                self.close_runs();
                self.now_ms = now_ms;
                self.wall_ms = self.wall_ms.max(wall_ms);
                self.sweep(idle_ms, position_ttl_ms);
            }
            Request::Configure { rules } => self.configure(rules),
            Request::Look { top, reply } => drop(reply.try_send(self.look(top))),
            Request::Save { most, reply } => drop(reply.try_send(self.save(most))),
            Request::Restore { rooms, reply } => drop(reply.try_send(self.restore(rooms))),
        }
    }

    /// Orders this turn's publications, announces who has come and gone, and then takes the deliveries for
    /// `core`, oldest first.
    pub fn take_outgoing(&mut self, core: CoreId) -> Vec<Delivery> {
        self.close_runs();
        self.announce_all();
        std::mem::take(&mut self.outgoing[core.index()])
    }

    /// The number of rooms whose home is here, without retired logs.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether a room of this name exists here.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether no room exists here.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Bytes of all backlogs together, each publication with its payload and
    /// `size_of::<Request>()`.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    fn join(
        &mut self,
        name: RoomName,
        subscriber: ConnectionId,
        ticket: Ticket,
        terms: Option<Box<Terms>>,
    ) {
        let core = subscriber.core;
        let Some(key) = self.find_or_make(name) else {
            let reason = JoinRefusal::TooManyRooms;
            let refused = Delivery::Refused {
                subscriber,
                ticket,
                reason,
            };
            return self.deliver(core, refused);
        };
        self.close_run(key);
        self.follow(key);
        let Terms { recover, member } = terms.map_or_else(Terms::default, |terms| *terms);
        let recovered = recover.map(|recover| self.recover(key, recover));
        let room = &mut self.rooms[key];
        room.join(subscriber, member);
        if room.has_announcements() {
            self.announcing.push(key);
        }
        self.note_occupied(key);
        let room = &self.rooms[key];
        let joined = Delivery::Joined {
            subscriber,
            ticket,
            room: id_of(self.home, key),
            name: room.name.clone(),
            position: room.log.top(),
            recovered,
        };
        self.deliver(core, joined);
    }

    /// Finds the room of this name, or makes it if the budget has a place for it. Its own retired log
    /// already has one; otherwise it takes a free place, or that of the oldest retired log.
    fn find_or_make(&mut self, name: RoomName) -> Option<RoomKey> {
        if let Some(key) = self.by_name.get(&name) {
            return Some(*key);
        }
        if self.ending.is_some() {
            return None;
        }
        let log = match self.retired.take(&name) {
            Some(log) => log,
            None if self.budget.take() || self.give_up_position() => Log::new((self.epochs)()),
            None => return None,
        };
        let rules = self.rules.rules(&name);
        Some(self.insert(name, rules, log))
    }

    /// Adds a room without subscribers, for which the budget has given a place.
    fn insert(&mut self, name: RoomName, rules: Arc<RoomRules>, log: Log) -> RoomKey {
        let place = self.listed.vacant_key();
        let room = Room::new(name.clone(), rules, log, place, self.now_ms);
        let key = self.rooms.insert(room);
        self.listed.insert(key);
        if self.rooms[key].log.kept_bytes() > 0 {
            // It has outlived its process, or the latest version its room.
            let room = &mut self.rooms[key];
            self.pasts.count(key, room, Some(self.now_ms));
        }
        self.by_name.insert(name, key);
        key
    }

    fn leave(&mut self, key: RoomKey, subscriber: ConnectionId) {
        self.close_run(key);
        if let Some(room) = self.rooms.get_mut(key) {
            room.leave(subscriber);
            if room.has_announcements() {
                self.announcing.push(key);
            }
            self.note_if_empty(key);
            self.note_emptied(key);
            self.release(key);
        }
    }

    fn publish(&mut self, to: Target, publication: Publication) {
        let key = match to {
            Target::Room(id) => Ok(key_of(id)),
            Target::Name(name) => self.find_or_make(name).ok_or(PublishRefusal::TooManyRooms),
        };
        if self.ending.is_some() {
            return self.refuse(&publication, PublishRefusal::RoomGone);
        }
        let found = key.and_then(|key| match self.rooms.get_mut(key) {
            Some(room) => Ok((key, room)),
            None => Err(PublishRefusal::RoomGone),
        });
        let (key, room) = match found {
            Ok(found) => found,
            Err(reason) => return self.refuse(&publication, reason),
        };
        if !room.allows(&publication) {
            return self.refuse(&publication, PublishRefusal::TooFast);
        }
        if publication.record.is_conditional() {
            return self.publish_once(key, publication);
        }
        if let Some(backlog) = &mut room.backlog {
            let bytes = publication.bytes();
            if bytes > self.bounds.waiting_bytes.saturating_sub(self.waiting_bytes) {
                return self.refuse(&publication, PublishRefusal::Busy);
            }
            self.waiting_bytes += bytes;
            backlog.push(publication);
        } else {
            let slot = *room.run.get_or_insert_with(|| self.runs.open(key));
            if self.runs.push(slot, publication) {
                self.close_run(key);
            }
        }
    }

    /// Orders a publication that may be the repetition of another, or outdated. One for a held room is refused, since
    /// those that wait there are not known by their keys and versions; its publisher may repeat it later.
    fn publish_once(&mut self, key: RoomKey, publication: Publication) {
        self.close_run(key);
        let room = &mut self.rooms[key];
        let found = room.log.find(&publication.record, self.wall_ms);
        // Keys that have expired are gone now.
        self.pasts.count(key, room, None);
        let found = match found {
            Ok(None) if room.log.is_outdated(&publication.record) => Ok(Some(room.log.top())),
            found => found,
        };
        match found {
            Ok(Some(position)) => {
                let published = publication.answer(id_of(self.home, key), position);
                self.deliver(publication.publisher.core, published);
                self.note_if_empty(key);
            }
            Ok(None) if room.backlog.is_some() => {
                self.refuse(&publication, PublishRefusal::Busy);
            }
            Ok(None) => {
                let mut run = Run::default();
                run.push(publication);
                self.order(key, &mut run);
                self.note_if_empty(key);
            }
            Err(_) => self.refuse(&publication, PublishRefusal::Conflict),
        }
    }

    fn refuse(&mut self, publication: &Publication, reason: PublishRefusal) {
        let &Publication {
            publisher, ticket, ..
        } = publication;
        let unpublished = Delivery::Unpublished {
            publisher,
            ticket,
            reason,
        };
        self.deliver(publisher.core, unpublished);
    }

    /// Orders the publications of this turn.
    fn close_runs(&mut self) {
        let mut slot = 0;
        while let Some(key) = self.runs.room(slot) {
            self.close_run(key);
            slot += 1;
        }
        self.runs.restart();
    }

    /// Orders the publications of this turn to one room.
    fn close_run(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        if let Some(slot) = room.run.take() {
            self.announce(key);
            let mut run = std::mem::take(self.runs.run(slot));
            self.order(key, &mut run);
            *self.runs.run(slot) = run;
            self.note_if_empty(key);
        }
    }

    /// Orders a run and empties it. Each core with subscribers receives the messages, and after them
    /// each publisher's core the acknowledgement.
    fn order(&mut self, key: RoomKey, run: &mut Run) {
        self.sift(key, run);
        if run.is_empty() {
            return drop(run.drain());
        }
        let room = &mut self.rooms[key];
        order(
            id_of(self.home, key),
            room,
            run,
            self.wall_ms,
            &mut self.outgoing,
        );
        // A message that is too long for its room's history takes all others with it.
        if room.log.kept_bytes() > 0 || room.counted.bytes > 0 {
            self.pasts.count(key, room, Some(self.now_ms));
            self.keep_within_bounds();
        }
    }

    fn lose(&mut self, name: &RoomName, reason: LossReason) {
        if self.retired.take(name).is_some() {
            return self.budget.give_back(1);
        }
        let Some(&key) = self.by_name.get(name) else {
            return;
        };
        self.close_run(key);
        let Some(room) = self.remove(key) else {
            return;
        };
        self.budget.give_back(1);
        for it in room.cores {
            let room = id_of(self.home, key);
            self.deliver(it.core, Delivery::Lost { room, reason });
        }
        let backlog = room.backlog.unwrap_or_default();
        for publication in backlog.into_waiting() {
            self.waiting_bytes -= publication.bytes();
            self.refuse(&publication, PublishRefusal::RoomGone);
        }
    }

    fn remove(&mut self, key: RoomKey) -> Option<Room> {
        let mut room = self.rooms.remove(key)?;
        self.by_name.remove(&room.name);
        self.listed.remove(room.place);
        self.pasts.remove(key, &mut room);
        self.note_removed(&mut room);
        Some(room)
    }

    /// Starts the idle time of a room that has become empty.
    fn note_if_empty(&mut self, key: RoomKey) {
        let room = &mut self.rooms[key];
        if room.cores.is_empty() {
            room.idle_since_ms = self.now_ms;
            if !std::mem::replace(&mut room.awaits_reaping, true) {
                self.emptied.push_back((key, self.now_ms));
            }
        }
    }

    fn sweep(&mut self, idle_ms: u64, position_ttl_ms: u64) {
        let now_ms = self.now_ms;
        self.follow_rules();
        self.trim_pasts();
        self.tell_vacated();
        for _ in 0..REAPED_PER_SWEEP {
            if !self.retired.drop_expired(now_ms, position_ttl_ms) {
                break;
            }
            self.budget.give_back(1);
        }
        for _ in 0..REAPED_PER_SWEEP {
            match self.emptied.front() {
                Some(&(key, queued_ms)) if now_ms.saturating_sub(queued_ms) >= idle_ms => {
                    self.emptied.pop_front();
                    self.reap_or_keep(key, idle_ms, position_ttl_ms);
                }
                _ => break,
            }
        }
        self.say_what_is_kept();
    }

    fn deliver(&mut self, core: CoreId, delivery: Delivery) {
        self.outgoing[core.index()].push(delivery);
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.budget.give_back(self.rooms.len() + self.retired.len());
        let nothing = Kept {
            past_bytes: 0,
            positions: 0,
            ..self.kept
        };
        self.budget.keeps(self.kept_said, nothing);
    }
}

fn order(id: RoomId, room: &mut Room, run: &mut Run, at_ms: u64, outgoing: &mut [Vec<Delivery>]) {
    let messages = run.take_messages();
    let Position { epoch, offset } = append(id, room, messages, at_ms, outgoing);
    for (offset, publication) in (offset..).zip(run.drain()) {
        let published = publication.answer(id, Position { epoch, offset });
        outgoing[publication.publisher.core.index()].push(published);
    }
}

/// Gives messages the next offsets and delivers them; returns the position of the first.
fn append(
    id: RoomId,
    room: &mut Room,
    (records, stamps): (Arc<[Record]>, Stamps),
    at_ms: u64,
    outgoing: &mut [Vec<Delivery>],
) -> Position {
    let envelope = room.log.propose(records, at_ms);
    room.log
        .apply(&envelope, &room.rules)
        .expect("a log's own proposal continues it");
    let Envelope {
        epoch,
        first,
        records,
        ..
    } = envelope;
    for it in &room.cores {
        outgoing[it.core.index()].push(Delivery::Messages {
            room: id,
            epoch,
            first,
            records: records.clone(),
            stamps: stamps.clone(),
        });
    }
    let offset = first;
    Position { epoch, offset }
}

fn key_of(room: RoomId) -> RoomKey {
    KeyData::from_ffi(room.token).into()
}

fn id_of(home: CoreId, key: RoomKey) -> RoomId {
    let token = key.data().as_ffi();
    RoomId { home, token }
}
