//! Clients that speak the Centrifuge protocol, as unmodified SDKs do, in each of the roles that a bench has for them.
//!
//! ```text
//!   opening (dial, connect, subscribe) ──▶ publishing (rooms, closed loop) ──▶ publications (checked)
//!      │                              └──▶ idle (memory, pings)
//!   steady (at a rate, some of whom read slowly) ──▶ danmaku │ ticker (checked, messages may be passed over)
//!   client (one that comes by itself) ──▶ connects │ recovery │ tokens (beside probes: ordinary rooms at a rate)
//!      └── inbox (frames to what the server says) ── layout (who is in which room)
//! ```

pub(in crate::load) mod client;
mod connects;
mod danmaku;
mod idle;
pub(in crate::load) mod inbox;
pub(in crate::load) mod layout;
pub(in crate::load) mod opening;
pub(in crate::load) mod probes;
pub(in crate::load) mod publications;
mod publishing;
mod recovery;
mod steady;
mod ticker;
mod tokens;

pub use layout::Layout;
pub use recovery::Storm;
pub use tokens::{Burst, Signer};

use super::dial::dial_all;
use super::memberships::{Held, Spread};
use super::meter::{Measured, Meter, Window};
use super::pace::Pace;
use super::reactor::{Io, drive};
use super::rooms::{Rooms, Shape};
use super::wire::Template;
use crate::centrifuge::{Encoding, Transport};
use crate::proc::Process;
use crate::results::Figure;
use crate::workload::Subject;
use anyhow::{Context as _, Result};
use codec::Kind;
use danmaku::Danmaku;
use inbox::Inbox;
use publishing::Publishing;
use std::thread::sleep;
use std::time::Duration;
use steady::Steady;
use ticker::Ticker;

/// Clients that are on their way at a time in [`Role::Connects`].
const CONNECTS_AT_ONCE: usize = 64;
/// A server may answer a handshake before the room knows its member, so the load waits this long.
const SETTLE: Duration = Duration::from_millis(100);
const PAYLOAD_BYTES: usize = 128;
/// A price and what belongs to it.
const TICKER_PAYLOAD_BYTES: usize = 48;
/// Connections that publish updates; each has keys of its own.
const TICKER_PUBLISHERS: usize = 20;

/// What rooms are like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Namespaces {
    /// They remember their last messages, and everybody can recover.
    Remembering,
    /// They drop the oldest messages for subscribers that are too slow.
    Dropping,
    /// The same, and they gather messages for a tenth of a second.
    Gathering,
    /// They have the latest value of each key.
    Keys,
}

/// What clients do.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Role {
    /// One publishes in a room, all receive; a raw room of the same server does the same before.
    FanOut {
        /// Subscribers of the room.
        subscribers: usize,
        /// Publications in flight.
        at_once: u32,
        /// The encoding of all subscribers.
        encoding: Encoding,
    },
    /// Connections are in many rooms each.
    Memberships(Spread),
    /// Connections do nothing but answer pings.
    Idle {
        /// Who is in which room.
        layout: Layout,
        /// For how long their pings are measured; zero if only their memory is.
        watched: Duration,
        /// How they are connected.
        transport: Transport,
    },
    /// One room in which so much is said that not everybody can be told all of it.
    Danmaku {
        /// Who listens.
        subscribers: usize,
        /// Messages a second.
        rate: f64,
        /// Whether the room gathers its messages, for a tenth of a second.
        gathers: bool,
    },
    /// Keys whose latest values count.
    Ticker {
        /// The number of keys.
        keys: usize,
        /// Who listens.
        subscribers: usize,
        /// How many of these read slowly.
        slow: usize,
        /// Updates a second, of all keys together.
        rate: f64,
    },
    /// They connect, subscribe and go.
    Connects,
    /// They are cut at once and recover at once.
    Recover(Storm),
    /// They connect with tokens, beside others.
    Tokens(Burst),
}

impl Role {
    /// Connections that are open at the same time.
    #[must_use]
    pub fn connections(&self) -> usize {
        match self {
            Self::FanOut { subscribers, .. } => *subscribers,
            Self::Memberships(spread) => spread.connections,
            Self::Idle { layout, .. } => layout.connections(),
            Self::Danmaku { subscribers, .. } => subscribers + 1,
            Self::Ticker { subscribers, .. } => subscribers + TICKER_PUBLISHERS,
            Self::Connects => CONNECTS_AT_ONCE,
            Self::Recover(storm) => storm.clients(),
            Self::Tokens(burst) => burst.connections(),
        }
    }

    /// The rules that its rooms need.
    #[must_use]
    pub fn namespaces(&self) -> Namespaces {
        match self {
            Self::Danmaku { gathers: false, .. } => Namespaces::Dropping,
            Self::Danmaku { gathers: true, .. } => Namespaces::Gathering,
            Self::Ticker { .. } => Namespaces::Keys,
            _ => Namespaces::Remembering,
        }
    }

    /// Reduces connections for a smoke run.
    pub fn shrink(&mut self) {
        match self {
            Self::FanOut { subscribers, .. } => *subscribers = (*subscribers).min(50),
            Self::Memberships(spread) => {
                spread.connections = spread.connections.min(60);
                spread.rooms_each = spread.rooms_each.min(10);
            }
            Self::Danmaku {
                subscribers, rate, ..
            } => {
                *subscribers = (*subscribers).min(50);
                *rate = rate.min(200.0);
            }
            Self::Ticker {
                keys,
                subscribers,
                slow,
                rate,
            } => {
                *keys = (*keys).min(100);
                *subscribers = (*subscribers).min(20);
                *slow = (*slow).min(2);
                *rate = rate.min(2_000.0);
            }
            Self::Idle {
                layout, watched, ..
            } => {
                *layout = Layout::Rooms {
                    rooms: 2,
                    members: 50,
                };
                *watched = (*watched).min(Duration::from_millis(200));
            }
            Self::Connects => {}
            Self::Recover(storm) => {
                storm.rooms = storm.rooms.min(4);
                storm.members = storm.members.min(25);
            }
            Self::Tokens(burst) => {
                burst.connects = burst.connects.min(40);
                burst.times = 1;
                burst.probes = burst.probes.min(10);
                burst.rate = burst.rate.min(500.0);
            }
        }
    }
}

/// Drives a server with clients in this role.
pub fn measure(server: &Subject<'_>, window: Window, role: Role) -> Result<Measured> {
    let target = server.target;
    let process = || {
        let process = server.process.clone();
        process.context("this needs the server's process: give --pid")
    };
    match role {
        Role::FanOut {
            subscribers,
            at_once,
            encoding,
        } => fan_out(server, window, subscribers, at_once, encoding),
        Role::Memberships(spread) => memberships(server, window, spread),
        Role::Idle {
            layout,
            watched,
            transport: Transport::Websocket,
        } => idle::measure(target, &process()?, window, layout, watched),
        Role::Idle {
            layout, transport, ..
        } => idle::measure_streams(target, &process()?, window, layout, transport),
        Role::Danmaku {
            subscribers,
            rate,
            gathers,
        } => {
            let room = match gathers {
                true => "danmaku-gathered:room",
                false => "danmaku:room",
            };
            let steady = Steady {
                publishers: 1,
                subscribers,
                slow: 0,
                rate,
                may_close: !server.passes_over,
            };
            let mut audience = Danmaku::new(room, subscribers, PAYLOAD_BYTES);
            steady::measure(target, &process()?, window, steady, &mut audience)
        }
        Role::Ticker {
            keys,
            subscribers,
            slow,
            rate,
        } => {
            let publishers = TICKER_PUBLISHERS;
            let steady = Steady {
                publishers,
                subscribers,
                slow,
                rate,
                may_close: !server.passes_over,
            };
            let payload_bytes = TICKER_PAYLOAD_BYTES;
            let (keys, listen) = ([keys, publishers], [subscribers, slow]);
            let mut audience = Ticker::new("ticker:room", keys, listen, payload_bytes);
            steady::measure(target, &process()?, window, steady, &mut audience)
        }
        Role::Connects => {
            let meter = Meter::new(window, server.process.clone());
            connects::measure(target, CONNECTS_AT_ONCE, meter)
        }
        Role::Recover(storm) => recovery::measure(target, &process()?, window, storm),
        Role::Tokens(burst) => {
            let signer = server.signer;
            let signer =
                signer.context("this needs a server that verifies with the bench's key")?;
            tokens::measure(target, &process()?, window, burst, signer)
        }
    }
}

fn fan_out(
    server: &Subject<'_>,
    window: Window,
    subscribers: usize,
    at_once: u32,
    encoding: Encoding,
) -> Result<Measured> {
    let raw = |payload_bytes| match server.raw_rooms {
        true => raw_room(server, window, subscribers, at_once, payload_bytes).map(Some),
        false => Ok(None),
    };
    let short = raw(PAYLOAD_BYTES)?;
    let layout = Layout::Rooms {
        rooms: 1,
        members: subscribers,
    };
    let mut inbox = Inbox::new(encoding, subscribers);
    let mut links = opening::connect(server.target, encoding, 0..subscribers, &mut inbox)?;
    let positions = opening::subscribe(&mut links, encoding, layout, &mut inbox)?;
    inbox.longest = 0;
    let mut driver = Publishing::new(encoding, layout, &positions, PAYLOAD_BYTES, at_once, inbox);
    let io = Io::new(links, Meter::new(window, server.process.clone()), |_| true)?;
    let mut measured = drive(io, &mut driver)?;
    let each = |it: &Measured| Some(it.server?.all_ns() / it.operations.max(1) as f64);
    let long = raw(driver.longest())?;
    let costs = (short.as_ref().and_then(each), long.as_ref().and_then(each));
    if let ((Some(short), Some(long)), Some(own)) = (costs, each(&measured)) {
        measured.more = vec![
            (Figure::RawCpuNs, short),
            (Figure::RawRatio, own / short),
            (Figure::LongRawCpuNs, long),
            (Figure::LongRawRatio, own / long),
        ];
    }
    Ok(measured)
}

/// The same in a raw room of the same server with messages of so many bytes. Its connections are gone afterwards.
fn raw_room(
    server: &Subject<'_>,
    window: Window,
    members: usize,
    at_once: u32,
    payload_bytes: usize,
) -> Result<Measured> {
    let shape = Shape {
        rooms: 1,
        members,
        senders: 1,
        stalled: 0,
    };
    let path = |_| "/rooms/raw".to_owned();
    let links = dial_all(server.target, 0..members, path)?;
    sleep(SETTLE);
    let template = Template::new(server.target.framing, Kind::Text, payload_bytes);
    let mut driver = Rooms::new(template, shape, Pace::Closed { at_once });
    let io = Io::new(links, Meter::new(window, server.process.clone()), |_| true)?;
    let measured = drive(io, &mut driver)?;
    sleep(SETTLE);
    Ok(measured)
}

fn memberships(server: &Subject<'_>, window: Window, spread: Spread) -> Result<Measured> {
    let encoding = Encoding::Json;
    let layout = Layout::Spread(spread);
    let settled = || {
        sleep(window.steps().settle);
        server
            .process
            .as_ref()
            .map(Process::resident_bytes)
            .transpose()
    };
    let base = settled()?;
    let mut inbox = Inbox::new(encoding, spread.connections);
    let mut links = opening::connect(server.target, encoding, 0..spread.connections, &mut inbox)?;
    let connected = settled()?;
    let positions = opening::subscribe(&mut links, encoding, layout, &mut inbox)?;
    let joined = settled()?;
    let (payload_bytes, at_once) = (spread.payload_bytes, spread.at_once as u32);
    let mut driver = Publishing::new(encoding, layout, &positions, payload_bytes, at_once, inbox);
    let io = Io::new(links, Meter::new(window, server.process.clone()), |_| true)?;
    let mut measured = drive(io, &mut driver)?;
    measured.held = Held::of(spread, base, connected, joined);
    Ok(measured)
}
