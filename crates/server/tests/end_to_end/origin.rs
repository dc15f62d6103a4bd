//! Which pages may open a WebSocket, according to `Origin`, which browsers send and pages cannot
//! forge.

use crate::{
    client::{ask, get},
    harness::{Driver, Server, eventually},
    wire::{self, UPGRADE},
};

on_both_drivers![
    origin_of_the_server_itself_or_none_is_accepted,
    origin_of_another_place_is_answered_403,
    origin_that_is_listed_is_accepted,
    origin_that_names_no_host_is_accepted_where_it_is_listed_exactly,
    origin_of_any_kind_is_accepted_with_a_star,
    origin_does_not_matter_for_pages,
];

/// The answer to a handshake from a page of this origin, by a server that is called `host`.
fn status(server: &Server, host: &str, origins: &[&str], path: &str) -> u16 {
    let origins: Vec<_> = origins.iter().map(|o| format!("Origin: {o}")).collect();
    let fields: Vec<_> = UPGRADE
        .into_iter()
        .chain(origins.iter().map(String::as_str))
        .collect();
    let request = wire::request("GET", path, &fields);
    let request = request.replace("Host: localhost", &format!("Host: {host}"));
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, request.as_bytes());
    // This ends the stream if it was opened.
    wire::send(&mut stream, &wire::close(1000));
    crate::client::Response::read_from(&mut stream).status
}

fn origin_of_the_server_itself_or_none_is_accepted(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/r"] {
        assert_eq!(status(&server, "localhost:8000", &[], path), 101);
        for (host, origin) in [
            ("localhost:8000", "http://localhost:8000"),
            ("LocalHost:8000", "http://localhost:8000"),
            ("localhost:8000", "HTTP://LOCALHOST:8000"),
            ("xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("example.com", "http://example.com"),
            ("example.com", "https://example.com"),
            ("example.com:80", "http://example.com"),
            ("[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(status(&server, host, &[origin], path), 101, "{origin}");
        }
    }
}

fn origin_of_another_place_is_answered_403(driver: Driver) {
    let server = Server::start(driver, &[]);
    for origin in [
        "http://localhost",
        "http://localhost:8001",
        "http://localhost:80000",
        "http://evil.com",
        "http://localhost:8000.evil.com",
        "http://localhost.evil.com:8000",
        "http://evil.localhost:8000",
        "http://evil.com:8000",
        "http://evil.com/localhost:8000",
        "http://evil.com?localhost:8000",
        "http://evil.com#localhost:8000",
        "http://localhost:8000@evil.com",
        "http://xlocalhost:8000",
        "http://localhost.:8000",
        "http://localhost:8000/",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
        "http://LOCALHOST.:8000",
        // Another scheme than a page's.
        "file://localhost:8000",
        "ws://localhost:8000",
        "chrome-extension://localhost:8000",
        "//localhost:8000",
        // Letters that look alike, and the form that a browser makes of them.
        "http://l\u{43e}calhost:8000",
        "http://\u{ff4c}ocalhost:8000",
        "http://localhost\u{ff1a}8000",
        "http://xn--lcalhost-54g:8000",
        // Two origins in one field.
        "http://localhost:8000, http://evil.com",
        "http://evil.com http://localhost:8000",
        "localhost:8000",
        "null",
        "NULL",
        "*",
        "",
    ] {
        for path in ["/echo", "/rooms/r"] {
            let answer = status(&server, "localhost:8000", &[origin], path);
            assert_eq!(answer, 403, "{origin:?} {path}");
        }
    }
    let own = "http://localhost:8000";
    let twice = status(&server, "localhost:8000", &[own, own], "/echo");
    assert_eq!(twice, 403);
}

fn origin_that_is_listed_is_accepted(driver: Driver) {
    let list = "https://app.example.com,other.example:8443";
    let server = Server::start(driver, &["--allow-origin", list]);
    for (origin, expected) in [
        ("https://app.example.com", 101),
        ("https://app.example.com:443", 101),
        ("http://other.example:8443", 101),
        ("https://other.example:8443", 101),
        ("http://localhost", 101),
        ("http://app.example.com", 403),
        ("https://app.example.com.evil.com", 403),
        ("https://other.example", 403),
        ("null", 403),
    ] {
        let answer = status(&server, "localhost", &[origin], "/rooms/r");
        assert_eq!(answer, expected, "{origin}");
    }
}

/// The origins that browsers send for pages without a web server: `null` from sandboxed frames, and
/// those of local files, extensions and applications.
fn origin_that_names_no_host_is_accepted_where_it_is_listed_exactly(driver: Driver) {
    let origins = [
        "null",
        "file://",
        "app://.",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://mhjfbmdgcfjbbpaeojofohoefgiehjai",
        "moz-extension://1c9f3b2e-6a4d-4f0e-9d7c-2b8a5e4f1a60",
    ];
    let all = Server::start(driver, &["--allow-origin", &origins.join(",")]);
    for origin in origins {
        let answer = status(&all, "localhost", &[origin], "/rooms/r");
        assert_eq!(answer, 101, "{origin}");
    }
    for origin in [
        "NULL",
        "null null",
        "file:///",
        "file://localhost",
        "app://",
        "chrome-extension://",
        "moz-extension://another",
        "capacitor://",
        "http://",
        "",
    ] {
        let answer = status(&all, "localhost", &[origin], "/rooms/r");
        assert_eq!(answer, 403, "{origin:?}");
    }
    eventually("what `null` lets in is worth a warning", || {
        let log = all.log();
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("sandbox"))
    });
    drop(all);
    let one = Server::start(driver, &["--allow-origin", "file://"]);
    for origin in origins {
        let expected = if origin == "file://" { 101 } else { 403 };
        let answer = status(&one, "localhost", &[origin], "/echo");
        assert_eq!(answer, expected, "{origin}");
    }
    assert!(!one.log().contains("sandbox"));
}

fn origin_of_any_kind_is_accepted_with_a_star(driver: Driver) {
    let server = Server::start(driver, &["--allow-origin", "*"]);
    for origin in ["https://evil.com", "null", "?"] {
        assert_eq!(status(&server, "localhost", &[origin], "/echo"), 101);
    }
    eventually("a star is worth a warning", || {
        server.log().contains("WARN")
    });
}

fn origin_does_not_matter_for_pages(driver: Driver) {
    let server = Server::start(driver, &[]);
    let request = wire::request("GET", "/", &["Origin: https://evil.com"]);
    let answer = ask(&server, request);
    assert_eq!((answer.status, answer.body), (200, get(&server, "/").body));
    // But no script of that page may read it.
    assert_eq!(answer_field(&server, "Access-Control-Allow-Origin"), None);
}

fn answer_field(server: &Server, name: &str) -> Option<String> {
    let request = wire::request("GET", "/", &["Origin: https://evil.com"]);
    ask(server, request).field(name).map(str::to_owned)
}
