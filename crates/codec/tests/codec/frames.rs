//! Frames and messages: every vector, however it is cut, and what is owed for it.

use codec::{
    CloseCode, Connection, Error, FrameError, Inflater, Kind, Limits, Phase, Step, Transmitted,
    encode_close, encode_message, encode_ping, frame as wire_frame,
};

use crate::driver::{Driver, Outcome, Seen};
use crate::vectors::{Frames, bad_frames, frame, good_frames, short};

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut driver = Driver::open(Limits::default());
    pieces.into_iter().for_each(|piece| driver.feed(piece));
    driver.outcome()
}

fn receive<'a>(connection: &'a mut Connection, input: &'a mut [u8]) -> Step<'a> {
    connection.receive(input, &Limits::default(), &mut Inflater::default())
}

/// What a server that transmits after each event must have sent.
fn expected_sent(seen: &[Seen]) -> Vec<u8> {
    let mut sent = Vec::new();
    for seen in seen {
        match seen {
            Seen::Ping(payload) => {
                sent.extend([0x8a, payload.len() as u8]);
                sent.extend(payload);
            }
            Seen::Close(code) => encode_close(*code, "", &mut sent),
            // The sentence says to the client's author which rule it was.
            Seen::Failed(error) => {
                encode_close(error.close_code(), &error.to_string(), &mut sent);
            }
            Seen::Request { .. } | Seen::Body(_) | Seen::Message(..) | Seen::Pong(_) => {}
        }
    }
    sent
}

/// Whole, cut in two at every byte, and byte by byte: the same events, the same bytes owed.
fn check(vector: &Frames) {
    let Frames {
        name, wire, seen, ..
    } = vector;
    let over = matches!(seen.last(), Some(Seen::Close(_) | Seen::Failed(_)));
    let expected = Outcome {
        seen: seen.clone(),
        sent: expected_sent(seen),
        phase: if over { Phase::Closed } else { Phase::Open },
    };
    assert_eq!(run([&wire[..]]), expected, "{name}, whole");
    assert_eq!(run(wire.chunks(1)), expected, "{name}, byte by byte");
    for cut in 1..wire.len() {
        let (first, second) = wire.split_at(cut);
        assert_eq!(run([first, second]), expected, "{name}, cut at {cut}");
    }
}

/// A ping between two fragments does not end the message.
#[test]
fn connection_is_within_a_message_until_its_last_byte() {
    let whole = short(0x82, b"whole");
    let fragmented = [short(0x01, b"fr"), short(0x89, b"!"), short(0x80, b"ag")].concat();
    for wire in [whole, fragmented] {
        let mut driver = Driver::open(Limits::default());
        assert!(!driver.connection.is_within_message());
        for (at, byte) in wire.iter().enumerate() {
            driver.feed(&[*byte]);
            let is_whole = at + 1 == wire.len();
            assert_eq!(
                driver.connection.is_within_message(),
                !is_whole,
                "after {at}"
            );
        }
    }
    let mut driver = Driver::open(Limits::default());
    let ping = short(0x89, b"half");
    driver.feed(&ping[..5]);
    assert!(driver.connection.is_within_message());
    driver.feed(&ping[5..]);
    assert!(!driver.connection.is_within_message());
    assert!(!Connection::new().is_within_message());
}

#[test]
fn good_frames_however_cut_give_their_events() {
    good_frames().iter().for_each(check);
}

#[test]
fn bad_frames_however_cut_fail_by_their_rule() {
    bad_frames().iter().for_each(check);
}

#[test]
fn bad_frames_byte_by_byte_fail_at_the_offending_byte() {
    for Frames {
        name,
        wire,
        fails_at,
        ..
    } in bad_frames()
    {
        let mut driver = Driver::open(Limits::default());
        let failed_at = wire.chunks(1).position(|byte| {
            driver.feed(byte);
            driver.connection.phase() == Phase::Closed
        });
        assert_eq!(failed_at, fails_at, "{name}");
    }
}

/// Autobahn 6.4: what is left of the frame need not arrive.
#[test]
fn text_bad_byte_in_unfinished_frame_fails_at_once() {
    let wire = frame(0x81, &[0xfe, 0x10, 0], b"good \xce\xba\xf4\x90");
    let failed = vec![Seen::Failed(FrameError::TextUtf8.into())];
    assert_eq!(run([&wire[..]]).seen, failed);
    assert_eq!(run([&wire[..wire.len() - 1]]).seen, []);
}

#[test]
fn message_at_the_limit_arrives_and_above_it_fails() {
    let limits = |bytes| Limits {
        message_bytes_max: bytes,
        ..Limits::default()
    };
    let check = |wire: &[Vec<u8>], limit, expected: Result<usize, FrameError>| {
        let mut driver = Driver::open(limits(limit));
        wire.concat().chunks(3).for_each(|piece| driver.feed(piece));
        let seen = match expected {
            Ok(bytes) => Seen::Message(Kind::Binary, vec![7; bytes]),
            Err(error) => Seen::Failed(error.into()),
        };
        assert_eq!(driver.seen, [seen]);
    };
    let whole = [frame(0x82, &[0xfe, 1, 0], &[7; 256])];
    let parts = [
        short(0x02, [7; 100]),
        short(0x00, []),
        short(0x80, [7; 100]),
    ];
    check(&whole, 256, Ok(256));
    check(&whole, 255, Err(FrameError::MessageTooBig));
    check(&parts, 200, Ok(200));
    check(&parts, 199, Err(FrameError::MessageTooBig));
    check(&[short(0x82, [])], 0, Ok(0));
    check(&[short(0x82, [7])], 0, Err(FrameError::MessageTooBig));
}

#[test]
fn message_of_each_length_form_arrives() {
    for bytes in [0, 125, 126, 127, 255, 256, 65535, 65536] {
        let mut wire = Vec::new();
        let payload = vec![7; bytes];
        wire_frame::encode_masked(
            codec::Opcode::Binary,
            true,
            [1, 2, 3, 4],
            &payload,
            &mut wire,
        );
        let expected = [Seen::Message(Kind::Binary, payload)];
        assert_eq!(run([&wire[..]]).seen, expected, "{bytes} bytes, whole");
        assert_eq!(
            run(wire.chunks(1000)).seen,
            expected,
            "{bytes} bytes, in pieces"
        );
    }
}

#[test]
fn fragments_at_the_limit_arrive_and_above_it_fail() {
    let check = |fragments: usize, message_fragments_max, expected| {
        let mut driver = Driver::open(Limits {
            message_fragments_max,
            ..Limits::default()
        });
        driver.feed(&short(0x02, []));
        (2..fragments).for_each(|_| driver.feed(&short(0x00, [])));
        driver.feed(&short(0x80, []));
        assert_eq!(
            driver.seen,
            [expected],
            "{fragments} of {message_fragments_max}"
        );
    };
    let arrives = || Seen::Message(Kind::Binary, vec![]);
    let fails = || Seen::Failed(FrameError::TooManyFragments.into());
    check(4, 4, arrives());
    check(5, 4, fails());
    check(2, 1, fails());
    check(5000, 0, arrives());
}

#[test]
fn pings_many_before_transmit_owe_one_pong_to_the_latest() {
    let mut connection = Driver::open(Limits::default()).connection;
    let mut input = [
        short(0x89, "first"),
        short(0x89, "second"),
        short(0x89, "last"),
    ]
    .concat();
    let mut rest = &mut input[..];
    while !rest.is_empty() {
        let consumed = receive(&mut connection, rest).consumed;
        rest = &mut rest[consumed..];
    }
    let mut sent = Vec::new();
    assert!(connection.owes());
    assert!(connection.transmit(&mut sent).pong);
    assert_eq!(sent, b"\x8a\x04last");
    assert_eq!(connection.transmit(&mut sent), Transmitted::default());
}

#[test]
fn ping_then_close_before_transmit_owe_pong_then_close() {
    let mut connection = Driver::open(Limits::default()).connection;
    let mut input = [short(0x89, "p"), short(0x88, b"\x03\xe8")].concat();
    let consumed = receive(&mut connection, &mut input).consumed;
    receive(&mut connection, &mut input[consumed..]);
    let mut sent = Vec::new();
    connection.transmit(&mut sent);
    assert_eq!(sent, b"\x8a\x01p\x88\x02\x03\xe8");
}

#[test]
fn close_with_a_pong_owed_sends_the_pong_first() {
    let mut connection = Driver::open(Limits::default()).connection;
    receive(&mut connection, &mut short(0x89, "p"));
    let mut sent = Vec::new();
    connection.close(CloseCode::NORMAL, "", &mut sent);
    assert_eq!(sent, b"\x8a\x01p\x88\x02\x03\xe8");
    assert!(!connection.owes());
}

#[test]
fn close_sent_then_data_skipped_until_the_reply() {
    let reply = short(0x88, b"\x03\xe8");
    let skipped = [
        short(0x81, b"\xff not utf8"),
        short(0x89, "ping"),
        short(0x80, "continuation of nothing"),
        frame(0x82, &[0xfe, 0x02, 0], &[0; 512]),
        short(0x82, []),
        short(0x8a, ""),
    ];
    let wire = [skipped.concat(), reply].concat();
    // The close falls into each place of the first frame, and of a ping.
    for before in 0..=wire.len() - 8 {
        let mut driver = Driver::open(Limits {
            message_bytes_max: 100,
            ..Limits::default()
        });
        let prefix = [short(0x01, "begun"), short(0x8a, "").repeat(2)].concat();
        driver.feed(&prefix[..before.min(prefix.len())]);
        let seen = driver.seen.len();
        let mut sent = Vec::new();
        assert!(
            driver
                .connection
                .close(CloseCode::GOING_AWAY, "bye", &mut sent)
        );
        assert_eq!(sent, b"\x88\x05\x03\xe9bye");
        assert_eq!(driver.connection.phase(), Phase::Closing);
        driver.feed(&prefix[before.min(prefix.len())..]);
        wire.chunks(1 + before % 7)
            .for_each(|piece| driver.feed(piece));
        assert_eq!(driver.seen[seen..], [Seen::Close(Some(CloseCode::NORMAL))]);
        assert_eq!(driver.sent, b"", "nothing follows our close frame");
        assert_eq!(driver.connection.phase(), Phase::Closed);
    }
}

#[test]
fn close_sent_inside_a_ping_skips_it() {
    let wire = short(0x89, "ping");
    for cut in 0..wire.len() {
        let mut driver = Driver::open(Limits::default());
        driver.feed(&wire[..cut]);
        driver
            .connection
            .close(CloseCode::NORMAL, "", &mut Vec::new());
        driver.feed(&wire[cut..]);
        driver.feed(&short(0x88, ""));
        assert_eq!(driver.seen, [Seen::Close(None)], "cut at {cut}");
        assert_eq!(driver.sent, b"");
    }
}

#[test]
fn close_sent_then_bad_frame_fails_and_owes_nothing() {
    let mut driver = Driver::open(Limits::default());
    driver
        .connection
        .close(CloseCode::NORMAL, "", &mut Vec::new());
    driver.feed(b"\x81\x01a");
    assert_eq!(driver.seen, [Seen::Failed(FrameError::Unmasked.into())]);
    assert_eq!(driver.sent, b"");
}

#[test]
fn close_in_other_phases_does_nothing() {
    let mut out = Vec::new();
    let mut connection = Connection::new();
    assert!(!connection.close(CloseCode::NORMAL, "", &mut out));
    assert_eq!(connection.phase(), Phase::Handshake);
    let mut connection = Driver::open(Limits::default()).connection;
    assert!(connection.close(CloseCode::NORMAL, "", &mut out));
    let sent = out.len();
    assert!(!connection.close(CloseCode::NORMAL, "", &mut out));
    assert_eq!(out.len(), sent);
}

#[test]
fn encode_close_long_reason_is_cut_at_a_character() {
    let mut out = Vec::new();
    encode_close(Some(CloseCode::NORMAL), &"é".repeat(100), &mut out);
    assert_eq!(out[..4], [0x88, 124, 0x03, 0xe8]);
    assert_eq!(out[4..], *"é".repeat(61).as_bytes());
}

#[test]
fn encode_each_length_has_the_shortest_header() {
    let check = |bytes: usize, header: &[u8]| {
        let payload = vec![b'x'; bytes];
        let mut out = Vec::new();
        encode_message(Kind::Text, &payload, &mut out);
        assert_eq!(out, [header, &payload[..]].concat(), "{bytes} bytes");
    };
    check(0, &[0x81, 0]);
    check(125, &[0x81, 125]);
    check(126, &[0x81, 126, 0, 126]);
    check(65535, &[0x81, 126, 0xff, 0xff]);
    check(65536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    let mut out = Vec::new();
    encode_ping(&[0; 200], &mut out);
    assert_eq!(out[..2], [0x89, 125]);
    assert_eq!(out.len(), 127);
}

#[test]
fn connection_idle_is_small_and_without_heap() {
    assert!(
        size_of::<Connection>() <= 128,
        "{} bytes",
        size_of::<Connection>()
    );
    let mut driver = Driver::open(Limits::default());
    assert_eq!(driver.connection.buffered_bytes(), 0);
    driver.feed(&short(0x01, "a"));
    assert!(driver.connection.buffered_bytes() > 0);
    let rest = [short(0x89, "b"), short(0x80, "c")].concat();
    rest.chunks(1).for_each(|piece| driver.feed(piece));
    assert_eq!(driver.seen.len(), 2);
    assert_eq!(driver.connection.buffered_bytes(), 0);
}

#[test]
fn message_announced_large_takes_memory_for_what_arrived_only() {
    for announced in [1_u64 << 20, 1 << 31, 1 << 62, (1 << 63) - 1] {
        let limits = Limits {
            message_bytes_max: usize::MAX,
            ..Limits::default()
        };
        let mut driver = Driver::open(limits);
        let length = [&[0xff][..], &announced.to_be_bytes()].concat();
        driver.feed(&frame(0x82, &length, b"x"));
        assert_eq!(driver.connection.phase(), Phase::Open);
        assert!(driver.connection.buffered_bytes() <= 128);
    }
}

#[test]
fn errors_each_have_a_name_and_a_close_code() {
    for Frames { name, seen, .. } in bad_frames() {
        let [Seen::Failed(error @ Error::Frame(rule))] = seen[..] else {
            panic!("{name}")
        };
        let code = match rule {
            FrameError::TextUtf8 | FrameError::CloseReasonUtf8 => 1007,
            FrameError::MessageTooBig => 1009,
            _ => 1002,
        };
        assert_eq!(error.close_code().map(CloseCode::get), Some(code), "{name}");
        assert_eq!(
            error.name().replace('_', ""),
            format!("{rule:?}").to_lowercase()
        );
    }
    assert_eq!(FrameError::TooManyFragments.close_code().get(), 1008);
}

/// A fragment costs more than the bytes of it weigh: so many in one call, and nothing is lost between.
#[test]
fn fragments_by_the_hundred_take_a_call_for_each_16() {
    let mut connection = Driver::open(Limits::default()).connection;
    let mut input = [
        short(0x02, "x"),
        short(0x00, "x").repeat(98),
        short(0x80, "x"),
    ]
    .concat();
    let mut rest = &mut input[..];
    let mut calls = 0;
    let message = loop {
        let step = receive(&mut connection, rest);
        let consumed = step.consumed;
        calls += 1;
        if let Some(event) = step.event {
            break Seen::from(&event);
        }
        assert_eq!(consumed, 16 * 7);
        rest = &mut rest[consumed..];
    };
    assert_eq!(message, Seen::Message(Kind::Binary, b"x".repeat(100)));
    assert_eq!(calls, 100_usize.div_ceil(16));
}
