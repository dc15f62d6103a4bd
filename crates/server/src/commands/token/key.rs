//! The keys that sign tokens, from a file with a secret or with a private key.
//!
//! *Never:* a key in an error, or in `Debug`.

use std::fmt;
use std::fs;
use std::path::Path;

use access::token::{Algorithm, KeyMaterial, Keys, StaticKey};
use anyhow::{anyhow, bail};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    signature::{self as sig, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::PrivateKeyDer;

use crate::tls;

/// A key, and the name of the flag or setting that names its file.
pub struct SigningKey {
    pub named: String,
    pair: Pair,
}

enum Pair {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, Algorithm),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The secret of a file; a newline at its end is no part of it, as for the server.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_secret(setting: &str, path: &Path) -> anyhow::Result<Self> {
        let named = format!("{setting} ({})", path.display());
        let secret = fs::read_to_string(path).map_err(|error| {
            anyhow!(
                "{named} cannot be read: {error}; `openssl rand -hex 32 > {}` makes a good one",
                path.display()
            )
        })?;
        let secret = secret.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
        Ok(Self {
            named,
            pair: Pair::Secret(secret),
        })
    }

    /// The private key of a file in PEM.
    ///
    /// # Errors
    /// When there is none that can sign tokens.
    pub fn of_pem(setting: &'static str, path: &Path) -> anyhow::Result<Self> {
        let named = format!("{setting} ({})", path.display());
        let pair = match tls::signing_key(setting, path)? {
            PrivateKeyDer::Pkcs1(der) => {
                let pair = RsaKeyPair::from_der(der.secret_pkcs1_der());
                pair.map(Pair::Rsa).ok()
            }
            PrivateKeyDer::Sec1(der) => of_curve(|curve| {
                EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok()
            }),
            PrivateKeyDer::Pkcs8(der) => of_pkcs8(der.secret_pkcs8_der()),
            _ => None,
        };
        let pair = pair.ok_or_else(|| {
            anyhow!(
                "{named} is no key that signs tokens: it must be RSA, P-256, P-384, P-521 or Ed25519; \
                 `openssl genpkey -algorithm ed25519 -out {}` makes a good one",
                path.display()
            )
        })?;
        Ok(Self { named, pair })
    }

    /// The algorithm that was asked for, or else the first that this key is good for.
    ///
    /// # Errors
    /// When it is not good for that.
    pub fn algorithm(&self, wanted: Option<Algorithm>) -> anyhow::Result<Algorithm> {
        use Algorithm::*;
        let good: &[Algorithm] = match &self.pair {
            Pair::Secret(_) => &[Hs256, Hs384, Hs512],
            Pair::Rsa(_) => &[Rs256, Rs384, Rs512],
            Pair::Ec(_, algorithm) => std::slice::from_ref(algorithm),
            Pair::Ed25519(_) => &[EdDsa],
        };
        let Some(wanted) = wanted else {
            return Ok(good[0]);
        };
        if !good.contains(&wanted) {
            let good: Vec<_> = good.iter().map(|it| it.name()).collect();
            bail!(
                "{} does not sign with {}: it is good for {}",
                self.named,
                wanted.name(),
                good.join(", ")
            );
        }
        Ok(wanted)
    }

    /// The signature of a text.
    ///
    /// # Errors
    /// When the library refuses, or there is no chance.
    pub fn sign(&self, algorithm: Algorithm, text: &[u8]) -> anyhow::Result<Vec<u8>> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("{} cannot sign", self.named);
        match &self.pair {
            Pair::Secret(secret) => {
                let with = match algorithm {
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    Algorithm::Hs512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                let key = hmac::Key::new(with, secret);
                Ok(hmac::sign(&key, text).as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let with = match algorithm {
                    Algorithm::Rs384 => &sig::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &sig::RSA_PKCS1_SHA512,
                    _ => &sig::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(with, &random, text, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::Ec(pair, _) => {
                let signature = pair.sign(&random, text).map_err(failed)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(text).as_ref().to_vec()),
        }
    }

    /// The same key as a server has it, which verifies only.
    ///
    /// # Errors
    /// When no server accepts this key.
    pub fn verifying(&self) -> anyhow::Result<Keys> {
        let public = |der: Result<PublicKeyX509Der<'_>, _>| {
            let der = der.map_err(|_| anyhow!("{} has no public key", self.named))?;
            Ok::<_, anyhow::Error>(KeyMaterial::Pem(pem(der.as_ref())))
        };
        let material = match &self.pair {
            Pair::Secret(secret) => KeyMaterial::Secret(secret.clone()),
            Pair::Rsa(pair) => public(pair.public_key().as_der())?,
            Pair::Ec(pair, _) => public(pair.public_key().as_der())?,
            Pair::Ed25519(pair) => public(pair.public_key().as_der())?,
        };
        let key = StaticKey {
            name: self.named.clone(),
            kid: None,
            until: None,
            material,
        };
        Keys::from_static(&[key]).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            anyhow!("{}", errors.join("; "))
        })
    }
}

fn of_pkcs8(der: &[u8]) -> Option<Pair> {
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        return Some(Pair::Rsa(pair));
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(der) {
        return Some(Pair::Ed25519(pair));
    }
    of_curve(|curve| EcdsaKeyPair::from_pkcs8(curve, der).ok())
}

/// The key of the curve that it belongs to.
fn of_curve(
    read: impl Fn(&'static sig::EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>,
) -> Option<Pair> {
    let curves = [
        (&sig::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::Es256),
        (&sig::ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::Es384),
        (&sig::ECDSA_P521_SHA512_FIXED_SIGNING, Algorithm::Es512),
    ];
    let mut curves = curves.into_iter();
    curves.find_map(|(curve, algorithm)| Some(Pair::Ec(read(curve)?, algorithm)))
}

/// A public key in PEM (RFC 7468 section 13).
fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64_STANDARD.encode(der)
    )
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}
