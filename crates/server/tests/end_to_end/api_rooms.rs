//! What back ends do with rooms: publish in them, ask about them, list them.

use serde_json::{Value, json};

use crate::{
    caller::Api,
    client::Client,
    commands::Session,
    harness::{Driver, eventually},
};

on_both_drivers![
    message_is_answered_with_its_place_and_reaches_all_kinds_of_subscribers,
    message_of_a_room_without_positions_is_answered_without_one,
    message_is_refused_that_has_no_place,
    repeated_message_has_one_place_by_its_key,
    broadcast_is_answered_for_each_room_in_order,
    body_that_is_posted_to_a_room_is_published_as_it_is,
    history_is_told_in_parts_and_forgotten_on_request,
    presence_is_told_where_it_is_known,
    rooms_are_listed_by_pattern_and_in_pages,
    batch_is_answered_in_order_whatever_becomes_of_each,
    server_tells_how_it_stands,
    message_is_left_out_whose_version_is_not_above_the_latest,
    value_is_left_out_whose_version_is_not_above_that_of_its_own_key,
    idempotency_key_that_cannot_be_read_is_refused,
    message_that_is_not_to_be_kept_is_told_and_not_kept,
    table_of_a_room_is_set_told_and_cleared,
    what_has_no_key_or_no_table_is_refused,
];

const CONFIG: &str = r#"
anonymous = "on"
[namespaces.chat]
subscribe = ["client", "anonymous"]
history_size = 10
positions = "forced"
raw = "publish"
publish = ["client", "anonymous"]
[namespaces.plain]
subscribe = ["client", "anonymous"]
raw = "subscribe"
[namespaces.objects]
subscribe = ["client", "anonymous"]
form = "json_object"
[namespaces.table]
kind = "latest_per_key"
subscribe = ["client", "anonymous"]
[namespaces.people]
subscribe = ["client", "anonymous"]
presence = true
"#;

fn start(driver: Driver) -> Api {
    Api::start(driver, CONFIG, &["--cores", "2"])
}

/// A session in this room.
fn subscriber(server: &Api, room: &str) -> Session {
    let mut session = Session::anonymous(server);
    let command = json!({"id": 2, "subscribe": {"channel": room}});
    let reply = session.ask(&command.to_string());
    assert!(reply["error"].is_null(), "{reply}");
    session
}

fn message_is_answered_with_its_place_and_reaches_all_kinds_of_subscribers(driver: Driver) {
    let server = start(driver);
    let mut sdk = subscriber(&server, "chat:a");
    let mut raw = Client::join(&server, "chat:a");
    let epoch = server.call("history", json!({"channel": "chat:a"}))["epoch"].clone();
    let data = json!({"text": "é\n", "n": [1, null]});
    let request = json!({"channel": "chat:a", "data": data, "tags": {"b": "2", "a": "1"}});
    let place = server.call("publish", request);
    assert_eq!(place, json!({"offset": 1, "epoch": epoch}));
    let published = &sdk.reply()["push"]["pub"].clone();
    assert_eq!(published["data"], data);
    assert_eq!(published["tags"], json!({"a": "1", "b": "2"}));
    assert_eq!(published["offset"], 1);
    assert!(published.get("info").is_none(), "{published}");
    assert_eq!(raw.text(), data.to_string());
    // What is no JSON is given to programs of JSON as base64.
    let place = server.call("publish", json!({"channel": "chat:a", "b64data": "AP8="}));
    assert_eq!(place["offset"], 2);
    assert_eq!(sdk.reply()["push"]["pub"]["data"], "AP8=");
    assert_eq!(raw.receive().into_data()[..], [0, 255]);
    // And what is, is JSON whichever way it came.
    server.call("publish", json!({"channel": "chat:a", "b64data": "WzFd"}));
    assert_eq!(sdk.reply()["push"]["pub"]["data"], json!([1]));
    server.call("publish", json!({"channel": "chat:a", "data": null}));
    assert_eq!(sdk.reply()["push"]["pub"]["data"], Value::Null);
}

fn message_of_a_room_without_positions_is_answered_without_one(driver: Driver) {
    let server = start(driver);
    let mut raw = Client::join(&server, "plain:a");
    assert_eq!(
        server.call("publish", json!({"channel": "plain:a", "data": 1})),
        json!({})
    );
    assert_eq!(raw.text(), "1");
}

fn message_is_refused_that_has_no_place(driver: Driver) {
    let server = start(driver);
    for (request, code) in [
        (json!({"data": 1}), 107),
        (json!({"channel": "chat:a"}), 107),
        (json!({"channel": "chat:a", "b64data": "?"}), 107),
        (json!({"channel": "chat:é", "data": 1}), 107),
        (json!({"channel": "x".repeat(256), "data": 1}), 107),
        (json!({"channel": "a/b", "data": 1}), 107),
        (json!({"channel": "nowhere:a", "data": 1}), 102),
        (json!({"channel": "objects:a", "data": [1]}), 107),
        (json!({"channel": "objects:a", "b64data": "WzFd"}), 107),
        (json!({"channel": "table:a", "data": 1}), 108),
        (
            json!({"channel": "chat:a", "data": 1, "idempotency_key": "k".repeat(256)}),
            107,
        ),
    ] {
        assert_eq!(server.fail("publish", request.clone()), code, "{request}");
    }
    server.call("publish", json!({"channel": "objects:a", "data": {}}));
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let request = format!(r#"{{"channel":"chat:a","data":{deep}}}"#);
    let answer = server.post("/api/publish", &[], request);
    assert_eq!(crate::caller::json(&answer)["error"]["code"], 107);
}

fn repeated_message_has_one_place_by_its_key(driver: Driver) {
    let server = start(driver);
    let mut subscriber = subscriber(&server, "chat:a");
    let request = |data: u32| json!({"channel": "chat:a", "data": data, "idempotency_key": "k"});
    let first = server.call("publish", request(1));
    assert_eq!(server.call("publish", request(1)), first);
    assert_eq!(server.fail("publish", request(2)), 113);
    let elsewhere = json!({"channel": "chat:b", "data": 2, "idempotency_key": "k"});
    assert_eq!(server.call("publish", elsewhere)["offset"], 1);
    server.call("publish", json!({"channel": "chat:a", "data": 3}));
    assert_eq!(subscriber.reply()["push"]["pub"]["data"], 1);
    assert_eq!(subscriber.reply()["push"]["pub"]["data"], 3);
}

fn broadcast_is_answered_for_each_room_in_order(driver: Driver) {
    let server = start(driver);
    let mut subscriber = subscriber(&server, "chat:b");
    let request = json!({"channels": ["chat:a", "nowhere:a", "chat:b", "plain:a"], "data": 7});
    let responses = server.call("broadcast", request)["responses"].clone();
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2]["result"]["offset"], 1);
    assert_eq!(responses[3], json!({"result": {}}));
    assert_eq!(subscriber.reply()["push"]["pub"]["data"], 7);
    assert_eq!(server.fail("broadcast", json!({"data": 7})), 107);
    let many: Vec<_> = (0..2_000).map(|room| format!("chat:{room}")).collect();
    let responses =
        server.call("broadcast", json!({"channels": many, "data": 8}))["responses"].clone();
    let placed = responses.as_array().unwrap().iter();
    assert_eq!(
        placed.filter(|it| it["result"]["offset"] == 1).count(),
        2_000
    );
}

fn body_that_is_posted_to_a_room_is_published_as_it_is(driver: Driver) {
    let server = start(driver);
    let (mut raw, mut sdk) = (
        Client::join(&server, "chat:a%20b"),
        subscriber(&server, "chat:a b"),
    );
    let answer = server.post(
        "/rooms/chat:a%20b",
        &["Content-Type: text/plain"],
        "hello\nthere",
    );
    assert_eq!(answer.status, 200);
    assert_eq!(crate::caller::json(&answer)["result"]["offset"], 1);
    assert_eq!(raw.text(), "hello\nthere");
    assert_eq!(sdk.reply()["push"]["pub"]["data"], "hello\nthere");
    server.post("/rooms/chat:a%20b", &[], b"\xff\0");
    assert_eq!(raw.receive().into_data()[..], [255, 0]);
    server.post(
        "/rooms/chat:a%20b",
        &["Content-Type: application/octet-stream"],
        "text",
    );
    assert!(matches!(raw.receive(), tungstenite::Message::Binary(_)));
    let again = || server.post("/rooms/chat:a%20b", &["Idempotency-Key: k"], "once");
    assert_eq!(again().body, again().body);
    assert_eq!(raw.text(), "once");
    for (path, body, status) in [
        ("/rooms/chat:a%20b", "", 400),
        ("/rooms/nowhere:a", "a", 404),
        ("/rooms/", "a", 400),
        ("/rooms/a%2Fb", "a", 400),
        ("/rooms/%zz", "a", 400),
    ] {
        let answer = server.post(path, &["X-Centrifugo-Error-Mode: transport"], body);
        assert_eq!(answer.status, status, "{path} {answer:?}");
    }
}

fn history_is_told_in_parts_and_forgotten_on_request(driver: Driver) {
    let server = start(driver);
    let mut epoch = Value::Null;
    for n in 1..=12 {
        let tags = json!({"n": n.to_string()});
        let request = json!({"channel": "chat:a", "data": n, "tags": tags});
        epoch = server.call("publish", request)["epoch"].clone();
    }
    let page = |more: Value| {
        let mut request = json!({"channel": "chat:a"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let page = server.call("history", request);
        assert_eq!((&page["offset"], &page["epoch"]), (&json!(12), &epoch));
        let publications = page["publications"].as_array().unwrap().clone();
        for publication in &publications {
            assert_eq!(publication["data"], publication["offset"]);
            assert_eq!(publication["tags"]["n"], publication["offset"].to_string());
        }
        publications
            .iter()
            .map(|it| it["offset"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(page(json!({})), [0; 0]);
    assert_eq!(page(json!({"limit": -1})), (3..=12).collect::<Vec<_>>());
    assert_eq!(page(json!({"limit": 2, "reverse": true})), [12, 11]);
    let since = |offset| json!({"offset": offset, "epoch": epoch});
    assert_eq!(page(json!({"limit": -1, "since": since(10)})), [11, 12]);
    assert_eq!(
        page(json!({"limit": 1, "since": since(10), "reverse": true})),
        [9]
    );
    for (request, code) in [
        (
            json!({"channel": "chat:a", "limit": 1, "since": {"offset": 1, "epoch": "other"}}),
            112,
        ),
        (
            json!({"channel": "chat:a", "limit": 1, "since": {"offset": 0}, "reverse": true}),
            107,
        ),
        (json!({"channel": "plain:a"}), 108),
        (json!({}), 107),
    ] {
        assert_eq!(server.fail("history", request.clone()), code, "{request}");
    }
    assert_eq!(
        server.call("history_remove", json!({"channel": "chat:a"})),
        json!({})
    );
    assert_eq!(page(json!({"limit": -1})), [0; 0]);
    assert_eq!(
        server.fail("history_remove", json!({"channel": "plain:a"})),
        108
    );
}

fn presence_is_told_where_it_is_known(driver: Driver) {
    let server = start(driver);
    let room = json!({"channel": "people:a"});
    assert_eq!(server.call("presence", room.clone())["presence"], json!({}));
    let members = [
        subscriber(&server, "people:a"),
        subscriber(&server, "people:a"),
    ];
    let presence = server.call("presence", room.clone())["presence"].clone();
    let presence = presence.as_object().unwrap();
    assert_eq!(presence.len(), members.len());
    for (client, info) in presence {
        assert_eq!(info["client"], **client);
        assert_eq!(info["user"], "");
    }
    let stats = server.call("presence_stats", room);
    assert_eq!(stats, json!({"num_clients": 2, "num_users": 1}));
    for method in ["presence", "presence_stats"] {
        assert_eq!(server.fail(method, json!({"channel": "plain:a"})), 108);
        assert_eq!(server.fail(method, json!({})), 107);
    }
}

fn rooms_are_listed_by_pattern_and_in_pages(driver: Driver) {
    let server = start(driver);
    let rooms = ["chat:a", "chat:b", "plain:a"];
    let _subscribers: Vec<_> = rooms.iter().map(|room| subscriber(&server, room)).collect();
    let _another = subscriber(&server, "chat:a");
    // A room in which nobody is, is not listed.
    server.call("publish", json!({"channel": "chat:nobody", "data": 1}));
    let listed = |request| server.call("channels", request)["channels"].clone();
    let all = json!({"chat:a": {"num_clients": 2}, "chat:b": {"num_clients": 1}, "plain:a": {"num_clients": 1}});
    assert_eq!(listed(json!({})), all);
    assert_eq!(listed(json!({"pattern": "*"})), all);
    let some = json!({"chat:a": {"num_clients": 2}, "plain:a": {"num_clients": 1}});
    assert_eq!(listed(json!({"pattern": "*:a"})), some);
    assert_eq!(
        listed(json!({"pattern": "{news,plain}:?"})),
        json!({"plain:a": {"num_clients": 1}})
    );
    for request in [json!({"pattern": "["}), json!({"cursor": "x"})] {
        assert_eq!(server.fail("channels", request), 107);
    }
    // Page by page there are the same rooms, each once.
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.call("channels", json!({"limit": 1, "cursor": cursor}));
        let rooms = page["channels"].as_object().unwrap();
        found.extend(rooms.keys().cloned());
        cursor = page["cursor"].as_str().unwrap_or_default().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, rooms);
}

fn batch_is_answered_in_order_whatever_becomes_of_each(driver: Driver) {
    let server = start(driver);
    let commands = json!([
        {"publish": {"channel": "chat:a", "data": 1}},
        {"publish": {"channel": "nowhere:a", "data": 1}},
        {"nothing": {}},
        {"publish": {"channel": 7}},
        {},
        {"publish": {"channel": "chat:a", "data": 1}, "info": {}},
        {"batch": {"commands": []}},
        {"history": {"channel": "chat:a", "limit": -1}},
    ]);
    for parallel in [false, true] {
        let request = json!({"commands": commands, "parallel": parallel});
        let replies = server.batch(request)["replies"].clone();
        assert!(
            replies[0]["publish"]["offset"].as_u64().is_some(),
            "{replies}"
        );
        let codes: Vec<_> = (1..7)
            .map(|at| replies[at]["error"]["code"].as_u64())
            .collect();
        assert_eq!(codes, [102, 104, 107, 107, 107, 107].map(Some));
        assert_eq!(replies.as_array().unwrap().len(), 8);
        if !parallel {
            assert_eq!(replies[7]["history"]["publications"][0]["data"], 1);
        }
    }
    assert_eq!(server.batch(json!({})), json!({"replies": []}));
    let publish = json!({"publish": {"channel": "chat:many", "data": 1}});
    for (parallel, so_far) in [(false, 0), (true, 1_000)] {
        let request = json!({"commands": vec![&publish; 1_000], "parallel": parallel});
        let replies = server.batch(request)["replies"].clone();
        let replies = replies.as_array().unwrap().iter();
        let offsets = replies.map(|it| it["publish"]["offset"].as_u64().unwrap());
        let mut offsets: Vec<_> = offsets.collect();
        // What is done at once has no order.
        if parallel {
            offsets.sort_unstable();
        }
        assert!(offsets.into_iter().eq(so_far + 1..=so_far + 1_000));
    }
}

fn server_tells_how_it_stands(driver: Driver) {
    let server = start(driver);
    let _member = subscriber(&server, "chat:a");
    eventually("it is counted", || {
        let node = server.call("info", json!({}))["nodes"][0].clone();
        node["num_clients"] == 1 && node["num_subs"] == 1 && node["num_channels"] == 1
    });
    let node = server.call("info", json!({}))["nodes"][0].clone();
    assert_eq!(node["name"], "hubbub");
    assert_eq!(node["num_users"], 0);
    assert!(node["process"]["rss"].as_u64().unwrap() > 1 << 20, "{node}");
    assert_eq!(
        server.fail("rpc", json!({"method": "a", "params": {}})),
        104
    );
    assert_eq!(server.fail("rpc", json!({})), 107);
}

fn message_is_left_out_whose_version_is_not_above_the_latest(driver: Driver) {
    let server = start(driver);
    let mut subscriber = subscriber(&server, "chat:a");
    let publish = |version: u64, epoch: &str| {
        let request = json!({"channel": "chat:a", "data": version, "version": version, "version_epoch": epoch});
        server.call("publish", request)["offset"].clone()
    };
    for (version, epoch, offset) in [
        (5, "e", 1),
        (5, "e", 1),
        (4, "e", 1),
        (6, "e", 2),
        (1, "f", 3),
    ] {
        assert_eq!(publish(version, epoch), offset, "{version} {epoch}");
    }
    for version in [5, 6, 1] {
        assert_eq!(subscriber.reply()["push"]["pub"]["data"], version);
    }
    let too_long =
        json!({"channel": "chat:a", "data": 1, "version": 1, "version_epoch": "e".repeat(256)});
    assert_eq!(server.fail("publish", too_long), 107);
}

fn message_that_is_not_to_be_kept_is_told_and_not_kept(driver: Driver) {
    let server = start(driver);
    let mut subscriber = subscriber(&server, "chat:a");
    for (n, skips) in [(1, false), (2, true), (3, false)] {
        let request = json!({"channel": "chat:a", "data": n, "skip_history": skips});
        assert_eq!(server.call("publish", request)["offset"], n);
        assert_eq!(subscriber.reply()["push"]["pub"]["offset"], n);
    }
    let kept =
        server.call("history", json!({"channel": "chat:a", "limit": -1}))["publications"].clone();
    let kept: Vec<_> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["data"].clone())
        .collect();
    assert_eq!(kept, [1, 3]);
}

fn table_of_a_room_is_set_told_and_cleared(driver: Driver) {
    let server = start(driver);
    let mut sdk = Session::anonymous(&server);
    let reply =
        sdk.ask(r#"{"id":2,"subscribe":{"channel":"table:a","type":1,"phase":2,"flag":1}}"#);
    assert!(reply["error"].is_null(), "{reply}");
    let set = |key: &str, data: Value| {
        let request = json!({"channel": "table:a", "key": key, "data": data, "tags": {"of": key}});
        server.call("map_publish", request)
    };
    assert_eq!(set("b", json!(1))["offset"], 1);
    assert_eq!(set("a", json!({"x": 1}))["offset"], 2);
    assert_eq!(set("b", json!(2))["offset"], 3);
    for (key, data) in [("b", json!(1)), ("a", json!({"x": 1})), ("b", json!(2))] {
        let published = sdk.reply()["push"]["pub"].clone();
        assert_eq!(
            (&published["key"], &published["data"]),
            (&json!(key), &data)
        );
    }
    let read = |more: Value| {
        let mut request = json!({"channel": "table:a"});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.call("map_read_state", request)
    };
    let all = read(json!({}));
    assert_eq!(all["offset"], 3);
    let shown = |state: &Value| {
        let entries = state["entries"].as_array().unwrap().iter();
        entries
            .map(|it| format!("{}={}", it["key"].as_str().unwrap(), it["data"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&all), ["a={\"x\":1}", "b=2"]);
    assert_eq!(all["entries"][1]["tags"], json!({"of": "b"}));
    let first = read(json!({"limit": 1}));
    assert_eq!(shown(&first), ["a={\"x\":1}"]);
    let second = read(json!({"limit": 1, "cursor": first["cursor"]}));
    assert_eq!(
        (shown(&second), &second["cursor"]),
        (vec!["b=2".to_owned()], &Value::Null)
    );
    assert_eq!(shown(&read(json!({"key": "b"}))), ["b=2"]);
    assert_eq!(shown(&read(json!({"key": "c"}))), [""; 0]);
    assert_eq!(
        server.call("map_stats", json!({"channel": "table:a"})),
        json!({"num_keys": 2})
    );
    let again =
        |key: &str| json!({"channel": "table:a", "key": key, "data": 9, "idempotency_key": "k"});
    let placed = server.call("map_publish", again("c"));
    assert_eq!(server.call("map_publish", again("c")), placed);
    assert_eq!(server.fail("map_publish", again("d")), 113);
    assert_eq!(sdk.reply()["push"]["pub"]["key"], "c");
    assert_eq!(
        server.call("map_remove", json!({"channel": "table:a", "key": "a"}))["offset"],
        5
    );
    let removed = sdk.reply()["push"]["pub"].clone();
    assert_eq!(
        (&removed["key"], &removed["removed"]),
        (&json!("a"), &json!(true))
    );
    assert_eq!(
        server.call("map_clear", json!({"channel": "table:a"})),
        json!({})
    );
    for key in ["b", "c"] {
        let removed = sdk.reply()["push"]["pub"].clone();
        assert_eq!(
            (&removed["key"], &removed["removed"]),
            (&json!(key), &json!(true))
        );
    }
    assert_eq!(shown(&read(json!({}))), [""; 0]);
}

fn value_is_left_out_whose_version_is_not_above_that_of_its_own_key(driver: Driver) {
    let server = start(driver);
    let set = |key: &str, version: u64| {
        let request =
            json!({"channel": "table:a", "key": key, "data": version, "version": version});
        server.call("map_publish", request)
    };
    for (key, version) in [("a", 5), ("b", 3), ("a", 4), ("b", 2), ("a", 6)] {
        set(key, version);
    }
    let state = server.call("map_read_state", json!({"channel": "table:a"}));
    let values = state["entries"].as_array().unwrap().iter();
    let values: Vec<_> = values.map(|it| it["data"].clone()).collect();
    assert_eq!(
        (values, &state["offset"]),
        (vec![json!(6), json!(3)], &json!(3))
    );
}

fn idempotency_key_that_cannot_be_read_is_refused(driver: Driver) {
    let server = start(driver);
    let history = || server.call("history", json!({"channel": "chat:a"}))["offset"].clone();
    for fields in [
        &["Idempotency-Key: commande-é"][..],
        &["Idempotency-Key: a", "Idempotency-Key: b"],
    ] {
        let refused = server.post("/rooms/chat:a", fields, "1");
        assert_eq!((refused.status, history()), (400, json!(0)), "{fields:?}");
    }
}

fn what_has_no_key_or_no_table_is_refused(driver: Driver) {
    let server = start(driver);
    for (method, request, code) in [
        ("map_publish", json!({"channel": "table:a", "data": 1}), 107),
        (
            "map_publish",
            json!({"channel": "table:a", "key": "a"}),
            107,
        ),
        (
            "map_publish",
            json!({"channel": "table:a", "key": "k".repeat(256), "data": 1}),
            107,
        ),
        (
            "map_publish",
            json!({"channel": "table:a", "key": "a", "data": 1, "key_mode": "if_new"}),
            108,
        ),
        (
            "map_publish",
            json!({"channel": "chat:a", "key": "a", "data": 1}),
            108,
        ),
        ("map_remove", json!({"channel": "table:a"}), 107),
        ("map_remove", json!({"channel": "chat:a", "key": "a"}), 108),
        ("map_read_state", json!({"channel": "chat:a"}), 108),
        ("map_stats", json!({"channel": "chat:a"}), 108),
        ("map_clear", json!({"channel": "chat:a"}), 108),
    ] {
        assert_eq!(
            server.fail(method, request.clone()),
            code,
            "{method} {request}"
        );
    }
}
