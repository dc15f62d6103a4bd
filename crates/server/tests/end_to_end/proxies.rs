//! The address of a client: only trusted proxies may name it.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::{Client, Response, ask_in_part, get_internal},
    harness::{Driver, Server, eventually},
    tls_client::{Secure, handshake},
    wire::{self, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    client_behind_a_trusted_proxy_is_shown_by_its_own_address,
    network_of_proxies_may_be_written_within_ipv6,
    fields_of_a_peer_that_is_not_trusted_are_not_believed,
    fields_that_are_hostile_are_survived,
    header_of_a_trusted_proxy_names_the_client,
    header_of_a_trusted_proxy_in_single_bytes_names_the_client,
    header_of_a_peer_that_is_not_trusted_is_no_header,
    trusted_proxy_without_a_header_is_refused,
    half_a_header_and_then_silence_is_ended_in_time,
    header_before_tls_names_the_client_however_it_is_split,
    header_before_tls_that_is_refused_is_answered_in_clear_or_reset,
];

const LOOPBACK: [&str; 2] = ["--trusted-proxies", "127.0.0.0/8"];
const HEADER: [&str; 2] = ["--proxy-header", "proxy-v2"];

/// The only connection, as the debug page shows it.
#[track_caller]
fn peer(server: &Server) -> String {
    peer_if_any(server).expect("one connection")
}

/// The same, or nothing if the connection has not been accepted yet.
fn peer_if_any(server: &Server) -> Option<String> {
    let page = get_internal(server, "/debug/connections");
    let view: Value = serde_json::from_slice(&page.body).unwrap();
    let peer = view["oldest"][0]["peer"].as_str();
    peer.filter(|_| view["connections"] == 1)
        .map(ToOwned::to_owned)
}

/// Waits until no connection is left.
fn alone(server: &Server) {
    eventually("all connections have ended", || {
        let page = get_internal(server, "/debug/connections");
        let view: Value = serde_json::from_slice(&page.body).unwrap();
        view["connections"] == 0
    });
}

/// Opens a WebSocket with these fields.
fn open_with(stream: TcpStream, fields: &[String]) -> Raw {
    let fields = UPGRADE.into_iter().chain(fields.iter().map(String::as_str));
    let fields: Vec<_> = fields.collect();
    Raw::over(stream, wire::request("GET", "/echo", &fields))
}

fn works(raw: &mut Raw) {
    raw.send(wire::frame(TEXT, b"heard"));
    assert_eq!(raw.message().payload, b"heard");
}

fn client_behind_a_trusted_proxy_is_shown_by_its_own_address(driver: Driver) {
    let trusted = ["--trusted-proxies", "127.0.0.1, 10.0.0.0/8"];
    let server = Server::start(driver, &trusted);
    for (fields, shown) in [
        (&["203.0.113.7"][..], "203.0.113.7:0"),
        (&["203.0.113.7:4711"], "203.0.113.7:4711"),
        (&["6.6.6.6, 203.0.113.7, 10.1.1.1"], "203.0.113.7:0"),
        (
            &["6.6.6.6", "[2001:db8::7]:80", "10.1.1.1"],
            "[2001:db8::7]:80",
        ),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|told| format!("X-Forwarded-For: {told}"))
            .collect();
        let mut raw = open_with(wire::connect(server.address()), &fields);
        works(&mut raw);
        assert_eq!(peer(&server), shown);
        drop(raw);
        eventually("the log shows it", || {
            server
                .log()
                .contains(&format!("connection ended peer={shown}"))
        });
        alone(&server);
    }
}

fn network_of_proxies_may_be_written_within_ipv6(driver: Driver) {
    for (trusted, is_trusted) in [
        ("::ffff:127.0.0.0/104", true),
        ("::ffff:127.0.0.1/128", true),
        ("::ffff:127.0.0.1", true),
        ("::ffff:127.0.0.2/128", false),
        ("::7f00:0/104", false),
    ] {
        let server = Server::start(driver, &["--trusted-proxies", trusted]);
        let told = ["X-Forwarded-For: 203.0.113.7".to_owned()];
        let mut raw = open_with(wire::connect(server.address()), &told);
        works(&mut raw);
        assert_eq!(peer(&server) == "203.0.113.7:0", is_trusted, "{trusted}");
    }
}

fn fields_of_a_peer_that_is_not_trusted_are_not_believed(driver: Driver) {
    let trusted = ["--trusted-proxies", "127.0.0.2"];
    let most = ["--address-connections-max", "1"];
    let server = Server::start(driver, &[&trusted[..], &most].concat());
    let told = ["X-Forwarded-For: 203.0.113.7".to_owned()];
    let from = |source| wire::connect_from(source, server.address());
    for _ in 0..3 {
        let mut raw = open_with(from([127, 0, 0, 1]), &told);
        works(&mut raw);
        assert!(peer(&server).starts_with("127.0.0.1:"));
        drop(raw);
        alone(&server);
    }
    let _believed = open_with(from([127, 0, 0, 2]), &told);
    assert_eq!(peer(&server), "203.0.113.7:0");
    let second = Client::over(
        from([127, 0, 0, 2]),
        "/echo",
        &[("x-forwarded-for", "203.0.113.7")],
    );
    assert_eq!(second.err(), Some(429));
    // No client can pretend to be another, or use up the limits of another.
    works(&mut open_with(from([127, 0, 0, 3]), &told));
}

fn fields_that_are_hostile_are_survived(driver: Driver) {
    let server = Server::start(driver, &LOOPBACK);
    let long = |item: &str| format!("X-Forwarded-For: {}", item.repeat((10 << 10) / item.len()));
    for fields in [
        vec![long(",")],
        vec![long(", ")],
        vec![long("127.0.0.1,")],
        vec![long("x")],
        vec![long("[")],
        vec!["X-Forwarded-For: 203.0.113.7, unknown".to_owned()],
        vec!["X-Forwarded-For: 203.0.113.7, \u{fffd}".to_owned()],
        vec!["X-Forwarded-For:".to_owned(); 50],
    ] {
        let mut raw = open_with(wire::connect(server.address()), &fields);
        works(&mut raw);
        assert!(peer(&server).starts_with("127.0.0.1:"), "{}", fields[0]);
        drop(raw);
        alone(&server);
    }
}

fn header_of_a_trusted_proxy_names_the_client(driver: Driver) {
    let server = Server::start(driver, &[LOOPBACK, HEADER].concat());
    let v4 = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    let client: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let v6 = [&client.octets()[..], &[0; 16], &[0x12, 0x67, 1, 187]].concat();
    let extended = [&v4[16..], &[4, 0, 5, 1, 2, 3, 4, 5], &[0; 500]].concat();
    for (header, shown) in [
        (v4.clone(), "203.0.113.7:4711"),
        (wire::proxy_header(0x21, 0x21, &v6), "[2001:db8::7]:4711"),
        (
            wire::proxy_header(0x21, 0x11, &extended),
            "203.0.113.7:4711",
        ),
        (wire::proxy_header(0x20, 0, &[]), "127.0.0.1:"),
        (wire::proxy_header(0x21, 0, &[9; 30]), "127.0.0.1:"),
    ] {
        // The header comes in one piece with the request, with the first frame too, and separately.
        let request = wire::upgrade("/echo").into_bytes();
        let frame = wire::frame(TEXT, b"eager");
        let together = [&header[..], &request, &frame].concat();
        let mut raw = Raw::over(wire::connect(server.address()), together);
        assert_eq!(raw.message().payload, b"eager");
        assert!(peer(&server).starts_with(shown), "{}", peer(&server));
        drop(raw);
        alone(&server);
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, &header);
        eventually("the header has come", || {
            peer_if_any(&server).is_some_and(|peer| peer.starts_with(shown))
        });
        // A claim in the request is not believed in addition.
        let told = ["X-Forwarded-For: 6.6.6.6".to_owned()];
        works(&mut open_with(stream, &told));
        assert!(!server.log().contains("6.6.6.6"));
        alone(&server);
    }
}

fn header_of_a_trusted_proxy_in_single_bytes_names_the_client(driver: Driver) {
    let server = Server::start(driver, &[LOOPBACK, HEADER].concat());
    let mut stream = wire::connect(server.address());
    let mut all = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    all.extend(wire::upgrade("/echo").into_bytes());
    let (last, bytes) = all.split_last().unwrap();
    for byte in bytes {
        wire::send(&mut stream, &[*byte]);
    }
    let mut raw = Raw::over(stream, [*last]);
    works(&mut raw);
    assert_eq!(peer(&server), "203.0.113.7:4711");
}

fn header_of_a_peer_that_is_not_trusted_is_no_header(driver: Driver) {
    let trusted = ["--trusted-proxies", "127.0.0.2"];
    let server = Server::start(driver, &[trusted, HEADER].concat());
    let mut all = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    all.extend(wire::upgrade("/echo").into_bytes());
    let mut stream = wire::connect_from([127, 0, 0, 1], server.address());
    wire::send(&mut stream, &all);
    assert_eq!(Response::read_from(&mut stream).status, 400);
    drop(stream);
    alone(&server);
    assert!(!server.log().contains("203.0.113.7"));
    assert!(!server.log().contains("proxy_header\""));
    works(&mut Raw::open(&server, "/echo"));
    let trusted = wire::connect_from([127, 0, 0, 2], server.address());
    works(&mut Raw::over(trusted, all));
}

fn trusted_proxy_without_a_header_is_refused(driver: Driver) {
    let server = Server::start(driver, &[LOOPBACK, HEADER].concat());
    let mut too_long = wire::proxy_header(0x21, 0x11, &[0; 537]);
    too_long.extend(wire::upgrade("/echo").into_bytes());
    let cases = [
        (wire::upgrade("/echo").into_bytes(), Some(400)),
        (b"GET".to_vec(), Some(400)),
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 1 443\r\n".to_vec(), None),
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), None),
        (wire::proxy_header(0x31, 0x11, &[0; 12]), None),
        (wire::proxy_header(0x21, 0x11, &[0; 11]), None),
        (too_long, None),
    ];
    for (bytes, status) in &cases {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, bytes);
        match status {
            Some(status) => {
                let answer = Response::read_from(&mut stream);
                assert_eq!(answer.status, *status, "{bytes:?}");
            }
            None => {
                let mut said = Vec::new();
                let ended = std::io::Read::read_to_end(&mut stream, &mut said);
                assert!(ended.is_err() && said.is_empty(), "{bytes:?}");
            }
        }
    }
    eventually("all are counted for that reason", || {
        server.ends_logged("proxy_header") == cases.len()
    });
}

fn half_a_header_and_then_silence_is_ended_in_time(driver: Driver) {
    let timeout = ["--handshake-timeout", "300ms"];
    let server = Server::start(driver, &[LOOPBACK, HEADER, timeout].concat());
    let header = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    for bytes in [0, 1, 13, 20, header.len()] {
        let begun = Instant::now();
        // Half of a header is answered; a client that sends no header, or nothing behind it, is
        // not.
        if (1..header.len()).contains(&bytes) {
            assert_eq!(ask_in_part(&server, &header[..bytes]).status, 408);
        } else {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, &header[..bytes]);
            let mut said = Vec::new();
            stream.read_to_end(&mut said).unwrap();
            assert!(said.is_empty(), "{said:?}");
        }
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
}

/// The header loses no byte to TLS and TLS none to the header, whatever arrives in one segment.
fn header_before_tls_names_the_client_however_it_is_split(driver: Driver) {
    let addresses = ["--address-rate", "0"];
    let secure = Secure::start(driver, &[LOOPBACK, HEADER, addresses].concat());
    let short = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    // The longest permitted header, which ends in bytes that look like TLS records.
    let records = [0x16, 3, 1, 2, 0].into_iter().cycle().take(524);
    let long: Vec<_> = short[16..].iter().copied().chain(records).collect();
    let long = wire::proxy_header(0x21, 0x11, &long);
    for header in [&short, &long] {
        let end = header.len();
        // All in one segment; cut inside the header, at its end, and inside the ClientHello.
        let cuts = [0, 1, 11, 12, 15, 16, 17, 27, end - 1, end, end + 1, end + 5];
        for cut in cuts {
            let mut stream = secure.stream();
            let mut opening = header.clone();
            stream.conn.write_tls(&mut opening).unwrap();
            assert!(opening.len() > end + 5);
            wire::send(&mut stream.sock, &opening[..cut]);
            if cut > 0 {
                let expected = if cut < end {
                    "127.0.0.1:"
                } else {
                    "203.0.113.7:"
                };
                eventually("the first part has come", || {
                    peer_if_any(&secure.server).is_some_and(|peer| peer.starts_with(expected))
                });
            }
            wire::send(&mut stream.sock, &opening[cut..]);
            let mut raw = Raw::over(stream, wire::upgrade("/echo"));
            raw.send(wire::frame(TEXT, b"heard"));
            assert_eq!(raw.message().payload, b"heard", "cut at {cut}");
            assert_eq!(peer(&secure.server), "203.0.113.7:4711");
            drop(raw);
            alone(&secure.server);
        }
    }
    assert_eq!(secure.ended("peer_gone"), 24);
}

fn header_before_tls_that_is_refused_is_answered_in_clear_or_reset(driver: Driver) {
    let secure = Secure::start(driver, &[LOOPBACK, HEADER].concat());
    let address = secure.server.address();
    let mut plain = wire::connect(address);
    wire::send(&mut plain, wire::upgrade("/echo").as_bytes());
    assert_eq!(Response::read_from(&mut plain).status, 400);
    // TLS without a header, and TLS behind an invalid one.
    let malformed = wire::proxy_header(0x31, 0x11, &[0; 12]);
    for before in [&[][..], &malformed] {
        let mut stream = secure.stream();
        wire::send(&mut stream.sock, before);
        let refused = handshake(&mut stream).unwrap_err();
        assert_ne!(refused.kind(), std::io::ErrorKind::WouldBlock, "{refused}");
    }
    // Behind a valid header, plain HTTP is still not TLS.
    let mut plain = wire::connect(address);
    let mut clear = wire::proxy_for("203.0.113.7:4711".parse().unwrap());
    clear.extend(wire::upgrade("/echo").into_bytes());
    wire::send(&mut plain, &clear);
    assert_eq!(Response::read_from(&mut plain).status, 400);
    drop(plain);
    eventually("each has ended for its reason", || {
        secure.ended("proxy_header") == 3 && secure.ended("plain_http") == 1
    });
}
