//! The workloads: their names, what they do, and how they are driven.

use crate::load::connects;
use crate::load::dial::{Target, dial_all};
use crate::load::echo::Echo;
use crate::load::idle::{self, Memory};
use crate::load::link::Link;
use crate::load::meter::{Measured, Meter, Window};
use crate::load::pace::Pace;
use crate::load::reactor::{Driver, Io, drive};
use crate::load::rooms::{Rooms, Shape};
use crate::load::transport::{Compression, Transport};
use crate::load::wire::Template;
use crate::proc::Process;
use crate::table::grouped;
use anyhow::{Context as _, Result};
use codec::Kind;
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A member that never reads gets a small buffer, so that the server soon feels it.
const STALLED_RECEIVE_BYTES: usize = 8 * 1024;
/// Servers may answer a handshake before the room knows its member.
const SETTLE: Duration = Duration::from_millis(100);
const CONNECTS_AT_ONCE: usize = 64;
/// Payload of the one message with which an idle connection talks.
const TALK_BYTES: usize = 128;
/// The same if it is to be compressed: long enough that every server does.
const TALK_COMPRESSED_BYTES: usize = 1024;

/// What a workload does.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Each connection receives its own messages back.
    Echo {
        /// Connections.
        connections: usize,
        /// Of a message.
        payload_bytes: usize,
        /// When to send.
        pace: Pace,
    },
    /// Members of rooms receive what is sent there.
    Rooms {
        /// How many, and who sends.
        shape: Shape,
        /// Of a message.
        payload_bytes: usize,
        /// When to send.
        pace: Pace,
    },
    /// Memory of idle connections.
    Idle {
        /// Connections.
        connections: usize,
    },
    /// Connections a second.
    Connects,
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
    /// Members that do not read.
    Stalled,
    /// One room on more than one core.
    Cores,
    /// Memory.
    Idle,
    /// Connecting.
    Connects,
}

/// A named workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// For `--workloads`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Its part of the report.
    pub family: Family,
    /// Threads of the server.
    pub cores: usize,
    /// Whether it is in `--quick`.
    pub quick: bool,
    /// Whether it is in `--tiny`.
    pub tiny: bool,
    /// TLS and compression.
    pub transport: Transport,
    /// What it does.
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
        }
    }

    /// Whether it needs `/rooms/NAME`.
    #[must_use]
    pub fn needs_rooms(&self) -> bool {
        matches!(self, Self::Rooms { .. })
    }

    /// Whether `/echo` would do as well as a room.
    #[must_use]
    pub fn needs_echo(&self) -> bool {
        matches!(self, Self::Echo { .. })
    }

    /// Fewer connections and messages, for a smoke run.
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
        }
    }
}

/// What one run gave.
#[derive(Debug)]
pub enum Outcome {
    /// Of messages or connections.
    Measured(Measured),
    /// Of idle connections.
    Memory(Memory),
}

/// Drives a server that is ready. `echo` says whether it has `/echo`.
pub fn perform(
    work: &Work,
    target: &Target,
    process: Option<Process>,
    window: Window,
    echo: bool,
) -> Result<Outcome> {
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
            connects::measure(target, path, CONNECTS_AT_ONCE, meter).map(Outcome::Measured)
        }
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
    drive(io, driver).map(Outcome::Measured)
}

/// All workloads, as far as so many open files permit.
#[must_use]
pub fn catalogue(open_files_max: u64) -> Vec<Workload> {
    let mut all = Vec::new();
    echoes(&mut all);
    one_room(&mut all);
    many_rooms(&mut all);
    encrypted(&mut all);
    compressed(&mut all);
    stalled(&mut all);
    cores(&mut all);
    connecting(&mut all);
    idle(&mut all, open_files_max);
    all
}

fn connecting(all: &mut Vec<Workload>) {
    let one = |name, about| workload(name, Family::Connects, about, Work::Connects);
    all.extend([
        one("connects", "open, upgrade, close").quick().tiny(),
        one("connects-tls", "open, TLS, upgrade, close").over(Transport::TLS),
        one(
            "connects-tls-resumed",
            "open, TLS with the session of a connection before, upgrade, close",
        )
        .over(Transport::RESUMED)
        .tiny(),
    ]);
}

fn idle(all: &mut Vec<Workload>, open_files_max: u64) {
    let most = usize::try_from(open_files_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(500);
    let forms = [
        ("idle-10000", 10_000, "", Transport::default()),
        ("idle-10000-tls", 10_000, " over TLS", Transport::TLS),
        (
            "idle-10000-deflate",
            10_000,
            " with compression that keeps no context",
            Transport::DEFLATE,
        ),
        (
            "idle-10000-deflate-takeover",
            10_000,
            " with compression that keeps its contexts",
            Transport::TAKEOVER,
        ),
        ("idle-19000", 19_000, "", Transport::default()),
    ];
    for (name, wanted, form, transport) in forms {
        let connections = most.min(wanted);
        let about = format!(
            "memory of {} idle connections{form}, before and after a message",
            grouped(connections as f64)
        );
        let one = workload(name, Family::Idle, &about, Work::Idle { connections });
        let one = one.over(transport);
        all.push(match name {
            "idle-10000" => one.quick().tiny(),
            "idle-10000-tls" | "idle-10000-deflate-takeover" => one.tiny(),
            _ => one,
        });
    }
}

fn workload(name: &str, family: Family, about: &str, work: Work) -> Workload {
    Workload {
        name: name.to_owned(),
        about: about.to_owned(),
        family,
        cores: 1,
        quick: false,
        tiny: false,
        transport: Transport::default(),
        work,
    }
}

impl Workload {
    fn quick(self) -> Self {
        Self {
            quick: true,
            ..self
        }
    }

    fn tiny(self) -> Self {
        Self { tiny: true, ..self }
    }

    fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    fn on(self, cores: usize) -> Self {
        Self { cores, ..self }
    }
}

fn echo(name: &str, about: &str, connections: usize, payload_bytes: usize, pace: Pace) -> Workload {
    let work = Work::Echo {
        connections,
        payload_bytes,
        pace,
    };
    workload(name, Family::Echo, about, work)
}

fn echoes(all: &mut Vec<Workload>) {
    let one = Pace::Closed { at_once: 1 };
    for connections in [100, 1_000] {
        for (size, payload_bytes) in [("20B", 20), ("1KiB", 1024), ("16KiB", 16 * 1024)] {
            let name = format!("echo-{connections}x{size}");
            let about = format!(
                "echo, {} connections, {size}, one message in flight for each",
                grouped(connections as f64)
            );
            let one = echo(&name, &about, connections, payload_bytes, one);
            let quick = matches!(
                (connections, size),
                (100, "20B" | "16KiB") | (1_000, "1KiB")
            );
            let one = if quick { one.quick() } else { one };
            all.push(if connections == 100 { one.tiny() } else { one });
        }
    }
    let deep = Pace::Closed { at_once: 16 };
    let about = "echo, 100 connections, 20 B, 16 messages in one send, the next when all are back";
    all.push(
        echo("echo-100x20B-deep16", about, 100, 20, deep)
            .quick()
            .tiny(),
    );
    let fixed = Pace::Fixed {
        per_second: 20_000.0,
    };
    let about = "echo, 100 connections, 20 B, 20,000 messages/s whatever comes back";
    all.push(echo("echo-100x20B-rate", about, 100, 20, fixed).tiny());
}

fn shape(rooms: usize, members: usize, senders: usize) -> Shape {
    Shape {
        rooms,
        members,
        senders,
        stalled: 0,
    }
}

fn room(name: &str, about: &str, members: usize, pace: Pace) -> Workload {
    let work = Work::Rooms {
        shape: shape(1, members, 1),
        payload_bytes: 128,
        pace,
    };
    workload(name, Family::Room, about, work)
}

fn one_room(all: &mut Vec<Workload>) {
    for members in [10, 100, 1_000, 10_000] {
        for at_once in [1, 32] {
            let name = format!("room-{members}-deep{at_once}");
            let about = format!(
                "one room, {} subscribers, 128 B, {at_once} in flight",
                grouped(members as f64)
            );
            let one = room(&name, &about, members, Pace::Closed { at_once });
            let one = if members == 1_000 || members == 10 && at_once == 1 {
                one.quick()
            } else {
                one
            };
            all.push(if members == 1_000 { one.tiny() } else { one });
        }
    }
    for (members, per_second) in [(1_000, 100.0), (10_000, 10.0)] {
        let name = format!("room-{members}-rate");
        let about = format!(
            "one room, {} subscribers, 128 B, {per_second} messages/s",
            grouped(members as f64)
        );
        let one = room(&name, &about, members, Pace::Fixed { per_second });
        all.push(if members == 1_000 {
            one.quick().tiny()
        } else {
            one
        });
    }
}

fn many_rooms(all: &mut Vec<Workload>) {
    let pace = Pace::Closed { at_once: 1 };
    let work = Work::Rooms {
        shape: shape(1_000, 10, 1),
        payload_bytes: 128,
        pace,
    };
    let about = "1,000 rooms of 10, one sender in each, 128 B";
    all.push(workload("rooms-1000x10", Family::Rooms, about, work).tiny());
    let work = Work::Rooms {
        shape: shape(1, 50, 50),
        payload_bytes: 128,
        pace,
    };
    let about = "chat: everyone in a room of 50 talks, one message in flight each, 128 B";
    all.push(
        workload("chat-50", Family::Rooms, about, work)
            .quick()
            .tiny(),
    );
}

fn encrypted(all: &mut Vec<Workload>) {
    let pace = Pace::Closed { at_once: 1 };
    for (size, payload_bytes) in [("20B", 20), ("1KiB", 1024)] {
        let name = format!("echo-100x{size}-tls");
        let about =
            format!("echo over TLS, 100 connections, {size}, one message in flight for each");
        let one = echo(&name, &about, 100, payload_bytes, pace).over(Transport::TLS);
        all.push(match size {
            "1KiB" => one.quick(),
            _ => one.tiny(),
        });
    }
    for at_once in [1, 32] {
        let name = format!("room-1000-deep{at_once}-tls");
        let about = format!("one room over TLS, 1,000 subscribers, 128 B, {at_once} in flight");
        let one = room(&name, &about, 1_000, Pace::Closed { at_once }).over(Transport::TLS);
        all.push(if at_once == 32 { one.tiny() } else { one });
    }
}

fn compressed(all: &mut Vec<Workload>) {
    let about =
        "echo with compression, 100 connections, 1 KiB of chat, one message in flight for each";
    let pace = Pace::Closed { at_once: 1 };
    let one = echo("echo-100x1KiB-deflate", about, 100, 1024, pace);
    all.push(one.quick().tiny().over(Transport::DEFLATE));
    for at_once in [1, 32] {
        let name = format!("room-1000-deep{at_once}-deflate");
        let about = format!(
            "one room with compression, 1,000 subscribers, 1 KiB of chat, {at_once} in flight"
        );
        let work = Work::Rooms {
            shape: shape(1, 1_000, 1),
            payload_bytes: 1024,
            pace: Pace::Closed { at_once },
        };
        let one = workload(&name, Family::Room, &about, work).over(Transport::DEFLATE);
        all.push(if at_once == 32 { one.tiny() } else { one });
    }
}

fn stalled(all: &mut Vec<Workload>) {
    for stalled in [0, 100] {
        let shape = Shape {
            stalled,
            ..shape(1, 1_000, 1)
        };
        let pace = Pace::Fixed { per_second: 50.0 };
        let work = Work::Rooms {
            shape,
            payload_bytes: 4096,
            pace,
        };
        let about = format!(
            "one room, 4 KiB, 50 messages/s, 1,000 subscribers of whom {stalled} do not read"
        );
        let name = format!("stall-{}pct", stalled / 10);
        let one = workload(&name, Family::Stalled, &about, work);
        all.push(if stalled > 0 { one.tiny() } else { one });
    }
}

fn cores(all: &mut Vec<Workload>) {
    for at_once in [1, 32] {
        let name = format!("room-1000-deep{at_once}-2cores");
        let about = format!(
            "one room, 1,000 subscribers, 128 B, {at_once} in flight, server on 2 cores (shared with the load)"
        );
        let work = room("", "", 1_000, Pace::Closed { at_once }).work;
        let one = workload(&name, Family::Cores, &about, work).on(2);
        all.push(if at_once == 32 {
            one.quick().tiny()
        } else {
            one
        });
    }
}

/// Whether a name fits one of the patterns, which commas part; `*` stands for anything.
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

    #[test]
    fn names_are_unique() {
        let all = catalogue(20_000);
        let names: std::collections::HashSet<_> = all.iter().map(|one| &one.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
