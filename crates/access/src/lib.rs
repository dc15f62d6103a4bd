//! Who somebody is, and what they may do.
//!
//! ```text
//!  configured secrets, PEM, JWKS ──▶ token::Keys ─┐
//!  issuer, audience, leeway ───────▶ token::Rules ┴▶ token::Verifier ──▶ claims, or why not
//!                                                          ▲
//!                                          a token, the time
//! ```
//!
//! *Never* here: sockets, files, clocks, spawning, randomness. Documents with keys come as text, and
//! time is an argument.

pub mod token;
