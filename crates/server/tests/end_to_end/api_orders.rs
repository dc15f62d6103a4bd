//! What back ends order connections to do: go into rooms, leave them, end, and live longer.

use serde_json::{Value, json};

use crate::{
    caller::Api,
    client::Client,
    commands::{Session, in_seconds, token},
    harness::Driver,
};

on_both_drivers![
    user_is_subscribed_and_told_what_it_has_missed,
    order_to_subscribe_that_makes_no_sense_changes_nothing,
    user_is_unsubscribed_from_one_room_or_all,
    user_is_disconnected_and_others_stay,
    orders_mean_certain_connections_alone,
    connections_without_a_name_are_ordered_as_one_user,
    refresh_ends_a_connection_or_lets_it_live,
    raw_clients_obey_what_concerns_them,
];

const CONFIG: &str = r#"
[namespaces.chat]
subscribe = ["client", "anonymous"]
publish = "client"
presence = true
history_size = 10
recovery = "forced"
raw = "publish"
[namespaces.closed]
[namespaces.table]
kind = "latest_per_key"
"#;

fn start(driver: Driver) -> Api {
    Api::with_tokens(driver, CONFIG, &["--cores", "2"])
}

/// A session of this user, and its id.
fn session(server: &Api, user: &str) -> (Session, String) {
    session_with(server, json!({"sub": user}))
}

fn session_with(server: &Api, claims: Value) -> (Session, String) {
    let mut session = Session::open(server);
    let token = token(&claims);
    let reply = session.ask(&json!({"id": 1, "connect": {"token": token}}).to_string());
    let client = reply["connect"]["client"].as_str().unwrap().to_owned();
    (session, client)
}

/// Subscribes with a command of its own.
fn subscribe(session: &mut Session, room: &str) {
    let command = json!({"id": 2, "subscribe": {"channel": room}});
    let reply = session.ask(&command.to_string());
    assert!(reply["error"].is_null(), "{reply}");
}

/// Whether it is still there: it answers a command, before which it is told nothing.
#[track_caller]
fn is_there(session: &mut Session) {
    session.send(r#"{"id":99,"presence_stats":{"channel":"chat:is there"}}"#);
    assert_eq!(session.reply()["id"], 99);
}

fn user_is_subscribed_and_told_what_it_has_missed(driver: Driver) {
    let server = start(driver);
    let mut epoch = Value::Null;
    for n in 1..=3 {
        let placed = server.call("publish", json!({"channel": "chat:a", "data": n}));
        epoch = placed["epoch"].clone();
    }
    let (mut ann, _) = session(&server, "ann");
    let (mut bob, _) = session(&server, "bob");
    let order =
        json!({"user": "ann", "channel": "closed:a", "data": {"hello": 1}, "info": {"nick": "A"}});
    assert_eq!(server.call("subscribe", order), json!({}));
    let push = ann.reply()["push"].clone();
    assert_eq!(
        push,
        json!({"channel": "closed:a", "subscribe": {"data": {"hello": 1}}})
    );
    server.call("publish", json!({"channel": "closed:a", "data": 7}));
    assert_eq!(ann.reply()["push"]["pub"]["data"], 7);
    // From a position on, with what others see of it.
    let since = json!({"offset": 1, "epoch": epoch});
    let order = json!({"user": "ann", "channel": "chat:a", "recover_since": since, "b64info": "eyJhIjoxfQ=="});
    server.call("subscribe", order);
    let push = ann.reply()["push"].clone();
    let expected = json!({"recoverable": true, "epoch": epoch, "offset": 1, "positioned": true});
    assert_eq!(push, json!({"channel": "chat:a", "subscribe": expected}));
    for n in 2..=3 {
        let push = ann.reply()["push"].clone();
        assert_eq!(
            (&push["pub"]["offset"], &push["pub"]["data"]),
            (&json!(n), &json!(n))
        );
    }
    let presence = server.call("presence", json!({"channel": "chat:a"}))["presence"].clone();
    let only = presence
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .clone();
    assert_eq!(
        (&only["user"], &only["chan_info"]),
        (&json!("ann"), &json!({"a": 1}))
    );
    is_there(&mut bob);
}

fn order_to_subscribe_that_makes_no_sense_changes_nothing(driver: Driver) {
    let server = start(driver);
    let (mut ann, _) = session(&server, "ann");
    for (request, code) in [
        (json!({"user": "ann"}), 107),
        (json!({"user": "ann", "channel": "nowhere:a"}), 102),
        (json!({"user": "ann", "channel": "table:a"}), 108),
        (
            json!({"user": "ann", "channel": "chat:a", "b64data": "?"}),
            107,
        ),
    ] {
        assert_eq!(server.fail("subscribe", request.clone()), code, "{request}");
    }
    subscribe(&mut ann, "chat:a");
    // It is there already.
    server.call("subscribe", json!({"user": "ann", "channel": "chat:a"}));
    is_there(&mut ann);
    server.call("publish", json!({"channel": "chat:a", "data": 1}));
    assert_eq!(ann.reply()["push"]["pub"]["data"], 1);
    is_there(&mut ann);
}

fn user_is_unsubscribed_from_one_room_or_all(driver: Driver) {
    let server = start(driver);
    let (mut ann, _) = session(&server, "ann");
    let (mut bob, _) = session(&server, "bob");
    for room in ["chat:a", "chat:b", "chat:c"] {
        subscribe(&mut ann, room);
        subscribe(&mut bob, room);
    }
    server.call("unsubscribe", json!({"user": "ann", "channel": "chat:b"}));
    let gone = json!({"code": 2000, "reason": "server unsubscribe"});
    assert_eq!(
        ann.reply()["push"],
        json!({"channel": "chat:b", "unsubscribe": gone})
    );
    server.call("publish", json!({"channel": "chat:b", "data": 1}));
    server.call("publish", json!({"channel": "chat:a", "data": 2}));
    assert_eq!(ann.reply()["push"]["channel"], "chat:a");
    server.call("unsubscribe", json!({"user": "ann"}));
    let mut left = [ann.reply(), ann.reply()].map(|it| {
        assert_eq!(it["push"]["unsubscribe"]["code"], 2000);
        it["push"]["channel"].as_str().unwrap().to_owned()
    });
    left.sort_unstable();
    assert_eq!(left, ["chat:a", "chat:c"]);
    // It may come back, since that is what its rooms say.
    subscribe(&mut ann, "chat:a");
    assert_eq!(bob.reply()["push"]["channel"], "chat:b");
    assert_eq!(
        server.fail(
            "unsubscribe",
            json!({"user": "ann", "channel": "nowhere:a"})
        ),
        102
    );
}

fn user_is_disconnected_and_others_stay(driver: Driver) {
    let server = start(driver);
    let (mut bob, _) = session(&server, "bob");
    for (disconnect, code, reason) in [
        (Value::Null, 3503, "force disconnect"),
        (json!({"code": 4999, "reason": "banned"}), 4999, "banned"),
        (json!({"code": 3001}), 3001, ""),
    ] {
        let (mut ann, _) = session(&server, "ann");
        let mut request = json!({"user": "ann"});
        if !disconnect.is_null() {
            request["disconnect"] = disconnect;
        }
        assert_eq!(server.call("disconnect", request), json!({}));
        assert_eq!(ann.closed(), (code, reason.to_owned()));
    }
    for disconnect in [
        json!({"code": 1000}),
        json!({"code": 2999}),
        json!({"code": 5000}),
        json!({"code": 70000}),
        json!({"code": 4000, "reason": "x".repeat(124)}),
    ] {
        let request = json!({"user": "bob", "disconnect": disconnect});
        assert_eq!(server.fail("disconnect", request.clone()), 107, "{request}");
    }
    is_there(&mut bob);
    server.call("disconnect", json!({"user": "nobody"}));
}

fn orders_mean_certain_connections_alone(driver: Driver) {
    let server = start(driver);
    let (mut one, first) = session(&server, "ann");
    let (mut two, _) = session(&server, "ann");
    server.call("disconnect", json!({"user": "ann", "client": first}));
    assert_eq!(one.closed().0, 3503);
    is_there(&mut two);
    // Of another user's connection with that id there is none.
    let (mut three, third) = session(&server, "ann");
    server.call("disconnect", json!({"user": "bob", "client": third}));
    server.call(
        "disconnect",
        json!({"user": "ann", "session": "no such session"}),
    );
    server.call("disconnect", json!({"user": "ann", "whitelist": [third]}));
    assert_eq!(two.closed().0, 3503);
    is_there(&mut three);
    server.call(
        "subscribe",
        json!({"user": "ann", "client": third, "channel": "closed:a"}),
    );
    assert_eq!(three.reply()["push"]["channel"], "closed:a");
}

fn connections_without_a_name_are_ordered_as_one_user(driver: Driver) {
    let server = start(driver);
    let mut nobody = Session::anonymous(&server);
    let mut raw = Client::join(&server, "chat:a");
    let (mut ann, _) = session(&server, "ann");
    server.call("subscribe", json!({"user": "", "channel": "closed:a"}));
    assert_eq!(nobody.reply()["push"]["channel"], "closed:a");
    server.call("disconnect", json!({}));
    assert_eq!(nobody.closed().0, 3503);
    assert_eq!(raw.closed(), 3503);
    is_there(&mut ann);
}

fn refresh_ends_a_connection_or_lets_it_live(driver: Driver) {
    let server = start(driver);
    let (mut ann, _) = session(&server, "ann");
    server.call("refresh", json!({"user": "ann", "expired": true}));
    assert_eq!(ann.closed().0, 3005);
    let (mut ann, _) = session(&server, "ann");
    server.call(
        "refresh",
        json!({"user": "ann", "expire_at": in_seconds(-1)}),
    );
    assert_eq!(ann.closed().0, 3005);
    let (mut ann, _) = session_with(&server, json!({"sub": "ann", "exp": in_seconds(60)}));
    let request = json!({"user": "ann", "expire_at": in_seconds(3600), "info": {"nick": "A"}});
    server.call("refresh", request);
    // Whoever comes into its rooms sees what it is now.
    server.call("subscribe", json!({"user": "ann", "channel": "chat:a"}));
    assert_eq!(ann.reply()["push"]["channel"], "chat:a");
    let presence = server.call("presence", json!({"channel": "chat:a"}))["presence"].clone();
    let only = presence
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .clone();
    assert_eq!(only["conn_info"], json!({"nick": "A"}));
    // One who cannot ask is told.
    let claims = json!({"sub": "bob", "exp": in_seconds(60)});
    let mut one_way = Client::connect(&server, "/connection/uni_websocket");
    one_way.send(json!({"token": token(&claims)}).to_string());
    assert!(one_way.text().contains("\"connect\""));
    server.call(
        "refresh",
        json!({"user": "bob", "expire_at": in_seconds(3600)}),
    );
    let told: Value = serde_json::from_str(&one_way.text()).unwrap();
    assert_eq!(told["refresh"]["expires"], true, "{told}");
    assert!(told["refresh"]["ttl"].as_u64().unwrap() > 3_000, "{told}");
    server.call(
        "disconnect",
        json!({"user": "bob", "disconnect": {"code": 4000, "reason": "bye"}}),
    );
    assert!(one_way.text().contains("\"reason\":\"bye\""));
}

fn raw_clients_obey_what_concerns_them(driver: Driver) {
    let server = start(driver);
    let join = |user: &str| {
        let token = token(&json!({"sub": user}));
        Client::connect(&server, &format!("/rooms/chat:a?token={token}"))
    };
    let (mut ann, mut bob) = (join("ann"), join("bob"));
    let said = |client: &mut Client, data: u32| assert_eq!(client.text(), data.to_string());
    // None of these concerns it.
    server.call("subscribe", json!({"user": "ann", "channel": "chat:b"}));
    server.call("unsubscribe", json!({"user": "ann", "channel": "chat:b"}));
    server.call(
        "refresh",
        json!({"user": "ann", "expire_at": in_seconds(60)}),
    );
    server.call("disconnect", json!({"user": "ann", "client": "another"}));
    server.call("publish", json!({"channel": "chat:a", "data": 1}));
    said(&mut ann, 1);
    said(&mut bob, 1);
    server.call("unsubscribe", json!({"user": "ann", "channel": "chat:a"}));
    assert_eq!(ann.closed(), 1008);
    let mut ann = join("ann");
    let presence = server.call("presence", json!({"channel": "chat:a"}))["presence"].clone();
    // The one that has left may still be there.
    for (client, info) in presence.as_object().unwrap() {
        if info["user"] == "ann" {
            let disconnect = json!({"code": 4001, "reason": "go"});
            let request = json!({"user": "ann", "client": client, "disconnect": disconnect});
            server.call("disconnect", request);
        }
    }
    assert_eq!(ann.closed(), 4001);
    server.call("publish", json!({"channel": "chat:a", "data": 2}));
    said(&mut bob, 2);
    server.call("refresh", json!({"user": "bob", "expired": true}));
    assert_eq!(bob.closed(), 1008);
    // One in an open world, of which nothing is known.
    let open = Api::start(driver, "", &[]);
    let (mut one, mut two) = (Client::join(&open, "a"), Client::join(&open, "b"));
    open.call("unsubscribe", json!({"channel": "a"}));
    assert_eq!(one.closed(), 1008);
    open.call("publish", json!({"channel": "b", "data": 3}));
    said(&mut two, 3);
    open.call("disconnect", json!({}));
    assert_eq!(two.closed(), 3503);
}
