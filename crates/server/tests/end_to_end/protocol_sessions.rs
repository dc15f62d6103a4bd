//! Sessions of the Centrifuge protocol: the order of what is sent at once, and tokens that are exchanged.

use serde_json::{Value, json};
use tungstenite::Message;

use crate::{
    client::{Client, binary},
    commands::{Configured, OPEN, Said, Session, in_seconds, token},
    harness::{Driver, eventually},
};

on_both_drivers![
    commands_about_a_room_wait_for_its_subscription,
    rooms_of_a_connect_command_are_subscribed_to_as_far_as_the_client_may,
    client_that_is_refused_hears_nothing_of_the_rooms_that_were_asked_before,
    token_that_grants_other_rooms_is_taken_by_connecting_with_it,
    message_of_another_form_than_the_rooms_is_refused_on_every_way_in,
    commands_beyond_the_rate_are_answered_111_and_then_closed_with_3013,
    connections_of_one_user_beyond_the_most_are_closed_with_3504,
];

/// Only subscribers may do anything here.
const OF_SUBSCRIBERS: &str = r#"
[rooms]
subscribe = ["client", "anonymous"]
publish = ["subscriber", "anonymous"]
presence = true
read_presence = ["subscriber", "anonymous"]
history_size = 10
read_history = ["subscriber", "anonymous"]
"#;

/// They are sent in one frame with the subscription, before that can be answered.
fn commands_about_a_room_wait_for_its_subscription(driver: Driver) {
    let configured = Configured::start(driver, "", OF_SUBSCRIBERS, &["--cores", "2"]);
    for round in 0..20 {
        let mut session = Session::anonymous(&configured.server);
        let room = format!("r{round}");
        let commands = [
            json!({"id": 2, "subscribe": {"channel": room}}),
            json!({"id": 3, "publish": {"channel": room, "data": round}}),
            json!({"id": 4, "history": {"channel": room, "limit": 1}}),
            json!({"id": 5, "presence": {"channel": room}}),
            json!({"id": 6, "presence_stats": {"channel": room}}),
            json!({"id": 7, "unsubscribe": {"channel": room}}),
            json!({"id": 8, "publish": {"channel": room, "data": 1}}),
            json!({"id": 9, "subscribe": {"channel": room}}),
            json!({"id": 10, "unsubscribe": {"channel": room}}),
        ];
        session.send(commands.each_ref().map(Value::to_string).join("\n"));
        let mut replies = Vec::new();
        while replies.len() < commands.len() {
            let reply = session.reply();
            if reply["id"].is_u64() {
                replies.push(reply);
            }
        }
        replies.sort_by_key(|reply| reply["id"].as_u64());
        for (command, reply) in commands.iter().zip(&replies) {
            let is_refused = command["id"] == 8;
            let code = &reply["error"]["code"];
            assert_eq!(code == 103, is_refused, "{command}: {reply}");
            assert_eq!(code.is_null(), !is_refused, "{command}: {reply}");
        }
        let history = &replies[2]["history"]["publications"];
        assert_eq!(
            history[0]["data"], round,
            "published before it was asked for"
        );
        assert_eq!(replies[4]["presence_stats"]["num_clients"], 1);
    }
}

fn rooms_of_a_connect_command_are_subscribed_to_as_far_as_the_client_may(driver: Driver) {
    let positioned = "history_size = 10\nhistory_ttl = \"1m\"\npositions = \"forced\"\nrecovery = \"forced\"\nuser_limited = true\n";
    let closed = "[namespaces.closed]\nsubscribe = \"token\"\n";
    let tables = format!("[rooms]{OPEN}{positioned}{closed}");
    let configured = Configured::start(driver, "rooms_per_connection_max = 3\n", &tables, &[]);
    let connect = |subs: &Value, token: &str| {
        let mut session = Session::open(&configured.server);
        session.send(json!({"id": 1, "connect": {"token": token, "subs": subs}}).to_string());
        session
    };
    let mut publisher = Session::anonymous(&configured.server);
    let mut publish = |data: u32| {
        let command = json!({"id": 2, "publish": {"channel": "a", "data": data}});
        assert!(publisher.ask(&command.to_string())["publish"].is_object());
    };
    publish(1);
    let all = json!({"a": {}, "closed:a": {}, "$private": {}, "list#7": {}, "": {}});
    let without_empty = json!({"a": {}, "closed:a": {}, "$private": {}, "list#7": {}});
    assert_eq!(connect(&all, "").closed().0, 3501, "a room without a name");
    let subs = connect(&without_empty, "").reply()["connect"]["subs"].take();
    assert_eq!(subs.as_object().unwrap().keys().collect::<Vec<_>>(), ["a"]);
    let epoch = subs["a"]["epoch"].clone();
    publish(2);

    // The token grants one, and the client asks for another, from its position on.
    let granting = token(&json!({"sub": "7", "exp": in_seconds(600), "channels": ["closed:a"]}));
    let position = json!({"recover": true, "epoch": epoch, "offset": 1});
    let mut session = connect(&json!({"a": position, "list#7": {}}), &granting);
    let subs = session.reply()["connect"]["subs"].take();
    let names: Vec<_> = subs.as_object().unwrap().keys().collect();
    assert_eq!(names, ["a", "closed:a", "list#7"]);
    assert_eq!(subs["a"]["publications"][0]["data"], 2, "{subs}");
    publish(3);
    assert_eq!(session.reply()["push"]["pub"]["data"], 3);
    // What it has asked for by itself is no matter of its token.
    let refresh = json!({"id": 3, "refresh": {"token": granting}}).to_string();
    assert_eq!(session.ask(&refresh)["refresh"]["expires"], true);

    assert_eq!(connect(&json!({"unknown:a": {}}), "").closed().0, 3501);
    // What is not offered is refused here as in a subscribe command.
    let filter = json!({"key": "a", "cmp": "eq", "val": "b"});
    for not_offered in [
        json!({"tf": filter}),
        json!({"type": 1}),
        json!({"type": 4}),
    ] {
        let reply = connect(&json!({"a": not_offered}), "").reply();
        assert_eq!(reply["connect"]["subs"], Value::Null, "{reply}");
    }
    assert_eq!(
        connect(&json!({"a": {"delta": "zip"}}), "").closed().0,
        3501
    );
    let four = json!({"a": {}, "b": {}, "c": {}, "d": {}});
    assert_eq!(connect(&four, "").closed().0, 3505);
}

fn client_that_is_refused_hears_nothing_of_the_rooms_that_were_asked_before(driver: Driver) {
    let configured = Configured::start(driver, "", &format!("[rooms]{OPEN}"), &["--cores", "2"]);
    let mut session = Session::open(&configured.server);
    let granting = token(&json!({"sub": "1", "channels": ["a", "nowhere:b"]}));
    let command = json!({"id": 1, "connect": {"token": granting}});
    assert_eq!(session.ask(&command.to_string())["error"]["code"], 102);
    let mut publisher = Session::anonymous(&configured.server);
    let publish = r#"{"id":2,"publish":{"channel":"a","data":1}}"#;
    assert!(publisher.ask(publish)["publish"].is_object());
    assert_eq!(
        session.hear(),
        Said::Closed(3000, "connection closed".into())
    );
}

fn token_that_grants_other_rooms_is_taken_by_connecting_with_it(driver: Driver) {
    let tables = format!("[rooms]{OPEN}");
    let configured = Configured::start(driver, "", &tables, &[]);
    let of =
        |rooms: &[&str]| token(&json!({"sub": "1", "exp": in_seconds(600), "channels": rooms}));
    let connect = |rooms: &[&str]| {
        let mut session = Session::open(&configured.server);
        let command = json!({"id": 1, "connect": {"token": of(rooms)}});
        let connected = session.ask(&command.to_string());
        let subs = connected["connect"]["subs"].as_object();
        let subs: Vec<_> = subs.into_iter().flat_map(|subs| subs.keys()).collect();
        assert_eq!(subs, rooms);
        session
    };
    let refresh = |rooms: &[&str]| json!({"id": 2, "refresh": {"token": of(rooms)}}).to_string();
    for (before, after) in [
        (&["a", "b"][..], &["a"][..]),
        (&["a"], &["a", "b"]),
        (&["a"], &["b"]),
        (&["a"], &[]),
        (&[], &["a"]),
    ] {
        let mut session = connect(before);
        assert_eq!(session.ask(&refresh(before))["refresh"]["expires"], true);
        // What the client subscribes to by itself is no part of it.
        session.ask(r#"{"id":3,"subscribe":{"channel":"own"}}"#);
        assert_eq!(session.ask(&refresh(before))["refresh"]["expires"], true);
        session.send(refresh(after));
        let closed = (3010, "insufficient state".to_owned());
        assert_eq!(session.closed(), closed, "{before:?} {after:?}");
        connect(after);
    }
}

/// From SDKs in both encodings, and from raw clients.
fn message_of_another_form_than_the_rooms_is_refused_on_every_way_in(driver: Driver) {
    let own = "form = \"json_object\"\nmessage_bytes_max = 40\nraw = \"publish\"\n";
    let tables = format!("[rooms]{OPEN}raw = \"publish\"\n[namespaces.objects]{OPEN}{own}");
    let configured = Configured::start(driver, "", &tables, &[]);
    let server = &configured.server;
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(40));
    for (text, error, close) in [("[1]", 107, 1008), ("1", 107, 1008), (&long, 106, 1009)] {
        let mut session = Session::anonymous(server);
        let command = format!(r#"{{"id":2,"publish":{{"channel":"objects:a","data":{text}}}}}"#);
        assert_eq!(session.ask(&command)["error"]["code"], error, "{text}");
        let mut raw = Client::join(server, "objects:a");
        raw.send(text);
        assert_eq!(raw.closed(), close, "{text}");
    }
    let good = r#"{"a":1}"#;
    for message in [Message::text("no JSON"), Message::text(""), binary(good)] {
        let mut raw = Client::join(server, "objects:a");
        raw.send(message.clone());
        assert_eq!(raw.closed(), 1008, "{message:?}");
        // Where no form is asked for, it is only not to be empty.
        let mut raw = Client::join(server, "a");
        raw.send(message.clone());
        match message.is_empty() {
            true => assert_eq!(raw.closed(), 1008),
            false => assert_eq!(raw.receive(), message),
        }
    }
    let mut raw = Client::join(server, "objects:a");
    raw.send(good);
    assert_eq!(raw.text(), good);
    let mut session = Session::anonymous(server);
    let command = format!(r#"{{"id":2,"publish":{{"channel":"objects:a","data":{good}}}}}"#);
    assert!(session.ask(&command)["publish"].is_object());
    assert_eq!(raw.text(), good);
}

/// Beyond the rate a command is answered 111, so that its client may try later; one that goes on all the same is
/// closed.
fn commands_beyond_the_rate_are_answered_111_and_then_closed_with_3013(driver: Driver) {
    let settings = "message_rate = 1\nmessage_burst = 20\n";
    let tables = format!("[rooms]{OPEN}");
    let configured = Configured::start(driver, settings, &tables, &[]);
    let mut session = Session::anonymous(&configured.server);
    let commands: Vec<_> = (2..200)
        .map(|id| format!(r#"{{"id":{id},"presence_stats":{{"channel":"a"}}}}"#))
        .collect();
    session.send(commands.join("\n"));
    let (mut answered, mut refused) = (0, 0);
    let closed = loop {
        match session.hear() {
            Said::Line(line) if line.contains(r#""code":111"#) => {
                assert!(line.contains(r#""temporary":true"#), "{line}");
                refused += 1;
            }
            Said::Line(_) => answered += 1,
            closed @ Said::Closed(..) => break closed,
        }
    };
    assert_eq!(closed, Said::Closed(3013, "too many requests".into()));
    // A slow machine lets a few more through.
    assert!((19..100).contains(&answered), "{answered} answered");
    assert!((20..100).contains(&refused), "{refused} refused");
    let token = token(&json!({"sub": "1", "unlimited": true}));
    let mut session = Session::open(&configured.server);
    let command = json!({"id": 1, "connect": {"token": token}});
    assert!(session.ask(&command.to_string())["connect"].is_object());
    session.send(commands.join("\n"));
    for id in 2..200 {
        let reply = session.reply();
        assert_eq!(reply["id"], id);
        assert!(reply["error"].is_null(), "{reply}");
    }
}

fn connections_of_one_user_beyond_the_most_are_closed_with_3504(driver: Driver) {
    let tables = format!("[rooms]{OPEN}");
    let most = Configured::start(driver, "user_connections_max = 2\n", &tables, &[]);
    let single = Configured::start(driver, "single_connection = \"on\"\n", &tables, &[]);
    let connect = |of: &Configured, user: &str| {
        let token = token(&json!({"sub": user}));
        let mut session = Session::open(&of.server);
        session.send(json!({"id": 1, "connect": {"token": token}}).to_string());
        session
    };
    let limit = Said::Closed(3504, "connection limit".into());
    let opened = |session: &mut Session| session.reply()["connect"].is_object();
    for user in ["1", "2"] {
        let mut first = connect(&most, user);
        let mut second = connect(&most, user);
        assert!(opened(&mut first) && opened(&mut second));
        assert_eq!(connect(&most, user).hear(), limit);
        drop(first);
        eventually("there is a place again", || {
            matches!(connect(&most, user).hear(), Said::Line(_))
        });
    }
    // Nobody is no user.
    let nobody: Vec<_> = (0..5).map(|_| connect(&most, "")).collect();
    for mut session in nobody {
        assert!(opened(&mut session));
    }
    let mut first = connect(&single, "1");
    let mut other = connect(&single, "2");
    assert!(opened(&mut first) && opened(&mut other));
    let mut second = connect(&single, "1");
    assert!(opened(&mut second));
    assert_eq!(first.hear(), limit);
    assert_eq!(other.ask(r#"{"id":2,"rpc":{}}"#)["error"]["code"], 108);
    assert_eq!(second.ask(r#"{"id":2,"rpc":{}}"#)["error"]["code"], 108);
}
