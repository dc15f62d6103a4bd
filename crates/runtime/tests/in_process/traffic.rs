//! Many connections that join, leave and publish at the same time, each beside a model of what it must
//! hear.

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::{Duration, Instant},
};

use hub::Position;
use runtime::DriverChoice;

use crate::{
    harness::{Running, start_with},
    told::{Heard, Said, Teller, Told, position},
};

on_both_drivers![traffic_is_heard_by_all_who_are_there_in_one_order_without_gaps];

const MEMBERS: u64 = 12;
const ROOMS: usize = 10;
const TIME: Duration = Duration::from_secs(2);

/// How many answers may be awaited when more is asked for.
const AWAITED: usize = 6;

/// A fixed sequence that looks random, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// How far a connection is with a room that it has asked for, as it has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    /// With the latest message heard, and the latest publication of its own that was acknowledged.
    In {
        heard: u64,
        own: u64,
    },
    Gone,
}

/// A publication of its own.
struct Own {
    room: String,
    text: String,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    At(Position),
    Refused,
}

/// A connection and its model.
struct Member {
    seed: u64,
    random: Random,
    teller: Teller,
    /// Rooms by their numbers.
    asked: Vec<(String, State)>,
    /// Rooms that it means to be in.
    wanted: Vec<usize>,
    /// Texts of its own, each another.
    said: usize,
    published: Vec<Own>,
    answers: usize,
    /// Commands to leave that were not heard to be done.
    leaving: usize,
    heard: Vec<Said>,
}

impl Member {
    fn connect(server: &Running, seed: u64) -> Self {
        Self {
            seed,
            random: Random(seed),
            teller: Teller::connect(server, "/"),
            asked: Vec::new(),
            wanted: Vec::new(),
            said: 0,
            published: Vec::new(),
            answers: 0,
            leaving: 0,
            heard: Vec::new(),
        }
    }

    /// Asks for something at random.
    fn ask(&mut self) {
        let room = format!("r{}", self.random.below(ROOMS));
        let is_wanted = |number: &&usize| self.asked[**number].0 == room;
        let number = self.wanted.iter().find(is_wanted).copied();
        match (self.random.below(16), number) {
            (0..3, None) => {
                self.teller.tell(&format!("join {room}"));
                self.wanted.push(self.asked.len());
                self.asked.push((room, State::Asked));
            }
            (0..2, Some(number)) => self.leave(number),
            (2, _) => self.teller.tell("wait"),
            (3..10, Some(number)) => self.publish(&format!("publish {number}"), room),
            _ => self.publish(&format!("publish-to {room}"), room),
        }
    }

    fn leave(&mut self, number: usize) {
        self.teller.tell(&format!("leave {number}"));
        self.wanted.retain(|other| *other != number);
        self.leaving += 1;
    }

    fn publish(&mut self, command: &str, room: String) {
        self.said += 1;
        let text = format!("{}-{}", self.seed, self.said);
        self.teller.tell(&format!("{command} {text}"));
        self.published.push(Own {
            room,
            text,
            answer: None,
        });
    }

    /// How many answers are to come.
    fn awaited(&self) -> usize {
        let joins = self
            .asked
            .iter()
            .filter(|(_, state)| *state == State::Asked);
        joins.count() + self.published.len() - self.answers + self.leaving
    }

    /// Hears until no more than so many answers are awaited.
    fn hear(&mut self, awaited: usize) {
        while self.awaited() > awaited {
            self.hear_one();
        }
    }

    fn hear_one(&mut self) {
        match self.teller.hear() {
            Heard::Message(said) => self.message(said),
            Heard::Report(report) => self.report(&report),
            end => panic!("{end:?}, seed {}", self.seed),
        }
    }

    fn message(&mut self, said: Said) {
        let found = self.asked.iter_mut().rev();
        let found = found.filter(|(room, state)| *room == said.room && *state != State::Gone);
        // The latest may have been asked for while the one before it speaks.
        let mut states = found.map(|(_, state)| state);
        let Some(State::In { heard, .. }) = states.find(|state| **state != State::Asked) else {
            panic!("{said:?} without being there, seed {}", self.seed);
        };
        assert_eq!(said.offset, *heard + 1, "{said:?}, seed {}", self.seed);
        *heard = said.offset;
        self.heard.push(said);
    }

    fn report(&mut self, report: &str) {
        let (what, rest) = report.split_once(' ').unwrap();
        let number = rest.split(' ').next().and_then(|word| word.parse().ok());
        match (what, number) {
            ("joined", Some(number)) => {
                let state: &mut State = &mut self.asked[number as usize].1;
                assert_eq!(*state, State::Asked, "{report}, seed {}", self.seed);
                let heard = position(rest).offset;
                *state = State::In { heard, own: 0 };
            }
            ("gone", Some(number)) => {
                let state = std::mem::replace(&mut self.asked[number as usize].1, State::Gone);
                self.leaving -= 1;
                if let State::In { heard, own } = state {
                    assert!(heard >= own, "{heard} of {own} heard, seed {}", self.seed);
                }
            }
            ("published", Some(number)) => self.answer(number, Answer::At(position(rest))),
            ("unpublished", Some(number)) => {
                assert!(rest.ends_with(" Busy"), "{report}, seed {}", self.seed);
                self.answer(number, Answer::Refused);
            }
            ("absent", _) => {
                let at = self.published.iter().position(|own| own.text == rest);
                let absent = self.published.remove(at.expect("of a publication"));
                assert!(absent.answer.is_none());
            }
            _ => panic!("{report}, seed {}", self.seed),
        }
    }

    fn answer(&mut self, number: u64, answer: Answer) {
        let seed = self.seed;
        let own = &mut self.published[number as usize];
        let before = own.answer.replace(answer);
        assert!(before.is_none(), "{before:?} and {answer:?}, seed {seed}");
        self.answers += 1;
        let Answer::At(position) = answer else {
            return;
        };
        let room = &own.room;
        let rooms = self.asked.iter_mut().filter(|(name, _)| name == room);
        for (_, state) in rooms {
            if let State::In { own, .. } = state {
                assert!(
                    position.offset > *own,
                    "two of its own in order, seed {seed}"
                );
                *own = position.offset;
            }
        }
    }

    /// Hears the last message of each of its rooms.
    fn hear_out(&mut self, tops: &HashMap<String, u64>) {
        let is_behind = |(room, state): &(String, State)| match state {
            State::In { heard, .. } => tops.get(room).is_some_and(|top| heard < top),
            State::Asked | State::Gone => false,
        };
        while self.asked.iter().any(is_behind) {
            self.hear_one();
        }
        self.teller.hears_nothing_more();
    }

    fn positions(&self) -> impl Iterator<Item = (&str, Position, &str)> {
        self.published.iter().filter_map(|own| match own.answer {
            Some(Answer::At(position)) => Some((&*own.room, position, &*own.text)),
            Some(Answer::Refused) => None,
            None => panic!("{} is not answered, seed {}", own.text, self.seed),
        })
    }
}

/// One member's part.
fn take_part(mut member: Member) -> Member {
    let until = Instant::now() + TIME;
    while Instant::now() < until {
        for _ in 0..=member.random.below(8) {
            member.ask();
        }
        member.hear(AWAITED);
    }
    for number in member.wanted.clone() {
        if member.random.below(3) == 0 {
            member.leave(number);
        }
    }
    member.hear(0);
    member
}

fn traffic_is_heard_by_all_who_are_there_in_one_order_without_gaps(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        // So little that everything is held up often.
        config.mailbox_batches = 1;
        config.outbox_bytes_max = 1 << 10;
        config.publish_window_bytes = 1 << 10;
    });
    let members = (1..=MEMBERS).map(|seed| Member::connect(&server, seed * 0x9e37_79b9));
    let members: Vec<_> = members.collect();
    let parts = members
        .into_iter()
        .map(|member| thread::spawn(move || take_part(member)));
    let parts: Vec<_> = parts.collect();
    let mut members: Vec<_> = parts.into_iter().map(|it| it.join().unwrap()).collect();
    let tops = tops(&members);
    members.iter_mut().for_each(|member| member.hear_out(&tops));

    let mut order: BTreeMap<&str, HashMap<u64, &str>> = BTreeMap::new();
    let mut epochs = HashMap::new();
    for (room, position, text) in members.iter().flat_map(Member::positions) {
        let place = order.entry(room).or_default().insert(position.offset, text);
        assert_eq!(place, None, "two publications in one place");
        let epoch = *epochs.entry(room).or_insert(position.epoch);
        assert_eq!(position.epoch, epoch);
    }
    for (room, order) in &order {
        let most = order.len() as u64;
        assert!(
            (1..=most).all(|n| order.contains_key(&n)),
            "{room} has gaps"
        );
    }
    let heard: Vec<_> = members.iter().flat_map(|member| &member.heard).collect();
    for said in &heard {
        assert_eq!(order[&*said.room].get(&said.offset), Some(&&*said.text));
    }
    assert!(
        heard.len() > 1_000 && order.len() == ROOMS,
        "{}",
        heard.len()
    );
}

/// The latest offset of each room.
fn tops(members: &[Member]) -> HashMap<String, u64> {
    let mut tops = HashMap::new();
    for (room, position, _) in members.iter().flat_map(Member::positions) {
        let top = tops.entry(room.to_string()).or_default();
        *top = position.offset.max(*top);
    }
    tops
}
