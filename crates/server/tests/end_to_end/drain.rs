//! Shutting down: connections are closed at an even pace, then the process ends with an exit code.

use std::{
    fs,
    io::{ErrorKind, Read},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    client::{Client, Response, scrape},
    harness::{Driver, Server, eventually},
    wire::{self, Heard, Raw, TEXT},
};

on_both_drivers![
    signal_with_nobody_there_ends_the_process_at_once,
    connections_are_closed_with_1001_at_an_even_pace,
    single_connection_is_closed_at_once,
    connections_that_wait_for_their_close_are_served,
    requests_under_way_are_answered_503,
    listeners_close_at_once,
    second_signal_ends_the_process_at_once,
    answer_that_is_read_by_drips_does_not_hold_the_drain,
    connections_come_and_are_served_while_the_drain_is_delayed,
    drain_begins_after_its_delay,
    interrupted_server_drains_within_a_time_of_its_own,
];

fn signal_with_nobody_there_ends_the_process_at_once(driver: Driver) {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(driver, &["--drain-timeout", "1h"]);
        Client::connect(&server, "/echo").leave();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
    }
}

fn connections_are_closed_with_1001_at_an_even_pace(driver: Driver) {
    let total = Duration::from_secs(2);
    let flags = ["--cores", "2", "--drain-timeout", "2s"];
    let mut server = Server::start(driver, &flags);
    let clients: Vec<_> = (0..50)
        .map(|n| match n % 2 {
            0 => Client::connect(&server, "/echo"),
            _ => Client::join(&server, "drained"),
        })
        .collect();
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let closing: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            thread::spawn(move || {
                assert_eq!(client.closed(), 1001);
                begun.elapsed()
            })
        })
        .collect();
    let after: Vec<_> = closing.into_iter().map(|c| c.join().unwrap()).collect();
    assert_eq!(server.wait().code(), Some(0));

    let early = after.iter().filter(|after| **after < total / 5).count();
    let late = after.iter().filter(|after| **after > total / 2).count();
    assert!(early <= 25, "{early} of 50 in the first fifth: {after:?}");
    assert!(late >= 10, "{late} of 50 in the second half: {after:?}");
    let last = after.iter().max().unwrap();
    assert!(*last < total + Duration::from_secs(5), "the last {last:?}");
}

fn single_connection_is_closed_at_once(driver: Driver) {
    let mut server = Server::start(driver, &["--drain-timeout", "1h"]);
    let mut client = Client::join(&server, "drained");
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1001);
    assert_eq!(server.wait().code(), Some(0));
}

fn connections_that_wait_for_their_close_are_served(driver: Driver) {
    let flags = ["--cores", "2", "--drain-timeout", "1s"];
    let mut server = Server::start(driver, &flags);
    let members: Vec<_> = (0..8).map(|_| Raw::open(&server, "/rooms/r")).collect();
    server.signal(Signal::TERM);
    let talking: Vec<_> = members
        .into_iter()
        .enumerate()
        .map(|(n, mut raw)| {
            thread::spawn(move || {
                // Its own messages come back in order until the close, and none after it.
                let mut next = 0;
                loop {
                    raw.send(wire::frame(TEXT, format!("{n} {next}").as_bytes()));
                    loop {
                        let frame = raw.message();
                        if frame.opcode() != TEXT {
                            assert_eq!(frame.close_code(), 1001);
                            raw.send(wire::close(1001));
                            assert_eq!(raw.next(), Heard::End);
                            return next;
                        }
                        if frame.payload == format!("{n} {next}").as_bytes() {
                            break;
                        }
                    }
                    next += 1;
                    thread::sleep(Duration::from_millis(5));
                }
            })
        })
        .collect();
    let served: usize = talking.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(served > 0, "nobody was served");
    assert_eq!(server.wait().code(), Some(0));
}

fn requests_under_way_are_answered_503(driver: Driver) {
    let flags = ["--cores", "1", "--drain-timeout", "300ms"];
    let mut server = Server::start(driver, &flags);
    let mut silent = wire::connect(server.address());
    let mut asking = wire::connect(server.address());
    wire::send(&mut asking, b"GET /echo HTTP/1.1\r\n");
    // Once the core holds half a request it has also accepted the silent peer, which connected earlier.
    eventually("half a request is held", || {
        scrape(&server)["hubbub_unfinished_held_bytes"] > 0.0
    });
    server.signal(Signal::TERM);
    assert_eq!(Response::read_from(&mut asking).status, 503);
    // This one has sent no request.
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "{said:?}");
    drop((silent, asking));
    assert_eq!(server.wait().code(), Some(0));
}

fn listeners_close_at_once(driver: Driver) {
    let flags = ["--cores", "2", "--drain-timeout", "1h"];
    let mut server = Server::start(driver, &flags);
    let mut clients: Vec<_> = (0..4).map(|_| Raw::open(&server, "/echo")).collect();
    server.signal(Signal::TERM);
    eventually("new connections are refused", || {
        let refused = TcpStream::connect(server.address());
        refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    // Each core has closed its first connection; the other two wait for their time.
    let mut served = 0;
    for client in &mut clients {
        client.send(wire::frame(TEXT, b"I am still here"));
        let frame = client.message();
        match frame.opcode() {
            TEXT => served += 1,
            _ => assert_eq!(frame.close_code(), 1001),
        }
    }
    assert!(served >= 2, "{served} of 4 were served");
    // The last connection has ended, so there is nothing left to pace.
    drop(clients);
    assert_eq!(server.wait().code(), Some(0));
}

fn second_signal_ends_the_process_at_once(driver: Driver) {
    for (first, second) in [
        (Signal::TERM, Signal::TERM),
        (Signal::INT, Signal::INT),
        (Signal::TERM, Signal::INT),
    ] {
        let flags = ["--drain-timeout", "1h", "--interrupt-drain-timeout", "1h"];
        let mut server = Server::start(driver, &flags);
        // One is closed at once; another one must be on its core, because there are at most two
        // cores.
        let _clients: Vec<_> = (0..3).map(|_| Client::connect(&server, "/echo")).collect();
        server.signal(first);
        // Two pending signals of the same kind count as one.
        eventually("the first is taken", || server.log().contains("draining"));
        server.signal(second);
        let status = server.wait();
        assert_eq!(status.signal(), None);
        assert_eq!(status.code(), Some(128 + second.as_raw()));
    }
}

fn answer_that_is_read_by_drips_does_not_hold_the_drain(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("large"), vec![b'x'; 12 << 20]).unwrap();
    let path = dir.path().to_str().unwrap();
    let timeouts = ["--drain-timeout", "300ms", "--close-timeout", "300ms"];
    let mut server = Server::start(driver, &[&["--static-dir", path], &timeouts[..]].concat());
    let mut stream = wire::connect_narrow(server.address(), 16 << 10);
    wire::send(&mut stream, wire::request("GET", "/large", &[]).as_bytes());
    let mut first = [0; 1024];
    stream.read_exact(&mut first).unwrap();
    server.signal(Signal::TERM);
    let reading = thread::spawn(move || {
        let mut drip = [0; 1024];
        while stream.read(&mut drip).is_ok_and(|read| read > 0) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(server.wait().code(), Some(0));
    reading.join().unwrap();
}

fn connections_come_and_are_served_while_the_drain_is_delayed(driver: Driver) {
    let flags = [
        "--cores",
        "2",
        "--drain-delay",
        "1h",
        "--drain-timeout",
        "1s",
    ];
    let mut server = Server::start(driver, &flags);
    let mut before = Client::join(&server, "delayed");
    server.signal(Signal::TERM);
    eventually("the signal is taken", || server.log().contains("draining"));
    for n in 0..8 {
        let mut after = Client::join(&server, "delayed");
        after.send(format!("{n}"));
        assert_eq!(before.text(), format!("{n}"));
        assert_eq!(after.text(), format!("{n}"));
        after.leave();
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(128 + Signal::TERM.as_raw()));
}

fn drain_begins_after_its_delay(driver: Driver) {
    let delay = Duration::from_millis(500);
    let flags = ["--drain-delay", "500ms", "--drain-timeout", "1h"];
    let mut server = Server::start(driver, &flags);
    let mut client = Client::connect(&server, "/echo");
    let begun = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1001);
    assert!(begun.elapsed() >= delay, "after {:?}", begun.elapsed());
    assert_eq!(server.wait().code(), Some(0));
}

/// Neither a planned drain's delay and time, nor peers that do not answer a close, delay it.
fn interrupted_server_drains_within_a_time_of_its_own(driver: Driver) {
    let long = [
        "--drain-delay",
        "1h",
        "--drain-timeout",
        "1h",
        "--close-timeout",
        "1h",
    ];
    // Enough for a client that is slow to say goodbye, on a machine that is busy.
    let flags = ["--cores", "2", "--interrupt-drain-timeout", "4s"];
    let mut server = Server::start(driver, &[&long[..], &flags].concat());
    let clients: Vec<_> = (0..4).map(|_| Client::connect(&server, "/echo")).collect();
    let mut mute: Vec<_> = (0..4).map(|_| Raw::open(&server, "/echo")).collect();
    server.signal(Signal::INT);
    for mut client in clients {
        assert_eq!(client.closed(), 1001);
    }
    for raw in &mut mute {
        assert_eq!(raw.message().close_code(), 1001);
    }
    assert_eq!(server.wait().code(), Some(0));
}
