//! The workloads of the comparison.

mod back_ends;

use super::{Family, Work, Workload};
use crate::centrifuge::{Encoding, Transport as Way};
use crate::load::memberships::Spread;
use crate::load::mixed::Mix;
use crate::load::pace::Pace;
use crate::load::rooms::Shape;
use crate::load::sdk::{Burst, Layout, Role, Storm};
use crate::load::transport::Transport;
use crate::table::grouped;
use std::time::Duration;

/// For how long the pings of idle connections are measured: two of each, at 25 s.
const PINGS_WATCHED: Duration = Duration::from_secs(50);

/// All workloads, as far as the limit on open files permits.
#[must_use]
pub fn catalogue(open_files_max: u64) -> Vec<Workload> {
    let mut all = Vec::new();
    echoes(&mut all);
    one_room(&mut all);
    many_rooms(&mut all);
    memberships(&mut all);
    mixed(&mut all, open_files_max);
    encrypted(&mut all);
    compressed(&mut all);
    stalled(&mut all);
    cores(&mut all);
    connecting(&mut all);
    idle(&mut all, open_files_max);
    subscribers(&mut all);
    sdk(&mut all, open_files_max);
    passing_over(&mut all, open_files_max);
    back_ends::publishing(&mut all);
    back_ends::asking(&mut all);
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

/// One room of the Centrifuge protocol, beside a raw room of the same server.
fn subscribers(all: &mut Vec<Workload>) {
    for (subscribers, encoding, at_once) in [1_000, 10_000].into_iter().flat_map(|count| {
        let encodings = [Encoding::Json, Encoding::Protobuf];
        encodings
            .into_iter()
            .flat_map(move |it| [1, 32].map(|at_once| (count, it, at_once)))
    }) {
        let word = match encoding {
            Encoding::Json => "json",
            Encoding::Protobuf => "protobuf",
        };
        let name = format!("sdk-room-{subscribers}-{word}-deep{at_once}");
        let about = format!(
            "one room of the Centrifuge protocol with {} {word} subscribers, 128 B, {at_once} in flight, and a raw room before",
            grouped(subscribers as f64)
        );
        let work = Work::Sdk(Role::FanOut {
            subscribers,
            at_once,
            encoding,
        });
        let one = workload(&name, Family::Subscribers, &about, work);
        all.push(if (subscribers, at_once) == (1_000, 32) {
            one.tiny()
        } else {
            one
        });
    }
}

/// All else that clients of the Centrifuge protocol do.
fn sdk(all: &mut Vec<Workload>, open_files_max: u64) {
    let most = usize::try_from(open_files_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(500);
    let connections = most.min(10_000);
    let one = |name: &str, family, about: &str, role| {
        let about = format!("{about}, by the Centrifuge protocol");
        workload(name, family, &about, Work::Sdk(role))
    };
    let idle = |rooms: usize, watched| Role::Idle {
        layout: Layout::Rooms {
            rooms,
            members: connections / rooms,
        },
        watched,
        transport: Way::Websocket,
    };
    let streams = |transport| Role::Idle {
        layout: Layout::Rooms {
            rooms: 100,
            members: connections / 100,
        },
        watched: Duration::ZERO,
        transport,
    };
    let spread = Spread {
        connections: 1_000,
        rooms_each: 50,
        payload_bytes: 128,
        at_once: 32,
    };
    let storm = Storm {
        rooms: 100,
        members: connections / 100,
        missed: 20,
        transports: &[Way::Websocket],
    };
    let mixed = Storm {
        transports: &Way::ALL,
        ..storm
    };
    let burst = Burst {
        connects: 1_000,
        times: 5,
        probes: 100,
        rate: 5_000.0,
    };
    let count = grouped(connections as f64);
    all.extend([
        one(
            "sdk-idle-10000",
            Family::Subscribed,
            &format!("{count} idle connections with a subscription to one room each of 100, and their pings"),
            idle(100, PINGS_WATCHED),
        )
        .tiny(),
        one(
            "sdk-idle-10000-own",
            Family::Subscribed,
            &format!("{count} idle connections with a subscription to a room of their own"),
            idle(connections, Duration::ZERO),
        ),
        one(
            "sdk-idle-10000-http-stream",
            Family::Subscribed,
            &format!("{count} idle connections over streams of HTTP with a subscription to one room each of 100"),
            streams(Way::HttpStream),
        )
        .tiny(),
        one(
            "sdk-idle-10000-sse",
            Family::Subscribed,
            &format!("{count} idle connections over server-sent events with a subscription to one room each of 100"),
            streams(Way::Sse),
        )
        .tiny(),
        one(
            "sdk-connects",
            Family::Connects,
            "open, upgrade, connect, subscribe, reset",
            Role::Connects,
        )
        .tiny(),
        one(
            "sdk-recover-10000",
            Family::Recovery,
            &format!("{count} clients in 100 rooms are cut, miss 20 messages of 128 B, and come back at once"),
            Role::Recover(storm),
        )
        .tiny(),
        one(
            "sdk-recover-10000-mixed",
            Family::Recovery,
            &format!("{count} clients in 100 rooms are cut, miss 20 messages of 128 B, and come back over WebSockets, streams and events in turns"),
            Role::Recover(mixed),
        )
        .tiny(),
        one(
            "sdk-tokens-1000",
            Family::Tokens,
            "1,000 clients connect at once with tokens (RS256), beside 100 that publish 5,000 messages/s of 128 B",
            Role::Tokens(burst),
        )
        .tiny(),
        one(
            "sdk-1000x50-rooms",
            Family::Memberships,
            "1,000 connections in 50 of 1,000 rooms each, 128 B, 32 publications in flight",
            Role::Memberships(spread),
        )
        .tiny(),
    ]);
}

/// Rooms in which messages come faster than they can be told to everybody.
fn passing_over(all: &mut Vec<Workload>, open_files_max: u64) {
    let most = usize::try_from(open_files_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(500);
    let forms = [
        ("danmaku", 10_000, false),
        ("danmaku-gathered", 10_000, true),
        ("danmaku-1000", 1_000, false),
        ("danmaku-1000-gathered", 1_000, true),
    ];
    for (name, wanted, gathers) in forms {
        let subscribers = most.min(wanted);
        let about = format!(
            "one room of {}, 128 B, 300 messages/s{}, the oldest dropped for who is too slow, by the Centrifuge protocol",
            grouped(subscribers as f64),
            if gathers { ", gathered for 100 ms" } else { "" }
        );
        let work = Work::Sdk(Role::Danmaku {
            subscribers,
            rate: 300.0,
            gathers,
        });
        let one = workload(name, Family::Broadcast, &about, work);
        all.push(if wanted == 10_000 { one.tiny() } else { one });
    }
    let ticker = Work::Sdk(Role::Ticker {
        keys: 1_000,
        subscribers: 1_000,
        slow: 100,
        rate: 20_000.0,
    });
    let about = "1,000 keys, 20,000 updates/s of 48 B, 1,000 subscribers of whom 100 read slowly, by the Centrifuge protocol";
    all.push(workload("ticker", Family::Ticker, about, ticker).tiny());
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

fn memberships(all: &mut Vec<Workload>) {
    let spread = Spread {
        connections: 1_000,
        rooms_each: 50,
        payload_bytes: 128,
        at_once: 32,
    };
    let about = "1,000 connections in 50 of 1,000 rooms each, 128 B, 32 publications in flight";
    let work = Work::Memberships(spread);
    all.push(workload("1000x50-rooms", Family::Memberships, about, work).tiny());
}

fn mixed(all: &mut Vec<Workload>, open_files_max: u64) {
    let mut mix = Mix {
        large: 10_000,
        at_once: 32,
        rooms: 500,
        members: 10,
        room_rate: 1.0,
        echoes: 100,
        echo_rate: 20.0,
    };
    // The server has as many files open as there are connections.
    let most = usize::try_from(open_files_max)
        .unwrap_or(usize::MAX)
        .saturating_sub(500 + mix.probes());
    mix.large = mix.large.min(most.max(100));
    let about = format!(
        "one room of {}, 128 B, 32 in flight, beside 500 rooms of 10 (one message/s each) and 100 echoes (20/s each)",
        grouped(mix.large as f64)
    );
    all.push(workload("mixed", Family::Mixed, &about, Work::Mixed(mix)).tiny());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_leaves_the_server_files_to_spare() {
        for open_files_max in [1_024, 8_000, 20_000] {
            let all = catalogue(open_files_max);
            let mixed = all.iter().find(|one| one.name == "mixed").unwrap();
            let connections = mixed.work.connections();
            match open_files_max {
                20_000 => assert_eq!(connections, 15_100),
                8_000 => assert_eq!(connections, 7_500),
                _ => assert_eq!(connections, 5_200),
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let all = catalogue(20_000);
        let names: std::collections::HashSet<_> = all.iter().map(|one| &one.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
