//! `/rooms/{room}/sse`: a room as a stream of server-sent events.

use std::{io::Read, thread, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::{
    client::{Client, ask, binary},
    commands::{Configured, in_seconds, token},
    harness::{Driver, Server, eventually},
    raw_rooms::{REMEMBERING, remembering},
    streamed::{End, Stream},
    wire,
};

on_both_drivers![
    event_has_a_line_for_each_line_of_its_text_and_its_position_as_id,
    client_that_comes_back_with_its_latest_id_misses_nothing_and_has_nothing_twice,
    what_cannot_be_recovered_is_told_by_an_event,
    room_without_positions_has_events_without_ids,
    history_comes_first,
    stream_is_open_to_whom_the_room_is_open,
    stream_ends_when_its_token_is_over,
    methods_other_than_get_are_answered,
    page_of_another_origin_is_refused_before_anything_else,
    heartbeats_are_comments,
    drain_ends_a_stream_with_its_last_chunk,
    slow_reader_is_cut_off_without_a_last_chunk_and_comes_back,
    dev_streams_to_this_machine_alone,
];

/// Asks for the stream of a room with these fields.
fn listen(server: &Server, room: &str, fields: &[&str]) -> Stream {
    let (room, query) = room.split_once('?').unwrap_or((room, ""));
    let target = format!("/rooms/{room}/sse?{query}");
    let stream = Stream::ask(server, wire::request("GET", &target, fields));
    assert_eq!(stream.head.status, 200, "{target}");
    stream
}

/// The epoch and the offset behind which the stream begins, by its first event.
#[track_caller]
fn begins(stream: &mut Stream) -> (String, u64) {
    let first = stream.event().unwrap();
    let (retry, id) = first.split_once("\nid: ").expect("an id");
    let retry = retry.strip_prefix("retry: ").expect("a time");
    assert!((1_000..3_000).contains(&retry.parse::<u32>().unwrap()));
    let (epoch, offset) = id.split_once(':').unwrap();
    (epoch.to_owned(), offset.parse().unwrap())
}

/// Publishes these messages, of which each reaches the publisher, too.
fn say(publisher: &mut Client, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        publisher.send(message.clone());
        assert_eq!(publisher.receive(), message);
    }
}

fn text(number: usize) -> Message {
    Message::text(number.to_string())
}

fn event_has_a_line_for_each_line_of_its_text_and_its_position_as_id(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "r");
    let mut stream = listen(server, "r", &["Accept: text/event-stream"]);
    for (name, value) in [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("Vary", "Origin"),
    ] {
        assert_eq!(stream.head.field(name), Some(value));
    }
    let (epoch, offset) = begins(&mut stream);
    assert_eq!(offset, 0);
    let said = [
        (Message::text("one"), "data: one"),
        (
            Message::text(" a\nb\r\nc\r\rd "),
            "data:  a\ndata: b\ndata: c\ndata: \ndata: d ",
        ),
        (
            Message::text("id: 9\n\ndata: x"),
            "data: id: 9\ndata: \ndata: data: x",
        ),
        (Message::text("{\"a\": \"é\"}"), "data: {\"a\": \"é\"}"),
        (binary(vec![0xff, 0, b'\n']), "event: binary\ndata: /wAK"),
    ];
    for (offset, (message, expected)) in (1..).zip(said) {
        say(&mut publisher, [message]);
        let event = stream.event().unwrap();
        assert_eq!(event, format!("id: {epoch}:{offset}\n{expected}"));
    }
}

fn client_that_comes_back_with_its_latest_id_misses_nothing_and_has_nothing_twice(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "long:r?mode=publish");
    publisher.send("0");
    let publishing = thread::spawn(move || {
        for number in 1..1_500 {
            publisher.send(text(number));
            thread::sleep(Duration::from_micros(300));
        }
        publisher
    });
    let mut id: Option<String> = None;
    let mut seen = 0;
    let mut streams = 0;
    let mut last = String::new();
    while last != "1499" {
        let field = id.as_ref().map(|id| format!("Last-Event-ID: {id}"));
        let fields: Vec<_> = field.as_deref().into_iter().collect();
        // The first finds all of the history, and the others what they have missed.
        let mut stream = listen(server, "long:r?last=5000&since=x:1", &fields);
        let first = stream.event().unwrap();
        assert!(first.starts_with("retry: "), "{first}");
        assert_eq!(first.contains("event: gap"), id.is_none(), "{first}");
        for _ in 0..=streams % 40 {
            let event = stream.event().unwrap();
            let (position, data) = event.split_once("\ndata: ").expect("an event");
            let position = position.strip_prefix("id: ").expect("an id");
            let offset: u64 = position.split_once(':').unwrap().1.parse().unwrap();
            assert!(id.is_none() || offset == seen + 1, "{offset} after {seen}");
            assert_eq!(
                offset.to_string(),
                (data.parse::<u64>().unwrap() + 1).to_string()
            );
            (seen, last) = (offset, data.to_owned());
            id = Some(position.to_owned());
            if last == "1499" {
                break;
            }
        }
        streams += 1;
        drop(stream);
    }
    assert!(streams > 10, "{streams}");
    publishing.join().unwrap();
}

fn what_cannot_be_recovered_is_told_by_an_event(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "short:r");
    say(&mut publisher, (1..=9).map(text));
    let (epoch, _) = begins(&mut listen(server, "r", &[]));
    let (here, offset) = begins(&mut listen(server, "short:r", &[]));
    assert_eq!(offset, 9);
    for (id, cause) in [
        (format!("{here}:2"), "size"),
        (format!("{here}:10"), "epoch"),
        (format!("{epoch}:9"), "epoch"),
        ("whatever".to_owned(), "epoch"),
        (":".to_owned(), "epoch"),
        ("\u{e9}".to_owned(), "epoch"),
        ("x".repeat(2_000), "epoch"),
    ] {
        let field = format!("Last-Event-ID: {id}");
        let mut stream = listen(server, "short:r", &[&field]);
        let gap = stream.event().unwrap();
        let lines: Vec<_> = gap.lines().collect();
        assert_eq!(lines[1..3], [&*format!("id: {here}:9"), "event: gap"]);
        let said: Value = serde_json::from_str(lines[3].strip_prefix("data: ").unwrap()).unwrap();
        let expected = json!({"epoch": here, "offset": 9, "recovered": false, "cause": cause});
        assert_eq!(said, expected, "{id}");
    }
    let field = format!("Last-Event-ID: {here}:8");
    let mut stream = listen(server, "short:r?since=whatever:1", &[&field]);
    assert_eq!(
        begins(&mut stream).1,
        8,
        "the field is newer than the address"
    );
    assert_eq!(stream.event().unwrap(), format!("id: {here}:9\ndata: 9"));
    // Without the field the address counts.
    let mut stream = listen(server, &format!("short:r?since={here}:7"), &[]);
    assert_eq!(begins(&mut stream).1, 7);
}

fn room_without_positions_has_events_without_ids(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let token = token(&json!({"sub": "7"}));
    let mut publisher = Client::join(server, &format!("bare:r?token={token}"));
    let mut stream = listen(server, "bare:r", &[]);
    let first = stream.event().unwrap();
    assert!(
        first.starts_with("retry: ") && first.lines().count() == 1,
        "{first}"
    );
    say(&mut publisher, [Message::text("one")]);
    assert_eq!(stream.event().unwrap(), "data: one");
    // Who has an id of a time when there were some is told that it may have missed something.
    let field = "Last-Event-ID: 0000000000000001:1";
    let gap = listen(server, "bare:r", &[field]).event().unwrap();
    let said = "event: gap\ndata: {\"recovered\":false,\"cause\":\"off\"}";
    assert!(gap.ends_with(said), "{gap}");
}

fn history_comes_first(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "r");
    say(&mut publisher, (1..=20).map(text));
    let mut stream = listen(server, "r?last=3&age=1h", &[]);
    let (epoch, offset) = begins(&mut stream);
    assert_eq!(offset, 17);
    say(&mut publisher, [text(21)]);
    for number in 18..=21 {
        let event = stream.event().unwrap();
        assert_eq!(event, format!("id: {epoch}:{number}\ndata: {number}"));
    }
    // HTTP/1.0 knows no chunks.
    let mut plain = wire::connect(server.address());
    let request = "GET /rooms/r/sse?last=1 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    wire::send(&mut plain, request.as_bytes());
    let expected = format!("id: {epoch}:20\n\nid: {epoch}:21\ndata: 21\n\n");
    let mut read = Vec::new();
    while !read.ends_with(expected.as_bytes()) {
        let mut byte = [0];
        plain.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

fn stream_is_open_to_whom_the_room_is_open(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let user = token(&json!({"sub": "7"}));
    let of_room = token(&json!({"sub": "7", "channel": "$r"}));
    let expired = token(&json!({"sub": "7", "exp": in_seconds(-600)}));
    let status = |target: &str, fields: &[&str]| {
        let head = Stream::ask(server, wire::request("GET", target, fields)).head;
        if head.status != 200 {
            assert_eq!(head.field("Vary"), Some("Origin"), "{target}");
        }
        head.status
    };
    for (target, expected) in [
        ("/rooms/r/sse".to_owned(), 200),
        (format!("/rooms/r/sse?token={expired}"), 401),
        ("/rooms/$r/sse".to_owned(), 401),
        (format!("/rooms/$r/sse?token={user}"), 403),
        (format!("/rooms/$r/sse?token={of_room}"), 200),
        ("/rooms/nowhere:r/sse".to_owned(), 404),
        ("/rooms//sse".to_owned(), 404),
        ("/rooms/a%2Fb/sse".to_owned(), 404),
        ("/rooms/secret:r/sse?last=1".to_owned(), 401),
        (format!("/rooms/secret:r/sse?last=1&token={user}"), 200),
        ("/rooms/bare:r/sse?last=1".to_owned(), 400),
        ("/rooms/bare:r/sse?positions=1".to_owned(), 400),
        ("/rooms/r/sse?positions=1&echo=0".to_owned(), 200),
        ("/rooms/r/sse?mode=publish".to_owned(), 400),
        ("/rooms/r/sse?since=1".to_owned(), 400),
    ] {
        assert_eq!(status(&target, &[]), expected, "{target}");
    }
    let bearer = format!("Authorization: Bearer {of_room}");
    assert_eq!(status("/rooms/$r/sse", &[&bearer]), 200);
    // Who may listen to a stream has no more than who may listen otherwise.
    assert_eq!(status("/rooms/listen:r/sse", &[]), 200);
    let upgrade = wire::upgrade("/rooms/r/sse");
    assert_eq!(ask(server, upgrade).status, 404, "it is no WebSocket");
}

fn stream_ends_when_its_token_is_over(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let token = token(&json!({"sub": "7", "exp": in_seconds(3)}));
    let mut stream = listen(server, &format!("r?token={token}"), &[]);
    begins(&mut stream);
    say(&mut Client::join(server, "r"), [Message::text("in time")]);
    assert!(stream.event().unwrap().ends_with("data: in time"));
    assert_eq!(stream.event(), Err(End::Whole));
    let answer = ask(
        server,
        wire::request("GET", &format!("/rooms/r/sse?token={token}"), &[]),
    );
    assert_eq!(answer.status, 401);
}

fn methods_other_than_get_are_answered(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let token = token(&json!({"sub": "7"}));
    for target in [
        "/rooms/r/sse".to_owned(),
        format!("/rooms/r/sse?token={token}"),
    ] {
        let head = ask(server, wire::request("HEAD", &target, &[]));
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.field("Content-Type"), Some("text/event-stream"));
        let options = wire::request("OPTIONS", &target, &["Connection: close"]);
        let options = ask(server, options);
        assert_eq!(options.status, 204);
        assert_eq!(options.field("Allow"), Some("GET, OPTIONS"));
        for method in ["PUT", "DELETE"] {
            let answer = ask(server, wire::request(method, &target, &[]));
            assert_eq!(answer.status, 405, "{method}");
        }
        let body = wire::request("GET", &target, &["Content-Length: 1"]) + "x";
        assert_eq!(ask(server, body).status, 400);
    }
    let refused = wire::request("HEAD", "/rooms/$r/sse", &[]);
    assert_eq!(ask(server, refused).status, 401);
}

fn page_of_another_origin_is_refused_before_anything_else(driver: Driver) {
    let listed = "https://app.example.com";
    let answer = |server: &Server, origin: &str, query: &str| {
        let origin = format!("Origin: {origin}");
        let target = format!("/rooms/r/sse?{query}");
        Stream::ask(server, wire::request("GET", &target, &[&origin])).head
    };
    let start = |flags: &[&str]| Configured::start(driver, "", REMEMBERING, flags);
    for (list, allowed, credentials) in [(listed, listed, Some("true")), ("*", "*", None)] {
        let configured = start(&["--allow-origin", list]);
        // The answers that refuse something else may be read, too.
        for (query, status) in [("", 200), ("echo=3", 400), ("token=x", 401)] {
            let head = answer(&configured.server, listed, query);
            assert_eq!(head.status, status);
            assert_eq!(head.field("Access-Control-Allow-Origin"), Some(allowed));
            assert_eq!(head.field("Access-Control-Allow-Credentials"), credentials);
            assert_eq!(head.field("Vary"), Some("Origin"));
        }
    }
    let configured = start(&[]);
    for (origin, query) in [
        (listed, ""),
        ("null", "echo=3"),
        ("http://localhost.evil", "token=x"),
    ] {
        let head = answer(&configured.server, origin, query);
        assert_eq!(head.status, 403);
        assert_eq!(head.field("Access-Control-Allow-Origin"), None);
    }
    assert_eq!(
        answer(&configured.server, "http://localhost", "").status,
        200
    );
}

fn heartbeats_are_comments(driver: Driver) {
    let flags = ["--ping-interval", "100ms", "--pong-timeout", "100ms"];
    let server = Server::start(driver, &flags);
    let mut stream = listen(&server, "r", &[]);
    assert!(stream.event().unwrap().starts_with("retry: "));
    for _ in 0..5 {
        assert_eq!(stream.event().unwrap(), ":");
    }
    assert_eq!(server.ends_logged("pong_timeout"), 0);
}

fn drain_ends_a_stream_with_its_last_chunk(driver: Driver) {
    let mut server = Server::start(driver, &["--drain-delay", "0s"]);
    let mut stream = listen(&server, "r", &[]);
    stream.event().unwrap();
    let mut publisher = Client::join(&server, "r");
    say(&mut publisher, [Message::text("the last")]);
    publisher.leave();
    server.signal(Signal::TERM);
    assert_eq!(stream.event().unwrap(), "data: the last");
    assert_eq!(stream.event(), Err(End::Whole));
    drop(stream);
    assert!(server.wait().success());
}

fn slow_reader_is_cut_off_without_a_last_chunk_and_comes_back(driver: Driver) {
    let flags = [
        "--cores",
        "2",
        "--send-queue-bytes-max",
        "256KiB",
        "--write-timeout",
        "10m",
    ];
    let configured = Configured::start(driver, "", REMEMBERING, &flags);
    let server = &configured.server;
    let narrow = wire::connect_narrow(server.address(), 4 << 10);
    let mut slow = Stream::over(narrow, wire::request("GET", "/rooms/r/sse", &[]));
    let (epoch, _) = begins(&mut slow);
    let mut publisher = Client::join(server, "r");
    // Several times of what the kernel's buffers hold.
    let said = 800;
    for number in 0..said {
        let content = format!("{number:08}").repeat(2_000);
        say(&mut publisher, [Message::text(content)]);
    }
    let mut read = 0;
    let end = loop {
        match slow.event() {
            Ok(event) => {
                read += 1;
                assert!(
                    event.starts_with(&format!("id: {epoch}:{read}\n")),
                    "{read}"
                );
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Cut);
    assert!(read < said);
    // It was away for more messages than are kept, or not.
    let field = format!("Last-Event-ID: {epoch}:{read}");
    let mut back = listen(server, "r", &[&field]);
    let first = back.event().unwrap();
    let is_gap = first.contains("event: gap");
    let next = back.read_next_offset(&mut publisher);
    assert_eq!(next, if is_gap { said + 1 } else { read + 1 });
    eventually("each connection ends for one reason", || {
        server.ends_logged("send_queue_full") == 1
    });
}

impl Stream {
    /// Says one thing more, and returns the offset of what comes next.
    fn read_next_offset(&mut self, publisher: &mut Client) -> u64 {
        say(publisher, [Message::text("more")]);
        let event = self.event().unwrap();
        let (id, _) = event.split_once('\n').unwrap();
        id.rsplit_once(':').unwrap().1.parse().unwrap()
    }
}

fn dev_streams_to_this_machine_alone(driver: Driver) {
    let server = Server::start(driver, &["--dev"]);
    let mut publisher = Client::join(&server, "r");
    say(&mut publisher, [Message::text("one")]);
    let mut stream = listen(&server, "r?last=1", &[]);
    assert_eq!(begins(&mut stream).1, 0);
    assert!(stream.event().unwrap().ends_with("data: one"));
    let mut client = Client::join(&server, "r?positions=1&last=1");
    assert!(client.text().contains("\"offset\":0"));
    let status = |path: &str, field: &str| {
        let request = match path.ends_with("sse") {
            true => wire::request("GET", path, &[field]),
            false => wire::request("GET", path, &[&wire::UPGRADE[..], &[field]].concat()),
        };
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, request.as_bytes());
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        str::from_utf8(&status[9..])
            .unwrap()
            .parse::<u16>()
            .unwrap()
    };
    for field in ["X-Forwarded-For: 10.0.0.1", "Via: 1.1 proxy"] {
        for path in [
            "/rooms/r/sse",
            "/rooms/r?last=1",
            "/rooms/r?age=1s",
            "/rooms/r?positions=1",
            "/rooms/r?since=x:1",
        ] {
            assert_eq!(status(path, field), 403, "{path} {field}");
        }
        // What such rooms always had, they have.
        for path in ["/rooms/r", "/rooms/r?echo=0", "/rooms/r?mode=publish"] {
            assert_eq!(status(path, field), 101, "{path} {field}");
        }
    }
}
