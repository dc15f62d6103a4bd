//! Under TLS everything works as without: messages, order, slow readers, pages and every end.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    baseline::memory_stays,
    client::{Response, binary},
    harness::{Driver, eventually},
    limits::with_few_descriptors,
    process,
    tls_client::{Secure, Stream, handshake, records, sum, text},
    wire::{self, BINARY, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    start_line_says_https,
    message_of_any_size_comes_back,
    message_in_many_writes_and_records_comes_back,
    room_has_one_order,
    thousand_subscribers_have_all_messages,
    message_of_many_records_reaches_everyone,
    subscriber_that_does_not_read_is_closed_with_1013_and_others_have_all,
    echo_to_a_peer_that_takes_no_byte_is_closed_with_1013,
    peer_that_reads_slowly_has_all,
    page_is_served_and_its_end_announced,
    page_is_answered_in_full_after_the_peers_end,
    page_that_is_read_as_fast_as_it_is_sent_leaves_turns_to_others,
    ping_is_sent_and_answered,
    close_of_the_peer_is_answered_and_the_end_announced,
    close_and_end_of_the_peer_at_once_are_answered,
    close_of_the_server_is_sent_and_the_end_announced,
    bytes_after_the_peers_end_are_ignored,
    peer_that_ends_its_stream_is_answered_in_kind,
    peer_that_vanishes_has_ended_for_one_reason,
    drain_closes_with_1001_and_announces_the_end,
    connection_beyond_the_most_is_answered_503,
    descriptors_that_run_out_are_survived,
    descriptors_and_memory_are_released_however_connections_end,
];

fn start_line_says_https(driver: Driver) {
    let secure = Secure::start(driver, &["--cores", "1"]);
    let expected = format!("Hubbub listens on https://{} ", secure.server.address());
    let said = &secure.server.start_lines[0];
    assert!(said.starts_with(&expected), "{said}");
}

fn message_of_any_size_comes_back(driver: Driver) {
    let secure = Secure::start(driver, &["--message-bytes-max", "8MiB"]);
    let mut client = secure.connect("/echo");
    for size in [
        0,
        1,
        125,
        126,
        16_000,
        16_383,
        16_384,
        16_385,
        65_535,
        65_536,
        70_000,
        8 << 20,
    ] {
        let content: Vec<_> = (0..size).map(|n: usize| (n * 7 / 5) as u8).collect();
        client.send(binary(content.clone()));
        assert!(client.receive() == binary(content), "{size} bytes");
    }
    client.leave();
}

/// This also works a byte at a time: the kept parts of a record are put together again.
fn message_in_many_writes_and_records_comes_back(driver: Driver) {
    let secure = Secure::start(driver, &["--receive-buffer-bytes", "1KiB"]);
    let mut raw = secure.raw("/echo");
    let frame = wire::frame(BINARY, &[7; 5000]);
    // A record for each of many small pieces.
    for piece in frame.chunks(11) {
        raw.send(piece);
    }
    assert_eq!(raw.message().payload, [7; 5000]);
    // One record in many writes.
    let Stream { conn, sock } = &mut raw.stream;
    conn.writer().write_all(&frame).unwrap();
    let mut ciphertext = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut ciphertext).unwrap();
    }
    for piece in ciphertext.chunks(3) {
        sock.write_all(piece).unwrap();
    }
    assert_eq!(raw.message().payload, [7; 5000]);
}

fn room_has_one_order(driver: Driver) {
    const MESSAGES: usize = 100;
    const MEMBERS: usize = 8;
    let secure = Secure::start(driver, &["--cores", "2"]);
    let members: Vec<_> = (0..MEMBERS).map(|_| secure.connect("/rooms/r")).collect();
    let speaking = members.into_iter().enumerate().map(|(member, mut client)| {
        thread::spawn(move || {
            let mut heard = Vec::new();
            for number in 0..MESSAGES {
                client.send(format!("{member}:{number}"));
                if number % 3 == 0 {
                    heard.push(client.text());
                }
            }
            while heard.len() < MEMBERS * MESSAGES {
                heard.push(client.text());
            }
            (client, heard)
        })
    });
    let speaking: Vec<_> = speaking.collect();
    let all: Vec<_> = speaking.into_iter().map(|it| it.join().unwrap()).collect();
    for (_, heard) in &all {
        assert_eq!(*heard, all[0].1);
    }
    for member in 0..MEMBERS {
        let prefix = format!("{member}:");
        let numbers = all[0].1.iter().filter_map(|it| it.strip_prefix(&prefix));
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    }
}

fn thousand_subscribers_have_all_messages(driver: Driver) {
    let secure = Secure::start(driver, &["--cores", "2"]);
    let mut members: Vec<_> = (0..1000).map(|_| secure.connect("/rooms/r")).collect();
    for (number, member) in members.iter_mut().take(5).enumerate() {
        member.send(format!("message {number}"));
    }
    for member in &mut members {
        let mut heard: Vec<_> = (0..5).map(|_| member.text()).collect();
        heard.sort();
        for (number, heard) in heard.iter().enumerate() {
            assert_eq!(*heard, format!("message {number}"));
        }
    }
}

fn message_of_many_records_reaches_everyone(driver: Driver) {
    let flags = ["--cores", "2", "--message-bytes-max", "4MiB"];
    let secure = Secure::start(driver, &flags);
    let mut members: Vec<_> = (0..4).map(|_| secure.connect("/rooms/r")).collect();
    for round in 1..4 {
        let content: Vec<_> = (0..(3 << 20) + round).map(|n| (n / 3) as u8).collect();
        let sent = content.clone();
        thread::scope(|scope| {
            for (at, member) in members.iter_mut().enumerate() {
                let content = content.clone();
                let sent = (at == 0).then(|| sent.clone());
                scope.spawn(move || {
                    if let Some(sent) = sent {
                        member.send(binary(sent));
                    }
                    assert!(member.receive() == binary(content));
                });
            }
        });
    }
}

const MESSAGE: usize = 16 << 10;
const MESSAGES: usize = (12 << 20) / MESSAGE;

fn content(number: usize) -> Vec<u8> {
    let mut content = vec![number as u8; MESSAGE];
    content[..8].copy_from_slice(&number.to_be_bytes());
    content
}

fn subscriber_that_does_not_read_is_closed_with_1013_and_others_have_all(driver: Driver) {
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "256KiB"];
    let timeouts = ["--write-timeout", "60s", "--close-timeout", "60s"];
    let secure = Secure::start(driver, &[bounds, timeouts].concat());
    let mut slow: Vec<_> = (0..3).map(|_| secure.narrow("/rooms/r")).collect();
    let mut other = secure.connect("/rooms/r");
    let mut publisher = secure.connect("/rooms/r");
    for number in 0..MESSAGES {
        publisher.send(binary(content(number)));
        assert!(publisher.receive() == binary(content(number)));
        assert!(other.receive() == binary(content(number)));
    }
    for slow in &mut slow {
        let mut messages = 0;
        let close = loop {
            let frame = slow.frame();
            if frame.opcode() != BINARY {
                break frame;
            }
            assert!(frame.payload == content(messages), "message {messages}");
            messages += 1;
        };
        assert_eq!(close.close_code(), 1013);
        assert!(messages < MESSAGES, "it was not slow");
        slow.send(wire::close(1013));
        assert_eq!(slow.next(), Heard::End);
    }
    drop(slow);
    eventually("three have ended for it", || {
        secure.ended("send_queue_full") == 3
    });
}

fn echo_to_a_peer_that_takes_no_byte_is_closed_with_1013(driver: Driver) {
    let timeouts = ["--write-timeout", "400ms", "--close-timeout", "60s"];
    let bounds = ["--send-queue-bytes-max", "64KiB"];
    let secure = Secure::start(driver, &[&timeouts[..], &bounds].concat());
    let mut raw = secure.narrow("/echo");
    let frame = wire::frame(BINARY, &[3; 60 << 10]);
    // These are more answers than the sockets accept.
    let mut ciphertext = Vec::new();
    for _ in 0..200 {
        raw.stream.conn.writer().write_all(&frame).unwrap();
        while raw.stream.conn.wants_write() {
            raw.stream.conn.write_tls(&mut ciphertext).unwrap();
        }
    }
    let mut sending = raw.stream.sock.try_clone().unwrap();
    let sent = thread::spawn(move || wire::send(&mut sending, &ciphertext));
    eventually("it is told", || {
        sum(&secure.server, "hubbub_frames_sent_total", "close") == 1
    });
    let mut answers = 0;
    let close = loop {
        let frame = raw.frame();
        if frame.opcode() != BINARY {
            break frame;
        }
        assert_eq!(frame.payload, [3; 60 << 10]);
        answers += 1;
    };
    assert_eq!(close.close_code(), 1013);
    assert!(answers < 200);
    sent.join().unwrap();
    drop(raw);
    eventually("it has ended for it", || secure.ended("write_stalled") == 1);
}

fn peer_that_reads_slowly_has_all(driver: Driver) {
    let flags = ["--message-bytes-max", "1MiB"];
    let secure = Secure::start(driver, &flags);
    let mut raw = secure.narrow("/echo");
    let payload: Vec<_> = (0..1 << 20).map(|n| (n / 5) as u8).collect();
    raw.send(wire::frame(BINARY, &payload));
    raw.send(wire::close(1000));
    thread::sleep(Duration::from_millis(100));
    assert!(raw.message().payload == payload);
    assert_eq!(raw.message().close_code(), 1000);
    assert_eq!(raw.next(), Heard::End);
}

fn page_is_served_and_its_end_announced(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    for _ in 0..3 {
        let page = secure.get("/");
        assert_eq!(page.status, 200);
        // The stream ended by close_notify, or reading would have failed.
        assert_eq!(page.body.len(), page.length());
    }
    assert_eq!(secure.get("/nothing-here").status, 404);
}

fn page_is_answered_in_full_after_the_peers_end(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut stream = secure.stream();
    stream
        .write_all(wire::request("GET", "/", &[]).as_bytes())
        .unwrap();
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
    let page = Response::read_from(&mut stream);
    assert_eq!(page.body.len(), page.length());
}

fn page_that_is_read_as_fast_as_it_is_sent_leaves_turns_to_others(driver: Driver) {
    const PAGE: usize = 32 << 20;
    let site = tempfile::tempdir().unwrap();
    let content: Vec<_> = (0..PAGE).map(|n| (n / 1000) as u8).collect();
    fs::write(site.path().join("index.html"), &content).unwrap();
    let flags = ["--cores", "1", "--static-dir", text(site.path())];
    let secure = Secure::start(driver, &flags);
    let turns = || sum(&secure.server, "hubbub_loop_turn_seconds_count", "");
    let before = turns();
    let page = secure.get("/");
    assert!(page.body == content);
    // A turn sends a quarter of a mebibyte of it, and at most one more send.
    let turns = turns() - before;
    assert!(turns >= (PAGE / (320 << 10)) as u64, "{turns} turns");
}

fn ping_is_sent_and_answered(driver: Driver) {
    let flags = ["--ping-interval", "50ms", "--pong-timeout", "10s"];
    let secure = Secure::start(driver, &flags);
    let mut raw = secure.raw("/echo");
    for _ in 0..5 {
        let ping = raw.frame();
        assert_eq!(ping.opcode(), PING);
        raw.send(wire::frame(PONG, &ping.payload));
    }
    raw.send(wire::frame(PING, b"and you?"));
    let pong = loop {
        let frame = raw.frame();
        if frame.opcode() == PONG {
            break frame;
        }
    };
    assert_eq!(pong.payload, b"and you?");
}

fn close_of_the_peer_is_answered_and_the_end_announced(driver: Driver) {
    let secure = Secure::start(driver, &["--close-timeout", "60s"]);
    for path in ["/echo", "/rooms/r"] {
        let mut raw = secure.raw(path);
        raw.send(wire::frame(TEXT, b"last words"));
        assert_eq!(raw.message().payload, b"last words");
        raw.send(wire::close(1000));
        assert_eq!(raw.message().close_code(), 1000);
        assert_eq!(raw.next(), Heard::End);
    }
    eventually("both ended so", || secure.ended("peer_closed") == 2);
}

fn close_and_end_of_the_peer_at_once_are_answered(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    for is_half_closed in [false, true] {
        let mut raw = secure.raw("/echo");
        raw.stream
            .conn
            .writer()
            .write_all(&wire::close(1000))
            .unwrap();
        raw.stream.conn.send_close_notify();
        raw.stream.flush().unwrap();
        if is_half_closed {
            raw.stream.sock.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(raw.message().close_code(), 1000);
        assert_eq!(raw.next(), Heard::End);
    }
    eventually("both ended so", || secure.ended("peer_closed") == 2);
}

fn close_of_the_server_is_sent_and_the_end_announced(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut raw = secure.raw("/echo");
    raw.send(wire::unmasked(TEXT, b"bad"));
    assert_eq!(raw.frame().close_code(), 1002);
    assert_eq!(raw.next(), Heard::End);
    drop(raw);
    eventually("it ended for it", || secure.ended("unmasked") == 1);
}

fn bytes_after_the_peers_end_are_ignored(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let mut raw = secure.raw("/echo");
    let Stream { conn, sock } = &mut raw.stream;
    conn.writer()
        .write_all(&wire::frame(TEXT, b"before"))
        .unwrap();
    conn.send_close_notify();
    let mut ciphertext = Vec::new();
    conn.write_tls(&mut ciphertext).unwrap();
    ciphertext.extend([0x17, 3, 3, 0, 4, 1, 2, 3, 4]);
    sock.write_all(&ciphertext).unwrap();
    while matches!(raw.next(), Heard::Frame(_)) {}
    eventually("it is gone, and nothing failed", || {
        secure.ended("peer_gone") == 1
    });
    assert_eq!(secure.ended(""), 1);
}

/// As RFC 8446 section 6.1 asks for.
fn peer_that_ends_its_stream_is_answered_in_kind(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    for path in ["/echo", "/rooms/r"] {
        let mut raw = secure.raw(path);
        raw.stream.conn.send_close_notify();
        raw.stream.flush().unwrap();
        assert_eq!(raw.next(), Heard::End);
    }
    eventually("both are gone", || secure.ended("peer_gone") == 2);
    // All bytes on the wire are counted as well.
    let sent = || sum(&secure.server, "hubbub_sent_bytes_total", "");
    let mut raw = secure.raw("/echo");
    let before = sent();
    raw.stream.conn.send_close_notify();
    raw.stream.flush().unwrap();
    let mut last = Vec::new();
    raw.stream.sock.read_to_end(&mut last).unwrap();
    assert!(!last.is_empty());
    eventually("it is counted", || sent() == before + last.len() as u64);
}

fn peer_that_vanishes_has_ended_for_one_reason(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    // Without close_notify; by a reset; during the handshake.
    drop(secure.raw("/echo"));
    wire::reset(secure.raw("/echo").stream.sock);
    drop(wire::connect(secure.server.address()));
    eventually("all have ended", || {
        let gone = secure.ended("peer_gone") + secure.ended("socket_failed");
        (gone, secure.ended("peer_gone_silent")) == (2, 1)
    });
    assert_eq!(secure.ended(""), 3);
}

fn drain_closes_with_1001_and_announces_the_end(driver: Driver) {
    let flags = [
        "--cores",
        "2",
        "--drain-timeout",
        "300ms",
        "--close-timeout",
        "5s",
    ];
    let mut secure = Secure::start(driver, &flags);
    let mut open: Vec<_> = (0..20).map(|_| secure.raw("/rooms/r")).collect();
    // Some have sent nothing, and one is in the middle of its handshake.
    let silent: Vec<_> = (0..3)
        .map(|_| wire::connect(secure.server.address()))
        .collect();
    silent[0]
        .try_clone()
        .unwrap()
        .write_all(&[0x16, 3, 1])
        .unwrap();
    secure.server.signal(Signal::TERM);
    for raw in &mut open {
        assert_eq!(raw.message().close_code(), 1001);
        raw.send(wire::close(1001));
        assert_eq!(raw.next(), Heard::End);
    }
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "nothing could be said");
    }
    drop(open);
    assert!(secure.server.wait().success());
}

fn connection_beyond_the_most_is_answered_503(driver: Driver) {
    let secure = Secure::start(driver, &["--max-connections", "2"]);
    let inside = [secure.connect("/echo"), secure.connect("/echo")];
    let refused = secure.get("/");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("Retry-After"), Some("1"));
    drop(inside);
    eventually("there is room again", || secure.get("/").status == 200);
}

/// An excess client gets no answer before TLS is done, since it could not read one.
fn descriptors_that_run_out_are_survived(driver: Driver) {
    let times = ["--tls-handshake-timeout", "2s", "--max-connections", "1000"];
    let secure = Secure::launch(with_few_descriptors(), driver, &times);
    let mut inside = secure.connect("/echo");
    let mut outside: Vec<_> = (0..200)
        .map(|_| wire::connect(secure.server.address()))
        .collect();
    for stream in &mut outside {
        assert!(records(stream).is_empty());
    }
    inside.send("still served");
    assert_eq!(inside.text(), "still served");
    drop(outside);
    eventually("others are let in again", || {
        handshake(&mut secure.stream()).is_ok()
    });
}

fn descriptors_and_memory_are_released_however_connections_end(driver: Driver) {
    let flags = ["--cores", "2", "--message-bytes-max", "1MiB"];
    let times = ["--close-timeout", "2s"];
    let secure = Secure::start(driver, &[&flags[..], &times].concat());
    let pid = secure.server.pid();
    for n in 0..2 * WAYS {
        come_and_go(&secure, n);
    }
    let baseline = process::descriptors_at_rest(pid);
    let opened = sum(&secure.server, "hubbub_connections_opened_total", "");
    memory_stays(&secure.server, || {
        for n in 0..20 * WAYS {
            come_and_go(&secure, n);
        }
        eventually("all descriptors are released", || {
            process::descriptors(pid) <= baseline
        });
    });
    assert!(secure.serves());
    eventually("each has ended for one reason", || {
        let opened = sum(&secure.server, "hubbub_connections_opened_total", "");
        secure.ended("") == opened
    });
    assert!(secure.ended("") >= opened + 20 * WAYS as u64);
}

const WAYS: usize = 11;

/// One connection that ends in the n-th way.
fn come_and_go(secure: &Secure, n: usize) {
    let room = format!("/rooms/{}", n % 50);
    let address = secure.server.address();
    match n % WAYS {
        0 => secure.connect(&room).leave(),
        1 => wire::reset(secure.raw(&room).stream.sock),
        2 => drop(secure.raw(&room)),
        3 => {
            let mut raw = secure.raw(&room);
            raw.stream.conn.send_close_notify();
            raw.stream.flush().unwrap();
        }
        4 => wire::send(&mut wire::connect(address), &[0x16, 3, 1, 2, 0, 1, 0]),
        5 => wire::send(
            &mut wire::connect(address),
            b"\0garbage, for what it is worth",
        ),
        6 => {
            let mut stream = wire::connect(address);
            wire::send(&mut stream, wire::request("GET", "/", &[]).as_bytes());
            assert_eq!(Response::read_from(&mut stream).status, 400);
        }
        7 => {
            // The client leaves with more queued for it than its socket accepts.
            let mut raw = secure.narrow("/echo");
            raw.send(wire::frame(BINARY, &[0; 1 << 20]));
            wire::reset(raw.stream.sock);
        }
        8 => {
            let mut raw = secure.raw(&room);
            raw.stream.sock.write_all(&[0x17, 3, 3, 0, 20]).unwrap();
            raw.stream.sock.write_all(&[9; 20]).unwrap();
        }
        9 => assert_eq!(secure.get("/").status, 200),
        _ => {
            let mut raw: Raw<_> = secure.raw(&room);
            raw.send(wire::unmasked(TEXT, b"bad"));
            assert_eq!(raw.frame().close_code(), 1002);
        }
    }
}
