//! Text from peers does not get into the log or the metrics: neither text that could forge a line
//! or control a terminal, nor secrets.

use crate::{
    client::{Client, get_internal, scrape},
    harness::{Driver, Server, eventually},
    wire::{self, BINARY, CLOSE, PONG, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    escapes_in_every_field_reach_no_log,
    secrets_in_every_field_reach_neither_log_nor_metrics,
];

/// A line break and a forged line, terminal colours in two ways, and a change of writing direction.
const NASTY: [&str; 5] = [
    "a\r\n1999-01-01T00:00:00Z ERROR forged",
    "a\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "a\u{1b}[31mforged\u{7}",
    "a\u{9b}31mforged",
    "a\u{202e}forged\u{2028}",
];

/// Sends this text wherever a peer can send text, and returns on how many connections. Each waits
/// only for its own end.
fn say_everywhere(server: &Server, said: &str) -> usize {
    let heads = heads_with(said);
    for head in &heads {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, head.as_bytes());
        // If it is accepted, this ends it.
        wire::send(&mut stream, &wire::unmasked(TEXT, said.as_bytes()));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
    let frames = frames_with(said.as_bytes());
    for frames in &frames {
        let mut raw = Raw::open(server, "/echo");
        raw.send(frames);
        while !raw.next().is_over() {}
    }
    heads.len() + frames.len()
}

fn heads_with(said: &str) -> Vec<String> {
    let escaped: String = said.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let in_lines = [
        wire::request(said, "/", &[]),
        wire::request("GET", &format!("/{said}"), &[]),
        wire::request("GET", &format!("/{escaped}?{escaped}"), &[]),
        wire::upgrade(&format!("/rooms/{said}")),
        wire::upgrade(&format!("/echo?token={escaped}")),
        wire::upgrade(&format!("/rooms/{escaped}")),
        wire::upgrade("/echo").replace("localhost", said),
        wire::upgrade(&format!("http://{said}/echo")),
        format!("GET / {said}\r\n\r\n"),
        format!("{said}: x\r\n\r\n"),
    ];
    let names = [
        "Origin",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "User-Agent",
        "X-Forwarded-For",
        "Cookie",
        "Authorization",
        said,
    ];
    let in_fields = names.map(|name| {
        let field = format!("{name}: {said}");
        let fields: Vec<_> = UPGRADE.into_iter().chain([field.as_str()]).collect();
        wire::request("GET", "/echo", &fields)
    });
    in_lines.into_iter().chain(in_fields).collect()
}

/// Each of them ends its connection.
fn frames_with(said: &[u8]) -> Vec<Vec<u8>> {
    let reason = [&3000_u16.to_be_bytes()[..], said].concat();
    let not_utf8 = [&reason[..], b"\xff"].concat();
    vec![
        wire::frame(CLOSE, &reason),
        wire::frame(CLOSE, &not_utf8),
        [wire::frame(PONG, said), wire::frame(11, said)].concat(),
        [wire::frame(BINARY, said), wire::close(1000)].concat(),
        wire::unmasked(TEXT, said),
    ]
}

/// Waits until the log is complete.
fn log_after(server: &Server, connections: usize) -> String {
    eventually("all ends are logged", || {
        server.log().matches("connection ended").count() >= connections
    });
    server.log()
}

fn escapes_in_every_field_reach_no_log(driver: Driver) {
    for format in ["text", "json"] {
        let flags = ["--trusted-proxies", "127.0.0.1", "--log-format", format];
        let server = Server::start(driver, &flags);
        let connections = NASTY.map(|said| say_everywhere(&server, said));
        let log = log_after(&server, connections.iter().sum());
        let is_harmful = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}".contains(c);
        // Each line is one of the server's own.
        for line in log.lines() {
            assert!(!line.contains(is_harmful), "{line:?}");
            let is_own = match format {
                "json" => serde_json::from_str::<serde_json::Value>(line)
                    .is_ok_and(|event| event["timestamp"].is_string()),
                _ => line.starts_with("20") && line.contains("Z "),
            };
            assert!(is_own, "{line:?}");
        }
        assert!(crate::client::serves(&server));
    }
}

/// Neither refused nor served requests reach the log. A refused handshake's origin and the
/// beginning of its unknown path are not secrets: the log shows them.
fn secrets_in_every_field_reach_neither_log_nor_metrics(driver: Driver) {
    const SECRET: &str = "correct-horse-battery";
    let server = Server::start(driver, &["--trusted-proxies", "127.0.0.1"]);
    let mut member = Client::join(&server, "r");
    member.send(SECRET);
    assert_eq!(member.text(), SECRET);
    let connections = say_everywhere(&server, SECRET);
    let log = log_after(&server, connections);
    assert!(log.contains(&format!("origin=\"{SECRET}\"")));
    let shown = |line: &str| line.contains("handshake refused") && line.contains("origin=");
    for line in log.lines().filter(|line| !shown(line)) {
        assert!(!line.contains(SECRET), "{line}");
    }
    for path in [
        "/metrics",
        "/debug/connections",
        "/debug/latency",
        "/readyz",
    ] {
        let page = String::from_utf8(get_internal(&server, path).body).unwrap();
        assert!(!page.contains(SECRET), "{path}");
    }
    assert!(scrape(&server).len() > 100, "there are metrics");
}
