//! The workloads: their names, their work, and how they are driven.

mod catalogue;

pub use catalogue::catalogue;

use crate::load::backend::{self, Beside, Page, Task};
use crate::load::connects;
use crate::load::dial::{Target, dial_all};
use crate::load::echo::Echo;
use crate::load::idle::{self, Memory};
use crate::load::link::Link;
use crate::load::memberships::{self, Spread};
use crate::load::meter::{Measured, Meter, Window};
use crate::load::mixed::{self, Mix};
use crate::load::pace::Pace;
use crate::load::reactor::{Driver, Io, drive};
use crate::load::rooms::{Rooms, Shape};
use crate::load::sdk::{self, Role, Signer};
use crate::load::transport::{Compression, Transport};
use crate::load::wire::Template;
use crate::proc::Process;
use anyhow::{Context as _, Result};
use codec::Kind;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The receive buffer of a member that never reads. It is small, so that the server notices soon.
const STALLED_RECEIVE_BYTES: usize = 8 * 1024;
/// A server may answer a handshake before the room knows its member, so the load waits this long.
const SETTLE: Duration = Duration::from_millis(100);
const CONNECTS_AT_ONCE: usize = 64;
/// Payload bytes of the one message that each idle connection sends.
const TALK_BYTES: usize = 128;
/// The same for compression: long enough that every server compresses it.
const TALK_COMPRESSED_BYTES: usize = 1024;

/// The work of a workload.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Each connection receives its own messages.
    Echo {
        /// The number of connections.
        connections: usize,
        /// Payload bytes of each message.
        payload_bytes: usize,
        /// When messages are sent.
        pace: Pace,
    },
    /// Members of rooms receive what is sent to their room.
    Rooms {
        /// The number of rooms, members and senders.
        shape: Shape,
        /// Payload bytes of each message.
        payload_bytes: usize,
        /// When messages are sent.
        pace: Pace,
    },
    /// Measures the memory of idle connections.
    Idle {
        /// The number of connections.
        connections: usize,
    },
    /// Opens and closes connections.
    Connects,
    /// A large room beside small rooms and echoes.
    Mixed(Mix),
    /// Connections that are in many rooms each.
    Memberships(Spread),
    /// Clients of the Centrifuge protocol.
    Sdk(Role),
    /// A back end beside such clients.
    Backend(Task),
}

/// The part of the report a workload belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Messages returned to their sender.
    Echo,
    /// One room.
    Room,
    /// Many rooms, or many senders.
    Rooms,
    /// Many rooms for one connection.
    Memberships,
    /// Small rooms and echoes beside a large room.
    Mixed,
    /// One room of clients of the Centrifuge protocol.
    Subscribers,
    /// Idle clients of the Centrifuge protocol.
    Subscribed,
    /// Clients that recover at once.
    Recovery,
    /// Clients that come with tokens.
    Tokens,
    /// A room whose messages come faster than all of them can be delivered.
    Broadcast,
    /// The latest value of each of many keys.
    Ticker,
    /// Members that do not read.
    Stalled,
    /// One room on more than one core.
    Cores,
    /// Memory of idle connections.
    Idle,
    /// Opening connections.
    Connects,
    /// Publications of a back end.
    Api,
    /// Clients about whom a back end is asked.
    Hooks,
    /// Pages of health while the API is flooded.
    Health,
}

/// A named workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The name, for `--workloads`.
    pub name: String,
    /// A description in one line.
    pub about: String,
    /// The family that it belongs to.
    pub family: Family,
    /// Threads of the server.
    pub cores: usize,
    /// Whether `--quick` includes it.
    pub quick: bool,
    /// Whether `--tiny` includes it.
    pub tiny: bool,
    /// TLS and compression.
    pub transport: Transport,
    /// The work that is done.
    pub work: Work,
}

impl Work {
    /// Connections that are open at the same time.
    #[must_use]
    pub fn connections(&self) -> usize {
        match self {
            Self::Echo { connections, .. } | Self::Idle { connections } => *connections,
            Self::Rooms { shape, .. } => shape.connections(),
            Self::Connects => CONNECTS_AT_ONCE,
            Self::Mixed(mix) => mix.large + mix.probes(),
            Self::Memberships(spread) => spread.connections,
            Self::Sdk(role) => role.connections(),
            Self::Backend(task) => task.connections(),
        }
    }

    /// Whether it needs `/rooms/NAME`.
    #[must_use]
    pub fn needs_rooms(&self) -> bool {
        matches!(self, Self::Rooms { .. } | Self::Mixed(_))
    }

    /// Whether it needs `/echo`.
    #[must_use]
    pub fn needs_echo(&self) -> bool {
        matches!(self, Self::Echo { .. } | Self::Mixed(_))
    }

    /// Whether its clients speak the Centrifuge protocol.
    #[must_use]
    pub fn needs_sdk(&self) -> bool {
        matches!(self, Self::Sdk(_) | Self::Backend(_))
    }

    /// Reduces connections and messages for a smoke run.
    pub fn shrink(&mut self) {
        match self {
            Self::Echo { connections, .. } => *connections = (*connections).min(20),
            Self::Idle { connections } => *connections = 200,
            Self::Rooms { shape, pace, .. } => {
                shape.rooms = shape.rooms.min(20);
                shape.members = shape.members.min(50);
                shape.senders = shape.senders.min(shape.members);
                shape.stalled = shape.stalled.min(shape.members / 10);
                if let Pace::Fixed { per_second } = pace {
                    *per_second = per_second.min(200.0);
                }
            }
            Self::Connects => {}
            Self::Mixed(mix) => {
                *mix = Mix {
                    large: mix.large.min(100),
                    rooms: mix.rooms.min(20),
                    room_rate: 10.0,
                    echoes: mix.echoes.min(20),
                    ..*mix
                };
            }
            Self::Memberships(spread) => {
                spread.connections = spread.connections.min(60);
                spread.rooms_each = spread.rooms_each.min(10);
            }
            Self::Sdk(role) => role.shrink(),
            Self::Backend(task) => task.shrink(),
        }
    }
}

/// A server that is ready to be driven.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// How the load connects to it.
    pub target: &'a Target,
    /// Its process, if that is known.
    pub process: Option<Process>,
    /// Whether it serves `/echo`.
    pub echo: bool,
    /// Whether rooms of the Centrifuge protocol are compared with `/rooms/NAME`.
    pub raw_rooms: bool,
    /// Whether it can pass over messages for subscribers that are too slow, instead of closing them.
    pub passes_over: bool,
    /// The key that it takes tokens of, if it is known.
    pub signer: Option<&'a Signer>,
    /// What it has beside its public listener.
    pub beside: Beside,
    /// The key of its API.
    pub api_key: &'a str,
    /// Its pages of health and metrics, and their paths.
    pub pages: &'a [(Page, &'static str)],
    /// A server like it that asks no back end, where this one does.
    pub plain: Option<(&'a Target, &'a Process)>,
}

/// The results of one run.
#[derive(Debug)]
pub enum Outcome {
    /// Figures of messages or connections.
    Measured(Box<Measured>),
    /// Memory of idle connections.
    Memory(Memory),
}

/// Drives a server; `prober` says which processor the probes of mixed workloads run on.
pub fn perform(
    work: &Work,
    subject: &Subject<'_>,
    window: Window,
    prober: usize,
) -> Result<Outcome> {
    let (target, echo) = (subject.target, subject.echo);
    let process = subject.process.clone();
    let is_compressed = target.compression != Compression::Off;
    let template = |payload_bytes| match is_compressed {
        true => Template::compressed(payload_bytes),
        false => Template::new(target.framing, Kind::Text, payload_bytes),
    };
    match *work {
        Work::Echo {
            connections,
            payload_bytes,
            pace,
        } => {
            let links = dial_all(target, 0..connections, |_| "/echo".to_owned())?;
            let mut driver = Echo::new(template(payload_bytes), connections, pace);
            let io = Io::new(links, Meter::new(window, process), |_| true)?;
            measure(io, &mut driver)
        }
        Work::Rooms {
            shape,
            payload_bytes,
            pace,
        } => {
            let links = join(target, shape)?;
            let mut driver = Rooms::new(template(payload_bytes), shape, pace);
            let io = Io::new(links, Meter::new(window, process), |index| {
                shape.reads(index)
            })?;
            measure(io, &mut driver)
        }
        Work::Idle { connections } => {
            let process = process.context("memory needs the server's process: give --pid")?;
            let path = |index| match echo {
                true => "/echo".to_owned(),
                false => format!("/rooms/idle{index}"),
            };
            let mut template = template(match is_compressed {
                true => TALK_COMPRESSED_BYTES,
                false => TALK_BYTES,
            });
            idle::measure(
                target,
                &process,
                connections,
                window.steps(),
                &mut template,
                path,
            )
            .map(Outcome::Memory)
        }
        Work::Connects => {
            let path = if echo { "/echo" } else { "/rooms/connects" };
            let meter = Meter::new(window, process);
            connects::measure(target, path, CONNECTS_AT_ONCE, meter).map(measured)
        }
        Work::Mixed(mix) => mixed::measure(target, process, window, mix, prober).map(measured),
        Work::Memberships(spread) => {
            memberships::measure(target, process, window, spread).map(measured)
        }
        Work::Sdk(role) => sdk::measure(subject, window, role).map(measured),
        Work::Backend(task) => backend::measure(subject, window, task).map(measured),
    }
}

fn join(target: &Target, shape: Shape) -> Result<Vec<Link>> {
    let path = |index: usize| format!("/rooms/r{}", index / shape.members);
    let links = dial_all(target, 0..shape.connections(), path)?;
    for (_, link) in links
        .iter()
        .enumerate()
        .filter(|(index, _)| !shape.reads(*index))
    {
        sockopt::set_socket_recv_buffer_size(link.socket(), STALLED_RECEIVE_BYTES)?;
    }
    std::thread::sleep(SETTLE);
    Ok(links)
}

fn measure(io: Io, driver: &mut dyn Driver) -> Result<Outcome> {
    drive(io, driver).map(measured)
}

fn measured(measured: Measured) -> Outcome {
    Outcome::Measured(Box::new(measured))
}

/// Whether a name matches one of the comma-separated patterns, in which `*` stands for anything.
#[must_use]
pub fn fits(patterns: &str, name: &str) -> bool {
    patterns
        .split(',')
        .any(|pattern| fits_one(pattern.trim(), name))
}

fn fits_one(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && fits_one(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_names() {
        assert!(fits("echo-*", "echo-100x20B"));
        assert!(fits("idle-*,room-*-rate", "room-1000-rate"));
        assert!(!fits("room-*-rate", "room-1000-deep1"));
        assert!(fits("*", "connects"));
        assert!(!fits("echo", "echo-100x20B"));
    }
}
