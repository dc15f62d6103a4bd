//! The signature of a batch, by which the back end knows that it is of this server, and of now.

use std::fmt::{self, Write};

use aws_lc_rs::hmac;

/// The fewest bytes of a secret: as many as the digest has (RFC 2104 section 3).
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// What batches are signed with.
pub struct Secret(hmac::Key);

impl Secret {
    /// A secret of these bytes; `None` if they are too few.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let is_long_enough = bytes.len() >= SECRET_BYTES_MIN;
        is_long_enough.then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The value of the field `Hubbub-Signature`: the time in seconds since 1970, and the HMAC-SHA256 of that time, a
    /// dot and the body. The time is part of what is signed, so that nobody can send an old batch as a new one.
    pub(super) fn sign(&self, now_s: u64, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        signed.update(format!("{now_s}.").as_bytes());
        signed.update(body);
        let mut value = format!("t={now_s},v1=");
        for byte in signed.sign().as_ref() {
            let _ = write!(value, "{byte:02x}");
        }
        value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_time_and_the_body() {
        let secret = Secret::new(b"0123456789abcdef0123456789abcdef").unwrap();
        // printf '1700000000.{"batch":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let expected =
            "t=1700000000,v1=ea1be76d965fb43f7a3c7895b2b0c9cdc48dcd0171abcd03d3a87a67dd180e12";
        assert_eq!(secret.sign(1_700_000_000, br#"{"batch":1}"#), expected);
        let document = include_str!("../../../../docs/events.md");
        assert!(document.contains(expected), "the example of docs/events.md");
        assert_ne!(secret.sign(1_700_000_001, br#"{"batch":1}"#), expected);
    }

    #[test]
    fn secret_is_long_enough_and_never_shown() {
        assert!(Secret::new(&[7; SECRET_BYTES_MIN - 1]).is_none());
        let secret = Secret::new(b"0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
