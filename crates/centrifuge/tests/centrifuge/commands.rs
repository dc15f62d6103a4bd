//! Which commands a frame has, which method a command means, and what is left of a frame.

use centrifuge::{
    Command, Commands, ConnectRequest, Encoding, KIND_MAP, Malformed, Method, PublishRequest,
    SendRequest, SubscribeRequest, Unread,
};

fn json(frame: &str) -> Vec<Result<Command<'_>, Malformed>> {
    Commands::new(Encoding::Json, frame.as_bytes()).collect()
}

fn one(frame: &str) -> Method<'_> {
    let mut commands = json(frame);
    assert_eq!(commands.len(), 1, "{frame}");
    commands.remove(0).unwrap().method
}

/// A line that cannot be read, with the column.
fn wrong(frame: &str, column: usize) {
    assert_eq!(json(frame), [Err(Malformed::Json { column })], "{frame}");
}

#[test]
fn frame_of_json_lines_are_commands() {
    let (ping, pong) = (r#"{"id":2}"#, Command::default());
    let unknown = Command {
        id: 2,
        method: Method::Unknown,
    };
    let check = |frame: &str, expected: &[Result<Command<'_>, Malformed>]| {
        assert_eq!(json(frame), expected, "{frame:?}");
    };
    check("", &[Err(Malformed::EmptyFrame)]);
    check("\n", &[Err(Malformed::EmptyLine)]);
    check("{}", &[Ok(pong.clone())]);
    check("{}\n", &[Ok(pong.clone())]);
    check(" {} \r\n", &[Ok(pong.clone())]);
    check("{}\n\n", &[Ok(pong.clone()), Err(Malformed::EmptyLine)]);
    check("\n{}", &[Err(Malformed::EmptyLine)]);
    let two = format!("{ping}\n{{}}\n{ping}");
    check(&two, &[Ok(unknown.clone()), Ok(pong.clone()), Ok(unknown)]);
    check(
        "{}\n{}\n\n{}",
        &[Ok(pong.clone()), Ok(pong), Err(Malformed::EmptyLine)],
    );
}

#[test]
fn frame_of_protobuf_lengths_divide_it() {
    let check = |frame: &[u8], expected: &[Result<u32, Malformed>]| {
        let found = Commands::new(Encoding::Protobuf, frame).map(|it| it.map(|it| it.id));
        assert_eq!(found.collect::<Vec<_>>(), expected, "{frame:?}");
    };
    check(&[], &[Err(Malformed::EmptyFrame)]);
    check(&[0], &[Ok(0)]);
    check(&[2, 8, 7, 0, 2, 8, 9], &[Ok(7), Ok(0), Ok(9)]);
    check(&[0x82, 0, 8, 7], &[Ok(7)]);
    check(&[2, 8, 7, 2, 8], &[Ok(7), Err(Malformed::Length)]);
    check(&[1, 8, 0], &[Err(Malformed::Protobuf)]);
    check(&[4, 8, 1, 0x22, 1, 0], &[Err(Malformed::Length)]);
}

#[test]
fn commands_resumed_anywhere_give_the_same() {
    let json = &b"{}\n{\"id\":1}\n{\"id\":2,\"send\":{}}\n\n{}"[..];
    let protobuf = &[0, 2, 8, 7, 0, 2, 8, 9, 0x81][..];
    for (encoding, frame) in [(Encoding::Json, json), (Encoding::Protobuf, protobuf)] {
        let whole: Vec<_> = Commands::new(encoding, frame).collect();
        for taken in 0..=whole.len() {
            let mut first = Commands::new(encoding, frame);
            let mut found: Vec<_> = first.by_ref().take(taken).collect();
            found.extend(Commands::resume(encoding, first.rest()));
            assert_eq!(found, whole, "{taken} taken before");
        }
    }
    assert_eq!(Commands::resume(Encoding::Json, b"").next(), None);
    let mut ended = Commands::new(Encoding::Json, b"{\n{}");
    assert!(ended.next().unwrap().is_err());
    assert_eq!((ended.rest(), ended.next()), (&b""[..], None));
}

#[test]
fn method_first_in_the_order_of_checks_wins() {
    let connect = Method::Connect(ConnectRequest::default());
    let send = Method::Send(SendRequest::default());
    assert_eq!(one(r#"{"id":1,"subscribe":{},"connect":{}}"#), connect);
    assert_eq!(one(r#"{"id":1,"connect":{},"subscribe":{}}"#), connect);
    assert_eq!(one(r#"{"refresh":{},"send":{},"sub_refresh":{}}"#), send);
    assert_eq!(one(r#"{"connect":null,"send":{},"rpc":null}"#), send);
    let rpc_and_send = [4, 0x6a, 0, 0x62, 0];
    let mut commands = Commands::new(Encoding::Protobuf, &rpc_and_send);
    let method = commands.next().unwrap().unwrap().method;
    assert!(matches!(method, Method::Rpc(_)), "{method:?}");
}

#[test]
fn method_none_is_a_pong_without_id() {
    assert_eq!(one("{}"), Method::Pong);
    assert_eq!(one(r#"{"foo":{"connect":{}}}"#), Method::Pong);
    assert_eq!(one(r#"{"id":2,"foo":{}}"#), Method::Unknown);
    assert_eq!(one(r#"{"id":2,"connect":null}"#), Method::Unknown);
    assert_eq!(one(r#"{"ping":{}}"#), Method::Unknown);
    assert_eq!(one(r#"{"id":2,"ping":{}}"#), Method::Unknown);
}

#[test]
fn subscribe_every_offer_is_seen() {
    let frame = r#"{"subscribe":{"channel":"ch\u0061t","token":"t","recover":true,"epoch":"e","offset":18446744073709551615,"data":[ 1 ],"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil","tf":{"op":"and","nodes":[{}]},"flag":3,"type":4,"phase":2,"zzz":[{}]}}"#;
    let expected = SubscribeRequest {
        channel: "chat".into(),
        token: "t".into(),
        recover: true,
        epoch: "e".into(),
        offset: u64::MAX,
        data: Some(b"[ 1 ]"),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        filter: Some(Unread),
        flag: 3,
        kind: 4,
        phase: 2,
    };
    assert_eq!(one(frame), Method::Subscribe(expected));
}

#[test]
fn publish_of_a_key_and_its_removal() {
    let publish = |key, data, removed| {
        Method::Publish(PublishRequest {
            channel: "a".into(),
            data,
            kind: KIND_MAP,
            key,
            removed,
        })
    };
    assert_eq!(
        one(r#"{"publish":{"channel":"a","type":1,"key":"\u006b","data":[1]}}"#),
        publish("k".into(), Some(b"[1]"), false)
    );
    assert_eq!(
        one(r#"{"publish":{"channel":"a","type":1,"key":"k","removed":true}}"#),
        publish("k".into(), None, true)
    );
}

#[test]
fn publish_absent_data_is_not_null() {
    let publish = |data| {
        Method::Publish(PublishRequest {
            channel: "a".into(),
            data,
            ..PublishRequest::default()
        })
    };
    assert_eq!(one(r#"{"publish":{"channel":"a"}}"#), publish(None));
    assert_eq!(
        one(r#"{"publish":{"channel":"a","data":null}}"#),
        publish(Some(b"null"))
    );
    assert_eq!(
        one("{\"publish\":{\"data\": {\"a\": 1, \"b\":[1,\r2]} ,\"channel\":\"a\"}}"),
        publish(Some(b"{\"a\": 1, \"b\":[1,\r2]}"))
    );
    let empty = b"\x07\x3a\x05\x0a\x01a\x12\x00";
    let command = Commands::new(Encoding::Protobuf, empty).next().unwrap();
    assert_eq!(command.unwrap().method, publish(None));
}

#[test]
fn null_of_a_field_is_an_absent_one() {
    let frame = r#"{"id":null,"connect":{"token":null,"subs":{"a":null},"name":null,"flag":null}}"#;
    let subs = vec![("a".into(), SubscribeRequest::default())];
    let expected = ConnectRequest {
        subs,
        ..ConnectRequest::default()
    };
    assert_eq!(one(frame), Method::Connect(expected));
    assert_eq!(
        one(r#"{"connect":{"subs":null}}"#),
        Method::Connect(ConnectRequest::default())
    );
}

#[test]
fn field_twice_the_last_counts_in_both_encodings() {
    let in_json = one(r#"{"publish":{"channel":"a","data":1},"publish":{"data":2}}"#);
    let in_protobuf = b"\x0d\x3a\x06\x0a\x01a\x12\x011\x3a\x03\x12\x012";
    let mut commands = Commands::new(Encoding::Protobuf, in_protobuf);
    assert_eq!(commands.next().unwrap().unwrap().method, in_json);
    let Method::Publish(publish) = in_json else {
        panic!("{in_json:?}");
    };
    assert_eq!((&*publish.channel, publish.data), ("a", Some(&b"2"[..])));
}

#[test]
fn json_of_another_form_is_malformed() {
    wrong("null", 4);
    wrong("[1,{}]", 0);
    wrong("{", 1);
    wrong("{} {}", 4);
    wrong(r#"{"id":}"#, 7);
    wrong(r#"{"id":-1}"#, 8);
    wrong(r#"{"id":1.0}"#, 9);
    wrong(r#"{"id":4294967296}"#, 16);
    wrong(r#"{"id":"1"}"#, 9);
    wrong(r#"{"connect":["t"]}"#, 11);
    wrong(r#"{"connect":{"token":"\ud800"}}"#, 28);
    assert_eq!(
        Commands::new(Encoding::Json, b"{\"foo\":\"\xff\"}").next(),
        Some(Err(Malformed::Utf8))
    );
}
