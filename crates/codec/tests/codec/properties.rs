//! Random conversations against what was meant, and random bytes against the invariants.

use codec::frame::encode_masked;
use codec::{CloseCode, Kind, Limits, Opcode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::driver::{Driver, Seen, fuzz_connection, fuzz_handshake};

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

proptest! {
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
        let mut rest = &wire[..];
        for length in piece_lengths.iter().cycle() {
            let (piece, next) = rest.split_at((*length).min(rest.len()));
            driver.feed(piece);
            rest = next;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(driver.seen, seen);
    }

    #[test]
    fn garbage_in_any_pieces_keeps_the_invariants(bytes in vec(any::<u8>(), 0..400)) {
        fuzz_connection(&bytes);
        fuzz_handshake(&bytes);
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
