//! Back-pressure between the cores: with the smallest possible queues, publishers get slower, but
//! nothing is lost and no connection waits for ever.

use std::{collections::BTreeMap, thread, time::Duration};

use crate::{
    client::{Client, scrape},
    harness::{Driver, Server},
    wire::{self, BINARY, Frame, Raw},
};

const ROOMS: usize = 8;
const MEMBERS: usize = 3;
const MESSAGES: usize = 400;

/// One batch at a time between two cores, and almost no requests waiting for it.
const NARROW: [&str; 14] = [
    "--cores",
    "2",
    "--mailbox-batches",
    "1",
    "--outbox-bytes-max",
    "1KiB",
    "--publish-window-bytes",
    "1KiB",
    // Only pressure within the server is wanted here.
    "--send-queue-bytes-max",
    "64MiB",
    // Members that have not begun to read do not count as slow, however busy the machine is.
    "--write-timeout",
    "10m",
    "--receive-buffer-bytes",
    "4KiB",
];

on_both_drivers![
    messages_through_full_mailboxes_all_arrive_in_order,
    messages_of_one_connection_fill_the_window_and_all_arrive,
    receive_takes_no_more_than_its_buffer,
    join_behind_a_full_outbox_is_answered,
    room_goes_on_when_publishers_under_pressure_vanish,
];

/// A message with its own number, of varying length.
fn message(member: usize, number: usize) -> Vec<u8> {
    let mut content = vec![member as u8; 3 + number * 37 % 1500];
    content[1..3].copy_from_slice(&(number as u16).to_be_bytes());
    content
}

/// The publisher of this message, and its number.
fn read(frame: &Frame) -> (usize, usize) {
    assert_eq!(frame.first, 0x80 | BINARY);
    let [member, high, low, ..] = frame.payload[..] else {
        panic!("a message from nobody");
    };
    let number = usize::from(u16::from_be_bytes([high, low]));
    let expected = message(member.into(), number);
    assert!(frame.payload == expected, "message {number} was changed");
    (member.into(), number)
}

/// Everything that a member receives until it has this many messages: all messages of each
/// publisher, in the order in which it sent them.
fn hear(raw: &mut Raw, messages: usize) -> Vec<(usize, usize)> {
    let heard: Vec<_> = (0..messages).map(|_| read(&raw.message())).collect();
    let mut numbers = BTreeMap::<_, Vec<_>>::new();
    for (member, number) in &heard {
        numbers.entry(*member).or_default().push(*number);
    }
    for (member, numbers) in numbers {
        let expected = 0..numbers.len();
        assert!(
            numbers.iter().copied().eq(expected),
            "of {member}: {numbers:?}"
        );
    }
    heard
}

fn messages_through_full_mailboxes_all_arrive_in_order(driver: Driver) {
    let server = Server::start(driver, &NARROW);
    let members: Vec<_> = (0..ROOMS * MEMBERS)
        .map(|n| Raw::open(&server, &format!("/rooms/room-{}", n % ROOMS)))
        .collect();
    let publishing: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(n, raw)| {
            let mut stream = raw.stream.try_clone().unwrap();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    wire::send(
                        &mut stream,
                        &wire::frame(BINARY, &message(n / ROOMS, number)),
                    );
                }
            })
        })
        .collect();
    let reading: Vec<_> = members
        .into_iter()
        .map(|mut raw| thread::spawn(move || hear(&mut raw, MEMBERS * MESSAGES)))
        .collect();
    publishing
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let heard: Vec<_> = reading
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for (n, heard_here) in heard.iter().enumerate() {
        assert!(*heard_here == heard[n % ROOMS], "one room, two orders");
    }
}

fn messages_of_one_connection_fill_the_window_and_all_arrive(driver: Driver) {
    let server = Server::start(driver, &NARROW);
    for room in 0..4 {
        let mut raw = Raw::open(&server, &format!("/rooms/{room}"));
        let mut stream = raw.stream.try_clone().unwrap();
        let publishing = thread::spawn(move || {
            let all: Vec<_> = (0..MESSAGES)
                .flat_map(|number| wire::frame(BINARY, &message(0, number)))
                .collect();
            wire::send(&mut stream, &all);
        });
        hear(&mut raw, MESSAGES);
        publishing.join().unwrap();
    }
}

/// A client that cannot join now gets an answer, and can join a moment later.
fn receive_takes_no_more_than_its_buffer(driver: Driver) {
    for (buffer, bytes) in [(1024, 1024 * 40), (5000, 5000 * 10)] {
        let size = buffer.to_string();
        let flags = ["--cores", "1", "--receive-buffer-bytes", &size];
        let server = Server::start(driver, &flags);
        let turns = || scrape(&server)["hubbub_loop_turns_total{core=\"0\"}"];
        let mut raw = Raw::open(&server, "/echo");
        for bytes in [bytes - 1, bytes, bytes + 1] {
            let before = turns();
            // Its header has eight bytes.
            raw.send(wire::frame(BINARY, &vec![7; bytes - 8]));
            assert_eq!(raw.message().payload.len(), bytes - 8);
            // One receive in each turn of a connection.
            let taken = turns() - before;
            let least = bytes.div_ceil(buffer);
            assert!(taken >= least as f64, "{taken} turns for {bytes} bytes");
        }
    }
}

fn join_behind_a_full_outbox_is_answered(driver: Driver) {
    let server = Server::start(driver, &NARROW);
    let mut members: Vec<_> = (0..ROOMS)
        .map(|n| Raw::open(&server, &format!("/rooms/room-{n}")))
        .collect();
    let publishing: Vec<_> = members
        .iter()
        .map(|raw| {
            let mut stream = raw.stream.try_clone().unwrap();
            thread::spawn(move || {
                for number in 0..MESSAGES {
                    wire::send(&mut stream, &wire::frame(BINARY, &message(0, number)));
                }
            })
        })
        .collect();
    let mut joined = 0;
    for n in 0..100 {
        match Client::with_fields(&server, &format!("/rooms/other-{n}"), &[]) {
            Ok(mut client) => {
                client.send("in");
                assert_eq!(client.text(), "in");
                joined += 1;
            }
            Err(status) => assert_eq!(status, 503),
        }
    }
    for raw in &mut members {
        hear(raw, MESSAGES);
    }
    publishing
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(joined > 0);
    for n in 0..20 {
        Client::join(&server, &format!("later-{n}")).leave();
    }
}

fn room_goes_on_when_publishers_under_pressure_vanish(driver: Driver) {
    let server = Server::start(driver, &NARROW);
    let mut stays = Raw::open(&server, "/rooms/r");
    for round in 0..4 {
        let vanishing: Vec<_> = (0..6).map(|_| Raw::open(&server, "/rooms/r")).collect();
        for mut raw in vanishing {
            let all: Vec<_> = (0..40)
                .flat_map(|number| wire::frame(BINARY, &message(9, number)))
                .collect();
            raw.send(all);
            wire::reset(raw.stream);
        }
        // Everything that was accepted from them is received, then this.
        stays.send(wire::frame(BINARY, &message(round, 0)));
        while read(&stays.message()) != (round, 0) {}
        thread::sleep(Duration::from_millis(20));
    }
}
