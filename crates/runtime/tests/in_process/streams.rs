//! Answers over HTTP that last: what WebSockets have, they have too.

use std::{
    io::{ErrorKind, Read},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use codec::{CloseCode, Kind};
use runtime::{Command, Config, DriverChoice};

use crate::{
    harness::{PATIENCE, Running, start, start_with},
    pages::{BEAT, Caller, Pages, Version, ended_for, post, tally},
};

on_both_drivers![
    both_kinds_of_subscribers_have_every_message_whole_and_in_order,
    message_without_bytes_does_not_end_a_stream,
    stream_that_the_session_closes_has_its_last_chunk,
    stream_has_its_last_chunk_in_a_drain,
    stream_that_reaches_its_age_has_its_last_chunk,
    heartbeats_come_one_after_the_other,
    answer_to_head_has_no_body_and_opens_nothing,
    stream_that_is_costly_to_decide_opens_or_is_refused,
    stream_whose_peer_leaves_is_over,
    what_is_sent_behind_the_request_of_a_stream_is_ignored,
    slow_reader_has_whole_messages_and_no_last_chunk,
    slow_reader_without_chunks_is_reset,
    reader_that_stands_still_is_reset,
    reader_with_the_most_waiting_is_reset_when_memory_is_short,
    stream_of_a_request_with_a_body_is_one_like_any_other,
    stream_whose_peer_answers_the_sessions_pings_stays_and_else_ends,
    stream_says_its_last_words_behind_everything_else,
];

const BOTH: [Version; 2] = [Version::Http11, Version::Http10];

fn both_kinds_of_subscribers_have_every_message_whole_and_in_order(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut streams: Vec<_> = (0..8)
        .map(|n| (BOTH[n % 2], Caller::get(&server, "/lines/r", BOTH[n % 2])))
        .collect();
    let mut sockets: Vec<_> = (0..4).map(|_| server.connect("/rooms/r")).collect();
    let texts: Vec<_> = (0..300)
        .map(|n| format!("{n}{}", "x".repeat(n * n % 9_000)))
        .collect();
    for burst in texts.chunks(20) {
        for text in burst {
            sockets[0].send(text);
        }
        for text in burst {
            for socket in &mut sockets {
                assert_eq!(socket.text(), *text);
            }
            for (version, stream) in &mut streams {
                assert_eq!(stream.line(*version).unwrap(), *text);
            }
        }
    }
    assert_eq!(tally(&server).open, [4, 8]);
}

fn message_without_bytes_does_not_end_a_stream(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut chunked = Caller::get(&server, "/raw/r", Version::Http11);
    let mut bare = Caller::get(&server, "/raw/r", Version::Http10);
    let mut publisher = server.connect("/rooms/r");
    for text in ["", "one", "", "", "two", ""] {
        publisher.send(text);
        assert_eq!(publisher.text(), text);
    }
    assert_eq!(chunked.chunk().unwrap(), "one");
    assert_eq!(chunked.chunk().unwrap(), "two");
    assert_eq!(bare.up_to(b"two").unwrap(), "onetwo");
}

fn stream_that_the_session_closes_has_its_last_chunk(driver: DriverChoice) {
    for (version, rest) in [
        (Version::Http11, "\r\n4\r\nnews\r\n0\r\n\r\n"),
        (Version::Http10, "news"),
    ] {
        let server = start(driver, Pages::default());
        let commander = server.server().commander();
        let mut stream = Caller::get(&server, "/user/ann", version);
        stream.up_to(b"hello ann").unwrap();
        let news = Command::Say(Kind::Text, Bytes::from_static(b"news"));
        commander.user("ann", news).unwrap();
        let close = Command::Close(CloseCode::NORMAL, "as you wish");
        commander.user("ann", close).unwrap();
        assert_eq!(stream.rest(), rest);
        drop(stream);
        assert_eq!(ended_for(&server, "session_closed"), "none");
    }
}

fn stream_has_its_last_chunk_in_a_drain(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut streams: Vec<_> = (0..6)
        .map(|n| (BOTH[n % 2], Caller::get(&server, "/lines/r", BOTH[n % 2])))
        .collect();
    let mut publisher = server.connect("/rooms/r");
    publisher.send("the last");
    assert_eq!(publisher.text(), "the last");
    let reading = thread::spawn(move || {
        for (version, stream) in &mut streams {
            assert_eq!(stream.line(*version).unwrap(), "the last");
            let last = match version {
                Version::Http11 => "0\r\n\r\n",
                Version::Http10 => "",
            };
            assert_eq!(stream.rest(), last);
        }
        publisher.closed()
    });
    server.stop().unwrap();
    assert_eq!(reading.join().unwrap().0, 1001);
}

fn stream_that_reaches_its_age_has_its_last_chunk(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.connection_age = Some(Duration::from_millis(200));
    });
    let mut stream = Caller::get(&server, "/lines/r", Version::Http11);
    assert_eq!(stream.rest(), "0\r\n\r\n");
    assert_eq!(ended_for(&server, "aged"), "none");
}

fn heartbeats_come_one_after_the_other(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.ping_interval = Duration::from_millis(40);
        config.timeouts.pong = Duration::from_millis(40);
    });
    let mut streams = BOTH.map(|version| (version, Caller::get(&server, "/beats", version)));
    let mut without = Caller::get(&server, "/user/ann", Version::Http11);
    for _ in 0..8 {
        for (version, stream) in &mut streams {
            let beat = stream.line(*version).unwrap();
            assert_eq!(beat.as_bytes(), BEAT.trim_ascii_end());
        }
    }
    // Nobody waits for an answer to them.
    assert_eq!(tally(&server).open, [0, 3]);
    drop(streams);
    assert_eq!(without.chunk().unwrap(), "hello ann");
    let commander = server.server().commander();
    let news = Command::Say(Kind::Text, Bytes::from_static(b"news"));
    commander.user("ann", news).unwrap();
    assert_eq!(without.chunk().unwrap(), "news");
}

fn answer_to_head_has_no_body_and_opens_nothing(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let answer = server.ask("HEAD /lines/r HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n"));
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{answer}");
    assert_eq!(ended_for(&server, "answered"), "none");
    assert_eq!(server.server().monitor().rooms(), 0);
}

fn stream_that_is_costly_to_decide_opens_or_is_refused(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut publisher = server.connect("/rooms/r");
    for version in BOTH {
        let mut stream = Caller::get(&server, "/cost/r", version);
        publisher.send("one");
        assert_eq!(publisher.text(), "one");
        assert_eq!(stream.line(version).unwrap(), "one");
        assert_eq!(tally(&server).open, [1, 1]);
        drop(stream);
        while tally(&server).open != [1, 0] {}
    }
    let answer = server.ask("HEAD /cost/r HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = server.ask("GET /cost HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.ends_with("who is it?\n"), "{answer}");
}

fn stream_whose_peer_leaves_is_over(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let stream = Caller::get(&server, "/lines/r", Version::Http11);
    assert_eq!(tally(&server).open, [0, 1]);
    drop(stream);
    assert_eq!(ended_for(&server, "peer_gone"), "none");
    assert_eq!(tally(&server).open, [0, 0]);
}

fn what_is_sent_behind_the_request_of_a_stream_is_ignored(driver: DriverChoice) {
    let pages = Pages::default();
    let server = start(driver, pages.clone());
    let mut publisher = server.connect("/rooms/r");
    let mut stream = Caller::connect(&server);
    let asked = "GET /lines/r HTTP/1.1\r\nHost: a\r\n\r\n";
    let behind = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.send(&format!("{asked}{behind}"));
    stream.head();
    for n in 0..100 {
        stream.send(behind);
        publisher.send(&format!("{n}"));
        assert_eq!(stream.chunk().unwrap(), format!("{n}\n"));
    }
    assert_eq!(*pages.routed.lock().unwrap(), ["/rooms/r", "/lines/r"]);
}

/// What one message of a flood takes.
const LOUD_BYTES: usize = 32 << 10;

/// More of them than the sockets of both sides hold, of which one side's is small.
const LOUD: usize = 256;

/// A text by which every byte of a message is known.
fn loud(n: usize) -> String {
    format!("{n:08}").repeat(LOUD_BYTES / 8)
}

/// A stream that is not read, of a room that says far too much.
fn flood(server: &Running, version: Version) -> Caller {
    let mut stream = Caller::that_reads_slowly(server);
    stream.ask("/lines/r", version);
    let mut publisher = server.connect("/rooms/r");
    for n in 0..LOUD {
        publisher.send(&loud(n));
        assert_eq!(publisher.text(), loud(n));
    }
    publisher.leave();
    stream
}

fn patient(config: &mut Config) {
    config.send_queue_bytes_max = 256 << 10;
    config.timeouts.write = PATIENCE;
    config.timeouts.close = PATIENCE;
}

fn slow_reader_has_whole_messages_and_no_last_chunk(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), patient);
    let mut stream = flood(&server, Version::Http11);
    let mut read = 0;
    let error = loop {
        match stream.line(Version::Http11) {
            Ok(line) => assert!(line == loud(read), "message {read}"),
            Err(error) => break error,
        }
        read += 1;
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!((1..LOUD).contains(&read), "{read}");
    drop(stream);
    assert_eq!(ended_for(&server, "send_queue_full"), "none");
}

fn slow_reader_without_chunks_is_reset(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        patient(config);
        // It is not for the end of these that it is reset.
        config.timeouts.write = 2 * PATIENCE;
        config.timeouts.close = 2 * PATIENCE;
    });
    let mut stream = flood(&server, Version::Http10);
    assert_eq!(ended_for(&server, "send_queue_full"), "none");
    let read = stream.socket.read_to_end(&mut Vec::new());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn reader_that_stands_still_is_reset(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.send_queue_bytes_max = 64 << 20;
        config.timeouts.write = Duration::from_millis(300);
    });
    let mut stream = flood(&server, Version::Http11);
    assert_eq!(ended_for(&server, "write_stalled"), "none");
    let read = stream.socket.read_to_end(&mut Vec::new());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn reader_with_the_most_waiting_is_reset_when_memory_is_short(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        patient(config);
        config.send_queue_bytes_max = 64 << 20;
        config.send_queues_bytes_max = 2 << 20;
    });
    let mut stream = flood(&server, Version::Http11);
    assert_eq!(ended_for(&server, "queues_full"), "none");
    let read = stream.socket.read_to_end(&mut Vec::new());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn stream_of_a_request_with_a_body_is_one_like_any_other(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut publisher = server.connect("/rooms/r");
    let mut in_one = Caller::connect(&server);
    in_one.post("/lines-of-body", "r");
    let mut in_pieces = Caller::connect(&server);
    let request = post("/lines-of-body", "r").replace("HTTP/1.1", "HTTP/1.0");
    let (head, body) = request.split_at(request.len() - 1);
    in_pieces.send(head);
    thread::sleep(Duration::from_millis(20));
    in_pieces.send(body);
    let mut streams = [(Version::Http11, in_one), (Version::Http10, in_pieces)];
    for (version, stream) in &mut streams {
        let head = stream.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let is_chunked = head.contains("\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(is_chunked, *version == Version::Http11, "{head}");
    }
    for text in ["one", "two"] {
        publisher.send(text);
        for (version, stream) in &mut streams {
            assert_eq!(stream.line(*version).unwrap(), text);
        }
    }
    assert_eq!(tally(&server).open, [1, 2]);
    server.stop().unwrap();
    let [(_, chunked), (_, bare)] = &mut streams;
    assert_eq!(
        (chunked.rest(), bare.rest()),
        ("0\r\n\r\n".into(), String::new())
    );
}

fn stream_whose_peer_answers_the_sessions_pings_stays_and_else_ends(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.ping_interval = Duration::from_millis(40);
        config.timeouts.pong = Duration::from_millis(400);
    });
    let commander = server.server().commander();
    let mut stream = Caller::get(&server, "/own", Version::Http11);
    assert_eq!(stream.chunk().unwrap(), "hello\n");
    for _ in 0..8 {
        assert_eq!(stream.chunk().unwrap(), "ping\n");
        let pong = Command::Hand(Arc::new(()));
        commander.user("pinged", pong).unwrap();
    }
    let rest = stream.rest();
    assert!(rest.contains("over: pong_timeout\n"), "{rest}");
    assert!(
        !rest.ends_with("\r\n0\r\n\r\n"),
        "messages may be missing: {rest}"
    );
    drop(stream);
    assert_eq!(ended_for(&server, "pong_timeout"), "none");
}

fn stream_says_its_last_words_behind_everything_else(driver: DriverChoice) {
    for (version, expected) in [
        (
            Version::Http11,
            "5\r\nnews\n\r\n15\r\nover: session_closed\n\r\n0\r\n\r\n",
        ),
        (Version::Http10, "news\nover: session_closed\n"),
    ] {
        let server = start(driver, Pages::default());
        let commander = server.server().commander();
        let mut stream = Caller::get(&server, "/own", version);
        assert_eq!(stream.line(version).unwrap(), "hello");
        let news = Command::Say(Kind::Text, Bytes::from_static(b"news\n"));
        commander.user("pinged", news).unwrap();
        let close = Command::Close(CloseCode::NORMAL, "as you wish");
        commander.user("pinged", close).unwrap();
        assert_eq!(stream.rest(), expected);
    }
}
