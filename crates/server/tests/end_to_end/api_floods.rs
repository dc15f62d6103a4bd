//! Back ends that flood the API, or whoever has no key and tries to: each bound, and who is not concerned.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    caller::{Api, KEY, json as json_of, request},
    client::{Response, get_internal, scrape},
    harness::{Driver, eventually},
    wire,
};

on_both_drivers![
    body_beyond_the_most_is_answered_413_however_long_it_is,
    bodies_beyond_all_that_may_be_are_answered_503,
    answers_of_a_batch_beyond_all_that_may_be_are_not_asked_for,
    caller_that_does_not_take_its_answer_is_let_go,
    batch_of_answers_that_are_there_at_once_keeps_others_waiting_for_one_of_them,
    body_that_is_late_is_answered_408,
    head_that_is_late_ends_the_connection,
    body_that_is_no_call_is_answered_400,
    connection_beyond_the_most_takes_the_place_of_an_idle_one,
    connection_is_kept_for_further_calls,
    health_is_told_while_the_api_is_flooded,
];

/// The beginning of a call whose body has this length.
fn head(length: usize) -> String {
    let key = format!("X-API-Key: {KEY}");
    request("POST", "/api/publish", &[&key, "Connection: close"], length)
}

fn body_beyond_the_most_is_answered_413_however_long_it_is(driver: Driver) {
    let server = Api::start(driver, "", &["--api-body-bytes-max", "64KiB"]);
    let body = |length: usize| {
        let around = json!({"channel": "a", "data": ""}).to_string().len();
        json!({"channel": "a", "data": "x".repeat(length - around)}).to_string()
    };
    let most = 64 << 10;
    assert_eq!(server.post("/api/publish", &[], body(most)).status, 200);
    assert_eq!(server.post("/api/publish", &[], body(most + 1)).status, 413);
    // It is refused by what its head says, before any of it has come.
    let mut stream = server.connect();
    wire::send(&mut stream, head(100 << 20).as_bytes());
    assert_eq!(Response::read_from(&mut stream).status, 413);
    // And so is one that does not say it, by what has come.
    let mut stream = server.connect();
    let key = format!("X-API-Key: {KEY}");
    let fields = [&*key, "Transfer-Encoding: chunked", "Connection: close"];
    wire::send(
        &mut stream,
        wire::request("POST", "/api/publish", &fields).as_bytes(),
    );
    let chunk = [b"10000\r\n", &vec![b' '; 0x10000][..], b"\r\n"].concat();
    let sender = thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || (0..1600).all(|_| stream.write_all(&chunk).is_ok())
    });
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || read.is_err_and(|it| it.kind() == ErrorKind::ConnectionReset));
    assert_eq!(Response::parse(&answer).status, 413);
    drop(stream);
    sender.join().unwrap();
    assert_eq!(
        scrape(&server)["hubbub_api_refused_total{reason=\"too_long\"}"],
        3.0
    );
}

fn bodies_beyond_all_that_may_be_are_answered_503(driver: Driver) {
    let flags = [
        "--api-body-bytes-max",
        "64KiB",
        "--api-bodies-bytes-max",
        "64KiB",
    ];
    let server = Api::start(
        driver,
        "",
        &[&flags[..], &["--api-timeout", "10m"]].concat(),
    );
    let mut waiting = server.connect();
    let part = head(64 << 10) + &" ".repeat(60 << 10);
    wire::send(&mut waiting, part.as_bytes());
    eventually("it is counted", || {
        scrape(&server)["hubbub_api_body_bytes"] == f64::from(60 << 10)
    });
    let refused = server.post("/api/publish", &[], vec![b' '; 8 << 10]);
    assert_eq!(
        (refused.status, refused.field("Retry-After")),
        (503, Some("1"))
    );
    let small = json!({"channel": "a", "data": 1}).to_string();
    assert_eq!(server.post("/api/publish", &[], &small).status, 200);
    drop(waiting);
    eventually("it has let go", || {
        scrape(&server)["hubbub_api_body_bytes"] == 0.0
    });
    let large = json!({"channel": "a", "data": "x".repeat(8 << 10)}).to_string();
    assert_eq!(server.post("/api/publish", &[], large).status, 200);
}

fn answers_of_a_batch_beyond_all_that_may_be_are_not_asked_for(driver: Driver) {
    const KEPT: &str = "[namespaces.kept]\nhistory_size = 100\n";
    let server = Api::start(driver, KEPT, &["--api-bodies-bytes-max", "2MiB"]);
    for _ in 0..100 {
        let message = json!({"channel": "kept:a", "data": "x".repeat(4 << 10)});
        server.call("publish", message);
    }
    let history = json!({"history": {"channel": "kept:a", "limit": -1}});
    let mut commands = vec![history; 100];
    commands.push(json!({"publish": {"channel": "kept:b", "data": 1}}));
    for parallel in [false, true] {
        let request = json!({"commands": commands, "parallel": parallel});
        let answer = server.post("/api/batch", &[], request.to_string());
        // Those that had begun by then are answered whole.
        let most = if parallel { 70 } else { 6 };
        assert!(
            answer.body.len() < most * (500 << 10),
            "{}",
            answer.body.len()
        );
        let replies = json_of(&answer)["replies"].clone();
        assert!(replies[0]["history"].is_object());
        assert_eq!(replies[100]["error"]["code"], 106, "{}", replies[100]);
    }
    let other = json!({"channel": "kept:b"});
    assert_eq!(
        server.call("history", other)["offset"],
        0,
        "nothing was done"
    );
    eventually("it is let go of", || {
        scrape(&server)["hubbub_api_answer_bytes"] == 0.0
    });
}

fn caller_that_does_not_take_its_answer_is_let_go(driver: Driver) {
    const KEPT: &str = "[namespaces.kept]\nhistory_size = 100\n";
    let server = Api::start(driver, KEPT, &["--api-timeout", "1s"]);
    for _ in 0..100 {
        let message = json!({"channel": "kept:a", "data": "x".repeat(4 << 10)});
        server.call("publish", message);
    }
    let history = json!({"history": {"channel": "kept:a", "limit": -1}});
    let batch = json!({"commands": vec![history; 50]}).to_string();
    let mut stream = server.connect();
    let key = format!("X-API-Key: {KEY}");
    let head = request("POST", "/api/batch", &[&key], batch.len());
    wire::send(&mut stream, (head + &batch).as_bytes());
    // What the kernel has no space for waits here, but not for ever.
    let waiting = || scrape(&server)["hubbub_api_answer_bytes"];
    eventually("it waits", || waiting() > f64::from(10 << 20));
    eventually("it is let go of", || waiting() == 0.0);
    let connections = || scrape(&server)["hubbub_api_connections"];
    eventually("so is its connection", || connections() == 0.0);
}

fn batch_of_answers_that_are_there_at_once_keeps_others_waiting_for_one_of_them(driver: Driver) {
    let server = Api::start(driver, "moderation = \"memory\"\n", &[]);
    for number in 0..300 {
        let user = format!("{number}{}", "x".repeat(4_000));
        server.call("block_user", json!({"user": user}));
    }
    let commands = vec![json!({"list_blocks": {}}); 100];
    let began = Instant::now();
    let (info, batch) = thread::scope(|scope| {
        let batch = scope.spawn(|| {
            server.batch(json!({"commands": commands}));
            began.elapsed()
        });
        thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        server.call("info", json!({}));
        (began.elapsed(), batch.join().unwrap())
    });
    assert!(info < batch / 4, "{info:?} beside a batch of {batch:?}");
}

fn body_that_is_late_is_answered_408(driver: Driver) {
    let server = Api::start(driver, "", &["--api-timeout", "300ms"]);
    let began = Instant::now();
    let mut stream = server.connect();
    wire::send(&mut stream, (head(10) + "{").as_bytes());
    assert_eq!(Response::read_from(&mut stream).status, 408);
    assert!(began.elapsed() >= Duration::from_millis(300));
    // One that ends is no call either.
    let mut stream = server.connect();
    wire::send(&mut stream, (head(10) + "{").as_bytes());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || Response::parse(&answer).status == 400);
}

fn head_that_is_late_ends_the_connection(driver: Driver) {
    let server = Api::start(driver, "", &["--api-timeout", "300ms"]);
    for part in ["", "POST /api/info HTTP/1.1\r\nHost: a\r\n"] {
        let began = Instant::now();
        let mut stream = server.connect();
        wire::send(&mut stream, part.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
        assert!(began.elapsed() >= Duration::from_millis(300));
    }
}

fn body_that_is_no_call_is_answered_400(driver: Driver) {
    let server = Api::start(driver, "", &[]);
    let deep = "[".repeat(1 << 19);
    let nested = format!(
        "{{\"channel\":\"a\",\"data\":{}1{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    for body in [
        "",
        "null",
        "[]",
        "1",
        "{",
        "{]",
        "nonsense",
        "{\"channel\":null}",
        "{\"channel\":7}",
        "{\"tags\":null}",
        "{\"tags\":[]}",
        "{\"tags\":{\"a\":1}}",
        "{\"channel\":\"a\",\"channel\":\"b\"}",
        "{} {}",
        &deep,
        &nested,
    ] {
        let answer = server.post("/api/publish", &[], body);
        assert_eq!(answer.status, 400, "{}", &body[..body.len().min(40)]);
        assert!(
            answer
                .field("content-type")
                .unwrap()
                .starts_with("text/plain")
        );
    }
    for body in [
        "{\"commands\":[null]}",
        "{\"commands\":[{\"info\":null}],\"parallel\":true}",
        "{\"commands\":[{\"info\":{}},{\"publish\":[]}]}",
        "{\"commands\":null}",
        "{\"commands\":{}}",
        "{\"parallel\":null}",
        "{\"commands\":[[]]}",
    ] {
        assert_eq!(server.post("/api/batch", &[], body).status, 400, "{body}");
    }
    assert_eq!(
        server
            .post("/api/history", &[], "{\"channel\":\"a\",\"since\":null}")
            .status,
        400
    );
    assert_eq!(
        server
            .ask("GET", "/api/info", &[&format!("X-API-Key: {KEY}")], b"")
            .status,
        405
    );
}

fn connection_beyond_the_most_takes_the_place_of_an_idle_one(driver: Driver) {
    let server = Api::start(
        driver,
        "",
        &["--api-connections-max", "4", "--api-timeout", "10m"],
    );
    let mut idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
    eventually("all places are taken", || {
        scrape(&server)["hubbub_api_connections"] == 4.0
    });
    assert_eq!(server.post("/api/info", &[], "{}").status, 200);
    assert_eq!(
        idle[0].read(&mut [0; 1]).unwrap_or(0),
        0,
        "the oldest has given way"
    );
    let crowded_out = scrape(&server)["hubbub_api_connections_crowded_out_total"];
    assert_eq!(crowded_out, 1.0);
    // While all are being served, a further one waits.
    let mut busy: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for stream in &mut busy {
        wire::send(stream, (head(10) + "{").as_bytes());
    }
    eventually("all are being served", || {
        scrape(&server)["hubbub_api_body_bytes"] == 4.0
    });
    let mut further = server.connect();
    let small = json!({"channel": "a", "data": 1}).to_string();
    wire::send(&mut further, (head(small.len()) + &small).as_bytes());
    further
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(further.read(&mut [0; 1]).is_err(), "it waits");
    drop(busy.pop());
    wire::prepare(&further);
    assert_eq!(Response::read_from(&mut further).status, 200);
}

fn connection_is_kept_for_further_calls(driver: Driver) {
    let server = Api::start(driver, "", &[]);
    let mut stream = server.connect();
    let key = format!("X-API-Key: {KEY}");
    for round in 0..3 {
        for (path, status) in [("/api/channels", 200), ("/api/nothing", 404)] {
            let head = request("POST", path, &[&key], 2);
            wire::send(&mut stream, (head + "{}").as_bytes());
            let mut answer = Vec::new();
            let mut byte = [0];
            while wire::head_end(&answer).is_none() {
                stream.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
            let parsed = Response::parse(&answer);
            assert_eq!(parsed.status, status, "{round}");
            stream.read_exact(&mut vec![0; parsed.length()]).unwrap();
        }
    }
}

/// The listeners have threads of their own.
fn health_is_told_while_the_api_is_flooded(driver: Driver) {
    let server = Api::start(driver, "", &["--cores", "1"]);
    let is_over = AtomicBool::new(false);
    let commands: Vec<_> = (0..1_000)
        .map(|n| json!({"publish": {"channel": format!("r{n}"), "data": "x".repeat(200)}}))
        .collect();
    let batch = json!({"commands": commands, "parallel": true}).to_string();
    thread::scope(|scope| {
        let flood = || {
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(server.post("/api/batch", &[], &batch).status, 200);
                let _ = server.ask("POST", "/api/info", &[], b"{}");
            }
        };
        for _ in 0..8 {
            scope.spawn(flood);
        }
        eventually("the API is busy", || {
            scrape(&server)["hubbub_api_calls_total{method=\"publish\",outcome=\"done\"}"] > 1_000.0
        });
        for _ in 0..20 {
            for page in ["/healthz", "/readyz", "/metrics"] {
                let began = Instant::now();
                assert_eq!(get_internal(&server, page).status, 200);
                assert!(
                    began.elapsed() < Duration::from_secs(1),
                    "{page} {:?}",
                    began.elapsed()
                );
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
