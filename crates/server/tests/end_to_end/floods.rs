//! Floods of the smallest frames: each costs only its bytes, whether or not the peer reads.

use std::{io::Write, thread, time::Duration};

use rustix::process::Signal;

use crate::{
    baseline::Baseline,
    client::{Client, scrape},
    compression::{OFFER, RSV1, offering},
    harness::{Driver, Server, eventually},
    wire::{self, BINARY, CLOSE, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    messages_of_one_byte_unread_take_bounded_memory,
    messages_of_one_byte_in_a_room_take_bounded_memory_and_reach_who_reads,
    fragments_without_end_take_bounded_memory,
    pings_by_the_hundred_thousand_are_answered,
    receive_of_many_small_frames_takes_many_turns,
    message_that_inflates_to_nothing_takes_many_turns,
];

const FRAMES: usize = 500_000;

fn narrow(server: &Server, path: &str) -> Raw {
    let stream = wire::connect_narrow(server.address(), 4096);
    Raw::over(stream, wire::upgrade(path))
}

/// The server reads only as long as its queue has room, whatever the kernel still accepts.
fn messages_of_one_byte_unread_take_bounded_memory(driver: Driver) {
    const THOUSANDS: usize = 3_000;
    let server = Server::start(driver, &["--send-queue-bytes-max", "128KiB"]);
    let mut baseline = Baseline::of(&server);
    let mut raw = narrow(&server, "/echo");
    let some = wire::frame(BINARY, b"x").repeat(1000);
    let patience = Some(Duration::from_secs(2));
    raw.stream.set_write_timeout(patience).unwrap();
    let sent = (0..THOUSANDS).take_while(|_| raw.stream.write_all(&some).is_ok());
    let sent = sent.count();
    assert!((10..THOUSANDS).contains(&sent), "{sent} of {THOUSANDS}");
    baseline.serves_others();
    let grown = baseline.grown();
    assert!(grown < 2 << 20, "{grown} bytes more for one peer");
    wire::reset(raw.stream);
    baseline.is_restored();
}

/// One member of the room does not read, and is closed for it.
fn messages_of_one_byte_in_a_room_take_bounded_memory_and_reach_who_reads(driver: Driver) {
    const MESSAGES: usize = 200_000;
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "128KiB"];
    let server = Server::start(driver, &[&bounds[..], &["--close-timeout", "1s"]].concat());
    let mut baseline = Baseline::of(&server);
    let deaf = narrow(&server, "/rooms/flood");
    let mut raw = Raw::open(&server, "/rooms/flood");
    let mut sender = raw.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES / 1000 {
            let some = wire::frame(BINARY, &[number as u8]).repeat(1000);
            sender.write_all(&some).unwrap();
        }
    });
    for number in 0..MESSAGES {
        let frame = raw.message();
        assert_eq!(frame.payload, [(number / 1000) as u8], "message {number}");
    }
    sending.join().unwrap();
    baseline.serves_others();
    let evicted = r#"hubbub_evictions_total{policy="send_queue_full"}"#;
    eventually("who does not read is closed", || {
        scrape(&server)[evicted] == 1.0
    });
    // The sender's own queue, the log of the room on each core, and mailboxes.
    let grown = baseline.grown();
    assert!(grown < 24 << 20, "{grown} bytes more");
    drop((deaf, raw));
    baseline.is_restored();
}

/// Any number of fragments is permitted here: each costs only what it carries.
fn fragments_without_end_take_bounded_memory(driver: Driver) {
    let unbounded = Server::start(driver, &["--message-fragments-max", "0"]);
    let mut baseline = Baseline::of(&unbounded);
    let mut raw = Raw::open(&unbounded, "/echo");
    raw.send(wire::masked(BINARY, b"begin"));
    let empty = wire::masked(0, b"").repeat(1000);
    for _ in 0..FRAMES / 1000 {
        raw.send(&empty);
    }
    raw.send(wire::masked(0x80, b"end"));
    assert_eq!(raw.frame().payload, b"beginend");
    baseline.serves_others();

    // The fragments have a byte each, up to the largest message and one more.
    raw.send(wire::masked(BINARY, b""));
    raw.send(wire::masked(0, b"x").repeat(64 << 10));
    raw.send(wire::frame(PING, b"all of it is permitted"));
    assert_eq!(raw.frame().opcode(), PONG);
    raw.send(wire::masked(0, b"x"));
    assert_eq!(raw.frame().close_code(), 1009);
    assert_eq!(raw.next(), Heard::End);
    let grown = baseline.grown();
    assert!(grown < 2 << 20, "{grown} bytes more for one peer");
    drop(raw);
    baseline.is_restored();

    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    raw.send(wire::masked(BINARY, b"begin"));
    raw.send(&empty);
    raw.send(&empty);
    assert_eq!(raw.frame().close_code(), 1008);
}

/// This client reads the pongs. Their number is the server's choice (RFC 6455 section 5.5.3).
fn pings_by_the_hundred_thousand_are_answered(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut baseline = Baseline::of(&server);
    let mut raw = Raw::open(&server, "/echo");
    let mut sender = raw.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let some = wire::frame(PING, b"?").repeat(1000);
        for _ in 0..200 {
            sender.write_all(&some).unwrap();
        }
        sender.write_all(&wire::close(1000)).unwrap();
    });
    let mut pongs = 0;
    while raw.frame().opcode() != CLOSE {
        pongs += 1;
    }
    sending.join().unwrap();
    assert!((1..=200_000).contains(&pongs), "{pongs}");
    baseline.serves_others();
    let grown = baseline.grown();
    assert!(grown < 2 << 20, "{grown} bytes more for one peer");
    drop(raw);
    baseline.is_restored();
}

/// Sends this while the server is stopped, so that it arrives as one receive, and waits until the
/// close frame behind it is answered. Returns how many turns the server took for it. An echo that
/// was sent behind it comes back.
pub fn turns_of(server: &Server, raw: &mut Raw, frames: &[u8]) -> f64 {
    let turns = || scrape(server)["hubbub_loop_turns_total{core=\"0\"}"];
    let mut beside = Client::connect(server, "/echo");
    let before = turns();
    server.signal(Signal::STOP);
    assert!(frames.len() < 60_000, "one receive");
    raw.send(frames);
    raw.send(wire::close(1000));
    beside.send("beside it");
    server.signal(Signal::CONT);
    assert_eq!(beside.text(), "beside it");
    while raw.frame().opcode() != CLOSE {}
    turns() - before
}

/// Each turn processes what costs as much as a message of 64 KiB.
fn receive_of_many_small_frames_takes_many_turns(driver: Driver) {
    let server = Server::start(driver, &["--cores", "1", "--message-fragments-max", "0"]);
    let fragments = [
        wire::masked(BINARY, b"x"),
        wire::masked(0, b"x").repeat(8_000),
        wire::masked(0x80, b"x"),
    ];
    for (what, path, frames, most_each) in [
        (
            "messages",
            "/echo",
            wire::frame(BINARY, b"x").repeat(8_000),
            127,
        ),
        ("pings", "/echo", wire::frame(PING, b"").repeat(8_000), 127),
        (
            "publications",
            "/rooms/r",
            wire::frame(BINARY, b"x").repeat(8_000),
            64,
        ),
        ("fragments", "/echo", fragments.concat(), 1_696),
    ] {
        let mut raw = Raw::open(&server, path);
        let turns = turns_of(&server, &mut raw, &frames);
        let least = (8_000 / most_each) as f64;
        assert!(turns >= least, "{what}: {turns} turns, not {least}");
    }
}

/// A compressed message of blocks without content: a turn inflates a part of it, and everything
/// behind it waits.
fn message_that_inflates_to_nothing_takes_many_turns(driver: Driver) {
    let server = Server::start(driver, &["--compression", "on", "--cores", "1"]);
    let stream = wire::connect(server.address());
    let mut raw = Raw::over(stream, offering("/echo", OFFER));
    let blocks = [&b"\0\0\0\xff\xff".repeat(10_000)[..], &[0]].concat();
    let message = wire::masked(0x80 | RSV1 | TEXT, &blocks);
    // This is fifty kibibytes, of which a turn inflates nine at most.
    let turns = turns_of(&server, &mut raw, &message);
    assert!(turns >= 5.0, "{turns} turns");
}
