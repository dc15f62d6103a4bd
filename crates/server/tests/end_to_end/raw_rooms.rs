//! What raw clients ask for in the query: whose messages they hear, the history, positions and recovery.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::{
    client::{Client, ask, binary, scrape},
    commands::{Configured, Session, token},
    harness::{Driver, Server, eventually},
    wire::{self, TEXT},
};

on_both_drivers![
    publisher_that_never_reads_is_not_evicted_and_all_of_20000_messages_arrive,
    client_that_does_not_hear_itself_hears_all_others_in_order_even_when_it_lags,
    publisher_alone_is_not_in_the_room_and_is_told_of_refusals,
    history_comes_first_and_what_follows_has_no_seam,
    history_is_bounded_by_number_age_and_what_is_kept,
    envelopes_tell_positions_and_recover_what_was_missed,
    what_cannot_be_recovered_is_said_in_the_first_envelope,
    messages_that_the_history_has_no_more_are_not_recovered,
    latest_message_is_recovered_where_that_is_enough,
    wishes_that_cannot_be_granted_are_refused_before_the_101,
    parameters_that_nobody_knows_are_counted_and_not_shown,
];

pub const REMEMBERING: &str = r#"
[rooms]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 50
positions = "allowed"
recovery = "allowed"
presence = true
read_presence = ["client", "anonymous"]
raw = "publish"
[namespaces.secret]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = "client"
history_size = 50
raw = "publish"
[namespaces.bare]
subscribe = ["client", "anonymous"]
publish = "client"
raw = "publish"
[namespaces.listen]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
raw = "subscribe"
[namespaces.cache]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
history_size = 1
recovery = "allowed"
recovery_mode = "cache"
raw = "publish"
[namespaces.long]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 5000
raw = "publish"
[namespaces.short]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 5
raw = "publish"
"#;

pub fn remembering(driver: Driver) -> Configured {
    let settings = "recovered_messages_max = 10000\n";
    Configured::start(driver, settings, REMEMBERING, &["--cores", "2"])
}

/// A text by which its number and every byte of it are known.
fn text(number: usize, bytes: usize) -> String {
    format!("{number:08}").repeat(bytes / 8)
}

fn publisher_that_never_reads_is_not_evicted_and_all_of_20000_messages_arrive(driver: Driver) {
    const MESSAGES: usize = 20_000;
    const BYTES: usize = 2 << 10;
    // So far the listener may be behind, as it is where another test has the processor.
    const BEHIND: usize = 2_000;
    // Four times of what the kernel and a queue hold, for one that would have its own messages back.
    let flags = ["--cores", "2", "--send-queue-bytes-max", "8MiB"];
    let server = Server::start(driver, &flags);
    for path in ["/rooms/a?mode=publish", "/rooms/b?echo=0"] {
        let (room, _) = path.split_once('?').unwrap();
        let mut listener = Client::connect(&server, room);
        let heard = Arc::new(AtomicUsize::new(0));
        let hears = heard.clone();
        let reading = thread::spawn(move || {
            for number in 0..MESSAGES {
                assert!(listener.text() == text(number, BYTES), "message {number}");
                hears.store(number, Ordering::Relaxed);
            }
        });
        let mut publisher = wire::Raw::open(&server, path);
        for number in 0..MESSAGES {
            while number > heard.load(Ordering::Relaxed) + BEHIND && !reading.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            publisher.send(wire::frame(TEXT, text(number, BYTES).as_bytes()));
        }
        reading.join().unwrap();
        assert_eq!(server.ends_logged("send_queue_full"), 0);
        // It is still there, and what it hears is its pong alone.
        publisher.send(wire::frame(wire::PING, b"there?"));
        let pong = publisher.frame();
        assert_eq!(
            (pong.opcode(), &*pong.payload),
            (wire::PONG, &b"there?"[..])
        );
    }
}

fn client_that_does_not_hear_itself_hears_all_others_in_order_even_when_it_lags(driver: Driver) {
    const ROUNDS: usize = 400;
    const BYTES: usize = 16 << 10;
    let flags = ["--cores", "2", "--send-queue-bytes-max", "32MiB"];
    let server = Server::start(driver, &flags);
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut deaf = Client::over(stream, "/rooms/r?echo=0", &[]).unwrap();
    let mut other = Client::join(&server, "r");
    let mut witness = Client::join(&server, "r?echo=1");
    // While it reads, and while it does not.
    for lags in [false, true] {
        for number in 0..ROUNDS {
            deaf.send(format!("own {number}"));
            deaf.send(format!("own again {number}"));
            other.send(text(number, BYTES));
            for _ in 0..3 {
                witness.receive();
                other.receive();
            }
            if !lags {
                assert!(deaf.text() == text(number, BYTES), "message {number}");
            }
        }
        if lags {
            for number in 0..ROUNDS {
                assert!(deaf.text() == text(number, BYTES), "message {number}");
            }
        }
    }
    deaf.send("the last");
    assert_eq!(witness.text(), "the last");
    other.send("heard");
    assert_eq!(deaf.text(), "heard");
    deaf.leave();
    // Nothing is kept for one that has gone.
    for member in [&mut other, &mut witness] {
        member.send("goodbye");
    }
    eventually("no memory is held", || {
        scrape(&server)["hubbub_send_queues_held_bytes"] == 0.0
    });
}

fn publisher_alone_is_not_in_the_room_and_is_told_of_refusals(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut listener = Client::join(server, "r");
    let mut publisher = Client::join(server, "r?mode=publish");
    publisher.send("one");
    assert_eq!(listener.text(), "one");
    let mut session = Session::anonymous(server);
    let stats = session.ask(&json!({"id": 2, "presence_stats": {"channel": "r"}}).to_string());
    assert_eq!(stats["presence_stats"]["num_clients"], 1, "{stats}");
    // A member that does not hear itself is in the room.
    let deaf = Client::join(server, "r?echo=0");
    let stats = session.ask(&json!({"id": 3, "presence_stats": {"channel": "r"}}).to_string());
    assert_eq!(stats["presence_stats"]["num_clients"], 2, "{stats}");
    deaf.leave();
    publisher.send("");
    assert_eq!(publisher.closed(), 1008, "an empty message has no form");
    listener.send("two");
    assert_eq!(listener.text(), "two");
}

fn history_comes_first_and_what_follows_has_no_seam(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    for room in 0..4 {
        let mut publisher = Client::join(server, &format!("r{room}?mode=publish"));
        publisher.send("0");
        let publishing = thread::spawn(move || {
            for number in 1..2_000 {
                publisher.write(Message::text(number.to_string()));
                if number % 7 == 0 {
                    publisher.flush();
                    thread::sleep(Duration::from_micros(200));
                }
            }
            publisher.flush();
            publisher
        });
        let mut joined = 0;
        while !publishing.is_finished() || joined < 3 {
            let query = ["last=3", "age=1m", "last=10&age=1h&echo=0"][joined % 3];
            let mut client = Client::join(server, &format!("r{room}?{query}"));
            let mut next = None;
            for _ in 0..3 {
                // What comes later than the last message cannot be waited for.
                let Ok(number) = client.text().parse::<usize>() else {
                    panic!("no number");
                };
                assert!(next.is_none_or(|next| next == number), "{next:?} {number}");
                next = Some(number + 1);
                if number == 1_999 {
                    break;
                }
            }
            client.vanish();
            joined += 1;
        }
        publishing.join().unwrap();
    }
}

fn history_is_bounded_by_number_age_and_what_is_kept(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "r");
    let say = |publisher: &mut Client, message: Message| {
        publisher.send(message.clone());
        assert_eq!(publisher.receive(), message);
    };
    for number in 0..60 {
        say(&mut publisher, Message::text(number.to_string()));
    }
    thread::sleep(Duration::from_millis(1_500));
    say(&mut publisher, binary(vec![0xff, 0]));
    say(&mut publisher, Message::text("last"));
    let mut asked = 0;
    let mut given = |query: &str| {
        asked += 1;
        let end = Message::text(format!("end {asked}"));
        let mut client = Client::join(server, &format!("r?{query}"));
        client.send(end.clone());
        let mut given = Vec::new();
        loop {
            match client.receive() {
                message if message == end => return given,
                message => given.push(message),
            }
        }
    };
    let all = given("last=1000000");
    assert_eq!(all.len(), 50, "all that is kept");
    assert_eq!(all[0], Message::text("12"));
    assert_eq!(all[48..], [binary(vec![0xff, 0]), Message::text("last")]);
    assert_eq!(given("last=0"), []);
    assert_eq!(
        given("last=2"),
        [Message::text("end 1"), Message::text("end 2")]
    );
    let young = given("age=1s");
    assert!(young.len() < 10, "{}", young.len());
    assert_eq!(given("age=0s"), []);
}

/// The next message, which is JSON.
#[track_caller]
fn envelope(client: &mut Client) -> Value {
    serde_json::from_str(&client.text()).unwrap()
}

fn envelopes_tell_positions_and_recover_what_was_missed(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let mut publisher = Client::join(server, "r");
    let mut say = |message: Message| {
        publisher.send(message.clone());
        assert_eq!(publisher.receive(), message);
    };
    say(Message::text("before"));
    let mut client = Client::join(server, "r?positions=1");
    let first = envelope(&mut client);
    let epoch = first["epoch"].as_str().unwrap().to_owned();
    assert_eq!(first, json!({"epoch": epoch, "offset": 1}));
    let awkward = "a\"b\\\n\r\u{0}é";
    say(Message::text(awkward));
    say(binary(vec![0xff]));
    assert_eq!(
        envelope(&mut client),
        json!({"epoch": epoch, "offset": 2, "data": awkward})
    );
    assert_eq!(
        envelope(&mut client),
        json!({"epoch": epoch, "offset": 3, "data_base64": "/w=="})
    );
    client.vanish();
    for number in 4..8 {
        say(Message::text(number.to_string()));
    }
    // It is given all that it has missed, and then what comes.
    let mut client = Client::join(server, &format!("r?since={epoch}:3&echo=0"));
    let first = envelope(&mut client);
    assert_eq!(
        first,
        json!({"epoch": epoch, "offset": 3, "recovered": true})
    );
    client.send("own");
    assert_eq!(publisher.text(), "own");
    publisher.send("9");
    for number in [4, 5, 6, 7, 9] {
        let text = number.to_string();
        assert_eq!(
            envelope(&mut client),
            json!({"epoch": epoch, "offset": number, "data": text}),
            "its own has the offset 8"
        );
    }
    assert_eq!(publisher.text(), "9");
    // The newest messages come with the place before them.
    let mut client = Client::join(server, "r?positions=1&last=1");
    assert_eq!(envelope(&mut client), json!({"epoch": epoch, "offset": 8}));
    assert_eq!(envelope(&mut client)["data"], "9");
}

/// Publishes the numbers from 1 on, each of which its publisher is told, too.
fn publish_numbers(server: &Server, room: &str, most: u32) {
    let mut publisher = Client::join(server, room);
    for number in 1..=most {
        publisher.send(number.to_string());
        publisher.text();
    }
}

/// The epoch of a room.
fn epoch_of(server: &Server, room: &str) -> String {
    let mut client = Client::join(server, &format!("{room}?positions=1"));
    envelope(&mut client)["epoch"].as_str().unwrap().to_owned()
}

fn what_cannot_be_recovered_is_said_in_the_first_envelope(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    publish_numbers(server, "r", 9);
    let epoch = epoch_of(server, "r");
    for (since, cause) in [
        (format!("{epoch}:10"), "epoch"),
        ("0000000000000001:1".to_owned(), "epoch"),
        ("whatever:1".to_owned(), "epoch"),
    ] {
        let mut client = Client::join(server, &format!("r?since={since}"));
        assert_eq!(
            envelope(&mut client),
            json!({"epoch": epoch, "offset": 9, "recovered": false, "cause": cause})
        );
        // With the newest ones asked for, these come instead.
        let mut client = Client::join(server, &format!("r?since={since}&last=2"));
        let first = envelope(&mut client);
        assert_eq!(
            (&first["offset"], &first["cause"]),
            (&json!(7), &json!(cause))
        );
        assert_eq!(envelope(&mut client)["offset"], 8);
        assert_eq!(envelope(&mut client)["offset"], 9);
    }
}

fn messages_that_the_history_has_no_more_are_not_recovered(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    publish_numbers(server, "short:r", 9);
    let epoch = epoch_of(server, "short:r");
    let mut client = Client::join(server, &format!("short:r?since={epoch}:2"));
    assert_eq!(
        envelope(&mut client),
        json!({"epoch": epoch, "offset": 9, "recovered": false, "cause": "size"})
    );
}

fn latest_message_is_recovered_where_that_is_enough(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    publish_numbers(server, "cache:r", 3);
    let mut client = Client::join(server, "cache:r?since=x:0");
    let first = envelope(&mut client);
    assert_eq!(
        (&first["offset"], &first["recovered"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(envelope(&mut client)["data"], "3");
}

fn wishes_that_cannot_be_granted_are_refused_before_the_101(driver: Driver) {
    let configured = remembering(driver);
    let server = &configured.server;
    let user = token(&json!({"sub": "7"}));
    for (path, status, word) in [
        ("r?echo=2", 400, "echo"),
        ("r?mode=listen", 400, "mode"),
        ("r?last=ten", 400, "last"),
        ("r?age=30", 400, "unit"),
        ("r?positions=yes", 400, "positions"),
        ("r?since=7", 400, "epoch:offset"),
        ("r?since=0000000000000001:1&positions=0", 400, "positions"),
        ("r?mode=publish&last=1", 400, "mode=publish"),
        ("bare:r?last=1", 400, "keeps no history"),
        ("bare:r?age=1s", 400, "keeps no history"),
        ("bare:r?positions=1", 400, "no positions"),
        ("bare:r?since=0000000000000001:1", 400, "no positions"),
        ("cache:r?last=1", 401, "token"),
        ("secret:r?last=1", 401, "token"),
        ("secret:r?positions=1", 401, "token"),
        ("secret:r?since=0000000000000001:1", 401, "token"),
        ("secret:r?last=1&token=bad", 401, "token"),
        ("bare:r?mode=publish", 401, "token"),
        ("listen:r?mode=publish", 403, "not open to you"),
        ("nowhere:r?mode=publish", 404, "no such room"),
        ("nowhere:r?last=1", 404, "no such room"),
    ] {
        let answer = ask(server, wire::upgrade(&format!("/rooms/{path}")));
        let sentence = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{path}: {sentence}");
        assert!(sentence.contains(word), "{path}: {sentence}");
        assert!(
            !sentence.contains("0000000000000001"),
            "nothing is repeated"
        );
    }
    for path in [
        "secret:r?last=1",
        "secret:r?positions=1",
        "bare:r?mode=publish",
    ] {
        drop(Client::join(server, &format!("{path}&token={user}")));
    }
    let cache = format!("/rooms/cache:r?last=1&token={user}");
    assert_eq!(ask(server, wire::upgrade(&cache)).status, 403);
    // Whatever is large is what there is.
    let huge = "9".repeat(100);
    let mut client = Client::join(server, &format!("r?last={huge}&age=1000years"));
    client.send("still here");
    assert_eq!(client.text(), "still here");
}

fn parameters_that_nobody_knows_are_counted_and_not_shown(driver: Driver) {
    let server = Server::start(driver, &[]);
    let ignored = || scrape(&server)["hubbub_parameters_ignored_total"];
    assert_eq!(ignored(), 0.0);
    let mut client = Client::join(&server, "r?color=blue&&colour=red&echo=1&ECHO=0");
    client.send("heard");
    assert_eq!(client.text(), "heard");
    assert_eq!(ignored(), 3.0);
    assert!(server.log().contains("count=3"));
    // As many as a request line holds.
    let many = "q&".repeat(1_800);
    let mut client = Client::join(&server, &format!("r?{many}echo=0"));
    client.send("not heard");
    assert_eq!(ignored(), 1_803.0);
    let log = server.log();
    for shown in ["color", "blue", "ECHO"] {
        assert!(!log.contains(shown), "{shown} is in the log");
    }
}
