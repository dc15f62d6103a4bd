//! Signatures: each algorithm, from each form of its key, and nothing that was changed.

use access::token::{Algorithm, Rules, TokenError, Verifier};

use crate::signer::{NOW, Signer, verifier_of_jwks, verifier_of_pem};

const CLAIMS: &str = r#"{"sub":"42","exp":1800000060}"#;

fn user(verifier: &Verifier, token: &str) -> Result<String, TokenError> {
    let claims = verifier.verify_connection(token, NOW);
    claims.map(|claims| claims.user)
}

#[test]
fn token_of_each_algorithm_is_verified() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let token = signer.token(CLAIMS);
        assert_eq!(
            user(&signer.verifier(), &token),
            Ok("42".to_owned()),
            "{algorithm:?}"
        );
    }
}

#[test]
fn token_of_each_public_algorithm_is_verified_by_a_jwk() {
    for algorithm in &Algorithm::ALL[3..] {
        let signer = Signer::new(*algorithm);
        for more in ["", r#","use":"sig","key_ops":["verify"],"x5t":"ignored""#] {
            let verifier = verifier_of_jwks(&[signer.jwk(more)]);
            let token = signer.token(CLAIMS);
            assert_eq!(
                user(&verifier, &token),
                Ok("42".to_owned()),
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn token_is_verified_by_a_certificate() {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = CertificateParams::default().self_signed(&pair).unwrap();
    let signer = Signer::of_pkcs8_p256(&pair.serialize_der());
    let verifier = verifier_of_pem(certificate.pem());
    assert_eq!(user(&verifier, &signer.token(CLAIMS)), Ok("42".to_owned()));
}

#[test]
fn token_with_any_byte_changed_is_refused() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (verifier, token) = (signer.verifier(), signer.token(CLAIMS));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] ^= [0x01, 0x02, 0x20][at % 3];
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                user(&verifier, &changed).is_err(),
                "{algorithm:?}, byte {at}"
            );
        }
    }
}

#[test]
fn token_that_was_cut_or_prolonged_is_refused() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm);
        let (verifier, token) = (signer.verifier(), signer.token(CLAIMS));
        for length in 0..token.len() {
            assert!(
                user(&verifier, &token[..length]).is_err(),
                "{algorithm:?}, {length} bytes"
            );
        }
        for more in ["A", "AA", "AAAA", ".", "=", " ", "\n"] {
            assert!(
                user(&verifier, &format!("{token}{more}")).is_err(),
                "{algorithm:?}, {more:?}"
            );
            assert!(
                user(&verifier, &format!("{more}{token}")).is_err(),
                "{algorithm:?}, {more:?}"
            );
        }
    }
}

#[test]
fn token_of_another_key_is_refused() {
    for algorithm in Algorithm::ALL {
        let forged = match algorithm {
            Algorithm::Hs256 => {
                Signer::secret(b"another secret, which is long enough").token(CLAIMS)
            }
            // The key of all tests is one, so the signature is moved to other claims instead.
            Algorithm::Hs384
            | Algorithm::Hs512
            | Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512 => {
                let signer = Signer::new(algorithm);
                let (one, other) = (signer.token(CLAIMS), signer.token("{}"));
                let (signed, _) = one.rsplit_once('.').unwrap();
                let (_, signature) = other.rsplit_once('.').unwrap();
                format!("{signed}.{signature}")
            }
            _ => Signer::new(algorithm).token(CLAIMS),
        };
        let verifier = Signer::new(algorithm).verifier();
        assert_eq!(
            user(&verifier, &forged),
            Err(TokenError::BadSignature),
            "{algorithm:?}"
        );
    }
}

#[test]
fn algorithm_is_one_of_the_key_or_the_token_is_refused() {
    for of_key in Algorithm::ALL {
        let verifier = Signer::new(of_key).verifier();
        for of_token in Algorithm::ALL {
            let result = user(&verifier, &Signer::new(of_token).token(CLAIMS));
            let same_family = of_key.name()[..2] == of_token.name()[..2];
            match (of_key == of_token, same_family) {
                // A secret and an RSA key are for three algorithms; a curve is for one.
                (false, true) if of_key.name().starts_with(['H', 'R']) => assert!(result.is_ok()),
                (false, _) => assert_eq!(result, Err(TokenError::WrongAlgorithm)),
                (true, _) => {}
            }
        }
    }
}

#[test]
fn public_key_as_a_secret_is_refused() {
    let rsa = Signer::new(Algorithm::Rs256);
    let pem = rsa.pem();
    // What a verifier that trusts the header would take for the secret.
    for secret in [pem.as_bytes(), pem.trim().as_bytes()] {
        let token = Signer::secret(secret).token(CLAIMS);
        assert_eq!(
            user(&rsa.verifier(), &token),
            Err(TokenError::WrongAlgorithm)
        );
        assert_eq!(
            user(&verifier_of_jwks(&[rsa.jwk("")]), &token),
            Err(TokenError::WrongAlgorithm)
        );
    }
}

#[test]
fn verifier_without_keys_refuses_everything() {
    let verifier = Verifier::new(access::token::Keys::default(), Rules::default()).unwrap();
    for algorithm in Algorithm::ALL {
        let token = Signer::new(algorithm).token(CLAIMS);
        assert_eq!(user(&verifier, &token), Err(TokenError::UnknownKey));
    }
}
