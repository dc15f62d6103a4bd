//! Random joins, leaves and publications against a naive model of rooms, through the pure state
//! and first-in-first-out mailboxes that lag behind by random amounts.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use hub::{
    ConnectionId, CoreId, Delivery, Publication, Request, RoomBudget, RoomId, RoomName, Rooms,
};
use proptest::prelude::*;

const CORES: u16 = 3;
const IDLE_MS: u64 = 50;

#[derive(Clone, Debug)]
enum Op {
    Join {
        core: u16,
        room: u8,
    },
    Leave {
        who: usize,
    },
    Publish {
        who: usize,
    },
    /// The core takes one delivery from its mailbox.
    Deliver {
        core: u16,
    },
    /// Time goes on by this many milliseconds.
    Sweep {
        ms: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..CORES, 0..4u8).prop_map(|(core, room)| Op::Join { core, room }),
        2 => any::<usize>().prop_map(|who| Op::Leave { who }),
        8 => any::<usize>().prop_map(|who| Op::Publish { who }),
        8 => (0..CORES).prop_map(|core| Op::Deliver { core }),
        1 => (0..100u64).prop_map(|ms| Op::Sweep { ms }),
    ]
}

/// What the model holds true of one subscriber.
struct Subscriber {
    id: ConnectionId,
    name: u8,
    /// Set when the join's answer has arrived.
    room: Option<RoomId>,
    epoch: u64,
    left: bool,
    /// What has arrived: (number, payload).
    seen: Vec<(u64, u64)>,
    /// What must arrive: everything published in this room since the join was applied.
    owed: VecDeque<(u64, u64)>,
}

struct World {
    rooms: Rooms,
    mailboxes: Vec<VecDeque<Delivery>>,
    subscribers: Vec<Subscriber>,
    /// The model's rooms: the number of the latest message.
    numbers: HashMap<u8, u64>,
    published: u64,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut epoch = 0;
        let epochs = move || {
            epoch += 1;
            epoch
        };
        let budget = RoomBudget::new(100);
        Self {
            rooms: Rooms::new(CoreId(0), CORES.into(), budget, epochs),
            mailboxes: vec![VecDeque::new(); CORES.into()],
            subscribers: Vec::new(),
            numbers: HashMap::new(),
            published: 0,
            now_ms: 0,
        }
    }

    fn request(&mut self, request: Request) {
        self.rooms.apply(request);
        for core in 0..CORES {
            let batch = self.rooms.take_outgoing(CoreId(core));
            self.mailboxes[usize::from(core)].extend(batch);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Join { core, room } => self.join(core, room),
            Op::Leave { who } => self.leave(who),
            Op::Publish { who } => self.publish(who),
            Op::Deliver { core } => {
                if let Some(delivery) = self.mailboxes[usize::from(core)].pop_front() {
                    self.deliver(CoreId(core), delivery);
                }
            }
            Op::Sweep { ms } => {
                self.now_ms += ms;
                self.request(Request::Sweep {
                    now_ms: self.now_ms,
                    idle_ms: IDLE_MS,
                });
                self.forget_reaped();
            }
        }
    }

    fn join(&mut self, core: u16, name: u8) {
        let id = ConnectionId {
            core: CoreId(core),
            token: self.subscribers.len() as u64,
        };
        self.subscribers.push(Subscriber {
            id,
            name,
            room: None,
            epoch: 0,
            left: false,
            seen: Vec::new(),
            owed: VecDeque::new(),
        });
        let text = format!("room {name}");
        self.request(Request::Join {
            name: RoomName::new(&text).unwrap(),
            subscriber: id,
        });
    }

    /// Only those who know that they joined can leave or publish.
    fn pick(&self, who: usize) -> Option<usize> {
        let joined = |s: &&usize| {
            let subscriber = &self.subscribers[**s];
            subscriber.room.is_some() && !subscriber.left
        };
        let all: Vec<usize> = (0..self.subscribers.len()).collect();
        let joined: Vec<usize> = all.iter().filter(joined).copied().collect();
        (!joined.is_empty()).then(|| joined[who % joined.len()])
    }

    fn leave(&mut self, who: usize) {
        let Some(who) = self.pick(who) else { return };
        let subscriber = &mut self.subscribers[who];
        subscriber.left = true;
        subscriber.owed.clear();
        let room = subscriber.room.unwrap();
        let core = subscriber.id.core;
        self.request(Request::Leave { room, core });
    }

    fn publish(&mut self, who: usize) {
        let Some(who) = self.pick(who) else { return };
        self.published += 1;
        let payload = self.published;
        let Subscriber { id, name, room, .. } = self.subscribers[who];
        let number = self.numbers.entry(name).or_default();
        *number += 1;
        let due = (*number, payload);
        for other in &mut self.subscribers {
            if other.name == name && !other.left {
                other.owed.push_back(due);
            }
        }
        self.request(Request::Publish {
            room: room.unwrap(),
            publisher: id,
            publication: Publication {
                stamp: 0,
                tag: 1,
                payload: Bytes::copy_from_slice(&payload.to_ne_bytes()),
            },
        });
    }

    fn deliver(&mut self, core: CoreId, delivery: Delivery) {
        match delivery {
            Delivery::Joined {
                subscriber,
                room,
                epoch,
                position,
            } => self.joined(subscriber, room, epoch, position),
            Delivery::Message {
                room,
                number,
                publication,
                ..
            } => self.message(core, room, number, &publication.payload),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn joined(&mut self, id: ConnectionId, room: RoomId, epoch: u64, position: u64) {
        let subscriber = &mut self.subscribers[id.token as usize];
        assert_eq!(subscriber.id, id);
        subscriber.room = Some(room);
        subscriber.epoch = epoch;
        if let Some((next, _)) = subscriber.owed.front() {
            assert_eq!(
                *next,
                position + 1,
                "the first message follows the position"
            );
        }
    }

    fn message(&mut self, core: CoreId, room: RoomId, number: u64, payload: &[u8]) {
        let payload = u64::from_ne_bytes(payload.try_into().unwrap());
        for subscriber in &mut self.subscribers {
            let here = subscriber.id.core == core && subscriber.room == Some(room);
            if here && !subscriber.left {
                subscriber.seen.push((number, payload));
                assert_eq!(subscriber.owed.pop_front(), Some((number, payload)));
            }
        }
    }

    fn settle(&mut self) {
        for core in 0..CORES {
            while let Some(delivery) = self.mailboxes[usize::from(core)].pop_front() {
                self.deliver(CoreId(core), delivery);
            }
        }
        for subscriber in &self.subscribers {
            assert!(subscriber.owed.is_empty(), "owed {:?}", subscriber.owed);
            let numbers = subscriber.seen.windows(2);
            assert!(numbers.into_iter().all(|w| w[1].0 == w[0].0 + 1));
        }
        let mut by_position = HashMap::new();
        for subscriber in &self.subscribers {
            for (number, payload) in &subscriber.seen {
                let place = (subscriber.name, subscriber.epoch, *number);
                assert_eq!(*by_position.entry(place).or_insert(*payload), *payload);
            }
        }
    }

    /// A reaped room starts again at 1; one with a live subscriber must not have been reaped.
    fn forget_reaped(&mut self) {
        let Self {
            rooms,
            subscribers,
            numbers,
            ..
        } = self;
        numbers.retain(|name, _| {
            let is_there = rooms.contains(&format!("room {name}"));
            let is_needed = subscribers.iter().any(|s| s.name == *name && !s.left);
            assert!(
                is_there || !is_needed,
                "room {name} was reaped under a subscriber"
            );
            is_there
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn rooms_under_random_operations_deliver_each_message_once_in_one_order(
        ops in proptest::collection::vec(op(), 1..200)
    ) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.settle();
    }
}
