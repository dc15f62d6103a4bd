//! What an attacker can try with the transports over HTTP: floods, forged sessions, bodies that hide requests, heads
//! and commands that fill memory, and pages of other sites.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    baseline::Baseline,
    client::{Response, ask, scrape},
    harness::{Driver, eventually},
    process,
    streamed::{
        EMULATION, HTTP_STREAM, ONE_WAY, SSE, STREAMS, Stream, Streamed, emulate, open, post,
    },
    wire,
};

on_both_drivers![
    flood_of_emulation_is_refused_beyond_its_places_and_others_are_served,
    commands_of_many_sessions_that_wait_take_no_more_than_the_bound,
    session_that_an_attacker_has_chosen_or_that_is_over_is_nobodys,
    guessed_sessions_by_the_thousand_do_nothing_and_take_no_memory,
    page_of_another_site_with_a_session_that_it_knows_does_nothing,
    heads_of_server_sent_events_that_are_not_whole_are_bounded_together,
    head_of_server_sent_events_that_drips_is_ended_in_time,
    body_of_two_readings_is_refused_and_nothing_behind_it_is_read,
    request_in_the_body_of_another_is_never_answered,
];

/// A request of emulation that keeps its connection.
fn commands(session: &str, node: &str, data: &str) -> String {
    let body = json!({ "session": session, "node": node, "data": data });
    post(EMULATION, &[], &body.to_string())
}

fn publication(room: &str) -> String {
    json!({"id": 2, "publish": {"channel": room, "data": 1}}).to_string()
}

/// What has been published in a room.
fn published(of: &mut Streamed, configured: &crate::commands::Configured, room: &str) -> Value {
    let history = json!({"id": 99, "history": {"channel": room, "limit": -1}});
    let mut reply = of.ask(&configured.server, &history.to_string());
    reply["history"]["publications"].take()
}

/// The next answer on a connection that is kept, without its body.
fn answer(reader: &mut BufReader<TcpStream>) -> Response {
    let mut head = Vec::new();
    while wire::head_end(&head).is_none() {
        let read = reader.read_until(b'\n', &mut head).unwrap();
        assert!(read > 0, "no answer");
    }
    let answer = Response::parse(&head);
    if answer.status != 204 {
        let mut body = vec![0; answer.length()];
        reader.read_exact(&mut body).unwrap();
    }
    answer
}

fn flood_of_emulation_is_refused_beyond_its_places_and_others_are_served(driver: Driver) {
    const SENDERS: usize = 60;
    const ROUNDS: usize = 20;
    // Of these, peers may fill eight.
    let configured = open(driver, &["--cores", "1", "--commands-max", "16"]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let mut victim = Streamed::anonymous(server, HTTP_STREAM);
    let attacker = Streamed::anonymous(server, SSE);
    let mut senders: Vec<_> = (0..SENDERS)
        .map(|_| BufReader::new(wire::connect(server.address())))
        .collect();
    let request = commands(&attacker.session, &attacker.node, r#"{"id":2,"rpc":{}}"#);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        // All of it has come when the server goes on, so that one turn finds it.
        server.signal(Signal::STOP);
        for sender in &mut senders {
            sender.get_mut().write_all(request.as_bytes()).unwrap();
        }
        server.signal(Signal::CONT);
        for sender in &mut senders {
            let answer = answer(sender);
            match answer.status {
                204 => taken += 1,
                503 => {
                    assert_eq!(answer.field("Retry-After"), Some("1"));
                    refused += 1;
                }
                other => panic!("{other}"),
            }
            // Either way its connection is kept.
            assert_eq!(answer.field("Connection"), None);
        }
        baseline.serves_others();
        eventually("commands of others are taken", || {
            let rpc = r#"{"id":2,"rpc":{}}"#;
            emulate(server, &victim.session, &victim.node, rpc).status == 204
        });
        assert_eq!(victim.stream.reply()["error"]["code"], 108);
    }
    assert!(taken >= ROUNDS * 8, "{taken} were taken");
    assert!(refused >= ROUNDS, "{refused} were refused");
    let grown = baseline.grown();
    assert!(grown < 4 << 20, "{grown} bytes more");
    drop((victim, attacker, senders));
    baseline.is_restored();
}

/// Sessions that do not read what they are answered, so that what comes for them waits.
fn commands_of_many_sessions_that_wait_take_no_more_than_the_bound(driver: Driver) {
    const SESSIONS: usize = 16;
    const BOUND: usize = 2 << 20;
    let flags = [
        "--cores",
        "1",
        "--unfinished-bytes-max",
        "2MiB",
        "--write-timeout",
        "10m",
        "--close-timeout",
        "1s",
    ];
    let configured = open(driver, &flags);
    let server = &configured.server;
    let mut filler = Streamed::anonymous(server, HTTP_STREAM);
    let data = "x".repeat(15_000);
    for id in 2..30 {
        let publish = json!({"id": id, "publish": {"channel": "big", "data": data}});
        filler.ask(server, &publish.to_string());
    }
    let mut baseline = Baseline::of(server);
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let stream = wire::connect_narrow(server.address(), 4 << 10);
            let first = post(HTTP_STREAM, &[], r#"{"id":1,"connect":{}}"#);
            let mut slow = Stream::over(stream, first);
            let connect = slow.reply();
            let text = |name: &str| connect["connect"][name].as_str().unwrap().to_owned();
            (text("session"), text("node"), slow)
        })
        .collect();
    let command = json!({"id": 2, "history": {"channel": "big", "limit": -1}}).to_string();
    let frame = command + &" ".repeat(50_000);
    let held = || scrape(server)["hubbub_unfinished_held_bytes"] as usize;
    let mut most = 0;
    for _ in 0..30 {
        for (session, node, _) in &sessions {
            let status = emulate(server, session, node, &frame).status;
            assert!(matches!(status, 204 | 503), "{status}");
        }
        baseline.serves_others();
        most = most.max(held());
    }
    assert!(most > BOUND / 4, "{most} bytes: nothing waits");
    // Those that hold the most are given up; a turn adds what it receives before it is looked at.
    assert!(most <= BOUND + (256 << 10), "{most} bytes wait");
    eventually("some were given up for it", || {
        server.ends_logged("unfinished_full") > 0
    });
    let grown = baseline.grown();
    assert!(grown < 24 << 20, "{grown} bytes more");
    drop(sessions);
    baseline.is_restored();
    eventually("nothing waits", || held() == 0);
}

/// An attacker who could make a client use a session of its choice, or keep one beyond its end, would speak for that
/// client later.
fn session_that_an_attacker_has_chosen_or_that_is_over_is_nobodys(driver: Driver) {
    // With one core, the place of a connection is soon another one's.
    let configured = open(driver, &["--cores", "1"]);
    let server = &configured.server;
    for path in STREAMS {
        let over = Streamed::anonymous(server, path);
        let (session, node) = (over.session.clone(), over.node.clone());
        drop(over);
        eventually("it is gone", || {
            scrape(server)
                .iter()
                .filter(|(name, _)| name.starts_with("hubbub_connections{"))
                .all(|(_, open)| *open == 0.0)
        });
        let chosen =
            json!({"id": 1, "connect": {"session": session, "node": node}, "session": session});
        let mut stream = Stream::ask(server, crate::streamed::begin(path, &chosen.to_string()));
        let said = stream.reply();
        let own = said["connect"]["session"]
            .as_str()
            .expect("a session")
            .to_owned();
        assert_ne!(own, session);
        assert_ne!(own[14..], session[14..], "another secret");
        assert_eq!(
            emulate(server, &session, &node, &publication("fixed")).status,
            204
        );
        let mut new = Streamed {
            stream,
            session: own,
            node,
        };
        assert_eq!(published(&mut new, &configured, "fixed"), json!([]));
    }
}

fn guessed_sessions_by_the_thousand_do_nothing_and_take_no_memory(driver: Driver) {
    const GUESSES: usize = 5_000;
    let configured = open(driver, &["--cores", "2"]);
    let server = &configured.server;
    let mut victim = Streamed::anonymous(server, HTTP_STREAM);
    let mut baseline = Baseline::of(server);
    let mut stream = wire::connect(server.address());
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    // The name of the connection, which is no secret, with secrets that are guessed.
    let (name, secret) = victim.session.split_at(15);
    for n in 0..GUESSES / 50 {
        let requests: String = (0..50)
            .map(|m| {
                let number = format!("{:05}", n * 50 + m);
                let guess = format!("{name}{number}{}", &secret[5..]);
                commands(&guess, &victim.node, &publication("guessed"))
            })
            .collect();
        stream.write_all(requests.as_bytes()).unwrap();
        for _ in 0..50 {
            let status = answer(&mut reader).status;
            assert!(matches!(status, 204 | 503), "{status}");
        }
        baseline.serves_others();
    }
    assert_eq!(published(&mut victim, &configured, "guessed"), json!([]));
    let grown = baseline.grown();
    assert!(grown < 4 << 20, "{grown} bytes more");
}

/// A page may send a body as plain text to another site without asking (Fetch Standard, "CORS-safelisted
/// request-header"), so that only its Origin tells it from a page of this one.
fn page_of_another_site_with_a_session_that_it_knows_does_nothing(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut victim = Streamed::anonymous(server, HTTP_STREAM);
    let opened = || {
        let samples = scrape(server);
        let sessions = samples
            .iter()
            .filter(|(name, _)| name.starts_with("hubbub_connections{protocol=\"centrifuge"));
        sessions.map(|(_, open)| open).sum::<f64>()
    };
    let before = opened();
    let body = json!({"session": victim.session, "node": victim.node, "data": publication("csrf")});
    let connect = r#"{"id":1,"connect":{}}"#;
    for (path, body) in [
        (EMULATION, body.to_string()),
        (HTTP_STREAM, connect.into()),
        (SSE, connect.into()),
        (ONE_WAY[0], "{}".into()),
        (ONE_WAY[1], "{}".into()),
    ] {
        for origin in ["Origin: https://elsewhere.example", "Origin: null"] {
            for media in [
                "text/plain",
                "text/plain;charset=UTF-8",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
            ] {
                let media = format!("Content-Type: {media}");
                let answer = ask(server, post(path, &[origin, &media, "Cookie: a=b"], &body));
                assert_eq!(answer.status, 403, "{path} {origin} {media}");
                assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
            }
        }
    }
    assert_eq!(published(&mut victim, &configured, "csrf"), json!([]));
    assert_eq!(opened(), before);
}

/// A request for server-sent events whose head is long and does not end.
fn endless_head(bytes: usize) -> String {
    let mut head = wire::request("GET", &format!("{SSE}?cf_connect="), &[]);
    head.truncate(head.find(" HTTP/1.1").unwrap());
    head + &"x".repeat(bytes)
}

fn heads_of_server_sent_events_that_are_not_whole_are_bounded_together(driver: Driver) {
    const PEERS: usize = 200;
    const BOUND: usize = 2 << 20;
    process::allow_descriptors(PEERS + 1_000);
    let flags = ["--cores", "1", "--unfinished-bytes-max", "2MiB"];
    let configured = open(driver, &flags);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let held = || scrape(server)["hubbub_unfinished_held_bytes"] as usize;
    let head = endless_head(60 << 10);
    let received = scrape(server)["hubbub_received_bytes_total"] as usize;
    let mut most = 0;
    let mut peers: Vec<_> = (0..PEERS)
        .map(|n| {
            let mut stream = wire::connect(server.address());
            // It may have been answered already.
            let _ = stream.write_all(head.as_bytes());
            if n % 20 == 0 {
                most = most.max(held());
            }
            stream
        })
        .collect();
    baseline.serves_others();
    eventually("most of it has come", || {
        scrape(server)["hubbub_received_bytes_total"] as usize - received > PEERS * (30 << 10)
    });
    most = most.max(held());
    assert!(most > BOUND / 4, "{most} bytes");
    assert!(most <= BOUND + (128 << 10), "{most} bytes are held");
    let grown = baseline.grown();
    assert!(grown < 16 << 20, "{grown} bytes more");
    let mut refused = 0;
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut status = [0; 12];
        // Otherwise it waits for the rest of its request.
        if peer.read_exact(&mut status).is_ok() {
            assert_eq!(&status, b"HTTP/1.1 503");
            refused += 1;
        }
    }
    assert!(refused >= PEERS / 2, "{refused} were refused");
    drop(peers);
    baseline.is_restored();
    eventually("nothing is held", || held() == 0);
}

fn head_of_server_sent_events_that_drips_is_ended_in_time(driver: Driver) {
    let configured = open(driver, &["--handshake-timeout", "700ms"]);
    let server = &configured.server;
    let mut stream = wire::connect(server.address());
    stream.write_all(endless_head(50 << 10).as_bytes()).unwrap();
    let mut dripping = stream.try_clone().unwrap();
    let drips = thread::spawn(move || {
        // Whatever arrives postpones nothing.
        while dripping.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert_eq!(Response::parse(&said).status, 408);
    drop(stream);
    drips.join().unwrap();
    eventually("it is counted", || {
        server.ends_logged("handshake_timeout") == 1
    });
}

/// What an attacker wants to be taken for the next request.
fn hidden(victim: &Streamed) -> String {
    commands(&victim.session, &victim.node, &publication("hidden"))
}

fn body_of_two_readings_is_refused_and_nothing_behind_it_is_read(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut victim = Streamed::anonymous(server, HTTP_STREAM);
    let hidden = hidden(&victim);
    for path in [EMULATION, HTTP_STREAM, SSE, ONE_WAY[0], ONE_WAY[1]] {
        for fields in [
            &["Content-Length: 4", "Transfer-Encoding: chunked"][..],
            &["Transfer-Encoding: chunked", "Content-Length: 4"],
            &["Transfer-Encoding: chunked"],
            &["Transfer-Encoding: xchunked", "Content-Length: 4"],
            &["Content-Length: 4", "Content-Length: 5"],
            &["Content-Length: 4", "Content-Length: 4"],
            &["Content-Length: 4, 4"],
            &["Content-Length: +4"],
            &["Content-Length: 0x4"],
            &["Content-Length: 4 4"],
            &["Content-Length:"],
        ] {
            let head = wire::request("POST", path, fields);
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, format!("{head}0\r\n\r\n{hidden}").as_bytes());
            let answer = Response::read_from(&mut stream);
            assert_eq!(answer.status, 400, "{path} {fields:?}");
            assert_eq!(answer.length(), answer.body.len(), "one answer: {fields:?}");
        }
    }
    assert_eq!(published(&mut victim, &configured, "hidden"), json!([]));
}

fn request_in_the_body_of_another_is_never_answered(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut victim = Streamed::anonymous(server, HTTP_STREAM);
    let hidden = hidden(&victim);
    let foreign = ["Origin: https://elsewhere.example"];
    let too_long = wire::request("POST", EMULATION, &["Content-Length: 9999999"]) + &hidden;
    for request in [
        // Each is refused, and its connection ends.
        post(EMULATION, &[], &hidden),
        post(EMULATION, &foreign, &hidden),
        post(HTTP_STREAM, &foreign, &hidden),
        post(ONE_WAY[0], &[], &hidden),
        post(ONE_WAY[1], &[], &hidden),
        post("/echo", &[], &hidden),
        post("/", &[], &hidden),
        post(EMULATION, &[], &hidden).replacen("POST", "PUT", 1),
        too_long,
    ] {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, (request.clone() + &hidden).as_bytes());
        let answer = Response::read_from(&mut stream);
        assert!((400..500).contains(&answer.status), "{request}");
        assert_eq!(answer.field("Connection"), Some("close"), "{request}");
        assert_eq!(answer.length(), answer.body.len(), "one answer: {request}");
    }
    // A stream is the last answer of its connection, whatever comes behind its request.
    let first = r#"{"id":1,"connect":{}}"#;
    let mut stream = Stream::ask(server, post(HTTP_STREAM, &[], first) + &hidden);
    assert_eq!(stream.reply()["id"], 1);
    assert_eq!(published(&mut victim, &configured, "hidden"), json!([]));
    // Behind a request that was read whole and taken there is the next one.
    let command = commands(&victim.session, &victim.node, r#"{"id":5,"rpc":{}}"#);
    let mut sender = wire::connect(server.address());
    wire::send(&mut sender, (command + &hidden).as_bytes());
    let mut reader = BufReader::new(sender);
    assert_eq!(
        [answer(&mut reader).status, answer(&mut reader).status],
        [204, 204]
    );
    assert_eq!(victim.stream.reply()["id"], 5);
    assert_eq!(victim.stream.reply()["id"], 2);
    assert_ne!(published(&mut victim, &configured, "hidden"), json!([]));
}
