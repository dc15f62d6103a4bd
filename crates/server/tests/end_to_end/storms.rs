//! Many clients over all transports at once: they come back, they are slow, they are let go. What is asserted is that
//! each is served or told, that memory keeps its bounds, and that each connection has ended once.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::scrape,
    commands::{Configured, OPEN, Session},
    harness::{Driver, Server, eventually},
    listener::{Listener, Position, Told, WAYS, Way},
    process,
    streamed::{End, HTTP_STREAM, Streamed},
    wire::{self, Raw},
};

on_both_drivers![
    clients_over_all_transports_that_come_back_at_once_miss_nothing,
    slow_tenth_of_a_room_is_told_and_recovers_and_all_others_hear_everything,
    slow_tenth_of_a_room_that_drops_the_oldest_hears_the_newest,
    drain_tells_clients_of_all_transports_and_each_connection_ends_once,
];

const PAST: &str = r#"
read_history = ["client", "anonymous"]
history_size = 1000
history_bytes_max = "64MiB"
positions = "allowed"
recovery = "allowed"
raw = "publish"
"#;

/// Messages of a slow room: together several times what the kernel and a queue hold.
const MESSAGES: u64 = 400;
const MESSAGE: usize = 16 << 10;

fn open(driver: Driver, flags: &[&str]) -> Configured {
    let tables =
        format!("[rooms]{OPEN}{PAST}[namespaces.newest]{OPEN}overflow = \"drop_oldest\"\n");
    Configured::start(driver, "", &tables, &[&["--cores", "2"], flags].concat())
}

/// The sum of all series of this name.
fn sum(server: &Server, name: &str) -> f64 {
    let samples = scrape(server);
    let series = samples
        .iter()
        .filter(|(series, _)| series.split('{').next() == Some(name));
    series.map(|(_, value)| value).sum()
}

/// Every connection but those that are open has ended, once.
#[track_caller]
fn each_has_ended_once(server: &Server) {
    eventually("each connection has ended once", || {
        let ended = sum(server, "hubbub_connections_ended_total");
        let open = sum(server, "hubbub_connections");
        ended == sum(server, "hubbub_connections_opened_total") - open
    });
}

fn publish(publisher: &mut Session, room: &str, data: &Value) {
    let command = json!({"id": 7, "publish": {"channel": room, "data": data}});
    let reply = publisher.ask(&command.to_string());
    assert!(reply["publish"].is_object(), "{reply}");
}

fn clients_over_all_transports_that_come_back_at_once_miss_nothing(driver: Driver) {
    const EACH: usize = 32;
    const THREADS: usize = 16;
    const ROUNDS: u64 = 3;
    /// Messages while all are there, while nobody is, and while they come back.
    const AT_ONCE: u64 = 20;
    process::allow_descriptors(2 * EACH * WAYS.len() + 1_000);
    let configured = open(driver, &[]);
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    let mut say = |numbers: std::ops::RangeInclusive<u64>| {
        numbers.for_each(|n| publish(&mut publisher, "storm", &json!(n)));
    };
    // Each has a way in, and where it was.
    let mut clients: Vec<(Way, Option<Position>)> = (0..EACH * WAYS.len())
        .map(|n| (WAYS[n % WAYS.len()], None))
        .collect();
    let mut last = 0;
    for round in 0..ROUNDS {
        let until = last + 2 * AT_ONCE;
        let opening = |some: &[(Way, Option<Position>)]| -> Vec<_> {
            let open = |(way, since): &(Way, Option<Position>)| {
                Listener::open(server, *way, "storm", since.as_ref())
            };
            some.iter().map(open).collect()
        };
        let mut here = thread::scope(|scope| {
            let some = clients.chunks(EACH * WAYS.len() / THREADS);
            let threads: Vec<_> = some.map(|some| scope.spawn(|| opening(some))).collect();
            say(last + 1..=last + AT_ONCE);
            let opened = threads.into_iter().map(|it| it.join().unwrap());
            opened.collect::<Vec<_>>()
        });
        say(last + AT_ONCE + 1..=until);
        thread::scope(|scope| {
            for listener in here.iter_mut().flatten() {
                scope.spawn(move || {
                    // The first time it hears what comes since it was there, and later what it has missed, too.
                    while listener.position.1 < until {
                        let (offset, text) = listener.message();
                        assert_eq!(text, offset.to_string());
                    }
                });
            }
        });
        for (listener, (_, since)) in here.into_iter().flatten().zip(&mut clients) {
            *since = Some(listener.position.clone());
            listener.vanish();
        }
        last = until;
        each_has_ended_once(server);
        eventually("nobody is in the room any more", || {
            scrape(server)["hubbub_subscriptions"] == 0.0
        });
        let recovered = scrape(server)[r#"hubbub_recoveries_total{outcome="exact"}"#];
        assert_eq!(recovered, (round * clients.len() as u64) as f64);
        say(last + 1..=last + AT_ONCE);
        last += AT_ONCE;
    }
    assert_eq!(sum(server, "hubbub_evictions_total"), 0.0);
    eventually("nothing is held for them", || {
        scrape(server)["hubbub_send_queues_held_bytes"] == 0.0
    });
}

const FAST: [Way; 6] = [
    Way::WebSocket,
    Way::HttpStream,
    Way::Sse,
    Way::UniWebSocket,
    Way::UniHttpStream,
    Way::UniSse,
];
const SLOW: [Way; 2] = [Way::WebSocket, Way::HttpStream];

const SLOW_FLAGS: [&str; 8] = [
    "--send-queue-bytes-max",
    "256KiB",
    "--write-timeout",
    "10m",
    "--recovered-messages-max",
    "1000",
    "--recovered-bytes-max",
    "16MiB",
];

/// The number of a message.
fn number(text: &str) -> u64 {
    let (number, _) = text[1..].split_once(',').expect("a number before a filler");
    number.parse().unwrap()
}

/// Publishes all messages in a room of which a tenth does not read, while all others hear them in order. Returns the
/// slow ones, and the most memory that was held for slow readers meanwhile.
fn with_slow_tenth(server: &Server, room: &str) -> (Vec<Listener>, f64) {
    let slow = SLOW.map(|way| {
        let stream = wire::connect_narrow(server.address(), 4 << 10);
        Listener::over(stream, way, room, None)
    });
    let fast: Vec<_> = (0..18)
        .map(|n| Listener::open(server, FAST[n % FAST.len()], room, None))
        .collect();
    let mut publisher = Session::anonymous(server);
    let filler = "x".repeat(MESSAGE);
    let is_over = &AtomicBool::new(false);
    let heard: Vec<_> = fast.iter().map(|_| AtomicU64::new(0)).collect();
    let most = thread::scope(|scope| {
        for (mut listener, heard) in fast.into_iter().zip(&heard) {
            scope.spawn(move || {
                for n in 1..=MESSAGES {
                    let told = listener.next();
                    let Told::Message(offset, text) = told else {
                        panic!("{:?} has heard {told:?} before {n}", listener.way);
                    };
                    // Where nothing is kept there are no offsets.
                    assert!(offset == n || offset == 0, "{offset}");
                    assert_eq!(number(&text), n);
                    heard.store(n, Relaxed);
                }
            });
        }
        let looking = scope.spawn(move || {
            let mut most: f64 = 0.0;
            while !is_over.load(Relaxed) {
                most = most.max(scrape(server)["hubbub_send_queues_held_bytes"]);
                thread::sleep(Duration::from_millis(20));
            }
            most
        });
        for n in 1..=MESSAGES {
            publish(&mut publisher, room, &json!([n, filler]));
            // Those who read are waited for, or on a busy machine they would be slow, too.
            eventually("all others have heard it", || {
                heard.iter().all(|heard| heard.load(Relaxed) + 8 > n)
            });
        }
        is_over.store(true, Relaxed);
        looking.join().unwrap()
    });
    (slow.into(), most)
}

/// What may be held for two slow readers of a few forms: their bound, what is sent of a log beyond it, and what
/// doubling adds; far less than what was published.
const HELD_MAX: f64 = (3 << 20) as f64;

fn slow_tenth_of_a_room_is_told_and_recovers_and_all_others_hear_everything(driver: Driver) {
    let configured = open(driver, &SLOW_FLAGS);
    let server = &configured.server;
    let (slow, most) = with_slow_tenth(server, "busy");
    assert!(most < HELD_MAX, "{most} bytes were held");
    for mut listener in slow {
        let way = listener.way;
        loop {
            let before = listener.position.1;
            match listener.next() {
                Told::Message(offset, _) => assert_eq!(offset, before + 1, "{way:?}"),
                Told::Lost(code) => break assert_eq!(code, 2500, "{way:?}"),
                other @ Told::Closed(..) => panic!("{way:?} has heard {other:?}"),
            }
        }
        let since = listener.position.clone();
        assert!(since.1 < MESSAGES, "it was not slow");
        drop(listener);
        let mut again = Listener::open(server, way, "busy", Some(&since));
        for n in since.1 + 1..=MESSAGES {
            assert_eq!(again.message().0, n);
        }
    }
    let samples = scrape(server);
    let lost = samples[r#"hubbub_subscriptions_lost_total{reason="lagging"}"#];
    assert_eq!(lost, SLOW.len() as f64);
    assert_eq!(sum(server, "hubbub_evictions_total"), 0.0);
    each_has_ended_once(server);
}

fn slow_tenth_of_a_room_that_drops_the_oldest_hears_the_newest(driver: Driver) {
    let configured = open(driver, &SLOW_FLAGS);
    let server = &configured.server;
    let (slow, most) = with_slow_tenth(server, "newest:busy");
    assert!(most < HELD_MAX, "{most} bytes were held");
    let mut missed = 0;
    for mut listener in slow {
        let mut before = 0;
        while before < MESSAGES {
            let Told::Message(_, text) = listener.next() else {
                panic!("{:?} has lost its room", listener.way);
            };
            let n = number(&text);
            assert!(n > before, "{n} behind {before}");
            missed += n - before - 1;
            before = n;
        }
    }
    assert!(missed > 0, "they were not slow");
    let skipped = scrape(server)["hubbub_messages_skipped_total"];
    assert_eq!(skipped, missed as f64, "what was left out is counted");
    assert_eq!(sum(server, "hubbub_subscriptions_lost_total"), 0.0);
    each_has_ended_once(server);
}

fn drain_tells_clients_of_all_transports_and_each_connection_ends_once(driver: Driver) {
    const EACH: usize = 6;
    let flags = ["--drain-delay", "0s", "--drain-timeout", "1s"];
    let mut configured = open(driver, &[&flags[..], &["--close-timeout", "10m"]].concat());
    let server = &mut configured.server;
    let listeners: Vec<_> = (0..EACH * WAYS.len())
        .map(|n| Listener::open(server, WAYS[n % WAYS.len()], "room", None))
        .collect();
    let reason = r#"reason="drained""#;
    // One more holds the drain until all is counted: it does not answer its close frame.
    let mut mute = Raw::open(server, "/echo");
    let mut publisher = Streamed::anonymous(server, HTTP_STREAM);
    publisher.ask(server, r#"{"id":2,"publish":{"channel":"room","data":7}}"#);
    server.signal(Signal::TERM);
    // Each goes when it has heard the end, which the server waits for.
    for mut listener in listeners {
        assert_eq!(listener.message(), (1, "7".into()));
        let code = match listener.way {
            Way::Raw => Some(1001),
            Way::RawSse => None,
            _ => Some(3001),
        };
        assert_eq!(
            listener.next(),
            Told::Closed(code, End::Whole),
            "{:?}",
            listener.way
        );
    }
    assert_eq!(publisher.stream.closed(), (3001, End::Whole));
    drop(publisher);
    assert_eq!(mute.message().close_code(), 1001);
    let opened = sum(server, "hubbub_connections_opened_total");
    eventually("all but one have ended", || {
        sum(server, "hubbub_connections_ended_total") == opened - 1.0
    });
    let samples = scrape(server);
    let drained = samples.iter().filter(|(series, _)| {
        series.starts_with("hubbub_connections_ended_total") && series.contains(reason)
    });
    let drained: f64 = drained.map(|(_, count)| count).sum();
    assert_eq!(drained, (EACH * WAYS.len() + 1) as f64);
    mute.send(wire::close(1001));
    assert!(server.wait().success());
    let ends = server.log().matches("connection ended").count();
    assert_eq!(ends, opened as usize, "the log has each end once");
}
