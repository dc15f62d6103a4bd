//! The rooms of one home core: who numbers, who counts subscribers by core, who reaps.
//!
//! Pure and synchronous: requests in, deliveries out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use slotmap::{Key, KeyData, SlotMap, new_key_type};
use smallvec::SmallVec;

use crate::{
    mailbox::{ConnectionId, CoreId, Delivery, JoinRefusal, Publication, Request, RoomId},
    name::RoomName,
    view::{LOOKED_AT_MAX, RoomView, Seen},
};

new_key_type! { struct RoomKey; }

/// How many rooms there may be on all cores together. Shared by their homes; touched only when a
/// room is made or reaped.
#[derive(Debug)]
pub struct RoomBudget {
    rooms: AtomicUsize,
    rooms_max: AtomicUsize,
}

impl RoomBudget {
    /// A budget of `rooms_max` rooms in all.
    pub fn new(rooms_max: usize) -> Arc<Self> {
        Arc::new(Self {
            rooms: AtomicUsize::new(0),
            rooms_max: AtomicUsize::new(rooms_max),
        })
    }

    /// How many rooms there are now.
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// Allows so many from now on. Rooms that are there stay, even if they are more.
    pub fn allow(&self, rooms_max: usize) {
        self.rooms_max.store(rooms_max, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        let rooms_max = self.rooms_max.load(Ordering::Relaxed);
        let more = |rooms| (rooms < rooms_max).then_some(rooms + 1);
        self.rooms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self) {
        self.rooms.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One room, as its home knows it.
struct Room {
    name: RoomName,
    epoch: u64,
    /// The number of the latest message; 0 before the first.
    number: u64,
    /// What it was when an operator last looked.
    number_seen: u64,
    /// Cores with subscribers, and how many each has (never 0).
    subscribers: SmallVec<[(CoreId, u32); 2]>,
    /// When the last subscriber left, in milliseconds; meaningless while there is one.
    empty_since_ms: u64,
    /// Whether it waits in [`Rooms::emptied`]: at most once, however often it empties.
    awaits_reaping: bool,
}

/// The rooms whose home is one core.
pub struct Rooms {
    home: CoreId,
    rooms: SlotMap<RoomKey, Room>,
    by_name: HashMap<RoomName, RoomKey>,
    /// Rooms that became empty, and since when. Some have subscribers again, some have been empty
    /// only since later: looked at when their turn comes, so that a room that empties often may
    /// be reaped up to one idle time late.
    emptied: VecDeque<(RoomKey, u64)>,
    now_ms: u64,
    /// When an operator last looked.
    looked_ms: u64,
    budget: Arc<RoomBudget>,
    epochs: Box<dyn FnMut() -> u64>,
    /// Deliveries not yet taken, by the core they are for.
    outgoing: Vec<Vec<Delivery>>,
}

impl Rooms {
    /// The rooms of `home`, one of `cores` cores; `epochs` yields the random epoch of
    /// each new room.
    pub fn new(
        home: CoreId,
        cores: usize,
        budget: Arc<RoomBudget>,
        epochs: impl FnMut() -> u64 + 'static,
    ) -> Self {
        Self {
            home,
            rooms: SlotMap::with_key(),
            by_name: HashMap::new(),
            emptied: VecDeque::new(),
            now_ms: 0,
            looked_ms: 0,
            budget,
            epochs: Box::new(epochs),
            outgoing: (0..cores).map(|_| Vec::new()).collect(),
        }
    }

    /// Carries out one request; what it causes waits in [`take_outgoing`](Self::take_outgoing).
    pub fn apply(&mut self, request: Request) {
        match request {
            Request::Join { name, subscriber } => self.join(name, subscriber),
            Request::Leave { room, core } => self.leave(room, core),
            Request::Publish {
                room,
                publisher,
                publication,
            } => self.publish(room, publisher, publication),
            Request::Sweep { now_ms, idle_ms } => self.sweep(now_ms, idle_ms),
            Request::Look { top, reply } => drop(reply.try_send(self.look(top))),
        }
    }

    /// Takes the deliveries for `core`, oldest first.
    pub fn take_outgoing(&mut self, core: CoreId) -> Vec<Delivery> {
        std::mem::take(&mut self.outgoing[core.index()])
    }

    /// How many rooms have their home here.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Whether a room of this name has its home here.
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether no room has its home here.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    fn join(&mut self, name: RoomName, subscriber: ConnectionId) {
        let Some(key) = self.find_or_make(name) else {
            let reason = JoinRefusal::TooManyRooms;
            self.deliver(subscriber.core, Delivery::Refused { subscriber, reason });
            return;
        };
        let room = &mut self.rooms[key];
        let core = subscriber.core;
        match room.subscribers.iter_mut().find(|(c, _)| *c == core) {
            Some((_, count)) => *count += 1,
            None => room.subscribers.push((core, 1)),
        }
        let joined = Delivery::Joined {
            subscriber,
            room: RoomId {
                home: self.home,
                token: key.data().as_ffi(),
            },
            epoch: room.epoch,
            position: room.number,
        };
        self.deliver(core, joined);
    }

    fn find_or_make(&mut self, name: RoomName) -> Option<RoomKey> {
        if let Some(key) = self.by_name.get(&name) {
            return Some(*key);
        }
        if !self.budget.take() {
            return None;
        }
        let key = self.rooms.insert(Room {
            name: name.clone(),
            epoch: (self.epochs)(),
            number: 0,
            number_seen: 0,
            subscribers: SmallVec::new(),
            empty_since_ms: self.now_ms,
            awaits_reaping: false,
        });
        self.by_name.insert(name, key);
        Some(key)
    }

    fn leave(&mut self, room: RoomId, core: CoreId) {
        let key = key_of(room);
        let Some(room) = self.rooms.get_mut(key) else {
            return;
        };
        let Some(at) = room.subscribers.iter().position(|(c, _)| *c == core) else {
            return;
        };
        room.subscribers[at].1 -= 1;
        if room.subscribers[at].1 == 0 {
            room.subscribers.swap_remove(at);
        }
        if room.subscribers.is_empty() {
            room.empty_since_ms = self.now_ms;
            if !std::mem::replace(&mut room.awaits_reaping, true) {
                self.emptied.push_back((key, self.now_ms));
            }
        }
    }

    fn publish(&mut self, id: RoomId, publisher: ConnectionId, publication: Publication) {
        let Some(room) = self.rooms.get_mut(key_of(id)) else {
            self.deliver(publisher.core, Delivery::Unpublished { publisher });
            return;
        };
        room.number += 1;
        for (core, _) in &room.subscribers {
            self.outgoing[core.index()].push(Delivery::Message {
                room: id,
                number: room.number,
                publisher,
                publication: publication.clone(),
            });
        }
    }

    fn sweep(&mut self, now_ms: u64, idle_ms: u64) {
        self.now_ms = now_ms;
        while let Some(&(key, queued_ms)) = self.emptied.front() {
            if now_ms.saturating_sub(queued_ms) < idle_ms {
                break;
            }
            self.emptied.pop_front();
            self.reap_or_keep(key, idle_ms);
        }
    }

    fn reap_or_keep(&mut self, key: RoomKey, idle_ms: u64) {
        let room = &mut self.rooms[key];
        if !room.subscribers.is_empty() {
            room.awaits_reaping = false;
        } else if self.now_ms.saturating_sub(room.empty_since_ms) < idle_ms {
            self.emptied.push_back((key, room.empty_since_ms));
        } else if let Some(room) = self.rooms.remove(key) {
            self.by_name.remove(&room.name);
            self.budget.give_back();
        }
    }

    /// The rooms that stand out among the first [`LOOKED_AT_MAX`].
    fn look(&mut self, top: usize) -> RoomView {
        let home = self.home.0;
        let window_ms = self.now_ms - std::mem::replace(&mut self.looked_ms, self.now_ms);
        let looked_at = self.rooms.values_mut().take(LOOKED_AT_MAX);
        let seen: Vec<_> = looked_at.map(|room| room.look(home)).collect();
        RoomView::new(self.rooms.len(), window_ms, seen, top)
    }

    fn deliver(&mut self, core: CoreId, delivery: Delivery) {
        self.outgoing[core.index()].push(delivery);
    }
}

impl Room {
    fn look(&mut self, home: u16) -> Seen {
        let number_seen = std::mem::replace(&mut self.number_seen, self.number);
        Seen {
            name: self.name.clone(),
            home,
            subscribers: self.subscribers.iter().map(|(_, count)| count).sum(),
            cores: self.subscribers.len(),
            messages: self.number,
            messages_new: self.number - number_seen,
        }
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for _ in 0..self.rooms.len() {
            self.budget.give_back();
        }
    }
}

fn key_of(room: RoomId) -> RoomKey {
    KeyData::from_ffi(room.token).into()
}
