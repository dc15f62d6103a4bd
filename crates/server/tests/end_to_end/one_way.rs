//! Clients that never ask: all that they want is in their request.

use serde_json::{Value, json};

use crate::{
    client::{Client, ask},
    commands::{in_seconds, token},
    harness::Driver,
    streamed::{End, HTTP_STREAM, ONE_WAY, SSE, Stream, Streamed, begin, open, post},
};

on_both_drivers![
    client_that_never_asks_is_told_what_its_token_grants,
    client_that_never_asks_is_told_why_it_is_not_connected,
    client_that_never_asks_is_heard_once,
];

fn client_that_never_asks_is_told_what_its_token_grants(driver: Driver) {
    let configured = open(driver, &["--ping-interval", "1s"]);
    let server = &configured.server;
    let mut publisher = Streamed::anonymous(server, HTTP_STREAM);
    let claims = json!({"sub": "ann", "exp": in_seconds(600), "channels": ["news"]});
    let wanted = json!({"token": token(&claims), "subs": {"more": {}}}).to_string();
    let mut streams: Vec<_> = ONE_WAY
        .map(|path| Stream::ask(server, begin(path, &wanted)))
        .into();
    // As people write it, with line breaks.
    let pretty = format!("{{\n  \"token\": \"{}\"\n}}\n", token(&claims));
    streams.push(Stream::ask(server, post(ONE_WAY[1], &[], &pretty)));
    for stream in &mut streams {
        let connect = stream.reply();
        assert_eq!(connect["connect"]["ping"], 1, "{connect}");
        assert!(connect["connect"]["pong"].is_null(), "{connect}");
        assert!(connect["connect"]["session"].is_null(), "{connect}");
        assert!(connect["connect"]["subs"]["news"].is_object(), "{connect}");
    }
    let mut client = Client::connect(server, "/connection/uni_websocket");
    client.send(wanted.clone());
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert!(said["connect"]["subs"]["more"].is_object(), "{said}");
    publisher.ask(
        server,
        r#"{"id":2,"publish":{"channel":"news","data":{"n":1}}}"#,
    );
    let is_news = |said: &Value| said["channel"] == "news" && said["pub"]["data"]["n"] == 1;
    for stream in &mut streams {
        let mut said = stream.reply();
        while said == json!({}) {
            said = stream.reply();
        }
        assert!(is_news(&said), "{said}");
        assert_eq!(stream.reply(), json!({}), "a ping, which nobody answers");
        assert_eq!(stream.reply(), json!({}));
    }
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert!(is_news(&said), "{said}");
}

fn client_that_never_asks_is_told_why_it_is_not_connected(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    let expired = json!({"sub": "ann", "exp": in_seconds(-600)});
    for (wanted, code) in [
        (json!({"token": "a.b.c"}), 3500),
        (json!({"token": token(&expired)}), 3005),
        (json!({"subs": {"unknown:room": {}}}), 3501),
    ] {
        let wanted = wanted.to_string();
        for path in ONE_WAY {
            let mut stream = Stream::ask(server, begin(path, &wanted));
            assert_eq!(stream.closed(), (code, End::Whole), "{path} {wanted}");
        }
        let mut client = Client::connect(server, "/connection/uni_websocket");
        client.send(wanted);
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert_eq!(said["disconnect"]["code"], code);
        assert_eq!(u64::from(client.closed()), code);
    }
    for path in ONE_WAY {
        for wanted in ["[]", "{", "{},{}"] {
            assert_eq!(
                ask(server, begin(path, wanted)).status,
                400,
                "{path} {wanted}"
            );
        }
    }
}

fn client_that_never_asks_is_heard_once(driver: Driver) {
    let configured = open(driver, &[]);
    let server = &configured.server;
    for path in [
        "/connection/uni_websocket",
        "/connection/uni_websocket?cf_connect=%7B%22subs%22:%7B%22a%22:%7B%7D%7D%7D",
    ] {
        let mut client = Client::connect(server, path);
        if !path.contains('?') {
            client.send(r#"{"subs":{"a":{}}}"#);
        }
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert!(said["connect"]["subs"]["a"].is_object(), "{said}");
        for ignored in [
            "nonsense",
            r#"{"id":2,"publish":{"channel":"a","data":1}}"#,
            "{}",
        ] {
            client.send(ignored);
        }
        let mut publisher = Streamed::anonymous(server, SSE);
        publisher.ask(server, r#"{"id":2,"publish":{"channel":"a","data":2}}"#);
        let said: Value = serde_json::from_str(&client.text()).unwrap();
        assert_eq!(said["pub"]["data"], 2);
    }
    let mut client = Client::connect(server, "/connection/uni_websocket");
    client.send("nonsense");
    let said: Value = serde_json::from_str(&client.text()).unwrap();
    assert_eq!(said["disconnect"]["code"], 3501);
    assert_eq!(client.closed(), 3501);
}
