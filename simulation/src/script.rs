//! What happens in a run: the steps of peers and operators, drawn from a seed, and kept as lines of JSON.

mod desk;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use desk::desk_event;
pub use desk::{Said, Wish};

/// A run: everything else follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// The seed of the machine's character, its configuration, and the order of all that is free to come in
    /// another one.
    pub seed: u64,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Virtual time between the step before and this one, in microseconds.
    pub after_us: u64,
    /// What.
    pub event: Event,
}

/// What can happen. Peers and rooms have small numbers; an event for a peer that is not connected is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Event {
    Connect {
        peer: u8,
        kind: Kind,
        room: Option<u8>,
        lag: Lag,
        buffer: u32,
        /// Whether its session keeps it alive with messages of its own.
        #[serde(default)]
        has_own_pings: bool,
    },
    /// The rooms follow the rules of this number from now on.
    Rules {
        number: u64,
    },
    /// Goes into a room as a member.
    Enter {
        peer: u8,
        room: u8,
        recovery: Recovery,
    },
    /// Publishes with an idempotency key.
    Once {
        peer: u8,
        room: u8,
        key: u8,
        body: u8,
        bytes: u16,
    },
    History {
        peer: u8,
        room: u8,
        limit: u8,
        is_reversed: bool,
        is_beside: bool,
    },
    Members {
        peer: u8,
        room: u8,
        is_counted: bool,
    },
    /// Goes into a room with a table.
    Watch {
        peer: u8,
        ticker: u8,
    },
    Unwatch {
        peer: u8,
        ticker: u8,
    },
    /// Sets keys of a table, from `key` on.
    Set {
        peer: u8,
        ticker: u8,
        key: u8,
        bytes: u16,
        times: u8,
    },
    /// Removes a key of a table.
    Unset {
        peer: u8,
        ticker: u8,
        key: u8,
    },
    /// Is cut off, and comes back to the rooms where it was.
    Return {
        peer: u8,
        recovery: Recovery,
        buffer: u32,
    },
    /// An echo that takes its session several turns.
    Slow {
        peer: u8,
        turns: u8,
    },
    Alarm {
        peer: u8,
        ms: u16,
    },
    /// A command for all connections.
    Everyone {
        command: Told,
    },
    Join {
        peer: u8,
        room: u8,
    },
    /// Joins this many rooms from `room` on.
    JoinMany {
        peer: u8,
        room: u8,
        rooms: u8,
    },
    Leave {
        peer: u8,
        room: u8,
    },
    Publish {
        peer: u8,
        room: u8,
        bytes: u16,
        times: u8,
        is_told: bool,
    },
    Echo {
        peer: u8,
        bytes: u16,
        times: u8,
        fragments: u8,
    },
    Wait {
        peer: u8,
    },
    Ping {
        peer: u8,
        bytes: u8,
    },
    /// Another request, with a body of so many bytes or without.
    Request {
        peer: u8,
        body: u32,
    },
    /// A request or message that is never finished.
    Unfinished {
        peer: u8,
        bytes: u16,
    },
    Violate {
        peer: u8,
    },
    Urgent {
        peer: u8,
    },
    Close {
        peer: u8,
    },
    HalfClose {
        peer: u8,
    },
    HangUp {
        peer: u8,
    },
    Reset {
        peer: u8,
    },
    /// Reads nothing from now on.
    Stall {
        peer: u8,
    },
    /// Reads again.
    Resume {
        peer: u8,
    },
    /// Answers pings no longer, or again.
    Mute {
        peer: u8,
        is_mute: bool,
    },
    /// Another configuration.
    Reload {
        budgets: Budgets,
    },
    /// A command for all connections of a peer's user.
    Command {
        peer: u8,
        command: Told,
    },
    /// The order of a room is lost.
    Lose {
        room: u8,
    },
    /// So many accepts find no descriptor.
    Shortage {
        accepts: u8,
    },
    /// Somebody who is not connected publishes.
    DeskPublish {
        room: u8,
        bytes: u16,
        times: u8,
        said: Said,
    },
    /// Somebody who is not connected asks a room, or has it do something; with `ticker` one with a table.
    DeskAsk {
        room: u8,
        wish: Wish,
        is_ticker: bool,
    },
    /// Somebody who is not connected asks for some rooms of a core.
    DeskList {
        core: u8,
        from: u8,
    },
    /// Whoever has asked waits for no answer any more.
    DeskLeft {},
    /// An operator asks this core how it is.
    Ask {
        core: u8,
    },
    /// Nothing runs for so long.
    Standstill {
        ms: u16,
    },
    Drain {
        is_hurried: bool,
    },
}

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    WebSocket,
    Stream,
    Http,
    Silent,
}

/// What a peer asks to happen when it reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Lag {
    Close,
    Leave,
    Skip,
}

/// What a peer asks to be given when it goes into a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Recovery {
    None,
    Missed,
    Latest,
}

/// How much may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Budgets {
    Ample,
    Tight,
    Tiny,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Told {
    Say,
    Join(u8),
    Leave(u8),
    Close,
    Hand,
    /// Whoever is this peer's user leaves the room, or is closed.
    Expel(u8, Option<u8>),
}

/// Peers of a run.
pub const PEERS: u8 = 12;
/// Rooms that most steps are about.
pub const ROOMS: u8 = 4;
/// Rooms with a table.
pub const TICKERS: u8 = 2;
/// Keys of which there is talk; more than a table may have.
const KEYS: u8 = 12;

impl Script {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5C12_17E5);
        let length = rng.usize(20..220);
        // Some runs are about little, so that it meets often.
        let peers = rng.u8(2..=PEERS);
        let rooms = rng.u8(1..=ROOMS);
        let pause_us = [50, 1_000, 20_000, 400_000][rng.usize(0..4)];
        let drains = rng.u8(0..10) == 0;
        let has_past = rng.u8(0..3) > 0;
        let has_tickers = rng.u8(0..3) == 0;
        let has_desk = rng.u8(0..3) == 0;
        let mut steps: Vec<_> = (0..length)
            .map(|number| Step {
                after_us: rng.u64(0..pause_us),
                event: match number < usize::from(peers) {
                    true => connect(number as u8, &mut rng, rooms),
                    false if has_tickers && rng.bool() => ticker_event(&mut rng, peers),
                    false if has_desk && rng.u8(0..3) == 0 => desk_event(&mut rng, rooms),
                    false if has_past && rng.bool() => past_event(&mut rng, peers, rooms),
                    false => event(&mut rng, peers, rooms),
                },
            })
            .collect();
        if has_past {
            let event = Event::Rules {
                number: rng.u64(..),
            };
            steps.insert(0, Step { after_us: 0, event });
        }
        if drains {
            let is_hurried = rng.bool();
            let event = Event::Drain { is_hurried };
            let at = rng.usize(length / 2..=length);
            steps.insert(at, Step { after_us: 0, event });
        }
        Self { seed, steps }
    }
}

fn connect(peer: u8, rng: &mut Rng, rooms: u8) -> Event {
    let kind = match rng.u8(0..20) {
        0..=15 => Kind::WebSocket,
        16 | 17 => Kind::Stream,
        18 => Kind::Http,
        _ => Kind::Silent,
    };
    let room = (kind == Kind::Stream || rng.bool()).then(|| rng.u8(0..rooms));
    let lag = [Lag::Close, Lag::Leave, Lag::Skip][rng.usize(0..3)];
    let buffer = [64, 700, 5_000, 100_000][rng.usize(0..4)];
    Event::Connect {
        peer,
        kind,
        room,
        lag,
        buffer,
        has_own_pings: rng.u8(0..4) == 0,
    }
}

/// Something about the past of rooms, and what belongs to it.
fn past_event(rng: &mut Rng, peers: u8, rooms: u8) -> Event {
    let peer = rng.u8(0..peers);
    let room = rng.u8(0..rooms);
    let recovery = [
        Recovery::Missed,
        Recovery::Missed,
        Recovery::Latest,
        Recovery::None,
    ][rng.usize(0..4)];
    match rng.u8(0..100) {
        0..=29 => Event::Enter {
            peer,
            room,
            recovery,
        },
        30..=44 => Event::Return {
            peer,
            recovery,
            buffer: [64, 700, 5_000, 100_000][rng.usize(0..4)],
        },
        45..=59 => Event::Once {
            peer,
            room,
            key: rng.u8(0..4),
            body: u8::from(rng.u8(0..6) == 0),
            bytes: rng.u16(0..200),
        },
        60..=74 => Event::History {
            peer,
            room,
            limit: rng.u8(0..50),
            is_reversed: rng.bool(),
            is_beside: rng.bool(),
        },
        75..=84 => Event::Members {
            peer,
            room,
            is_counted: rng.bool(),
        },
        85..=88 => Event::Rules {
            number: rng.u64(..),
        },
        89..=92 => Event::Slow {
            peer,
            turns: rng.u8(0..6),
        },
        93..=95 => Event::Alarm {
            peer,
            ms: rng.u16(0..3_000),
        },
        _ => Event::Everyone {
            command: match rng.u8(0..6) {
                0 => Told::Say,
                1 => Told::Join(room),
                2 => Told::Leave(room),
                3 | 4 => Told::Expel(peer, Some(room)),
                _ => Told::Expel(peer, None),
            },
        },
    }
}

/// Something about rooms with a table, and who reads or does not.
fn ticker_event(rng: &mut Rng, peers: u8) -> Event {
    let peer = rng.u8(0..peers);
    let ticker = rng.u8(0..TICKERS);
    let key = rng.u8(0..KEYS);
    match rng.u8(0..100) {
        0..=24 => Event::Watch { peer, ticker },
        25..=29 => Event::Unwatch { peer, ticker },
        30..=69 => Event::Set {
            peer,
            ticker,
            key,
            bytes: [0, 20, 300][rng.usize(0..3)] + rng.u16(0..100),
            times: [1, 2, 5, 40][rng.usize(0..4)],
        },
        70..=84 => Event::Unset { peer, ticker, key },
        85..=92 => Event::Stall { peer },
        _ => Event::Resume { peer },
    }
}

fn event(rng: &mut Rng, peers: u8, rooms: u8) -> Event {
    let peer = rng.u8(0..peers);
    let room = rng.u8(0..rooms);
    let bytes = [0, 3, 130, 1_500][rng.usize(0..4)] + rng.u16(0..100);
    match rng.u8(0..100) {
        0..=5 => connect(peer, rng, rooms),
        6..=15 => Event::Join { peer, room },
        16 => Event::JoinMany {
            peer,
            room: rng.u8(0..60),
            rooms: rng.u8(1..130),
        },
        17..=22 => Event::Leave { peer, room },
        23..=52 => Event::Publish {
            peer,
            room,
            bytes,
            times: [1, 1, 3, 30][rng.usize(0..4)],
            is_told: rng.u8(0..5) == 0,
        },
        53..=62 => Event::Echo {
            peer,
            bytes,
            times: [1, 1, 3, 20][rng.usize(0..4)],
            fragments: [1, 1, 2, 5][rng.usize(0..4)],
        },
        63 => Event::Wait { peer },
        64 => Event::Ask { core: peer },
        65..=68 => Event::Ping {
            peer,
            bytes: rng.u8(0..125),
        },
        69 | 70 => Event::Request {
            peer,
            body: rng.u32(0..4_000),
        },
        71 => Event::Unfinished { peer, bytes },
        72 => Event::Violate { peer },
        73 | 74 => Event::Urgent { peer },
        75 | 76 => Event::Close { peer },
        77 => Event::HalfClose { peer },
        78 => Event::HangUp { peer },
        79 => Event::Reset { peer },
        80..=84 => Event::Stall { peer },
        85..=89 => Event::Resume { peer },
        90 => Event::Mute {
            peer,
            is_mute: rng.bool(),
        },
        91 | 92 => Event::Reload {
            budgets: [Budgets::Ample, Budgets::Tight, Budgets::Tiny][rng.usize(0..3)],
        },
        93..=96 => Event::Command {
            peer,
            command: match rng.u8(0..9) {
                0..=2 => Told::Say,
                3 | 4 => Told::Join(room),
                5 | 6 => Told::Leave(room),
                7 => Told::Close,
                _ => Told::Hand,
            },
        },
        97 => Event::Shortage {
            accepts: rng.u8(1..4),
        },
        98 => Event::Standstill {
            ms: rng.u16(0..5_000),
        },
        _ => Event::Lose { room },
    }
}

impl Script {
    /// Its lines: the seed, then one step each.
    pub fn to_lines(&self) -> String {
        let mut lines = format!("{}\n", self.seed);
        for step in &self.steps {
            lines += &serde_json::to_string(step).expect("steps can be written");
            lines.push('\n');
        }
        lines
    }

    /// The script of these lines; those that begin with `#` are for people.
    pub fn of_lines(lines: &str) -> anyhow::Result<Self> {
        let mut lines = lines.lines().filter(|line| !line.starts_with('#'));
        let seed = lines.next().unwrap_or_default().parse()?;
        let steps = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Self { seed, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_reads_as_it_was_written_and_follows_from_its_seed() {
        for seed in 0..50 {
            let script = Script::of(seed);
            assert_eq!(script, Script::of(seed));
            let lines = format!("# why\n{}", script.to_lines());
            assert_eq!(Script::of_lines(&lines).unwrap(), script);
        }
        assert_ne!(Script::of(1).steps, Script::of(2).steps);
    }
}
