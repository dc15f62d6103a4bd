//! A server in memory that keeps all promises, and the history of clients that are cut and come back: for
//! tests of the checker.

use super::chance::Chance;
use super::history::{By, Event, Message, Position, What};
use std::collections::{BTreeMap, BTreeSet};

const ROOMS: u32 = 2;
const CLIENTS: u32 = 8;
/// The last clients are raw.
const RAW_FROM: u32 = 7;
const STEPS: usize = 1_500;
/// Who has missed more is told.
const KEPT: u64 = 20;

#[derive(Default)]
struct Client {
    is_here: bool,
    id: Box<str>,
    /// What it knows of its rooms, also while it is away.
    positions: BTreeMap<u32, Position>,
    /// How far a raw client is.
    raw: u64,
    sent: u32,
}

struct Model {
    chance: Chance,
    history: Vec<Event>,
    epoch: u32,
    logs: Vec<Vec<(Message, u64)>>,
    clients: Vec<Client>,
    connections: u32,
}

/// The history of this seed.
pub fn history(seed: u64) -> Vec<Event> {
    let mut model = Model {
        chance: Chance::new(seed),
        history: Vec::new(),
        epoch: 0,
        logs: vec![Vec::new(); ROOMS as usize],
        clients: (0..CLIENTS).map(|_| Client::default()).collect(),
        connections: 0,
    };
    (0..CLIENTS).for_each(|client| model.come(client));
    for step in 0..STEPS {
        if step == STEPS / 2 {
            model.restart();
        }
        model.step();
    }
    model.rest();
    model.history
}

impl Model {
    fn note(&mut self, client: u32, what: What) {
        let at_us = self.history.len() as u64;
        self.history.push(Event {
            at_us,
            client,
            what,
        });
    }

    fn step(&mut self) {
        let client = self.chance.below(CLIENTS as usize) as u32;
        match (self.clients[client as usize].is_here, self.chance.below(20)) {
            (true, 0) if client >= ROOMS => self.go(client, By::Cut),
            (true, 1..=8) => self.publish(client),
            (true, _) => self.read(client, 3),
            (false, 0..=4) => self.come(client),
            (false, _) => {}
        }
    }

    /// The first clients are in one room each, and see all of it; the others are in both.
    fn rooms_of(client: u32) -> Vec<u32> {
        match client {
            0 | RAW_FROM.. => vec![0],
            1 => vec![1],
            _ => vec![0, 1],
        }
    }

    fn come(&mut self, client: u32) {
        self.connections += 1;
        let id: Box<str> = format!("id-{}", self.connections).into();
        self.clients[client as usize].is_here = true;
        self.clients[client as usize].id = id.clone();
        if client >= RAW_FROM {
            self.clients[client as usize].raw = self.logs[0].len() as u64;
            return self.note(client, What::Entered { room: 0 });
        }
        self.note(client, What::Connected { id });
        for room in Self::rooms_of(client) {
            self.subscribe(client, room);
        }
    }

    fn subscribe(&mut self, client: u32, room: u32) {
        let from = self.clients[client as usize].positions.get(&room).cloned();
        self.note(
            client,
            What::Asked {
                room,
                from: from.clone(),
            },
        );
        let top = self.logs[room as usize].len() as u64;
        let epoch: Box<str> = format!("{}-{room}", self.epoch).into();
        let recovered = from
            .as_ref()
            .is_some_and(|it| it.epoch == epoch && top - it.offset <= KEPT);
        let position = match from {
            Some(from) if recovered => from,
            _ => Position { epoch, offset: top },
        };
        let own = &mut self.clients[client as usize].positions;
        own.insert(room, position.clone());
        self.note(
            client,
            What::Subscribed {
                room,
                position,
                recovered,
            },
        );
        while recovered && self.give(client, room, true) {}
        self.note(client, What::CaughtUp { room });
    }

    /// Gives a subscriber its next message, if there is one.
    fn give(&mut self, client: u32, room: u32, recovered: bool) -> bool {
        let own = &mut self.clients[client as usize];
        let (reached, offset) = match own.positions.get_mut(&room) {
            Some(position) => (&mut position.offset, true),
            None => (&mut own.raw, false),
        };
        let Some((message, digest)) = self.logs[room as usize].get(*reached as usize).copied()
        else {
            return false;
        };
        *reached += 1;
        let delivered = What::Delivered {
            room,
            message,
            digest,
            offset: offset.then_some(*reached),
            epoch: None,
            recovered,
        };
        self.note(client, delivered);
        true
    }

    fn read(&mut self, client: u32, most: usize) {
        for room in Self::rooms_of(client) {
            for _ in 0..most {
                self.give(client, room, false);
            }
        }
    }

    fn publish(&mut self, client: u32) {
        let rooms = Self::rooms_of(client);
        let Some(room) = self.chance.pick(&rooms) else {
            return;
        };
        let own = &mut self.clients[client as usize];
        let message = Message {
            from: client,
            number: own.sent,
        };
        own.sent += 1;
        let digest = self.chance.next();
        self.note(
            client,
            What::Sent {
                room,
                message,
                digest,
            },
        );
        self.logs[room as usize].push((message, digest));
        if client < RAW_FROM && self.chance.below(10) > 0 {
            self.note(client, What::Acknowledged { message });
        }
    }

    fn go(&mut self, client: u32, by: By) {
        self.clients[client as usize].is_here = false;
        self.note(client, What::Ended { by });
    }

    fn restart(&mut self) {
        self.note(0, What::Killed);
        self.note(0, What::Restarted);
        self.epoch += 1;
        self.logs.iter_mut().for_each(Vec::clear);
        for client in 0..CLIENTS {
            if self.clients[client as usize].is_here {
                self.go(client, By::Server(0));
            }
        }
        (0..CLIENTS).for_each(|client| self.come(client));
    }

    fn rest(&mut self) {
        for client in 0..CLIENTS {
            if !self.clients[client as usize].is_here {
                self.come(client);
            }
            self.read(client, STEPS);
        }
        self.note(0, What::Quiet);
        for room in 0..ROOMS {
            let of = (0..CLIENTS).filter(|client| Self::rooms_of(*client).contains(&room));
            let ids: BTreeSet<_> = of.map(|it| self.clients[it as usize].id.clone()).collect();
            let ids = ids.into_iter().collect();
            self.note(0, What::Present { room, ids });
        }
    }
}
