//! Secrets that callers show: what is kept of them, and how they are drawn.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// The random bytes in a name and in a secret.
const RANDOM_BYTES: usize = 16;

/// What is kept of a secret. Two of them are compared in a time that tells nothing.
#[derive(Clone, Copy)]
pub(crate) struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

impl Digest {
    /// One that no text has.
    pub(crate) const OF_NOTHING: Self = Self([0; digest::SHA256_OUTPUT_LEN]);

    pub(crate) fn of(secret: &str) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
        Self(bytes)
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

/// 128 random bits of the operating system, as 22 characters that a path may have.
pub(crate) fn random_text() -> Result<String, getrandom::Error> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
