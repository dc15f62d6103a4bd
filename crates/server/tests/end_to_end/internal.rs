//! The internal listener: its counters match what happened, and it is separate from the public
//! port.

use std::{collections::BTreeMap, time::Instant};

use rustix::process::Signal;

use crate::{
    client::{Client, binary, get, get_internal, scrape},
    harness::{Driver, PATIENCE, Server, command, eventually, run},
    wire::{self, BINARY, Raw, UPGRADE},
};

on_both_drivers![
    documented_series_are_there_from_the_start_and_no_others,
    traffic_is_counted_exactly,
    ends_are_counted_by_code_initiator_and_reason,
    handshakes_refused_are_counted_by_reason,
    limits_in_force_are_told_and_follow_a_reload,
    number_of_series_does_not_grow_with_what_peers_send,
    subscriber_that_does_not_read_stands_out_and_is_counted_when_it_is_closed,
    rooms_that_are_large_or_busy_stand_out,
    latencies_are_shown_as_percentiles,
    fan_outs_that_take_several_turns_are_counted_when_they_end,
    readiness_follows_the_servers_life,
    full_server_is_not_ready,
    public_port_serves_nothing_of_it,
    probes_and_scrapers_that_are_stuck_keep_nobody_out,
];

#[track_caller]
pub fn check(samples: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let found = samples.get(*name);
        assert_eq!(found, Some(value), "{name}");
    }
}

/// Names of families in `docs/metrics.md`, with their labels there.
fn documented() -> BTreeMap<String, Vec<String>> {
    let document = include_str!("../../../../docs/metrics.md");
    let quoted = |cell: &str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    let mut families: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            (quoted(cells[1])[0].clone(), quoted(cells[3]))
        })
        .collect();
    let words = document.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for process in words.filter(|word| word.starts_with("process_")) {
        families.insert(process.to_owned(), Vec::new());
    }
    families
}

fn documented_series_are_there_from_the_start_and_no_others(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let page = String::from_utf8(get_internal(&server, "/metrics").body).unwrap();
    let documented = documented();
    let served: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for family in &served {
        assert!(documented.contains_key(*family), "{family} is undocumented");
    }
    for (family, labels) in &documented {
        assert!(served.contains(&family.as_str()), "{family} is not served");
        let own = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap();
            name == family || name == format!("{family}_count")
        };
        let sample = page.lines().find(own).expect("a sample");
        let inside = sample.split_once('{').map_or("", |(_, rest)| rest);
        let mut found: Vec<_> = inside
            .split("=\"")
            .filter_map(|part| part.rsplit(['"', ',', '{']).next())
            .filter(|name| !name.is_empty() && !name.contains('}'))
            .collect();
        let mut expected: Vec<_> = labels.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "labels of {family}: {sample}");
    }
    let all_zero = [
        "hubbub_connections_ended_total",
        "hubbub_handshakes_rejected_total",
        "hubbub_fanout_seconds_bucket",
    ];
    for (name, value) in scrape(&server) {
        if all_zero.iter().any(|family| name.starts_with(family)) {
            assert_eq!(value, 0.0, "{name}");
        }
    }
}

fn traffic_is_counted_exactly(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut members: Vec<_> = (0..3).map(|_| Client::join(&server, "r")).collect();
    for _ in 0..5 {
        members[0].send("ten bytes!");
        members.iter_mut().for_each(|member| drop(member.text()));
    }
    let mut echo = Raw::open(&server, "/echo");
    // Binary in two fragments, with a ping between them.
    echo.send([2, 0x83, 0, 0, 0, 0, 1, 2, 3]);
    echo.send([0x89, 0x80, 0, 0, 0, 0]);
    echo.send([0x80, 0x81, 0, 0, 0, 0, 4]);
    // The pong comes before it.
    assert_eq!(echo.message().opcode(), BINARY);

    let samples = scrape(&server);
    check(
        &samples,
        &[
            ("hubbub_connections{protocol=\"room\"}", 3.0),
            ("hubbub_connections{protocol=\"echo\"}", 1.0),
            ("hubbub_connections{protocol=\"none\"}", 0.0),
            ("hubbub_connections_opened_total", 4.0),
            ("hubbub_rooms", 1.0),
            ("hubbub_subscriptions", 3.0),
            ("hubbub_messages_published_total", 5.0),
            ("hubbub_messages_delivered_total", 15.0),
            ("hubbub_frames_received_total{kind=\"text\"}", 5.0),
            ("hubbub_frames_received_total{kind=\"binary\"}", 1.0),
            ("hubbub_frames_received_total{kind=\"continuation\"}", 1.0),
            ("hubbub_frames_received_total{kind=\"ping\"}", 1.0),
            ("hubbub_frames_sent_total{kind=\"text\"}", 15.0),
            ("hubbub_frames_sent_total{kind=\"binary\"}", 1.0),
            ("hubbub_frames_sent_total{kind=\"pong\"}", 1.0),
            ("hubbub_payload_received_bytes_total{kind=\"text\"}", 50.0),
            ("hubbub_payload_received_bytes_total{kind=\"binary\"}", 4.0),
            ("hubbub_payload_sent_bytes_total{kind=\"text\"}", 150.0),
            ("hubbub_message_bytes_count", 6.0),
            ("hubbub_message_bytes_sum", 54.0),
            ("hubbub_message_bytes_bucket{le=\"16\"}", 6.0),
            ("hubbub_publish_seconds_count", 5.0),
            ("hubbub_publish_recipients_sum", 15.0),
            ("hubbub_handshake_seconds_count", 4.0),
            ("hubbub_core_up{core=\"0\"}", 1.0),
            ("hubbub_core_up{core=\"1\"}", 1.0),
        ],
    );
    let at_least = |name: &str, least: f64| assert!(samples[name] >= least, "{name}");
    // Each member's core has sent each message once.
    at_least("hubbub_fanout_seconds_count", 5.0);
    // 101s and frames: 12 bytes for each member and message.
    at_least("hubbub_sent_bytes_total", 15.0 * 12.0 + 4.0 * 100.0);
    at_least("hubbub_received_bytes_total", 5.0 * 16.0 + 4.0 * 100.0);
    at_least("process_open_fds", 4.0);
}

fn ends_are_counted_by_code_initiator_and_reason(driver: Driver) {
    let server = Server::start(driver, &["--message-bytes-max", "100"]);
    Client::connect(&server, "/echo").leave();
    Client::connect(&server, "/echo").vanish();
    let mut large = Client::connect(&server, "/echo");
    large.send("x".repeat(101));
    assert_eq!(large.closed(), 1009);
    let mut unmasked = Raw::open(&server, "/echo");
    unmasked.send([0x81, 0]);
    assert_eq!(unmasked.message().close_code(), 1002);
    drop(unmasked);
    get(&server, "/");
    let ended = |code, initiator, reason| {
        format!(
            "hubbub_connections_ended_total\
             {{code=\"{code}\",initiator=\"{initiator}\",reason=\"{reason}\"}}"
        )
    };
    let expected = [
        ended("none", "peer", "peer_closed"),
        ended("none", "peer", "socket_failed"),
        ended("1009", "server", "message_too_big"),
        ended("1002", "server", "unmasked"),
        ended("none", "server", "answered"),
    ];
    eventually("all ends are counted", || {
        let samples = scrape(&server);
        expected.iter().all(|name| samples[name] == 1.0)
    });
    let samples = scrape(&server);
    let all: f64 = samples
        .iter()
        .filter(|(name, _)| name.starts_with("hubbub_connections_ended_total"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(all, samples["hubbub_connections_opened_total"]);
    assert_eq!(samples["hubbub_frames_sent_total{kind=\"close\"}"], 3.0);
}

fn handshakes_refused_are_counted_by_reason(driver: Driver) {
    let server = Server::start(driver, &["--handshake-timeout", "200ms"]);
    let ask = |request: String| crate::client::ask(&server, request).status;
    assert_eq!(ask(wire::request("GET", "/echo", &[])), 426);
    assert_eq!(ask(wire::upgrade("/nowhere")), 404);
    assert_eq!(ask(wire::upgrade("/rooms/")), 404);
    let part = "GET /echo HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(crate::client::ask_in_part(&server, part).status, 408);
    // A request for a page is not a handshake.
    assert_eq!(ask(wire::request("GET", "/", &[])), 200);
    eventually("all are counted", || {
        let samples = scrape(&server);
        let count =
            |reason| samples[&format!("hubbub_handshakes_rejected_total{{reason=\"{reason}\"}}")];
        let reasons = [
            "upgrade_missing",
            "not_found",
            "room_name_invalid",
            "handshake_timeout",
        ];
        reasons.map(count) == [1.0; 4]
    });
}

fn limits_in_force_are_told_and_follow_a_reload(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    std::fs::write(&file, "message_bytes_max = \"1KiB\"\nmax_connections = 9\n").unwrap();
    let server = Server::start(driver, &["--config", file.to_str().unwrap()]);
    let limit = |key| scrape(&server)[&format!("hubbub_limit{{key=\"{key}\"}}")];
    assert_eq!(
        (limit("message_bytes_max"), limit("max_connections")),
        (1024.0, 9.0)
    );
    assert_eq!(limit("close_timeout"), 5.0);
    // A quarter of the memory, and an eighth.
    let (queues, contexts) = (
        limit("send_queues_bytes_max"),
        limit("compression_contexts_bytes_max"),
    );
    assert_eq!((queues / 2.0).floor(), contexts);
    let text = "message_bytes_max = \"2KiB\"\nmax_connections = 8\nclose_timeout = \"500ms\"\n";
    std::fs::write(&file, text).unwrap();
    server.signal(Signal::HUP);
    eventually("the new limits are told", || {
        let told = (
            limit("message_bytes_max"),
            limit("max_connections"),
            limit("close_timeout"),
        );
        told == (2048.0, 8.0, 0.5)
    });
}

fn number_of_series_does_not_grow_with_what_peers_send(driver: Driver) {
    let flags = ["--cores", "2", "--trusted-proxies", "127.0.0.1"];
    let server = Server::start(driver, &flags);
    let names = || -> Vec<_> {
        let mut names: Vec<_> = scrape(&server).into_keys().collect();
        names.sort_unstable();
        names
    };
    let before = names();
    assert!(before.len() < 2_000, "{} series", before.len());
    let mut reasons = 0;
    for n in 0..50 {
        Client::join(&server, &format!("room-{n}")).leave();
        get(&server, &format!("/path-{n}?query-{n}"));
        crate::client::ask(&server, wire::request(&format!("METHOD{n}"), "/", &[]));
        let fields = [
            format!("Origin: http://origin-{n}"),
            format!("Sec-WebSocket-Protocol: protocol-{n}"),
            format!("Sec-WebSocket-Extensions: extension-{n}"),
            format!("X-Forwarded-For: 198.51.100.{n}"),
            format!("User-Agent: agent-{n}"),
            format!("Field-{n}: value-{n}"),
        ];
        for field in &fields {
            let fields: Vec<_> = UPGRADE.into_iter().chain([field.as_str()]).collect();
            let mut stream = wire::connect(server.address());
            let request = wire::request("GET", "/echo", &fields);
            let request = request.replace("localhost", &format!("host-{n}"));
            wire::send(&mut stream, request.as_bytes());
            wire::send(&mut stream, &wire::close(1000));
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        // Codes of each kind that may be sent, and some that may not.
        for code in [3000 + n, 4000 + n, 1000 + n, n] {
            let mut closing = Raw::open(&server, "/echo");
            closing.send(wire::close(code));
            closing.message();
            reasons += 1;
        }
    }
    eventually("all closes are counted", || {
        scrape(&server)[r#"hubbub_frames_sent_total{kind="close"}"#] >= f64::from(reasons)
    });
    let after = names();
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(new.is_empty() && after.len() == before.len(), "{new:?}");
}

fn subscriber_that_does_not_read_stands_out_and_is_counted_when_it_is_closed(driver: Driver) {
    let bounds = ["--send-queue-bytes-max", "4MiB", "--write-timeout", "10s"];
    // The connection counts as ended when it is gone, which its close timeout ensures.
    let server = Server::start(
        driver,
        &[&bounds[..], &["--close-timeout", "200ms"]].concat(),
    );
    let mut publisher = Client::join(&server, "r");
    let narrow = wire::connect_narrow(server.address(), 16 << 10);
    let stalled = Raw::over(narrow, wire::upgrade("/rooms/r"));
    let publish = |publisher: &mut Client| {
        publisher.send(binary(vec![0; 32 << 10]));
        publisher.receive();
    };
    let view = || -> serde_json::Value {
        let page = get_internal(&server, "/debug/connections?top=1");
        assert_eq!(page.field("Content-Type"), Some("application/json"));
        assert!(page.body.ends_with(b"\n}\n"), "it is for people");
        serde_json::from_slice(&page.body).unwrap()
    };
    eventually("it lags", || {
        publish(&mut publisher);
        view()["slowest"][0]["queued_bytes"].as_u64() > Some(1 << 20)
    });
    let view = view();
    assert_eq!(view["connections"], 2);
    assert_eq!(view["slowest"].as_array().unwrap().len(), 1);
    let own = stalled.stream.local_addr().unwrap().to_string();
    for kind in ["largest", "slowest"] {
        assert_eq!(view[kind][0]["peer"], own, "{kind}");
        assert_eq!(view[kind][0]["protocol"], "room");
    }
    assert!(view["oldest"][0]["age_seconds"].as_f64() > Some(0.0));
    eventually("the gauge follows", || {
        scrape(&server)["hubbub_send_queue_bytes"] > 1e6
    });
    eventually("it is closed", || {
        publish(&mut publisher);
        let samples = scrape(&server);
        let evicted = |policy| samples[&format!("hubbub_evictions_total{{policy=\"{policy}\"}}")];
        evicted("send_queue_full") + evicted("write_stalled") == 1.0
    });
}

fn rooms_that_are_large_or_busy_stand_out(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut large: Vec<_> = (0..6).map(|_| Client::join(&server, "large")).collect();
    let mut busy = Client::join(&server, "busy");
    for _ in 0..4 {
        busy.send("x");
        busy.text();
    }
    large[0].send("x");
    large.iter_mut().for_each(|member| drop(member.text()));
    let look = || -> serde_json::Value {
        let page = get_internal(&server, "/debug/rooms?top=5");
        serde_json::from_slice(&page.body).unwrap()
    };
    let view = look();
    assert_eq!(view["rooms"], 2);
    assert_eq!(view["cores_answered"], 2);
    let first = |kind: &str| {
        let row = &view[kind][0];
        let number = |key: &str| row[key].as_u64().unwrap();
        let name = row["room"].as_str().unwrap().to_owned();
        (name, number("subscribers"), number("messages"))
    };
    assert_eq!(first("largest"), ("large".into(), 6, 1));
    assert_eq!(first("busiest"), ("busy".into(), 1, 4));
    // Since the previous request, no message was published.
    assert_eq!(look()["busiest"].as_array().unwrap().len(), 0);
}

fn latencies_are_shown_as_percentiles(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut member = Client::join(&server, "r");
    for _ in 0..20 {
        member.send("x");
        member.text();
    }
    let page = get_internal(&server, "/debug/latency");
    let view: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    for times in ["fanout_seconds", "publish_seconds"] {
        let row = &view[times];
        assert_eq!(row["count"], 20, "{times}");
        let (p50, max) = (row["p50"].as_f64().unwrap(), row["max"].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= max && max < 30.0, "{row}");
    }
}

fn fan_outs_that_take_several_turns_are_counted_when_they_end(driver: Driver) {
    // Nothing else may wake the core.
    let server = Server::start(driver, &["--cores", "1", "--ping-interval", "1h"]);
    let mut members: Vec<_> = (0..600).map(|_| Client::join(&server, "r")).collect();
    for _ in 0..40 {
        members[0].write("x");
        members[0].flush();
    }
    for member in &mut members {
        (0..40).for_each(|_| drop(member.text()));
    }
    eventually("all are counted", || {
        scrape(&server)["hubbub_fanout_seconds_count"] == 40.0
    });
}

fn readiness_follows_the_servers_life(driver: Driver) {
    let mut server = Server::start(driver, &["--cores", "1", "--drain-timeout", "1h"]);
    let status = |path| get_internal(&server, path).status;
    assert_eq!((status("/readyz"), status("/healthz")), (200, 200));
    let mut clients: Vec<_> = (0..2).map(|_| Raw::open(&server, "/echo")).collect();
    server.signal(Signal::TERM);
    eventually("it is not ready", || status("/readyz") == 503);
    let page = get_internal(&server, "/readyz");
    assert_eq!(String::from_utf8(page.body).unwrap(), "draining\n");
    // It is healthy, and still counts, while it drains.
    assert_eq!(status("/healthz"), 200);
    check(&scrape(&server), &[("hubbub_draining", 1.0)]);
    clients.clear();
    assert_eq!(server.wait().code(), Some(0));
}

fn full_server_is_not_ready(driver: Driver) {
    let server = Server::start(driver, &["--max-connections", "2"]);
    let first = Client::connect(&server, "/echo");
    assert_eq!(get_internal(&server, "/readyz").status, 200);
    let _second = Client::connect(&server, "/echo");
    let page = get_internal(&server, "/readyz");
    assert_eq!(page.status, 503);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.starts_with("full: 2 connections"), "{text}");
    first.leave();
    eventually("there is room", || {
        get_internal(&server, "/readyz").status == 200
    });
}

/// Every route, requested in every way.
fn public_port_serves_nothing_of_it(driver: Driver) {
    let server = Server::start(driver, &[]);
    let source = include_str!("../../src/internal.rs");
    let routes = source.split(".route(\"").skip(1);
    let routes: Vec<_> = routes.filter_map(|rest| rest.split('"').next()).collect();
    assert!(
        routes.len() >= 7 && routes.contains(&"/metrics"),
        "{routes:?}"
    );
    let internal = server.internal();
    for path in routes {
        let page = get_internal(&server, path);
        assert_eq!(page.status, 200, "{path}");
        // The root is the site's own page here.
        let expected = match path {
            "/" => 200,
            _ => 404,
        };
        let name = path.trim_start_matches('/');
        let targets = [
            path.to_owned(),
            format!("{path}?top=1"),
            format!("http://{internal}{path}"),
        ];
        for target in &targets {
            let asked = wire::request("GET", target, &[]);
            let asked_as_internal = asked.replace("localhost", &internal.to_string());
            let forwarded = wire::request("GET", target, &["X-Forwarded-For: 127.0.0.1"]);
            for request in [asked, asked_as_internal, forwarded] {
                let answer = crate::client::ask(&server, &request);
                assert_eq!(answer.status, expected, "{request}");
                assert_ne!(answer.body, page.body, "{request}");
            }
            let upgrade = crate::client::ask(&server, wire::upgrade(target));
            assert_eq!(upgrade.status, 404, "{target}");
        }
        for detour in [
            format!("//{name}"),
            format!("/./{name}"),
            format!("/x/../{name}"),
            format!("/%2e%2e/{name}"),
            format!("/rooms/../{name}"),
            format!("{path}%00"),
        ] {
            let answer = get(&server, &detour);
            assert!(answer.status >= 400, "{detour}: {}", answer.status);
            assert_ne!(answer.body, page.body, "{detour}");
        }
    }
    for public in ["/echo", "/rooms/r"] {
        let answer = get_internal(&server, public);
        assert_eq!(answer.status, 404);
        let body = String::from_utf8_lossy(&answer.body);
        assert!(body.contains("The pages are /metrics"), "{body}");
    }
}

fn probes_and_scrapers_that_are_stuck_keep_nobody_out(driver: Driver) {
    let server = Server::start(driver, &["--cores", "1"]);
    let mut member = Client::join(&server, "r");
    let asked = wire::request("GET", "/metrics", &[]);
    let begun = Instant::now();
    // Twice as many as there are places: they send nothing or half of a request, or do not read.
    for said in ["", "GET /healthz HTTP/1.1\r\n", &asked] {
        let mut crowd = Vec::new();
        for path in ["/healthz", "/readyz", "/metrics"] {
            crowd.extend((0..64).map(|_| {
                let mut stream = wire::connect_narrow(server.internal(), 4096);
                wire::send(&mut stream, said.as_bytes());
                stream
            }));
            assert_eq!(get_internal(&server, path).status, 200, "{path}");
        }
        member.send("the rooms do not mind");
        assert_eq!(member.text(), "the rooms do not mind");
    }
    // No probe has waited for the others' time to pass, which is 5 s for a request's head.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let made_room = scrape(&server)["hubbub_internal_connections_crowded_out_total"];
    assert!(made_room >= 2.0 * (3.0 * 64.0 - 32.0), "{made_room}");
}

#[test]
fn internal_address_that_is_taken_is_an_error_with_a_remedy() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = command();
    command.args(["--listen", "127.0.0.1:0", "--internal-listen", &address]);
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty(), "{}", ended.stdout);
    for word in [&address, "--internal-listen off", "in use"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn internal_listener_can_be_off() {
    let mut command = command();
    command.args(["--listen", "127.0.0.1:0", "--internal-listen", "off"]);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut said).unwrap();
    assert!(said.contains("listens on"), "{said}");
    child.kill().unwrap();
    said.clear();
    std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "", "no further listener is told of");
}
