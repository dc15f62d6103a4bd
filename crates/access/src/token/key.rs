//! One key: which algorithms it may be used with, and the signatures of each.

use std::fmt;

use aws_lc_rs::{
    hmac,
    signature::{
        self as sig, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters,
        RsaPublicKeyComponents, VerificationAlgorithm,
    },
};

use super::{
    algorithm::Algorithm::{
        self, EdDsa, Es256, Es384, Es512, Hs256, Hs384, Hs512, Rs256, Rs384, Rs512,
    },
    key_error::KeyFault,
    keys::SECRET_BYTES_MIN,
};

/// Smaller keys can be broken (RFC 7518 section 3.3).
pub(super) const RSA_BITS_MIN: usize = 2048;
/// Larger keys cost too much for each token.
pub(super) const RSA_BITS_MAX: usize = 8192;

const HMAC: [(Algorithm, hmac::Algorithm); 3] = [
    (Hs256, hmac::HMAC_SHA256),
    (Hs384, hmac::HMAC_SHA384),
    (Hs512, hmac::HMAC_SHA512),
];

static RSA: [(Algorithm, &RsaParameters); 3] = [
    (Rs256, &sig::RSA_PKCS1_2048_8192_SHA256),
    (Rs384, &sig::RSA_PKCS1_2048_8192_SHA384),
    (Rs512, &sig::RSA_PKCS1_2048_8192_SHA512),
];

/// The numbers of a public key, however it was written.
#[derive(Clone, Copy)]
pub(super) enum PublicKey<'a> {
    /// Modulus and exponent, the highest byte first.
    Rsa { n: &'a [u8], e: &'a [u8] },
    /// A point in the form of SEC 1 section 2.3.3.
    Ec { curve: Curve, point: &'a [u8] },
    /// A point in the form of RFC 8032 section 5.1.5.
    Ed25519(&'a [u8]),
}

/// The curves for ECDSA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const fn algorithm(self) -> (Algorithm, &'static EcdsaVerificationAlgorithm) {
        match self {
            Self::P256 => (Es256, &sig::ECDSA_P256_SHA256_FIXED),
            Self::P384 => (Es384, &sig::ECDSA_P384_SHA384_FIXED),
            Self::P521 => (Es512, &sig::ECDSA_P521_SHA512_FIXED),
        }
    }
}

/// A key, ready to verify signatures.
pub(super) struct Key {
    /// What people call it.
    pub(super) name: String,
    /// What tokens call it.
    pub(super) kid: Option<String>,
    /// The second, since 1970, from which it is not used any more.
    pub(super) until: Option<i64>,
    /// At most three: those of its family.
    checks: Vec<(Algorithm, Check)>,
}

enum Check {
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Key {
    pub(super) fn secret(name: String, secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES_MIN {
            let bytes = secret.len();
            return Err(KeyFault::SecretTooShort { bytes });
        }
        let check = |(algorithm, of)| (algorithm, Check::Hmac(hmac::Key::new(of, secret).into()));
        Ok(Self::new(name, HMAC.map(check).into()))
    }

    pub(super) fn public(name: String, public: PublicKey<'_>) -> Result<Self, KeyFault> {
        let checks = match public {
            PublicKey::Rsa { n, e } => rsa(n, e)?,
            PublicKey::Ec { curve, point } => {
                let (algorithm, with) = curve.algorithm();
                vec![(algorithm, parse(with, point)?)]
            }
            PublicKey::Ed25519(point) => vec![(EdDsa, parse(&sig::ED25519, point)?)],
        };
        Ok(Self::new(name, checks))
    }

    fn new(name: String, checks: Vec<(Algorithm, Check)>) -> Self {
        Self {
            name,
            kid: None,
            until: None,
            checks,
        }
    }

    /// Leaves it only this algorithm. Returns whether it is one that the key had.
    pub(super) fn restrict_to(&mut self, algorithm: Algorithm) -> bool {
        self.checks.retain(|(it, _)| *it == algorithm);
        !self.checks.is_empty()
    }

    pub(super) fn permits(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(it, _)| *it == algorithm)
    }

    /// Whether there are tokens that both are tried with: they share a `kid`, or have none, and permit one
    /// algorithm.
    pub(super) fn is_tried_with(&self, other: &Self) -> bool {
        let permits = |(algorithm, _): &(Algorithm, Check)| other.permits(*algorithm);
        self.kid == other.kid && self.checks.iter().any(permits)
    }

    /// Whether the signature is this key's. HMACs are compared in constant time.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let check = self.checks.iter().find(|(it, _)| *it == algorithm);
        check.is_some_and(|(_, check)| match check {
            Check::Hmac(key) => hmac::verify(key, signed, signature).is_ok(),
            Check::Public(key) => key.verify_sig(signed, signature).is_ok(),
        })
    }
}

/// Shows everything but the key itself.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = self.checks.iter().map(|(algorithm, _)| algorithm.name());
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("kid", &self.kid)
            .field("until", &self.until)
            .field("algorithms", &algorithms.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn parse(with: &'static dyn VerificationAlgorithm, bytes: &[u8]) -> Result<Check, KeyFault> {
    let key = ParsedPublicKey::new(with, bytes);
    key.map(Check::Public).map_err(|_| KeyFault::Invalid)
}

fn rsa(n: &[u8], e: &[u8]) -> Result<Vec<(Algorithm, Check)>, KeyFault> {
    let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
    let bits = n
        .first()
        .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(KeyFault::RsaSize { bits });
    }
    let components = RsaPublicKeyComponents { n, e };
    let check = |(algorithm, with): (Algorithm, &'static RsaParameters)| {
        // The components are taken without a look, while parsing examines them.
        let key = components
            .to_parsed_public_key(with)
            .map_err(|_| KeyFault::Invalid)?;
        Ok((algorithm, parse(with, key.as_ref())?))
    };
    RSA.into_iter().map(check).collect()
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
