//! Requests with a body, and connections that are kept from one to the next.

use std::{
    thread,
    time::{Duration, Instant},
};

use runtime::DriverChoice;

use crate::{
    harness::{PATIENCE, start, start_with},
    pages::{Caller, Pages, ended_for, post, tally},
};

on_both_drivers![
    connection_is_kept_from_one_body_to_the_next_and_ends_once,
    kept_connection_can_become_a_web_socket,
    kept_connection_ends_in_silence_when_nothing_more_is_asked,
    kept_connection_has_the_time_of_a_handshake_for_each_request,
    body_that_was_not_asked_to_keep_its_connection_ends_it,
    connection_of_a_proxy_that_names_clients_in_requests_is_not_kept,
    body_comes_whole_however_it_was_split,
    peer_that_waits_for_a_100_gets_it,
    requests_behind_one_another_are_answered_in_order,
    body_that_is_too_large_is_answered_413_before_it_comes,
    body_that_is_too_slow_is_answered_408,
    request_in_a_body_is_never_answered,
    request_in_a_body_that_nobody_takes_is_never_answered,
    unfinished_bodies_are_bounded_together,
    panic_over_a_body_is_answered_500,
    kept_connection_ends_in_a_drain,
];

fn connection_is_kept_from_one_body_to_the_next_and_ends_once(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    for bytes in [0, 1, 1_000, 300_000, 7] {
        let body = "x".repeat(bytes);
        caller.post("/echo", &body);
        assert_eq!(caller.answer(), (200, body));
    }
    drop(caller);
    ended_for(&server, "answered");
    let tally = tally(&server);
    let endings: u64 = tally.ended.values().sum();
    assert_eq!((tally.opened, endings), (1, 1));
}

fn kept_connection_can_become_a_web_socket(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    caller.post("/echo", "first");
    assert_eq!(caller.answer(), (200, "first".into()));
    let (mut socket, _) = tungstenite::client("ws://a/rooms/r", caller.socket).expect("101");
    socket.send("second".into()).unwrap();
    assert_eq!(socket.read().unwrap().into_text().unwrap(), "second");
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert_eq!(ended_for(&server, "peer_closed"), "none");
}

fn kept_connection_ends_in_silence_when_nothing_more_is_asked(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.handshake = Duration::from_millis(200);
    });
    let mut caller = Caller::connect(&server);
    caller.post("/echo", "hello");
    assert_eq!(caller.answer(), (200, "hello".into()));
    assert_eq!(caller.rest(), "");
    drop(caller);
    assert_eq!(ended_for(&server, "answered"), "none");
}

fn kept_connection_has_the_time_of_a_handshake_for_each_request(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.handshake = Duration::from_millis(400);
    });
    let mut caller = Caller::connect(&server);
    for _ in 0..4 {
        caller.post("/echo", "hello");
        assert_eq!(caller.answer(), (200, "hello".into()));
        thread::sleep(Duration::from_millis(150));
    }
    caller.send("GET /a");
    let rest = caller.rest();
    assert!(rest.starts_with("HTTP/1.1 408 "), "{rest}");
    drop(caller);
    assert_eq!(ended_for(&server, "handshake_timeout"), "none");
}

fn body_that_was_not_asked_to_keep_its_connection_ends_it(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    for request in [
        post("/once", "hello"),
        post("/echo", "hello").replace("Host: a", "Host: a\r\nConnection: close"),
        post("/echo", "hello").replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let answer = server.ask(&request);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
}

fn connection_of_a_proxy_that_names_clients_in_requests_is_not_kept(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.proxies.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let answer = server.ask(&post("/echo", "hello"));
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
}

fn body_comes_whole_however_it_was_split(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    let request = post("/echo", "how are you?");
    for split in 1..request.len() {
        let (begin, end) = request.split_at(split);
        caller.send(begin);
        thread::sleep(Duration::from_millis(1));
        caller.send(end);
        assert_eq!(caller.answer(), (200, "how are you?".into()), "{split}");
    }
}

fn peer_that_waits_for_a_100_gets_it(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    let request = post("/echo", "hello").replace("Host: a", "Host: a\r\nExpect: 100-continue");
    let (head, body) = request.split_at(request.len() - 5);
    caller.send(head);
    assert_eq!(caller.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    caller.send(body);
    assert_eq!(caller.answer(), (200, "hello".into()));
}

fn requests_behind_one_another_are_answered_in_order(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    let body = |n: usize| format!("{n}{}", "x".repeat(n * n * 11 % 90_000));
    let mut writer = caller.socket.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let requests: String = (0..200).map(|n| post("/echo", &body(n))).collect();
        std::io::Write::write_all(&mut writer, requests.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    for n in 0..200 {
        assert_eq!(caller.answer(), (200, body(n)), "{n}");
    }
    writing.join().unwrap();
    assert_eq!(caller.rest(), "");
    assert_eq!(ended_for(&server, "answered"), "none");
}

fn body_that_is_too_large_is_answered_413_before_it_comes(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.limits.body_bytes_max = 1_000;
    });
    let mut caller = Caller::connect(&server);
    caller.post("/echo", &"x".repeat(1_000));
    assert_eq!(caller.answer().0, 200);
    caller.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(caller.answer().0, 413);
    assert_eq!(caller.rest(), "");
}

fn body_that_is_too_slow_is_answered_408(driver: DriverChoice) {
    let server = start_with(driver, Pages::default(), |config| {
        config.timeouts.message = Duration::from_millis(200);
    });
    let mut caller = Caller::connect(&server);
    let request = post("/echo", "hello");
    caller.send(&request[..request.len() - 1]);
    assert_eq!(caller.answer().0, 408);
    assert_eq!(caller.rest(), "");
    drop(caller);
    assert_eq!(ended_for(&server, "handshake_timeout"), "none");
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn request_in_a_body_is_never_answered(driver: DriverChoice) {
    let pages = Pages::default();
    let server = start(driver, pages.clone());
    let mut caller = Caller::connect(&server);
    let behind = SMUGGLED.replace("smuggled", "behind");
    caller.send(&format!("{}{behind}", post("/echo", SMUGGLED)));
    assert_eq!(caller.answer().1, SMUGGLED);
    // What stands behind the body is a request of its own.
    assert_eq!(caller.answer().1, "a page\n");
    assert_eq!(caller.rest(), "");
    assert_eq!(*pages.routed.lock().unwrap(), ["/echo", "/behind"]);
    let mut closes = Caller::connect(&server);
    closes.send(&format!("{}{SMUGGLED}", post("/once", SMUGGLED)));
    assert_eq!(closes.answer().1, SMUGGLED);
    assert_eq!(closes.rest(), "");
    assert_eq!(pages.routed.lock().unwrap()[2..], ["/once"]);
}

fn request_in_a_body_that_nobody_takes_is_never_answered(driver: DriverChoice) {
    let pages = Pages::default();
    let server = start(driver, pages.clone());
    let answer = server.ask(&format!("{}{SMUGGLED}", post("/page", SMUGGLED)));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(*pages.routed.lock().unwrap(), ["/page"]);
}

fn unfinished_bodies_are_bounded_together(driver: DriverChoice) {
    const BODY: usize = 128 << 10;
    let server = start_with(driver, Pages::default(), |config| {
        config.cores = 1;
        config.limits.message_bytes_max = 64 << 10;
        config.unfinished_bytes_max = 1 << 20;
        // Whoever is refused may read why.
        config.timeouts.close = PATIENCE;
    });
    let request = post("/echo", &"x".repeat(BODY));
    let mut callers: Vec<_> = (0..16)
        .map(|_| {
            let mut caller = Caller::connect(&server);
            caller.send(&request[..request.len() - 1]);
            caller
        })
        .collect();
    let monitor = server.server().monitor();
    // The bound is looked at when a turn ends, so what one turn receives may exceed it until then.
    let sent_bytes = (callers.len() * (request.len() - 1)) as u64;
    let until = Instant::now() + PATIENCE;
    loop {
        let received = tally(&server).received_bytes == sent_bytes;
        let held = monitor.snapshot(0).recv().unwrap().unfinished_bytes;
        if received && held <= 1 << 20 {
            break;
        }
        assert!(Instant::now() < until, "{held}");
    }
    let mut statuses: Vec<_> = callers
        .iter_mut()
        .map(|caller| {
            caller.send("x");
            caller.answer().0
        })
        .collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [200, 503]);
}

fn panic_over_a_body_is_answered_500(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    caller.post("/echo", "hello");
    assert_eq!(caller.answer().0, 200);
    caller.post("/panic", "hello");
    assert_eq!(caller.answer().0, 500);
    assert_eq!(caller.rest(), "");
    drop(caller);
    assert_eq!(ended_for(&server, "panicked"), "none");
}

fn kept_connection_ends_in_a_drain(driver: DriverChoice) {
    let server = start(driver, Pages::default());
    let mut caller = Caller::connect(&server);
    caller.post("/echo", "hello");
    assert_eq!(caller.answer().0, 200);
    let reading = thread::spawn(move || caller.rest());
    server.stop().unwrap();
    assert_eq!(reading.join().unwrap(), "");
}
