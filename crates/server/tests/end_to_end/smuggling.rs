//! Requests that two readers could parse differently: each is refused and ends its connection, and
//! nothing behind it is treated as a request or a frame.

use std::io::Read;

use crate::{
    client::{Response, scrape, serves},
    harness::{Driver, Server, eventually},
    wire::{self, Heard, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    head_of_two_readings_is_refused_and_nothing_behind_it_is_read,
    bytes_behind_an_upgrade_that_is_refused_are_neither_request_nor_frames,
    request_behind_an_upgrade_is_no_request,
];

/// The bytes that an attacker wants the server to treat as the next request.
const HIDDEN: &str = "GET /rooms/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends the head, and the hidden bytes both at once with it and a moment later. Everything that
/// comes back must be one answer, which ends the connection.
#[track_caller]
fn only_answer(server: &Server, head: &str, behind: &[u8]) -> u16 {
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, &[head.as_bytes(), behind].concat());
    wire::send(&mut stream, behind);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let answer = Response::parse(&bytes);
    assert_eq!(answer.field("Connection"), Some("close"), "{head:?}");
    assert_eq!(answer.length(), answer.body.len(), "{head:?}");
    answer.status
}

fn head_of_two_readings_is_refused_and_nothing_behind_it_is_read(driver: Driver) {
    let server = Server::start(driver, &[]);
    let good = wire::upgrade("/echo");
    let with = |lines: &str| good.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"), 1);
    let ambiguous = [
        // Heads that are ambiguous about where the body ends.
        with("Content-Length: 5"),
        with("Content-Length: +5"),
        with("Content-Length: -1"),
        with("Content-Length: 0x5"),
        with("Content-Length: 5, 5"),
        with("Content-Length: 00"),
        with("Content-Length:"),
        with("Content-Length: 18446744073709551616"),
        with("Content-Length: 0\r\nContent-Length: 5"),
        with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked\r\nContent-Length: 0"),
        with("Transfer-Encoding: chunked"),
        with("Transfer-Encoding: identity"),
        with("Transfer-Encoding: xchunked"),
        with("transfer-encoding:\tchunked"),
        with("Transfer-Encoding : chunked"),
        with("Content-Length : 5"),
        // Heads that are ambiguous about the host.
        with("Host: evil.example"),
        with("host: localhost"),
        good.replacen("Host: localhost", "Host: localhost, evil.example", 1),
        good.replacen("Host: localhost", "Host: localhost/evil", 1),
        good.replacen("Host: localhost", "Host: evil@localhost", 1),
        good.replacen("Host: localhost\r\n", "", 1),
        good.replacen("GET /echo", "GET http://evil@localhost/echo", 1),
        // Heads that are ambiguous about where a line or the head ends.
        with("X: y\r\n folded"),
        with("X: y\r\n\tfolded"),
        good.replacen("\r\nHost", "\r\n Host", 1),
        with("X: y\nContent-Length: 5"),
        with("X: y\rContent-Length: 5"),
        with("X: y\r\r\nContent-Length: 5"),
        good.replace("\r\n\r\n", "\n\n"),
        good.replace("\r\n", "\n"),
        // Heads that are ambiguous about the contents of a line.
        with("X: y\0z"),
        with("X\0: y"),
        with("X: \u{1b}[2J"),
        with("X: \u{7f}"),
        with("no colon"),
        with(": no name"),
        good.replacen("GET /echo", "GET /echo\0", 1),
        good.replacen("GET /echo", "GET\t/echo", 1),
        good.replacen("GET /echo", "GET  /echo", 1),
        good.replacen("GET /echo", "GET /echo#x", 1),
        good.replacen("GET /echo", "GET echo", 1),
        good.replacen("HTTP/1.1", "HTTP/1.1 ", 1),
        good.replacen("HTTP/1.1", "HTTP/1.0", 1),
    ];
    for head in &ambiguous {
        let status = only_answer(&server, head, HIDDEN.as_bytes());
        assert_eq!(status, 400, "{head:?}");
    }
    // Without the upgrade the answer is the same.
    for line in [
        "Content-Length: +5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        for method in ["GET", "POST"] {
            let head = wire::request(method, "/", &[line]);
            assert_eq!(only_answer(&server, &head, HIDDEN.as_bytes()), 400);
        }
    }
    nothing_was_read(&server, ambiguous.len() + 4);
}

/// This many connections came, each had one answer, and none led to a frame or a room.
#[track_caller]
fn nothing_was_read(server: &Server, connections: usize) {
    eventually("each has ended", || {
        scrape(server)[r#"hubbub_connections{protocol="none"}"#] == 0.0
    });
    let samples = scrape(server);
    let none = |family: &str| {
        let series = samples.iter().filter(|(name, _)| name.starts_with(family));
        assert_eq!(series.map(|(_, count)| count).sum::<f64>(), 0.0, "{family}");
    };
    none("hubbub_frames_received_total");
    none("hubbub_messages_published_total");
    none("hubbub_handshake_seconds_count");
    assert_eq!(
        samples["hubbub_connections_opened_total"],
        connections as f64
    );
    assert!(serves(server));
}

fn bytes_behind_an_upgrade_that_is_refused_are_neither_request_nor_frames(driver: Driver) {
    // The only permitted room exists already, so that the next join is refused by the room's home.
    let server = Server::start(driver, &["--rooms-max", "1", "--cores", "2"]);
    let member = Raw::open(&server, "/rooms/only");
    let changed = |from: &str, to: &str| wire::upgrade("/echo").replacen(from, to, 1);
    let evil: Vec<_> = UPGRADE
        .into_iter()
        .chain(["Origin: http://evil.example"])
        .collect();
    let refused = [
        (wire::upgrade("/nowhere"), 404),
        (wire::upgrade("/rooms/%zz"), 404),
        (wire::upgrade("/rooms/second"), 503),
        (wire::request("GET", "/echo", &evil), 403),
        (changed("Version: 13", "Version: 8"), 426),
        (changed("Upgrade: websocket", "Upgrade: h2c"), 426),
        (changed("dGhl", "!Ghl"), 400),
        (changed("Connection: Upgrade", "Connection: close"), 400),
        (changed("GET", "POST"), 405),
    ];
    let frames = [wire::frame(TEXT, b"hidden"), wire::close(1000)].concat();
    for (head, expected) in &refused {
        for behind in [HIDDEN.as_bytes(), &frames] {
            let status = only_answer(&server, head, behind);
            assert_eq!(status, *expected, "{head:?}");
        }
    }
    let samples = scrape(&server);
    assert_eq!(samples["hubbub_frames_received_total{kind=\"text\"}"], 0.0);
    assert_eq!(samples["hubbub_frames_received_total{kind=\"close\"}"], 0.0);
    assert_eq!(samples["hubbub_handshake_seconds_count"], 1.0);
    assert_eq!(samples["hubbub_connections_opened_total"], 1.0 + 18.0);
    assert_eq!(samples["hubbub_rooms"], 1.0);
    drop(member);
}

/// Behind a 101 there are only frames, and G does not begin one.
fn request_behind_an_upgrade_is_no_request(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/r"] {
        let request = wire::upgrade(path) + HIDDEN;
        let mut raw = Raw::over(wire::connect(server.address()), request);
        assert_eq!(raw.frame().close_code(), 1002);
        assert_eq!(raw.next(), Heard::End);
    }
}
