//! A signed text in compact form, taken apart but not trusted (RFC 7515 section 7.1).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use super::{
    algorithm::Algorithm,
    error::TokenError::{self, Malformed, WrongAlgorithm},
    json::Object,
};

/// The parts of a token. Nothing of it is to be believed before its signature is verified.
#[derive(Debug)]
pub(super) struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    /// Which key it claims to be signed with.
    pub(super) kid: Option<String>,
    pub(super) payload: Vec<u8>,
    /// What the signature is of: the encoded header and payload.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
}

impl<'t> Jws<'t> {
    /// Of the header only `alg`, `kid` and `crit` are read. Keys that a header brings or points to
    /// (`jwk`, `jku`, `x5c`, `x5u`) are the word of whoever wrote the token, so they are not looked at.
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenError> {
        let parts = Malformed("it must be three parts with dots between them");
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return Err(parts);
        };
        let Some((header, payload)) = signed.split_once('.') else {
            return Err(parts);
        };
        if payload.contains('.') {
            return Err(parts);
        }
        let (algorithm, kid) = parse_header(&decode(header)?)?;
        Ok(Self {
            algorithm,
            kid,
            payload: decode(payload)?,
            signed: signed.as_bytes(),
            signature: decode(signature)?,
        })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    let not_base64url = |_| Malformed("a part of it is not base64url");
    BASE64URL.decode(part).map_err(not_base64url)
}

fn parse_header(header: &[u8]) -> Result<(Algorithm, Option<String>), TokenError> {
    let bad = Malformed("its header is not an object in JSON, or has a name twice");
    let header = str::from_utf8(header).ok().map(Object::parse);
    let Some(Ok(header)) = header else {
        return Err(bad);
    };
    // RFC 7515 section 4.1.11: who does not understand an extension that is critical must refuse the
    // token. No extension is understood here.
    if header.has("crit") {
        return Err(Malformed("its header has critical extensions"));
    }
    let not_string = |_| Malformed("alg and kid in its header must be strings");
    let kid = header.string("kid").map_err(not_string)?;
    let Some(name) = header.string("alg").map_err(not_string)? else {
        return Err(Malformed("its header has no alg"));
    };
    let algorithm = Algorithm::from_name(&name).ok_or(WrongAlgorithm)?;
    Ok((algorithm, kid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Result<(Algorithm, Option<String>), TokenError> {
        let token = format!("{}.e30.AA", BASE64URL.encode(header));
        Jws::parse(&token).map(|jws| (jws.algorithm, jws.kid))
    }

    #[test]
    fn header_says_algorithm_and_key() {
        let kid = Some("a".to_owned());
        assert_eq!(parse(r#"{"alg":"RS256"}"#), Ok((Algorithm::Rs256, None)));
        assert_eq!(
            parse(r#"{"typ":"JWT","kid":"a","alg":"EdDSA","jwk":{},"jku":"x"}"#),
            Ok((Algorithm::EdDsa, kid))
        );
    }

    #[test]
    fn header_that_is_not_understood_is_refused() {
        for header in [
            "",
            "[]",
            "{}",
            r#"{"alg":1}"#,
            r#"{"alg":null}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256","alg":"RS256"}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","crit":[],"b64":false}"#,
        ] {
            assert!(matches!(parse(header), Err(Malformed(_))), "{header}");
        }
        for name in ["none", "NONE", "PS256", ""] {
            assert_eq!(
                parse(&format!(r#"{{"alg":"{name}"}}"#)),
                Err(WrongAlgorithm)
            );
        }
    }

    #[test]
    fn parts_other_than_three_in_base64url_are_refused() {
        let header = BASE64URL.encode(r#"{"alg":"HS256"}"#);
        assert!(Jws::parse(&format!("{header}.e30.AA")).is_ok());
        for token in [
            "",
            ".",
            "..",
            "a",
            "e30.e30",
            "e30.e30.AA.AA",
            "e30.e30.AA.",
            ".e30.AA",
            "a.b.c.d.e",
        ] {
            assert!(matches!(Jws::parse(token), Err(Malformed(_))), "{token}");
        }
        for rest in [
            "e30=.AA", "e30.AA==", "e30.A+", "e30.AB", "e30. AA", "e30.A", "e3\n0.AA",
        ] {
            let token = format!("{header}.{rest}");
            assert!(matches!(Jws::parse(&token), Err(Malformed(_))), "{token}");
        }
    }
}
