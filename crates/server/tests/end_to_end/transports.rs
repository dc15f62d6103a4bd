//! Sessions of the Centrifuge protocol over HTTP: what they have over a WebSocket, they have there, too.

use std::{net::Shutdown, thread, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::{Client, ask, scrape},
    commands::{Configured, OPEN, in_seconds, token},
    harness::{Driver, Server, eventually},
    streamed::{EMULATION, End, HTTP_STREAM, SSE, Stream, Streamed, begin, emulate, post},
    wire,
};

on_both_drivers![
    session_over_a_stream_is_one_like_any_other,
    session_over_a_stream_in_protobuf_is_one_like_any_other,
    commands_in_one_request_are_answered_in_their_order,
    request_of_emulation_is_answered_by_what_it_is,
    request_without_the_secret_does_nothing,
    requests_of_emulation_keep_their_connection,
    end_of_a_session_is_told_on_its_stream,
    drain_ends_streams_with_their_last_chunk,
    ping_on_a_stream_is_answered_by_a_request_or_the_session_ends,
    client_that_recovers_over_a_stream_gets_what_it_missed,
    commands_that_wait_are_bounded,
    slow_reader_of_a_stream_loses_its_room_alone,
    origin_of_another_place_is_answered_403_before_anything_else,
    page_of_a_listed_origin_may_read_the_answers,
    head_for_server_sent_events_may_be_long_and_no_other,
    body_that_is_too_long_is_answered_413,
    client_that_never_asks_is_told_what_its_token_grants,
    client_that_never_asks_is_told_why_it_is_not_connected,
    client_that_never_asks_is_heard_once,
    dev_lets_streams_in_on_this_machine_alone,
];

const STREAMS: [&str; 2] = [HTTP_STREAM, SSE];

const ONE_WAY: [&str; 2] = ["/connection/uni_http_stream", "/connection/uni_sse"];

const PAST: &str = "history_size = 100\nhistory_ttl = \"5m\"\nrecovery = \"on\"\n";

fn open(driver: Driver, flags: &[&str]) -> Configured {
    Configured::start(driver, "", &format!("[rooms]{OPEN}{PAST}"), flags)
}

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
        let push = session.stream.reply();
        assert_eq!(
            push["push"]["pub"]["data"],
            json!({"a": "line\nbreak"}),
            "{push}"
        );
        assert_eq!(session.stream.reply()["id"], 3);
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
        let fields = ["Content-Type: application/octet-stream", &length];
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
    let text = |number: u8| {
        let at = reply
            .windows(2)
            .position(|two| two[0] == number << 3 | 2 && two[1] > 30);
        let at = at.expect("the field");
        reply[at + 2..][..usize::from(reply[at + 1])].to_vec()
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
    let push = message(&mut stream);
    assert!(push.windows(2).any(|two| two == b"\xff\x00"), "{push:?}");
    assert_eq!(message(&mut stream)[..2], [8, 3]);
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
        for id in 3..203 {
            let push = stream.reply();
            assert_eq!(push["push"]["pub"]["data"], id, "{push}");
            // The acknowledgement stands behind the message, but other messages may stand between.
            let _ = id;
            if let Some(reply) = acknowledged(&mut stream, id) {
                panic!("{reply} in place of the acknowledgement of {id}");
            }
        }
    }
}

/// Reads the acknowledgement of this command, which comes right behind its message.
fn acknowledged(stream: &mut Stream, id: u64) -> Option<Value> {
    let reply = stream.reply();
    (reply["id"] != id).then_some(reply)
}

fn request_of_emulation_is_answered_by_what_it_is(driver: Driver) {
    let configured = open(driver, &["--message-bytes-max", "1KiB"]);
    let server = &configured.server;
    let session = Streamed::anonymous(server, HTTP_STREAM);
    let (name, node) = (&*session.session, &*session.node);
    let status = |body: &str| ask(server, post(EMULATION, &["Connection: close"], body)).status;
    for body in ["", "{", "[]", "null", "{}", r#"{"data":1}"#, "\u{0}"] {
        assert_eq!(status(body), 400, "{body}");
    }
    assert_eq!(emulate(server, name, node, "").status, 400);
    assert_eq!(emulate(server, name, "elsewhere", "{}").status, 404);
    assert_eq!(emulate(server, name, node, &"x".repeat(1025)).status, 413);
    assert_eq!(status(&"x".repeat(4 << 10)), 413);
    // Nobody learns whether there is such a session.
    for unknown in ["", "x", &name.replace(|_| true, "A"), &"A".repeat(500)] {
        assert_eq!(
            emulate(server, unknown, node, "{}").status,
            204,
            "{unknown}"
        );
    }
    for (method, path, expected) in [
        ("GET", EMULATION, "POST, OPTIONS"),
        ("PUT", EMULATION, "POST, OPTIONS"),
        ("GET", HTTP_STREAM, "POST, OPTIONS"),
        ("DELETE", SSE, "GET, POST, OPTIONS"),
    ] {
        let answer = ask(server, wire::request(method, path, &[]));
        assert_eq!(
            (answer.status, answer.field("Allow")),
            (405, Some(expected)),
            "{method} {path}"
        );
    }
    assert_eq!(ask(server, wire::request("GET", SSE, &[])).status, 400);
    assert_eq!(ask(server, post(HTTP_STREAM, &[], "")).status, 400);
}

fn request_without_the_secret_does_nothing(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut session = Streamed::anonymous(server, HTTP_STREAM);
    // All of the name but its last character, and all of another session's secret, are not the secret.
    let other = Streamed::anonymous(server, HTTP_STREAM);
    let publish = r#"{"id":2,"publish":{"channel":"a","data":1}}"#;
    let (own, foreign) = (&session.session, &other.session);
    let last = if own.ends_with('A') { "E" } else { "A" };
    for forged in [
        format!("{}{last}", &own[..own.len() - 1]),
        format!("{}{}", &own[..14], &foreign[14..]),
    ] {
        assert_eq!(emulate(server, &forged, &session.node, publish).status, 204);
    }
    let reply = session.ask(server, r#"{"id":3,"history":{"channel":"a","limit":-1}}"#);
    assert_eq!(reply["history"]["publications"], json!([]), "{reply}");
}

fn requests_of_emulation_keep_their_connection(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut session = Streamed::anonymous(server, HTTP_STREAM);
    let mut sender = wire::connect(server.address());
    for id in 2..30 {
        let command = format!(r#"{{"id":{id},"presence_stats":{{"channel":"a"}}}}"#);
        let body = json!({ "session": session.session, "node": session.node, "data": command });
        wire::send(
            &mut sender,
            post(EMULATION, &[], &body.to_string()).as_bytes(),
        );
        assert_eq!(session.stream.reply()["id"], id);
    }
    sender.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    std::io::Read::read_to_string(&mut sender, &mut answers).unwrap();
    assert_eq!(
        answers.matches("HTTP/1.1 204 No Content\r\n").count(),
        28,
        "{answers}"
    );
    assert!(
        !answers.contains("Content-Length"),
        "a 204 has none: {answers}"
    );
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
    let ended = |log: &str| log.matches("reason=session_closed").count();
    eventually("each end is recorded", || ended(&server.log()) >= 6);
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
        server.log().matches("reason=pong_timeout").count() >= 2
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
    for _ in 0..2_000 {
        if server.log().contains("reason=session_closed") {
            break;
        }
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
        let left = || scrape(server)["hubbub_rooms_lost_total{reason=\"lagging\"}"];
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

fn paths() -> Vec<(&'static str, &'static str)> {
    vec![
        ("POST", HTTP_STREAM),
        ("POST", EMULATION),
        ("GET", SSE),
        ("POST", SSE),
        ("POST", ONE_WAY[0]),
        ("GET", ONE_WAY[1]),
        ("OPTIONS", EMULATION),
    ]
}

fn origin_of_another_place_is_answered_403_before_anything_else(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for (method, path) in paths() {
        for origin in [
            "https://elsewhere.example",
            "null",
            "http://localhost.example",
        ] {
            let origin = format!("Origin: {origin}");
            // Nothing else about them is right.
            let request = wire::request(method, path, &[&origin, "Content-Length: 3"]);
            let answer = ask(server, request + "abc");
            assert_eq!(answer.status, 403, "{method} {path} {origin}");
            assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
        }
    }
    let own = "Origin: http://localhost";
    let answer = ask(
        server,
        wire::request("OPTIONS", EMULATION, &[own, "Connection: close"]),
    );
    assert_eq!(answer.status, 204);
    let websocket = wire::request(
        "GET",
        "/connection/uni_websocket",
        &[&wire::UPGRADE[..], &["Origin: http://a.b"]].concat(),
    );
    assert_eq!(ask(server, websocket).status, 403);
}

fn page_of_a_listed_origin_may_read_the_answers(driver: Driver) {
    let listed = "https://app.example.com";
    let asked = [
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type, x-a",
        "Connection: close",
    ];
    for (list, allowed, credentials) in [(listed, listed, Some("true")), ("*", "*", None)] {
        let configured = open(driver, &["--allow-origin", list]);
        let server = &configured.server;
        let origin = format!("Origin: {listed}");
        for (method, path) in paths() {
            let fields = [&[&*origin, "Content-Length: 3"], &asked[..]].concat();
            let answer = Stream::ask(server, wire::request(method, path, &fields) + "{ }").head;
            let field = |name: &str| answer.field(name);
            assert_ne!(answer.status, 403, "{method} {path}");
            assert_eq!(
                field("Access-Control-Allow-Origin"),
                Some(allowed),
                "{method} {path}"
            );
            assert_eq!(field("Access-Control-Allow-Credentials"), credentials);
            assert_eq!(field("Vary"), Some("Origin"));
            if method == "OPTIONS" {
                assert_eq!(answer.status, 204);
                assert_eq!(field("Access-Control-Allow-Methods"), Some("POST, OPTIONS"));
                assert_eq!(
                    field("Access-Control-Allow-Headers"),
                    Some("content-type, x-a")
                );
                assert_eq!(field("Access-Control-Max-Age"), Some("300"));
            }
        }
    }
}

/// A client's whole first frame stands in the address: a token of 4 KiB, and positions in 128 rooms.
fn head_for_server_sent_events_may_be_long_and_no_other(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let long =
        token(&json!({"sub": "ann", "exp": in_seconds(600), "info": {"a": "x".repeat(2_200)}}));
    assert!(long.len() > 3_000 && long.len() < 4_097, "{}", long.len());
    let mut commands = vec![json!({"id": 1, "connect": {"token": long}}).to_string()];
    commands.extend((0..128).map(|n| {
        let epoch = "abcdefgh";
        json!({"id": n + 2, "subscribe": {"channel": format!("room-with-a-name-{n}"), "recover": true, "epoch": epoch, "offset": 12_345}}).to_string()
    }));
    let request = begin(SSE, &commands.join("\n"));
    assert!(
        request.len() > 20_000 && request.len() < 64 << 10,
        "{}",
        request.len()
    );
    let mut stream = Stream::ask(server, &request);
    assert_eq!(stream.head.status, 200);
    for id in 1..=129 {
        let reply = stream.reply();
        assert!(reply["error"].is_null(), "{reply}");
        assert_eq!(reply["id"], id);
    }
    let elsewhere = request.replacen("/connection/sse", "/connection/xxx", 1);
    assert_eq!(ask(server, elsewhere).status, 414);
    let beyond = wire::request(
        "GET",
        &format!("{SSE}?cf_connect={}", "x".repeat(65 << 10)),
        &[],
    );
    assert!(matches!(ask(server, beyond).status, 414 | 431));
}

fn body_that_is_too_long_is_answered_413(driver: Driver) {
    let configured = open(driver, &["--message-bytes-max", "1KiB"]);
    let server = &configured.server;
    for path in [HTTP_STREAM, SSE, ONE_WAY[0], ONE_WAY[1]] {
        // None of it has to come.
        let request = wire::request("POST", path, &["Content-Length: 1025"]);
        assert_eq!(ask(server, request).status, 413, "{path}");
    }
}

fn client_that_never_asks_is_told_what_its_token_grants(driver: Driver) {
    let configured = open(driver, &["--ping-interval", "1s"]);
    let server = &configured.server;
    let mut publisher = Streamed::anonymous(server, HTTP_STREAM);
    let claims = json!({"sub": "ann", "exp": in_seconds(600), "channels": ["news"]});
    let wanted = json!({"token": token(&claims), "subs": {"more": {}}}).to_string();
    let mut streams: Vec<_> = ONE_WAY
        .map(|path| Stream::ask(server, begin(path, &wanted)))
        .into();
    // As people write it, with line breaks.
    let pretty = format!("{{\n  \"token\": \"{}\"\n}}\n", token(&claims));
    streams.push(Stream::ask(server, post(ONE_WAY[1], &[], &pretty)));
    for stream in &mut streams {
        let connect = stream.reply();
        assert_eq!(connect["connect"]["ping"], 1, "{connect}");
        assert!(connect["connect"]["pong"].is_null(), "{connect}");
        assert!(connect["connect"]["session"].is_null(), "{connect}");
        assert!(connect["connect"]["subs"]["news"].is_object(), "{connect}");
    }
    let mut client = Client::connect(server, "/connection/uni_websocket");
    client.send(wanted.clone());
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert!(said["connect"]["subs"]["more"].is_object(), "{said}");
    publisher.ask(
        server,
        r#"{"id":2,"publish":{"channel":"news","data":{"n":1}}}"#,
    );
    let is_news = |said: &Value| said["channel"] == "news" && said["pub"]["data"]["n"] == 1;
    for stream in &mut streams {
        let mut said = stream.reply();
        while said == json!({}) {
            said = stream.reply();
        }
        assert!(is_news(&said), "{said}");
        assert_eq!(stream.reply(), json!({}), "a ping, which nobody answers");
        assert_eq!(stream.reply(), json!({}));
    }
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert!(is_news(&said), "{said}");
}

fn client_that_never_asks_is_told_why_it_is_not_connected(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let expired = json!({"sub": "ann", "exp": in_seconds(-600)});
    for (wanted, code) in [
        (json!({"token": "a.b.c"}), 3500),
        (json!({"token": token(&expired)}), 3005),
        (json!({"subs": {"unknown:room": {}}}), 3501),
    ] {
        let wanted = wanted.to_string();
        for path in ONE_WAY {
            let mut stream = Stream::ask(server, begin(path, &wanted));
            assert_eq!(stream.closed(), (code, End::Whole), "{path} {wanted}");
        }
        let mut client = Client::connect(server, "/connection/uni_websocket");
        client.send(wanted);
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert_eq!(said["disconnect"]["code"], code);
        assert_eq!(u64::from(client.closed()), code);
    }
    for path in ONE_WAY {
        for wanted in ["[]", "{", "{},{}"] {
            assert_eq!(
                ask(server, begin(path, wanted)).status,
                400,
                "{path} {wanted}"
            );
        }
    }
}

fn client_that_never_asks_is_heard_once(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for path in [
        "/connection/uni_websocket",
        "/connection/uni_websocket?cf_connect=%7B%22subs%22:%7B%22a%22:%7B%7D%7D%7D",
    ] {
        let mut client = Client::connect(server, path);
        if !path.contains('?') {
            client.send(r#"{"subs":{"a":{}}}"#);
        }
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert!(said["connect"]["subs"]["a"].is_object(), "{said}");
        for ignored in [
            "nonsense",
            r#"{"id":2,"publish":{"channel":"a","data":1}}"#,
            "{}",
        ] {
            client.send(ignored);
        }
        let mut publisher = Streamed::anonymous(server, SSE);
        publisher.ask(server, r#"{"id":2,"publish":{"channel":"a","data":2}}"#);
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert_eq!(said["pub"]["data"], 2);
    }
    let mut client = Client::connect(server, "/connection/uni_websocket");
    client.send("nonsense");
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert_eq!(said["disconnect"]["code"], 3501);
    assert_eq!(client.closed(), 3501);
}

fn dev_lets_streams_in_on_this_machine_alone(driver: Driver) {
    let server = Server::start(driver, &["--dev"]);
    let mut session = Streamed::anonymous(&server, SSE);
    let reply = session.ask(
        &server,
        r#"{"id":2,"subscribe":{"channel":"any:room","recoverable":true}}"#,
    );
    assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
    for (method, path) in paths() {
        if method == "OPTIONS" {
            continue;
        }
        for field in ["X-Forwarded-For: 10.0.0.1", "Via: 1.1 proxy"] {
            let request = wire::request(method, path, &[field, "Content-Length: 2"]) + "{}";
            assert_eq!(ask(&server, request).status, 403, "{method} {path} {field}");
        }
    }
    thread::sleep(Duration::ZERO);
}
