//! The fuzz target's corpus and random bytes, through the driver that it shares with these tests.

mod driver;

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{read_connection, read_subscription};
use crate::token::{Algorithm, Rules, TokenError};
use driver::fuzz_token;

/// `{"alg":"RS256","kid":"a"}`, `{"sub":"42","exp":100}`, and two bytes that are no signature.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiI0MiIsImV4cCI6MTAwfQ.AAE";

#[test]
fn token_is_read_without_its_signature_and_still_obeys_the_rules() {
    let rules = Rules::default();
    let read = read_connection(TOKEN, &rules, 99).unwrap();
    assert_eq!(
        (read.algorithm, read.kid),
        (Algorithm::Rs256, Some("a".to_owned()))
    );
    assert_eq!(
        (read.claims.user, read.claims.expires_at),
        ("42".to_owned(), Some(100))
    );
    assert_eq!(read.signature, [0, 1]);
    let expired = read_connection(TOKEN, &rules, 100);
    assert_eq!(expired.err(), Some(TokenError::Expired));
    assert!(read_subscription(TOKEN, &rules, 99).is_err());
    let short = Rules {
        token_bytes_max: TOKEN.len() - 1,
        ..Rules::default()
    };
    let long = read_connection(TOKEN, &short, 99);
    assert_eq!(long.err(), Some(TokenError::TooLong));
}

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

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_token(&bytes);
    }

    #[test]
    fn any_text_of_the_alphabet_is_answered(
        first: u8,
        text in "[-_.A-Za-z0-9{}\\[\\]\":,\\\\ ]{0,200}",
    ) {
        let mut input = vec![first];
        input.extend(text.bytes());
        fuzz_token(&input);
    }
}
