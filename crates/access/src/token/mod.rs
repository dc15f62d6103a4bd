//! Tokens: JSON Web Tokens (RFC 7519) that an application's back end signs for its users.
//!
//! A *connection token* says who somebody is. A *subscription token* lets somebody subscribe to one
//! channel. Neither passes for the other: the claim `channel` must be absent from the first and
//! present in the second.
//!
//! ```text
//!  token ─▶ jws: three parts ─▶ keys: the signature ─▶ json ─▶ rules: iss, aud, exp, nbf ─▶ claims
//! ```
//!
//! *Invariants:* Nothing of a payload is parsed before its signature is verified. A key decides which
//! algorithms it may be used with, and a header only chooses among them. No error, and no `Debug`
//! text of keys, contains a secret or a part of a token.

#![cfg_attr(
    not(feature = "signatures"),
    allow(dead_code, reason = "a part is used by keys and verifiers alone")
)]

mod algorithm;
mod claims;
mod error;
mod json;
#[cfg(feature = "signatures")]
mod jwk;
mod jws;
#[cfg(feature = "signatures")]
mod key;
#[cfg(feature = "signatures")]
mod key_error;
#[cfg(feature = "signatures")]
mod keys;
#[cfg(feature = "signatures")]
mod pem;
mod rules;
#[cfg(any(test, feature = "unverified"))]
pub mod unverified;
#[cfg(feature = "signatures")]
mod verifier;

pub use algorithm::Algorithm;
pub use claims::{ConnectionClaims, Overrides, Payload, ServerSubscription, SubscriptionClaims};
pub use error::TokenError;
#[cfg(feature = "signatures")]
pub use key_error::{KeyError, KeyFault};
#[cfg(feature = "signatures")]
pub use keys::{
    JWKS_BYTES_MAX, JWKS_KEYS_MAX, KEYS_MAX, KEYS_TRIED_MAX, KeyMaterial, Keys, SECRET_BYTES_MIN,
    StaticKey,
};
pub use rules::{LEEWAY_S_MAX, LIFETIME_S_MAX, Rules, RulesError, TAKEN_CLAIMS};
#[cfg(feature = "signatures")]
pub use verifier::Verifier;
