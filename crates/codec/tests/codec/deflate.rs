//! Compressed messages, both ways: what arrives, what is refused, and what it may cost.

use codec::{CloseCode, DeflatePolicy, Deflater, Error, FrameError, Kind, Limits, Phase};

use crate::driver::{Driver, Seen, TAKEOVER};
use crate::peer::{
    Ending, FreePeer, Peer, Reading, compressed, in_fragments, masked, server_frame,
};
use crate::vectors::short;

mod endings;

const ALONE: DeflatePolicy = DeflatePolicy {
    client_takeover: false,
    server_takeover: false,
    ..TAKEOVER
};

/// An open connection to which a client of this window sends.
fn open(client_bits: u8, takeover: bool, limits: &Limits) -> Driver {
    let offer = format!("permessage-deflate; client_max_window_bits={client_bits}");
    let policy = if takeover { TAKEOVER } else { ALONE };
    Driver::compressed(&offer, policy, limits.clone())
}

fn unbounded() -> Limits {
    Limits {
        message_bytes_max: 1 << 20,
        message_fragments_max: 0,
        ..Limits::default()
    }
}

fn text(payload: &[u8]) -> Seen {
    Seen::Message(Kind::Text, payload.into())
}

/// Bytes that cannot be compressed, from a multiplicative generator.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Messages that refer to earlier ones near and far, to none, and empty ones.
fn conversation() -> Vec<Vec<u8>> {
    let json = |n: u32| format!(r#"{{"type":"message","room":"lobby","n":{n},"text":"γειά"}}"#);
    let mut messages: Vec<_> = (0..4).map(|n| json(n).into_bytes()).collect();
    messages.push(Vec::new());
    messages.push(noise(300));
    messages.push(b"x".repeat(700));
    messages.push(noise(300));
    messages.push([noise(2000), json(9).into_bytes(), noise(2000)].concat());
    messages.push(Vec::new());
    messages.push(json(10).into_bytes());
    messages
}

fn run<'a>(mut driver: Driver, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    pieces.into_iter().for_each(|piece| driver.feed(piece));
    driver.seen
}

/// Whole, cut in two at every byte (where it is long, at some of them), and byte by byte: the same
/// events.
fn check(open: impl Fn() -> Driver, wire: &[u8], expected: &[Seen]) {
    assert_eq!(run(open(), [wire]), expected, "whole");
    assert_eq!(run(open(), wire.chunks(1)), expected, "byte by byte");
    let further = (30..wire.len()).step_by(1 + wire.len() / 8);
    for cut in (1..wire.len().min(30)).chain(further) {
        let (first, second) = wire.split_at(cut);
        assert_eq!(run(open(), [first, second]), expected, "cut at {cut}");
    }
}

/// What is remembered beside the bytes themselves lies in a box, which is counted.
const BOX_BYTES_MAX: usize = 128;

#[test]
fn rfc_examples_are_what_they_stand_for() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let taken_over = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let stored = b"\x00\x05\x00\xfa\xffHello\x00";
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    let fragments = [masked(0x41, &hello[..3]), masked(0x80, &hello[3..])].concat();
    let is_hello = |takeover, wire: &[u8], times| {
        let expected = vec![text(b"Hello"); times];
        check(|| open(15, takeover, &unbounded()), wire, &expected);
    };
    is_hello(false, &masked(0xc1, &hello).repeat(3), 3);
    is_hello(true, &masked(0xc1, &hello).repeat(3), 3);
    is_hello(false, &fragments.repeat(2), 2);
    let second = [masked(0xc1, &hello), masked(0xc1, &taken_over).repeat(2)].concat();
    is_hello(true, &second, 3);
    is_hello(false, &masked(0xc1, stored), 1);
    is_hello(false, &masked(0xc1, &last), 1);
    is_hello(true, &masked(0xc1, two_blocks), 1);
    // A stream that ended, then one that refers to what came before it.
    let after_last = [masked(0xc1, &last), masked(0xc1, &taken_over)].concat();
    is_hello(true, &after_last, 2);
    check(
        || open(15, true, &unbounded()),
        &masked(0xc2, &[0]),
        &[Seen::Message(Kind::Binary, vec![])],
    );
}

#[test]
fn last_blocks_without_end_are_refused() {
    let check = |blocks: usize, expected: Seen| {
        let payload = [&[0x03, 0x00].repeat(blocks)[..], &[0]].concat();
        assert_eq!(
            run(open(15, true, &unbounded()), [&masked(0xc2, &payload)[..]]),
            [expected],
            "{blocks} blocks"
        );
    };
    check(16, Seen::Message(Kind::Binary, vec![]));
    check(17, Seen::Failed(FrameError::DeflateInvalid.into()));
    check(50_000, Seen::Failed(FrameError::DeflateInvalid.into()));
}

#[test]
fn server_messages_of_every_window_and_level_are_read_by_a_client_of_that_window() {
    for bits in 9..=15 {
        for level in 1..=9 {
            let mut deflater = Deflater::new(level, bits);
            let mut reading = Reading::new(bits, true);
            for plain in conversation() {
                let mut wire = b"before".to_vec();
                deflater.encode_next(Kind::Binary, &plain, &mut wire);
                let (kind, payload) = server_frame(&wire[6..]);
                assert_eq!(kind, Kind::Binary);
                assert_eq!(reading.plain(payload), plain, "{bits} bits, level {level}");
            }
            let mut deflater = Deflater::new(level, bits);
            let mut reading = Reading::new(bits, false);
            for plain in conversation().into_iter().rev() {
                let mut wire = b"before".to_vec();
                if deflater.encode_message(Kind::Text, &plain, &mut wire) {
                    let (kind, payload) = server_frame(&wire[6..]);
                    assert_eq!(kind, Kind::Text);
                    assert_eq!(reading.plain(payload), plain, "{bits} bits, level {level}");
                    assert!(wire.len() - 6 < 2 + plain.len());
                } else {
                    assert_eq!(wire, b"before");
                }
            }
        }
    }
}

#[test]
fn encode_message_says_what_is_shorter() {
    let mut deflater = Deflater::new(6, 15);
    let mut encode = |payload: &[u8]| {
        let mut out = Vec::new();
        let shorter = deflater.encode_message(Kind::Text, payload, &mut out);
        assert_eq!(shorter, !out.is_empty());
        out
    };
    assert_eq!(encode(b""), b"");
    assert_eq!(encode(b"a"), b"");
    assert_eq!(encode(&noise(1000)), b"");
    assert_eq!(encode(&noise(100_000)), b"");
    let repeated = encode(&b"hubbub ".repeat(100));
    assert_eq!(repeated[0], 0xc1);
    assert!(repeated.len() < 40);
    // No message depends on another.
    assert_eq!(encode(&b"hubbub ".repeat(100)), repeated);
    // A long one has a length of 64 bits.
    let long = encode(&[noise(70_000), vec![0; 70_000]].concat());
    assert_eq!(long[..2], [0xc1, 127]);
    assert_eq!(long[2..10], (long.len() as u64 - 10).to_be_bytes());
}

#[test]
fn encode_next_refers_to_earlier_messages_and_is_always_appended() {
    let mut deflater = Deflater::new(6, 15);
    let mut encode = |payload: &[u8]| {
        let mut out = Vec::new();
        deflater.encode_next(Kind::Binary, payload, &mut out);
        out
    };
    let first = encode(&noise(1000));
    assert!(first.len() > 1000);
    assert!(encode(&noise(1000)).len() < 30);
    assert_eq!(encode(b""), [0xc2, 1, 0]);
    assert_eq!(encode(b""), [0xc2, 1, 0]);
    assert!(encode(&noise(1000)).len() < 30);
}

#[test]
fn settings_outside_their_range_count_as_the_nearest() {
    for (level, bits) in [(0, 0), (99, 200)] {
        let mut out = Vec::new();
        let mut deflater = Deflater::new(level, bits);
        assert!(deflater.encode_message(Kind::Text, &b"hubbub ".repeat(9), &mut out));
    }
}

#[test]
fn bomb_stops_at_the_limit() {
    let limit = 40_000;
    let limits = Limits {
        message_bytes_max: limit,
        ..Limits::default()
    };
    for takeover in [false, true] {
        for bytes in [limit - 1, limit, limit + 1, 1 << 20, 10 << 20] {
            let payload = Peer::new(15, false).payload(&vec![7; bytes]);
            assert!(payload.len() < bytes / 200);
            let expected = if bytes <= limit {
                Seen::Message(Kind::Binary, vec![7; bytes])
            } else {
                Seen::Failed(FrameError::MessageTooBig.into())
            };
            let fragments = in_fragments(Kind::Binary, &payload, payload.len().div_ceil(50), &[]);
            for wire in [compressed(Kind::Binary, &payload), fragments] {
                for piece_bytes in [1, 1000, wire.len()] {
                    let mut driver = open(15, takeover, &limits);
                    for piece in wire.chunks(piece_bytes) {
                        driver.feed(piece);
                        let held = driver.connection.buffered_bytes();
                        assert!(held <= (1 << 15) + 2 * wire.len() + 128, "{held}");
                    }
                    assert_eq!(
                        driver.seen,
                        std::slice::from_ref(&expected),
                        "{bytes} bytes"
                    );
                    assert_eq!(
                        driver.connection.phase() == Phase::Closed,
                        bytes > limit,
                        "{bytes} bytes"
                    );
                }
            }
        }
    }
}

/// Several messages, each at the limit of what one may be: the limit is for each by itself.
#[test]
fn bomb_takes_no_more_memory_than_the_limit() {
    let limits = Limits {
        message_bytes_max: 10_000,
        ..Limits::default()
    };
    let payload = Peer::new(15, false).payload(&vec![7; 10_000]);
    let mut wire = compressed(Kind::Binary, &payload);
    let mut connection = open(15, false, &limits).connection;
    let mut inflater = codec::Inflater::default();
    let step = connection.receive(&mut wire, &limits, &mut inflater);
    assert!(step.event.is_some());
    let held = connection.buffered_bytes();
    assert!(
        (10_000..=10_001 + BOX_BYTES_MAX).contains(&held),
        "{held} bytes"
    );
    connection.receive(&mut [], &limits, &mut inflater);
    assert_eq!(connection.buffered_bytes(), 0);
}

#[test]
fn compressed_bytes_are_bounded_too() {
    let limits = Limits {
        message_bytes_max: 1000,
        message_fragments_max: 0,
        ..Limits::default()
    };
    // 1000, a quarter and 64 more. Empty stored blocks: long on the wire, nothing inside.
    let blocks = |bytes: usize| {
        [
            &vec![0; bytes % 5][..],
            &b"\0\0\0\xff\xff".repeat(bytes / 5),
        ]
        .concat()
    };
    let fits = [&b"\0\0\0\xff\xff".repeat(262)[..], &[0]].concat();
    let open = || open(15, true, &limits);
    let empty = Seen::Message(Kind::Binary, vec![]);
    assert_eq!(
        run(open(), [&masked(0xc2, &fits)[..]]),
        [empty],
        "{} bytes",
        fits.len()
    );
    let too_big = [Seen::Failed(FrameError::MessageTooBig.into())];
    let header_alone = &masked(0xc2, &blocks(1315))[..8];
    assert_eq!(run(open(), [header_alone]), too_big);
    assert_eq!(run(open(), [&masked(0xc2, &blocks(1314))[..8]]), []);
    let fragments = [masked(0x42, &blocks(1000)), masked(0x00, &blocks(315))].concat();
    assert_eq!(run(open(), [&fragments[..]]), too_big);
    // A plain message has no such margin.
    assert_eq!(run(open(), [&masked(0x82, &[0; 1001])[..8]]), too_big);
    // What cannot be compressed arrives up to the limit.
    let plain = noise(1000);
    let wire = compressed(Kind::Binary, &Peer::new(15, true).payload(&plain));
    assert!(wire.len() > 1000);
    assert_eq!(
        run(open(), [&wire[..]]),
        [Seen::Message(Kind::Binary, plain)]
    );
}

/// A message of a million empty blocks costs its bytes and no more.
#[test]
fn empty_blocks_without_end_are_read_once() {
    let limits = unbounded();
    let payload = [&b"\0\0\0\xff\xff".repeat(200_000)[..], &[0]].concat();
    let expected = [Seen::Message(Kind::Binary, vec![])];
    assert_eq!(
        run(open(15, true, &limits), [&masked(0xc2, &payload)[..]]),
        expected
    );
}

#[test]
fn payload_cut_short_is_refused() {
    let refused = [Seen::Failed(FrameError::DeflateInvalid.into())];
    let mut dynamic = conversation();
    dynamic.sort_by_key(Vec::len);
    let plains = [b"Hello".to_vec(), b"abcabcabc".repeat(30), dynamic.concat()];
    for plain in plains {
        for ending in Ending::ALL {
            let payload = FreePeer::new(15, false).payload(&plain, ending);
            // Cut where another ending ends, it is whole.
            let whole = match ending {
                Ending::Flushed | Ending::Last => vec![0],
                Ending::TailLeftIn => vec![0, payload.len() - 4],
                Ending::LastAndEmpty => vec![0, payload.len() - 1],
                Ending::LastAndTailLeftIn => vec![0, payload.len() - 5, payload.len() - 4],
            };
            for end in (0..payload.len()).filter(|end| !whole.contains(end)) {
                let wire = compressed(Kind::Binary, &payload[..end]);
                let seen = run(open(15, true, &unbounded()), [&wire[..]]);
                let all = payload.len();
                assert_eq!(seen, refused, "{end} of {all} bytes, {ending:?}");
            }
        }
    }
}

#[test]
fn payload_that_is_not_deflate_is_refused_with_1007() {
    let refused = [Seen::Failed(FrameError::DeflateInvalid.into())];
    for (name, payload) in [
        ("reserved block type", &b"\x06\x00"[..]),
        (
            "stored length that contradicts itself",
            b"\x00\x05\x00\xfa\xfeHello\x00",
        ),
        (
            "stored block that is not there",
            b"\x00\xff\xff\x00\x00Hello",
        ),
        ("distance before the beginning", b"\xf2\x00\x11\x00\x00"),
        ("too many codes", b"\xfc\xff\xff\xff\xff"),
        ("plain text", b"Hello, world"),
        (
            "last block whose end is taken from what follows",
            b"\xf3\x48\xcd\xc9\xc9\x07",
        ),
        (
            "last block whose content is taken from what follows",
            b"\x01\x09\x00\xf6\xffabc",
        ),
        (
            "last block whose content is taken from what follows the tail left in",
            b"\x01\x07\x00\xf8\xffa\x00\x00\xff\xff",
        ),
        (
            "last block and something that is no block",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\xff",
        ),
        (
            "last block and the tail of a flush, but no flush",
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff",
        ),
        (
            "tail twice",
            b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff\x00\x00\xff\xff",
        ),
        ("tail alone", b"\x00\x00\xff\xff"),
        ("zlib header", b"\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00"),
    ] {
        let wire = masked(0xc1, payload);
        for pieces in [wire.len(), 1] {
            let mut driver = open(15, true, &unbounded());
            wire.chunks(pieces).for_each(|piece| driver.feed(piece));
            assert_eq!(driver.seen, refused, "{name}");
            let sent = b"\x88\x3a\x03\xefthe payload of a compressed message is not valid DEFLATE";
            assert_eq!(driver.sent, sent, "{name}");
        }
    }
    let error = Error::from(FrameError::DeflateInvalid);
    assert_eq!(error.close_code(), Some(CloseCode::INVALID_DATA));
    assert_eq!(error.name(), "deflate_invalid");
}

#[test]
fn distance_beyond_what_is_kept_is_refused() {
    let arrives = |bits, takeover, between: usize| {
        let mut peer = Peer::new(15, true);
        let mut wire = Vec::new();
        // zlib never refers to the very first byte.
        let first = [b"-", &noise(100)[..]].concat();
        for plain in [first, vec![b'.'; between], noise(100)] {
            wire.extend(compressed(Kind::Binary, &peer.payload(&plain)));
        }
        let seen = run(open(bits, takeover, &unbounded()), [&wire[..]]);
        match seen.last() {
            Some(Seen::Message(_, plain)) => *plain == noise(100),
            other => {
                let refused = Seen::Failed(FrameError::DeflateInvalid.into());
                assert_eq!(other, Some(&refused));
                false
            }
        }
    };
    for (bits, bytes) in [(8, 512), (9, 512), (10, 1024), (12, 4096), (14, 16384)] {
        assert!(arrives(bits, true, bytes - 100), "{bits} bits");
        assert!(!arrives(bits, true, bytes - 99), "{bits} bits");
    }
    assert!(arrives(15, true, 32_000));
    assert!(!arrives(15, false, 0));
}

#[test]
fn rsv1_only_where_a_message_begins_and_the_rest_never() {
    let refused = vec![Seen::Failed(FrameError::ReservedBits.into())];
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let begun = [masked(0x41, &hello[..3]), masked(0xc0, &hello[3..])].concat();
    let plain_begun = [masked(0x01, b"a"), masked(0xc0, b"b")].concat();
    let wires = [
        begun,
        plain_begun,
        short(0xc8, ""),
        short(0xc9, ""),
        short(0xca, ""),
        short(0xa1, ""),
        short(0x91, ""),
        short(0xe1, [0]),
        short(0xd2, [0]),
        short(0xf1, [0]),
    ];
    for wire in &wires {
        check(|| open(15, true, &unbounded()), wire, &refused);
    }
    check(
        || Driver::open(unbounded()),
        &masked(0xc1, &hello),
        &refused,
    );
    let inside = [masked(0x41, &hello[..3]), masked(0xc1, &hello[3..])].concat();
    let interleaved = [Seen::Failed(FrameError::MessageInterleaved.into())];
    check(|| open(15, true, &unbounded()), &inside, &interleaved);
    let opcode = [Seen::Failed(FrameError::ReservedOpcode.into())];
    check(|| open(15, true, &unbounded()), &short(0xc3, ""), &opcode);
}

#[test]
fn text_is_judged_after_inflation() {
    let good = "γειά σου κόσμε".repeat(3);
    let payload = Peer::new(15, true).payload(good.as_bytes());
    let expected = [text(good.as_bytes())];
    let fragments = in_fragments(Kind::Text, &payload, 1, &[]);
    check(|| open(15, true, &unbounded()), &fragments, &expected);
    for bad in [&good.as_bytes()[..3], b"a\xff", b"\xed\xa0\x80"] {
        let payload = Peer::new(15, true).payload(bad);
        let refused = [Seen::Failed(FrameError::TextUtf8.into())];
        for wire in [
            compressed(Kind::Text, &payload),
            in_fragments(Kind::Text, &payload, 1, &[]),
        ] {
            check(|| open(15, true, &unbounded()), &wire, &refused);
        }
        let seen = [Seen::Message(Kind::Binary, bad.into())];
        check(
            || open(15, true, &unbounded()),
            &compressed(Kind::Binary, &payload),
            &seen,
        );
    }
}

#[test]
fn close_sent_then_nothing_is_inflated_nor_kept() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let wire = masked(0xc1, &hello);
    let mut held = Vec::new();
    for cut in 0..=wire.len() {
        let mut driver = open(15, true, &unbounded());
        driver.feed(&wire);
        assert!(driver.connection.buffered_bytes() > 0);
        driver.feed(&wire[..cut]);
        let seen = driver.seen.len();
        let code = CloseCode::GOING_AWAY;
        assert!(driver.connection.close(code, "", &mut Vec::new()));
        // Only where in a frame the next byte belongs, be it in the header or in the payload.
        held.push(driver.connection.buffered_bytes());
        driver.feed(&wire[cut..]);
        driver.feed(&masked(0xc1, b"not deflate"));
        driver.feed(&masked(0x41, b"nor this"));
        driver.feed(&masked(0x80, b"\xff"));
        driver.feed(&short(0x88, ""));
        assert_eq!(driver.seen[seen..], [Seen::Close(None)], "cut at {cut}");
    }
    let [0, within @ .., 0] = &held[..] else {
        panic!("{held:?}")
    };
    assert!(within[0] <= BOX_BYTES_MAX);
    assert!(within.iter().all(|bytes| bytes == &within[0]), "{held:?}");
    let mut driver = open(15, true, &unbounded());
    let code = CloseCode::NORMAL;
    driver.connection.close(code, "", &mut Vec::new());
    driver.feed(&short(0xc9, ""));
    assert_eq!(driver.seen, [Seen::Failed(FrameError::ReservedBits.into())]);
}

#[test]
fn window_grows_with_what_came_up_to_its_size() {
    for bits in [9, 10, 15] {
        let mut driver = open(bits, true, &unbounded());
        let mut peer = Peer::new(bits, true);
        assert_eq!(driver.connection.buffered_bytes(), 0);
        let mut came = 0;
        for plain in std::iter::repeat_n(noise(100), 400) {
            driver.feed(&compressed(Kind::Binary, &peer.payload(&plain)));
            came += plain.len();
            let held = driver.connection.buffered_bytes();
            assert!(held >= came.min(1 << bits), "{held} bytes of {came}");
            assert!(
                held <= (2 * came).min(1 << bits) + 32 + BOX_BYTES_MAX,
                "{held} bytes of {came}"
            );
        }
    }
    let mut driver = open(15, false, &unbounded());
    driver.feed(&compressed(
        Kind::Binary,
        &Peer::new(15, false).payload(&noise(100)),
    ));
    assert_eq!(driver.connection.buffered_bytes(), 0);
}

/// One inflater serves connections by turns, of which each has a message under way, and a message
/// that fails leaves nothing behind.
#[test]
fn inflater_shared_by_connections_mixes_nothing() {
    let limits = unbounded();
    let mut inflater = codec::Inflater::default();
    let mut connections: Vec<_> = (9..=15)
        .map(|bits| (open(bits, true, &limits).connection, Peer::new(bits, true)))
        .collect();
    for plain in conversation() {
        let mut wires: Vec<_> = connections
            .iter_mut()
            .map(|(_, peer)| compressed(Kind::Binary, &peer.payload(&plain)))
            .collect();
        let mut arrived = 0;
        while arrived < connections.len() {
            for ((connection, _), wire) in connections.iter_mut().zip(&mut wires) {
                let step = connection.receive(wire, &limits, &mut inflater);
                if let Some(event) = step.event {
                    let codec::Event::Message(message) = event else {
                        panic!("{event:?}");
                    };
                    assert_eq!(message.payload, plain);
                    arrived += 1;
                }
                wire.clear();
            }
        }
        let mut bad = open(15, true, &limits).connection;
        let mut wire = masked(0xc2, b"\xf2\x00\x11\x00\x00");
        let step = bad.receive(&mut wire, &limits, &mut inflater);
        assert!(matches!(step.event, Some(codec::Event::Failed(_))));
    }
}
