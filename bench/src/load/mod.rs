//! The load generator: one thread, many connections, every reply checked.
//!
//! ```text
//! dial ──▶ sockets ──▶ reactor ──▶ echo or rooms ──▶ check (against wire's template)
//!                         │             ▲
//!                       meter ◀─────────┘ one record for each reply
//! ```

pub mod check;
pub mod connects;
pub mod dial;
pub mod echo;
pub mod idle;
pub mod meter;
pub mod pace;
pub mod preflight;
pub mod reactor;
pub mod rooms;
pub mod wait;
pub mod wire;
