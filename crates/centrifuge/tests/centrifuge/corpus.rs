//! The seeds of the fuzz target: frames of both encodings, and all of them run as a test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::driver::fuzz_centrifuge;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/centrifuge")
}

/// The name and the bytes of every seed.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let json = |name, frame: &str| (name, [b"\0", frame.as_bytes()].concat());
    let protobuf = |name, frame: &[u8]| (name, [b"\x01", frame].concat());
    vec![
        json("json_connect", r#"{"id":1,"connect":{"token":"a.b.c","data":{},"subs":{"a":{"recover":true,"offset":1,"epoch":"e"}},"name":"js","version":"1","flag":1}}"#),
        json("json_subscribe", r#"{"id":2,"subscribe":{"channel":"a","token":"t","recover":true,"epoch":"e","offset":7,"data":1,"positioned":true,"recoverable":true,"join_leave":true,"delta":"fossil","tf":{"key":"a","cmp":"eq","val":"b"},"flag":3,"type":1,"phase":2}}"#),
        json("json_channels", "{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n{\"id\":4,\"presence\":{\"channel\":\"\\u0061\"}}\n{\"id\":5,\"presence_stats\":{\"channel\":\"a\"}}\n"),
        json("json_publish", "{\"id\":6,\"publish\":{\"channel\":\"a\",\"data\":{\"a\": [1,\r-2.5e3,null,\"\\\"\"]}}}"),
        json("json_history", r#"{"id":7,"history":{"channel":"a","limit":-1,"since":{"offset":1,"epoch":"e"},"reverse":true}}"#),
        json("json_application", "{\"id\":8,\"rpc\":{\"data\":[],\"method\":\"m\"}}\n{\"send\":{\"data\":null}}\n{\"id\":9,\"refresh\":{\"token\":\"t\"}}\n{\"id\":10,\"sub_refresh\":{\"channel\":\"a\",\"token\":\"t\",\"type\":1}}\n{}"),
        json("json_empty_line", "{}\n\n{}"),
        json("json_payload", r#" {"a":[true,false,"é\ud800"]} "#),
        protobuf("protobuf_connect", b"\x1a\x08\x01\x22\x16\x0a\x01t\x12\x02{}\x1a\x09\x0a\x01a\x12\x04\x18\x01\x38\x01\x22\x02js"),
        protobuf("protobuf_subscribe", b"\x14\x08\x02\x2a\x10\x0a\x01a\x62\x06fossil\x6a\x00\x70\x03\x78\x01"),
        protobuf("protobuf_publish", b"\x0d\x08\x06\x3a\x09\x0a\x01a\x12\x04\"bc\""),
        protobuf("protobuf_pongs", &[0, 0, 2, 8, 7]),
        protobuf("protobuf_group", &[6, 0xa3, 6, 0x0d, 0, 0, 0, 0, 0xa4, 6]),
        protobuf("protobuf_length_of_ten_bytes", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        protobuf("protobuf_meta", b"\x2a\x0a\x0a\x01u\x12\x01c\x1a\x02{}\x3a\x06\x0a\x01k\x12\x01v"),
    ]
}

#[test]
fn corpus_centrifuge_keeps_the_invariants() {
    let mut files = 0;
    for entry in fs::read_dir(directory()).expect("the corpus is part of the repository") {
        fuzz_centrifuge(&fs::read(entry.expect("readable").path()).expect("readable"));
        files += 1;
    }
    assert!(files >= seeds().len());
}

#[test]
fn corpus_contains_every_seed() {
    for (name, bytes) in seeds() {
        let path = directory().join(name);
        let advice = "write it: cargo test -p centrifuge corpus_write -- --ignored";
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
    fs::create_dir_all(directory()).unwrap();
    for (name, bytes) in seeds() {
        fs::write(directory().join(name), bytes).unwrap();
    }
}
