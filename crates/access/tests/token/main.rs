//! Tests of tokens through the public interface: every algorithm, every claim, hostile tokens, vectors
//! of other implementations, and the fuzz corpus.

#![allow(clippy::unwrap_used)]

mod claims;
mod corpus;
mod cost;
mod driver;
mod hostile;
mod keys;
mod properties;
mod signatures;
mod signer;
mod vectors;
