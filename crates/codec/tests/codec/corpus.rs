//! The seeds of the fuzz targets: one file for each vector, and all of them run as a test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::driver::{HANDSHAKE, fuzz_connection, fuzz_handshake};
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
    seeds.push((
        "connection",
        "close_sent_then_frames",
        [&[3, 7][..], &closing].concat(),
    ));
    seeds
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
