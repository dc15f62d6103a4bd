//! Connections that send no request: probes of the port, and connections that browsers open in
//! reserve. They are not failed handshakes, and get no answer.

use std::{io::Read, net::TcpStream};

use crate::{
    harness::{Driver, Server, eventually},
    tls_client::{Secure, ended, handshake, sum},
    wire::{self, Raw},
};

on_both_drivers![
    peer_that_goes_is_counted_by_how_far_it_came,
    peer_that_goes_under_tls_is_counted_by_how_far_it_came,
    proxys_own_probe_is_silent_too,
    connection_that_says_nothing_is_closed_without_an_answer,
    connection_that_says_nothing_under_tls_is_closed_without_an_answer,
];

fn rejected(server: &Server) -> u64 {
    sum(server, "hubbub_handshakes_rejected_total{", "reason")
}

/// Waits until the server has received this many more bytes than before.
fn has_received(server: &Server, before: u64, bytes: usize) {
    eventually("it has come", || received(server) >= before + bytes as u64);
}

fn received(server: &Server) -> u64 {
    sum(server, "hubbub_received_bytes_total", "")
}

#[track_caller]
fn eventually_ended(server: &Server, expected: &[(&str, u64)]) {
    for (reason, count) in expected {
        eventually(reason, || ended(server, reason) == *count);
    }
    let all: u64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(ended(server, ""), all);
}

fn peer_that_goes_is_counted_by_how_far_it_came(driver: Driver) {
    let server = Server::start(driver, &[]);
    let part = b"GET /echo HTTP/1.1\r\nHo";
    for goes in [drop::<TcpStream>, wire::reset] {
        goes(wire::connect(server.address()));
        let mut stream = wire::connect(server.address());
        let before = received(&server);
        wire::send(&mut stream, part);
        has_received(&server, before, part.len());
        goes(stream);
        goes(Raw::open(&server, "/echo").stream);
        goes(Raw::open(&server, "/rooms/r").stream);
    }
    eventually_ended(
        &server,
        &[
            ("peer_gone_silent", 1),
            ("peer_gone_handshake", 1),
            ("peer_gone", 2),
            ("socket_failed_silent", 1),
            ("socket_failed_handshake", 1),
            ("socket_failed", 2),
        ],
    );
    assert_eq!(rejected(&server), 0);
}

fn peer_that_goes_under_tls_is_counted_by_how_far_it_came(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let server = &secure.server;
    drop(wire::connect(server.address()));
    // TLS is done, and no request was sent.
    let mut stream = secure.stream();
    handshake(&mut stream).unwrap();
    drop(stream);
    // TLS is not done.
    let mut hello = Vec::new();
    secure.stream().conn.write_tls(&mut hello).unwrap();
    for part in [&hello[..1], &hello] {
        let mut stream = wire::connect(server.address());
        let before = received(server);
        wire::send(&mut stream, part);
        has_received(server, before, part.len());
        drop(stream);
    }
    drop(secure.raw("/echo"));
    // Unread bytes from the server turn some of these ends into resets. One more was opened for its
    // hello.
    let gone = |at: &str| {
        let both = ["peer_gone", "socket_failed"].map(|it| ended(server, &format!("{it}{at}")));
        both.iter().sum::<u64>()
    };
    eventually("each is counted where it was", || {
        [gone("_silent"), gone("_handshake"), gone("")] == [3, 2, 1]
    });
    assert_eq!((ended(server, ""), rejected(server)), (6, 0));
}

/// A proxy that checks the port says so in a header, and sends nothing else.
fn proxys_own_probe_is_silent_too(driver: Driver) {
    let flags = [
        "--trusted-proxies",
        "127.0.0.1",
        "--proxy-header",
        "proxy-v2",
    ];
    let server = Server::start(driver, &flags);
    let local = wire::proxy_header(0x20, 0, &[]);
    for part in [&local[..], &local[..7]] {
        let mut stream = wire::connect(server.address());
        let before = received(&server);
        wire::send(&mut stream, part);
        has_received(&server, before, part.len());
    }
    eventually_ended(
        &server,
        &[("peer_gone_silent", 1), ("peer_gone_handshake", 1)],
    );
}

fn connection_that_says_nothing_is_closed_without_an_answer(driver: Driver) {
    let server = Server::start(driver, &["--handshake-timeout", "200ms"]);
    let mut stream = wire::connect(server.address());
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "{said:?}");
    drop(stream);
    eventually_ended(&server, &[("silent_timeout", 1)]);
    assert_eq!(rejected(&server), 0);
}

fn connection_that_says_nothing_under_tls_is_closed_without_an_answer(driver: Driver) {
    // The time after TLS is done is longer than the time before it has begun.
    let flags = [
        "--handshake-timeout",
        "600ms",
        "--tls-handshake-timeout",
        "200ms",
    ];
    let secure = Secure::start(driver, &flags);
    let mut said = Vec::new();
    let mut silent = wire::connect(secure.server.address());
    silent.read_to_end(&mut said).unwrap();
    let mut stream = secure.stream();
    handshake(&mut stream).unwrap();
    // The end is announced, or this would fail.
    stream.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "{said:?}");
    drop((silent, stream));
    eventually_ended(&secure.server, &[("silent_timeout", 2)]);
    assert_eq!(rejected(&secure.server), 0);
}
