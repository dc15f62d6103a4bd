//! The load generator: one thread, many connections, every reply checked.
//!
//! ```text
//! dial ──▶ links ──▶ reactor ──▶ echo or rooms ──▶ check (against wire's template)
//!            │          │             ▲             (mixed: the same beside a prober;
//!            │          │             │              memberships: commands instead of paths;
//!                                                    sdk: clients of the Centrifuge protocol;
//!                                                    backend: their back end, over HTTP)
//!    tls, deflate     meter ◀─────────┘ one record for each reply
//! ```

pub mod backend;
pub mod chat;
pub mod check;
pub mod connects;
pub mod deflate;
pub mod dial;
pub mod echo;
pub mod idle;
pub mod link;
pub mod memberships;
pub mod meter;
pub mod mixed;
pub mod pace;
pub mod preflight;
pub mod reactor;
pub mod rooms;
pub mod sdk;
pub mod tls;
pub mod transport;
pub mod wait;
pub mod wire;
