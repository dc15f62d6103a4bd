//! Tokens that someone forged: what the header promises or points to is worth nothing.

use access::token::{Algorithm, TokenError};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use crate::signer::{NOW, SECRET, Signer, verifier_of_jwks};

const CLAIMS: &str = r#"{"sub":"admin"}"#;

#[test]
fn none_in_any_spelling_is_refused() {
    let verifier = Signer::secret(SECRET).verifier();
    for name in ["none", "None", "NONE", "nOnE", "", "none "] {
        let header = BASE64URL.encode(format!(r#"{{"alg":"{name}"}}"#));
        for signature in ["", "AA"] {
            let token = format!("{header}.{}.{signature}", BASE64URL.encode(CLAIMS));
            let result = verifier.verify_connection(&token, NOW);
            assert_eq!(result, Err(TokenError::WrongAlgorithm), "{name:?}");
        }
    }
}

#[test]
fn empty_signature_is_refused() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let token = signer.token(CLAIMS);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let zeros = "A".repeat(signature.len());
        for signature in ["", zeros.as_str()] {
            let token = format!("{signed}.{signature}");
            let result = signer.verifier().verify_connection(&token, NOW);
            assert_eq!(result, Err(TokenError::BadSignature), "{algorithm:?}");
        }
    }
}

#[test]
fn key_in_the_header_is_not_used() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let (ours, theirs) = (Signer::new(algorithm), Signer::new(algorithm));
        let name = algorithm.name();
        let jwk = theirs.jwk("");
        for header in [
            format!(r#"{{"alg":"{name}","jwk":{jwk}}}"#),
            format!(r#"{{"alg":"{name}","jku":"https://attacker.example/jwks"}}"#),
            format!(r#"{{"alg":"{name}","x5u":"https://attacker.example/x"}}"#),
            format!(r#"{{"alg":"{name}","x5c":["AA=="]}}"#),
        ] {
            let forged = theirs.with_header(&header, CLAIMS);
            for verifier in [ours.verifier(), verifier_of_jwks(&[ours.jwk("")])] {
                let result = verifier.verify_connection(&forged, NOW);
                assert_eq!(result, Err(TokenError::BadSignature), "{header}");
            }
            // They do no harm in a token that is ours.
            let good = ours.with_header(&header, CLAIMS);
            assert!(
                ours.verifier().verify_connection(&good, NOW).is_ok(),
                "{header}"
            );
        }
    }
}

#[test]
fn critical_extension_is_refused_although_the_signature_is_right() {
    let signer = Signer::secret(SECRET);
    for crit in [r#"["exp"]"#, r#"["b64"]"#, "[]", "null", "1"] {
        let token = signer.with_header(&format!(r#"{{"alg":"HS256","crit":{crit}}}"#), CLAIMS);
        let result = signer.verifier().verify_connection(&token, NOW);
        assert_eq!(
            result,
            Err(TokenError::Malformed("its header has critical extensions"))
        );
    }
}

#[test]
fn header_with_a_name_twice_is_refused_although_the_signature_is_right() {
    let signer = Signer::secret(SECRET);
    for header in [
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"HS256"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
    ] {
        let result = signer
            .verifier()
            .verify_connection(&signer.with_header(header, CLAIMS), NOW);
        assert!(matches!(result, Err(TokenError::Malformed(_))), "{header}");
    }
}

#[test]
fn payload_is_not_judged_before_its_signature() {
    let verifier = Signer::secret(SECRET).verifier();
    let forger = Signer::secret(b"another secret, which is long enough");
    for claims in [
        "",
        "not JSON",
        r#"{"exp":1}"#,
        r#"{"sub":1}"#,
        r#"{"a":1,"a":1}"#,
    ] {
        let result = verifier.verify_connection(&forger.token(claims), NOW);
        assert_eq!(result, Err(TokenError::BadSignature), "{claims}");
    }
}

#[test]
fn payload_that_is_deep_is_taken_or_refused_without_a_crash() {
    let signer = Signer::secret(SECRET);
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for claims in [
        format!(r#"{{"info":{deep}}}"#),
        format!(r#"{{"channels":{deep}}}"#),
        deep.clone(),
        "[".repeat(3000),
    ] {
        let _ = signer
            .verifier()
            .verify_connection(&signer.token(&claims), NOW);
        let _ = signer
            .verifier()
            .verify_subscription(&signer.token(&claims), NOW);
    }
}

#[test]
fn error_says_nothing_of_the_token() {
    let signer = Signer::secret(SECRET);
    let canary = "canary";
    let verifier = signer.verifier();
    let tokens = [
        signer.with_header(r#"{"alg":"canary"}"#, "{}"),
        signer.with_header(r#"{"alg":"HS256","kid":["canary"]}"#, "{}"),
        signer.with_header(r#"{"canary":"canary","canary":1}"#, "{}"),
        signer.token(r#"{"sub":["canary"]}"#),
        signer.token(r#"{"exp":"canary"}"#),
        signer.token(r#"{"subs":{"canary":"canary"}}"#),
        signer.token(r#"{"channels":[{"canary":1}]}"#),
        signer.token(r#""canary""#),
        signer.token(r#"{"b64info":"canary canary"}"#),
        "canary.canary.canary".to_owned(),
    ];
    for token in tokens {
        let error = verifier.verify_connection(&token, NOW).unwrap_err();
        let said = format!("{error} {error:?} {}", error.name());
        assert!(!said.contains(canary), "{said}");
    }
}
