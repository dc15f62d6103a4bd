//! What reading a frame takes of the heap: next to nothing for ordinary commands, and never more than its
//! bytes account for. Alone in its process, because all allocations are counted.

#![allow(clippy::unwrap_used)]

use std::alloc::System;

use centrifuge::{Commands, Encoding, Publication, Push, is_json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The largest message that a server takes by default.
const FRAME_BYTES: usize = 64 << 10;

/// The allocations, and the bytes allocated in all, that `run` made.
fn allocated(run: impl FnOnce()) -> (usize, usize) {
    let region = Region::new(HEAP);
    run();
    let change = region.change();
    (
        change.allocations + change.reallocations,
        change.bytes_allocated,
    )
}

fn read(encoding: Encoding, frame: &[u8]) -> (usize, usize) {
    allocated(|| Commands::new(encoding, frame).for_each(drop))
}

/// A frame with as many repetitions as a message may have bytes.
fn full(before: &str, repeated: &str, after: &str) -> Vec<u8> {
    let times = (FRAME_BYTES - before.len() - after.len()) / repeated.len();
    let frame = format!("{before}{}{after}", repeated.repeat(times));
    frame.trim_end_matches(',').into()
}

fn ordinary_commands_take_next_to_nothing() {
    let json =
        br#"{"id":1,"subscribe":{"channel":"chat:index","token":"t","recoverable":true,"flag":1}}
{"id":2,"publish":{"channel":"chat:index","data":{"text": ["hi"]}}}
{"id":3,"history":{"channel":"chat:index","limit":10,"since":{"offset":1,"epoch":"e"}}}
{}"#;
    // serde_json notes the brackets that are open in a payload, a byte each.
    assert_eq!(read(Encoding::Json, json), (1, 8));
    let protobuf = b"\x0d\x08\x06\x3a\x09\x0a\x01a\x12\x04\"bc\"\0";
    assert_eq!(read(Encoding::Protobuf, protobuf), (0, 0));
    assert_eq!(allocated(|| assert!(is_json(b"\"hi\""))), (0, 0));
}

/// Frames that make as much of their bytes as the format lets them.
fn hostile_frames_take_little_more_than_their_bytes() {
    let deep = "[".repeat(FRAME_BYTES);
    let json = [
        full(r#"{"connect":{"subs":{"#, r#""a":{},"#, ""),
        full(r#"{"connect":{"token":""#, r"\n", r#""}}"#),
        full("", r#"{"\n":"\n"}"#, ""),
        full("{", r#""\n":0,"#, ""),
        full(r#"{"zzz":"#, "[{\"a\":", ""),
        deep.into_bytes(),
        full("", "{}\n", ""),
    ];
    let varint = |length: usize| vec![length as u8 | 0x80, (length >> 7) as u8 | 0x80, 2];
    let subs = [0x1a, 0].repeat((FRAME_BYTES >> 1) - 8);
    let connect = [vec![0x22], varint(subs.len()), subs].concat();
    let protobuf = [
        [varint(connect.len()), connect].concat(),
        vec![0; FRAME_BYTES],
        [0xff, 0xff, 0xff, 0xff, 0x0f].repeat(FRAME_BYTES / 5),
    ];
    let json = json.iter().map(|frame| (Encoding::Json, frame));
    let protobuf = protobuf.iter().map(|frame| (Encoding::Protobuf, frame));
    for (encoding, frame) in json.chain(protobuf) {
        assert!(frame.len() <= FRAME_BYTES + 8);
        let (_, bytes) = read(encoding, frame);
        let start = String::from_utf8_lossy(&frame[..20.min(frame.len())]);
        assert!(bytes <= 8 * FRAME_BYTES, "{bytes} bytes for {start:?}…");
    }
}

fn push_takes_nothing_in_a_buffer_with_room() {
    let meta = Publication::meta(None, &[("a", "b")]);
    let data = [b'1'; 1000];
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let mut out = Vec::with_capacity(2000);
        let publication = Publication {
            meta: &meta,
            data: &data,
            offset: 1,
            ..Publication::default()
        };
        let (count, _) = allocated(|| {
            encoding.append_push("chat:index", &Push::Publication(publication), &mut out);
        });
        // JSON collects the tags.
        assert_eq!(count, usize::from(encoding == Encoding::Json));
    }
}

#[test]
fn allocations_are_bounded_by_what_comes() {
    ordinary_commands_take_next_to_nothing();
    hostile_frames_take_little_more_than_their_bytes();
    push_takes_nothing_in_a_buffer_with_room();
}
