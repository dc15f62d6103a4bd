//! Signs tokens for the tests, and writes the keys as configurations have them.

use std::sync::LazyLock;

use access::token::{Algorithm, JWKS_KEYS_MAX, KeyMaterial, Keys, Rules, StaticKey, Verifier};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL},
};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

pub const SECRET: &[u8] = b"canary-secret-of-the-tests-0123456789";
/// When the tests take place.
pub const NOW: i64 = 1_800_000_000;

/// A key that signs with one algorithm.
pub struct Signer {
    pub algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Secret(Vec<u8>),
    Rsa(&'static RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// One for all tests: it takes a while to find.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

impl Signer {
    /// A new key, or for HMAC and RSA the one of all tests.
    pub fn new(algorithm: Algorithm) -> Self {
        use Algorithm::*;
        let ec = |with| Pair::Ec(EcdsaKeyPair::generate(with).unwrap());
        let pair = match algorithm {
            Hs256 | Hs384 | Hs512 => Pair::Secret(SECRET.to_vec()),
            Rs256 | Rs384 | Rs512 => Pair::Rsa(&RSA),
            Es256 => ec(&sig::ECDSA_P256_SHA256_FIXED_SIGNING),
            Es384 => ec(&sig::ECDSA_P384_SHA384_FIXED_SIGNING),
            Es512 => ec(&sig::ECDSA_P521_SHA512_FIXED_SIGNING),
            EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Self { algorithm, pair }
    }

    /// HS256 with any secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::Hs256,
            pair: Pair::Secret(secret.to_vec()),
        }
    }

    /// ES256 with a key of another program, in PKCS #8.
    pub fn of_pkcs8_p256(der: &[u8]) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&sig::ECDSA_P256_SHA256_FIXED_SIGNING, der).unwrap();
        Self {
            algorithm: Algorithm::Es256,
            pair: Pair::Ec(pair),
        }
    }

    /// A token with these claims.
    pub fn token(&self, claims: &str) -> String {
        self.with_header(&format!(r#"{{"alg":"{}"}}"#, self.algorithm.name()), claims)
    }

    /// A token with this header, whatever it says.
    pub fn with_header(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    fn sign(&self, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Secret(secret) => {
                let with = match self.algorithm {
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    Algorithm::Hs512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(with, secret), signed)
                    .as_ref()
                    .to_vec()
            }
            Pair::Rsa(pair) => {
                let with = match self.algorithm {
                    Algorithm::Rs384 => &sig::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &sig::RSA_PKCS1_SHA512,
                    _ => &sig::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(with, &random, signed, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, signed).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(signed).as_ref().to_vec(),
        }
    }

    pub fn material(&self) -> KeyMaterial {
        match &self.pair {
            Pair::Secret(secret) => KeyMaterial::Secret(secret.clone()),
            _ => KeyMaterial::Pem(self.pem()),
        }
    }

    /// The public key in PEM.
    pub fn pem(&self) -> String {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Secret(_) => panic!("a secret has no public key"),
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ec(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        }
        .unwrap();
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        let lines = lines.join("\n");
        format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n")
    }

    /// The public key as a JWK; `more` are further members, each with a comma before it.
    pub fn jwk(&self, more: &str) -> String {
        let numbers = match &self.pair {
            Pair::Secret(secret) => format!(r#""kty":"oct","k":"{}""#, BASE64URL.encode(secret)),
            Pair::Rsa(pair) => {
                let der = pair.public_key().as_der().unwrap();
                let (_, info) = SubjectPublicKeyInfo::from_der(der.as_ref()).unwrap();
                let PublicKey::RSA(key) = info.parsed().unwrap() else {
                    panic!("an RSA key has another form");
                };
                let n = BASE64URL.encode(key.modulus.strip_prefix(&[0]).unwrap());
                let e = BASE64URL.encode(key.exponent);
                format!(r#""kty":"RSA","n":"{n}","e":"{e}""#)
            }
            Pair::Ec(pair) => {
                let (x, y) = {
                    let point = &pair.public_key().as_ref()[1..];
                    point.split_at(point.len() / 2)
                };
                let curve = match self.algorithm {
                    Algorithm::Es256 => "P-256",
                    Algorithm::Es384 => "P-384",
                    _ => "P-521",
                };
                let (x, y) = (BASE64URL.encode(x), BASE64URL.encode(y));
                format!(r#""kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
            }
            Pair::Ed25519(pair) => {
                let x = BASE64URL.encode(pair.public_key().as_ref());
                format!(r#""kty":"OKP","crv":"Ed25519","x":"{x}""#)
            }
        };
        format!("{{{numbers}{more}}}")
    }

    /// A verifier that has only this key, and no rules of its own.
    pub fn verifier(&self) -> Verifier {
        self.verifier_with(Rules::default())
    }

    pub fn verifier_with(&self, rules: Rules) -> Verifier {
        let keys = Keys::from_static(&[key("the key", self.material())]).unwrap();
        Verifier::new(keys, rules).unwrap()
    }
}

/// A verifier that has only the key of this text.
pub fn verifier_of_pem(pem: String) -> Verifier {
    let keys = Keys::from_static(&[key("the key", KeyMaterial::Pem(pem))]).unwrap();
    Verifier::new(keys, Rules::default()).unwrap()
}

/// A key without a `kid` and without an end.
pub fn key(name: &str, material: KeyMaterial) -> StaticKey {
    StaticKey {
        name: name.to_owned(),
        kid: None,
        until: None,
        material,
    }
}

/// A verifier that has the keys of a JWKS.
pub fn verifier_of_jwks(jwks: &[String]) -> Verifier {
    let document = format!(r#"{{"keys":[{}]}}"#, jwks.join(","));
    let (keys, errors) = Keys::from_jwks("the JWKS", &document, JWKS_KEYS_MAX).unwrap();
    assert_eq!(errors, []);
    Verifier::new(keys, Rules::default()).unwrap()
}
