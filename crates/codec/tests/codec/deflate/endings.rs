//! Messages that clients compress, whichever way they end, and those that are inflated over several calls.

use super::*;

#[test]
fn client_messages_of_every_window_arrive_however_cut() {
    for bits in 8..=15 {
        for takeover in [false, true] {
            let open = || open(bits, takeover, &unbounded());
            let mut peer = Peer::new(bits, takeover);
            let (mut wire, mut fragmented, mut seen, mut interleaved) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for plain in conversation() {
                let payload = peer.payload(&plain);
                wire.extend(compressed(Kind::Binary, &payload));
                // A plain message does not enter the window.
                wire.extend(masked(0x82, b"plain"));
                fragmented.extend(in_fragments(Kind::Binary, &payload, 1, &short(0x8a, "p")));
                interleaved.extend(std::iter::repeat_n(
                    Seen::Pong(b"p".to_vec()),
                    payload.len(),
                ));
                interleaved.push(Seen::Message(Kind::Binary, plain.clone()));
                seen.push(Seen::Message(Kind::Binary, plain));
                seen.push(Seen::Message(Kind::Binary, b"plain".to_vec()));
            }
            check(open, &wire, &seen);
            check(open, &fragmented, &interleaved);
        }
    }
}

#[test]
fn client_messages_that_end_their_stream_arrive() {
    for takeover in [false, true] {
        let mut peer = Peer::new(15, false);
        let (mut wire, mut seen) = (Vec::new(), Vec::new());
        for plain in conversation() {
            let payload = peer.last_payload(&plain);
            wire.extend(compressed(Kind::Binary, &payload));
            // Several ended streams in one message.
            let twice = [&payload[..payload.len() - 1], &payload[..]].concat();
            wire.extend(compressed(Kind::Binary, &twice));
            seen.push(Seen::Message(Kind::Binary, plain.clone()));
            seen.push(Seen::Message(Kind::Binary, plain.repeat(2)));
        }
        check(|| open(15, takeover, &unbounded()), &wire, &seen);
    }
}

/// What peers were seen to send that RFC 7692 does not let them, and other servers take.
#[test]
fn client_messages_ended_as_no_rfc_says_arrive() {
    let arrives = |wire: &[u8], expected: &[Seen]| {
        for takeover in [false, true] {
            check(|| open(15, takeover, &unbounded()), wire, expected);
        }
    };
    // As a device sends it: a last block, and no empty one behind it.
    let welcome = b"\x0b\x4f\xcd\x49\xce\xcf\x4d\x05\x00";
    arrives(&masked(0xc1, welcome), &[text(b"Welcome")]);
    arrives(&masked(0xc1, welcome).repeat(3), &vec![text(b"Welcome"); 3]);
    let halves = [masked(0x41, &welcome[..4]), masked(0x80, &welcome[4..])];
    arrives(&halves.concat(), &[text(b"Welcome")]);
    // Nothing at all is an empty message.
    arrives(&masked(0xc1, b""), &[text(b"")]);
    arrives(
        &[masked(0x41, b""), masked(0x80, b"")].concat(),
        &[text(b"")],
    );
    let pinged = [masked(0x42, b""), short(0x8a, "p"), masked(0x80, b"")].concat();
    let expected = [
        Seen::Pong(b"p".to_vec()),
        Seen::Message(Kind::Binary, vec![]),
    ];
    arrives(&pinged, &expected);
    // The tail of the flush is still there.
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff";
    arrives(&masked(0xc1, hello), &[text(b"Hello")]);
    arrives(&masked(0xc1, hello).repeat(3), &vec![text(b"Hello"); 3]);
    arrives(&masked(0xc1, b"\0\0\0\xff\xff"), &[text(b"")]);
    // What the message is made of may end as the tail does.
    let stored = b"\x00\x06\x00\xf9\xff12\x00\x00\xff\xff\x00";
    let plain = Seen::Message(Kind::Binary, b"12\x00\x00\xff\xff".to_vec());
    arrives(&masked(0xc2, stored), std::slice::from_ref(&plain));
    let last_stored = [&[0x01], &stored[1..11]].concat();
    arrives(&masked(0xc2, &last_stored), &[plain]);
}

#[test]
fn client_messages_of_every_ending_and_window_arrive_however_cut() {
    for bits in 8..=15 {
        for takeover in [false, true] {
            let mut peer = FreePeer::new(bits, takeover);
            let (mut wire, mut seen) = (Vec::new(), Vec::new());
            for (n, plain) in conversation().into_iter().enumerate() {
                for ending in Ending::ALL {
                    let payload = peer.payload(&plain, ending);
                    match n % 2 {
                        0 => wire.extend(compressed(Kind::Binary, &payload)),
                        _ => wire.extend(in_fragments(Kind::Binary, &payload, 9, &[])),
                    }
                    seen.push(Seen::Message(Kind::Binary, plain.clone()));
                }
            }
            check(|| open(bits, takeover, &unbounded()), &wire, &seen);
        }
    }
}

/// Each message is the one before it again, and so refers to it: it could not be this short else.
#[test]
fn window_survives_a_message_of_every_ending() {
    let plain = noise(400);
    for first in Ending::ALL {
        for second in Ending::ALL {
            let mut peer = FreePeer::new(15, true);
            let mut driver = open(15, true, &unbounded());
            driver.feed(&compressed(Kind::Binary, &peer.payload(&plain, first)));
            driver.feed(&masked(0xc2, b""));
            let again = peer.payload(&plain, second);
            assert!(again.len() < 30, "{} bytes", again.len());
            driver.feed(&compressed(Kind::Binary, &again));
            let message = Seen::Message(Kind::Binary, plain.clone());
            let empty = Seen::Message(Kind::Binary, vec![]);
            let expected = [message.clone(), empty, message];
            assert_eq!(driver.seen, expected, "{first:?}, then {second:?}");
        }
    }
}

#[test]
fn bomb_of_every_ending_stops_at_the_limit() {
    let limits = Limits {
        message_bytes_max: 40_000,
        ..Limits::default()
    };
    for ending in Ending::ALL {
        for bytes in [40_000, 40_001, 1 << 20] {
            let payload = FreePeer::new(15, false).payload(&vec![7; bytes], ending);
            let expected = match bytes {
                40_000 => Seen::Message(Kind::Binary, vec![7; bytes]),
                _ => Seen::Failed(FrameError::MessageTooBig.into()),
            };
            let wire = compressed(Kind::Binary, &payload);
            let seen = run(open(15, true, &limits), [&wire[..]]);
            assert_eq!(seen, [expected], "{bytes} bytes, {ending:?}");
        }
    }
}

/// The stream ends inside the message, and what follows refers to what came before the end.
#[test]
fn stream_ended_inside_a_message_keeps_its_window() {
    // "Hello" as a last block, then a block with a match of length 5 and distance 5, as a client
    // with context takeover sends it for a second "Hello".
    let both = b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x00\x11\x00\x00";
    for takeover in [false, true] {
        let expected = [text(b"HelloHello")];
        check(
            || open(15, takeover, &unbounded()),
            &masked(0xc1, both),
            &expected,
        );
    }
}

/// A call takes no more of it than a kibibyte, so that others need not wait for the rest.
#[test]
fn message_that_takes_long_to_inflate_takes_many_calls() {
    let limits = unbounded();
    let mut inflater = codec::Inflater::default();
    let mut connection = open(15, true, &limits).connection;
    let payload = [&b"\0\0\0\xff\xff".repeat(2_000)[..], &[0]].concat();
    let mut wire = [masked(0xc2, &payload), masked(0x89, b"behind it")].concat();
    let mut rest = &mut wire[..];
    let mut calls = 0;
    loop {
        let step = connection.receive(rest, &limits, &mut inflater);
        calls += 1;
        let (consumed, is_whole) = (step.consumed, step.event.is_some());
        assert_eq!(is_whole, !connection.is_inflating());
        assert!(connection.unfinished_bytes() < (49 << 10) + 2 * payload.len());
        rest = &mut rest[consumed..];
        if is_whole {
            break;
        }
    }
    assert_eq!(calls, payload.len().div_ceil(1024));
    assert_eq!(rest.len(), masked(0x89, b"behind it").len());
}

/// What a connection that closes has begun to inflate is dropped.
#[test]
fn close_sent_while_a_message_is_inflated_ends_that() {
    let limits = unbounded();
    let mut inflater = codec::Inflater::default();
    let mut connection = open(15, true, &limits).connection;
    let payload = [&b"\0\0\0\xff\xff".repeat(2_000)[..], &[0]].concat();
    connection.receive(&mut masked(0xc2, &payload), &limits, &mut inflater);
    assert!(connection.is_inflating());
    connection.close(codec::CloseCode::GOING_AWAY, "", &mut Vec::new());
    assert!(!connection.is_inflating());
    assert_eq!(connection.unfinished_bytes(), 0);
    let mut close = masked(0x88, &1001_u16.to_be_bytes());
    let step = connection.receive(&mut close, &limits, &mut inflater);
    assert!(matches!(step.event, Some(codec::Event::Close(Some(_)))));
}
