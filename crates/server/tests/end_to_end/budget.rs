//! What waits for all connections together: when it takes too much memory, those who read too
//! slowly are reset, and nobody else notices.

use std::{
    fs,
    io::Write,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    client::{Client, Response, binary, scrape},
    harness::{Driver, Server, eventually},
    process,
    tls_client::Secure,
    wire::{self, BINARY, CLOSE, Heard, Raw},
};

on_both_drivers![
    peers_that_do_not_read_are_closed_before_all_queues_take_too_much,
    peers_that_wait_for_less_than_the_budget_stay,
    peer_for_whom_the_most_waits_is_closed_and_others_stay,
    peers_whose_bytes_are_encrypted_are_not_all_closed_for_one_too_many,
    downloads_of_the_site_are_not_reset_for_what_others_hold,
    many_who_close_while_they_lag_take_no_more_than_the_budget,
    many_who_lag_in_one_room_go_without_taking_more_and_others_stay,
];

const MESSAGE: usize = 32 << 10;
const BUDGET: usize = 16 << 20;

/// Only the budget ends a slow peer here, and it is removed at once.
const FLAGS: [&str; 10] = [
    "--cores",
    "2",
    "--send-queue-bytes-max",
    "2MiB",
    "--send-queues-bytes-max",
    "16MiB",
    "--write-timeout",
    "10m",
    "--close-timeout",
    "10m",
];

fn narrow(server: &Server, path: &str) -> Raw {
    let stream = wire::connect_narrow(server.address(), 4096);
    Raw::over(stream, wire::upgrade(path))
}

/// Sends until the server accepts no more, or has closed.
fn flood(raw: &Raw, messages: usize) -> JoinHandle<()> {
    let mut stream = raw.stream.try_clone().unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let frame = wire::frame(BINARY, &[7; MESSAGE]);
    thread::spawn(move || {
        for _ in 0..messages {
            if stream.write_all(&frame).is_err() {
                return;
            }
        }
    })
}

/// A room with constant traffic, which must reach all members in order. Returns how many messages
/// did.
fn healthy(server: &Server, until: Arc<AtomicBool>) -> JoinHandle<usize> {
    let mut members: Vec<_> = (0..3).map(|_| Client::join(server, "healthy")).collect();
    thread::spawn(move || {
        let mut messages = 0;
        while !until.load(Ordering::Relaxed) {
            members[0].send(binary(vec![messages as u8; 1000]));
            for member in &mut members {
                assert!(member.receive() == binary(vec![messages as u8; 1000]));
            }
            messages += 1;
            thread::sleep(Duration::from_millis(1));
        }
        messages
    })
}

/// Hears all that still comes to a peer that says nothing any more: whole messages, until it is reset, or
/// closed because its own queue is full.
fn hear_out(mut raw: Raw) {
    // An error means that it was reset by now.
    let _ = raw.stream.shutdown(Shutdown::Write);
    while let Heard::Frame(frame) = raw.next() {
        if frame.opcode() == CLOSE {
            assert_eq!(frame.close_code(), 1013);
            return;
        }
        assert_eq!(frame.first, 0x80 | BINARY);
        assert_eq!(frame.payload.len(), MESSAGE);
    }
}

/// How many the budget has ended: they are reset.
fn ended(server: &Server) -> f64 {
    let labels = r#"{code="none",initiator="server",reason="queues_full"}"#;
    scrape(server)[&format!("hubbub_connections_ended_total{labels}")]
}

fn peers_that_do_not_read_are_closed_before_all_queues_take_too_much(driver: Driver) {
    let server = Server::start(driver, &FLAGS);
    let is_over = Arc::new(AtomicBool::new(false));
    let room = healthy(&server, is_over.clone());
    let before = process::memory_peak(server.pid());

    // Queues of their own: echoes of up to 2 MiB each. Logs: rooms with a member that does not
    // read.
    let echoes: Vec<_> = (0..60).map(|_| narrow(&server, "/echo")).collect();
    let deaf: Vec<_> = (0..30)
        .map(|n| narrow(&server, &format!("/rooms/deaf-{n}")))
        .collect();
    let mut floods: Vec<_> = echoes.iter().map(|raw| flood(raw, 200)).collect();
    floods.extend((0..30).map(|n| {
        let mut publisher = Client::join(&server, &format!("deaf-{n}"));
        thread::spawn(move || {
            for _ in 0..100 {
                publisher.send(binary(vec![9; MESSAGE]));
                assert!(publisher.receive() == binary(vec![9; MESSAGE]));
            }
        })
    }));
    let mut held_most = 0.0_f64;
    while floods.iter().any(|thread| !thread.is_finished()) {
        held_most = held_most.max(scrape(&server)["hubbub_send_queues_held_bytes"]);
        thread::sleep(Duration::from_millis(20));
    }
    floods.into_iter().for_each(|thread| thread.join().unwrap());
    is_over.store(true, Ordering::Relaxed);
    assert!(room.join().unwrap() > 0);

    // A turn adds these before the check: the answers to a receive, and deliveries.
    let slack = (4 << 20) as f64;
    assert!(held_most > BUDGET as f64 / 8.0, "{held_most}: no attack");
    assert!(held_most <= BUDGET as f64 + slack, "{held_most} held");
    let grown = process::memory_peak(server.pid()) - before;
    assert!(grown < 3 * BUDGET, "{grown} bytes more");
    let slow = echoes.into_iter().chain(deaf);
    slow.for_each(hear_out);
    eventually("those who did not read are counted", || {
        ended(&server) >= 20.0
    });
    eventually("all memory is free again", || {
        scrape(&server)["hubbub_send_queues_held_bytes"] == 0.0
    });
}

fn peers_that_wait_for_less_than_the_budget_stay(driver: Driver) {
    let server = Server::start(driver, &FLAGS);
    let mut echoes: Vec<_> = (0..3).map(|_| narrow(&server, "/echo")).collect();
    let floods: Vec<_> = echoes.iter().map(|raw| flood(raw, 30)).collect();
    floods.into_iter().for_each(|thread| thread.join().unwrap());
    for raw in &mut echoes {
        for _ in 0..30 {
            assert!(raw.message().payload == [7; MESSAGE]);
        }
    }
    assert_eq!(ended(&server), 0.0);
    eventually("nothing is held", || {
        scrape(&server)["hubbub_send_queues_held_bytes"] == 0.0
    });
}

fn peer_for_whom_the_most_waits_is_closed_and_others_stay(driver: Driver) {
    let bounds = [
        "--send-queue-bytes-max",
        "8MiB",
        "--send-queues-bytes-max",
        "8MiB",
    ];
    let times = [
        "--cores",
        "1",
        "--write-timeout",
        "10m",
        "--close-timeout",
        "10m",
    ];
    let server = Server::start(driver, &[&bounds[..], &times].concat());
    let mut others: Vec<_> = (0..3).map(|_| narrow(&server, "/echo")).collect();
    let floods: Vec<_> = others.iter().map(|raw| flood(raw, 30)).collect();
    floods.into_iter().for_each(|thread| thread.join().unwrap());
    let greedy = narrow(&server, "/echo");
    flood(&greedy, 400).join().unwrap();
    hear_out(greedy);
    for raw in &mut others {
        for _ in 0..30 {
            assert!(raw.message().payload == [7; MESSAGE]);
        }
    }
    eventually("it is counted, and nobody else", || ended(&server) == 1.0);
}

/// What has been encrypted is freed with its connection, so that no more of them go than must: what
/// they hold makes the eighth of the budget that is freed at once.
fn peers_whose_bytes_are_encrypted_are_not_all_closed_for_one_too_many(driver: Driver) {
    let mut flags = FLAGS;
    (flags[1], flags[3], flags[5]) = ("1", "512KiB", "1MiB");
    let secure = Secure::start(driver, &flags);
    let gauge = |name| scrape(&secure.server)[name];
    let held = || gauge("hubbub_send_queues_held_bytes");
    let closed = || gauge("hubbub_frames_sent_total{kind=\"close\"}") + ended(&secure.server);
    let frame = wire::frame(BINARY, &[7; MESSAGE]);
    let mut slow = Vec::new();
    while closed() == 0.0 {
        assert!(slow.len() < 200, "{} bytes are held", held());
        // Waits until the last of its echoes is encrypted and its socket accepts no more of it.
        let mut raw = secure.narrow("/echo");
        let before = held();
        while held() <= before && closed() == 0.0 {
            let come = gauge("hubbub_received_bytes_total");
            raw.send(&frame);
            eventually("it has come", || {
                gauge("hubbub_received_bytes_total") >= come + MESSAGE as f64
            });
        }
        slow.push(raw);
    }
    assert!(slow.len() > 8, "{}", slow.len());
    let few = slow.len() as f64 / 4.0;
    assert!(closed() <= few, "{} of {}", closed(), slow.len());
}

/// Files are the site's own memory, so resetting a slow reader of one would free nothing.
fn downloads_of_the_site_are_not_reset_for_what_others_hold(driver: Driver) {
    const FILE: usize = 16 << 20;
    // The half-sent messages alone exceed the budget, so closing is not enough.
    const LARGE: usize = 1 << 20;
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("large.bin"), vec![b'z'; FILE]).unwrap();
    let site = site.path().to_str().unwrap();
    let bounds = ["--cores", "1", "--message-bytes-max", "1MiB"];
    let queues = [
        "--send-queue-bytes-max",
        "2MiB",
        "--send-queues-bytes-max",
        "4MiB",
    ];
    let times = ["--write-timeout", "10m", "--close-timeout", "10m"];
    let server = Server::start(
        driver,
        &[&["--static-dir", site], &bounds[..], &queues, &times].concat(),
    );
    let mut downloads: Vec<_> = (0..3)
        .map(|_| {
            let mut stream = wire::connect_narrow(server.address(), 4096);
            wire::send(
                &mut stream,
                wire::request("GET", "/large.bin", &[]).as_bytes(),
            );
            stream
        })
        .collect();
    let echoes: Vec<_> = (0..8).map(|_| narrow(&server, "/echo")).collect();
    let frame = wire::frame(BINARY, &vec![7; LARGE]);
    let sending = echoes.iter().map(|raw| {
        let (mut stream, frame) = (raw.stream.try_clone().unwrap(), frame.clone());
        // An error means that the connection was reset.
        thread::spawn(move || drop(stream.write_all(&frame.repeat(2))))
    });
    let sending: Vec<_> = sending.collect();
    eventually("closing was not enough", || {
        let log = server.log();
        log.matches("connection ended").count() > 0 && ended(&server) > 0.0
    });
    for stream in &mut downloads {
        let answer = Response::read_from(stream);
        assert_eq!((answer.status, answer.body.len()), (200, FILE));
    }
    drop(echoes);
    sending
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// This many members of a room that do not read.
fn laggards(server: &Server, count: usize) -> Vec<Raw> {
    (0..count).map(|_| narrow(server, "/rooms/lag")).collect()
}

/// Publishes this many messages in their room, and waits until it has accepted them.
fn publish(server: &Server, messages: usize, bytes: usize) {
    let mut publisher = Client::join(server, "lag");
    for _ in 0..messages {
        publisher.send(binary(vec![5; bytes]));
        assert!(publisher.receive() == binary(vec![5; bytes]));
    }
    publisher.leave();
}

/// Their backlog was one log; when they leave, it is not copied for each.
fn many_who_close_while_they_lag_take_no_more_than_the_budget(driver: Driver) {
    let server = Server::start(
        driver,
        &[&FLAGS[..], &["--max-connections", "500"]].concat(),
    );
    let mut members = laggards(&server, 200);
    publish(&server, 50, 32 << 10);
    let before = process::memory_peak(server.pid());
    for raw in &mut members {
        raw.send(wire::close(3000));
    }
    eventually("all have left", || {
        scrape(&server)["hubbub_subscriptions"] == 0.0
    });
    let grown = process::memory_peak(server.pid()) - before;
    assert!(grown < 2 * BUDGET, "{grown} bytes more");
    // A member that still receives something gets whole messages and its own close code, or the
    // code that says that there was no memory for more.
    let closed = members.into_iter().filter_map(|mut raw| {
        loop {
            match raw.next() {
                Heard::Frame(frame) if frame.opcode() == CLOSE => return Some(frame.close_code()),
                Heard::Frame(frame) => assert!(frame.payload == [5; 32 << 10]),
                Heard::End | Heard::Cut => return None,
            }
        }
    });
    let codes: Vec<_> = closed.collect();
    assert!(
        codes.contains(&3000) && codes.iter().all(|code| [3000, 1013].contains(code)),
        "{codes:?}"
    );
}

/// Each member has received part of a large frame of the room; all the rests together exceed the
/// log.
fn many_who_lag_in_one_room_go_without_taking_more_and_others_stay(driver: Driver) {
    let large = [
        "--message-bytes-max",
        "1MiB",
        "--send-queue-bytes-max",
        "16MiB",
    ];
    let times = ["--write-timeout", "10m", "--close-timeout", "10m"];
    let budget = ["--cores", "1", "--send-queues-bytes-max", "16MiB"];
    let server = Server::start(driver, &[&large[..], &times, &budget].concat());
    let mut other = narrow(&server, "/echo");
    flood(&other, 20).join().unwrap();
    let members = laggards(&server, 100);
    let before = process::memory_peak(server.pid());
    publish(&server, 30, 1 << 20);
    eventually("the members have left", || {
        scrape(&server)["hubbub_subscriptions"] == 0.0
    });
    let grown = process::memory_peak(server.pid()) - before;
    assert!(grown < 4 * BUDGET, "{grown} bytes more");
    for _ in 0..20 {
        assert!(other.message().payload == [7; MESSAGE]);
    }
    drop(members);
    eventually("they are counted", || ended(&server) == 100.0);
}
