//! Properties of every answer over HTTP, whichever part makes it: a date, and no body to HEAD.

use std::{
    net::TcpStream,
    time::{Duration, SystemTime},
};

use crate::{
    client::{Client, Response, ask, get},
    harness::{Driver, Server},
    limits::with_few_descriptors,
    tls_client::Secure,
    wire::{self, UPGRADE},
};

on_both_drivers![
    answer_of_every_kind_has_a_date_and_to_head_no_body,
    answer_where_something_else_comes_first_has_a_date_and_to_head_no_body,
    answer_for_lack_of_descriptors_has_a_date,
];

/// The server to ask, the request (where `GET` stands for the method), and the status of the answer
/// to GET and to HEAD.
struct Kind<'a> {
    server: &'a Server,
    request: String,
    statuses: [u16; 2],
}

impl<'a> Kind<'a> {
    fn new(server: &'a Server, status: u16, request: impl Into<String>) -> Self {
        Self {
            server,
            request: request.into(),
            statuses: [status; 2],
        }
    }

    fn check(&self) {
        for (method, status) in ["GET", "HEAD"].into_iter().zip(self.statuses) {
            let request = self.request.replacen("GET", method, 1);
            let shown = request.chars().take(100).collect::<String>();
            let before = SystemTime::now();
            let answer = ask(self.server, &request);
            assert_eq!(answer.status, status, "{shown}");
            is_dated(&answer, before);
            match method {
                "HEAD" => assert_eq!(answer.body, b"", "{status} to {shown}"),
                _ if status == 304 => assert_eq!(answer.body, b""),
                _ => assert_eq!(answer.body.len(), answer.length(), "{shown}"),
            }
            // The answer to GET is not empty.
            assert!(answer.length() > 0, "{shown}");
        }
    }
}

/// The answer says when it was made, to the second.
#[track_caller]
fn is_dated(answer: &Response, asked: SystemTime) {
    let date = answer.field("Date").expect("a date");
    let made = httpdate::parse_http_date(date).expect("a date of HTTP");
    assert_eq!(date, httpdate::fmt_http_date(made), "in the form preferred");
    assert!(made <= SystemTime::now(), "{date} is to come");
    assert!(made + Duration::from_secs(1) > asked, "{date} is past");
}

fn answer_of_every_kind_has_a_date_and_to_head_no_body(driver: Driver) {
    let server = Server::start(driver, &[]);
    let tag = get(&server, "/").field("ETag").unwrap().to_owned();
    let upgrade =
        |target: &str, more: &[&str]| wire::request("GET", target, &[&UPGRADE[..], more].concat());
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    let kind = |status, request: String| Kind::new(&server, status, request);
    let site = [
        kind(200, wire::request("GET", "/", &[])),
        kind(
            304,
            wire::request("GET", "/", &[&format!("If-None-Match: {tag}")]),
        ),
        kind(404, wire::request("GET", "/missing", &[])),
        kind(404, upgrade("/missing", &[])),
        kind(404, upgrade("/rooms/%ff", &[])),
        kind(403, upgrade("/echo", &["Origin: https://evil.example"])),
    ];
    let codec = [
        // HEAD opens no WebSocket.
        Kind {
            statuses: [426, 405],
            ..kind(0, wire::request("GET", "/echo", &[]))
        },
        Kind {
            statuses: [426, 405],
            ..kind(0, upgrade("/echo", &[]).replace(": 13", ": 12"))
        },
        kind(400, line("GET /rooms/a b HTTP/1.1")),
        kind(400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        kind(400, "\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned()),
        kind(505, line("GET / HTTP/2.0")),
        // This answer comes before the head is whole.
        kind(400, "GET / HTTP/1.1\r\nHost: local\0".to_owned()),
        kind(400, "GET / HTTP/1.1\n".to_owned()),
        kind(414, format!("GET /?{}", "q".repeat(9_000))),
        kind(431, upgrade("/", &["X: y"; 70])),
        kind(
            431,
            format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(17 << 10)),
        ),
    ];
    site.iter().chain(&codec).for_each(Kind::check);

    let begun = "GET /echo HTTP/1.1\r\nHost: ";
    let slow = Server::start(driver, &["--handshake-timeout", "200ms"]);
    Kind::new(&slow, 408, begun).check();

    let full = Server::start(driver, &["--max-connections", "1"]);
    let inside = Client::connect(&full, "/echo");
    Kind::new(&full, 503, wire::upgrade("/echo")).check();
    Kind::new(&full, 503, begun).check();
    drop(inside);

    let most = ["--address-connections-max", "1", "--address-rate", "0"];
    let trusted = ["--trusted-proxies", "127.0.0.0/8"];
    let strict = Server::start(driver, &[&most[..], &trusted].concat());
    let told = [("x-forwarded-for", "203.0.113.7")];
    let inside = Client::with_fields(&strict, "/echo", &told).expect("101");
    let one_more = upgrade("/echo", &["X-Forwarded-For: 203.0.113.7"]);
    Kind::new(&strict, 429, one_more).check();
    drop(inside);
}

/// A client that speaks HTTP where another protocol must come first gets an answer in HTTP.
fn answer_where_something_else_comes_first_has_a_date_and_to_head_no_body(driver: Driver) {
    let secure = Secure::start(driver, &[]);
    let header = ["--proxy-header", "proxy-v2"];
    let trusted = ["--trusted-proxies", "127.0.0.0/8"];
    let proxied = Server::start(driver, &[header, trusted].concat());
    for server in [&secure.server, &proxied] {
        Kind::new(server, 400, wire::upgrade("/echo")).check();
        Kind::new(server, 400, "GET / HTTP/1.1").check();
    }
}

fn answer_for_lack_of_descriptors_has_a_date(driver: Driver) {
    let flags = ["--driver", driver.name(), "--cores", "1"];
    let most = ["--max-connections", "1000", "--close-timeout", "200ms"];
    let server = Server::launch(with_few_descriptors(), &[&flags[..], &most].concat());
    let before = SystemTime::now();
    // These hold all descriptors and send nothing, so a new client is answered before it asks.
    let mut silent: Vec<TcpStream> = (0..100).map(|_| wire::connect(server.address())).collect();
    let refused = Response::read_from(&mut silent[99]);
    assert_eq!((refused.status, refused.length()), (503, 0));
    assert_eq!(refused.field("Retry-After"), Some("1"));
    assert_eq!(refused.field("Connection"), Some("close"));
    is_dated(&refused, before);
}
