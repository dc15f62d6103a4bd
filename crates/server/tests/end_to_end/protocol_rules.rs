//! Rules of rooms as clients meet them: after a reload, at their rates, and when they read too slowly.

use serde_json::{Value, json};

use crate::{
    client::{Client, scrape},
    commands::{Configured, OPEN, PATH, Said, Session, settings, token},
    harness::{Driver, eventually},
    reload::Reloading,
    wire,
};

on_both_drivers![
    change_of_rules_ends_subscriptions_of_its_namespace_and_of_no_other,
    messages_beyond_the_rates_of_a_room_are_refused_and_unlimited_ones_are_not,
    slow_subscriber_loses_its_oldest_messages_or_its_subscription_as_the_namespace_says,
    subscriber_that_its_token_hides_is_neither_present_nor_announced,
    who_comes_back_is_counted_by_what_it_is_given,
    subscription_token_lets_its_subscriber_publish,
];

fn subscribe(session: &mut Session, id: u32, room: &str) {
    let command = json!({"id": id, "subscribe": {"channel": room}});
    let reply = session.ask(&command.to_string());
    assert!(reply["subscribe"].is_object(), "{reply}");
}

fn publish(session: &mut Session, room: &str, data: &Value) -> Value {
    let command = json!({"id": 1_000, "publish": {"channel": room, "data": data}});
    session.ask(&command.to_string())
}

fn connect(configured: &Configured, claims: &Value) -> Session {
    let mut session = Session::open(&configured.server);
    let command = json!({"id": 1, "connect": {"token": token(claims)}});
    let reply = session.ask(&command.to_string());
    assert!(reply["connect"].is_object(), "{reply}");
    session
}

fn change_of_rules_ends_subscriptions_of_its_namespace_and_of_no_other(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let text = |own: &str| {
        let open = format!("{OPEN}raw = \"publish\"\n");
        let tables = format!("[rooms]{open}[namespaces.same]{open}[namespaces.changed]\n{own}");
        settings(
            &dir,
            "ping_interval = \"10m\"\npong_timeout = \"10m\"\n",
            &tables,
        )
    };
    let open = format!("{OPEN}raw = \"publish\"\npositions = \"forced\"\n");
    let mut reloading = Reloading::start(driver, &text(&open));
    let server = &reloading.server;
    let mut own = Session::anonymous(server);
    subscribe(&mut own, 2, "same:a");
    subscribe(&mut own, 3, "changed:a");
    let mut granted = Session::open(server);
    let of_rooms = token(&json!({"sub": "1", "channels": ["changed:b"]}));
    granted.ask(&json!({"id": 1, "connect": {"token": of_rooms}}).to_string());
    let mut raw_same = Client::join(server, "same:a");
    let mut raw_changed = Client::join(server, "changed:a");
    for (raw, text) in [(&mut raw_same, "1"), (&mut raw_changed, "2")] {
        raw.send(text);
        assert_eq!(raw.text(), text);
    }
    for room in ["same:a", "changed:a"] {
        assert_eq!(own.reply()["push"]["channel"], room);
    }

    reloading.reload(&text("subscribe = [\"client\", \"anonymous\"]\npresence = true\nread_presence = [\"client\", \"anonymous\"]\n"));
    let server = &reloading.server;
    let unsubscribe = json!({"code": 2502, "reason": "state invalidated"});
    let push = json!({"push": {"channel": "changed:a", "unsubscribe": unsubscribe}});
    assert_eq!(own.reply(), push);
    assert_eq!(
        granted.hear(),
        Said::Closed(3014, "state invalidated".into())
    );
    assert_eq!(raw_changed.closed(), 1013);
    // The client subscribes by the new rules, and the others hear nothing of all this.
    subscribe(&mut own, 4, "changed:a");
    assert_eq!(
        publish(&mut own, "changed:a", &json!(1))["error"]["code"],
        103
    );
    let presence = own.ask(r#"{"id":5,"presence_stats":{"channel":"changed:a"}}"#);
    assert_eq!(presence["presence_stats"]["num_clients"], 1, "{presence}");
    raw_same.send("3");
    assert_eq!(raw_same.text(), "3");
    assert_eq!(own.reply()["push"]["pub"]["data"], 3);
    let refused = Client::with_fields(server, "/rooms/changed:a", &[]);
    assert_eq!(
        refused.err(),
        Some(403),
        "raw clients are not let in any more"
    );
}

fn messages_beyond_the_rates_of_a_room_are_refused_and_unlimited_ones_are_not(driver: Driver) {
    let raw = "raw = \"publish\"\n";
    let tables = format!(
        "[rooms]{OPEN}\
         [namespaces.room]{OPEN}{raw}room_rate = 1\nroom_burst = 5\n\
         [namespaces.user]{OPEN}{raw}user_rate = 1\nuser_burst = 5\n"
    );
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let taken = |session: &mut Session, room: &str| {
        let replies = (0..20).map(|n| publish(session, room, &json!(n)));
        let (refused, taken): (Vec<_>, Vec<_>) = replies.partition(|it| it["error"].is_object());
        assert!(
            refused.iter().all(|it| it["error"]["code"] == 111),
            "{refused:?}"
        );
        taken.len()
    };
    // A slow machine lets a few more through than the burst.
    let [mut first, mut second] = [(); 2].map(|()| connect(&configured, &json!({"sub": "1"})));
    let mut other = connect(&configured, &json!({"sub": "2"}));
    assert!((5..15).contains(&taken(&mut first, "room:a")));
    assert!(taken(&mut other, "room:a") < 5, "the burst was the room's");
    assert!((5..15).contains(&taken(&mut first, "user:a")));
    assert!(taken(&mut second, "user:a") < 5, "the burst was the user's");
    assert!((5..15).contains(&taken(&mut other, "user:a")));
    let mut unlimited = connect(&configured, &json!({"sub": "1", "unlimited": true}));
    assert_eq!(taken(&mut unlimited, "room:a"), 20);
    assert_eq!(taken(&mut unlimited, "user:a"), 20);
    // A raw client has no replies, so it is closed.
    let mut raw = Client::join(&configured.server, "user:a");
    for n in 0..20 {
        raw.write(n.to_string());
    }
    raw.flush();
    assert_eq!(raw.closed(), 1008);
}

/// Several times what the kernel's buffers hold.
const MESSAGES: usize = 1_000;
const MESSAGE: usize = 16 << 10;

fn slow_subscriber_loses_its_oldest_messages_or_its_subscription_as_the_namespace_says(
    driver: Driver,
) {
    let tables = format!(
        "[rooms]{OPEN}\
         [namespaces.gone]{OPEN}\
         [namespaces.newest]{OPEN}overflow = \"drop_oldest\"\n"
    );
    let queue = "send_queue_bytes_max = \"256KiB\"\n";
    let configured = Configured::start(driver, queue, &tables, &["--cores", "2"]);
    let server = &configured.server;
    for room in ["gone:a", "newest:a"] {
        let stream = wire::connect_narrow(server.address(), 4096);
        let mut slow = Session::over(Client::over(stream, PATH, &[]).unwrap());
        slow.send(r#"{"id":1,"connect":{}}"#);
        slow.reply();
        subscribe(&mut slow, 2, room);
        let mut publisher = Session::anonymous(server);
        let filler = "x".repeat(MESSAGE);
        for n in 0..MESSAGES {
            let reply = publish(&mut publisher, room, &json!([n, filler]));
            assert!(reply["publish"].is_object(), "{reply}");
        }
        // The last of them may be passed over, too. A short one behind it has space.
        publish(&mut publisher, room, &json!([MESSAGES, ""]));
        let mut heard = Vec::new();
        let end = loop {
            let push = slow.reply();
            match push["push"]["pub"]["data"][0].as_u64() {
                Some(n) => heard.push(n),
                None => break push,
            }
            if heard.last() == Some(&(MESSAGES as u64)) {
                break Value::Null;
            }
        };
        assert!(heard.is_sorted());
        assert!(heard.len() < MESSAGES, "it was never behind");
        let samples = scrape(server);
        let lost = samples["hubbub_subscriptions_lost_total{reason=\"lagging\"}"];
        match room {
            "newest:a" => {
                assert!(end.is_null(), "{end}");
                let skipped = samples["hubbub_messages_skipped_total"];
                assert_eq!(skipped, (MESSAGES + 1 - heard.len()) as f64);
            }
            _ => {
                assert_eq!(end["push"]["unsubscribe"]["code"], 2500, "{end}");
                assert_eq!(lost, 1.0);
            }
        }
        // Either way it is still connected, and can go on.
        assert_eq!(slow.ask(r#"{"id":3,"rpc":{}}"#)["error"]["code"], 108);
    }
}

fn subscriber_that_its_token_hides_is_neither_present_nor_announced(driver: Driver) {
    let tables = format!("[rooms]{OPEN}join_leave = \"forced\"\n");
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut watcher = Session::anonymous(server);
    subscribe(&mut watcher, 2, "a");
    assert!(watcher.reply()["push"]["join"].is_object());
    for is_hidden in [true, false] {
        let mut claims = json!({"sub": "", "channel": "a"});
        if is_hidden {
            claims["override"] = json!({"presence": {"value": false}});
        }
        let mut session = Session::anonymous(server);
        let command = json!({"channel": "a", "token": token(&claims)});
        let reply = session.ask(&json!({"id": 2, "subscribe": command}).to_string());
        assert!(reply["subscribe"].is_object(), "{reply}");
        // What the room has to announce comes before what is published later.
        session.ask(r#"{"id":3,"publish":{"channel":"a","data":1}}"#);
        if !is_hidden {
            assert!(watcher.reply()["push"]["join"].is_object());
        }
        assert_eq!(watcher.reply()["push"]["pub"]["data"], 1);
        let stats = watcher.ask(r#"{"id":3,"presence_stats":{"channel":"a"}}"#);
        let members = if is_hidden { 1 } else { 2 };
        assert_eq!(stats["presence_stats"]["num_clients"], members, "{stats}");
        session.ask(r#"{"id":4,"unsubscribe":{"channel":"a"}}"#);
        session.ask(r#"{"id":5,"publish":{"channel":"a","data":2}}"#);
        if !is_hidden {
            assert!(watcher.reply()["push"]["leave"].is_object());
        }
        assert_eq!(watcher.reply()["push"]["pub"]["data"], 2);
    }
}

fn who_comes_back_is_counted_by_what_it_is_given(driver: Driver) {
    let own =
        "history_size = 2\nhistory_ttl = \"10m\"\npositions = \"forced\"\nrecovery = \"forced\"\n";
    let configured = Configured::start(driver, "", &format!("[rooms]{OPEN}{own}"), &[]);
    let server = &configured.server;
    let mut publisher = Session::anonymous(server);
    for n in 0..5 {
        publish(&mut publisher, "a", &json!(n));
    }
    let mut session = Session::anonymous(server);
    let mut recover = |epoch: &Value, offset: u64| {
        let position = json!({"channel": "a", "recover": true, "epoch": epoch, "offset": offset});
        let reply = session.ask(&json!({"id": 2, "subscribe": position}).to_string());
        session.ask(r#"{"id":3,"unsubscribe":{"channel":"a"}}"#);
        reply["subscribe"].clone()
    };
    let epoch = recover(&json!("none"), 4)["epoch"].clone();
    assert_eq!(recover(&epoch, 4)["recovered"], true);
    assert_eq!(recover(&epoch, 5)["recovered"], true);
    assert_eq!(recover(&epoch, 1)["recovered"], Value::Null);
    assert_eq!(recover(&epoch, 6)["recovered"], Value::Null);
    let samples = scrape(server);
    let count = |outcome| samples[&format!("hubbub_recoveries_total{{outcome=\"{outcome}\"}}")];
    let outcomes = ["exact", "epoch", "size", "time", "cap", "memory"].map(count);
    assert_eq!(outcomes, [2.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
    // The publisher's connect command and its five, and the session's connect command and its ten.
    assert_eq!(samples["hubbub_commands_total"], 17.0);
    // Homes say it a little later.
    eventually("the history is counted", || {
        scrape(server)["hubbub_history_bytes"] > 0.0
    });
}

fn subscription_token_lets_its_subscriber_publish(driver: Driver) {
    let tables = "[rooms]\n[namespaces.feed]\npublish = \"client\"\nraw = \"publish\"\n";
    let configured = Configured::start(driver, "", tables, &[]);
    for (claims, is_allowed) in [(json!({}), false), (json!({"publish": true}), true)] {
        let mut claims = claims;
        claims["sub"] = json!("");
        claims["channel"] = json!("feed:a");
        let token = token(&claims);
        let mut session = Session::anonymous(&configured.server);
        let command = json!({"id": 2, "subscribe": {"channel": "feed:a", "token": token}});
        let reply = session.ask(&command.to_string());
        assert!(reply["subscribe"].is_object(), "{reply}");
        let reply = publish(&mut session, "feed:a", &json!(1));
        assert_eq!(reply["publish"].is_object(), is_allowed, "{reply}");
        let mut raw = Client::join(&configured.server, &format!("feed:a?token={token}"));
        raw.send("2");
        match is_allowed {
            true => assert_eq!(raw.text(), "2"),
            false => assert_eq!(raw.closed(), 1008),
        }
    }
}
