//! Tests that frames come out as if they had never been compressed, and that errors are found.

use super::*;

fn inflate(keeps_context: bool) -> Inflate {
    Inflate {
        rest: Vec::new(),
        keeps_context,
        context: None,
    }
}

/// A server's frame whose payload is already compressed.
fn frame(content: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(Kind::Text, content, &mut frame);
    frame[0] |= 0x40;
    frame
}

fn plain(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_message(Kind::Text, payload, &mut frame);
    frame
}

/// The output for bytes that arrive in pieces of this size.
fn receive(keeps_context: bool, bytes: &[u8], piece: usize) -> Result<Vec<u8>> {
    let mut inflate = inflate(keeps_context);
    let (mut known, mut out) = (Known::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        inflate.receive(piece, &mut known, &mut out)?;
    }
    Ok(out)
}

/// The frames of a server that keeps its context over these messages.
fn with_context(payloads: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut deflate = Compress::new(flate2::Compression::default(), false);
    let message = |payload: &&[u8]| {
        let mut out = Vec::with_capacity(64 + payload.len());
        deflate
            .compress_vec(payload, &mut out, FlushCompress::Sync)
            .unwrap();
        frame(out.strip_suffix(&TAIL).unwrap())
    };
    payloads.iter().map(message).collect()
}

#[test]
fn receive_any_pieces_give_plain_frames() {
    let texts: [&[u8]; 4] = [b"", b"a", &[b'x'; 70_000], b"the end"];
    let sent: Vec<u8> = texts.iter().flat_map(|it| frame(&compressed(it))).collect();
    let expected: Vec<u8> = texts.iter().flat_map(|it| plain(it)).collect();
    for piece in [1, 2, 7, 100_000] {
        assert_eq!(receive(false, &sent, piece).unwrap(), expected, "{piece}");
    }
}

#[test]
fn receive_uncompressed_and_control_frames_pass_as_they_are() {
    let mut sent = plain(b"as it is");
    sent.extend_from_slice(&[0x89, 2, 7, 7]);
    assert_eq!(receive(false, &sent, 3).unwrap(), sent);
}

#[test]
fn receive_with_context_needs_the_messages_before() {
    let frames = with_context(&[b"said once, said twice", b"said once, said twice"]);
    assert!(frames[1].len() < frames[0].len());
    let expected = plain(b"said once, said twice").repeat(2);
    assert_eq!(receive(true, &frames.concat(), 5).unwrap(), expected);
    // A receiver that does not keep the context fails, or gets another message.
    let forgetful = receive(false, &frames.concat(), 5);
    assert!(forgetful.is_err() || forgetful.unwrap() != expected);
}

#[test]
fn receive_message_that_was_seen_counts_again() {
    let (mut known, mut out) = (Known::new(), Vec::new());
    let mut message = inflate(false);
    let frame = frame(&compressed(b"to everybody"));
    for _ in 0..3 {
        message.receive(&frame, &mut known, &mut out).unwrap();
    }
    assert_eq!(out, plain(b"to everybody").repeat(3));
    assert_eq!((known.compressed, known.frames.len()), (3, 1));
}

#[test]
fn receive_damage_is_found_or_changes_the_message() {
    let payload = crate::load::chat::text(500);
    let good = frame(&compressed(&payload));
    // The last byte is padding, so changing it has no effect.
    for at in 4..good.len() - 1 {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let got = receive(false, &bad, bad.len());
        assert!(got.is_err() || got.unwrap() != plain(&payload), "byte {at}");
    }
    for bad in [
        &[0x41, 0][..],
        &[0xc9, 0],
        &[0xc1, 0x81],
        &[0xc1, 127, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert!(receive(false, bad, 100).is_err(), "{bad:?}");
    }
}

#[test]
fn agree_takes_what_was_offered_and_nothing_else() {
    use Compression::{Message, Off, Takeover};
    let check = |offered, answer, right| {
        assert_eq!(
            agree(offered, answer).is_ok(),
            right,
            "{offered:?} {answer:?}"
        );
    };
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    check(Off, "", true);
    check(Off, "permessage-deflate", false);
    check(Message, none, true);
    check(
        Message,
        "permessage-deflate; server_no_context_takeover",
        true,
    );
    check(Message, "permessage-deflate", false);
    check(Message, "", false);
    check(Message, "x-webkit-deflate-frame", false);
    check(Takeover, "permessage-deflate", true);
    check(
        Takeover,
        "permessage-deflate; server_max_window_bits=12",
        true,
    );
    check(
        Takeover,
        "permessage-deflate; client_max_window_bits=12",
        false,
    );
    check(Takeover, none, false);
}
