//! Why a key cannot be used, and what to do about it.

use thiserror::Error;

use super::{
    key::{RSA_BITS_MAX, RSA_BITS_MIN},
    keys::{JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEYS_TRIED_MAX, SECRET_BYTES_MIN},
};

/// A key cannot be used. Its text names the key, the reason and a remedy, and nothing of the key
/// itself.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{key}: {fault}")]
pub struct KeyError {
    /// Which key: the name of its setting, or its place and `kid` in a JWKS.
    pub key: String,
    /// What is wrong with it.
    pub fault: KeyFault,
}

/// What is wrong with a key.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[expect(missing_docs, reason = "the sentence of each variant says it")]
pub enum KeyFault {
    #[error(
        "the secret has {bytes} bytes, and at least {SECRET_BYTES_MIN} are needed; \
         `openssl rand -hex 32` makes a good one"
    )]
    SecretTooShort { bytes: usize },
    #[error(
        "there is neither a PUBLIC KEY nor a CERTIFICATE in PEM; \
         `openssl pkey -in private.pem -pubout` writes the public key of a private one"
    )]
    NoPublicKey,
    #[error(
        "this is a private key, which a server that only verifies must not have; give it what \
         `openssl pkey -in private.pem -pubout` writes"
    )]
    PrivateKey,
    #[error("there are several keys in one text; give each its own entry")]
    SeveralKeys,
    #[error("the PEM or the DER within is damaged; copy the file again, whole")]
    Damaged,
    #[error(
        "keys of this kind are not supported; use RSA, the curves P-256, P-384 or P-521, or Ed25519"
    )]
    UnsupportedKind,
    #[error(
        "the algorithm {algorithm:?} is not supported or not one of this key; use RS256, RS384, \
         RS512, ES256, ES384, ES512 or EdDSA, or leave `alg` out"
    )]
    UnsupportedAlgorithm { algorithm: String },
    #[error(
        "the RSA key has {bits} bits, and {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted; make a new \
         one with `openssl genrsa 3072`"
    )]
    RsaSize { bits: usize },
    #[error("its numbers are no valid public key; export it again where it was made")]
    Invalid,
    #[error(
        "it is a symmetric key (kty oct), and whoever can read a JWKS could sign with it; give it as \
         a secret, and take it out of the JWKS"
    )]
    Symmetric,
    #[error("it is not meant for signatures (`use` or `key_ops`), and is left out")]
    NotForSignatures,
    #[error("its member {name:?} is missing or malformed; export it again where it was made")]
    BadMember { name: &'static str },
    #[error("there are more than {most} keys; take out those that are no longer used")]
    TooMany { most: usize },
    #[error(
        "{KEYS_TRIED_MAX} keys before it are for the same tokens (one algorithm, and one `kid` or none), and a \
         forged token would cost as much as all of them; take out those that are no longer used, or give each \
         its own `kid` in a JWKS"
    )]
    TooManyAlike,
    #[error(
        "the JWKS is longer than {JWKS_BYTES_MAX} bytes; take out keys that are no longer used"
    )]
    JwksTooLong,
    #[error(
        "the JWKS lists more than {JWKS_KEYS_MAX} keys; take out those that are no longer used"
    )]
    TooManyListed,
    #[error("this is no JWKS, which is an object in JSON with the array `keys`")]
    NotJwks,
    #[error("there is no key in it that can be used")]
    NoKeys,
}
