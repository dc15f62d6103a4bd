//! The body of the fuzz target, which the corpus test runs too: any bytes as a token, as claims that are
//! signed, as a header that is signed, and as keys.

use std::sync::LazyLock;

use access::token::{KeyMaterial, Keys, Payload, Rules, StaticKey, TokenError, Verifier};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::Value;

const SECRET: &[u8] = b"every fuzzed token is signed with this";
const NOW: i64 = 1_800_000_000;

static KEY: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, SECRET));

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let key = StaticKey {
        name: "fuzz".to_owned(),
        kid: None,
        until: None,
        material: KeyMaterial::Secret(SECRET.to_vec()),
    };
    let keys = Keys::from_static(&[key]).expect("the secret is long enough");
    let rules = Rules {
        token_bytes_max: usize::MAX,
        ..Rules::default()
    };
    Verifier::new(keys, rules).expect("the rules are the default ones")
});

/// The first byte says what the rest is.
pub fn fuzz_token(bytes: &[u8]) {
    let [kind, rest @ ..] = bytes else { return };
    match kind % 5 {
        0 => check_token(rest),
        1 => check_claims(rest),
        2 => check_header(rest),
        3 => check_jwks(rest),
        _ => check_pem(rest),
    }
}

fn sign(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
    let signature = hmac::sign(&KEY, signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(signature))
}

/// Nobody can guess a signature.
fn check_token(bytes: &[u8]) {
    let token = String::from_utf8_lossy(bytes);
    assert!(VERIFIER.verify_connection(&token, NOW).is_err());
    assert!(VERIFIER.verify_subscription(&token, NOW).is_err());
}

/// What is read from claims is what an ordinary parser of JSON reads from them.
fn check_claims(claims: &[u8]) {
    let token = sign(br#"{"alg":"HS256"}"#, claims);
    let connection = VERIFIER.verify_connection(&token, NOW);
    let subscription = VERIFIER.verify_subscription(&token, NOW);
    assert!(
        connection.is_err() || subscription.is_err(),
        "a token of both kinds"
    );
    let expected = serde_json::from_slice::<Value>(claims).ok();
    let expected = |name: &str| {
        expected
            .as_ref()
            .and_then(|claims| claims.get(name))
            .cloned()
    };
    if let Ok(claims) = &connection {
        check_user(&claims.user, expected("sub"));
        check_payload(claims.info.as_ref(), expected("info"));
        assert!(claims.expires_at.is_none_or(|end| end > NOW));
        assert_eq!(
            claims.unlimited,
            expected("unlimited") == Some(Value::Bool(true))
        );
    }
    if let Ok(claims) = &subscription {
        check_user(&claims.user, expected("sub"));
        check_payload(claims.data.as_ref(), expected("data"));
        assert!(claims.expires_at.is_none_or(|end| end > NOW));
        assert_eq!(
            Some(Value::String(claims.channel.clone())),
            expected("channel")
        );
    }
    for error in [connection.err(), subscription.err()].into_iter().flatten() {
        assert_ne!(error, TokenError::BadSignature);
    }
}

/// The parser of values has a bound of depth, behind which there is nothing to compare.
fn check_user(user: &str, expected: Option<Value>) {
    if let Some(expected) = expected {
        assert_eq!(Value::String(user.to_owned()), expected);
    }
}

fn check_payload(payload: Option<&Payload>, expected: Option<Value>) {
    if let (Some(Payload::Json(text)), Some(expected)) = (payload, expected) {
        assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(expected));
    }
}

/// A header is accepted only with the algorithm of the key, and without critical extensions.
fn check_header(header: &[u8]) {
    let token = sign(header, b"{}");
    if VERIFIER.verify_connection(&token, NOW).is_ok() {
        let header: Value = serde_json::from_slice(header).expect("it was accepted as JSON");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none());
    }
}

/// No symmetric key comes from a JWKS.
fn check_jwks(document: &[u8]) {
    let document = String::from_utf8_lossy(document);
    if let Ok((keys, _)) = Keys::from_jwks("fuzz", &document) {
        assert!(!format!("{keys:?}").contains("HS256"));
    }
}

fn check_pem(text: &[u8]) {
    let key = StaticKey {
        name: String::new(),
        kid: None,
        until: None,
        material: KeyMaterial::Pem(String::from_utf8_lossy(text).into_owned()),
    };
    let _ = Keys::from_static(&[key]);
}
