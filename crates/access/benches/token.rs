//! What verifying a token costs, with each algorithm, and with a signature that is wrong:
//! `cargo bench --package access`.

#![allow(clippy::unwrap_used, reason = "it measures what the tests have shown")]

use std::{hint::black_box, time::Instant};

use access::token::{Algorithm, KEYS_TRIED_MAX, TokenError, Verifier};
use signer::{NOW, Signer, verifier_of_jwks};

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/token/signer.rs"]
mod signer;

const CLAIMS: &str =
    r#"{"sub":"42","exp":1900000000,"iat":1799999999,"info":{"name":"Ann"},"channels":["news"]}"#;

/// The best of some rounds, in microseconds: what disturbs a round only adds to it.
fn microseconds(verifier: &Verifier, token: &str) -> f64 {
    let times: u32 = 500;
    let round = |_| {
        let started = Instant::now();
        for _ in 0..times {
            let _ = black_box(verifier.verify_connection(black_box(token), NOW));
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    (0..10).map(round).fold(f64::INFINITY, f64::min)
}

/// Claims with the signature of others: all of it has to be computed, while a verifier refuses a number
/// that is too large at once.
fn forged(signer: &Signer) -> String {
    let (token, other) = (signer.token(CLAIMS), signer.token("{}"));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    format!("{signed}.{signature}")
}

fn microseconds_of_forged(verifier: &Verifier, signer: &Signer) -> f64 {
    let forged = forged(signer);
    let refused = verifier.verify_connection(&forged, NOW);
    assert_eq!(refused, Err(TokenError::BadSignature));
    microseconds(verifier, &forged)
}

fn main() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (verifier, token) = (signer.verifier(), signer.token(CLAIMS));
        assert!(verifier.verify_connection(&token, NOW).is_ok());
        let good = microseconds(&verifier, &token);
        let bad = microseconds_of_forged(&verifier, &signer);
        println!("{:6} {good:7.1} µs, forged {bad:7.1} µs", algorithm.name());
    }
    for algorithm in [Algorithm::Rs256, Algorithm::Es512] {
        let signer = Signer::new(algorithm);
        let verifier = verifier_of_jwks(&vec![signer.jwk(""); KEYS_TRIED_MAX]);
        let all = microseconds_of_forged(&verifier, &signer);
        let name = algorithm.name();
        println!("{name:6} forged {all:7.1} µs with {KEYS_TRIED_MAX} keys, without a kid");
    }
}
