//! Attacks in the words of the Centrifuge protocol: whatever a client says, others go on, and the server keeps
//! nothing of it.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use serde_json::json;

use crate::{
    baseline::{Baseline, loses_no_memory},
    client::{binary, scrape},
    commands::{self, CONNECT, Configured, OPEN, PATH, Said, Session, closed_for, protobuf},
    floods::turns_of,
    harness::{Driver, Server, eventually},
    process,
    wire::{self, Raw, TEXT},
};

on_both_drivers![
    length_of_any_size_before_a_message_is_closed_with_3501,
    null_and_other_types_where_an_object_is_expected_are_answered_or_closed_with_3501,
    json_as_deep_as_a_message_is_read_where_it_may_be_and_nowhere_else,
    fields_that_nobody_knows_are_passed_over,
    command_before_connect_is_closed_with_3501_whichever_it_is,
    connect_that_never_comes_is_closed_with_3502_in_time,
    commands_by_the_thousand_in_one_frame_take_many_turns_and_all_are_answered,
    subscribes_by_the_thousand_unread_take_bounded_memory,
    histories_by_the_thousand_unread_take_bounded_memory,
    recoveries_of_128_rooms_unread_take_bounded_memory_and_end,
    rooms_of_random_names_are_bounded_however_they_are_made,
];

/// The connect command in Protobuf, behind its length.
const CONNECT_PROTOBUF: &[u8] = &[4, 8, 1, 0x22, 0];

/// Rooms with a history, in which everything is permitted to everybody.
fn with_history(driver: Driver, flags: &[&str]) -> Configured {
    let history =
        "history_size = 1000\nread_history = [\"client\", \"anonymous\"]\nrecovery = \"allowed\"";
    Configured::start(driver, "", &format!("[rooms]{OPEN}{history}"), flags)
}

fn open_to_all(driver: Driver, flags: &[&str]) -> Configured {
    Configured::start(driver, "", &format!("[rooms]{OPEN}"), flags)
}

/// A session whose peer does not read, and whose socket has little room.
fn deaf(server: &Server) -> Raw {
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut raw = Raw::over(stream, commands::upgrade());
    raw.send(wire::frame(TEXT, CONNECT.as_bytes()));
    raw
}

/// As many commands as one message may hold, each with an id of its own.
fn full_frame(command: impl Fn(usize) -> String) -> (usize, String) {
    const MESSAGE_BYTES: usize = 64 << 10;
    let mut frame = String::new();
    for id in 2.. {
        let line = command(id);
        if frame.len() + line.len() + 1 > MESSAGE_BYTES {
            return (id - 2, frame);
        }
        writeln!(frame, "{line}").unwrap();
    }
    unreachable!()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Lengths of a message, and of a field within one.
fn length_of_any_size_before_a_message_is_closed_with_3501(driver: Driver) {
    let configured = open_to_all(driver, &["--cores", "2"]);
    let server = &configured.server;
    let lengths = [
        6,
        1 << 16,
        1 << 31,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX,
    ];
    let mut prefixes: Vec<_> = lengths.into_iter().map(varint).collect();
    // Without an end, with one too late, and with bits beyond the 64th.
    prefixes.extend([
        vec![0x80; 9],
        vec![0x80; 20],
        [&[0x80; 10][..], &[1]].concat(),
    ]);
    prefixes.push([&[0xff; 9][..], &[0x7f]].concat());
    let asked_for = process::address_space_peak(server.pid());
    loses_no_memory(server, |baseline| {
        for prefix in &prefixes {
            let begun = [prefix, &b"12345"[..]].concat();
            assert_eq!(closed_for(server, &[&begun]), 3501, "{prefix:x?}");
            assert_eq!(
                closed_for(server, &[CONNECT_PROTOBUF, &begun]),
                3501,
                "{prefix:x?}"
            );
            // A connect command whose token has that length.
            let field = [&[0x0a], &prefix[..], b"12345"].concat();
            let request = [&[0x22], &varint(field.len() as u64)[..], &field].concat();
            let command = [&varint(request.len() as u64 + 2)[..], &[8, 1], &request].concat();
            assert_eq!(
                closed_for(server, &[&command]),
                3501,
                "{prefix:x?} in a field"
            );
            baseline.serves_others();
        }
        let grown = baseline.grown();
        assert!(grown < 4 << 20, "{grown} bytes more");
    });
    let asked_for = process::address_space_peak(server.pid()) - asked_for;
    assert!(asked_for < 256 << 20, "{asked_for} bytes were asked for");
}

/// `null` is an absent value of a field, and no command.
fn null_and_other_types_where_an_object_is_expected_are_answered_or_closed_with_3501(
    driver: Driver,
) {
    let configured = with_history(driver, &[]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    for frame in [
        "null",
        "[null]",
        "0",
        "\"\"",
        r#"{"commands":[null]}"#,
        r#"{"id":2,"subscribe":null}"#,
        r#"{"id":2,"subscribe":[]}"#,
        r#"{"id":2,"subscribe":{"channel":null}}"#,
        r#"{"id":2,"subscribe":{"channel":{}}}"#,
        r#"{"id":2,"publish":null}"#,
        r#"{"id":2,"history":{"channel":"a","since":[]}}"#,
        r#"{"id":2,"history":{"channel":"a","limit":1e99}}"#,
        r#"{"id":-1,"rpc":{}}"#,
        r#"{"id":4294967296,"rpc":{}}"#,
        r#"{"id":null,"rpc":{}}"#,
    ] {
        let mut session = Session::anonymous(server);
        session.send(frame);
        assert_eq!(session.closed().0, 3501, "{frame}");
        let mut session = Session::open(server);
        session.send(frame.replacen(":2,", ":1,", 1));
        assert_eq!(session.closed().0, 3501, "{frame} at first");
        baseline.serves_others();
    }
    for connect in [
        r#"{"id":1,"connect":{"token":null,"data":null,"subs":null,"name":null,"flag":null}}"#,
        r#"{"id":1,"connect":{"subs":{"a":null,"b":{}}},"subscribe":null}"#,
    ] {
        let mut session = Session::open(server);
        assert!(session.ask(connect)["connect"].is_object(), "{connect}");
        let published = session.ask(r#"{"id":2,"publish":{"channel":"a","data":null}}"#);
        assert_eq!(published, json!({"id": 2, "publish": {}}));
        let history = session.ask(r#"{"id":3,"history":{"channel":"a","since":null,"limit":1}}"#);
        assert_eq!(history["history"]["publications"][0]["data"], json!(null));
    }
    baseline.is_restored();
}

/// Values that nobody reads may nest as they like; payloads may not, because other clients read those.
fn json_as_deep_as_a_message_is_read_where_it_may_be_and_nowhere_else(driver: Driver) {
    let configured = open_to_all(driver, &[]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
    let objects =
        |levels: usize| [r#"{"a":"#.repeat(levels), "1".into(), "}".repeat(levels)].concat();
    let publish = |data: &str| format!(r#"{{"id":3,"publish":{{"channel":"a","data":{data}}}}}"#);

    let mut session = Session::open(server);
    session.send(format!(
        r#"{{"id":1,"connect":{{"zzz":{}}}}}"#,
        nested(30_000)
    ));
    assert!(session.reply()["connect"].is_object());
    session.send(format!(r#"{{"id":2,"rpc":{{}},"zzz":{}}}"#, objects(9_000)));
    assert_eq!(session.reply()["error"]["code"], 108);
    session.ask(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    for data in [nested(128), objects(128)] {
        session.send(publish(&data));
        // A reader that recurses no deeper than this can read it.
        let lines = [session.line(), session.line()];
        assert!(lines.iter().any(|line| line.contains(&data)));
    }
    for bad in [
        nested(129),
        objects(129),
        nested(30_000),
        objects(9_000),
        "[".repeat(60_000),
    ] {
        let mut session = Session::anonymous(server);
        session.send(publish(&bad));
        assert_eq!(session.closed().0, 3501);
        baseline.serves_others();
    }
    let line = r#"{"id":4,"rpc":{}}"#;
    session.send(line);
    assert_eq!(session.reply()["id"], 4, "it has not seen any of these");
    drop(session);
    baseline.is_restored();
}

fn fields_that_nobody_knows_are_passed_over(driver: Driver) {
    let configured = open_to_all(driver, &[]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let mut session = Session::open(server);
    let many: Vec<_> = (0..3_000).map(|n| format!(r#""field{n}":{n}"#)).collect();
    let many = many.join(",");
    session.send(format!(r#"{{{many},"id":1,"connect":{{}}}}"#));
    assert!(session.reply()["connect"].is_object());
    session.send(format!(
        r#"{{"id":2,"presence_stats":{{{many},"channel":"a"}}}}"#
    ));
    assert_eq!(session.reply()["presence_stats"]["num_clients"], 0);

    // Number 100, in each wire type, the last of which is a group.
    let unknown: [&[u8]; 5] = [
        &[0xa0, 6, 1],
        &[0xa1, 6, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 6, 2, 0xff, 0xff],
        &[0xa5, 6, 1, 2, 3, 4],
        &[0xa3, 6, 8, 1, 0xa4, 6],
    ];
    let unknown = unknown.concat();
    let command = [
        &varint(unknown.len() as u64 + 4)[..],
        &unknown,
        &[8, 1, 0x22, 0],
    ]
    .concat();
    let mut client = protobuf(server);
    client.send(binary(command));
    assert!(!client.receive().into_data().is_empty());
    // Groups that are never ended, and groups within groups.
    for groups in [1, 50, 30_000] {
        let unended = [0xa3, 6].repeat(groups);
        let command = [&varint(unended.len() as u64)[..], &unended].concat();
        assert_eq!(closed_for(server, &[&command]), 3501, "{groups}");
    }
    let nested = [[0xa3, 6].repeat(10_000), [0xa4, 6].repeat(10_000)].concat();
    let command = [&varint(nested.len() as u64)[..], &nested].concat();
    assert_eq!(closed_for(server, &[&command]), 3501);
    drop((session, client));
    baseline.is_restored();
}

fn command_before_connect_is_closed_with_3501_whichever_it_is(driver: Driver) {
    let configured = open_to_all(driver, &[]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    for method in [
        r#""subscribe":{"channel":"a"}"#,
        r#""unsubscribe":{"channel":"a"}"#,
        r#""publish":{"channel":"a","data":1}"#,
        r#""presence":{"channel":"a"}"#,
        r#""presence_stats":{"channel":"a"}"#,
        r#""history":{"channel":"a"}"#,
        r#""rpc":{}"#,
        r#""send":{}"#,
        r#""refresh":{"token":"x"}"#,
        r#""sub_refresh":{"channel":"a","token":"x"}"#,
        r#""ping":{}"#,
    ] {
        for frame in [
            format!("{{\"id\":1,{method}}}\n{CONNECT}"),
            format!("{{{method}}}"),
        ] {
            let mut session = Session::open(server);
            session.send(frame);
            let closed = Said::Closed(3501, "bad request".into());
            assert_eq!(session.hear(), closed, "{method}");
        }
    }
    baseline.is_restored();
    let rooms = scrape(server)["hubbub_rooms"];
    assert!(rooms == 0.0, "none has made a room");
}

/// Pings of WebSocket prolong nothing.
fn connect_that_never_comes_is_closed_with_3502_in_time(driver: Driver) {
    const PEERS: usize = 300;
    process::allow_descriptors(PEERS + 1_000);
    let flags = ["--handshake-timeout", "2s", "--cores", "2"];
    let configured = open_to_all(driver, &flags);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let began = std::time::Instant::now();
    let mut session = Session::anonymous(server);
    let mut peers: Vec<_> = (0..PEERS).map(|_| Session::open(server)).collect();
    for peer in &mut peers {
        wire::send(peer.stream(), &wire::frame(wire::PING, b"still here"));
    }
    for peer in &mut peers {
        assert_eq!(peer.closed(), (3502, "stale".into()));
    }
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "not before its time"
    );
    baseline.serves_others();
    // Whoever has connected may then be silent.
    assert_eq!(session.ask(r#"{"id":2,"rpc":{}}"#)["error"]["code"], 108);
    let grown = baseline.grown();
    assert!(grown < 8 << 20, "{grown} bytes more");
    drop((peers, session));
    baseline.is_restored();
}

/// Each command costs its share of a turn as a message does.
fn commands_by_the_thousand_in_one_frame_take_many_turns_and_all_are_answered(driver: Driver) {
    let configured = open_to_all(driver, &["--cores", "1"]);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let (commands, frame) = full_frame(|id| format!(r#"{{"id":{id},"rpc":{{}}}}"#));
    assert!(commands > 2_500, "{commands}");
    let mut session = Session::anonymous(server);
    session.send(frame);
    for id in 2..commands + 2 {
        assert_eq!(session.reply()["id"], id);
    }
    baseline.serves_others();

    let asked: String = frame_of(2_000, |id| format!(r#"{{"id":{id},"rpc":{{}}}}"#));
    let mut raw = Raw::open(server, PATH);
    let frames = [CONNECT, &asked].map(|text| wire::frame(TEXT, text.as_bytes()));
    let turns = turns_of(server, &mut raw, &frames.concat());
    assert!(turns >= (2_000 / 127) as f64, "{turns} turns");
    drop((raw, session));
    baseline.is_restored();
}

fn frame_of(commands: usize, command: impl Fn(usize) -> String) -> String {
    let lines: Vec<_> = (2..commands + 2).map(command).collect();
    lines.join("\n")
}

/// Sends this frame again and again until the server reads no more, and returns how often it went.
fn send_unread(raw: &mut Raw, frame: &str, most: usize) -> usize {
    let frame = wire::frame(TEXT, frame.as_bytes());
    let patience = Some(Duration::from_secs(2));
    raw.stream.set_write_timeout(patience).unwrap();
    let sent = (0..most).take_while(|_| raw.stream.write_all(&frame).is_ok());
    sent.count()
}

/// The server reads only as long as its queue has room for replies.
fn subscribes_by_the_thousand_unread_take_bounded_memory(driver: Driver) {
    let bounds = ["--cores", "2", "--send-queue-bytes-max", "128KiB"];
    let configured = open_to_all(driver, &bounds);
    let server = &configured.server;
    let mut baseline = Baseline::of(server);
    let mut raw = deaf(server);
    let (commands, frame) =
        full_frame(|id| format!(r#"{{"id":{id},"subscribe":{{"channel":"{id}"}}}}"#));
    assert!(commands > 1_000, "{commands}");
    let sent = send_unread(&mut raw, &frame, 1_000);
    assert!((2..1_000).contains(&sent), "{sent} frames");
    baseline.serves_others();
    let rooms = scrape(server)["hubbub_subscriptions"];
    assert!(rooms <= 128.0, "{rooms} rooms");
    let grown = baseline.grown();
    assert!(grown < 3 << 20, "{grown} bytes more for one peer");
    wire::reset(raw.stream);
    baseline.is_restored();
}

/// A command of fifty bytes is answered with half a megabyte.
fn histories_by_the_thousand_unread_take_bounded_memory(driver: Driver) {
    let configured = with_history(driver, &["--cores", "2"]);
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    let data = "x".repeat(1_500);
    for id in 2..302 {
        let publish = format!(r#"{{"id":{id},"publish":{{"channel":"h","data":"{data}"}}}}"#);
        assert!(publisher.ask(&publish)["publish"].is_object());
    }
    let mut baseline = Baseline::of(server);
    let mut raw = deaf(server);
    let (commands, frame) =
        full_frame(|id| format!(r#"{{"id":{id},"history":{{"channel":"h","limit":-1}}}}"#));
    assert!(commands > 1_000, "{commands}");
    let sent = send_unread(&mut raw, &frame, 100);
    assert!(sent < 100, "{sent} frames");
    baseline.serves_others();
    let grown = baseline.grown();
    assert!(grown < 8 << 20, "{grown} bytes more for one peer");
    wire::reset(raw.stream);

    // Whoever reads has all of its answers, however many it asks for at once.
    let asked = frame_of(100, |id| {
        format!(r#"{{"id":{id},"history":{{"channel":"h","limit":-1}}}}"#)
    });
    publisher.send(asked);
    for id in 2..102 {
        let reply = publisher.reply();
        assert_eq!(reply["id"], id);
        let publications = reply["history"]["publications"].as_array().unwrap();
        assert!(publications.len() > 200, "{}", publications.len());
    }
    drop(publisher);
    baseline.serves_others();
}

/// The past of the rooms is eight times what may be queued for one connection.
fn recoveries_of_128_rooms_unread_take_bounded_memory_and_end(driver: Driver) {
    const ROOMS: usize = 128;
    let bounds = [
        "--cores",
        "2",
        "--write-timeout",
        "3s",
        "--close-timeout",
        "1s",
    ];
    let configured = with_history(driver, &bounds);
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    let data = "x".repeat(60_000);
    for id in 2..ROOMS + 2 {
        let publish = format!(r#"{{"id":{id},"publish":{{"channel":"r{id}","data":"{data}"}}}}"#);
        assert!(publisher.ask(&publish)["publish"].is_object());
    }
    let recover = frame_of(ROOMS, |id| {
        format!(
            r#"{{"id":{id},"subscribe":{{"channel":"r{id}","recover":true,"recoverable":true}}}}"#
        )
    });
    let mut baseline = Baseline::of(server);
    let mut raw = deaf(server);
    raw.send(wire::frame(TEXT, recover.as_bytes()));
    eventually("it is ended", || {
        baseline.serves_others();
        server.ends_logged("write_stalled") == 1
    });
    let grown = baseline.grown();
    assert!(grown < 6 << 20, "{grown} bytes more for one peer");

    // Whoever reads recovers them all.
    let mut session = Session::anonymous(server);
    session.send(recover);
    let mut recovered = 0;
    while recovered < ROOMS {
        let reply = session.reply();
        if reply["id"].is_u64() {
            assert_eq!(reply["subscribe"]["recovered"], true, "{reply}");
            recovered += 1;
        }
    }
    // A connect command gets no more of them than one answer may have, and is told which it does not get.
    let subs = (2..ROOMS + 2).map(|id| {
        let wish = json!({"recover": true, "recoverable": true});
        (format!("r{id}"), wish)
    });
    let subs: serde_json::Map<_, _> = subs.collect();
    let mut of_connect = Session::open(server);
    of_connect.send(json!({"id": 1, "connect": {"subs": subs}}).to_string());
    let subs = of_connect.reply()["connect"]["subs"].take();
    let subs = subs.as_object().unwrap();
    let recovered = subs.values().filter(|it| it["recovered"] == true);
    assert_eq!((subs.len(), recovered.count()), (ROOMS, 8));
    drop((raw, session, publisher, of_connect));
}

/// Rooms come into being by subscriptions, publications and questions; those of the storm are forgotten.
fn rooms_of_random_names_are_bounded_however_they_are_made(driver: Driver) {
    const ROOMS_MAX: usize = 400;
    const POSITIONS_MAX: usize = 100;
    let bounds = [
        "--cores",
        "2",
        "--rooms-max",
        "400",
        "--positions-max",
        "100",
    ];
    let flags = [&bounds[..], &["--room-idle-timeout", "100ms"]].concat();
    let history = "history_size = 10\nhistory_ttl = \"100ms\"\nrecovery = \"allowed\"\n\
                   read_history = [\"client\", \"anonymous\"]";
    let tables = format!("[rooms]{OPEN}{history}");
    let configured = Configured::start(driver, "", &tables, &flags);
    let server = &configured.server;
    let mut kept = Session::anonymous(server);
    kept.ask(r#"{"id":2,"subscribe":{"channel":"kept"}}"#);
    let mut round = 0;
    loses_no_memory(server, |baseline| {
        round += 1;
        let mut sessions: Vec<_> = (0..6).map(|_| Session::anonymous(server)).collect();
        let (mut taken, mut refused) = (0, 0);
        for (n, session) in sessions.iter_mut().enumerate() {
            let method = ["publish", "history", "subscribe"][n.min(2)];
            let commands = 120;
            session.send(frame_of(commands, |id| {
                let name = format!("{:x>200}", format!("{round}-{n}-{id}"));
                format!(r#"{{"id":{id},"{method}":{{"channel":"{name}","data":1}}}}"#)
            }));
            for _ in 0..commands {
                let reply = session.reply();
                match reply["error"]["code"].as_u64() {
                    None => taken += 1,
                    Some(106) => refused += 1,
                    Some(other) => panic!("error {other}"),
                }
            }
        }
        assert!(
            taken >= ROOMS_MAX / 2 && refused >= 4 * 120 - ROOMS_MAX,
            "{taken} taken, {refused} refused"
        );
        let rooms = scrape(server)["hubbub_rooms"];
        assert!(rooms <= ROOMS_MAX as f64, "{rooms} rooms");
        baseline.serves_others();
        let published = kept.ask(r#"{"id":3,"publish":{"channel":"kept","data":1}}"#);
        assert!(
            published["publish"].is_object(),
            "a room that is there stays open: {published}"
        );
        drop(sessions);
        // Of some of them the position is kept.
        eventually("the rooms are gone", || {
            let rooms = scrape(server)["hubbub_rooms"];
            rooms <= (1 + POSITIONS_MAX) as f64
        });
    });
}
