//! Keys: which are accepted, what is said of the others, and which of them a token is tried with.

use access::token::{
    Algorithm, JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEYS_MAX, KEYS_TRIED_MAX, KeyError, KeyFault,
    KeyMaterial, Keys, Rules, StaticKey, TokenError, Verifier,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use crate::signer::{NOW, SECRET, Signer, key, verifier_of_jwks};

const CLAIMS: &str = r#"{"sub":"42"}"#;

fn verifier(keys: &[StaticKey]) -> Verifier {
    Verifier::new(Keys::from_static(keys).unwrap(), Rules::default()).unwrap()
}

fn verify(verifier: &Verifier, token: &str, now_s: i64) -> Result<(), TokenError> {
    verifier.verify_connection(token, now_s).map(drop)
}

fn with_kid(signer: &Signer, kid: &str) -> String {
    let name = signer.algorithm.name();
    signer.with_header(&format!(r#"{{"alg":"{name}","kid":"{kid}"}}"#), CLAIMS)
}

fn fault_of(material: KeyMaterial) -> KeyFault {
    let errors = Keys::from_static(&[key("tokens.key", material)]).unwrap_err();
    let [KeyError { key, fault }] = <[_; 1]>::try_from(errors).unwrap();
    assert_eq!(key, "tokens.key");
    fault
}

fn fault_of_pem(pem: &str) -> KeyFault {
    fault_of(KeyMaterial::Pem(pem.to_owned()))
}

/// What is wrong with a JWK, which stands beside a good one.
fn fault_of_jwk(jwk: &str) -> KeyFault {
    let good = Signer::new(Algorithm::EdDsa).jwk("");
    let document = format!(r#"{{"keys":[{jwk},{good}]}}"#);
    let (keys, errors) = Keys::from_jwks("jwks", &document, JWKS_KEYS_MAX).unwrap();
    assert!(!keys.is_empty());
    let [KeyError { key, fault }] = <[_; 1]>::try_from(errors).unwrap();
    assert!(key.starts_with("jwks, key 1"), "{key}");
    fault
}

#[test]
fn previous_secret_is_good_until_its_end() {
    let old = Signer::secret(b"the previous secret, long enough too");
    let new = Signer::secret(SECRET);
    let previous = StaticKey {
        until: Some(NOW),
        ..key("previous", old.material())
    };
    let verifier = verifier(&[key("current", new.material()), previous]);
    for now_s in [NOW - 1, NOW, NOW + 1] {
        assert_eq!(verify(&verifier, &new.token(CLAIMS), now_s), Ok(()));
    }
    assert_eq!(verify(&verifier, &old.token(CLAIMS), NOW - 1), Ok(()));
    for now_s in [NOW, NOW + 1] {
        let result = verify(&verifier, &old.token(CLAIMS), now_s);
        assert_eq!(result, Err(TokenError::BadSignature));
    }
}

#[test]
fn set_whose_only_key_has_ended_knows_no_key() {
    let signer = Signer::secret(SECRET);
    let ended = StaticKey {
        until: Some(NOW),
        ..key("only", signer.material())
    };
    let verifier = verifier(&[ended]);
    assert_eq!(
        verify(&verifier, &signer.token(CLAIMS), NOW),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn kid_chooses_the_key() {
    let (a, b) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let verifier = verifier_of_jwks(&[a.jwk(r#","kid":"a""#), b.jwk(r#","kid":"b""#)]);
    assert_eq!(verify(&verifier, &with_kid(&a, "a"), NOW), Ok(()));
    assert_eq!(verify(&verifier, &with_kid(&b, "b"), NOW), Ok(()));
    assert_eq!(
        verify(&verifier, &with_kid(&a, "b"), NOW),
        Err(TokenError::BadSignature)
    );
    assert_eq!(
        verify(&verifier, &with_kid(&a, "c"), NOW),
        Err(TokenError::UnknownKey)
    );
    assert_eq!(
        verify(&verifier, &with_kid(&a, ""), NOW),
        Err(TokenError::UnknownKey)
    );
    for signer in [&a, &b] {
        assert_eq!(
            verify(&verifier, &signer.token(CLAIMS), NOW),
            Ok(()),
            "without a kid"
        );
    }
}

#[test]
fn kid_that_no_key_has_leaves_the_keys_without_one() {
    let (named, plain) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::Es256));
    let verifier = verifier_of_jwks(&[named.jwk(r#","kid":"a""#), plain.jwk("")]);
    assert_eq!(
        verify(&verifier, &with_kid(&plain, "of the back end"), NOW),
        Ok(())
    );
    let result = verify(&verifier, &with_kid(&named, "of the back end"), NOW);
    assert_eq!(
        result,
        Err(TokenError::UnknownKey),
        "it may be a newer key's"
    );
    let result = verify(&verifier, &with_kid(&plain, "a"), NOW);
    assert_eq!(result, Err(TokenError::BadSignature));
}

#[test]
fn kid_of_a_key_of_another_algorithm_is_refused() {
    let (rsa, ec) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Es256));
    let verifier = verifier_of_jwks(&[rsa.jwk(r#","kid":"a""#), ec.jwk(r#","kid":"b""#)]);
    assert_eq!(
        verify(&verifier, &with_kid(&ec, "a"), NOW),
        Err(TokenError::WrongAlgorithm)
    );
    let secret = Signer::secret(rsa.pem().as_bytes());
    assert_eq!(
        verify(&verifier, &with_kid(&secret, "a"), NOW),
        Err(TokenError::WrongAlgorithm)
    );
}

#[test]
fn kid_that_two_keys_have_is_tried_with_both() {
    let (a, b) = (Signer::new(Algorithm::Es256), Signer::new(Algorithm::EdDsa));
    let kid = r#","kid":"same""#;
    let verifier = verifier_of_jwks(&[a.jwk(kid), b.jwk(kid)]);
    assert_eq!(verify(&verifier, &with_kid(&a, "same"), NOW), Ok(()));
    assert_eq!(verify(&verifier, &with_kid(&b, "same"), NOW), Ok(()));
}

#[test]
fn rotated_keys_take_the_place_of_the_old_ones() {
    let (old, new) = (Signer::new(Algorithm::EdDsa), Signer::new(Algorithm::EdDsa));
    let before = verifier_of_jwks(&[old.jwk(r#","kid":"1""#)]);
    let document = format!(r#"{{"keys":[{}]}}"#, new.jwk(r#","kid":"2""#));
    let after = before.with_keys(Keys::from_jwks("jwks", &document, JWKS_KEYS_MAX).unwrap().0);
    assert_eq!(verify(&before, &with_kid(&old, "1"), NOW), Ok(()));
    assert_eq!(verify(&after, &with_kid(&new, "2"), NOW), Ok(()));
    assert_eq!(
        verify(&after, &with_kid(&old, "1"), NOW),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn alg_of_a_jwk_is_its_only_algorithm() {
    let (short, long) = (Signer::new(Algorithm::Rs256), Signer::new(Algorithm::Rs512));
    let verifier = verifier_of_jwks(&[short.jwk(r#","alg":"RS512""#)]);
    assert_eq!(verify(&verifier, &long.token(CLAIMS), NOW), Ok(()));
    let result = verify(&verifier, &short.token(CLAIMS), NOW);
    assert_eq!(result, Err(TokenError::WrongAlgorithm));
    for alg in ["EdDSA", "Ed25519"] {
        let signer = Signer::new(Algorithm::EdDsa);
        let verifier = verifier_of_jwks(&[signer.jwk(&format!(r#","alg":"{alg}""#))]);
        assert_eq!(verify(&verifier, &signer.token(CLAIMS), NOW), Ok(()));
    }
}

#[test]
fn secret_that_is_short_is_refused() {
    for bytes in [0, 6, 31] {
        let fault = fault_of(KeyMaterial::Secret(vec![b'x'; bytes]));
        assert_eq!(fault, KeyFault::SecretTooShort { bytes });
    }
    let long = key("secret", KeyMaterial::Secret(vec![b'x'; 32]));
    assert!(Keys::from_static(&[long]).is_ok());
}

#[test]
fn pem_that_is_no_public_key_is_refused() {
    let good = Signer::new(Algorithm::Es256).pem();
    for (pem, fault) in [
        (String::new(), KeyFault::NoPublicKey),
        ("secret".to_owned(), KeyFault::NoPublicKey),
        (
            good.replace("PUBLIC KEY", "RSA PUBLIC KEY"),
            KeyFault::NoPublicKey,
        ),
        (
            good.replace("PUBLIC KEY", "CERTIFICATE REQUEST"),
            KeyFault::NoPublicKey,
        ),
        (
            good.replace("PUBLIC KEY", "PRIVATE KEY"),
            KeyFault::PrivateKey,
        ),
        (
            good.replace("PUBLIC KEY", "EC PRIVATE KEY"),
            KeyFault::PrivateKey,
        ),
        (
            good.replace("PUBLIC KEY", "RSA PRIVATE KEY"),
            KeyFault::PrivateKey,
        ),
        (good.replace("PUBLIC KEY", "CERTIFICATE"), KeyFault::Damaged),
        (format!("{good}{good}"), KeyFault::SeveralKeys),
        (good.replace("-----END", "----END"), KeyFault::Damaged),
        (good.replacen("MF", "!F", 1), KeyFault::Damaged),
        (good.replacen("MF", "MG", 1), KeyFault::Damaged),
        // Two bytes behind the key.
        (good.replace("==\n", "AA\n"), KeyFault::Damaged),
    ] {
        assert_eq!(fault_of_pem(&pem), fault, "{pem}");
    }
}

#[test]
fn pem_of_a_kind_that_is_not_supported_is_refused() {
    assert_eq!(fault_of_pem(SECP256K1), KeyFault::UnsupportedKind);
    assert_eq!(fault_of_pem(ED448), KeyFault::UnsupportedKind);
    assert_eq!(fault_of_pem(RSA_1024), KeyFault::RsaSize { bits: 1024 });
}

#[test]
fn errors_name_every_bad_key_and_no_key_itself() {
    let canary = KeyMaterial::Secret(b"canary".to_vec());
    let keys = [
        key("tokens.hmac_secret", canary),
        key("tokens.good", Signer::secret(SECRET).material()),
        key("tokens.public_key", KeyMaterial::Pem("canary".to_owned())),
    ];
    let errors = Keys::from_static(&keys).unwrap_err();
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("tokens.hmac_secret: the secret has 6 bytes"),
        "{said:?}"
    );
    assert!(said[0].contains("openssl rand -hex 32"), "{said:?}");
    assert!(said[1].starts_with("tokens.public_key: "), "{said:?}");
    assert!(!format!("{said:?}{errors:?}").contains("canary"));
}

#[test]
fn verifier_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
}

#[test]
fn debug_shows_no_secret() {
    let signer = Signer::secret(SECRET);
    let one = StaticKey {
        kid: Some("shown".to_owned()),
        ..key("also shown", signer.material())
    };
    let verifier = verifier(std::slice::from_ref(&one));
    let shown = format!("{one:?} {one:#?} {verifier:?} {verifier:#?}");
    assert!(
        shown.contains("also shown") && shown.contains("shown"),
        "{shown}"
    );
    let secret = str::from_utf8(SECRET).unwrap();
    let numbers = format!("{SECRET:?}");
    let hex: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [secret, &secret[..8], numbers.trim_matches(['[', ']']), &hex] {
        assert!(!shown.contains(form), "{shown}");
    }
}

#[test]
fn set_has_at_most_its_bound_of_keys() {
    let signer = Signer::secret(SECRET);
    let named = |kid: usize| StaticKey {
        kid: Some(kid.to_string()),
        ..key("one of many", signer.material())
    };
    let keys = |count| (0..count).map(named).collect::<Vec<_>>();
    assert!(Keys::from_static(&keys(KEYS_MAX)).is_ok());
    let errors = Keys::from_static(&keys(KEYS_MAX + 2)).unwrap_err();
    let faults: Vec<_> = errors.into_iter().map(|error| error.fault).collect();
    let too_many = |most| KeyFault::TooMany { most };
    assert_eq!(faults, [too_many(KEYS_MAX), too_many(KEYS_MAX)]);
    let signer = Signer::new(Algorithm::EdDsa);
    let jwks = (0..4).map(|kid| signer.jwk(&format!(r#","kid":"{kid}""#)));
    let document = format!(r#"{{"keys":[{}]}}"#, jwks.collect::<Vec<_>>().join(","));
    let (keys, errors) = Keys::from_jwks("jwks", &document, 3).unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].key, "jwks, key 4 (kid \"3\")");
    assert_eq!(errors[0].fault, too_many(3));
    assert!(Keys::from_jwks("jwks", &document, 4).unwrap().1.is_empty());
}

#[test]
fn keys_that_one_token_would_be_tried_with_are_refused_beyond_a_few() {
    let signer = Signer::new(Algorithm::Es512);
    let pem = signer.pem();
    let keys = |count| vec![key("tokens.keys", KeyMaterial::Pem(pem.clone())); count];
    assert!(Keys::from_static(&keys(KEYS_TRIED_MAX)).is_ok());
    let errors = Keys::from_static(&keys(KEYS_TRIED_MAX + 1)).unwrap_err();
    assert_eq!(errors[0].fault, KeyFault::TooManyAlike);
    let said = errors[0].to_string();
    assert!(
        said.contains("4 keys before it are for the same tokens"),
        "{said}"
    );
    // Keys of other algorithms are no burden for the same token.
    let mut mixed = keys(KEYS_TRIED_MAX);
    mixed.push(key("another", Signer::secret(SECRET).material()));
    assert!(Keys::from_static(&mixed).is_ok());
    for kid in ["", r#","kid":"same""#] {
        let document = format!(r#"{{"keys":[{}]}}"#, vec![signer.jwk(kid); 6].join(","));
        let (keys, errors) = Keys::from_jwks("jwks", &document, JWKS_KEYS_MAX).unwrap();
        assert_eq!((keys.len(), errors.len()), (KEYS_TRIED_MAX, 2));
        assert!(
            errors
                .iter()
                .all(|error| error.fault == KeyFault::TooManyAlike)
        );
    }
}

#[test]
fn token_that_names_none_of_many_keys_is_refused_without_trying_them() {
    let signers: Vec<_> = (0..=KEYS_TRIED_MAX)
        .map(|_| Signer::new(Algorithm::Es512))
        .collect();
    let jwks: Vec<_> = (0..)
        .zip(&signers)
        .map(|(kid, signer)| signer.jwk(&format!(r#","kid":"{kid}""#)))
        .collect();
    let few = verifier_of_jwks(&jwks[..KEYS_TRIED_MAX]);
    let many = verifier_of_jwks(&jwks);
    let signer = &signers[0];
    assert_eq!(verify(&few, &signer.token(CLAIMS), NOW), Ok(()));
    assert_eq!(
        verify(&many, &signer.token(CLAIMS), NOW),
        Err(TokenError::KeyNotNamed)
    );
    assert_eq!(verify(&many, &with_kid(signer, "0"), NOW), Ok(()));
}

#[test]
fn texts_of_a_jwks_are_shown_in_part() {
    let long = "k".repeat(10_000);
    let signer = Signer::new(Algorithm::Es256);
    for jwk in [
        format!(r#","kid":"{long}","use":"enc""#),
        format!(r#","alg":"{long}""#),
    ] {
        let document = format!(r#"{{"keys":[{}]}}"#, signer.jwk(&jwk));
        let errors = Keys::from_jwks("jwks", &document, JWKS_KEYS_MAX).unwrap_err();
        assert!(errors[0].to_string().len() < 400, "{}", errors[0]);
    }
}

#[test]
fn jwk_that_cannot_be_used_is_left_out_and_named() {
    let rsa = Signer::new(Algorithm::Rs256);
    let ec = Signer::new(Algorithm::Es256);
    let member = |name| KeyFault::BadMember { name };
    let unsupported = |algorithm: &str| KeyFault::UnsupportedAlgorithm {
        algorithm: algorithm.to_owned(),
    };
    let small = BASE64URL.encode([0xff; 128]);
    let even = BASE64URL.encode([0xfe; 256]);
    let odd = BASE64URL.encode([0xff; 256]);
    for (jwk, fault) in [
        (Signer::secret(SECRET).jwk(""), KeyFault::Symmetric),
        (rsa.jwk(r#","use":"enc""#), KeyFault::NotForSignatures),
        (
            rsa.jwk(r#","key_ops":["encrypt"]"#),
            KeyFault::NotForSignatures,
        ),
        (rsa.jwk(r#","d":"AQ""#), KeyFault::PrivateKey),
        (rsa.jwk(r#","alg":"PS256""#), unsupported("PS256")),
        (rsa.jwk(r#","alg":"HS256""#), unsupported("HS256")),
        (rsa.jwk(r#","alg":"ES256""#), unsupported("ES256")),
        (rsa.jwk(r#","alg":"none""#), unsupported("none")),
        (ec.jwk(r#","alg":"ES384""#), unsupported("ES384")),
        (rsa.jwk(r#","kid":1"#), member("kid")),
        (rsa.jwk(r#","n":"AQ""#), member("keys")),
        ("1".to_owned(), member("keys")),
        ("{}".to_owned(), member("kty")),
        (r#"{"kty":"AKP"}"#.to_owned(), KeyFault::UnsupportedKind),
        (r#"{"kty":"RSA","n":"AQ"}"#.to_owned(), member("e")),
        (
            r#"{"kty":"RSA","n":"A+","e":"AQAB"}"#.to_owned(),
            member("n"),
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{small}","e":"AQAB"}}"#),
            KeyFault::RsaSize { bits: 1024 },
        ),
        (
            r#"{"kty":"RSA","n":"","e":"AQAB"}"#.to_owned(),
            KeyFault::RsaSize { bits: 0 },
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{odd}","e":"AQ"}}"#),
            KeyFault::Invalid,
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{odd}","e":""}}"#),
            KeyFault::Invalid,
        ),
        (
            format!(r#"{{"kty":"RSA","n":"{even}","e":"AQAB"}}"#),
            KeyFault::Invalid,
        ),
        (
            r#"{"kty":"EC","crv":"secp256k1"}"#.to_owned(),
            KeyFault::UnsupportedKind,
        ),
        (
            r#"{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}"#.to_owned(),
            member("x"),
        ),
        (ec.jwk("").replace("P-256", "P-384"), member("x")),
        (
            format!(
                r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}"#,
                "A".repeat(43)
            ),
            KeyFault::Invalid,
        ),
        (
            r#"{"kty":"OKP","crv":"X25519","x":"AQ"}"#.to_owned(),
            KeyFault::UnsupportedKind,
        ),
        (
            r#"{"kty":"OKP","crv":"Ed25519","x":"AQ"}"#.to_owned(),
            KeyFault::Invalid,
        ),
    ] {
        assert_eq!(fault_of_jwk(&jwk), fault, "{jwk}");
    }
}

#[test]
fn symmetric_key_of_a_jwks_signs_nothing() {
    let secret = Signer::secret(SECRET);
    let document = format!(
        r#"{{"keys":[{}]}}"#,
        secret.jwk(r#","kid":"a","alg":"HS256""#)
    );
    let errors = Keys::from_jwks("jwks", &document, JWKS_KEYS_MAX).unwrap_err();
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(
        said[0].starts_with("jwks, key 1 (kid \"a\"): it is a symmetric key"),
        "{said:?}"
    );
    assert_eq!(said[1], "jwks: there is no key in it that can be used");
}

#[test]
fn document_that_is_no_jwks_is_refused() {
    let fault = |document: &str| {
        Keys::from_jwks("jwks", document, JWKS_KEYS_MAX)
            .unwrap_err()
            .remove(0)
            .fault
    };
    for document in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert_eq!(fault(document), KeyFault::NotJwks, "{document}");
    }
    assert_eq!(fault(r#"{"keys":[]}"#), KeyFault::NoKeys);
    let listed = |count| format!(r#"{{"keys":[{}]}}"#, vec!["{}"; count].join(","));
    assert_eq!(fault(&listed(JWKS_KEYS_MAX + 1)), KeyFault::TooManyListed);
    assert_ne!(fault(&listed(JWKS_KEYS_MAX)), KeyFault::TooManyListed);
    let long = format!(r#"{{"keys":[{}]}}"#, " ".repeat(JWKS_BYTES_MAX));
    assert_eq!(fault(&long), KeyFault::JwksTooLong);
}

const RSA_1024: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDMaQ4maKrIcV2puTOC0Vm4fIiR\n\
ThxzAf8VlmIKm4MWz4qux2oUJAMi5YUZZLXgMvg4QCDJbNYFrTXznf3sHCl5m9qf\n\
JImeEvnROclgzqmN9zV6ugWTTOhXhf9/cqaFm1kuCPCZvNiIh/wmCbqEjV/qanJu\n\
RFVtrIzdNHqGcGNDVwIDAQAB\n\
-----END PUBLIC KEY-----\n";

const SECP256K1: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEQkAYUXwXb905l4Vq3vzkj332RZvyzA8+\n\
2rPNcpxEhoqySDlRoHoLi3uGJo0AveuNiQmtU2JD1vSQZn1Sji2Wqg==\n\
-----END PUBLIC KEY-----\n";

const ED448: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MEMwBQYDK2VxAzoAystpecMUrk0kzf2GzeSP0pNkOly80i+jGnMPGXgt6yXNawux\n\
6VWwz6pd4OxPYzfaZZOPuHldWIIA\n\
-----END PUBLIC KEY-----\n";
