//! Why a token is refused.

use thiserror::Error;

/// Why a token is refused. No text of it contains anything of the token, so that it may be logged.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TokenError {
    /// It is longer than [`Rules::token_bytes_max`](super::Rules::token_bytes_max).
    #[error("the token is longer than is accepted here")]
    TooLong,
    /// It is no JWS in compact form (RFC 7515 section 7.1), or no JWT.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// No key has the `kid` of its header, or there is no key at all.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    /// Its header names no key, and more than [`KEYS_TRIED_MAX`](super::KEYS_TRIED_MAX) have its algorithm.
    #[error("the token names no key, and there are too many here that it could be of")]
    KeyNotNamed,
    /// Its header names an algorithm that the key does not permit.
    #[error("the token's algorithm is not one of its key")]
    WrongAlgorithm,
    /// Its signature was not made with any of the keys that it could be of.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim is missing, has the wrong type, or does not belong into this kind of token.
    #[error("the token's claim {claim:?} {fault}")]
    BadClaim {
        /// The name of the claim, as this server knows it.
        claim: String,
        /// What is wrong with it; the rest of a sentence.
        fault: &'static str,
    },
    /// Its `iss` is not the one that is configured.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// Its `aud` does not contain the one that is configured.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Its `exp` has come.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` has not come yet.
    #[error("the token is not yet valid")]
    NotYetValid,
    /// Its `expire_at` has come: the token is good, but what it grants has ended.
    #[error("what the token grants has expired")]
    GrantExpired,
}

impl TokenError {
    /// A stable `snake_case` name, for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::KeyNotNamed => "key_not_named",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::BadClaim { .. } => "bad_claim",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::GrantExpired => "grant_expired",
        }
    }

    /// Whether a newer token may help, for which peers ask their back end: the token is genuine, and
    /// only the time is not its own. A token that is not yet valid counts as expired.
    #[must_use]
    pub const fn is_expired(&self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid)
    }

    pub(super) fn claim(claim: &str, fault: &'static str) -> Self {
        Self::BadClaim {
            claim: claim.to_owned(),
            fault,
        }
    }
}
