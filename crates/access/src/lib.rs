//! Access: who somebody is, and what they may do in which room.
//!
//! ```text
//!  configured secrets, PEM, JWKS ─▶ token::Keys ─┐
//!  issuer, audience, leeway ──────▶ token::Rules ┴▶ token::Verifier ─▶ claims: a user, or why not
//!                                                          ▲               │
//!                                          a token, the time               │
//!                                                                          │
//!  configuration ─▶ Namespace (the rules of its rooms) ─▶ Namespaces       │
//!                     contradictions                        │              │
//!                                                           ▼              ▼
//!  a room's name ────────────────────────────────▶ Namespaces::of ─▶ may_subscribe, may_publish,
//!                                                                    may_read_history, take_effect,
//!                                                                    may_open_raw …
//!                                                                      │
//!                                                                      ▼
//!                                                      yes, or why not: in words for the log
//! ```
//!
//! All of it is a pure function of its arguments, whatever transport asks: so each rule has one
//! verdict.
//!
//! *Never* here: sockets, files, clocks, spawning, randomness, formats of frames. Documents with keys
//! come as text, and time is an argument.
//!
//! The feature `signatures`, on by default, is [`token::Keys`] and [`token::Verifier`] with their
//! cryptography. All else builds without it. The feature `unverified` is for fuzzing alone.

// The driver that the fuzz target shares with the tests names this crate as the target does.
#[cfg(test)]
extern crate self as access;

pub mod namespace;
mod namespaces;
mod raw;
mod rights;
mod room;
pub mod token;

pub use namespace::Namespace;
pub use namespaces::{
    Change, Label, NAMESPACES_MAX, Namespaces, NoRoom, Refused, Unfit, What, check_name,
};
pub use raw::{RawRefusal, RawRights, RawToken, may_only_publish_raw, may_open_raw};
pub use rights::{
    Asked, Cause, Denied, Granted, Kind, NoPersonalRoom, Right, SubscriptionToken, User,
    is_for_publish_hook, is_for_subscribe_hook, may_publish, may_read_history, may_read_presence,
    may_subscribe, personal_room, take_effect,
};
pub use room::{Audience, BadName, Name, ROOM_BYTES_MAX, Room};
