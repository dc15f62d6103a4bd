//! What a token says, whoever wrote it: for fuzzing, and never for a server.
//!
//! A server that believed this would let anybody be anybody. Therefore the feature `unverified` is off,
//! and `cargo xtask tidy` refuses a crate of the workspace that turns it on. A fuzzer gets from here to
//! all that a verifier does before and after it checks a signature, by the same code, without building
//! the cryptography with instrumentation.

use super::{
    algorithm::Algorithm,
    claims::{ConnectionClaims, SubscriptionClaims},
    error::TokenError,
    json::Object,
    rules::{Common, Rules},
};

/// The parts of a token, of which nothing is proven.
#[derive(PartialEq, Eq, Debug)]
pub struct Unverified<C> {
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
    /// The key that its header names.
    pub kid: Option<String>,
    /// What its payload says.
    pub claims: C,
    /// Its signature, which may be of anything, or no signature at all.
    pub signature: Vec<u8>,
}

/// Reads a connection token. `now_s` is the wall clock's time in seconds since 1970.
///
/// # Errors
/// When the rules refuse the token, or it is none for connections.
pub fn read_connection(
    token: &str,
    rules: &Rules,
    now_s: i64,
) -> Result<Unverified<ConnectionClaims>, TokenError> {
    read(token, rules, now_s, ConnectionClaims::read)
}

/// Reads a subscription token. `now_s` is the wall clock's time in seconds since 1970.
///
/// # Errors
/// When the rules refuse the token, or it is none for subscriptions.
pub fn read_subscription(
    token: &str,
    rules: &Rules,
    now_s: i64,
) -> Result<Unverified<SubscriptionClaims>, TokenError> {
    read(token, rules, now_s, SubscriptionClaims::read)
}

fn read<C>(
    token: &str,
    rules: &Rules,
    now_s: i64,
    of_kind: impl FnOnce(&Object<'_>, Common) -> Result<C, TokenError>,
) -> Result<Unverified<C>, TokenError> {
    let jws = rules.parse(token)?;
    Ok(Unverified {
        claims: rules.read(&jws.payload, now_s, of_kind)?,
        algorithm: jws.algorithm,
        kid: jws.kid,
        signature: jws.signature,
    })
}

#[cfg(test)]
mod tests;
