//! Peers that end their stream: everything they sent before is answered, and the end is clean.

use std::{net::Shutdown, thread, time::Duration};

use crate::{
    client::Client,
    harness::{Driver, Server, eventually},
    process,
    wire::{self, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    message_and_close_in_one_segment_reach_the_sender_and_the_room,
    message_and_broken_frame_in_one_segment_reach_the_sender_and_the_room,
    echoes_before_the_end_of_the_peers_stream_all_come_back,
    messages_before_the_end_of_the_peers_stream_reach_the_sender_and_the_room,
    frames_behind_the_peers_close_frame_are_discarded_and_the_end_is_clean,
    peer_that_keeps_its_stream_open_after_its_close_is_let_go,
];

/// The number of connections that try the same, so that a race shows in one of them.
const TRIES: usize = 20;

fn text(number: usize) -> Vec<u8> {
    wire::frame(TEXT, number.to_string().as_bytes())
}

/// Sends messages and then `last` in one segment. All must come back, and reach another member.
fn check_last(driver: Driver, last: &[u8], code: u16) {
    let server = Server::start(driver, &["--cores", "2"]);
    for try_number in 0..TRIES {
        let room = format!("/rooms/last-words-{try_number}");
        let mut other = Client::connect(&server, &room);
        let mut raw = Raw::open(&server, &room);
        let messages = (0..5).flat_map(text);
        raw.send(messages.chain(last.iter().copied()).collect::<Vec<_>>());
        for number in 0..5 {
            assert_eq!(raw.frame().payload, number.to_string().as_bytes());
            assert_eq!(other.text(), number.to_string());
        }
        assert_eq!(raw.frame().close_code(), code);
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.next(), Heard::End);
    }
}

fn message_and_close_in_one_segment_reach_the_sender_and_the_room(driver: Driver) {
    check_last(driver, &wire::close(1000), 1000);
}

fn message_and_broken_frame_in_one_segment_reach_the_sender_and_the_room(driver: Driver) {
    check_last(driver, &wire::unmasked(TEXT, b"no"), 1002);
}

fn echoes_before_the_end_of_the_peers_stream_all_come_back(driver: Driver) {
    let server = Server::start(driver, &[]);
    for _ in 0..TRIES {
        // This is more than the kernel accepts at once, so most of it is queued in the server at
        // the end.
        let narrow = wire::connect_narrow(server.address(), 4096);
        let mut raw = Raw::over(narrow, wire::upgrade("/echo"));
        let message = |number: usize| format!("{number:2000}").into_bytes();
        raw.send(
            (0..300)
                .flat_map(|number| wire::frame(TEXT, &message(number)))
                .collect::<Vec<_>>(),
        );
        raw.send(wire::frame(PING, b"and this"));
        raw.stream.shutdown(Shutdown::Write).unwrap();
        for number in 0..300 {
            assert_eq!(raw.frame().payload, message(number));
        }
        assert_eq!(raw.frame().opcode(), PONG);
        assert_eq!(raw.next(), Heard::End);
    }
    eventually("each is recorded as gone", || {
        server.ends_logged("peer_gone") >= TRIES
    });
}

fn messages_before_the_end_of_the_peers_stream_reach_the_sender_and_the_room(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    for try_number in 0..TRIES {
        let room = format!("/rooms/cut-short-{try_number}");
        let mut other = Client::connect(&server, &room);
        let mut raw = Raw::open(&server, &room);
        raw.send((0..10).flat_map(text).collect::<Vec<_>>());
        raw.stream.shutdown(Shutdown::Write).unwrap();
        for number in 0..10 {
            assert_eq!(raw.frame().payload, number.to_string().as_bytes());
            assert_eq!(other.text(), number.to_string());
        }
        assert_eq!(raw.next(), Heard::End);
    }
}

fn frames_behind_the_peers_close_frame_are_discarded_and_the_end_is_clean(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/chatty"] {
        let mut raw = Raw::open(&server, path);
        raw.send(wire::close(1000));
        for number in 0..5 {
            thread::sleep(Duration::from_millis(10));
            raw.send(text(number));
        }
        raw.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(raw.frame().close_code(), 1000, "{path}");
        assert_eq!(raw.next(), Heard::End, "{path}");
    }
}

fn peer_that_keeps_its_stream_open_after_its_close_is_let_go(driver: Driver) {
    let server = Server::start(driver, &["--close-timeout", "10m"]);
    let before = process::descriptors_at_rest(server.pid());
    let mut raw = Raw::open(&server, "/echo");
    raw.send(wire::close(1000));
    assert_eq!(raw.frame().close_code(), 1000);
    assert_eq!(raw.next(), Heard::End);
    eventually("the descriptor is free", || {
        process::descriptors(server.pid()) == before
    });
}
