//! A set of keys, and which of them a token may be signed with.

use std::fmt;

use serde_json::value::RawValue;

use super::{
    error::TokenError,
    json::Object,
    jwk,
    jws::Jws,
    key::Key,
    key_error::{
        KeyError,
        KeyFault::{
            self, BadMember, JwksTooLong, NoKeys, NotJwks, TooMany, TooManyAlike, TooManyListed,
        },
    },
    pem,
};

/// Most keys of the configuration.
pub const KEYS_MAX: usize = 16;

/// Most keys that a token is tried with, so that a wrong signature costs four times as much as a right one
/// at the most: those of its algorithm that have its `kid`, or none if it has none. Four are two of a key that
/// is replaced by another, on two back ends.
pub const KEYS_TRIED_MAX: usize = 4;

/// The shortest secret, in bytes: what RFC 7518 section 3.2 demands for HS256. A longer one for HS384 and
/// HS512 is not insisted on, because back ends have one secret for all three.
pub const SECRET_BYTES_MIN: usize = 32;

/// The longest JWKS, in bytes.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;

/// Most keys that a JWKS may list, with those that are left out, each of which is reported.
pub const JWKS_KEYS_MAX: usize = 64;

/// How many characters of a JWKS's own texts an error shows.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// A key from the configuration.
#[derive(Clone, Debug)]
pub struct StaticKey {
    /// What errors call it; best the name of its setting.
    pub name: String,
    /// What tokens call it in `kid`. A key without one is tried for any token whose `kid` no other
    /// key has.
    pub kid: Option<String>,
    /// The second, since 1970, from which it is not used any more: for a secret that has been
    /// replaced, and whose tokens are still around.
    pub until: Option<i64>,
    /// The key itself.
    pub material: KeyMaterial,
}

/// What a key is made from.
#[derive(Clone)]
pub enum KeyMaterial {
    /// The secret of HS256, HS384 and HS512, with at least [`SECRET_BYTES_MIN`] bytes.
    Secret(Vec<u8>),
    /// A public key or a certificate in PEM. RSA (2048 to 8192 bits) is for RS256, RS384 and RS512; the
    /// curves P-256, P-384 and P-521 are for ES256, ES384 and ES512; Ed25519 is for EdDSA.
    Pem(String),
}

/// Shows of which kind it is, and never the key.
impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Pem(_) => "Pem(..)",
        })
    }
}

/// The keys that tokens may be signed with: at most [`KEYS_MAX`] of the configuration, or those of a JWKS,
/// which take their place. No more than [`KEYS_TRIED_MAX`] share a `kid`, or have none, and permit one algorithm.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Builds the keys of the configuration.
    ///
    /// # Errors
    /// All keys that cannot be used.
    pub fn from_static(keys: &[StaticKey]) -> Result<Self, Vec<KeyError>> {
        let mut built = Built::of_at_most(KEYS_MAX);
        for key in keys {
            built.add(&key.name, key.build());
        }
        match built.errors.as_slice() {
            [] => Ok(Self(built.keys)),
            _ => Err(built.errors),
        }
    }

    /// Builds the keys of a JWKS (RFC 7517 section 5). Keys that cannot be used are left out, as that
    /// section recommends, and returned as errors for the log: a document may well have keys for other
    /// purposes. `name` is what errors call the document; `keys_max` is the most keys that are used of it, from
    /// 1 to [`JWKS_KEYS_MAX`], and the keys behind these are left out, too.
    ///
    /// # Errors
    /// When it is no JWKS, or has no key that can be used: all its errors.
    pub fn from_jwks(
        name: &str,
        document: &str,
        keys_max: usize,
    ) -> Result<(Self, Vec<KeyError>), Vec<KeyError>> {
        let of_document = |fault| KeyError {
            key: name.to_owned(),
            fault,
        };
        let entries = entries(document).map_err(|fault| vec![of_document(fault)])?;
        let mut built = Built::of_at_most(keys_max);
        for (index, entry) in entries.into_iter().enumerate() {
            let jwk = Object::parse(entry.get());
            let kid = jwk.as_ref().ok().and_then(|jwk| jwk.string("kid").ok()?);
            let kid = kid.map_or_else(String::new, |kid| format!(" (kid {:?})", shown(&kid)));
            let name = format!("{name}, key {}{kid}", index + 1);
            let key = jwk.map_err(|_| BadMember { name: "keys" });
            built.add(&name, key.and_then(|jwk| jwk::read(name.clone(), &jwk)));
        }
        if built.keys.is_empty() {
            built.errors.push(of_document(NoKeys));
            return Err(built.errors);
        }
        Ok((Self(built.keys), built.errors))
    }

    /// Whether there is no key, so that no token is accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Checks the signature of a token.
    pub(super) fn verify(&self, jws: &Jws<'_>, now_s: i64) -> Result<(), TokenError> {
        let candidates = self.candidates(jws.kid.as_deref(), now_s);
        if candidates.is_empty() {
            return Err(TokenError::UnknownKey);
        }
        let permitting: Vec<_> = candidates
            .into_iter()
            .filter(|key| key.permits(jws.algorithm))
            .collect();
        let refusal = match permitting.len() {
            0 => TokenError::WrongAlgorithm,
            1..=KEYS_TRIED_MAX => TokenError::BadSignature,
            _ => return Err(TokenError::KeyNotNamed),
        };
        let mut tried = permitting.iter();
        let good = tried.any(|key| key.verifies(jws.algorithm, jws.signed, &jws.signature));
        match (good, &jws.kid) {
            (true, _) => Ok(()),
            // The keys have names, and this one is not among them: it may be a newer key.
            (false, Some(kid)) if self.are_named() && !self.has(kid) => Err(TokenError::UnknownKey),
            (false, _) => Err(refusal),
        }
    }

    fn are_named(&self) -> bool {
        self.0.iter().any(|key| key.kid.is_some())
    }

    fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys that a token with this `kid` may be signed with: those that have it, else those that
    /// have none. A token without one may be of any key.
    fn candidates(&self, kid: Option<&str>, now_s: i64) -> Vec<&Key> {
        let in_use = || {
            self.0
                .iter()
                .filter(|key| key.until.is_none_or(|until| now_s < until))
        };
        let Some(kid) = kid else {
            return in_use().collect();
        };
        let named: Vec<_> = in_use()
            .filter(|key| key.kid.as_deref() == Some(kid))
            .collect();
        if named.is_empty() {
            return in_use().filter(|key| key.kid.is_none()).collect();
        }
        named
    }
}

impl StaticKey {
    fn build(&self) -> Result<Key, KeyFault> {
        let name = self.name.clone();
        let mut key = match &self.material {
            KeyMaterial::Secret(secret) => Key::secret(name, secret)?,
            KeyMaterial::Pem(text) => pem::read(name, text)?,
        };
        key.kid.clone_from(&self.kid);
        key.until = self.until;
        Ok(key)
    }
}

/// The keys so far, and what was wrong with others.
struct Built {
    most: usize,
    keys: Vec<Key>,
    errors: Vec<KeyError>,
}

impl Built {
    fn of_at_most(most: usize) -> Self {
        Self {
            most,
            keys: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, key: Result<Key, KeyFault>) {
        let most = self.most;
        let key = key.and_then(|key| {
            let alike = self.keys.iter().filter(|it| it.is_tried_with(&key));
            match (alike.count(), self.keys.len()) {
                (KEYS_TRIED_MAX.., _) => Err(TooManyAlike),
                (_, count) if count >= most => Err(TooMany { most }),
                _ => Ok(key),
            }
        });
        let key = key.map_err(|fault| KeyError {
            key: name.to_owned(),
            fault,
        });
        match key {
            Ok(key) => self.keys.push(key),
            Err(error) => self.errors.push(error),
        }
    }
}

fn entries(document: &str) -> Result<Vec<Box<RawValue>>, KeyFault> {
    if document.len() > JWKS_BYTES_MAX {
        return Err(JwksTooLong);
    }
    let object = Object::parse(document).map_err(|_| NotJwks)?;
    let keys = object.raw("keys").ok_or(NotJwks)?;
    let keys: Vec<_> = serde_json::from_str(keys).map_err(|_| NotJwks)?;
    match keys.len() {
        ..=JWKS_KEYS_MAX => Ok(keys),
        _ => Err(TooManyListed),
    }
}

/// As much of a text as an error shows: it is from somewhere else, and may be long.
pub(super) fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_CHARACTERS_MAX);
    end.map_or(text, |(end, _)| &text[..end])
}
