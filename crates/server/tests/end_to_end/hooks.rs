//! What back ends decide: who connects, subscribes and publishes, and what methods return.

use serde_json::{Value, json};

use crate::{
    back_end::{Answer, BackEnd},
    client::{Client, binary},
    commands::{Configured, OPEN, PATH, Said, Session, in_seconds, token},
    harness::Driver,
    streamed::{HTTP_STREAM, ONE_WAY, SSE, STREAMS, Stream, Streamed, begin},
};

on_both_drivers![
    connect_hook_says_who_a_client_is_and_what_it_begins_with,
    connect_hook_is_asked_only_for_who_has_no_token,
    client_that_the_back_end_refuses_is_told_as_it_says,
    one_way_clients_are_connected_and_refused_by_the_back_end,
    header_fields_go_along_only_if_they_are_listed,
    subscribe_hook_decides_about_its_namespaces_and_no_others,
    publish_hook_decides_and_changes_what_is_published,
    message_that_a_hook_changes_must_be_what_the_room_takes,
    method_is_answered_over_every_transport,
    meta_is_told_where_it_is_asked_for_and_only_to_back_ends,
];

fn start(driver: Driver, settings: &str, tables: &str) -> Configured {
    Configured::start(driver, settings, tables, &["--cores", "2"])
}

/// Connects without a token, with this in the command, and returns what comes of it.
fn connect(configured: &Configured, command: &Value) -> (Session, Said) {
    let mut session = Session::open(&configured.server);
    session.send(json!({"id": 1, "connect": command}).to_string());
    let said = session.hear();
    (session, said)
}

#[track_caller]
pub fn connected(configured: &Configured, command: &Value) -> (Session, Value) {
    match connect(configured, command) {
        (session, Said::Line(line)) => {
            let reply: Value = serde_json::from_str(&line).unwrap();
            assert!(reply["connect"].is_object(), "{reply}");
            (session, reply["connect"].clone())
        }
        (_, closed) => panic!("{closed:?}"),
    }
}

fn ok() -> Answer {
    Answer::result(json!({}))
}

fn connect_hook_says_who_a_client_is_and_what_it_begins_with(driver: Driver) {
    let back_end = BackEnd::start(|_| {
        Answer::result(json!({
            "user": "ann",
            "info": {"name": "Ann"},
            "data": {"hello": "you"},
            "expire_at": in_seconds(600),
            "channels": ["news"],
            "subs": {"chat": {"info": {"role": "guest"}, "data": [1]}},
        }))
    });
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("connect", ""));
    let configured = start(driver, "", &tables);
    let command =
        json!({"data": {"session": "s"}, "name": "js", "version": "1.2", "subs": {"mine": {}}});
    let (mut session, reply) = connected(&configured, &command);
    assert_eq!(reply["data"], json!({"hello": "you"}));
    assert_eq!(reply["expires"], true);
    assert!(reply["ttl"].as_u64().unwrap() > 500, "{reply}");
    let rooms: Vec<_> = reply["subs"].as_object().unwrap().keys().collect();
    assert_eq!(rooms, ["chat", "mine", "news"]);
    assert_eq!(reply["subs"]["chat"]["data"], json!([1]));
    let asked = back_end.await_asked("/connect", 1);
    assert_eq!(asked.fields["content-type"], "application/json");
    let expected = json!({
        "client": reply["client"],
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        "name": "js",
        "version": "1.2",
        "channels": ["mine"],
        "data": {"session": "s"},
    });
    assert_eq!(asked.body, expected);
    let members = session.ask(r#"{"id":2,"presence":{"channel":"chat"}}"#);
    let members = members["presence"]["presence"].as_object().unwrap();
    let (_, member) = members.iter().next().unwrap();
    assert_eq!(member["user"], "ann");
    assert_eq!(member["conn_info"], json!({"name": "Ann"}));
    assert_eq!(member["chan_info"], json!({"role": "guest"}));
    assert_eq!(back_end.asked("/connect").len(), 1);
}

fn connect_hook_is_asked_only_for_who_has_no_token(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::result(json!({"user": "hooked"})));
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("connect", ""));
    let configured = start(driver, "", &tables);
    let good = token(&json!({"sub": "7", "exp": in_seconds(600)}));
    connected(&configured, &json!({"token": good}));
    let (_, said) = connect(&configured, &json!({"token": "bad"}));
    assert!(matches!(said, Said::Closed(3500, _)), "{said:?}");
    assert!(back_end.asked("/connect").is_empty());
    connected(&configured, &json!({}));
    assert_eq!(back_end.asked("/connect").len(), 1);
}

fn client_that_the_back_end_refuses_is_told_as_it_says(driver: Driver) {
    let back_end = BackEnd::start(
        |asked| match asked.body["data"].as_str().unwrap_or_default() {
            "error" => Answer::Json(
                json!({"error": {"code": 1001, "message": "no seat", "temporary": true}}),
            ),
            "go" => Answer::Json(json!({"disconnect": {"code": 4501, "reason": "banned"}})),
            "unknown" => Answer::Json(json!({})),
            "over" => Answer::result(json!({"user": "a", "expire_at": 1})),
            "namespace" => Answer::result(json!({"user": "a", "channels": ["unknown:1"]})),
            _ => Answer::result(json!({"user": ""})),
        },
    );
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("connect", ""));
    let configured = start(driver, "", &tables);
    let said = |data: &str| connect(&configured, &json!({ "data": data })).1;
    let error = |code: u64, said: Said| {
        let Said::Line(line) = said else {
            panic!("{said:?}");
        };
        let reply: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(reply["error"]["code"], code, "{reply}");
        reply["error"].clone()
    };
    let expected = json!({"code": 1001, "message": "no seat", "temporary": true});
    assert_eq!(error(1001, said("error")), expected);
    assert_eq!(said("go"), Said::Closed(4501, "banned".into()));
    error(110, said("over"));
    error(102, said("namespace"));
    assert!(matches!(said(""), Said::Line(_)), "nobody is somebody, too");
    // The tests' settings let in who is unknown.
    assert!(matches!(said("unknown"), Said::Line(line) if line.contains("connect")));
    drop(configured);
    let tables = tables.replace("[rooms]", "");
    let settings = tempfile::tempdir().unwrap();
    let file = settings.path().join("hubbub.toml");
    std::fs::write(&file, format!("[rooms]{tables}")).unwrap();
    let mut command = crate::harness::command();
    command
        .args(["--driver", driver.name()])
        .arg("--config")
        .arg(&file);
    let server = crate::harness::Server::launch(command, &[]);
    let mut session = Session::open(&server);
    session.send(r#"{"id":1,"connect":{"data":"unknown"}}"#);
    assert_eq!(session.closed().0, 3501);
}

fn one_way_clients_are_connected_and_refused_by_the_back_end(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["data"].as_str() {
        Some("go") => Answer::Json(json!({"disconnect": {"code": 4502, "reason": "full"}})),
        Some("error") => Answer::Json(json!({"error": {"code": 1000, "message": "no"}})),
        _ => Answer::result(json!({"user": "ann", "channels": ["news"]})),
    });
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("connect", ""));
    let configured = start(driver, "", &tables);
    let server = &configured.server;
    for path in ONE_WAY {
        let mut stream = Stream::ask(server, begin(path, "{}"));
        let said = stream.reply();
        assert!(
            said["connect"]["subs"]["news"].is_object(),
            "{path}: {said}"
        );
        let transport = path.rsplit('/').next().unwrap();
        assert_eq!(
            back_end.asked("/connect").pop().unwrap().body["transport"],
            transport
        );
        let mut stream = Stream::ask(server, begin(path, r#"{"data":"go"}"#));
        let said = stream.reply();
        assert_eq!(
            said["disconnect"],
            json!({"code": 4502, "reason": "full"}),
            "{path}"
        );
        let mut stream = Stream::ask(server, begin(path, r#"{"data":"error"}"#));
        assert_eq!(stream.reply()["disconnect"]["code"], 3004, "{path}");
    }
    let mut session = Session::over(Client::connect(server, "/connection/uni_websocket"));
    session.send("{}");
    assert!(session.reply()["connect"]["subs"]["news"].is_object());
    let body = back_end.asked("/connect").pop().unwrap().body;
    assert_eq!(body["transport"], "uni_websocket");
}

fn header_fields_go_along_only_if_they_are_listed(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::result(json!({"user": "ann"})));
    let options = "headers = [\"Cookie\", \"User-Agent\"]\nforgeable_headers = [\"X-Forwarded-For\"]\n\
                   emulated_headers = [\"X-Tenant\"]";
    let tables = format!(
        "[rooms]{OPEN}{}{}",
        back_end.hook("connect", options),
        back_end.hook("rpc", "")
    );
    let configured = start(driver, "", &tables);
    let fields = [
        ("cookie", "session=1"),
        ("user-agent", "browser"),
        ("authorization", "Bearer secret"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-real-ip", "192.0.2.2"),
        ("x-tenant", "of the request"),
    ];
    let client = Client::with_fields(&configured.server, PATH, &fields).unwrap();
    let mut session = Session::over(client);
    let headers =
        json!({"X-Tenant": "blue", "Cookie": "session=forged", "Authorization": "forged"});
    session.send(json!({"id": 1, "connect": {"headers": headers}}).to_string());
    assert!(session.reply()["connect"].is_object());
    let asked = back_end.await_asked("/connect", 1).fields;
    let of = |name: &str| asked.get(name).map(String::as_str);
    assert_eq!(of("cookie"), Some("session=1"));
    assert_eq!(of("user-agent"), Some("browser"));
    assert_eq!(of("x-forwarded-for"), Some("192.0.2.1"));
    assert_eq!(of("x-tenant"), Some("blue"), "of the command alone");
    assert_eq!((of("authorization"), of("x-real-ip")), (None, None));
    let reply = session.ask(r#"{"id":2,"rpc":{"method":"a"}}"#);
    assert!(
        reply["error"].is_null() || reply["rpc"].is_object(),
        "{reply}"
    );
    let asked = back_end.await_asked("/rpc", 1).fields;
    assert!(
        !asked.contains_key("cookie") && !asked.contains_key("x-tenant"),
        "{asked:?}"
    );
    assert!(asked["user-agent"].starts_with("hubbub/"));
    // One that would be two fields is refused, and asks nobody.
    let (_, said) = connect(&configured, &json!({"headers": {"x-tenant": "a\r\nb: c"}}));
    assert!(
        matches!(&said, Said::Line(line) if line.contains("107")),
        "{said:?}"
    );
    assert_eq!(back_end.asked("/connect").len(), 1);
}

/// Rooms about which a back end decides.
const DECIDED: &str = "[namespaces.asked]\nsubscribe_hook = true\npublish_hook = true\nuser_limited = true\n\
                       presence = true\nread_presence = [\"subscriber\", \"anonymous\"]\nhistory_size = 10\n\
                       read_history = [\"subscriber\", \"anonymous\"]\nraw = \"none\"\n";

fn subscribe_hook_decides_about_its_namespaces_and_no_others(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["channel"].as_str().unwrap() {
        "asked:no" => Answer::Json(json!({"error": {"code": 403, "message": "not yours"}})),
        "asked:go" => Answer::Json(json!({"disconnect": {"code": 4000, "reason": "again"}})),
        "asked:over" => Answer::result(json!({"expire_at": 1})),
        "asked:expires" => Answer::result(json!({"expire_at": in_seconds(100)})),
        "asked:unseen" => Answer::result(json!({"override": {"presence": {"value": false}}})),
        _ => Answer::result(json!({"info": {"i": 1}, "data": {"d": [1]}})),
    });
    let tables = format!(
        "[rooms]{OPEN}{DECIDED}{}{}",
        back_end.hook("subscribe", ""),
        back_end.hook("publish", "")
    );
    let configured = start(driver, "", &tables);
    let member = token(&json!({"sub": "7", "exp": in_seconds(600)}));
    let (mut session, reply) = connected(
        &configured,
        &json!({"token": member, "subs": {"asked:a": {}, "b": {}}}),
    );
    assert!(
        reply["subs"]["b"].is_object() && reply["subs"]["asked:a"].is_null(),
        "{reply}"
    );
    let mut subscribe =
        |request: Value| session.ask(&json!({"id": 2, "subscribe": request}).to_string());
    let reply = subscribe(json!({"channel": "asked:a", "data": {"x": 1.50}}));
    assert_eq!(reply["subscribe"]["data"], json!({"d": [1]}), "{reply}");
    let asked = back_end.await_asked("/subscribe", 1);
    assert_eq!(asked.body["user"], "7");
    assert_eq!(asked.body["channel"], "asked:a");
    assert_eq!(asked.body["data"].to_string(), "{\"x\":1.5}");
    let reply = subscribe(json!({"channel": "asked:a"}));
    assert_eq!(reply["error"]["code"], 105, "{reply}");
    let reply = subscribe(json!({"channel": "asked:no"}));
    assert_eq!(reply["error"], json!({"code": 403, "message": "not yours"}));
    assert_eq!(
        subscribe(json!({"channel": "asked:over"}))["error"]["code"],
        110
    );
    let reply = subscribe(json!({"channel": "asked:expires"}));
    assert_eq!(reply["subscribe"]["expires"], true, "{reply}");
    assert!(subscribe(json!({"channel": "asked:unseen"}))["subscribe"].is_object());
    let asked_so_far = back_end.asked("/subscribe").len();
    assert_eq!(asked_so_far, 5);
    // A token, a room's name, and rooms of others decide without it.
    let of_room = token(&json!({"sub": "7", "channel": "asked:t", "exp": in_seconds(600)}));
    assert!(subscribe(json!({"channel": "asked:t", "token": of_room}))["subscribe"].is_object());
    assert!(subscribe(json!({"channel": "asked:x#7"}))["subscribe"].is_object());
    assert_eq!(
        subscribe(json!({"channel": "asked:x#8"}))["error"]["code"],
        103
    );
    assert_eq!(
        subscribe(json!({"channel": "$asked:x"}))["error"]["code"],
        103
    );
    assert!(subscribe(json!({"channel": "other"}))["subscribe"].is_object());
    assert_eq!(back_end.asked("/subscribe").len(), asked_so_far);
    let members = session.ask(r#"{"id":3,"presence":{"channel":"asked:a"}}"#);
    assert!(
        members.to_string().contains(r#""chan_info":{"i":1}"#),
        "{members}"
    );
    let members = session.ask(r#"{"id":3,"presence":{"channel":"asked:unseen"}}"#);
    assert_eq!(members["presence"]["presence"], json!({}), "{members}");
    session.send(r#"{"id":4,"subscribe":{"channel":"asked:go"}}"#);
    assert_eq!(session.closed(), (4000, "again".into()));
}

fn publish_hook_decides_and_changes_what_is_published(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.path.as_str() {
        "/publish" => match asked.body["data"].as_str().unwrap_or_default() {
            "no" => Answer::Json(json!({"error": {"code": 1234, "message": "rude"}})),
            "go" => Answer::Json(json!({"disconnect": {"code": 4600, "reason": "out"}})),
            "as it is" => ok(),
            "once" => Answer::result(json!({"idempotency_key": "k", "data": "only once"})),
            "unkept" => Answer::result(json!({"skip_history": true})),
            "newest" => Answer::result(json!({"version": 2, "version_epoch": "e"})),
            "older" => Answer::result(json!({"version": 1, "version_epoch": "e"})),
            _ => Answer::result(json!({"data": {"clean": [1, 2]}, "tags": {"by": "hook"}})),
        },
        _ => ok(),
    });
    let tables = format!(
        "[rooms]{OPEN}{DECIDED}{}{}",
        back_end.hook("subscribe", ""),
        back_end.hook("publish", "")
    );
    let configured = start(driver, "", &tables);
    let mut listener = Session::anonymous(&configured.server);
    let subscribed = listener.ask(r#"{"id":2,"subscribe":{"channel":"asked:a"}}"#);
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
    let mut publisher = Session::anonymous(&configured.server);
    let mut publish = |data: Value| {
        let command = json!({"id": 2, "publish": {"channel": "asked:a", "data": data}});
        publisher.ask(&command.to_string())
    };
    let mut heard = || listener.reply()["push"]["pub"].clone();
    assert_eq!(
        publish(json!("no"))["error"],
        json!({"code": 1234, "message": "rude"})
    );
    assert!(publish(json!("as it is"))["publish"].is_object());
    let message = heard();
    assert_eq!(
        (&message["data"], &message["offset"]),
        (&json!("as it is"), &json!(1))
    );
    assert!(publish(json!("rude word"))["publish"].is_object());
    let message = heard();
    assert_eq!(message["data"], json!({"clean": [1, 2]}));
    assert_eq!(message["tags"], json!({"by": "hook"}));
    assert_eq!(message["info"]["user"], "", "{message}");
    assert!(publish(json!("once"))["publish"].is_object());
    // The same once more, from who has come back on another connection.
    let again = json!({"id": 2, "publish": {"channel": "asked:a", "data": "once"}}).to_string();
    let reply = Session::anonymous(&configured.server).ask(&again);
    assert!(reply["publish"].is_object(), "{reply}");
    assert!(publish(json!("as it is"))["publish"].is_object());
    assert_eq!(heard()["data"], "only once");
    assert_eq!(heard()["data"], "as it is");
    for data in ["unkept", "newest", "older"] {
        assert!(publish(json!(data))["publish"].is_object());
    }
    assert_eq!(heard()["data"], "unkept");
    assert_eq!(heard()["data"], "newest", "and none that is older");
    let asked = back_end.asked("/publish").pop().unwrap().body;
    assert_eq!(
        (&asked["channel"], &asked["user"]),
        (&json!("asked:a"), &json!(""))
    );
    // The client of another encoding, with what is no JSON.
    let mut client = crate::commands::protobuf(&configured.server);
    client.send(binary(vec![4, 8, 1, 0x22, 0]));
    client.receive();
    let room = b"asked:a";
    let mut publish = vec![0x0a, room.len() as u8];
    publish.extend(room);
    publish.extend([0x12, 2, 0xff, 0xfe]);
    let mut command = vec![8, 2, 0x3a, publish.len() as u8];
    command.extend(publish);
    command.insert(0, command.len() as u8);
    client.send(binary(command));
    let asked = back_end.await_asked("/publish", 10).body;
    assert_eq!(asked["b64data"], "//4=");
    assert_eq!(
        (&asked["protocol"], &asked["encoding"]),
        (&json!("protobuf"), &json!("binary"))
    );
    assert_eq!(heard()["data"], json!({"clean": [1, 2]}));
    let history = listener.ask(r#"{"id":9,"history":{"channel":"asked:a","limit":-1}}"#);
    let kept = history["history"]["publications"].as_array().unwrap();
    let kept: Vec<_> = kept.iter().map(|message| &message["data"]).collect();
    assert!(
        kept.contains(&&json!("newest")) && !kept.contains(&&json!("unkept")),
        "{kept:?}"
    );
    publisher.send(r#"{"id":9,"publish":{"channel":"asked:a","data":"go"}}"#);
    assert_eq!(publisher.closed(), (4600, "out".into()));
}

fn message_that_a_hook_changes_must_be_what_the_room_takes(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["data"]["case"].as_u64() {
        Some(1) => Answer::result(json!({"data": [1]})),
        Some(2) => Answer::result(json!({"b64data": "//4="})),
        Some(3) => Answer::result(json!({"data": {"long": "x".repeat(200)}})),
        _ => Answer::Json(serde_json::from_str("{\"result\": {\"data\": {\"a\":\n 1}}}").unwrap()),
    });
    let tables = format!(
        "[namespaces.asked]\npublish_hook = true\nform = \"json_object\"\nmessage_bytes_max = \"100\"\n\
         subscribe = [\"client\", \"anonymous\"]\n{}",
        back_end.hook("publish", "")
    );
    let configured = start(driver, "", &tables);
    let mut session = Session::anonymous(&configured.server);
    let mut publish = |data: &str| {
        session.ask(&format!(
            r#"{{"id":2,"publish":{{"channel":"asked:a","data":{data}}}}}"#
        ))
    };
    assert_eq!(publish(r#"{"case":1}"#)["error"]["code"], 107);
    assert_eq!(publish(r#"{"case":2}"#)["error"]["code"], 107);
    assert_eq!(publish(r#"{"case":3}"#)["error"]["code"], 106);
    assert!(publish("{}")["publish"].is_object());
    // What the room does not take, the back end never sees.
    assert_eq!(publish("[1]")["error"]["code"], 107);
    assert_eq!(
        publish(&format!("{{\"a\":\"{}\"}}", "x".repeat(200)))["error"]["code"],
        106
    );
    assert_eq!(back_end.asked("/publish").len(), 4);
}

fn method_is_answered_over_every_transport(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["method"].as_str().unwrap() {
        "sum" => {
            let sum: i64 = asked.body["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it.as_i64().unwrap())
                .sum();
            Answer::result(json!({ "data": {"sum": sum} }))
        }
        "bytes" => Answer::result(json!({"b64data": "AQI="})),
        "nothing" => ok(),
        _ => Answer::Json(json!({"error": {"code": 404, "message": "no such method"}})),
    });
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("rpc", ""));
    let configured = start(driver, "", &tables);
    let server = &configured.server;
    let sum = r#"{"id":2,"rpc":{"method":"sum","data":[1,2,3]}}"#;
    let mut session = Session::anonymous(server);
    assert_eq!(session.ask(sum)["rpc"]["data"], json!({"sum": 6}));
    let reply = session.ask(r#"{"id":3,"rpc":{"method":"x"}}"#);
    assert_eq!(
        reply["error"],
        json!({"code": 404, "message": "no such method"})
    );
    let reply = session.ask(r#"{"id":4,"rpc":{"method":"bytes"}}"#);
    assert_eq!(reply["rpc"]["data"], "AQI=", "as all that is no JSON");
    let reply = session.ask(r#"{"id":5,"rpc":{"method":"nothing"}}"#);
    assert_eq!(reply["rpc"], json!({}));
    for path in STREAMS {
        let mut session = Streamed::anonymous(server, path);
        assert_eq!(
            session.ask(server, sum)["rpc"]["data"],
            json!({"sum": 6}),
            "{path}"
        );
        let transport = if path == SSE { "sse" } else { "http_stream" };
        let asked = back_end.asked("/rpc").pop().unwrap().body;
        assert_eq!(asked["transport"], transport);
        assert_eq!(path == HTTP_STREAM, transport == "http_stream");
    }
    let mut client = crate::commands::protobuf(server);
    client.send(binary(vec![4, 8, 1, 0x22, 0]));
    client.receive();
    // {id: 2, rpc: {method: "bytes"}}
    client.send(binary(b"\x0b\x08\x02\x6a\x07\x12\x05bytes".to_vec()));
    let reply = client.receive().into_data();
    assert_eq!(&reply[..], b"\x08\x08\x02\x6a\x04\x0a\x02\x01\x02");
}

fn meta_is_told_where_it_is_asked_for_and_only_to_back_ends(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.path.as_str() {
        "/connect" => Answer::result(json!({"user": "ann", "meta": {"tenant": "secret-of-ours"}})),
        _ => ok(),
    });
    let tables = format!(
        "[rooms]{OPEN}{DECIDED}{}{}{}{}",
        back_end.hook("connect", ""),
        back_end.hook("subscribe", ""),
        back_end.hook("publish", "include_meta = true"),
        back_end.hook("rpc", "include_meta = true"),
    );
    let configured = start(driver, "", &tables);
    let (mut session, reply) = connected(&configured, &json!({}));
    assert!(!reply.to_string().contains("secret-of-ours"));
    session.ask(r#"{"id":2,"rpc":{"method":"a"}}"#);
    session.ask(r#"{"id":3,"subscribe":{"channel":"asked:a"}}"#);
    session.ask(r#"{"id":4,"publish":{"channel":"asked:a","data":1}}"#);
    let meta = |path: &str| back_end.asked(path).pop().unwrap().body["meta"].clone();
    let tenant = json!({"tenant": "secret-of-ours"});
    assert_eq!((meta("/rpc"), meta("/publish")), (tenant.clone(), tenant));
    assert_eq!(meta("/subscribe"), Value::Null);
    let with_meta = token(&json!({"sub": "7", "exp": in_seconds(600), "meta": {"of": "token"}}));
    let (mut session, _) = connected(&configured, &json!({ "token": with_meta }));
    session.ask(r#"{"id":2,"rpc":{"method":"a"}}"#);
    assert_eq!(meta("/rpc"), json!({"of": "token"}));
}
