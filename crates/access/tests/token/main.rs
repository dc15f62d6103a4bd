//! Tests of tokens through the public interface: every algorithm, every claim, hostile tokens, and
//! vectors of other implementations.

#![allow(clippy::unwrap_used)]

mod claims;
mod hostile;
mod keys;
mod properties;
mod signatures;
mod signer;
mod vectors;
