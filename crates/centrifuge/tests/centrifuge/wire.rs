//! The texts and bytes of replies and pushes, as clients of the protocol know them.

use centrifuge::{
    ClientInfo, ConnectResult, Encoding, ErrorCode, Expiry, HistoryResult, Publication, Push,
    Reply, SubscribeResult, Subscribed, Unsubscribed,
};

const CLIENT: &str = "d8ca7445-b7a6-4ae5-a0dc-54d58f598b57";

fn info() -> ClientInfo<'static> {
    ClientInfo {
        client: "c".into(),
        ..ClientInfo::default()
    }
}

fn reply(id: u32, reply: &Reply<'_>, expected: &str) {
    let mut out = Vec::new();
    Encoding::Json.append_reply(id, reply, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn push(channel: &str, push: &Push<'_>, expected: &str) {
    let mut out = Vec::new();
    Encoding::Json.append_push(channel, push, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn reply_connect() {
    let mut result = ConnectResult {
        client: "u",
        version: "ref",
        ping: 25,
        pong: true,
        ..ConnectResult::default()
    };
    reply(
        1,
        &Reply::Connect(result.clone()),
        r#"{"id":1,"connect":{"client":"u","version":"ref","ping":25,"pong":true}}"#,
    );
    result.expiry = Expiry::After(60);
    reply(
        1,
        &Reply::Connect(result.clone()),
        r#"{"id":1,"connect":{"client":"u","version":"ref","expires":true,"ttl":60,"ping":25,"pong":true}}"#,
    );
    let subs = [(
        "#42",
        SubscribeResult {
            recoverable: true,
            epoch: "9572",
            positioned: true,
            ..SubscribeResult::default()
        },
    )];
    result.subs = &subs;
    reply(
        1,
        &Reply::Connect(result),
        r##"{"id":1,"connect":{"client":"u","version":"ref","expires":true,"ttl":60,"subs":{"#42":{"recoverable":true,"epoch":"9572","positioned":true}},"ping":25,"pong":true}}"##,
    );
    let without_pings = ConnectResult::default();
    reply(
        1,
        &Reply::Connect(without_pings),
        r#"{"id":1,"connect":{"client":"","version":""}}"#,
    );
}

#[test]
fn reply_connect_in_protobuf() {
    let result = ConnectResult {
        client: CLIENT,
        version: "ref",
        ping: 25,
        pong: true,
        ..ConnectResult::default()
    };
    let mut out = Vec::new();
    Encoding::Protobuf.append_reply(1, &Reply::Connect(result), &mut out);
    let mut expected = vec![0x33, 8, 1, 0x2a, 0x2f, 0x0a, 0x24];
    expected.extend_from_slice(CLIENT.as_bytes());
    expected.extend_from_slice(b"\x12\x03ref\x38\x19\x40\x01");
    assert_eq!(out, expected);
}

#[test]
fn reply_subscribe() {
    let meta = Publication::meta(Some(&info()), &[]);
    let publications = [Publication {
        meta: &meta,
        data: br#""s""#,
        offset: 2,
        ..Publication::default()
    }];
    let mut result = SubscribeResult::default();
    reply(
        2,
        &Reply::Subscribe(result.clone()),
        r#"{"id":2,"subscribe":{}}"#,
    );
    result.recoverable = true;
    result.epoch = "e";
    result.positioned = true;
    reply(
        2,
        &Reply::Subscribe(result.clone()),
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e","positioned":true}}"#,
    );
    result.was_recovering = true;
    result.offset = 2;
    reply(
        2,
        &Reply::Subscribe(result.clone()),
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e","offset":2,"positioned":true,"was_recovering":true}}"#,
    );
    result.publications = &publications;
    result.recovered = true;
    result.offset = 1;
    reply(
        2,
        &Reply::Subscribe(result),
        r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e","publications":[{"data":"s","info":{"user":"","client":"c"},"offset":2}],"recovered":true,"offset":1,"positioned":true,"was_recovering":true}}"#,
    );
}

#[test]
fn values_of_keys() {
    let value = Publication {
        data: b"1",
        key: "a\"b",
        ..Publication::default()
    };
    let removal = Publication {
        key: "k",
        removed: true,
        ..Publication::default()
    };
    let result = SubscribeResult {
        kind: 1,
        state: &[value],
        ..SubscribeResult::default()
    };
    reply(
        2,
        &Reply::Subscribe(result),
        r#"{"id":2,"subscribe":{"type":1,"state":[{"data":1,"key":"a\"b"}]}}"#,
    );
    push(
        "t:x",
        &Push::Publication(removal),
        r#"{"push":{"channel":"t:x","pub":{"key":"k","removed":true}}}"#,
    );
}

#[test]
fn reply_without_content() {
    reply(3, &Reply::Publish, r#"{"id":3,"publish":{}}"#);
    reply(2, &Reply::Unsubscribe, r#"{"id":2,"unsubscribe":{}}"#);
    for (encoding, ping) in [(Encoding::Json, &b"{}"[..]), (Encoding::Protobuf, &[0])] {
        let mut out = Vec::new();
        encoding.append_ping(&mut out);
        assert_eq!(out, ping);
    }
}

#[test]
fn reply_error() {
    reply(
        2,
        &Reply::Error(ErrorCode::NotAvailable.into()),
        r#"{"id":2,"error":{"code":108,"message":"not available"}}"#,
    );
    reply(
        2,
        &Reply::Error(ErrorCode::TooManyRequests.into()),
        r#"{"id":2,"error":{"code":111,"message":"too many requests","temporary":true}}"#,
    );
}

#[test]
fn reply_presence() {
    let named = ClientInfo {
        user: "42".into(),
        client: "c".into(),
        conn_info: Some(br#"{"n": "x"}"#),
        chan_info: Some(b"1"),
    };
    let (named, anonymous) = (named.to_protobuf(), info().to_protobuf());
    let clients: [(&str, &[u8]); 2] = [("c", &anonymous), ("\"", &named)];
    reply(
        4,
        &Reply::Presence(&clients),
        r#"{"id":4,"presence":{"presence":{"c":{"user":"","client":"c"},"\"":{"user":"42","client":"c","conn_info":{"n": "x"},"chan_info":1}}}}"#,
    );
    reply(
        4,
        &Reply::Presence(&[]),
        r#"{"id":4,"presence":{"presence":{}}}"#,
    );
    let stats = Reply::PresenceStats {
        clients: 0,
        users: 0,
    };
    reply(
        2,
        &stats,
        r#"{"id":2,"presence_stats":{"num_clients":0,"num_users":0}}"#,
    );
}

#[test]
fn reply_history() {
    let meta = Publication::meta(Some(&info()), &[]);
    let publications = [
        Publication {
            meta: &meta,
            data: b"{\"a\": 1, \"b\":[1,\r2]}",
            offset: 1,
            ..Publication::default()
        },
        Publication {
            data: b"null",
            offset: 2,
            ..Publication::default()
        },
    ];
    let result = HistoryResult {
        publications: &publications,
        epoch: "e",
        offset: 2,
    };
    reply(
        3,
        &Reply::History(result),
        "{\"id\":3,\"history\":{\"publications\":[{\"data\":{\"a\": 1, \"b\":[1,\r2]},\"info\":{\"user\":\"\",\"client\":\"c\"},\"offset\":1},{\"data\":null,\"offset\":2}],\"epoch\":\"e\",\"offset\":2}}",
    );
    reply(
        4,
        &Reply::History(HistoryResult::default()),
        r#"{"id":4,"history":{"publications":[],"epoch":"","offset":0}}"#,
    );
}

#[test]
fn reply_of_the_application_and_of_tokens() {
    reply(
        6,
        &Reply::Rpc { data: b"[1]" },
        r#"{"id":6,"rpc":{"data":[1]}}"#,
    );
    reply(6, &Reply::Rpc { data: b"" }, r#"{"id":6,"rpc":{}}"#);
    reply(
        2,
        &Reply::Refresh(Expiry::After(90)),
        r#"{"id":2,"refresh":{"expires":true,"ttl":90}}"#,
    );
    reply(
        2,
        &Reply::SubRefresh(Expiry::Never),
        r#"{"id":2,"sub_refresh":{}}"#,
    );
}

#[test]
fn push_publication() {
    let meta = Publication::meta(Some(&info()), &[("b", "\""), ("a", "")]);
    let first = Publication {
        meta: &meta,
        data: b"{\n\"a\": 1,\n\n \"b\\n\":2}\n",
        offset: 1,
        epoch: "e",
        ..Publication::default()
    };
    push(
        "chat:o",
        &Push::Publication(first),
        r#"{"push":{"channel":"chat:o","pub":{"data":{"a": 1, "b\n":2},"info":{"user":"","client":"c"},"offset":1,"tags":{"b":"\"","a":""},"epoch":"e"}}}"#,
    );
    let bare = Publication {
        data: b"2",
        ..Publication::default()
    };
    push(
        "plain:\u{1}",
        &Push::Publication(bare),
        r#"{"push":{"channel":"plain:\u0001","pub":{"data":2}}}"#,
    );
}

#[test]
fn push_of_others_and_of_ends() {
    let info = info().to_protobuf();
    push(
        "chat:j",
        &Push::Join { info: &info },
        r#"{"push":{"channel":"chat:j","join":{"info":{"user":"","client":"c"}}}}"#,
    );
    push(
        "chat:j",
        &Push::Leave { info: &info },
        r#"{"push":{"channel":"chat:j","leave":{"info":{"user":"","client":"c"}}}}"#,
    );
    push(
        "a",
        &Push::Unsubscribe {
            code: Unsubscribed::Server.code().into(),
            reason: Unsubscribed::Server.reason(),
        },
        r#"{"push":{"channel":"a","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#,
    );
    let subscribed = Subscribed {
        recoverable: true,
        epoch: "e",
        offset: 7,
        positioned: true,
        data: b"{}",
    };
    push(
        "a",
        &Push::Subscribe(subscribed),
        r#"{"push":{"channel":"a","subscribe":{"recoverable":true,"epoch":"e","offset":7,"positioned":true,"data":{}}}}"#,
    );
    push(
        "",
        &Push::Message { data: b"1" },
        r#"{"push":{"message":{"data":1}}}"#,
    );
    push(
        "",
        &Push::Disconnect {
            code: 3001,
            reason: "shutdown",
        },
        r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#,
    );
    push(
        "",
        &Push::Refresh(Expiry::After(9)),
        r#"{"push":{"refresh":{"expires":true,"ttl":9}}}"#,
    );
}

#[test]
fn separate_stands_between_messages_of_json_alone() {
    for (encoding, expected) in [
        (Encoding::Json, &b"{\"id\":3,\"publish\":{}}\n{}"[..]),
        (Encoding::Protobuf, &[4, 8, 3, 0x42, 0, 0]),
    ] {
        let mut frame = Vec::new();
        encoding.separate(&mut frame);
        encoding.append_reply(3, &Reply::Publish, &mut frame);
        encoding.separate(&mut frame);
        encoding.append_ping(&mut frame);
        assert_eq!(frame, expected);
    }
}
