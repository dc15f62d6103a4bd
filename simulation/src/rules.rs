//! What the rooms of the simulated server keep, and for how long they gather messages, drawn from a number; other
//! rules may follow while they are in use.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use hub::{HistoryLimits, Pace, RoomName, RoomRules, RuleBook, TableLimits};
use runtime::{BatchInterval, Lag};

use crate::script::ROOMS;

/// The rules of all rooms at one time.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Those of the rooms that most steps are about.
    rooms: Vec<Ruled>,
    others: Arc<RoomRules>,
}

/// More than the longest history has, by the number of its messages.
pub const AMPLE_BYTES: usize = 100_000;

/// The rules of one room.
#[derive(Clone, Debug)]
struct Ruled {
    rules: Arc<RoomRules>,
    /// What becomes of whoever is too slow; `None` is what its connection asks for.
    lag: Option<Lag>,
    /// For how long its messages are gathered.
    interval: Option<BatchInterval>,
}

/// Finds the rules of now, also while others are being told to the homes: so a room that is made then never
/// follows earlier ones.
#[derive(Debug, Default)]
pub struct Book {
    rules: Mutex<Rules>,
    tickers: Tickers,
}

/// The rules of rooms with a table, which stay what they are.
#[derive(Debug)]
struct Tickers(Arc<RoomRules>);

impl Default for Tickers {
    fn default() -> Self {
        let table = TableLimits {
            keys: 6,
            bytes: 2_000,
            ttl_ms: 3_000,
        };
        Self(Arc::new(RoomRules {
            table: Some(table),
            tells_occupancy: true,
            ..RoomRules::default()
        }))
    }
}

impl Rules {
    /// The rules of this number.
    pub fn of(number: u64) -> Self {
        let mut rng = Rng::with_seed(number ^ 0x9A57_0F11);
        // Of its own, and chosen so that scripts which were kept before there were intervals have the rules that they
        // had, and no intervals in their rooms.
        let mut of_intervals = Rng::with_seed(number ^ 0x1A7E_55B1);
        let mut of_occupancy = Rng::with_seed(number ^ 0x0CC0_9A17);
        let rooms = (0..ROOMS).map(|_| Ruled {
            rules: Arc::new(RoomRules {
                tells_occupancy: of_occupancy.u8(0..5) > 0,
                ..rules(&mut rng)
            }),
            lag: [None, Some(Lag::Close), Some(Lag::Leave), Some(Lag::Skip)][rng.usize(0..4)],
            interval: interval(&mut of_intervals),
        });
        Self {
            rooms: rooms.collect(),
            others: Arc::new(RoomRules {
                keeps_position: rng.bool(),
                tells_occupancy: true,
                ..RoomRules::default()
            }),
        }
    }

    /// The rules of the room of this number.
    pub fn of_room(&self, number: u8) -> &Arc<RoomRules> {
        let ruled = self.rooms.get(usize::from(number));
        ruled.map_or(&self.others, |it| &it.rules)
    }

    /// So many of the latest messages of a room are kept, until they are too old; `None` if that is not
    /// certain.
    pub fn surely_kept(&self, number: u8) -> Option<u64> {
        let rules = self.of_room(number);
        let history = rules.history.filter(|it| it.bytes >= AMPLE_BYTES)?;
        // A room that is made again has forgotten why its log keeps nothing.
        (!rules.keeps_position).then_some(history.messages as u64)
    }

    /// The most messages that a room can have had after so long; `None` if there is no bound.
    pub fn most_messages(&self, number: u8, ns: u64) -> Option<u64> {
        let rules = self.of_room(number);
        let pace = rules.pace.filter(|_| !rules.keeps_position)?;
        let seconds = ns / 1_000_000_000 + 1;
        Some(u64::from(pace.burst) + u64::from(pace.per_second) * seconds)
    }

    /// Whether any room tells who comes and goes.
    pub fn announces(&self) -> bool {
        let mut rooms = self.rooms.iter();
        rooms.any(|it| it.rules.has_presence && it.rules.announced_members_max > 0)
    }
}

fn rules(rng: &mut Rng) -> RoomRules {
    let history = HistoryLimits {
        messages: [1, 3, 12, 40][rng.usize(0..4)],
        bytes: [300, 3_000, AMPLE_BYTES][rng.usize(0..3)],
        ttl_ms: [300, 5_000, 20_000][rng.usize(0..3)],
    };
    let pace = Pace {
        per_second: [1, 30][rng.usize(0..2)],
        burst: [1, 5, 40][rng.usize(0..3)],
    };
    RoomRules {
        history: (rng.u8(0..5) > 0).then_some(history),
        keeps_position: rng.u8(0..3) > 0,
        has_presence: rng.u8(0..3) > 0,
        announced_members_max: [0, 0, 2, 100][rng.usize(0..4)],
        pace: (rng.u8(0..8) == 0).then_some(pace),
        publisher_pace: (rng.u8(0..8) == 0).then_some(pace),
        ..RoomRules::default()
    }
}

fn interval(rng: &mut Rng) -> Option<BatchInterval> {
    let ms = [0, 0, 0, 20, 100, 500][rng.usize(0..6)];
    BatchInterval::new(Duration::from_millis(ms))
}

impl Book {
    /// These rules hold from now on.
    pub fn replace(&self, rules: Rules) {
        *self.rules.lock().expect("nothing panics with it") = rules;
    }

    /// What becomes of whoever is too slow in this room; `None` is what its connection asks for.
    pub fn lag(&self, name: &RoomName) -> Option<Lag> {
        let rules = self.rules.lock().expect("nothing panics with it");
        rules.rooms.get(usize::from(number_of(name)?))?.lag
    }

    /// For how long the messages of this room are gathered.
    pub fn interval(&self, name: &RoomName) -> Option<BatchInterval> {
        let rules = self.rules.lock().expect("nothing panics with it");
        let room = rules.rooms.get(usize::from(number_of(name)?))?;
        room.interval
    }
}

impl RuleBook for Book {
    fn rules(&self, name: &RoomName) -> Arc<RoomRules> {
        if name.as_str().starts_with('t') {
            return self.tickers.0.clone();
        }
        let rules = self.rules.lock().expect("nothing panics with it");
        let number = number_of(name).unwrap_or(u8::MAX);
        rules.of_room(number).clone()
    }
}

/// The name of the room of this number.
pub fn name_of(number: u8) -> RoomName {
    RoomName::new(&format!("r{number}")).expect("it is a name")
}

/// The name of the room with a table of this number.
pub fn ticker_of(number: u8) -> RoomName {
    RoomName::new(&format!("t{number}")).expect("it is a name")
}

/// The number of a room.
fn number_of(name: &RoomName) -> Option<u8> {
    name.as_str().strip_prefix('r')?.parse().ok()
}
