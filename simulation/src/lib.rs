//! The whole server in one thread, in virtual time, from one seed: the core that is shipped, on a machine
//! that does whatever a kernel may do, with peers that do whatever peers may do.
//!
//! ```text
//!  seed ─▶ script ─▶ run ─▶ clients ─▶ world (sockets) ─▶ the runtime ─▶ application
//!             ▲       │        └─────▶ orders: one order for all      │
//!           shrink    └──────────────▶ audit: all parts agree ◀───────┘
//! ```
//!
//! What is checked: all members of a room see one order, each message once, and none is missed unless
//! that is said; what is acknowledged has the place that was said; frames and answers are whole; the
//! memory that is counted is what is held; every connection ends with one reason; and once peers behave,
//! nothing waits for ever.

pub mod application;
pub mod client;
pub mod count;
pub mod orders;
pub mod run;
pub mod script;
pub mod settings;
pub mod shrink;
pub mod tls;
pub mod wire;
pub mod world;
