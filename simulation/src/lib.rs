//! The whole server in one thread, in virtual time, from one seed: the core that is shipped, on a machine
//! that does whatever a kernel may do, with peers that do whatever peers may do.
//!
//! ```text
//!  seed ─▶ script ─▶ run ─▶ clients ─▶ world (sockets) ─▶ the runtime ─▶ application ◀─ rules
//!             ▲       │        └─────▶ orders: one order for all │
//!             │       ├──────────────▶ homes: the past of rooms ◀┤
//!           shrink    └──────────────▶ audit: all parts agree ◀──┘
//! ```
//!
//! What is checked: all members of a room see one order, each message once, and none is missed unless
//! that is said; what is acknowledged has the place that was said; whoever comes back gets exactly what it has missed, or is told
//! why not; a room's past and members are what peers have seen of them; frames and answers are whole; the
//! memory that is counted is what is held; every connection ends with one reason; and once peers behave,
//! nothing waits for ever.

pub mod application;
pub mod client;
pub mod count;
pub mod desk;
pub mod homes;
pub mod orders;
pub mod particulars;
pub mod rules;
pub mod run;
pub mod script;
pub mod settings;
pub mod shrink;
pub mod tls;
pub mod watch;
pub mod wire;
pub mod world;
