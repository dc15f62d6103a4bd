//! RFC 6455 and RFC 7692, server side, without I/O: received bytes go in, events and bytes to send
//! come out.
//!
//! ```text
//!                    Connection (one per socket)
//!            ┌───────────────────────────────────────────────┐
//!  receive   │ head ──▶ request ──▶ body ────────┐           │
//!  ────────▶ │   (Handshake, Body)               ├──▶ Event ─┼──▶ caller
//!  bytes     │ reader ─▶ mask ─▶ inflate ─▶ utf8 ┘           │      │
//!            │   (Open, Closing)                             │      │ accept, take_body, respond,
//!            │            owed pong, owed close              │      │ finish_response, refuse, close
//!  ◀──────── │ transmit ◀── frame, response ◀────────────────┼──────┘
//!  bytes     └───────────────────────────────────────────────┘
//!
//!  caller ──▶ chunk::header, chunk::encode ──▶ bytes           (the body of a streamed response)
//!  caller ──▶ frame::encode_message, frame::header ──▶ bytes   (no connection needed: encoded
//!                                                               once, sent to many)
//!         ──▶ Deflater::encode_message ──▶ bytes              (the same, compressed)
//!         ──▶ Deflater::encode_next ──▶ bytes                 (for one, referring to what it had)
//! ```
//!
//! *Never* here: sockets, async, clocks, randomness (a masking key is an argument). *Invariants*:
//! no input panics; memory follows what arrived, never what a length field announces; the events
//! do not depend on how the bytes were cut into pieces; work is linear in the bytes received.

mod body;
pub mod chunk;
mod close;
mod connection;
mod deflate;
mod error;
pub mod frame;
mod head;
mod input;
mod limits;
mod mask;
mod message;
mod reader;
mod request;
mod response;
mod state;
mod utf8;
#[cfg(test)]
mod work;

pub use close::CloseCode;
pub use connection::{Connection, Event, Message, Phase, Step, Transmitted};
pub use deflate::{Deflate, DeflatePolicy, Deflater, Inflater};
pub use error::{Error, FrameError, HandshakeError};
pub use frame::{Kind, Opcode, encode_close, encode_message, encode_ping};
pub use limits::Limits;
pub use request::{AcceptKey, Request, Upgrade, negotiate};
pub use response::{BodyFraming, ResponseHead};
