//! Events to the back end: that nothing is missed without being said, whatever becomes of the back end or of the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::{Client, scrape},
    commands::Session,
    event_receiver::{
        Answer, OPEN, Receiver, SECRET, Telling, check_numbers, nobody, open, told_and_lost,
    },
    harness::{Driver, command, eventually, run},
    process,
    tls_client::Authority,
};

on_both_drivers![
    what_the_queue_loses_is_said_by_kind,
    what_is_lost_behind_a_batch_is_said_though_nothing_else_happens,
    back_end_that_comes_late_is_told_of_everything,
    back_end_that_misbehaves_is_told_again_until_it_takes_the_batch,
    batch_that_comes_twice_is_the_same_batch,
    drain_tells_everything_and_says_that_it_was_the_last,
    drain_waits_no_longer_than_it_may_for_a_back_end_that_is_gone,
    killed_servers_successor_says_that_it_knows_nothing_of_before,
    secret_is_exchanged_by_a_reload,
];

fn what_the_queue_loses_is_said_by_kind(driver: Driver) {
    let receiver = Receiver::start();
    receiver.answers(Answer::status("503 Service Unavailable"));
    let telling = Telling::start(driver, &receiver, "queue_bytes_max = \"8KiB\"", OPEN);
    let server = &telling.server;
    for n in 0..60 {
        Client::join(server, &format!("room-{n}")).leave();
    }
    eventually("all is over", || {
        scrape(server)["hubbub_connections{protocol=\"room\"}"] == 0.0
    });
    // The rooms are vacated.
    eventually("each is told or lost", || told_and_lost(server) == 360.0);
    let waiting = scrape(server)["hubbub_events_waiting_bytes"];
    assert!(waiting > 0.0 && waiting <= 8.0 * 1024.0, "{waiting}");
    receiver.answers(Answer::Take);
    eventually("nothing waits", || {
        scrape(server)["hubbub_events_waiting"] == 0.0
    });
    let mut lost: BTreeMap<String, u64> = BTreeMap::new();
    eventually("what was lost is said", || {
        lost.clear();
        for batch in receiver.batches() {
            for (kind, count) in batch["lost"].as_object().into_iter().flatten() {
                *lost.entry(kind.clone()).or_default() += count.as_u64().unwrap();
            }
        }
        !lost.is_empty()
    });
    let counted = scrape(server);
    for kind in [
        "connected",
        "disconnected",
        "subscribed",
        "unsubscribed",
        "occupied",
        "vacated",
    ] {
        let lost = lost.get(kind).copied().unwrap_or(0) as f64;
        assert_eq!(
            counted[&format!("hubbub_events_lost_total{{kind=\"{kind}\"}}")],
            lost,
            "{kind}"
        );
        assert_eq!(receiver.count(kind) as f64 + lost, 60.0, "{kind}");
    }
    assert!(lost.values().sum::<u64>() > 100);
    // There is space again, and nothing more is lost.
    Client::join(server, "later").leave();
    receiver.awaits("occupied", receiver.count("occupied").max(1));
    eventually("the rest comes", || {
        receiver.rooms().contains(&"vacated later".to_owned())
    });
    assert_eq!(
        counted["hubbub_events_lost_total{kind=\"vacated\"}"],
        scrape(server)["hubbub_events_lost_total{kind=\"vacated\"}"]
    );
    check_numbers(&receiver);
}

fn what_is_lost_behind_a_batch_is_said_though_nothing_else_happens(driver: Driver) {
    let receiver = Receiver::start();
    let more = "queue_bytes_max = \"2KiB\"\nbatch_delay = \"1s\"\ndebounce = \"1ms\"";
    let telling = Telling::start(driver, &receiver, more, OPEN);
    let server = &telling.server;
    eventually("the first batch is taken", || receiver.batches().len() == 1);
    receiver.answers(Answer::status("503 Service Unavailable"));
    // The next batch has all that the queue can hold.
    let come_and_go = |names: &str| {
        for n in 0..10 {
            Client::join(server, &format!("{names}-{n}")).leave();
        }
    };
    come_and_go("first");
    eventually("it is refused", || {
        scrape(server)["hubbub_events_requests_total{outcome=\"refused\"}"] >= 2.0
    });
    come_and_go("second");
    eventually("each is told or lost", || told_and_lost(server) == 120.0);
    receiver.answers(Answer::Take);
    let lost = || -> u64 {
        let batches = receiver.batches();
        let lost = batches
            .iter()
            .filter_map(|it| it["lost"].as_object().cloned());
        lost.flat_map(|it| it.into_iter().map(|(_, count)| count.as_u64().unwrap()))
            .sum()
    };
    eventually("all is told, or said to be lost", || {
        receiver.events().len() as u64 + lost() == 120
    });
    check_numbers(&receiver);
}

fn back_end_that_comes_late_is_told_of_everything(driver: Driver) {
    let address = nobody();
    let url = format!("http://{address}/events?key=hidden");
    let telling = Telling::start_at(driver, &url, "batch_max = 7", OPEN, &[]);
    let server = &telling.server;
    for n in 0..50 {
        Client::join(server, &format!("room-{}", n % 5)).leave();
    }
    eventually("it is refused again and again", || {
        scrape(server)["hubbub_events_requests_total{outcome=\"broken\"}"] >= 5.0
    });
    assert!(scrape(server)["hubbub_events_waiting"] > 100.0);
    server.logs("does not take events");
    assert!(
        !server.log().contains("hidden"),
        "the query of the URL is in the log"
    );
    let receiver = Receiver::at(address);
    receiver.awaits("disconnected", 50);
    receiver.awaits("subscribed", 50);
    eventually("it says that all is well", || {
        server.log().contains("takes events again")
    });
    let sizes: Vec<_> = receiver
        .batches()
        .iter()
        .map(|it| it["events"].as_array().unwrap().len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 7), "{sizes:?}");
    assert!(receiver.connections() < sizes.len(), "connections are kept");
    check_numbers(&receiver);
    for story in receiver.stories() {
        assert_eq!(story.len(), 4, "{story:?}");
    }
}

fn back_end_that_misbehaves_is_told_again_until_it_takes_the_batch(driver: Driver) {
    const LONG: usize = 100 << 20;
    let receiver = Receiver::start();
    let other = Receiver::start();
    let telling = Telling::start(driver, &receiver, "timeout = \"300ms\"", OPEN);
    let server = &telling.server;
    eventually("the first batch is taken", || receiver.batches().len() == 1);
    let memory = process::memory(server.pid());
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        other.url()
    );
    let ways = [
        ("refused", Answer::status("500 Internal Server Error")),
        ("refused", Answer::status("400 Bad Request")),
        ("redirect", Answer::Refuse(redirect)),
        ("too_slow", Answer::Stall),
        ("refused", Answer::RefuseAtLength(LONG)),
        (
            "broken",
            Answer::Refuse("HTTP/1.1 nonsense\r\n\r\n".to_owned()),
        ),
        (
            "broken",
            Answer::Refuse(format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(100_000)
            )),
        ),
    ];
    for (number, (outcome, answer)) in (1..).zip(ways) {
        let series = format!("hubbub_events_requests_total{{outcome=\"{outcome}\"}}");
        let before = scrape(server)[&series];
        receiver.answers(answer.clone());
        let member = Client::join(server, &format!("room-{number}"));
        eventually(&format!("it is told of {answer:?}"), || {
            scrape(server)[&series] >= before + 2.0
        });
        assert!(crate::client::serves(server));
        receiver.answers(Answer::Take);
        receiver.awaits("occupied", number);
        drop(member);
    }
    // A long answer that takes the batch takes it.
    receiver.answers(Answer::TakeAtLength(LONG));
    Client::join(server, "last").leave();
    eventually("it is told", || {
        receiver.rooms().contains(&"vacated last".to_owned())
    });
    let grown = process::memory(server.pid()).saturating_sub(memory);
    assert!(grown < 50 << 20, "{grown} bytes more than before");
    assert_eq!(other.asked(), 0, "a redirect was followed");
    let retried = scrape(server)["hubbub_events_retries_total"];
    assert!(retried >= 14.0, "{retried}");
    receiver.answers(Answer::Take);
    check_numbers(&receiver);
}

fn batch_that_comes_twice_is_the_same_batch(driver: Driver) {
    let (receiver, telling) = open(driver);
    eventually("the first batch is taken", || receiver.batches().len() == 1);
    receiver.answers(Answer::KeepAndVanish);
    let member = Client::join(&telling.server, "a");
    eventually("it has come three times", || {
        receiver
            .received()
            .iter()
            .filter(|it| it.batch["batch"] == 2)
            .count()
            >= 3
    });
    receiver.answers(Answer::Take);
    drop(member);
    receiver.awaits("vacated", 1);
    let received = receiver.received();
    let second: Vec<_> = received
        .iter()
        .filter(|it| it.batch["batch"] == 2)
        .collect();
    assert!(second.iter().all(|it| it.body == second[0].body));
    assert!(second[0].batch["events"][0]["id"].is_string());
    assert!(
        second.iter().map(|it| it.time_s).is_sorted(),
        "each is signed when it is sent"
    );
    check_numbers(&receiver);
}

fn drain_tells_everything_and_says_that_it_was_the_last(driver: Driver) {
    let receiver = Receiver::start();
    let flags = ["--drain-timeout", "500ms"];
    let more = "batch_delay = \"1m\"\ndebounce = \"1m\"\nbatch_max = 20\n";
    let mut telling = Telling::start_at(driver, &receiver.url(), more, OPEN, &flags);
    let server = &telling.server;
    let members: Vec<_> = (0..20)
        .map(|n| Client::join(server, &format!("room-{}", n % 3)))
        .collect();
    let sessions: Vec<_> = (0..5).map(|_| Session::anonymous(server)).collect();
    telling.server.signal(Signal::TERM);
    assert_eq!(telling.server.wait().code(), Some(0));
    drop((members, sessions));
    assert_eq!(receiver.count("disconnected"), 25);
    assert_eq!(receiver.count("unsubscribed"), 20);
    let rooms: BTreeSet<_> = receiver.rooms().into_iter().collect();
    assert_eq!(rooms.len(), 6, "{rooms:?}");
    let batches = receiver.batches();
    let last: Vec<_> = batches.iter().map(|it| it["last"] == true).collect();
    assert!(last.iter().rev().skip(1).all(|is_last| !is_last) && last[last.len() - 1]);
    let log = telling.server.log();
    assert!(log.contains("the back end has taken all events"), "{log}");
    check_numbers(&receiver);
}

fn drain_waits_no_longer_than_it_may_for_a_back_end_that_is_gone(driver: Driver) {
    for answer in [Answer::Stall, Answer::status("500 no")] {
        let receiver = Receiver::start();
        receiver.answers(answer);
        let flags = ["--drain-timeout", "100ms"];
        let more = "drain_timeout = \"300ms\"\nretry_max = \"1h\"\ntimeout = \"1h\"";
        let mut telling = Telling::start_at(driver, &receiver.url(), more, OPEN, &flags);
        let member = Client::join(&telling.server, "a");
        telling.server.signal(Signal::TERM);
        drop(member);
        assert_eq!(telling.server.wait().code(), Some(0));
        let log = telling.server.log();
        assert!(log.contains("within events_drain_timeout"), "{log}");
    }
}

fn killed_servers_successor_says_that_it_knows_nothing_of_before(driver: Driver) {
    let (receiver, telling) = open(driver);
    let member = Client::join(&telling.server, "a");
    receiver.awaits("occupied", 1);
    let telling = telling.killed_and_started_again();
    drop(member);
    // Nothing happens there, and it is said all the same.
    eventually("the next one says so", || {
        receiver
            .batches()
            .iter()
            .filter(|it| it["before"] == "unknown")
            .count()
            == 2
    });
    let batches = receiver.batches();
    let (first, next) = (&batches[0], &batches[batches.len() - 1]);
    assert_ne!(first["node"], next["node"]);
    assert!(first["started_ms"].as_u64() < next["started_ms"].as_u64());
    assert_eq!((&next["batch"], &next["events"]), (&json!(1), &json!([])));
    let of_first = batches.iter().filter(|it| it["node"] == first["node"]);
    assert!(
        of_first.into_iter().all(|it| it["last"].is_null()),
        "it had no time to say so"
    );
    Client::join(&telling.server, "b").leave();
    receiver.awaits("vacated", 1);
    assert_eq!(receiver.rooms(), ["occupied a", "occupied b", "vacated b"]);
}

fn secret_is_exchanged_by_a_reload(driver: Driver) {
    const NEXT: &str = "another-secret-of-32-bytes-at-least";
    let (receiver, mut telling) = open(driver);
    eventually("the first batch is taken", || receiver.batches().len() == 1);
    receiver.expects(NEXT);
    Client::join(&telling.server, "a").leave();
    eventually("it is not believed", || receiver.forged() >= 2);
    assert_eq!(receiver.batches().len(), 1);
    // One that is too short changes nothing.
    fs::write(telling.secret_file(), "short").unwrap();
    telling.server.signal(Signal::HUP);
    eventually("it is refused", || {
        telling.server.log().contains("openssl rand -hex 32")
    });
    fs::write(telling.secret_file(), NEXT).unwrap();
    telling.reload("anonymous = \"on\"", "anonymous = \"off\"");
    receiver.awaits("vacated", 1);
    // What needs a restart is not taken up.
    telling.reload(&receiver.url(), "http://127.0.0.1:9/");
    telling
        .server
        .logs("not changed before a restart: events_url");
    Client::join(&telling.server, "b").leave();
    receiver.awaits("vacated", 2);
    assert!(!telling.server.log().contains(NEXT) && !telling.server.log().contains(SECRET));
}

#[test]
fn back_end_over_https_is_one_that_the_authority_knows() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = Receiver::start_tls(&authority.issue("events"));
    let bad = Receiver::start_tls(&stranger.issue("events"));
    let more = format!("ca = {:?}", authority.root());
    let start = |receiver: &Receiver| {
        Telling::start_at(Driver::Epoll, &receiver.secure_url(), &more, OPEN, &[])
    };
    let telling = start(&good);
    Client::join(&telling.server, "a").leave();
    good.awaits("vacated", 1);
    assert!(good.connections() < good.batches().len());
    let refused = start(&bad);
    eventually("the certificate is refused", || {
        refused.server.log().contains("invalid peer certificate")
    });
    assert_eq!(bad.asked(), 0);
}

#[test]
fn check_of_settings_reads_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("hubbub.toml"), dir.path().join("secret"));
    let url = "http://127.0.0.1:1/";
    fs::write(
        &file,
        format!("[events]\nurl = {url:?}\nsecret = {secret:?}\n"),
    )
    .unwrap();
    for (contents, words) in [
        (None, "cannot be read"),
        (Some("too short"), "openssl rand -hex 32"),
        (Some(SECRET), "is good"),
    ] {
        if let Some(contents) = contents {
            fs::write(&secret, contents).unwrap();
        }
        let mut check = command();
        check.args(["config", "check"]).arg(&file);
        let ended = run(check);
        let said = ended.stdout + &ended.stderr;
        assert!(said.contains(words), "{said}");
        assert_eq!(ended.status.success(), words == "is good");
    }
}
