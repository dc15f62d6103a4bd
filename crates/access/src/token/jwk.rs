//! Public keys in JSON (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use super::{
    algorithm::Algorithm,
    json::Object,
    key::{Curve, Key, PublicKey},
    key_error::KeyFault::{
        self, BadMember, NotForSignatures, PrivateKey, Symmetric, UnsupportedAlgorithm,
        UnsupportedKind,
    },
    keys::shown,
};

/// Builds the key that an object has. Its `alg`, if there is one, is the only algorithm of the key.
pub(super) fn read(name: String, jwk: &Object<'_>) -> Result<Key, KeyFault> {
    let kind = required(jwk, "kty")?;
    if kind == "oct" {
        return Err(Symmetric);
    }
    if !["RSA", "EC", "OKP"].contains(&kind.as_str()) {
        return Err(UnsupportedKind);
    }
    if jwk.has("d") {
        return Err(PrivateKey);
    }
    if !is_for_signatures(jwk)? {
        return Err(NotForSignatures);
    }
    let mut key = match kind.as_str() {
        "RSA" => {
            let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
            Key::public(name, PublicKey::Rsa { n: &n, e: &e })?
        }
        "EC" => elliptic(name, jwk)?,
        _ => match required(jwk, "crv")?.as_str() {
            "Ed25519" => Key::public(name, PublicKey::Ed25519(&number(jwk, "x")?))?,
            _ => return Err(UnsupportedKind),
        },
    };
    key.kid = optional(jwk, "kid")?;
    if let Some(algorithm) = optional(jwk, "alg")? {
        let known = Algorithm::from_name(&algorithm);
        if !known.is_some_and(|known| key.restrict_to(known)) {
            let algorithm = shown(&algorithm).to_owned();
            return Err(UnsupportedAlgorithm { algorithm });
        }
    }
    Ok(key)
}

fn elliptic(name: String, jwk: &Object<'_>) -> Result<Key, KeyFault> {
    let (curve, bytes) = match required(jwk, "crv")?.as_str() {
        "P-256" => (Curve::P256, 32),
        "P-384" => (Curve::P384, 48),
        "P-521" => (Curve::P521, 66),
        _ => return Err(UnsupportedKind),
    };
    let mut point = vec![0x04]; // SEC 1 section 2.3.3: both coordinates follow, uncompressed.
    for member in ["x", "y"] {
        let coordinate = number(jwk, member)?;
        // RFC 7518 section 6.2.1.2: the length is the curve's, also where the number is smaller.
        if coordinate.len() != bytes {
            return Err(BadMember { name: member });
        }
        point.extend(coordinate);
    }
    let point = point.as_slice();
    Key::public(name, PublicKey::Ec { curve, point })
}

fn is_for_signatures(jwk: &Object<'_>) -> Result<bool, KeyFault> {
    let operations = jwk
        .strings("key_ops")
        .map_err(|_| BadMember { name: "key_ops" })?;
    let verifies = operations.is_none_or(|all| all.iter().any(|it| it == "verify"));
    Ok(verifies && optional(jwk, "use")?.is_none_or(|purpose| purpose == "sig"))
}

fn optional(jwk: &Object<'_>, name: &'static str) -> Result<Option<String>, KeyFault> {
    jwk.string(name).map_err(|_| BadMember { name })
}

fn required(jwk: &Object<'_>, name: &'static str) -> Result<String, KeyFault> {
    optional(jwk, name)?.ok_or(BadMember { name })
}

fn number(jwk: &Object<'_>, name: &'static str) -> Result<Vec<u8>, KeyFault> {
    let bytes = BASE64URL.decode(required(jwk, name)?);
    bytes.map_err(|_| BadMember { name })
}
