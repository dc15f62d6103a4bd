//! The requests of sessions over HTTP: who may ask, how, and with how many bytes.

use std::{io::Read, net::Shutdown};

use serde_json::json;

use crate::{
    client::ask,
    commands::{in_seconds, token},
    harness::{Driver, Server},
    streamed::{
        EMULATION, HTTP_STREAM, ONE_WAY, SSE, Stream, Streamed, begin, emulate, open, post,
    },
    wire,
};

on_both_drivers![
    origin_of_another_place_is_answered_403_before_anything_else,
    page_of_a_listed_origin_may_read_the_answers,
    head_for_server_sent_events_may_be_long_and_no_other,
    body_that_is_too_long_is_answered_413,
    request_of_emulation_is_answered_by_what_it_is,
    request_without_the_secret_does_nothing,
    requests_of_emulation_keep_their_connection,
    dev_lets_streams_in_on_this_machine_alone,
];

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

/// A request whose body is there only if the method has one.
fn with_body(method: &str, path: &str, fields: &[&str], body: &str) -> String {
    match method {
        "POST" => post(path, fields, body),
        _ => wire::request(method, path, fields),
    }
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
            let answer = ask(server, with_body(method, path, &[&origin], "abc"));
            assert_eq!(answer.status, 403, "{method} {path} {origin}");
            assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
            assert_eq!(answer.field("Vary"), Some("Origin"), "{method} {path}");
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
            let fields = [&[&*origin], &asked[..]].concat();
            let answer = Stream::ask(server, with_body(method, path, &fields, "{ }")).head;
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
    let mut answered: Vec<_> = (0..129)
        .map(|_| {
            let reply = stream.reply();
            assert!(reply["error"].is_null(), "{reply}");
            reply["id"].as_u64().expect("an answer")
        })
        .collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(1..=129));
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
    sender.read_to_string(&mut answers).unwrap();
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
            let request = with_body(method, path, &[field], "{}");
            assert_eq!(ask(&server, request).status, 403, "{method} {path} {field}");
        }
    }
}
