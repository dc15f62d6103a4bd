//! What verifying a token costs: `cargo test -p access --release -- --ignored --nocapture cost`.

use std::{hint::black_box, time::Instant};

use access::token::{Algorithm, KEYS_MAX, TokenError, Verifier};

use crate::signer::{NOW, Signer, verifier_of_jwks};

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

#[test]
#[ignore = "a measurement, which asserts nothing"]
fn cost_of_each_algorithm() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (verifier, token) = (signer.verifier(), signer.token(CLAIMS));
        assert!(verifier.verify_connection(&token, NOW).is_ok());
        let good = microseconds(&verifier, &token);
        let (_, signature) = token.rsplit_once('.').unwrap();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        let at = token.len() - signature.len();
        let mut forged = token.clone();
        forged.replace_range(at..=at, first);
        let result = verifier.verify_connection(&forged, NOW);
        assert_eq!(result, Err(TokenError::BadSignature));
        let bad = microseconds(&verifier, &forged);
        println!("{:6} {good:7.1} µs, forged {bad:7.1} µs", algorithm.name());
    }
    let signer = Signer::new(Algorithm::Rs256);
    let keys = vec![signer.jwk(""); KEYS_MAX];
    let forged = Signer::new(Algorithm::Rs512)
        .token(CLAIMS)
        .replacen("SUzUxMiJ9", "SUzI1NiJ9", 1);
    let all = microseconds(&verifier_of_jwks(&keys), &forged);
    println!(
        "RS256  {all:7.1} µs, forged, without a kid, {} keys",
        keys.len()
    );
}
