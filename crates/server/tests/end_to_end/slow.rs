//! A subscriber that does not read is closed with 1013, and others miss nothing.

use std::{io::Write, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    client::{Client, binary, get_internal, scrape},
    harness::{Driver, Server, eventually},
    process,
    wire::{self, BINARY, Heard, Raw, TEXT},
};

const MESSAGE: usize = 16 << 10;
/// Several times the size of the kernel's buffers.
const MESSAGES: usize = (12 << 20) / MESSAGE;
/// This many are published before all others must have received them.
const AT_ONCE: usize = 8;

on_both_drivers![
    subscriber_that_does_not_read_is_closed_with_1013_and_others_have_all,
    queue_of_its_bound_stays_and_of_one_byte_more_is_closed_with_1013,
    subscriber_that_never_reads_again_is_reset,
    subscriber_that_reads_slowly_but_enough_stays,
    subscriber_that_closes_while_it_lags_has_all_that_came_before,
    subscriber_that_is_drained_while_it_lags_has_all_that_came_before,
    subscriber_that_takes_no_byte_for_too_long_is_closed_with_1013,
    echo_to_a_peer_that_takes_no_byte_for_too_long_is_closed_with_1013,
];

fn content(number: usize) -> Vec<u8> {
    let mut content = vec![number as u8; MESSAGE];
    content[..8].copy_from_slice(&number.to_be_bytes());
    content
}

/// Publishes all messages, while the publisher and all of `others` read.
fn publish_all(publisher: &mut Client, others: &mut [Client]) {
    for first in (0..MESSAGES).step_by(AT_ONCE) {
        let numbers = first..(first + AT_ONCE).min(MESSAGES);
        for number in numbers.clone() {
            publisher.write(binary(content(number)));
        }
        publisher.flush();
        for number in numbers {
            assert!(publisher.receive() == binary(content(number)));
            for other in others.iter_mut() {
                assert!(other.receive() == binary(content(number)));
            }
        }
    }
}

/// Reads consecutive messages from 0 on, up to a frame of another kind.
fn read_messages(raw: &mut Raw) -> (usize, Heard) {
    let mut messages = 0;
    loop {
        match raw.next() {
            Heard::Frame(frame) if frame.first == 0x80 | BINARY => {
                assert!(frame.payload == content(messages), "message {messages}");
                messages += 1;
            }
            other => return (messages, other),
        }
    }
}

#[track_caller]
fn assert_closed_with_1013(raw: &mut Raw) -> usize {
    let (messages, end) = read_messages(raw);
    let Heard::Frame(close) = end else {
        panic!("no close frame but {end:?} after {messages} messages");
    };
    assert_eq!(close.close_code(), 1013);
    raw.send(wire::close(1013));
    assert_eq!(raw.next(), Heard::End);
    messages
}

fn narrow(server: &Server, path: &str) -> Raw {
    Raw::over(
        wire::connect_narrow(server.address(), 4096),
        wire::upgrade(path),
    )
}

fn subscriber_that_does_not_read_is_closed_with_1013_and_others_have_all(driver: Driver) {
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "256KiB"];
    let timeouts = ["--write-timeout", "60s", "--close-timeout", "60s"];
    let server = Server::start(driver, &[bounds, timeouts].concat());
    let mut slow: Vec<_> = (0..3).map(|_| narrow(&server, "/rooms/r")).collect();
    let mut others: Vec<_> = (0..3).map(|_| Client::join(&server, "r")).collect();
    let mut publisher = Client::join(&server, "r");
    publish_all(&mut publisher, &mut others);

    for slow in &mut slow {
        let messages = assert_closed_with_1013(slow);
        assert!(messages < MESSAGES, "it was not slow");
    }
    eventually("the log tells why three have ended", || {
        server.ends_logged("send_queue_full") == 3
    });
    publisher.send("only we are left");
    for other in &mut others {
        assert_eq!(other.text(), "only we are left");
    }
}

/// The size of a peer's queue, as the server shows it, once it does not change any more.
fn queued(server: &Server, raw: &Raw) -> usize {
    let peer = raw.stream.local_addr().unwrap().to_string();
    let look = || {
        let page = get_internal(server, "/debug/connections");
        let view: Value = serde_json::from_slice(&page.body).unwrap();
        let rows = view["largest"].as_array().unwrap();
        let row = rows.iter().find(|row| row["peer"] == *peer);
        row.map_or(0, |row| row["queued_bytes"].as_u64().unwrap() as usize)
    };
    let mut seen = look();
    loop {
        // The server retries a full socket several times a second.
        thread::sleep(Duration::from_millis(400));
        match std::mem::replace(&mut seen, look()) {
            before if before == seen => return seen,
            _ => {}
        }
    }
}

fn queue_of_its_bound_stays_and_of_one_byte_more_is_closed_with_1013(driver: Driver) {
    const BOUND: usize = 200_000;
    const HEADER: usize = 4;
    let bounds = ["--cores", "1", "--send-queue-bytes-max", "200000"];
    let timeouts = ["--write-timeout", "10m", "--close-timeout", "10m"];
    let pings = ["--ping-interval", "10m"];
    let server = Server::start(driver, &[&bounds[..], &timeouts, &pings].concat());
    for (room, missing) in [("/rooms/one", 1), ("/rooms/none", 0)] {
        let mut slow = narrow(&server, room);
        let mut publisher = Client::connect(&server, room);
        let mut publish = |bytes: usize| {
            publisher.send(binary(vec![7; bytes]));
            assert!(publisher.receive() == binary(vec![7; bytes]));
        };
        while queued(&server, &slow) < BOUND - 40_000 {
            publish(MESSAGE);
        }
        let rest = BOUND - missing - queued(&server, &slow);
        publish(rest - HEADER);
        assert_eq!(queued(&server, &slow), BOUND - missing);
        let open = r#"hubbub_connections{protocol="room"}"#;
        assert_eq!(scrape(&server)[open], 2.0, "it stays");
        // Two bytes: one too many, and two.
        publish(0);
        let close = loop {
            match slow.next() {
                Heard::Frame(frame) if frame.opcode() != BINARY => break frame,
                Heard::Frame(frame) => assert!(frame.payload.iter().all(|it| *it == 7)),
                over => panic!("{over:?}"),
            }
        };
        assert_eq!(close.close_code(), 1013);
    }
}

fn subscriber_that_never_reads_again_is_reset(driver: Driver) {
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "256KiB"];
    let timeouts = ["--write-timeout", "60s", "--close-timeout", "200ms"];
    let server = Server::start(driver, &[bounds, timeouts].concat());
    let mut publisher = Client::join(&server, "r");
    let before = process::descriptors_at_rest(server.pid());
    let mut slow = narrow(&server, "/rooms/r");
    publish_all(&mut publisher, &mut []);
    eventually("the slow one is given up", || {
        process::descriptors(server.pid()) == before
    });
    let (messages, end) = read_messages(&mut slow);
    assert!(messages < MESSAGES);
    assert!(end.is_over(), "{end:?}");
}

/// This one always lags, but never by more than its queue holds.
fn subscriber_that_reads_slowly_but_enough_stays(driver: Driver) {
    let flags = ["--cores", "2", "--send-queue-bytes-max", "64MiB"];
    let server = Server::start(driver, &flags);
    let mut slow = narrow(&server, "/rooms/r");
    let mut publisher = Client::join(&server, "r");
    let reading = thread::spawn(move || {
        for number in 0..MESSAGES {
            let frame = slow.message();
            assert!(frame.payload == content(number), "message {number}");
        }
        slow
    });
    publish_all(&mut publisher, &mut []);
    let mut slow = reading.join().unwrap();
    publisher.send("you made it");
    assert_eq!(slow.message().payload, b"you made it");
}

/// A subscriber that has not received everything yet, though all was published. There is one core,
/// because two may learn of a message one after the other.
fn lagging(driver: Driver) -> (Server, Raw, Client) {
    let queue = ["--cores", "1", "--send-queue-bytes-max", "64MiB"];
    let timeouts = ["--write-timeout", "60s", "--close-timeout", "60s"];
    let drain = ["--drain-timeout", "50ms"];
    let server = Server::start(driver, &[&queue[..], &timeouts, &drain].concat());
    let slow = narrow(&server, "/rooms/r");
    let mut publisher = Client::join(&server, "r");
    publish_all(&mut publisher, &mut []);
    (server, slow, publisher)
}

fn subscriber_that_closes_while_it_lags_has_all_that_came_before(driver: Driver) {
    let (_server, mut slow, _publisher) = lagging(driver);
    slow.send(wire::close(3333));
    thread::sleep(Duration::from_millis(200));
    let (messages, end) = read_messages(&mut slow);
    assert_eq!(messages, MESSAGES);
    assert!(matches!(end, Heard::Frame(close) if close.close_code() == 3333));
    assert_eq!(slow.next(), Heard::End);
}

fn subscriber_that_is_drained_while_it_lags_has_all_that_came_before(driver: Driver) {
    let (mut server, mut slow, mut publisher) = lagging(driver);
    server.signal(Signal::TERM);
    assert_eq!(publisher.closed(), 1001);
    thread::sleep(Duration::from_millis(200));
    let (messages, end) = read_messages(&mut slow);
    assert_eq!(messages, MESSAGES);
    assert!(matches!(end, Heard::Frame(close) if close.close_code() == 1001));
    slow.send(wire::close(1001));
    assert_eq!(slow.next(), Heard::End);
    assert!(server.wait().success());
}

fn subscriber_that_takes_no_byte_for_too_long_is_closed_with_1013(driver: Driver) {
    // The queue holds everything, so that only the standstill can be the reason.
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "64MiB"];
    let timeouts = ["--write-timeout", "300ms", "--close-timeout", "60s"];
    let server = Server::start(driver, &[bounds, timeouts].concat());
    let mut slow = narrow(&server, "/rooms/r");
    let mut publisher = Client::join(&server, "r");
    publish_all(&mut publisher, &mut []);
    // Nothing shows from outside that its time is over.
    thread::sleep(Duration::from_millis(1500));
    let messages = assert_closed_with_1013(&mut slow);
    assert!(messages < MESSAGES);
    publisher.send("only I am left");
    assert_eq!(publisher.text(), "only I am left");
}

fn echo_to_a_peer_that_takes_no_byte_for_too_long_is_closed_with_1013(driver: Driver) {
    let timeouts = ["--write-timeout", "300ms", "--close-timeout", "60s"];
    let server = Server::start(driver, &timeouts);
    let mut slow = narrow(&server, "/echo");
    let mut sender = slow.stream.try_clone().unwrap();
    sender.set_write_timeout(None).unwrap();
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            if sender
                .write_all(&wire::frame(BINARY, &content(number)))
                .is_err()
            {
                return;
            }
        }
    });
    sending.join().unwrap();
    let (messages, end) = read_messages(&mut slow);
    let Heard::Frame(close) = end else {
        panic!("no close frame but {end:?} after {messages} messages");
    };
    assert_eq!(close.close_code(), 1013);
    assert!(messages < MESSAGES);
    slow.send(wire::frame(TEXT, b"late"));
    slow.send(wire::close(1013));
    assert_eq!(slow.next(), Heard::End);
}
