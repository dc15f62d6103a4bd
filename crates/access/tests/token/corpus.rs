//! The fuzz target's corpus, run as an ordinary test.

use std::{fs, path::Path};

use crate::driver::fuzz_token;

#[test]
fn corpus_holds_what_the_fuzz_target_asserts() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/token");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        fuzz_token(&fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 20, "the corpus has {inputs} inputs");
}
