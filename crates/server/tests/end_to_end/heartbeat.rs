//! Peers that have gone silent: before the 101, between pings, and after the server's close.

use std::{thread, time::Duration};

use rustix::process::Signal;

use crate::{
    client::{Client, Response},
    harness::{Driver, Server, eventually},
    process,
    wire::{self, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    peer_that_answers_pings_stays,
    peer_that_answers_no_ping_is_closed_with_1011_and_let_go,
    pong_that_repeats_no_ping_answers_none,
    peer_that_sends_messages_but_no_pong_stays,
    peer_that_uploads_over_a_slow_line_stays_until_it_is_silent,
    peer_that_answers_the_close_1011_sees_the_end,
    request_that_does_not_come_in_time_is_answered_408,
    request_that_comes_byte_by_byte_is_answered_408_in_time,
    peer_that_never_answers_a_close_is_let_go,
    peer_that_answers_a_close_late_sees_the_end,
];

const SHORT: [&str; 6] = [
    "--ping-interval",
    "100ms",
    "--pong-timeout",
    "400ms",
    "--close-timeout",
    "300ms",
];

fn peer_that_answers_pings_stays(driver: Driver) {
    let flags = ["--ping-interval", "50ms", "--pong-timeout", "10s"];
    let server = Server::start(driver, &flags);
    let mut client = Raw::open(&server, "/echo");
    // A further ping comes only after the pong to the one before.
    for _ in 0..10 {
        let ping = client.frame();
        assert_eq!(ping.opcode(), PING);
        client.send(wire::frame(PONG, &ping.payload));
    }
    client.send(wire::frame(TEXT, b"still here"));
    assert_eq!(client.message().payload, b"still here");
}

fn peer_that_answers_no_ping_is_closed_with_1011_and_let_go(driver: Driver) {
    let server = Server::start(driver, &SHORT);
    for path in ["/echo", "/rooms/silent"] {
        let mut raw = Raw::open(&server, path);
        assert_eq!(raw.frame().opcode(), PING);
        assert_eq!(raw.message().close_code(), 1011);
        assert!(raw.next().is_over());
    }
    eventually("the log tells why", || {
        server.log().matches("pong_timeout").count() >= 2
    });
}

fn pong_that_repeats_no_ping_answers_none(driver: Driver) {
    let server = Server::start(driver, &SHORT);
    let mut raw = Raw::open(&server, "/echo");
    assert_eq!(raw.frame().opcode(), PING);
    for payload in [&b""[..], b"ping", b"\xff\xff\xff\xff", &[0; 125]] {
        raw.send(wire::frame(PONG, payload));
    }
    // If one of them had counted as the answer, another ping would come.
    assert_eq!(raw.frame().close_code(), 1011);
}

/// Sends a piece every 50 ms, for much longer than a pong may take.
fn send_pieces(raw: &mut Raw, piece: &[u8]) {
    for _ in 0..60 {
        raw.send(piece);
        thread::sleep(Duration::from_millis(50));
    }
}

/// The time for a pong is long enough for a client that is late on a busy machine.
const SLOW_LINE: [&str; 4] = ["--ping-interval", "100ms", "--pong-timeout", "1500ms"];

fn peer_that_sends_messages_but_no_pong_stays(driver: Driver) {
    let server = Server::start(driver, &SLOW_LINE);
    let mut raw = Raw::open(&server, "/echo");
    send_pieces(&mut raw, &wire::frame(TEXT, b"busy"));
    let answers: Vec<_> = (0..61).map(|_| raw.frame().opcode()).collect();
    assert_eq!(answers.iter().filter(|it| **it == PING).count(), 1);
    assert_eq!(answers.iter().filter(|it| **it == TEXT).count(), 60);
}

fn peer_that_uploads_over_a_slow_line_stays_until_it_is_silent(driver: Driver) {
    let server = Server::start(driver, &SLOW_LINE);
    let mut raw = Raw::open(&server, "/echo");
    let upload = wire::frame(TEXT, &[b'u'; 60_000]);
    upload.chunks(1000).for_each(|piece| {
        raw.send(piece);
        thread::sleep(Duration::from_millis(50));
    });
    // The pong is sent behind the upload.
    let ping = raw.frame();
    assert_eq!(ping.opcode(), PING);
    assert_eq!(raw.message().payload.len(), 60_000);
    raw.send(wire::frame(PONG, &ping.payload));
    let next = raw.frame();
    assert_eq!(next.opcode(), PING);
    assert_ne!(next.payload, ping.payload);
    assert_eq!(raw.frame().close_code(), 1011);
}

fn peer_that_answers_the_close_1011_sees_the_end(driver: Driver) {
    let flags = [&SHORT[..4], &["--close-timeout", "60s"]].concat();
    let server = Server::start(driver, &flags);
    let mut raw = Raw::open(&server, "/echo");
    assert_eq!(raw.message().close_code(), 1011);
    raw.send(wire::close(1011));
    assert_eq!(raw.next(), Heard::End);
}

fn request_that_does_not_come_in_time_is_answered_408(driver: Driver) {
    let flags = ["--handshake-timeout", "1s", "--close-timeout", "200ms"];
    let server = Server::start(driver, &flags);
    let before = process::descriptors_at_rest(server.pid());
    for begun in ["G", "GET /ec", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, begun.as_bytes());
        let answer = Response::read_from(&mut stream);
        assert_eq!((answer.status, answer.length()), (408, answer.body.len()));
        // The peer keeps its side open; the server does not wait for it for ever.
        eventually("the descriptor is free", || {
            process::descriptors(server.pid()) == before
        });
    }
}

fn request_that_comes_byte_by_byte_is_answered_408_in_time(driver: Driver) {
    let server = Server::start(driver, &["--handshake-timeout", "1s"]);
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    let mut sender = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        for _ in 0..150 {
            wire::send(&mut sender, b"x");
            thread::sleep(Duration::from_millis(10));
        }
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert_eq!(Response::read_from(&mut stream).status, 408);
    sending.join().unwrap();
}

fn peer_that_never_answers_a_close_is_let_go(driver: Driver) {
    let flags = ["--drain-timeout", "50ms", "--close-timeout", "300ms"];
    let mut server = Server::start(driver, &flags);
    let mut raw = Raw::open(&server, "/rooms/deaf");
    server.signal(Signal::TERM);
    assert_eq!(raw.frame().close_code(), 1001);
    // Whatever the peer still sends is not an answer.
    raw.send(wire::frame(TEXT, b"what?"));
    raw.send(wire::frame(PING, b"hello?"));
    assert!(raw.next().is_over());
    assert!(server.wait().success());
}

fn peer_that_answers_a_close_late_sees_the_end(driver: Driver) {
    let flags = ["--drain-timeout", "50ms", "--close-timeout", "60s"];
    let mut server = Server::start(driver, &flags);
    let mut client = Client::join(&server, "slow-to-answer");
    let mut raw = Raw::open(&server, "/echo");
    server.signal(Signal::TERM);
    assert_eq!(raw.frame().close_code(), 1001);
    thread::sleep(Duration::from_millis(200));
    raw.send(wire::frame(TEXT, b"one more thing"));
    raw.send(wire::close(1001));
    assert_eq!(raw.next(), Heard::End);
    assert_eq!(client.closed(), 1001);
    assert!(server.wait().success());
}
