//! Sessions of the Centrifuge protocol over HTTP: what they have over a WebSocket, they have there, too.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::{ask, scrape},
    harness::{Driver, eventually},
    streamed::{
        EMULATION, End, HTTP_STREAM, ONE_WAY, SSE, STREAMS, Stream, Streamed, begin, emulate, open,
    },
    wire,
};

on_both_drivers![
    session_over_a_stream_is_one_like_any_other,
    session_over_a_stream_in_protobuf_is_one_like_any_other,
    commands_in_one_request_are_answered_in_their_order,
    end_of_a_session_is_told_on_its_stream,
    drain_ends_streams_with_their_last_chunk,
    ping_on_a_stream_is_answered_by_a_request_or_the_session_ends,
    client_that_recovers_over_a_stream_gets_what_it_missed,
    commands_that_wait_are_bounded,
    slow_reader_of_a_stream_loses_its_room_alone,
];

fn session_over_a_stream_is_one_like_any_other(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for path in STREAMS {
        let mut session = Streamed::anonymous(server, path);
        let media = match path {
            SSE => "text/event-stream; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let head = &session.stream.head;
        for (name, value) in [
            ("Content-Type", media),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),
            ("Vary", "Origin"),
            ("Transfer-Encoding", "chunked"),
        ] {
            assert_eq!(head.field(name), Some(value), "{path} {name}");
        }
        let reply = session.ask(server, r#"{"id":2,"subscribe":{"channel":"news"}}"#);
        assert!(reply["subscribe"].is_object(), "{reply}");
        // The payload has a line break, which none of these transports may have in a message.
        let data = "{\"a\":\r\n \"line\\nbreak\"}";
        let publish = format!(
            r#"{{"id":3,"publish":{{"channel":"news","data":{}}}}}"#,
            data.replace('\n', "")
        );
        session.send(server, &publish);
        let said = [session.stream.reply(), session.stream.reply()];
        let is_message = |said: &Value| said["push"]["pub"]["data"] == json!({"a": "line\nbreak"});
        assert!(said.iter().any(is_message), "{said:?}");
        assert!(said.iter().any(|said| said["id"] == 3), "{said:?}");
        let reply = session.ask(server, r#"{"id":4,"presence_stats":{"channel":"news"}}"#);
        assert_eq!(reply["presence_stats"]["num_clients"], 1, "{reply}");
        let reply = session.ask(server, r#"{"id":5,"unsubscribe":{"channel":"news"}}"#);
        assert!(reply["unsubscribe"].is_object(), "{reply}");
        drop(session);
        eventually("it is gone from the room", || {
            scrape(server)["hubbub_rooms"] < 1.5
        });
    }
    eventually("each has ended once", || {
        let metrics = scrape(server);
        let ended = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("hubbub_connections_ended_total"));
        let gone: f64 = ended
            .filter(|(name, _)| name.contains("peer_gone"))
            .map(|(_, count)| count)
            .sum();
        gone >= 2.0
    });
}

/// A message in Protobuf of the shortest kind: each length is below 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn session_over_a_stream_in_protobuf_is_one_like_any_other(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let delimited = |message: &[u8]| [&[message.len() as u8], message].concat();
    let request = |path: &str, body: &[u8]| {
        let length = format!("Content-Length: {}", body.len());
        let fields = [
            "Content-Type: application/octet-stream",
            &length,
            "Connection: close",
        ];
        [wire::request("POST", path, &fields).as_bytes(), body].concat()
    };
    let connect = delimited(&[&[8, 1][..], &field(4, b"")].concat());
    let mut stream = Stream::ask(server, request(HTTP_STREAM, &connect));
    assert_eq!(
        stream.head.field("Content-Type"),
        Some("application/octet-stream")
    );
    let message = |stream: &mut Stream| {
        let mut length = usize::from(stream.bytes(1)[0]);
        if length >= 128 {
            length = length - 128 + 128 * usize::from(stream.bytes(1)[0]);
        }
        stream.bytes(length)
    };
    let reply = message(&mut stream);
    assert_eq!(reply[..3], [8, 1, 5 << 3 | 2]);
    // The id, the head of the result with its length in two bytes, and the result's fields.
    let mut fields = &reply[5..];
    let mut text = |number: u8| {
        loop {
            let [tag, rest @ ..] = fields else {
                panic!("no field {number}");
            };
            let value = rest[0];
            if tag & 7 == 0 {
                let bytes = rest.iter().take_while(|byte| **byte >= 128).count();
                fields = &rest[bytes + 1..];
                continue;
            }
            let (bytes, behind) = rest[1..].split_at(usize::from(value));
            fields = behind;
            if tag >> 3 == number {
                return bytes.to_vec();
            }
        }
    };
    let (session, node) = (text(9), text(10));
    let subscribe = delimited(&[&[8, 2][..], &field(5, &field(1, b"news"))].concat());
    let publish = [field(1, b"news"), field(2, b"\xff\x00")].concat();
    let publish = delimited(&[&[8, 3][..], &field(7, &publish)].concat());
    let commands = [subscribe, publish].concat();
    let body = [field(1, &node), field(2, &session), field(3, &commands)].concat();
    let sent = ask(server, [&request(EMULATION, &body)[..]].concat());
    assert_eq!(sent.status, 204);
    assert_eq!(message(&mut stream)[..2], [8, 2]);
    let said = [message(&mut stream), message(&mut stream)];
    let is_push = |said: &Vec<u8>| said.windows(2).any(|two| two == b"\xff\x00");
    assert!(said.iter().any(is_push), "{said:?}");
    assert!(said.iter().any(|said| said[..2] == [8, 3]), "{said:?}");
}

fn commands_in_one_request_are_answered_in_their_order(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for path in STREAMS {
        // More commands than a session carries out in one step, and the first of them in the request itself.
        let mut first = vec![r#"{"id":1,"connect":{}}"#.to_owned()];
        first.push(r#"{"id":2,"subscribe":{"channel":"a"}}"#.into());
        let mut stream = Stream::ask(server, begin(path, &first.join("\n")));
        let connect = stream.reply();
        assert_eq!(stream.reply()["id"], 2);
        let text = |name: &str| connect["connect"][name].as_str().unwrap().to_owned();
        let (session, node) = (text("session"), text("node"));
        let commands: Vec<_> = (3..203)
            .map(|id| format!(r#"{{"id":{id},"publish":{{"channel":"a","data":{id}}}}}"#))
            .collect();
        for some in commands.chunks(50) {
            assert_eq!(
                emulate(server, &session, &node, &some.join("\n")).status,
                204
            );
        }
        let (mut messages, mut acknowledged) = (Vec::new(), Vec::new());
        for _ in 0..400 {
            let said = stream.reply();
            match said["id"].as_u64() {
                Some(id) => acknowledged.push(id),
                None => messages.push(said["push"]["pub"]["data"].as_u64().expect("a message")),
            }
        }
        let expected: Vec<_> = (3..203).collect();
        assert_eq!((messages, acknowledged), (expected.clone(), expected));
    }
}

fn end_of_a_session_is_told_on_its_stream(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for path in STREAMS {
        let bad = r#"{"id":1,"connect":{"token":"a.b.c"}}"#;
        let mut stream = Stream::ask(server, begin(path, bad));
        assert_eq!(
            (stream.head.status, stream.closed()),
            (200, (3500, End::Whole))
        );
        let mut stream = Stream::ask(server, begin(path, "{nonsense"));
        assert_eq!(stream.closed(), (3501, End::Whole));
        let mut session = Streamed::anonymous(server, path);
        session.send(server, "{nonsense");
        assert_eq!(session.stream.closed(), (3501, End::Whole));
    }
    eventually("each end is recorded", || {
        server.ends_logged("session_closed") == 6
    });
}

fn drain_ends_streams_with_their_last_chunk(driver: Driver) {
    let mut configured = open(driver, &["--drain-delay", "0s"]);
    let server = &mut configured.server;
    let mut sessions: Vec<_> = STREAMS.map(|path| Streamed::anonymous(server, path)).into();
    let one_way = ONE_WAY.map(|path| Stream::ask(server, begin(path, "{}")));
    server.signal(Signal::TERM);
    for session in &mut sessions {
        assert_eq!(session.stream.closed(), (3001, End::Whole));
    }
    for mut stream in one_way {
        assert!(stream.reply()["connect"].is_object());
        assert_eq!(stream.closed(), (3001, End::Whole));
    }
    assert!(server.wait().success());
}

fn ping_on_a_stream_is_answered_by_a_request_or_the_session_ends(driver: Driver) {
    let flags = ["--ping-interval", "1s", "--pong-timeout", "900ms"];
    let configured = open(driver, &flags);
    let server = &configured.server;
    for path in STREAMS {
        let mut session = Streamed::anonymous(server, path);
        for _ in 0..2 {
            assert_eq!(session.stream.reply(), json!({}));
            session.send(server, "{}");
        }
        let (code, end) = session.stream.closed();
        assert_eq!((code, end), (3012, End::Cut));
        let mut session = Streamed::anonymous(server, path);
        // An answer to no ping is a mistake.
        session.send(server, "{}");
        assert_eq!(session.stream.closed().0, 3501);
    }
    eventually("the reason is recorded", || {
        server.ends_logged("pong_timeout") == 2
    });
}

fn client_that_recovers_over_a_stream_gets_what_it_missed(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for (path, room) in STREAMS.iter().zip(["a", "b"]) {
        let mut session = Streamed::anonymous(server, path);
        let subscribe = json!({"id": 2, "subscribe": {"channel": room, "recoverable": true}});
        let reply = session.ask(server, &subscribe.to_string());
        let epoch = reply["subscribe"]["epoch"].as_str().unwrap().to_owned();
        drop(session);
        let mut publisher = Streamed::anonymous(server, path);
        for n in 1..=20 {
            let publish = json!({"id": n + 1, "publish": {"channel": room, "data": n}});
            publisher.ask(server, &publish.to_string());
        }
        let subscribe = json!({"id": 2, "subscribe": {
            "channel": room, "recover": true, "recoverable": true, "offset": 3, "epoch": epoch,
        }});
        let frame = format!("{}\n{subscribe}", r#"{"id":1,"connect":{}}"#);
        let mut stream = Stream::ask(server, begin(path, &frame));
        assert_eq!(stream.reply()["id"], 1);
        let reply = stream.reply();
        let missed = reply["subscribe"]["publications"].as_array().unwrap();
        let data: Vec<_> = missed
            .iter()
            .map(|it| it["data"].as_u64().unwrap())
            .collect();
        assert_eq!(data, (4..=20).collect::<Vec<_>>(), "{reply}");
        publisher.ask(
            server,
            &json!({"id": 90, "publish": {"channel": room, "data": 21}}).to_string(),
        );
        assert_eq!(stream.reply()["push"]["pub"]["offset"], 21);
    }
}

/// A client that does not read what its commands are answered is not worked for any more; what it goes on
/// sending waits, up to a bound.
fn commands_that_wait_are_bounded(driver: Driver) {
    let flags = [
        "--emulation-waiting-bytes-max",
        "64KiB",
        "--write-timeout",
        "10m",
        // The last words are read late, however slow the machine is.
        "--close-timeout",
        "10m",
    ];
    let configured = open(driver, &flags);
    let server = &configured.server;
    let data = "x".repeat(15_000);
    let mut filler = Streamed::anonymous(server, HTTP_STREAM);
    for id in 2..30 {
        let publish = json!({"id": id, "publish": {"channel": "big", "data": data}});
        filler.ask(server, &publish.to_string());
    }
    let stream = wire::connect_narrow(server.address(), 4 << 10);
    let mut slow = Stream::over(stream, begin(HTTP_STREAM, r#"{"id":1,"connect":{}}"#));
    let connect = slow.reply();
    let text = |name: &str| connect["connect"][name].as_str().unwrap().to_owned();
    let (session, node) = (text("session"), text("node"));
    let command = json!({"id": 2, "history": {"channel": "big", "limit": -1}}).to_string();
    let frame = format!("{}{}", command, " ".repeat(10_000));
    // Many more than the kernel takes the answers of.
    for _ in 0..300 {
        assert_eq!(emulate(server, &session, &node, &frame).status, 204);
    }
    let (code, _) = slow.closed();
    assert_eq!(code, 3013);
    // Others notice nothing.
    filler.ask(server, r#"{"id":90,"presence_stats":{"channel":"big"}}"#);
}

fn slow_reader_of_a_stream_loses_its_room_alone(driver: Driver) {
    let flags = ["--send-queue-bytes-max", "64KiB", "--write-timeout", "10m"];
    let configured = open(driver, &flags);
    let server = &configured.server;
    for path in STREAMS {
        let stream = wire::connect_narrow(server.address(), 4 << 10);
        let frame = "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"loud\"}}";
        let mut slow = Stream::over(stream, begin(path, frame));
        assert_eq!(slow.reply()["id"], 1);
        assert_eq!(slow.reply()["id"], 2);
        let mut publisher = Streamed::anonymous(server, path);
        let data = "x".repeat(30_000);
        let left = || scrape(server)["hubbub_subscriptions_lost_total{reason=\"lagging\"}"];
        let before = left();
        let mut id = 2;
        while left() == before {
            let publish = json!({"id": id, "publish": {"channel": "loud", "data": data}});
            publisher.ask(server, &publish.to_string());
            id += 1;
            assert!(id < 2_000, "it never lags");
        }
        let unsubscribed = loop {
            let push = slow.reply();
            if push["push"]["unsubscribe"].is_object() {
                break push["push"]["unsubscribe"]["code"].clone();
            }
            assert!(push["push"]["pub"].is_object(), "{push}");
        };
        assert_eq!(unsubscribed, 2500);
    }
}
