//! Rooms with the latest value of each key as clients meet them: bounds, rights, slow subscribers, both
//! encodings and compression, reloads.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    client::{Client, scrape},
    commands::{Configured, OPEN, PATH, Said, Session, settings, token},
    harness::{Driver, eventually},
    reload::Reloading,
    wire,
};

on_both_drivers![
    subscriber_is_given_all_keys_and_then_what_changes,
    key_or_bytes_beyond_the_most_are_refused_with_106,
    who_may_not_publish_may_not_remove_either,
    slow_subscriber_is_given_the_newest_of_each_key_and_keeps_its_room,
    room_that_gets_keys_or_loses_them_by_a_reload_begins_anew,
    room_of_keys_is_no_room_of_the_servers_side,
    room_of_one_value_is_given_with_the_rooms_of_the_servers_side,
];

const KEYS: &str = "kind = \"latest_per_key\"\n";

fn start(driver: Driver, settings: &str, rules: &str) -> Configured {
    let tables = format!("[rooms]\n[namespaces.map]{OPEN}{KEYS}{rules}\n[namespaces.plain]{OPEN}");
    Configured::start(driver, settings, &tables, &["--cores", "2"])
}

/// The keys and values that a subscriber begins with.
fn subscribe(session: &mut Session, room: &str) -> Vec<(String, Value)> {
    let command = json!({"channel": room, "type": 1, "phase": 2, "flag": 1});
    let reply = session.ask(&json!({"id": 2, "subscribe": command}).to_string());
    assert_eq!(reply["subscribe"]["type"], 1, "{reply}");
    assert!(reply["subscribe"]["phase"].is_null(), "it is live at once");
    let state = reply["subscribe"]["state"].as_array();
    let of = |it: &Value| (text(&it["key"]), it["data"].clone());
    state.into_iter().flatten().map(of).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn set(session: &mut Session, room: &str, key: &str, data: &Value) -> Value {
    let command = json!({"channel": room, "type": 1, "key": key, "data": data});
    session.ask(&json!({"id": 3, "publish": command}).to_string())
}

fn remove(session: &mut Session, room: &str, key: &str) -> Value {
    let command = json!({"channel": room, "type": 1, "key": key, "removed": true});
    session.ask(&json!({"id": 3, "publish": command}).to_string())
}

#[track_caller]
fn check_taken(reply: &Value) {
    assert!(reply["publish"].is_object(), "{reply}");
}

fn subscriber_is_given_all_keys_and_then_what_changes(driver: Driver) {
    let configured = start(driver, "", "");
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    check_taken(&set(&mut publisher, "map:a", "eur", &json!(1)));
    check_taken(&set(&mut publisher, "map:a", "usd", &json!({"price": 2})));
    check_taken(&set(&mut publisher, "map:a", "gbp", &json!(null)));
    check_taken(&remove(&mut publisher, "map:a", "gbp"));
    // Nobody is told of a removal that removes nothing.
    check_taken(&remove(&mut publisher, "map:a", "gbp"));
    let mut subscriber = Session::anonymous(server);
    let all = subscribe(&mut subscriber, "map:a");
    let expected = [("eur", json!(1)), ("usd", json!({"price": 2}))];
    assert_eq!(all, expected.map(|(key, data)| (key.to_owned(), data)));
    check_taken(&remove(&mut publisher, "map:a", "gbp"));
    check_taken(&set(&mut publisher, "map:a", "eur", &json!(3)));
    check_taken(&remove(&mut publisher, "map:a", "usd"));
    let push = &subscriber.reply()["push"];
    assert_eq!(
        (&push["pub"]["key"], &push["pub"]["data"]),
        (&json!("eur"), &json!(3))
    );
    assert!(push["pub"]["offset"].is_null(), "{push}");
    let push = &subscriber.reply()["push"];
    assert_eq!(
        (&push["pub"]["key"], &push["pub"]["removed"]),
        (&json!("usd"), &json!(true))
    );
    assert!(push["pub"]["data"].is_null(), "{push}");
    // Its history is its keys, and who is in it is known.
    let reply = subscriber.ask(r#"{"id":4,"history":{"channel":"map:a","limit":1}}"#);
    assert_eq!(reply["error"]["code"], 108);
    let reply = subscriber.ask(r#"{"id":5,"presence_stats":{"channel":"map:a"}}"#);
    assert_eq!(reply["presence_stats"]["num_clients"], 1);
}

fn key_or_bytes_beyond_the_most_are_refused_with_106(driver: Driver) {
    let configured = start(driver, "", "keys_max = 3\nkeys_bytes_max = \"2KiB\"\n");
    let mut session = Session::anonymous(&configured.server);
    for key in ["a", "b", "c"] {
        check_taken(&set(&mut session, "map:a", key, &json!(1)));
    }
    assert_eq!(
        set(&mut session, "map:a", "d", &json!(1))["error"]["code"],
        106
    );
    check_taken(&remove(&mut session, "map:a", "b"));
    check_taken(&set(&mut session, "map:a", "d", &json!(1)));
    let long = json!("x".repeat(2_000));
    assert_eq!(set(&mut session, "map:a", "d", &long)["error"]["code"], 106);
    let all = subscribe(&mut session, "map:a");
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|(_, data)| *data == 1), "{all:?}");
    let refused =
        scrape(&configured.server)["hubbub_messages_refused_total{reason=\"table_full\"}"];
    assert_eq!(refused, 2.0);
}

fn who_may_not_publish_may_not_remove_either(driver: Driver) {
    let tables = format!(
        "[rooms]\n[namespaces.map]\n{KEYS}subscribe = [\"client\", \"anonymous\"]\npublish = \"client\"\n"
    );
    let configured = Configured::start(driver, "", &tables, &[]);
    let server = &configured.server;
    let mut owner = Session::open(server);
    let token = token(&json!({"sub": "1"}));
    owner.ask(&json!({"id": 1, "connect": {"token": token}}).to_string());
    check_taken(&set(&mut owner, "map:a", "k", &json!(1)));
    let mut other = Session::anonymous(server);
    assert_eq!(subscribe(&mut other, "map:a").len(), 1);
    assert_eq!(remove(&mut other, "map:a", "k")["error"]["code"], 103);
    assert_eq!(
        set(&mut other, "map:a", "k", &json!(2))["error"]["code"],
        103
    );
    check_taken(&remove(&mut owner, "map:a", "k"));
    assert_eq!(other.reply()["push"]["pub"]["removed"], true);
}

/// Several times what the kernel's buffers hold.
const ROUNDS: usize = 200;
const KEYS_HERE: usize = 20;
const VALUE: usize = 4 << 10;

fn slow_subscriber_is_given_the_newest_of_each_key_and_keeps_its_room(driver: Driver) {
    let configured = start(driver, "send_queue_bytes_max = \"256KiB\"\n", "");
    let server = &configured.server;
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut slow = Session::over(Client::over(stream, PATH, &[]).unwrap());
    slow.send(r#"{"id":1,"connect":{}}"#);
    slow.reply();
    subscribe(&mut slow, "map:a");
    let mut publisher = Session::anonymous(server);
    let filler = "x".repeat(VALUE);
    for round in 0..ROUNDS {
        for key in 0..KEYS_HERE {
            let data = json!([round, filler]);
            check_taken(&set(&mut publisher, "map:a", &key.to_string(), &data));
        }
    }
    assert_eq!(
        scrape(server)["hubbub_subscribers_conflated{core=\"0\"}"]
            + scrape(server)["hubbub_subscribers_conflated{core=\"1\"}"],
        1.0
    );
    let mut updates = 0;
    let mut newest: HashMap<String, u64> = HashMap::new();
    while newest.len() < KEYS_HERE || newest.values().any(|it| *it != ROUNDS as u64 - 1) {
        let said = slow.reply();
        let update = &said["push"]["pub"];
        let round = update["data"][0].as_u64().expect("an update");
        let before = newest.insert(text(&update["key"]), round);
        assert!(before.is_none_or(|before| before < round), "late or twice");
        updates += 1;
    }
    let all = ROUNDS * KEYS_HERE;
    assert!(updates < all / 2, "{updates}: it was never behind");
    eventually("what was passed over is counted", || {
        scrape(server)["hubbub_updates_passed_over_total"] == (all - updates) as f64
    });
    check_taken(&set(&mut publisher, "map:a", "0", &json!("now")));
    assert_eq!(slow.reply()["push"]["pub"]["data"], "now");
    assert_eq!(
        scrape(server)["hubbub_subscriptions_lost_total{reason=\"lagging\"}"],
        0.0
    );
}

fn room_that_gets_keys_or_loses_them_by_a_reload_begins_anew(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let with = |own: &str| settings(&dir, "", &format!("[rooms]\n[namespaces.map]{OPEN}{own}"));
    let mut reloading = Reloading::start(driver, &with(KEYS));
    let mut session = Session::anonymous(&reloading.server);
    check_taken(&set(&mut session, "map:a", "k", &json!(1)));
    assert_eq!(subscribe(&mut session, "map:a").len(), 1);
    reloading.reload(&with("history_size = 10\nrecovery = \"forced\"\n"));
    let push = session.reply();
    assert_eq!(push["push"]["unsubscribe"]["code"], 2502, "{push}");
    let reply = session.ask(r#"{"id":2,"subscribe":{"channel":"map:a","type":1,"phase":2}}"#);
    assert_eq!(reply["error"]["code"], 103);
    let reply = session.ask(r#"{"id":2,"subscribe":{"channel":"map:a"}}"#);
    assert!(reply["subscribe"]["publications"].is_null(), "{reply}");
    let reply = session.ask(r#"{"id":3,"publish":{"channel":"map:a","data":1}}"#);
    check_taken(&reply);
    assert_eq!(session.reply()["push"]["pub"]["data"], 1);
    reloading.reload(&with(KEYS));
    assert_eq!(session.reply()["push"]["unsubscribe"]["code"], 2502);
    assert_eq!(subscribe(&mut session, "map:a"), []);
}

fn room_of_one_value_is_given_with_the_rooms_of_the_servers_side(driver: Driver) {
    let cache = "history_size = 1\nrecovery = \"forced\"\nrecovery_mode = \"cache\"\n";
    let tables = format!("[rooms]\n[namespaces.cache]{OPEN}{cache}");
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    for value in [1, 2] {
        let command = json!({"channel": "cache:a", "data": value});
        check_taken(&publisher.ask(&json!({"id": 2, "publish": command}).to_string()));
    }
    let mut session = Session::open(server);
    let token = token(&json!({"sub": "1", "channels": ["cache:a", "cache:empty"]}));
    let reply = session.ask(&json!({"id": 1, "connect": {"token": token}}).to_string());
    let subs = &reply["connect"]["subs"];
    assert_eq!(subs["cache:a"]["publications"][0]["data"], 2, "{reply}");
    assert_eq!(subs["cache:a"]["recovered"], true);
    assert!(subs["cache:empty"]["recovered"].is_null(), "{reply}");
}

fn room_of_keys_is_no_room_of_the_servers_side(driver: Driver) {
    let configured = start(driver, "", "");
    let server = &configured.server;
    let mut session = Session::open(server);
    let claims = json!({"sub": "1", "channels": ["map:a", "plain:a"]});
    let subs = json!({"map:b": {"type": 1, "phase": 2}, "map:c": {}, "plain:b": {}});
    let connect = json!({"token": token(&claims), "subs": subs});
    let reply = session.ask(&json!({"id": 1, "connect": connect}).to_string());
    let subs = reply["connect"]["subs"].as_object().unwrap();
    let names: Vec<_> = subs.keys().collect();
    assert_eq!(names, ["plain:a", "plain:b"], "{reply}");
    // A new token grants as little, so that nothing has to become of the old one's rooms.
    let refresh = json!({"id": 2, "refresh": {"token": token(&claims)}});
    assert!(session.ask(&refresh.to_string())["refresh"].is_object());
    assert_eq!(subscribe(&mut session, "map:a"), []);
    session.send(r#"{"send":{}}"#);
    assert_eq!(session.hear(), Said::Closed(3508, "not available".into()));
}
