//! Opening a WebSocket: the 101, and each way in which a request is refused.

use crate::{
    baseline::Baseline,
    client::{Client, Response, ask, get},
    harness::{Driver, Server},
    wire::{self, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    request_that_is_good_is_answered_101,
    request_in_single_bytes_is_answered_101,
    request_with_the_key_of_the_rfcs_example_is_answered_101,
    request_with_an_empty_offer_of_extensions_is_answered_101,
    frames_in_the_same_segment_as_the_request_are_answered,
    request_without_upgrade_is_answered_426,
    request_that_breaks_a_rule_is_answered_with_its_status,
    head_beyond_a_limit_is_answered_with_its_status,
    fields_from_none_to_5000_are_answered,
    absolute_target_is_a_target_too,
];

fn request_that_is_good_is_answered_101(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, wire::upgrade("/echo").as_bytes());
    wire::send(&mut stream, &wire::close(1000));
    let opened = Response::read_from(&mut stream);
    assert_eq!(opened.status, 101);
    assert_eq!(opened.field("Upgrade"), Some("websocket"));
    assert_eq!(opened.field("Connection"), Some("Upgrade"));
    // RFC 6455 section 1.3.
    let accept = opened.field("Sec-WebSocket-Accept");
    assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(opened.field("Sec-WebSocket-Protocol"), None);
    assert_eq!(opened.field("Sec-WebSocket-Extensions"), None);
    assert_eq!(opened.body, [0x88, 2, 0x03, 0xe8]);
}

fn request_in_single_bytes_is_answered_101(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut stream = wire::connect(server.address());
    let request = wire::upgrade("/rooms/slowly");
    let (last, bytes) = request.as_bytes().split_last().unwrap();
    for byte in bytes {
        wire::send(&mut stream, &[*byte]);
    }
    let mut raw = Raw::over(stream, [*last]);
    raw.send(wire::frame(TEXT, b"here"));
    assert_eq!(raw.frame().payload, b"here");
}

/// Its last character has bits that belong to none of the 16 bytes. Some public clients send it.
fn request_with_the_key_of_the_rfcs_example_is_answered_101(driver: Driver) {
    let server = Server::start(driver, &[]);
    let key = "Sec-WebSocket-Key";
    let request = changed(key, &["Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC=="]);
    let mut raw = Raw::over(wire::connect(server.address()), request);
    let accept = "\r\nSec-WebSocket-Accept: OfS0wDaT5NoxF2gqm7Zj2YtetzM=\r\n";
    assert!(raw.head.contains(accept), "{}", raw.head);
    raw.send(wire::frame(TEXT, b"here"));
    assert_eq!(raw.frame().payload, b"here");
}

fn request_with_an_empty_offer_of_extensions_is_answered_101(driver: Driver) {
    for compression in ["off", "on"] {
        let server = Server::start(driver, &["--compression", compression]);
        for offer in ["", " , ,"] {
            let field = format!("Sec-WebSocket-Extensions:{offer}");
            let request = changed("X", &[&field]);
            let mut raw = Raw::over(wire::connect(server.address()), request);
            assert!(!raw.head.contains("Extensions"), "{}", raw.head);
            raw.send(wire::frame(TEXT, b"here"));
            assert_eq!(raw.frame().payload, b"here", "{compression}, {offer:?}");
        }
    }
}

fn frames_in_the_same_segment_as_the_request_are_answered(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/eager"] {
        let mut bytes = wire::upgrade(path).into_bytes();
        bytes.extend(wire::frame(TEXT, b"first"));
        bytes.extend(wire::frame(TEXT, b"second"));
        let third = wire::frame(TEXT, b"third");
        bytes.extend(&third[..5]);
        let mut raw = Raw::over(wire::connect(server.address()), bytes);
        raw.send(&third[5..]);
        for expected in [&b"first"[..], b"second", b"third"] {
            assert_eq!(raw.frame().payload, expected, "{path}");
        }
    }
}

fn request_without_upgrade_is_answered_426(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/lobby"] {
        let answer = get(&server, path);
        assert_eq!(answer.status, 426, "{path}");
        assert_eq!(answer.field("Upgrade"), Some("websocket"));
        assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains("WebSocket"), "{text}");
    }
}

/// A handshake with one field replaced, left out or added.
fn changed(name: &str, lines: &[&str]) -> String {
    let others = UPGRADE.iter().filter(|field| !field.starts_with(name));
    let fields: Vec<_> = others.chain(lines).copied().collect();
    wire::request("GET", "/echo", &fields)
}

fn request_that_breaks_a_rule_is_answered_with_its_status(driver: Driver) {
    let server = Server::start(driver, &[]);
    let check = |request: &str, status: u16| {
        let answer = ask(&server, request);
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(answer.length(), answer.body.len());
        if status == 426 {
            assert_eq!(answer.field("Sec-WebSocket-Version"), Some("13"));
        }
    };
    let version = "Sec-WebSocket-Version";
    let key = "Sec-WebSocket-Key";
    let good = wire::upgrade("/echo");
    check(&changed(version, &["Sec-WebSocket-Version: 8"]), 426);
    check(&changed(version, &[]), 426);
    check(&changed(version, &[UPGRADE[2], UPGRADE[2]]), 400);
    check(&changed(key, &[]), 400);
    check(&changed(key, &["Sec-WebSocket-Key: c2hvcnQ="]), 400);
    check(&changed(key, &[UPGRADE[3], UPGRADE[3]]), 400);
    check(&changed("Connection", &["Connection: keep-alive"]), 400);
    check(&changed("Upgrade", &["Upgrade: h2c"]), 426);
    check(&good.replace("Host: localhost\r\n", ""), 400);
    check(
        &good.replace("Host: localhost\r\n", "Host: a\r\nHost: a\r\n"),
        400,
    );
    check(&good.replace("HTTP/1.1", "HTTP/1.0"), 400);
    check(&good.replace("HTTP/1.1", "HTTP/2.0"), 505);
    check(&good.replace("\r\n", "\n"), 400);
    check(&good.replace("localhost\r\n", "localhost\n"), 400);
    check(
        &good.replace("Upgrade: websocket", "Upgrade : websocket"),
        400,
    );
    check(
        &good.replace("Upgrade: websocket", " Upgrade: websocket"),
        400,
    );
    check(&good.replace("localhost", "local\0host"), 400);
    check(&changed("X", &["Content-Length: 5"]), 400);
    check(&changed("X", &["Transfer-Encoding: chunked"]), 400);
    check("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400);
    let line = |line: &str| good.replacen("GET /echo HTTP/1.1", line, 1);
    check(&line("GET /rooms/a b HTTP/1.1"), 400);
    check(&line("GET /echo"), 400);
    check(&line("GET /echo http/1.1"), 400);
    check(&line("GET /echo HTTP/2"), 400);
    check(&line("GET /echo\tHTTP/1.1"), 400);
    check(&line("GET /echo HTTP/1.2"), 505);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check("GET\r\n\r\n", 400);
}

fn head_beyond_a_limit_is_answered_with_its_status(driver: Driver) {
    let server = Server::start(driver, &[]);
    let padded =
        |padding: usize| wire::request("GET", "/", &[&format!("X: {}", "x".repeat(padding))]);
    let room = (16 << 10) - padded(0).len();
    assert_eq!(ask(&server, padded(room - 1)).status, 200);
    assert_eq!(ask(&server, padded(room)).status, 200);
    assert_eq!(ask(&server, padded(room + 1)).status, 431);
    assert_eq!(ask(&server, padded(1 << 20)).status, 431);

    let fields = |count: usize| wire::request("GET", "/", &vec!["X: y"; count - 1]);
    assert_eq!(ask(&server, fields(63)).status, 200);
    assert_eq!(ask(&server, fields(64)).status, 200);
    assert_eq!(ask(&server, fields(65)).status, 431);

    let line = |length: usize| {
        let query = "q".repeat(length - "GET /? HTTP/1.1".len());
        wire::request("GET", &format!("/?{query}"), &[])
    };
    assert_eq!(ask(&server, line((8 << 10) - 1)).status, 200);
    assert_eq!(ask(&server, line(8 << 10)).status, 200);
    assert_eq!(ask(&server, line((8 << 10) + 1)).status, 414);

    let flags = ["--head-bytes-max", "256", "--request-line-bytes-max", "64"];
    let strict = Server::start(driver, &flags);
    assert_eq!(ask(&strict, line(64)).status, 200);
    assert_eq!(ask(&strict, line(65)).status, 414);
    assert_eq!(ask(&strict, padded(256)).status, 431);
}

/// Bounds for pages and for upgrades, with the default bound and with the largest one.
fn fields_from_none_to_5000_are_answered(driver: Driver) {
    for (flags, most) in [
        (&[][..], 64),
        (
            &["--head-fields-max", "256", "--head-bytes-max", "1MiB"],
            256,
        ),
    ] {
        let server = Server::start(driver, flags);
        let mut baseline = Baseline::of(&server);
        let whole = |count: usize, fields: &[&str]| {
            let mut fields = fields.to_vec();
            fields.resize(count, "X: y");
            format!("GET /echo HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"))
        };
        assert_eq!(ask(&server, "GET / HTTP/1.1\r\n\r\n").status, 400);
        let own = [&["Host: localhost"], &UPGRADE[..]].concat();
        for count in [1, 5, 63, 64, 65, 100, 255, 256, 257, 1000, 2000, 2001, 5000] {
            let page = ask(&server, whole(count, &own[..1])).status;
            assert_eq!(page, if count > most { 431 } else { 426 }, "{count}");
            if count >= own.len() {
                let mut stream = wire::connect(server.address());
                wire::send(&mut stream, whole(count, &own).as_bytes());
                wire::send(&mut stream, &wire::close(1000));
                let opened = Response::read_from(&mut stream).status;
                assert_eq!(opened, if count > most { 431 } else { 101 }, "{count}");
            }
        }
        assert!(
            baseline.grown() < 2 << 20,
            "{} bytes more",
            baseline.grown()
        );
        baseline.is_restored();
    }
}

fn absolute_target_is_a_target_too(driver: Driver) {
    let server = Server::start(driver, &[]);
    let request = wire::upgrade("http://localhost/rooms/proxied");
    let mut raw = Raw::over(wire::connect(server.address()), request);
    let mut other = Client::join(&server, "proxied");
    other.send("heard");
    assert_eq!(raw.frame().payload, b"heard");
}
