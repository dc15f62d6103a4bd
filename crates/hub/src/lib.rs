//! Rooms: one order per room, moved between cores as batches in bounded mailboxes.
//!
//! ```text
//!  cores with connections                home core of the room            cores with subscribers
//!  ──────────────────────                ─────────────────────            ──────────────────────
//!  join, leave, publish ──[Request]──▶   actor: Rooms::apply    ──[Delivery]──▶  joined, refused, message
//!                          mailbox       numbers, counts cores     mailbox
//!                          (bounded)                               (bounded)
//! ```
//!
//! A room lives on one core, its *home*: a hash of its name says which. The home alone numbers the
//! room's messages, so a room has one order; all that a home tells another core travels through
//! one first-in-first-out mailbox, so a join's answer and the messages after it cannot cross.
//!
//! *Never* here: sockets, spawning, clocks, randomness, frames. Payloads are opaque bytes. The
//! actor's loop is a future that somebody else spawns; time and epochs are arguments.
//!
//! *Waiting has no circle:* whoever has requests may wait for a home's mailbox; a home may wait
//! for a core's delivery mailbox; whoever drains deliveries never waits for either.

mod actor;
mod mailbox;
mod name;
mod rooms;
mod view;

pub use actor::run;
pub use mailbox::{ConnectionId, CoreId, Delivery, JoinRefusal, Publication, Request, RoomId};
pub use name::{NameError, ROOM_NAME_BYTES_MAX, RoomName};
pub use rooms::{RoomBudget, Rooms};
pub use view::{RoomView, Seen};
