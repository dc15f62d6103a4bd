//! Thousands of peers that come and go, or never quite go: the server keeps nothing of them.

use std::{io::Write, net::TcpStream, thread, time::Duration};

use crate::{
    baseline::{Baseline, loses_no_memory},
    client::{Client, scrape},
    harness::{Driver, Server, eventually},
    process,
    wire::{self, BINARY, Raw, TEXT},
};

on_both_drivers![
    rooms_by_the_thousand_come_and_go,
    rooms_beyond_the_most_shut_nobody_out_of_theirs,
    connections_that_are_reset_by_the_ten_thousand_leave_nothing,
    peers_that_never_finish_a_close_are_let_go,
];

/// Asks to join a room, and does not wait for the answer.
fn join(server: &Server, room: &str) -> TcpStream {
    let mut stream = wire::connect(server.address());
    let request = wire::upgrade(&format!("/rooms/{room}"));
    wire::send(&mut stream, request.as_bytes());
    stream
}

fn rooms_by_the_thousand_come_and_go(driver: Driver) {
    const ROOMS: usize = 1_500;
    process::allow_descriptors(ROOMS + 1_000);
    let bounds = ["--cores", "2", "--rooms-max", "2000"];
    let flags = [&bounds[..], &["--room-idle-timeout", "100ms"]].concat();
    let server = Server::start(driver, &flags);
    let mut kept = Client::join(&server, "kept");
    let gauge = |name: &str| scrape(&server)[name];
    let message = wire::frame(BINARY, &[9; 1000]);
    let mut round = 0;
    loses_no_memory(&server, |baseline| {
        round += 1;
        // The names have the greatest length and are all different, and each room gets a message.
        let members = (0..ROOMS).map(|n| {
            let name = format!("{round}-{n}");
            let mut stream = join(&server, &format!("{name:x>255}"));
            wire::send(&mut stream, &message);
            stream
        });
        let members: Vec<_> = members.collect();
        eventually("all rooms are there", || {
            gauge("hubbub_rooms") == ROOMS as f64 + 1.0
        });
        kept.send("still here");
        assert_eq!(kept.text(), "still here");
        baseline.serves_others();
        drop(members);
        eventually("the rooms are gone", || gauge("hubbub_rooms") == 1.0);
        assert_eq!(gauge("hubbub_subscriptions"), 1.0);
    });
}

/// Existing rooms can still be joined.
fn rooms_beyond_the_most_shut_nobody_out_of_theirs(driver: Driver) {
    const ROOMS: usize = 1_000;
    process::allow_descriptors(ROOMS + 1_000);
    let bounds = ["--cores", "2", "--rooms-max", "1000"];
    let flags = [&bounds[..], &["--room-idle-timeout", "100ms"]].concat();
    let server = Server::start(driver, &flags);
    let mut kept = Client::join(&server, "kept");
    let rooms = || scrape(&server)["hubbub_rooms"];
    let crowd: Vec<_> = (0..ROOMS + 100)
        .map(|n| join(&server, &n.to_string()))
        .collect();
    eventually("there are as many as there may be", || {
        rooms() == ROOMS as f64
    });
    let mut second = Client::join(&server, "kept");
    second.send("we are two");
    assert_eq!(kept.text(), "we are two");
    let refused = crate::client::ask(&server, wire::upgrade("/rooms/another"));
    assert_eq!(refused.status, 503);
    drop(crowd);
    eventually("the rooms are gone", || rooms() == 1.0);
    Client::join(&server, "another").leave();
}

/// Resets come before a request, within one, behind one, and within a frame.
fn connections_that_are_reset_by_the_ten_thousand_leave_nothing(driver: Driver) {
    const THREADS: usize = 4;
    let server = Server::start(driver, &["--cores", "2"]);
    let churn = |cycles: usize| {
        let upgrade = wire::upgrade("/rooms/churn").into_bytes();
        let frame = wire::frame(TEXT, b"half of it");
        let more = [&upgrade[..], &frame[..8]].concat();
        let parts = [&[], &upgrade[..20], &upgrade[..], &more[..]];
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for n in 0..cycles / THREADS {
                        let mut stream = wire::connect(server.address());
                        wire::send(&mut stream, parts[n % parts.len()]);
                        wire::reset(stream);
                    }
                });
            }
        });
    };
    loses_no_memory(&server, |_| churn(5_000));
    let samples = scrape(&server);
    assert_eq!(samples["hubbub_subscriptions"], 0.0);
    assert_eq!(samples["hubbub_send_queues_held_bytes"], 0.0);
}

/// Some have broken a rule, some have sent a close, some do not even read. None closes its socket.
fn peers_that_never_finish_a_close_are_let_go(driver: Driver) {
    let timeouts = ["--close-timeout", "500ms", "--write-timeout", "500ms"];
    let server = Server::start(driver, &[&timeouts[..], &["--cores", "2"]].concat());
    let mut baseline = Baseline::of(&server);
    let mut held = Vec::new();
    for n in 0..150 {
        let stream = wire::connect_narrow(server.address(), 4096);
        let mut raw = Raw::over(stream, wire::upgrade("/echo"));
        match n % 3 {
            0 => raw.send(wire::unmasked(TEXT, b"bad")),
            1 => raw.send(wire::close(1000)),
            _ => {
                // Its TCP window is closed before it sends its close frame.
                raw.stream
                    .set_write_timeout(Some(Duration::from_millis(50)))
                    .unwrap();
                let large = wire::frame(BINARY, &[0; 64 << 10]).repeat(4);
                let _ = raw.stream.write_all(&large);
                let _ = raw.stream.write_all(&wire::close(1000));
            }
        }
        held.push(raw);
    }
    baseline.is_restored();
    drop(held);
}
