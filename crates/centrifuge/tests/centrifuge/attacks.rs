//! Frames that were made to harm: numbers that lie, depth, types that do not fit.

use centrifuge::{
    CONNECT_HEADERS_MAX, CONNECT_SUBSCRIPTIONS_MAX, Commands, Encoding, JSON_DEPTH_MAX, Malformed,
    Method,
};

fn first(encoding: Encoding, frame: &[u8]) -> Result<(), Malformed> {
    let mut commands = Commands::new(encoding, frame);
    commands.next().expect("a frame has something").map(drop)
}

/// Unsigned LEB128 of any number.
fn varint(mut value: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn length_that_lies_is_refused() {
    let lengths = [1, 127, 128, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63];
    let beyond = [(1_u128 << 64) - 1, 1 << 64, 1 << 70, 1 << 77];
    for length in lengths.into_iter().chain(beyond) {
        let prefix = varint(length);
        assert_eq!(first(Encoding::Protobuf, &prefix), Err(Malformed::Length));
        let inside = [vec![1 + prefix.len() as u8, 0x22], prefix].concat();
        assert_eq!(first(Encoding::Protobuf, &inside), Err(Malformed::Length));
    }
}

#[test]
fn length_of_more_than_ten_bytes_is_refused() {
    let ten = [&[0x80; 9][..], &[0]].concat();
    assert_eq!(first(Encoding::Protobuf, &ten), Ok(()));
    let eleven = [&[0x80; 10][..], &[0]].concat();
    assert_eq!(first(Encoding::Protobuf, &eleven), Err(Malformed::Length));
    for endless in [1, 9, 10, 11, 1000] {
        let frame = vec![0x80; endless];
        assert_eq!(first(Encoding::Protobuf, &frame), Err(Malformed::Length));
    }
}

#[test]
fn protobuf_cut_anywhere_is_refused_or_a_shorter_message() {
    let whole = b"\x08\x01\x3a\x09\x0a\x01a\x12\x04\"abc";
    for length in 0..whole.len() {
        let frame = [&[length as u8], &whole[..length]].concat();
        let verdict = first(Encoding::Protobuf, &frame);
        assert_eq!(verdict.is_ok(), matches!(length, 0 | 2), "{length}");
    }
}

#[test]
fn protobuf_field_of_another_type_is_refused() {
    // An id that is bytes, a connect that is a number, a group in its place, fixed numbers, keys
    // with the number 0 and the wire types 6 and 7.
    let bodies: [&[u8]; 8] = [
        &[0x0a, 0],
        &[0x20, 1],
        &[0x23, 0x24],
        &[0x0d, 0, 0, 0, 0],
        &[0x09, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x02, 0],
        &[0x0e],
        &[0x0f],
    ];
    for body in bodies {
        let frame = [&[body.len() as u8], body].concat();
        let verdict = first(Encoding::Protobuf, &frame);
        assert_eq!(verdict, Err(Malformed::Protobuf), "{body:?}");
    }
    let token_not_utf8 = b"\x05\x22\x03\x0a\x01\xff";
    assert_eq!(
        first(Encoding::Protobuf, token_not_utf8),
        Err(Malformed::Utf8)
    );
}

#[test]
fn protobuf_groups_nest_only_so_deep() {
    let nested = |levels: usize| {
        // Field 100, which no message has.
        let body = [[0xa3, 0x06].repeat(levels), [0xa4, 0x06].repeat(levels)].concat();
        [varint(body.len() as u128), body].concat()
    };
    assert_eq!(first(Encoding::Protobuf, &nested(50)), Ok(()));
    for levels in [200, 16_000] {
        let verdict = first(Encoding::Protobuf, &nested(levels));
        assert_eq!(verdict, Err(Malformed::Protobuf));
    }
}

#[test]
fn json_payload_nests_only_so_deep() {
    let publish = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"publish":{{"data":{open}{close}}}}}"#)
    };
    let check = |frame: &str, verdict| assert_eq!(first(Encoding::Json, frame.as_bytes()), verdict);
    check(&publish(JSON_DEPTH_MAX), Ok(()));
    check(&publish(JSON_DEPTH_MAX + 1), Err(Malformed::Depth));
    check(&publish(1 << 20), Err(Malformed::Depth));
}

#[test]
fn json_that_is_skipped_may_nest_and_takes_no_stack() {
    let (open, close) = ("[".repeat(1 << 20), "]".repeat(1 << 20));
    for field in ["zzz", "tf"] {
        let frame = format!(r#"{{"subscribe":{{"tf":{{"{field}":{open}{close}}}}}}}"#);
        assert_eq!(first(Encoding::Json, frame.as_bytes()), Ok(()));
    }
    let unclosed = format!(r#"{{"zzz":{open}"#);
    let verdict = first(Encoding::Json, unclosed.as_bytes());
    assert!(matches!(verdict, Err(Malformed::Json { .. })));
}

#[test]
fn connect_subscriptions_are_bounded_in_both_encodings() {
    let json = |count: usize| {
        let subs: Vec<_> = (0..count).map(|it| format!(r#""{it}":{{}}"#)).collect();
        format!(r#"{{"connect":{{"subs":{{{}}}}}}}"#, subs.join(","))
    };
    let protobuf = |count: usize| {
        let subs = [0x1a, 0].repeat(count);
        let connect = [vec![0x22], varint(subs.len() as u128), subs].concat();
        [varint(connect.len() as u128), connect].concat()
    };
    let most = CONNECT_SUBSCRIPTIONS_MAX;
    for (encoding, good, bad) in [
        (
            Encoding::Json,
            json(most).into_bytes(),
            json(most + 1).into_bytes(),
        ),
        (Encoding::Protobuf, protobuf(most), protobuf(most + 1)),
    ] {
        let command = Commands::new(encoding, &good).next().unwrap().unwrap();
        assert!(matches!(command.method, Method::Connect(it) if it.subs.len() == most));
        assert_eq!(first(encoding, &bad), Err(Malformed::Subscriptions));
    }
}

#[test]
fn connect_has_a_bounded_number_of_headers() {
    let json = |count: usize| {
        let headers: Vec<_> = (0..count)
            .map(|number| format!("\"{number}\":\"\""))
            .collect();
        format!(
            "{{\"id\":1,\"connect\":{{\"headers\":{{{}}}}}}}",
            headers.join(",")
        )
    };
    let protobuf = |count: usize| {
        let headers = b"\x32\x00".repeat(count);
        let mut connect = vec![0x22, headers.len() as u8 | 0x80, (headers.len() >> 7) as u8];
        connect.extend(headers);
        let mut frame = vec![connect.len() as u8 | 0x80, (connect.len() >> 7) as u8];
        frame.extend(connect);
        frame
    };
    let most = CONNECT_HEADERS_MAX;
    for (encoding, good, bad) in [
        (
            Encoding::Json,
            json(most).into_bytes(),
            json(most + 1).into_bytes(),
        ),
        (Encoding::Protobuf, protobuf(most), protobuf(most + 1)),
    ] {
        let command = Commands::new(encoding, &good).next().unwrap().unwrap();
        assert!(matches!(command.method, Method::Connect(it) if it.headers.len() == most));
        assert_eq!(first(encoding, &bad), Err(Malformed::Headers));
    }
}

#[test]
fn malformed_never_repeats_the_peer() {
    let frames = [
        r#"{"id":"secret"}"#,
        r#"{"connect":"secret"}"#,
        r#"{"connect":{"token":secret}}"#,
        r#"{"connect":{"flag":"a payload nests too deep"}}"#,
    ];
    for frame in frames {
        let error = first(Encoding::Json, frame.as_bytes()).unwrap_err();
        assert!(matches!(error, Malformed::Json { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
