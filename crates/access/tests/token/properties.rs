//! Properties: any bytes are answered, and claims that are made are the claims that are read.

use access::token::{Algorithm, JWKS_KEYS_MAX, KeyMaterial, Keys, Payload, TokenError};
use proptest::prelude::*;

use crate::signer::{NOW, SECRET, Signer, key};

/// One of each kind of public key.
const PUBLIC: [Algorithm; 5] = [
    Algorithm::Rs256,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::EdDsa,
];

/// A document is read or refused, and no symmetric key comes from it.
fn check_document(document: &str) {
    let from_pem = Keys::from_static(&[key("the key", KeyMaterial::Pem(document.to_owned()))]);
    let from_jwks = Keys::from_jwks("the JWKS", document, JWKS_KEYS_MAX).map(|(keys, _)| keys);
    for keys in [from_pem, from_jwks].into_iter().flatten() {
        assert!(!format!("{keys:?}").contains("\"HS256\""), "{keys:?}");
    }
}

proptest! {
    #[test]
    fn any_token_that_is_not_signed_is_refused(token in "[-_.A-Za-z0-9]{0,200}") {
        let verifier = Signer::secret(SECRET).verifier();
        prop_assert!(verifier.verify_connection(&token, NOW).is_err());
        prop_assert!(verifier.verify_subscription(&token, NOW).is_err());
    }

    #[test]
    fn keys_of_any_document_are_public_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_document(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn keys_of_a_document_with_a_piece_exchanged_are_public_or_none(
        algorithm in prop::sample::select(&PUBLIC[..]),
        at: prop::sample::Index,
        length in 0_usize..8,
        piece in "[-_+/=A-Za-z0-9{}\\[\\]\":,\n ]{0,8}",
    ) {
        let signer = Signer::new(algorithm);
        for mut document in [signer.pem(), format!(r#"{{"keys":[{}]}}"#, signer.jwk(""))] {
            let at = at.index(document.len());
            let end = document.len().min(at + length);
            document.replace_range(at..end, &piece);
            check_document(&document);
        }
    }

    #[test]
    fn claims_are_read_as_they_were_made(
        user in ".{0,40}",
        channel in ".{1,40}",
        exp in NOW + 1..NOW + 1_000_000,
        publish: bool,
        blanks in "[ \t\r\n]{0,3}",
    ) {
        let name = serde_json::to_string(&user).unwrap();
        let of = serde_json::to_string(&channel).unwrap();
        let info = format!("{{{blanks}\"name\"{blanks}:{name}}}");
        let claims = format!(
            r#"{{"sub":{name},{blanks}"channel":{of},"exp":{exp},"publish":{publish},"info":{info}}}"#
        );
        let signer = Signer::secret(SECRET);
        let (verifier, token) = (signer.verifier(), signer.token(&claims));
        let read = verifier.verify_subscription(&token, NOW).unwrap();
        prop_assert_eq!((read.user, read.channel), (user, channel));
        prop_assert_eq!((read.expires_at, read.publish), (Some(exp), publish));
        prop_assert_eq!(read.info, Some(Payload::Json(info.into())));
        prop_assert_eq!(verifier.verify_subscription(&token, exp), Err(TokenError::Expired));
        prop_assert!(verifier.verify_connection(&token, NOW).is_err());
    }
}
