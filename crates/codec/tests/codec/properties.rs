//! Random conversations against what was meant, and random bytes against the invariants.

use codec::frame::encode_masked;
use codec::{CloseCode, Deflater, Kind, Limits, Opcode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::driver::{
    Driver, Seen, TAKEOVER, fuzz_connection, fuzz_deflate, fuzz_handshake, offering,
};
use crate::peer::{
    Ending, FreePeer, Peer, Reading, compressed, in_fragments, masked, server_frame,
};

/// A message with the places where it is cut into fragments, and the controls sent after each.
#[derive(Clone, Debug)]
struct Planned {
    kind: Kind,
    payload: Vec<u8>,
    cuts: Vec<(Index, Option<Seen>)>,
}

fn control() -> impl Strategy<Value = Seen> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![
        payload().prop_map(Seen::Ping),
        payload().prop_map(Seen::Pong)
    ]
}

fn planned() -> impl Strategy<Value = Planned> {
    let binary = vec(any::<u8>(), 0..700).prop_map(|payload| (Kind::Binary, payload));
    let text = ".{0,200}".prop_map(|text| (Kind::Text, text.into_bytes()));
    let cuts = vec((any::<Index>(), proptest::option::of(control())), 0..5);
    (prop_oneof![binary, text], cuts).prop_map(|((kind, payload), cuts)| Planned {
        kind,
        payload,
        cuts,
    })
}

impl Planned {
    /// Appends the frames to `wire` and the events they amount to to `seen`.
    fn encode(&self, key: [u8; 4], wire: &mut Vec<u8>, seen: &mut Vec<Seen>) {
        let mut cuts: Vec<_> = self
            .cuts
            .iter()
            .map(|(cut, control)| (cut.index(self.payload.len() + 1), control))
            .collect();
        cuts.sort_by_key(|(cut, _)| *cut);
        let mut start = 0;
        let mut opcode = Opcode::from(self.kind);
        for (cut, control) in cuts {
            encode_masked(opcode, false, key, &self.payload[start..cut], wire);
            (start, opcode) = (cut, Opcode::Continuation);
            if let Some(control) = control {
                encode_control(control, key, wire);
                seen.push(control.clone());
            }
        }
        encode_masked(opcode, true, key, &self.payload[start..], wire);
        seen.push(Seen::Message(self.kind, self.payload.clone()));
    }
}

fn encode_control(control: &Seen, key: [u8; 4], wire: &mut Vec<u8>) {
    match control {
        Seen::Ping(payload) => encode_masked(Opcode::Ping, true, key, payload, wire),
        Seen::Pong(payload) => encode_masked(Opcode::Pong, true, key, payload, wire),
        other => panic!("{other:?} is not planned"),
    }
}

/// Messages that repeat themselves and each other, so that there is something to refer to.
fn repetitive() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        prop::sample::select(&["hubbub ", "room", "message: ", "0123456789"][..])
            .prop_map(|word| word.as_bytes().to_vec()),
        vec(any::<u8>(), 0..60),
    ];
    vec((word, 1_usize..40), 0..8).prop_map(|words| {
        let repeated = words.iter().map(|(word, times)| word.repeat(*times));
        repeated.collect::<Vec<_>>().concat()
    })
}

/// What is sent of a message: plain, compressed in one frame, or in fragments of this length.
fn way() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![
        Just(None),
        Just(Some(usize::MAX)),
        (1_usize..50).prop_map(Some)
    ]
}

fn feed_in_pieces(driver: &mut Driver, wire: &[u8], piece_lengths: &[usize]) {
    let mut rest = wire;
    for length in piece_lengths.iter().cycle() {
        let (piece, next) = rest.split_at((*length).min(rest.len()));
        driver.feed(piece);
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
}

proptest! {
    #[test]
    fn compressed_conversation_in_any_pieces_is_seen_as_meant(
        messages in vec((repetitive(), way()), 0..8),
        bits in 8_u8..=15,
        takeover in any::<bool>(),
        piece_lengths in vec(1_usize..400, 1..20),
    ) {
        let mut peer = Peer::new(bits, takeover);
        let (mut wire, mut seen) = (Vec::new(), Vec::new());
        for (plain, way) in &messages {
            match way {
                None => wire.extend(masked(0x82, plain)),
                Some(usize::MAX) => wire.extend(compressed(Kind::Binary, &peer.payload(plain))),
                Some(bytes) => {
                    let between = masked(0x8a, b"");
                    let payload = peer.payload(plain);
                    wire.extend(in_fragments(Kind::Binary, &payload, *bytes, &between));
                    let pongs = payload.len().div_ceil(*bytes);
                    seen.extend(std::iter::repeat_n(Seen::Pong(Vec::new()), pongs));
                }
            }
            seen.push(Seen::Message(Kind::Binary, plain.clone()));
        }
        let offer = format!("permessage-deflate; client_max_window_bits={bits}");
        let policy = codec::DeflatePolicy { client_takeover: takeover, ..TAKEOVER };
        let mut driver = Driver::compressed(&offer, policy, Limits::default());
        feed_in_pieces(&mut driver, &wire, &piece_lengths);
        prop_assert_eq!(driver.seen, seen);
    }

    #[test]
    fn compressed_messages_of_any_ending_are_seen_as_meant(
        messages in vec((repetitive(), prop::sample::select(&Ending::ALL[..]), 1_usize..100), 0..8),
        bits in 8_u8..=15,
        takeover in any::<bool>(),
        piece_lengths in vec(1_usize..400, 1..20),
    ) {
        let mut peer = FreePeer::new(bits, takeover);
        let (mut wire, mut seen) = (Vec::new(), Vec::new());
        for (plain, ending, bytes) in &messages {
            let payload = peer.payload(plain, *ending);
            wire.extend(in_fragments(Kind::Binary, &payload, *bytes, &[]));
            seen.push(Seen::Message(Kind::Binary, plain.clone()));
        }
        let offer = format!("permessage-deflate; client_max_window_bits={bits}");
        let policy = codec::DeflatePolicy { client_takeover: takeover, ..TAKEOVER };
        let limits = Limits { message_fragments_max: 0, ..Limits::default() };
        let mut driver = Driver::compressed(&offer, policy, limits);
        feed_in_pieces(&mut driver, &wire, &piece_lengths);
        prop_assert_eq!(driver.seen, seen);
    }

    #[test]
    fn encoded_messages_are_read_by_a_client_of_that_window(
        messages in vec(repetitive(), 0..8),
        level in 1_u32..=9,
        bits in 9_u8..=15,
    ) {
        let (mut all, mut each) = (Deflater::new(level, bits), Deflater::new(level, bits));
        let (mut follows, mut alone) = (Reading::new(bits, true), Reading::new(bits, false));
        for plain in &messages {
            let (mut next, mut single) = (Vec::new(), Vec::new());
            all.encode_next(Kind::Binary, plain, &mut next);
            prop_assert_eq!(&follows.plain(server_frame(&next).1), plain);
            if each.encode_message(Kind::Binary, plain, &mut single) {
                prop_assert_eq!(&alone.plain(server_frame(&single).1), plain);
            }
        }
    }

    /// A byte changed anywhere: some message or some refusal, the same however it is cut.
    #[test]
    fn compressed_frames_nearly_right_keep_the_invariants(
        agreed in any::<u8>(),
        limit in any::<u8>(),
        seed in any::<u8>(),
        messages in vec(repetitive(), 1..4),
        changes in vec((any::<Index>(), any::<u8>()), 0..3),
    ) {
        let mut peer = Peer::new(8 + (agreed & 7), agreed & 8 == 0);
        let mut bytes = vec![agreed, limit, seed];
        for plain in &messages {
            let mut payload = peer.payload(plain);
            for (index, byte) in &changes {
                let index = index.index(payload.len());
                payload[index] ^= byte;
            }
            bytes.extend(compressed(Kind::Binary, &payload));
        }
        fuzz_deflate(&bytes);
    }

    #[test]
    fn offers_of_any_form_keep_the_invariants(
        pieces in vec(prop::sample::select(&[
            "permessage-deflate", "client_max_window_bits", "server_max_window_bits",
            "server_no_context_takeover", ";", "=", ",", "\"", "\\", "10", "15", " ", "x",
        ][..]), 0..20),
    ) {
        let mut bytes = vec![0, 7];
        bytes.extend(offering(&pieces.concat()).as_bytes());
        bytes.extend(compressed(Kind::Text, &Peer::new(15, true).payload(b"hello hello")));
        fuzz_connection(&bytes);
        fuzz_handshake(&bytes[1..]);
    }

    #[test]
    fn conversation_in_any_pieces_is_seen_as_meant(
        messages in vec((planned(), any::<[u8; 4]>()), 0..6),
        piece_lengths in vec(1_usize..400, 1..20),
    ) {
        let (mut wire, mut seen) = (Vec::new(), Vec::new());
        for (message, key) in &messages {
            message.encode(*key, &mut wire, &mut seen);
        }
        encode_masked(Opcode::Close, true, [0; 4], &1001_u16.to_be_bytes(), &mut wire);
        seen.push(Seen::Close(Some(CloseCode::GOING_AWAY)));

        let mut driver = Driver::open(Limits::default());
        feed_in_pieces(&mut driver, &wire, &piece_lengths);
        prop_assert_eq!(driver.seen, seen);
    }

    #[test]
    fn garbage_in_any_pieces_keeps_the_invariants(bytes in vec(any::<u8>(), 0..400)) {
        fuzz_connection(&bytes);
        fuzz_handshake(&bytes);
        fuzz_deflate(&bytes);
    }

    /// Bytes that are often frames, so that the rules behind the first byte are reached.
    #[test]
    fn frames_nearly_right_keep_the_invariants(
        mode in any::<u8>(),
        seed in any::<u8>(),
        frames in vec((
            prop::sample::select(&[0x00_u8, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xc1][..]),
            vec(any::<u8>(), 0..100),
        ), 0..8),
    ) {
        let mut bytes = vec![mode | 1, seed];
        for (first, payload) in frames {
            bytes.extend(crate::vectors::short(first, payload));
        }
        fuzz_connection(&bytes);
    }
}
