//! Handshakes that are refused: each reason has its counter, and the log has the origin and the
//! path, without secrets and in bounded number.

use std::time::{Duration, Instant};

use crate::{
    client::{Client, ask, get, scrape},
    harness::{Driver, Server, command, eventually},
    tls_client::ended,
    wire::{self, BINARY, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    handshake_refused_is_logged_with_origin_and_path_and_counted_by_its_reason,
    handshakes_refused_by_the_dozen_are_logged_a_few_a_second_and_all_counted,
    subprotocol_that_nobody_speaks_is_counted_and_logged,
    request_that_cannot_be_read_is_logged_with_what_is_wrong,
    connection_beyond_a_limit_is_logged,
    websocket_that_the_server_closes_is_logged_with_its_code,
];

const REFUSED: &str = "handshake refused";

/// A server that logs at its default level.
fn start(driver: Driver) -> Server {
    let flags = ["--driver", driver.name(), "--cores", "1"];
    Server::launch_quietly(command(), &flags)
}

fn upgrade(method: &str, target: &str, fields: &[&str]) -> String {
    wire::request(method, target, &[&UPGRADE, fields].concat())
}

fn rejected(server: &Server, reason: &str) -> f64 {
    scrape(server)[&format!("hubbub_handshakes_rejected_total{{reason=\"{reason}\"}}")]
}

fn handshake_refused_is_logged_with_origin_and_path_and_counted_by_its_reason(driver: Driver) {
    const EVIL: &str = "Origin: https://evil.example";
    const NAME: &str = "/rooms/sesame-open-up";
    let server = start(driver);
    let long = format!("/roms/{}", "x".repeat(300));
    let cut = format!("path=\"/roms/{}...\"", "x".repeat(94));
    let evil = "origin=\"https://evil.example\"";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let none: &[&str] = &[];
    for (method, target, fields, status, reason, shown) in [
        (
            "GET",
            "/echo",
            &[EVIL][..],
            403,
            "origin_forbidden",
            [evil, "path=\"/echo\""],
        ),
        (
            "GET",
            NAME,
            &[EVIL],
            403,
            "origin_forbidden",
            [evil, "path=\"/rooms/sesame...\""],
        ),
        (
            "GET",
            "/roms/lobby",
            none,
            404,
            "not_found",
            ["", "path=\"/roms/lobby\""],
        ),
        ("GET", &long, none, 404, "not_found", ["", &cut]),
        (
            "GET",
            "/rooms/",
            none,
            404,
            "room_name_invalid",
            ["", "path=\"/rooms/\""],
        ),
        (
            "POST",
            "/echo",
            none,
            405,
            "upgrade_method",
            ["", "path=\"/echo\""],
        ),
        (
            "GET",
            "/echo",
            &[KEY],
            400,
            "key_repeated",
            ["", "path=\"/echo\""],
        ),
    ] {
        let before = server.log().matches(REFUSED).count();
        let counted = (rejected(&server, reason), ended(&server, reason));
        let target = format!("{target}?token=s3cret");
        let answer = ask(&server, upgrade(method, &target, fields));
        assert_eq!(answer.status, status, "{target}");
        eventually("it is logged", || {
            server.log().matches(REFUSED).count() == before + 1
        });
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains(REFUSED)).unwrap();
        let status = format!("status={status}");
        let reason_field = format!("reason=\"{reason}\"");
        for word in [
            "INFO",
            "peer=127.0.0.1:",
            &reason_field,
            &status,
            shown[0],
            shown[1],
        ] {
            assert!(line.contains(word), "{word} is not in {line}");
        }
        assert_eq!(line.contains("origin="), !shown[0].is_empty(), "{line}");
        eventually("it is counted", || {
            let now = (rejected(&server, reason), ended(&server, reason));
            now == (counted.0 + 1.0, counted.1 + 1)
        });
    }
    // A request without an upgrade is not a handshake, whatever its answer.
    let lines = server.log().matches(REFUSED).count();
    let counted = rejected(&server, "not_found");
    assert_eq!(
        ask(&server, wire::request("GET", "/nowhere", &[])).status,
        404
    );
    assert_eq!(ask(&server, wire::request("POST", "/", &[])).status, 405);
    assert_eq!(ask(&server, wire::request("GET", "/", &[])).status, 200);
    eventually("each has ended for its reason", || {
        ["not_found", "method_not_allowed", "answered"].map(|it| ended(&server, it)) == [3, 1, 1]
    });
    assert_eq!(rejected(&server, "not_found"), counted);
    assert_eq!(rejected(&server, "method_not_allowed"), 0.0);
    let log = server.log();
    assert_eq!(log.matches(REFUSED).count(), lines);
    assert!(!log.contains("s3cret") && !log.contains("open-up"), "{log}");
}

fn handshakes_refused_by_the_dozen_are_logged_a_few_a_second_and_all_counted(driver: Driver) {
    const MANY: usize = 60;
    let server = start(driver);
    let begun = Instant::now();
    for _ in 0..MANY {
        assert_eq!(ask(&server, wire::upgrade("/nowhere")).status, 404);
    }
    let left_out = |log: &str| -> usize {
        let counts = log.split("left_out=").skip(1);
        counts
            .map(|rest| {
                rest.split_whitespace()
                    .next()
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            })
            .sum()
    };
    eventually("each is told of, or counted", || {
        let log = server.log();
        log.matches(REFUSED).count() + left_out(&log) == MANY
    });
    // Five lines for each second that this test has touched.
    let lines = server.log().matches(REFUSED).count();
    let seconds = (begun.elapsed() + Duration::from_secs(2)).as_secs() as usize;
    assert!(lines <= 5 * seconds, "{lines} lines in {seconds} s");
    assert_eq!(rejected(&server, "not_found"), MANY as f64);
}

fn subprotocol_that_nobody_speaks_is_counted_and_logged(driver: Driver) {
    const UNANSWERED: &str = "a WebSocket was opened without a subprotocol";
    let server = start(driver);
    let open = |path, fields: &[&str]| {
        let stream = wire::connect(server.address());
        let raw = Raw::over(stream, upgrade("GET", path, fields));
        raw.head
            .to_ascii_lowercase()
            .contains("sec-websocket-protocol")
    };
    let page = "Origin: http://localhost";
    assert!(!open(
        "/rooms/sesame-open-up?token=s3cret",
        &["Sec-WebSocket-Protocol: s3cret, x", page]
    ));
    assert!(!open("/echo", &["Sec-WebSocket-Protocol: chat"]));
    assert!(!open("/echo", &[]));
    assert!(open("/anywhere", &["Sec-WebSocket-Protocol: s3cret, chat"]));
    assert_eq!(scrape(&server)["hubbub_subprotocols_unanswered_total"], 2.0);
    eventually("they are logged", || {
        server.log().matches(UNANSWERED).count() == 2
    });
    let log = server.log();
    let line = log.lines().find(|line| line.contains(UNANSWERED)).unwrap();
    for word in [
        "INFO",
        "origin=\"http://localhost\"",
        "path=\"/rooms/sesame...\"",
    ] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    assert!(!log.contains("s3cret") && !log.contains("open-up"), "{log}");
}

/// Waits for the one line of the log for this reason, and checks it.
#[track_caller]
fn told(server: &Server, reason: &str, words: &[&str]) {
    let field = format!("reason=\"{reason}\"");
    eventually("it is logged", || server.log().contains(&field));
    let log = server.log();
    let mut lines = log.lines().filter(|line| line.contains(&field));
    let line = lines.next().unwrap();
    for word in [&["INFO", "peer="], words].concat() {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    assert_eq!(lines.next(), None, "a second line for {reason}");
}

fn request_that_cannot_be_read_is_logged_with_what_is_wrong(driver: Driver) {
    let server = start(driver);
    let wrong = [
        (&b"\x16\x03\x01\x02\0"[..], "tls_hello", "ws://"),
        (
            b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
            "control_character",
            "control",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", "host_missing", "Host"),
    ];
    for (request, reason, why) in wrong {
        assert_eq!(ask(&server, request).status, 400, "{reason}");
        told(&server, reason, &[REFUSED, "status=400", "why=", why]);
    }
}

fn connection_beyond_a_limit_is_logged(driver: Driver) {
    let limits = ["--max-connections", "2", "--address-connections-max", "1"];
    let proxies = ["--trusted-proxies", "127.0.0.1"];
    let flags = ["--driver", driver.name(), "--cores", "1"];
    let server = Server::launch_quietly(command(), &[&flags[..], &limits, &proxies].concat());
    let from = |client| format!("X-Forwarded-For: 203.0.113.{client}");
    let answer = |client| ask(&server, upgrade("GET", "/echo", &[&from(client)])).status;
    let inside = |client| {
        let stream = wire::connect(server.address());
        Raw::over(stream, upgrade("GET", "/echo", &[&from(client)]))
    };
    let _one = inside(1);
    assert_eq!(answer(1), 429);
    told(&server, "address_connections", &[REFUSED, "status=429"]);
    let _two = inside(2);
    assert_eq!(answer(3), 503);
    told(&server, "too_many_connections", &[REFUSED, "status=503"]);
}

fn websocket_that_the_server_closes_is_logged_with_its_code(driver: Driver) {
    const LONGEST: usize = 64 << 10;
    let flags = ["--driver", driver.name(), "--control-rate", "1"];
    let bounds = ["--cores", "1", "--control-burst", "2"];
    let server = Server::launch_quietly(command(), &[flags, bounds].concat());
    let pings = wire::frame(0x9, b"").repeat(9);
    for (sent, reason, code) in [
        (wire::frame(TEXT, &[0xFF]), "text_utf8", 1007),
        (wire::unmasked(TEXT, b"hello"), "unmasked", 1002),
        (pings, "control_rate", 1008),
        (
            wire::frame(BINARY, &vec![0; LONGEST + 1]),
            "message_too_big",
            1009,
        ),
    ] {
        let mut raw = Raw::open(&server, "/echo");
        raw.send(&sent);
        while !raw.next().is_over() {}
        drop(raw);
        let code = format!("code={code}");
        told(&server, reason, &["connection closed", &code]);
    }
    // Ends of any day leave no line, and neither do pages.
    Client::join(&server, "r").leave();
    Client::join(&server, "r").vanish();
    assert_eq!(get(&server, "/").status, 200);
    eventually("all have ended", || ended(&server, "") == 7);
    let log = server.log();
    assert_eq!(log.matches("peer=").count(), 4, "{log}");
}
