//! The seeds of the fuzz targets: one file for each vector, and all of them run as a test.

use std::fs;
use std::path::{Path, PathBuf};

use codec::Kind;

use crate::driver::{HANDSHAKE, fuzz_connection, fuzz_deflate, fuzz_handshake, offering};
use crate::http::conversations;
use crate::peer::{Ending, FreePeer, Peer, compressed, in_fragments, masked};
use crate::smuggling::ambiguous;
use crate::vectors::{bad_frames, good_frames, heads, short};

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target)
}

/// The target, the name and the bytes of every seed.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let open = |name, wire: Vec<u8>| ("connection", name, [&[1, 7][..], &wire].concat());
    let mut seeds: Vec<_> = good_frames()
        .into_iter()
        .chain(bad_frames())
        .map(|vector| open(vector.name, vector.wire))
        .collect();
    seeds.extend(
        heads()
            .into_iter()
            .filter(|head| head.wire.len() < 1000)
            .map(|head| ("handshake", head.name, [&[7][..], &head.wire].concat())),
    );
    let conversation = [HANDSHAKE.as_bytes(), &short(0x81, "hi"), &short(0x88, "")].concat();
    seeds.push((
        "connection",
        "handshake_and_frames",
        [&[0, 7][..], &conversation].concat(),
    ));
    let closing = [short(0x89, ""), short(0x81, b"\xff"), short(0x88, "")].concat();
    let conversation = [
        offering("permessage-deflate; client_max_window_bits").into_bytes(),
        compressed(Kind::Text, &Peer::new(15, true).payload(b"hello hello")),
        short(0x88, ""),
    ];
    seeds.push((
        "connection",
        "handshake_with_an_offer_and_frames",
        [&[0, 7][..], &conversation.concat()].concat(),
    ));
    seeds.push((
        "connection",
        "close_sent_then_frames",
        [&[3, 7][..], &closing].concat(),
    ));
    let served = |name, wire: &[u8]| ("connection", name, [&[0x80, 7][..], wire].concat());
    seeds.extend(conversations().iter().map(|it| served(it.name, &it.wire)));
    seeds.extend(ambiguous().iter().map(|it| served(it.name, &it.wire)));
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    seeds.extend([
        served("head_behind_a_bare_cr", &[b"\r", head.as_bytes()].concat()),
        served("head_behind_a_bare_lf", &[b"\n", head.as_bytes()].concat()),
        served(
            "head_across_the_bound",
            format!("{}{head}", "\r\n".repeat(255)).as_bytes(),
        ),
    ]);
    seeds.extend(compressed_seeds());
    seeds
}

/// Frames with compression: windows, limits and takeover chosen by the first two bytes.
fn compressed_seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut peer = Peer::new(15, true);
    let mut alone = Peer::new(15, false);
    let first = peer.payload(b"hubbub, hubbub and hubbub");
    let second = peer.payload(b"hubbub and more");
    let last = alone.last_payload(b"an ended stream");
    let bomb = alone.payload(&[7; 5000]);
    let taken_over = [
        compressed(Kind::Text, &first),
        masked(0x81, b"plain"),
        compressed(Kind::Text, &second),
    ];
    let fragments = in_fragments(Kind::Binary, &first, 10, &short(0x89, "p"));
    let ended = [compressed(Kind::Text, &last), compressed(Kind::Text, &[0])];
    let seeds = [
        ("takeover", 7, 0xf6, taken_over.concat()),
        ("takeover_small_window", 1, 0xf6, taken_over.concat()),
        ("alone_refers_to_earlier", 15, 0xf6, taken_over.concat()),
        ("fragments_with_controls", 7, 0xf6, fragments),
        ("ended_streams", 7, 0xf6, ended.concat()),
        (
            "bomb_above_the_limit",
            7,
            0xf2,
            compressed(Kind::Binary, &bomb),
        ),
        (
            "bomb_below_the_limit",
            7,
            0xff,
            compressed(Kind::Binary, &bomb),
        ),
        (
            "stored",
            7,
            0xf6,
            masked(0xc1, b"\x00\x05\x00\xfa\xffHello\x00"),
        ),
        ("last_without_empty", 7, 0xf6, endings(Ending::Last)),
        ("tail_left_in", 7, 0xf6, endings(Ending::TailLeftIn)),
        (
            "last_and_tail_left_in",
            7,
            0xf6,
            endings(Ending::LastAndTailLeftIn),
        ),
        (
            "rsv1_empty",
            7,
            0xf6,
            [masked(0xc1, &[]), masked(0xc2, &[])].concat(),
        ),
        ("cut_short", 7, 0xf6, compressed(Kind::Text, &first[..9])),
        ("rsv1_on_ping", 7, 0xf6, short(0xc9, "")),
        (
            "close_sent_then_compressed",
            0x17,
            0xf6,
            taken_over.concat(),
        ),
    ];
    seeds
        .into_iter()
        .map(|(name, agreed, limit, wire)| {
            ("deflate", name, [&[agreed, limit, 7][..], &wire].concat())
        })
        .collect()
}

/// Two messages that end so, of which the second refers to the first.
fn endings(ending: Ending) -> Vec<u8> {
    let mut peer = FreePeer::new(15, true);
    let payloads = [(); 2].map(|()| peer.payload(b"hubbub, hubbub and hubbub", ending));
    payloads.map(|it| compressed(Kind::Text, &it)).concat()
}

fn run_directory(target: &str, body: fn(&[u8])) {
    let mut files = 0;
    for entry in fs::read_dir(directory(target)).expect("the corpus is part of the repository") {
        body(&fs::read(entry.expect("readable").path()).expect("readable"));
        files += 1;
    }
    assert!(files > 0);
}

#[test]
fn corpus_connection_keeps_the_invariants() {
    run_directory("connection", fuzz_connection);
}

#[test]
fn corpus_handshake_keeps_the_invariants() {
    run_directory("handshake", fuzz_handshake);
}

#[test]
fn corpus_deflate_keeps_the_invariants() {
    run_directory("deflate", fuzz_deflate);
}

#[test]
fn corpus_contains_every_vector() {
    for (target, name, bytes) in seeds() {
        let path = directory(target).join(name);
        let advice = "write it: cargo test -p codec corpus_write -- --ignored";
        assert!(
            fs::read(&path).is_ok_and(|found| found == bytes),
            "{}: {advice}",
            path.display()
        );
    }
}

#[test]
#[ignore = "writes the seeds into the source tree"]
fn corpus_write() {
    for (target, name, bytes) in seeds() {
        fs::create_dir_all(directory(target)).unwrap();
        fs::write(directory(target).join(name), bytes).unwrap();
    }
}
