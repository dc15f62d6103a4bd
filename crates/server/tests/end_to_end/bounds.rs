//! Bounds on what a peer may send and for how long: input just within a bound is served, input just
//! beyond it is answered as the documents say, and no connection is closed too early.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    harness::{Driver, PATIENCE, Server, eventually},
    tls_client::Secure,
    wire::{self, BINARY, CLOSE, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    message_of_the_most_bytes_is_taken_and_of_one_more_is_closed_with_1009,
    fragments_up_to_the_most_are_taken_and_one_more_is_closed_with_1008,
    control_frame_of_125_bytes_is_taken_and_of_126_is_closed_with_1002,
    messages_up_to_the_burst_are_taken_and_one_more_is_closed_with_1008,
    pings_and_pongs_up_to_the_burst_are_taken_and_one_more_is_closed_with_1008,
    messages_at_their_rate_are_all_taken,
    message_that_takes_too_long_is_closed_with_1008_and_not_before,
    messages_in_pieces_that_are_each_in_time_are_all_taken,
    tls_record_that_takes_too_long_is_closed_as_a_message_is,
    message_is_not_out_of_time_while_the_server_does_not_read,
    deadlines_pass_and_not_before_their_time,
    peer_that_takes_nothing_is_closed_not_before_its_time,
];

/// Sends input within the bounds, which is answered by one frame with this opcode each, and then
/// input that may exceed them: then only a close frame with the code may follow.
#[track_caller]
fn check(server: &Server, sent: &[u8], answers: usize, opcode: u8, code: Option<u16>) {
    let mut raw = Raw::open(server, "/echo");
    raw.send(sent);
    for n in 0..answers {
        let frame = raw.frame();
        assert_eq!(frame.opcode(), opcode, "answer {n}: {frame:?}");
    }
    match code {
        Some(code) => assert_eq!(raw.frame().close_code(), code),
        None => {
            raw.send(wire::close(1000));
            assert_eq!(raw.frame().close_code(), 1000);
        }
    }
}

/// A message of this many bytes, in fragments of about equal length.
fn in_fragments(bytes: usize, fragments: usize) -> Vec<u8> {
    let payload = vec![7; bytes];
    let cuts: Vec<_> = (0..=fragments).map(|n| bytes * n / fragments).collect();
    let mut sent = Vec::new();
    for (n, cut) in cuts.windows(2).enumerate() {
        let first = if n == 0 { BINARY } else { 0 };
        let fin = if n + 1 == fragments { 0x80 } else { 0 };
        sent.extend(wire::masked(fin | first, &payload[cut[0]..cut[1]]));
    }
    sent
}

fn message_of_the_most_bytes_is_taken_and_of_one_more_is_closed_with_1009(driver: Driver) {
    for bytes_max in [1, 125, 126, 1000, 65_535, 65_536] {
        let flags = ["--message-bytes-max", &bytes_max.to_string()];
        let server = Server::start(driver, &flags);
        for fragments in [1, 3] {
            for bytes in [bytes_max - 1, bytes_max] {
                let sent = in_fragments(bytes, fragments);
                check(&server, &sent, 1, BINARY, None);
            }
            let sent = in_fragments(bytes_max + 1, fragments);
            check(&server, &sent, 0, BINARY, Some(1009));
        }
    }
}

fn fragments_up_to_the_most_are_taken_and_one_more_is_closed_with_1008(driver: Driver) {
    for fragments_max in [2, 100] {
        let flags = ["--message-fragments-max", &fragments_max.to_string()];
        let server = Server::start(driver, &flags);
        for bytes in [0, 1000] {
            for fragments in [fragments_max - 1, fragments_max] {
                check(&server, &in_fragments(bytes, fragments), 1, BINARY, None);
            }
            let sent = in_fragments(bytes, fragments_max + 1);
            check(&server, &sent, 0, BINARY, Some(1008));
        }
    }
}

fn control_frame_of_125_bytes_is_taken_and_of_126_is_closed_with_1002(driver: Driver) {
    let server = Server::start(driver, &[]);
    for bytes in [124, 125] {
        let payload = vec![b'x'; bytes];
        check(&server, &wire::frame(PING, &payload), 1, PONG, None);
        check(&server, &wire::frame(PONG, &payload), 0, PONG, None);
        let mut close = 3000_u16.to_be_bytes().to_vec();
        close.extend(&payload[2..]);
        check(&server, &wire::frame(CLOSE, &close), 0, CLOSE, Some(3000));
    }
    for opcode in [PING, PONG, CLOSE] {
        let sent = wire::frame(opcode, &[b'x'; 126]);
        check(&server, &sent, 0, PONG, Some(1002));
    }
}

/// All bytes go in one piece, which the server receives at once.
fn messages_up_to_the_burst_are_taken_and_one_more_is_closed_with_1008(driver: Driver) {
    let flags = ["--message-rate", "1", "--message-burst", "20"];
    let server = Server::start(driver, &flags);
    let messages = |count: usize| wire::frame(TEXT, b"x").repeat(count);
    check(&server, &messages(19), 19, TEXT, None);
    check(&server, &messages(20), 20, TEXT, None);
    check(&server, &messages(21), 20, TEXT, Some(1008));
    // Fragments do not count as messages, and control frames have their own rate.
    check(&server, &in_fragments(100, 50), 1, BINARY, None);
    let pings = wire::frame(PONG, b"").repeat(50);
    check(&server, &[messages(20), pings].concat(), 20, TEXT, None);
    // The same holds in rooms.
    let mut raw = Raw::open(&server, "/rooms/r");
    raw.send(messages(21));
    let close = loop {
        let frame = raw.message();
        if frame.opcode() != TEXT {
            break frame;
        }
    };
    assert_eq!(close.close_code(), 1008);
    assert_eq!(&close.payload[2..], b"too many messages a second");
    drop(raw);
    eventually("the log tells why", || {
        server.ends_logged("message_rate") == 2
    });
}

fn pings_and_pongs_up_to_the_burst_are_taken_and_one_more_is_closed_with_1008(driver: Driver) {
    let flags = ["--control-rate", "1", "--control-burst", "20"];
    let server = Server::start(driver, &flags);
    let pings = |count: usize| wire::frame(PING, b"x").repeat(count);
    let pongs = |count: usize| wire::frame(PONG, b"x").repeat(count);
    let message = wire::frame(TEXT, b"after");
    let then = |frames: Vec<u8>| [frames, message.clone()].concat();
    check(&server, &then(pongs(19)), 1, TEXT, None);
    check(&server, &then(pongs(20)), 1, TEXT, None);
    check(&server, &then(pongs(21)), 0, TEXT, Some(1008));
    check(&server, &pings(20), 20, PONG, None);
    check(&server, &pings(21), 21, PONG, Some(1008));
    check(&server, &[pings(10), pongs(10)].concat(), 10, PONG, None);
    check(
        &server,
        &[pongs(10), pings(11)].concat(),
        11,
        PONG,
        Some(1008),
    );
    let messages = message.repeat(50);
    check(&server, &messages, 50, TEXT, None);
    eventually("the log tells why", || {
        server.ends_logged("control_rate") == 3
    });
}

/// Sends for as long as several bursts last.
fn messages_at_their_rate_are_all_taken(driver: Driver) {
    let flags = ["--message-rate", "50", "--message-burst", "5"];
    let server = Server::start(driver, &flags);
    let mut client = Client::connect(&server, "/echo");
    for n in 0..60 {
        client.send(format!("{n}"));
        assert_eq!(client.text(), format!("{n}"));
        thread::sleep(Duration::from_millis(22));
    }
    client.leave();
}

const SHORT: Duration = Duration::from_millis(400);

/// Whatever else the client sends, the end of the message does not come.
fn message_that_takes_too_long_is_closed_with_1008_and_not_before(driver: Driver) {
    let flags = ["--message-timeout", "400ms", "--cores", "2"];
    let server = Server::start(driver, &flags);
    let whole = wire::frame(BINARY, &[0; 1000]);
    let starts = [
        ("a byte", whole[..1].to_vec()),
        ("a header", whole[..8].to_vec()),
        ("half a frame", whole[..500].to_vec()),
        ("a fragment", wire::masked(TEXT, b"begun")),
        ("half a ping", wire::frame(PING, b"x")[..5].to_vec()),
    ];
    for path in ["/echo", "/rooms/r"] {
        for (name, start) in &starts {
            let begun = Instant::now();
            let mut raw = Raw::open(&server, path);
            raw.send(start);
            let close = raw.message();
            assert_eq!(close.close_code(), 1008, "{name}");
            assert!(begun.elapsed() >= SHORT, "{name}");
            assert_eq!(&close.payload[2..], b"the message did not come in time");
        }
    }
    // Further fragments, and pings between them, do not extend the time.
    let begun = Instant::now();
    let mut raw = Raw::open(&server, "/echo");
    raw.send(wire::masked(TEXT, b"begun"));
    let mut sender = raw.stream.try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let until = is_over.clone();
    let sending = thread::spawn(move || {
        while !until.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE / 2 {
            wire::send(&mut sender, &wire::masked(0, b"on"));
            wire::send(&mut sender, &wire::frame(PING, b"still here"));
            thread::sleep(Duration::from_millis(25));
        }
    });
    assert_eq!(raw.message().close_code(), 1008);
    assert!(begun.elapsed() >= SHORT);
    assert!(!sending.is_finished(), "only when nothing more came");
    is_over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    drop(raw);
    eventually("the log tells why", || {
        server.ends_logged("message_timeout") == 2 * starts.len() + 1
    });
}

/// Bytes keep arriving, but no message does.
fn tls_record_that_takes_too_long_is_closed_as_a_message_is(driver: Driver) {
    let secure = Secure::start(driver, &["--message-timeout", "1s"]);
    let (_conn, mut socket) = secure.raw("/echo").stream.into_parts();
    // The header of a record of 16,000 bytes of application data (RFC 8446 section 5.2).
    socket.write_all(&[23, 3, 3, 0x3e, 0x80]).unwrap();
    eventually("it has ended", || {
        // It is refused once the server has reset the connection.
        let _ = socket.write_all(&[0]);
        thread::sleep(Duration::from_millis(50));
        secure.ended("message_timeout") == 1
    });
}

/// Each piece ends one message and begins the next, so one is always unfinished.
fn messages_in_pieces_that_are_each_in_time_are_all_taken(driver: Driver) {
    let server = Server::start(driver, &["--message-timeout", "2s"]);
    let mut raw = Raw::open(&server, "/echo");
    let frame = wire::frame(BINARY, &[5; 100]);
    raw.send(&frame[..50]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        raw.send([&frame[50..], &frame[..50]].concat());
        assert_eq!(raw.message().payload, [5; 100]);
        thread::sleep(Duration::from_millis(100));
    }
    // The time does not run between messages.
    raw.send(&frame[50..]);
    assert_eq!(raw.message().payload, [5; 100]);
    thread::sleep(Duration::from_secs(3));
    raw.send(&frame);
    assert_eq!(raw.message().payload, [5; 100]);
}

fn message_is_not_out_of_time_while_the_server_does_not_read(driver: Driver) {
    let times = ["--message-timeout", "2s", "--write-timeout", "10m"];
    let queue = ["--send-queue-bytes-max", "128KiB"];
    let server = Server::start(driver, &[&times[..], &queue].concat());
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut raw = Raw::over(stream, wire::upgrade("/echo"));
    let mut sender = raw.stream.try_clone().unwrap();
    sender.set_write_timeout(None).unwrap();
    // This exceeds what kernel and queue hold, so a message is unfinished when the server pauses.
    let messages = (12 << 20) / 30_000;
    let frame = wire::frame(BINARY, &[6; 30_000]);
    let sending = thread::spawn(move || {
        for _ in 0..messages {
            wire::send(&mut sender, &frame);
        }
    });
    thread::sleep(Duration::from_secs(5));
    for n in 0..messages {
        assert!(raw.message().payload == [6; 30_000], "message {n}");
    }
    sending.join().unwrap();
}

fn deadlines_pass_and_not_before_their_time(driver: Driver) {
    let flags = [
        "--handshake-timeout",
        "400ms",
        "--ping-interval",
        "400ms",
        "--pong-timeout",
        "600ms",
        "--close-timeout",
        "500ms",
    ];
    let server = Server::start(driver, &flags);
    let ms = Duration::from_millis;

    let begun = Instant::now();
    let answer = crate::client::ask_in_part(&server, "GET");
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() >= ms(400), "handshake");

    // The first ping comes after half an interval to a whole one, the next after a whole one.
    let begun = Instant::now();
    let mut raw = Raw::open(&server, "/echo");
    let ping = raw.frame();
    assert_eq!(ping.opcode(), PING);
    assert!(begun.elapsed() >= ms(200), "first ping");
    let answered = Instant::now();
    raw.send(wire::frame(PONG, &ping.payload));
    assert_eq!(raw.frame().opcode(), PING);
    assert!(answered.elapsed() >= ms(400), "next ping");
    // Neither the second ping nor the close is answered.
    assert_eq!(raw.frame().close_code(), 1011);
    assert!(answered.elapsed() >= ms(400 + 600), "pong");
    assert!(raw.next().is_over());
    assert!(answered.elapsed() >= ms(400 + 600 + 500), "close");
}

fn peer_that_takes_nothing_is_closed_not_before_its_time(driver: Driver) {
    let times = ["--write-timeout", "700ms", "--close-timeout", "300ms"];
    let server = Server::start(driver, &times);
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut raw = Raw::over(stream, wire::upgrade("/echo"));
    let begun = Instant::now();
    let mut sender = raw.stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        for _ in 0..(12 << 20) / 30_000 {
            wire::send(&mut sender, &wire::frame(BINARY, &[6; 30_000]));
        }
    });
    eventually("it is given up", || server.log().contains("write_stalled"));
    assert!(begun.elapsed() >= Duration::from_millis(700 + 300));
    while let Heard::Frame(_) = raw.next() {}
    sending.join().unwrap();
}
