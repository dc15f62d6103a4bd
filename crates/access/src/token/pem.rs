//! Public keys in PEM: a SubjectPublicKeyInfo (RFC 7468 section 13), or the one of a certificate.

use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
        OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
    },
    prelude::FromDer,
    public_key::RSAPublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{
    key::{Curve, Key, PublicKey},
    key_error::KeyFault::{self, Damaged, NoPublicKey, PrivateKey, SeveralKeys, UnsupportedKind},
};

/// Builds the key that a text has. When a certificate expires is not looked at: it is only the
/// envelope of its key here.
pub(super) fn read(name: String, pem: &str) -> Result<Key, KeyFault> {
    let mut found = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem.as_bytes()) {
        match section.map_err(|_| Damaged)? {
            (SectionKind::PublicKey | SectionKind::Certificate, _) if found.is_some() => {
                return Err(SeveralKeys);
            }
            (SectionKind::PublicKey, der) => found = Some((false, der)),
            (SectionKind::Certificate, der) => found = Some((true, der)),
            (
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey,
                _,
            ) => return Err(PrivateKey),
            _ => {}
        }
    }
    match found.ok_or(NoPublicKey)? {
        (true, der) => {
            let certificate = whole(X509Certificate::from_der(&der))?;
            of_info(name, certificate.public_key())
        }
        (false, der) => of_info(name, &whole(SubjectPublicKeyInfo::from_der(&der))?),
    }
}

fn of_info(name: String, info: &SubjectPublicKeyInfo<'_>) -> Result<Key, KeyFault> {
    let (kind, bits) = (&info.algorithm.algorithm, &info.subject_public_key.data);
    if *kind == OID_PKCS1_RSAENCRYPTION {
        let key = whole(RSAPublicKey::from_der(bits))?;
        let (n, e) = (key.modulus, key.exponent);
        Key::public(name, PublicKey::Rsa { n, e })
    } else if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let (curve, point) = (curve(info)?, bits.as_ref());
        Key::public(name, PublicKey::Ec { curve, point })
    } else if *kind == OID_SIG_ED25519 {
        Key::public(name, PublicKey::Ed25519(bits))
    } else {
        Err(UnsupportedKind)
    }
}

fn curve(info: &SubjectPublicKeyInfo<'_>) -> Result<Curve, KeyFault> {
    let parameters = info.algorithm.parameters.as_ref().ok_or(Damaged)?;
    let curve = parameters.as_oid().map_err(|_| UnsupportedKind)?;
    [
        (OID_EC_P256, Curve::P256),
        (OID_NIST_EC_P384, Curve::P384),
        (OID_NIST_EC_P521, Curve::P521),
    ]
    .into_iter()
    .find_map(|(oid, known)| (oid == curve).then_some(known))
    .ok_or(UnsupportedKind)
}

/// What was parsed, if nothing follows it.
fn whole<T, E>(parsed: Result<(&[u8], T), E>) -> Result<T, KeyFault> {
    match parsed {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Damaged),
    }
}
