//! A server that stood still: it reads what arrived meanwhile before it acts on any deadline, and
//! urgent data hides nothing behind it.

use std::{thread, time::Duration};

use rustix::process::Signal;
use socket2::SockRef;

use crate::{
    harness::{Driver, Server, eventually},
    process,
    wire::{self, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    what_came_while_the_server_stood_still_counts_before_any_deadline,
    frames_behind_urgent_data_are_read_at_once,
];

const DEADLINE: &str = "2s";
const STANDSTILL: Duration = Duration::from_millis(2_500);

/// Stops the server while `work` runs.
fn while_it_stands_still(server: &Server, work: impl FnOnce()) {
    server.signal(Signal::STOP);
    eventually("it stands still", || process::state(server.pid()) == 'T');
    work();
    server.signal(Signal::CONT);
}

fn what_came_while_the_server_stood_still_counts_before_any_deadline(driver: Driver) {
    let flags = [
        "--handshake-timeout",
        "--message-timeout",
        "--pong-timeout",
        "--close-timeout",
    ];
    let flags = flags.iter().flat_map(|flag| [*flag, DEADLINE]);
    let flags: Vec<_> = flags.chain(["--ping-interval", "100ms"]).collect();
    let server = Server::start(driver, &flags);
    let (begin, rest) = (wire::upgrade("/echo"), wire::frame(TEXT, &[b'a'; 1000]));

    let mut pinged: Vec<_> = (0..20).map(|_| Raw::open(&server, "/echo")).collect();
    let pings: Vec<_> = pinged.iter_mut().map(Raw::frame).collect();
    let mut within: Vec<_> = (0..20).map(|_| Raw::open(&server, "/echo")).collect();
    within.iter_mut().for_each(|raw| raw.send(&rest[..500]));
    let mut asking: Vec<_> = (0..20).map(|_| wire::connect(server.address())).collect();
    for stream in &mut asking {
        wire::send(stream, &begin.as_bytes()[..30]);
    }
    while_it_stands_still(&server, || {
        thread::sleep(STANDSTILL);
        for (raw, ping) in pinged.iter_mut().zip(&pings) {
            assert_eq!(ping.opcode(), PING);
            raw.send(wire::frame(PONG, &ping.payload));
            raw.send(wire::frame(TEXT, b"here"));
        }
        within.iter_mut().for_each(|raw| raw.send(&rest[500..]));
        for stream in &mut asking {
            wire::send(stream, &begin.as_bytes()[30..]);
        }
    });
    for raw in &mut pinged {
        assert_eq!(raw.message().payload, b"here");
    }
    for raw in &mut within {
        assert_eq!(raw.message().payload, [b'a'; 1000]);
    }
    for stream in asking {
        Raw::over(stream, "");
    }
    eventually("the log tells that it stood still", || {
        server.log().contains("did not run for a while")
    });
}

fn frames_behind_urgent_data_are_read_at_once(driver: Driver) {
    let server = Server::start(driver, &["--cores", "1"]);
    for path in ["/echo", "/rooms/urgent"] {
        let mut raw = Raw::open(&server, path);
        // There is one urgent mark at a time, because the kernel knows only the latest.
        for _ in 0..2 {
            while_it_stands_still(&server, || {
                raw.send(wire::frame(TEXT, b"before"));
                SockRef::from(&raw.stream).send_out_of_band(b"!").unwrap();
                raw.send(wire::frame(TEXT, b"behind"));
            });
            assert_eq!(raw.frame().payload, b"before", "{path}");
            assert_eq!(raw.frame().payload, b"behind", "{path}");
        }
    }
}
