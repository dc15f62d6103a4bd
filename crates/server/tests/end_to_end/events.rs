//! Events to the back end: what is told of every connection and room, and in which order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    caller::Api,
    client::Client,
    commands::{PATH, Session, protobuf, token},
    event_receiver::{
        FAST, OPEN, Receiver, SECRET, Telling, check_numbers, open, told, told_and_lost,
    },
    harness::{Driver, Server},
    oneshot_rooms::make,
    streamed::{Stream, Streamed, begin},
    wire::{self, Raw},
};

on_both_drivers![
    session_is_told_of_from_connected_to_disconnected_in_order,
    many_connections_have_each_its_story_in_order,
    clients_of_every_transport_are_told_of,
    connection_that_was_refused_is_not_told_of,
    every_end_has_the_one_reason_that_was_recorded,
    end_of_a_subscription_that_the_server_wants_has_its_reason,
    what_a_back_end_orders_is_told_like_anything_else,
    rooms_are_occupied_by_their_first_and_vacated_after_their_last,
    room_that_empties_and_fills_again_says_nothing,
    only_kinds_and_namespaces_that_are_asked_for_are_told_of,
    one_shot_rooms_are_told_of_by_six_characters,
    ordinary_messages_cost_nothing_of_it,
];

fn subscribe(session: &mut Session, id: u32, room: &str) {
    let command = json!({"id": id, "subscribe": {"channel": room}});
    let reply = session.ask(&command.to_string());
    assert!(reply["subscribe"].is_object(), "{reply}");
}

fn unsubscribe(session: &mut Session, id: u32, room: &str) {
    let command = json!({"id": id, "unsubscribe": {"channel": room}});
    session.ask(&command.to_string());
}

fn session_is_told_of_from_connected_to_disconnected_in_order(driver: Driver) {
    let (receiver, telling) = open(driver);
    let claims = json!({"sub": "42", "subs": {"granted": {}}});
    let mut session = Session::open(&telling.server);
    let connect = json!({"id": 1, "connect": {"token": token(&claims)}});
    let reply = session.ask(&connect.to_string());
    let client = reply["connect"]["client"].clone();
    subscribe(&mut session, 2, "a");
    unsubscribe(&mut session, 3, "a");
    subscribe(&mut session, 4, "b");
    subscribe(&mut session, 5, "a");
    drop(session);
    receiver.awaits("disconnected", 1);
    let events = receiver.events();
    let own = events.iter().filter(|it| it["client"] == client);
    let own: Vec<_> = own.collect();
    for event in &own {
        assert_eq!(
            (&event["user"], &event["protocol"]),
            (&json!("42"), &json!("centrifuge"))
        );
    }
    let story: Vec<_> = own.iter().map(|it| told(it)).collect();
    assert_eq!(
        story[..6],
        [
            "connected",
            "subscribed granted",
            "subscribed a",
            "unsubscribed a client",
            "subscribed b",
            "subscribed a",
        ]
    );
    let rooms: BTreeSet<_> = story[6..9].iter().map(String::as_str).collect();
    let left = ["a", "b", "granted"].map(|room| format!("unsubscribed {room} disconnected"));
    assert_eq!(rooms, left.iter().map(String::as_str).collect());
    assert!(
        story[9].starts_with("disconnected peer_gone")
            || story[9].starts_with("disconnected socket_failed"),
        "{story:?}"
    );
    assert_eq!((story.len(), receiver.forged()), (10, 0));
    let times: Vec<_> = own.iter().map(|it| it["at_ms"].as_u64().unwrap()).collect();
    assert!(times.is_sorted());
}

/// Enters rooms and leaves them, and returns what is to be told of it.
fn comes_and_goes(server: &Server, number: usize) -> Vec<String> {
    let mut session = Session::anonymous(server);
    let mut story = vec!["connected".to_owned()];
    let mut rooms = BTreeSet::new();
    for step in 0..10 {
        let room = format!("r{}", (number * 7 + step * step) % 5);
        let id = u32::try_from(step).unwrap() + 2;
        story.push(match rooms.remove(&room) {
            true => {
                unsubscribe(&mut session, id, &room);
                format!("unsubscribed {room} client")
            }
            false => {
                subscribe(&mut session, id, &room);
                rooms.insert(room.clone());
                format!("subscribed {room}")
            }
        });
    }
    story
}

/// What many connections do at once, in the same few rooms on two cores, is told of each as it did it.
fn many_connections_have_each_its_story_in_order(driver: Driver) {
    const SESSIONS: usize = 24;
    let receiver = Receiver::start();
    let telling = Telling::start(driver, &receiver, "batch_max = 11", OPEN);
    let server = &telling.server;
    let expected: BTreeSet<Vec<String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SESSIONS)
            .map(|number| scope.spawn(move || comes_and_goes(server, number)))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    receiver.awaits("disconnected", SESSIONS);
    let stories = receiver.stories();
    assert_eq!(stories.len(), SESSIONS);
    for story in stories {
        assert!(expected.contains(&story[..11]), "{story:?}");
        let left = story[11..]
            .iter()
            .filter(|it| it.ends_with(" disconnected"));
        assert_eq!(left.count(), story.len() - 12, "{story:?}");
    }
    // And of each room in turns.
    for room in ["r0", "r1", "r2", "r3", "r4"] {
        let told = receiver.rooms();
        let own: Vec<_> = told.iter().filter(|it| it.ends_with(room)).collect();
        for (at, told) in own.iter().enumerate() {
            assert_eq!(told.starts_with("occupied"), at % 2 == 0, "{own:?}");
        }
    }
    check_numbers(&receiver);
}

fn clients_of_every_transport_are_told_of(driver: Driver) {
    let (receiver, telling) = open(driver);
    let server = &telling.server;
    let protocols = [
        ("echo", None),
        ("room", Some("r1")),
        ("room-sse", Some("r2")),
        ("centrifuge", Some("r3")),
        ("centrifuge-http-stream", Some("r4")),
        ("centrifuge-sse", Some("r5")),
        ("centrifuge-uni-websocket", Some("r6")),
        ("centrifuge-uni-http-stream", Some("r7")),
        ("centrifuge-uni-sse", Some("r8")),
    ];
    let subs = |room: &str| json!({"subs": {room: {}}}).to_string();
    let echo = Client::connect(server, "/echo");
    let room = Client::join(server, "r1");
    let room_sse = Stream::ask(server, wire::request("GET", "/rooms/r2/sse", &[]));
    let mut ws = Session::anonymous(server);
    subscribe(&mut ws, 2, "r3");
    let mut streams = Vec::new();
    for (path, room) in [("/connection/http_stream", "r4"), ("/connection/sse", "r5")] {
        let mut stream = Streamed::anonymous(server, path);
        let command = json!({"id": 2, "subscribe": {"channel": room}});
        stream.ask(server, &command.to_string());
        streams.push(stream);
    }
    let mut uni = Client::connect(server, "/connection/uni_websocket");
    uni.send(subs("r6"));
    let one_way = [
        ("/connection/uni_http_stream", "r7"),
        ("/connection/uni_sse", "r8"),
    ]
    .map(|(path, room)| Stream::ask(server, begin(path, &subs(room))));
    receiver.awaits("connected", 9);
    receiver.awaits("subscribed", 8);
    drop((echo, room, room_sse, ws, streams, uni, one_way));
    receiver.awaits("disconnected", 9);
    receiver.awaits("vacated", 8);
    let events = receiver.events();
    for (protocol, room) in protocols {
        let own = events.iter().filter(|it| it["protocol"] == protocol);
        let own: Vec<_> = own
            .map(|it| (it["kind"].as_str().unwrap(), &it["room"]))
            .collect();
        let room = room.map_or(Value::Null, |room| json!(room));
        let expected: Vec<_> = match room {
            Value::Null => vec![("connected", &Value::Null), ("disconnected", &Value::Null)],
            _ => vec![
                ("connected", &Value::Null),
                ("subscribed", &room),
                ("unsubscribed", &room),
                ("disconnected", &Value::Null),
            ],
        };
        assert_eq!(own, expected, "{protocol}");
    }
    // One in Protobuf, whose story is told in the same words.
    let mut binary = protobuf(server);
    binary.send(crate::client::binary(vec![4, 8, 1, 34, 0]));
    binary.receive();
    receiver.awaits("connected", 10);
}

fn connection_that_was_refused_is_not_told_of(driver: Driver) {
    let (receiver, telling) = open(driver);
    let mut session = Session::open(&telling.server);
    let expired = token(&json!({"sub": "1", "exp": 1}));
    session.send(json!({"id": 1, "connect": {"token": expired}}).to_string());
    session.reply();
    drop(session);
    let mut wrong = Session::open(&telling.server);
    wrong.send(r#"{"id":1,"subscribe":{"channel":"a"}}"#);
    wrong.closed();
    // Nobody who never spoke, nor a page.
    drop(Client::connect(&telling.server, PATH));
    crate::client::get(&telling.server, "/");
    Client::join(&telling.server, "after").leave();
    receiver.awaits("disconnected", 1);
    assert_eq!(receiver.count("connected"), 1);
}

fn every_end_has_the_one_reason_that_was_recorded(driver: Driver) {
    let receiver = Receiver::start();
    let flags = [
        "--drain-timeout",
        "100ms",
        "--message-rate",
        "100",
        "--message-burst",
        "200",
    ];
    let mut telling = Telling::start_at(driver, &receiver.url(), "", OPEN, &flags);
    let server = &telling.server;
    Client::join(server, "a").leave();
    Client::join(server, "a").vanish();
    drop(Client::connect(server, "/echo"));
    let mut broken = Raw::open(server, "/rooms/a");
    broken.send(wire::unmasked(wire::TEXT, b"no"));
    broken.frame();
    let mut bad = Session::anonymous(server);
    bad.send("{");
    assert_eq!(bad.closed().0, 3501);
    let mut fast = Client::join(server, "b");
    for _ in 0..400 {
        fast.write("x");
    }
    fast.flush();
    fast.closed();
    let mut closer = Raw::open(server, "/echo");
    closer.send(wire::close(4000));
    closer.frame();
    drop(closer);
    let stays = (
        Client::join(server, "a"),
        Session::anonymous(server),
        Stream::ask(server, wire::request("GET", "/rooms/a/sse", &[])),
    );
    receiver.awaits("connected", 10);
    receiver.awaits("disconnected", 7);
    telling.server.signal(Signal::TERM);
    telling.server.wait();
    drop(stays);
    receiver.awaits("disconnected", 10);
    let mut told_of = BTreeMap::new();
    for event in receiver
        .events()
        .iter()
        .filter(|it| it["kind"] == "disconnected")
    {
        let reason = event["reason"].as_str().unwrap().to_owned();
        *told_of.entry(reason).or_insert(0) += 1;
        let by_client = ["peer_closed", "peer_gone", "socket_failed"];
        let is_by_client = by_client.contains(&event["reason"].as_str().unwrap());
        assert_eq!(event["by"] == "client", is_by_client, "{event}");
    }
    for (reason, count) in &told_of {
        assert_eq!(telling.server.ends_logged(reason), *count, "{reason}");
    }
    assert_eq!(told_of.values().sum::<usize>(), 10, "{told_of:?}");
    assert_eq!(told_of["drained"], 3);
    assert!(told_of.len() >= 6, "{told_of:?}");
    let codes: Vec<_> = receiver
        .events()
        .iter()
        .filter(|it| it["reason"] == "drained")
        .map(|it| it["code"].clone())
        .collect();
    // What SDKs are told, and what others are.
    assert!(
        codes.contains(&json!(3001)) && codes.contains(&json!(1001)),
        "{codes:?}"
    );
    // Each connection has one story, and it ends once.
    for story in receiver.stories() {
        assert_eq!(story[0], "connected");
        let ends = story.iter().filter(|it| it.starts_with("disconnected"));
        assert_eq!(ends.count(), 1, "{story:?}");
        assert!(
            story.last().unwrap().starts_with("disconnected"),
            "{story:?}"
        );
        let entered = story.iter().filter(|it| it.starts_with("subscribed"));
        let left = story.iter().filter(|it| it.starts_with("unsubscribed"));
        assert_eq!(entered.count(), left.count(), "{story:?}");
    }
}

fn end_of_a_subscription_that_the_server_wants_has_its_reason(driver: Driver) {
    let receiver = Receiver::start();
    let tables = format!("{OPEN}[namespaces.login]\noneshot = \"10m\"\n");
    let mut telling = Telling::start(driver, &receiver, "", &tables);
    let server = &telling.server;
    let room = make(server, "login");
    let enter = json!({"channel": room.room, "data": {"secret": room.secret}});
    let enter = json!({"id": 2, "subscribe": enter}).to_string();
    let (mut first, mut second) = (Session::anonymous(server), Session::anonymous(server));
    first.ask(&enter);
    second.ask(&enter);
    first.line();
    subscribe(&mut second, 3, "a");
    let raw = Client::join(server, "a");
    receiver.awaits("subscribed", 4);
    let all = "subscribe = [\"client\", \"anonymous\"]";
    telling.reload(all, "subscribe = \"token\"");
    receiver.awaits("disconnected", 1);
    receiver.awaits("unsubscribed", 3);
    drop((first, second, raw));
    receiver.awaits("disconnected", 3);
    let stories: BTreeSet<_> = receiver
        .stories()
        .iter()
        .map(|story| story[1..].join(", "))
        .collect();
    let login = format!("{}...", &room.room[..6]);
    let has = |begin: &str| stories.iter().any(|it| it.starts_with(begin));
    assert!(has(&format!(
        "subscribed {login}, unsubscribed {login} replaced 2101, disconnected"
    )));
    assert!(has(&format!(
        "subscribed {login}, subscribed a, unsubscribed a rules_changed 2502, unsubscribed {login} disconnected"
    )));
    assert!(has(
        "subscribed a, unsubscribed a disconnected, disconnected session_closed 1013"
    ));
}

fn what_a_back_end_orders_is_told_like_anything_else(driver: Driver) {
    let receiver = Receiver::start();
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), SECRET).unwrap();
    let (url, path) = (receiver.url(), secret.path());
    let config = format!("{OPEN}[events]\nurl = {url:?}\nsecret = {path:?}\n{FAST}");
    let api = Api::with_tokens(driver, &config, &["--cores", "2"]);
    let mut session = Session::open(&api);
    let connect = json!({"id": 1, "connect": {"token": token(&json!({"sub": "42"}))}});
    session.ask(&connect.to_string());
    api.call("subscribe", json!({"user": "42", "channel": "a"}));
    receiver.awaits("occupied", 1);
    api.call("unsubscribe", json!({"user": "42", "channel": "a"}));
    receiver.awaits("vacated", 1);
    api.call("subscribe", json!({"user": "42", "channel": "b"}));
    receiver.awaits("subscribed", 2);
    api.call("disconnect", json!({"user": "42"}));
    session.closed();
    receiver.awaits("disconnected", 1);
    let expected = [
        "connected",
        "subscribed a",
        "unsubscribed a server 2000",
        "subscribed b",
        "unsubscribed b disconnected",
        "disconnected session_closed 3503",
    ];
    assert_eq!(receiver.stories(), [expected]);
}

fn rooms_are_occupied_by_their_first_and_vacated_after_their_last(driver: Driver) {
    let receiver = Receiver::start();
    let telling = Telling::start(driver, &receiver, "debounce = \"1s\"", OPEN);
    let server = &telling.server;
    let members = [(); 8].map(|()| Client::join(server, "a"));
    // Who only publishes is not in the room.
    let mut publisher = Client::join(server, "b?mode=publish");
    publisher.send("hello");
    receiver.awaits("subscribed", 8);
    let begun = Instant::now();
    members.into_iter().for_each(Client::leave);
    receiver.awaits("vacated", 1);
    assert!(
        begun.elapsed() >= Duration::from_millis(700),
        "not before its time"
    );
    Client::join(server, "c").leave();
    receiver.awaits("vacated", 2);
    assert_eq!(
        receiver.rooms(),
        ["occupied a", "vacated a", "occupied c", "vacated c"]
    );
}

fn room_that_empties_and_fills_again_says_nothing(driver: Driver) {
    let receiver = Receiver::start();
    let telling = Telling::start(driver, &receiver, "debounce = \"1h\"", OPEN);
    for round in 1..=5 {
        let members = [(); 8].map(|()| Client::join(&telling.server, "a"));
        members.into_iter().for_each(Client::leave);
        receiver.awaits("disconnected", 8 * round);
    }
    assert_eq!(receiver.rooms(), ["occupied a"]);
}

fn only_kinds_and_namespaces_that_are_asked_for_are_told_of(driver: Driver) {
    let receiver = Receiver::start();
    let tables = format!(
        "{OPEN}[namespaces.quiet]\nevents = false\n{}",
        OPEN.split_once('\n').unwrap().1
    );
    let kinds = "kinds = [\"subscribed\", \"vacated\"]";
    let telling = Telling::start(driver, &receiver, kinds, &tables);
    let server = &telling.server;
    let mut session = Session::anonymous(server);
    subscribe(&mut session, 2, "quiet:a");
    subscribe(&mut session, 3, "loud");
    unsubscribe(&mut session, 4, "quiet:a");
    unsubscribe(&mut session, 5, "loud");
    Client::join(server, "quiet:b").leave();
    Client::join(server, "louder").leave();
    receiver.awaits("vacated", 2);
    let kinds: BTreeSet<_> = receiver.events().iter().map(told).collect();
    let expected = [
        "subscribed loud",
        "subscribed louder",
        "vacated loud",
        "vacated louder",
    ];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}

fn one_shot_rooms_are_told_of_by_six_characters(driver: Driver) {
    let receiver = Receiver::start();
    let telling = Telling::start(driver, &receiver, "", crate::oneshot_rooms::RULES);
    let server = &telling.server;
    let room = make(server, "login");
    let page = room.raw_page(server);
    let mut session = Session::anonymous(server);
    let framed = make(server, "framed");
    let data = json!({"secret": framed.secret});
    let subscribe = json!({"id": 2, "subscribe": {"channel": framed.room, "data": data}});
    let reply = session.ask(&subscribe.to_string());
    receiver.awaits("connected", 2);
    assert!(reply["subscribe"].is_object(), "{reply}");
    receiver.awaits("subscribed", 2);
    let mut publisher = room.raw_publisher(server);
    publisher.send("{}");
    receiver.awaits("connected", 3);
    drop((page, publisher, session));
    receiver.awaits("disconnected", 3);
    receiver.awaits("vacated", 2);
    let all = receiver.events();
    let shown = format!("{}...", &room.room[..6]);
    assert!(all.iter().any(|it| it["room"] == shown.as_str()), "{all:?}");
    for event in &all {
        let text = event.to_string();
        assert!(
            !text.contains(&room.room) && !text.contains(&framed.room),
            "{text}"
        );
        assert!(
            event["room"].as_str().is_none_or(|it| it.len() == 9),
            "{text}"
        );
    }
}

fn ordinary_messages_cost_nothing_of_it(driver: Driver) {
    assert!(FAST.contains("debounce"));
    let (receiver, telling) = open(driver);
    let server = &telling.server;
    let (mut one, mut other) = (Client::join(server, "a"), Client::join(server, "a"));
    receiver.awaits("subscribed", 2);
    let before = told_and_lost(server);
    for n in 0..100 {
        one.send(n.to_string());
        assert_eq!(other.text(), n.to_string());
    }
    assert_eq!(told_and_lost(server), before);
    // Without a URL nothing is told, and the thread for other servers does not exist.
    let silent = Server::start(driver, &[]);
    Client::join(&silent, "a").leave();
    assert_eq!(told_and_lost(&silent), 0.0);
}
