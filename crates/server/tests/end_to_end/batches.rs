//! Rooms whose messages leave together (`batch_interval`): how many frames subscribers of each kind get, and what
//! becomes of those that are slow or come in between.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, binary, scrape},
    commands::{CONNECT, Configured, OPEN, PATH, Session, protobuf, settings},
    compression::{OFFER, Peer},
    harness::{Driver, Server, eventually},
    reload::Reloading,
    wire::{self, TEXT},
};

on_both_drivers![
    sdk_in_json_gets_many_messages_in_few_frames_and_without_the_option_one_in_each,
    sdk_in_protobuf_gets_many_messages_in_few_frames,
    raw_subscriber_gets_each_message_in_a_frame_and_none_before_the_interval_is_over,
    frame_of_many_messages_is_compressed_once_for_all,
    change_of_the_interval_holds_for_rooms_that_exist_and_ends_no_subscription,
    slow_subscriber_misses_as_many_messages_as_are_counted,
];

const MESSAGES: usize = 20;

/// Long beside what publishing twenty messages takes.
const INTERVAL: Duration = Duration::from_millis(300);

/// Rooms of `live` gather their messages, and those of `now` do not.
fn tables() -> String {
    let own = format!("{OPEN}raw = \"publish\"\nhistory_size = 100\npositions = \"forced\"\n");
    format!("[namespaces.now]{own}[namespaces.live]{own}batch_interval = \"300ms\"\n")
}

fn start(driver: Driver, settings: &str) -> Configured {
    Configured::start(driver, settings, &tables(), &["--cores", "2"])
}

/// A subscriber that sees frames.
fn subscriber(server: &Server, room: &str) -> Client {
    let mut client = Client::connect(server, PATH);
    client.send(CONNECT);
    client.text();
    client.send(subscribe(room).to_string());
    let reply = client.text();
    assert!(reply.contains("subscribe"), "{reply}");
    client
}

fn subscribe(room: &str) -> Value {
    json!({"id": 2, "subscribe": {"channel": room}})
}

/// Publishes messages with these numbers at once, and reads all replies.
fn publish_all(publisher: &mut Session, room: &str, numbers: impl Iterator<Item = usize>) {
    let commands: Vec<_> = numbers
        .map(|n| json!({"id": n + 10, "publish": {"channel": room, "data": n}}).to_string())
        .collect();
    publisher.send(commands.join("\n"));
    for _ in commands {
        let reply = publisher.reply();
        assert!(reply["publish"].is_object(), "{reply}");
    }
}

/// The data of the pushes of a frame in JSON, whose offsets follow each other.
fn pushes(frame: &str, offset: &mut u64) -> Vec<usize> {
    let lines = frame.lines().map(|line| {
        let push: Value = serde_json::from_str(line).unwrap();
        *offset += 1;
        assert_eq!(push["push"]["pub"]["offset"], *offset, "{push}");
        push["push"]["pub"]["data"].as_u64().unwrap() as usize
    });
    lines.collect()
}

fn sdk_in_json_gets_many_messages_in_few_frames_and_without_the_option_one_in_each(driver: Driver) {
    let configured = start(driver, "");
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    for room in ["live:a", "now:a"] {
        let mut subscribers: Vec<_> = (0..4).map(|_| subscriber(server, room)).collect();
        let begun = Instant::now();
        publish_all(&mut publisher, room, 0..MESSAGES);
        for subscriber in &mut subscribers {
            let (mut frames, mut heard, mut offset) = (0, Vec::new(), 0);
            while heard.len() < MESSAGES {
                heard.extend(pushes(&subscriber.text(), &mut offset));
                frames += 1;
            }
            assert!(heard.into_iter().eq(0..MESSAGES));
            match room {
                "now:a" => assert_eq!(frames, MESSAGES),
                _ => {
                    assert!(begun.elapsed() >= INTERVAL);
                    assert!(frames < MESSAGES / 2, "{frames}");
                }
            }
        }
    }
    let samples = scrape(server);
    let delivered = (2 * 4 * MESSAGES) as f64;
    assert_eq!(samples["hubbub_messages_delivered_total"], delivered);
    assert!(samples["hubbub_frames_sent_total{kind=\"text\"}"] < delivered);
}

/// How many messages a frame in Protobuf has: each stands behind its length.
fn messages_of(mut frame: &[u8]) -> usize {
    let mut messages = 0;
    while !frame.is_empty() {
        let end = frame.iter().position(|byte| byte & 0x80 == 0).unwrap();
        let digits = frame[..=end].iter().rev();
        let length = digits.fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7F));
        frame = &frame[end + 1 + length..];
        messages += 1;
    }
    messages
}

fn sdk_in_protobuf_gets_many_messages_in_few_frames(driver: Driver) {
    let configured = start(driver, "");
    let server = &configured.server;
    let mut subscriber = protobuf(server);
    // {id: 1, connect: {}}, and {id: 2, subscribe: {channel: "live:a"}}.
    subscriber.send(binary(b"\x04\x08\x01\x22\x00".to_vec()));
    subscriber.receive();
    subscriber.send(binary(b"\x0c\x08\x02\x2a\x08\x0a\x06live:a".to_vec()));
    subscriber.receive();
    publish_all(&mut Session::anonymous(server), "live:a", 0..MESSAGES);
    let (mut frames, mut heard) = (0, 0);
    while heard < MESSAGES {
        let frame = subscriber.receive().into_data();
        for n in heard..heard + messages_of(&frame) {
            // Its data follows the number of the field, and a length.
            let digits = n.to_string();
            let data = [&[4 << 3 | 2, digits.len() as u8], digits.as_bytes()].concat();
            assert!(frame.windows(data.len()).any(|it| it == data), "{n}");
        }
        heard += messages_of(&frame);
        frames += 1;
    }
    assert_eq!(heard, MESSAGES);
    assert!(frames < MESSAGES / 2, "{frames}");
}

fn raw_subscriber_gets_each_message_in_a_frame_and_none_before_the_interval_is_over(
    driver: Driver,
) {
    let configured = start(driver, "");
    let server = &configured.server;
    let mut subscribers: Vec<_> = (0..4).map(|_| Client::join(server, "live:a")).collect();
    let begun = Instant::now();
    publish_all(&mut Session::anonymous(server), "live:a", 0..MESSAGES);
    for subscriber in &mut subscribers {
        for n in 0..MESSAGES {
            assert_eq!(subscriber.text(), n.to_string());
            assert!(begun.elapsed() >= INTERVAL);
        }
    }
    // Whoever comes in the middle of an interval gets what follows, and nothing of before.
    subscribers[0].send("before");
    subscribers[0].send("before");
    eventually("they are ordered", || {
        scrape(server)["hubbub_messages_delivered_total"] >= (4 * (MESSAGES + 2)) as f64
    });
    let mut late = Client::join(server, "live:a");
    late.send("behind");
    assert_eq!(late.text(), "behind");
    for text in ["before", "before", "behind"] {
        assert_eq!(subscribers[1].text(), text);
    }
}

fn frame_of_many_messages_is_compressed_once_for_all(driver: Driver) {
    let configured = Configured::start(
        driver,
        "compression = \"on\"\ncompression_bytes_min = \"256\"\n",
        &tables(),
        &["--cores", "1"],
    );
    let server = &configured.server;
    let mut peers: Vec<_> = (0..5)
        .map(|_| {
            let mut peer = Peer::open(server, PATH, OFFER);
            for command in [CONNECT, &subscribe("live:a").to_string()] {
                peer.raw.send(wire::frame(TEXT, command.as_bytes()));
                peer.receive();
            }
            peer
        })
        .collect();
    let compressed = || scrape(server)["hubbub_compressed_messages_total"];
    let before = compressed();
    publish_all(&mut Session::anonymous(server), "live:a", 0..MESSAGES);
    let mut frames = 0;
    for peer in &mut peers {
        let (mut heard, mut offset) = (Vec::new(), 0);
        frames = 0;
        while heard.len() < MESSAGES {
            let (frame, bytes) = peer.receive();
            let pushes = pushes(str::from_utf8(&frame).unwrap(), &mut offset);
            // No message is long enough by itself.
            assert_eq!(bytes.is_some(), frame.len() >= 256, "{}", pushes.len());
            frames += 1;
            heard.extend(pushes);
        }
        assert!(heard.into_iter().eq(0..MESSAGES));
    }
    assert!(frames < MESSAGES / 2, "{frames}");
    let made = compressed() - before;
    assert!(
        (1.0..=f64::from(frames as u32)).contains(&made),
        "{made} of {frames}"
    );
}

fn change_of_the_interval_holds_for_rooms_that_exist_and_ends_no_subscription(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let text = |interval: &str| {
        let rules = format!("{OPEN}positions = \"forced\"\nbatch_interval = \"{interval}\"\n");
        settings(&dir, "", &format!("[namespaces.live]{rules}"))
    };
    let mut reloading = Reloading::start(driver, &text("0s"));
    let mut subscriber = subscriber(&reloading.server, "live:a");
    let mut publisher = Session::anonymous(&reloading.server);
    let mut offset = 0;
    for (interval, gathers) in [("0s", false), ("300ms", true), ("0s", false)] {
        if offset > 0 {
            reloading.reload(&text(interval));
        }
        // A core may apply it a moment later.
        eventually(interval, || {
            let begun = Instant::now();
            publish_all(&mut publisher, "live:a", 0..MESSAGES);
            let (mut heard, mut frames) = (0, 0);
            while heard < MESSAGES {
                heard += pushes(&subscriber.text(), &mut offset).len();
                frames += 1;
            }
            match gathers {
                true => frames < MESSAGES && begun.elapsed() >= INTERVAL,
                false => frames == MESSAGES,
            }
        });
    }
}

/// Several times what the kernel's buffers hold.
const MANY: usize = 1_500;
const LONG: usize = 8 << 10;

fn slow_subscriber_misses_as_many_messages_as_are_counted(driver: Driver) {
    let rules = format!("{OPEN}overflow = \"drop_oldest\"\nbatch_interval = \"20ms\"\n");
    let queue = "send_queue_bytes_max = \"256KiB\"\n";
    let tables = format!("[namespaces.live]{rules}");
    let configured = Configured::start(driver, queue, &tables, &["--cores", "2"]);
    let server = &configured.server;
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut slow = Session::over(Client::over(stream, PATH, &[]).unwrap());
    slow.ask(CONNECT);
    slow.ask(&subscribe("live:a").to_string());
    let mut publisher = Session::anonymous(server);
    let filler = "x".repeat(LONG);
    let mut publish = |n: usize, filler: &str| {
        let data = json!([n, filler]);
        let command = json!({"id": 10, "publish": {"channel": "live:a", "data": data}});
        publisher.ask(&command.to_string());
    };
    (0..MANY).for_each(|n| publish(n, &filler));
    let reading = thread::spawn(move || {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| *last < MANY as u64) {
            let push = slow.reply();
            let number = push["push"]["pub"]["data"][0].as_u64();
            heard.push(number.expect("no end of it"));
        }
        (heard, slow)
    });
    // The end of the many may be missed, too. Once it has caught up it misses nothing.
    for n in MANY.. {
        publish(n, "");
        thread::sleep(Duration::from_millis(50));
        if reading.is_finished() {
            break;
        }
    }
    let (heard, _slow) = reading.join().unwrap();
    assert!(heard.is_sorted());
    assert!(heard.len() < MANY, "it was never behind");
    let published = heard[heard.len() - 1] as usize + 1;
    let skipped = scrape(server)["hubbub_messages_skipped_total"];
    assert_eq!(skipped, (published - heard.len()) as f64);
}
