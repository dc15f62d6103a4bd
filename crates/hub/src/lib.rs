//! Rooms: one order per room, moved between cores as batches in bounded mailboxes.
//!
//! ```text
//!  cores with connections             home core of the room               cores with subscribers,
//!  ──────────────────────             ─────────────────────               or with publishers
//!  join, leave, publish  ─[Request]─▶  actor: Rooms::apply                 ──────────────────────
//!  hold, resume            mailbox       │ publications of a turn: a run
//!                         (bounded)      │ of a held room: its backlog
//!                                        ▼
//!                                      Log::propose, Log::apply ─[Delivery]─▶ joined, refused
//!                                                                 mailbox     messages, published
//!                                                                (bounded)    unpublished, lost
//! ```
//!
//! A room lives on one core, its *home*, which follows from a hash of its name. Only the home gives
//! the room's messages their offsets, so a room has one order. Everything that a home sends to
//! another core travels through one first-in-first-out mailbox. So a join's answer always precedes
//! the messages after it, and an acknowledgement always follows the message itself.
//!
//! Each join and each publication carries a ticket and is answered once. A room's epoch and offsets
//! belong to its log, which may be kept for a time after the empty room is reaped.
//!
//! *Never* here: sockets, spawning, clocks, randomness, frames. Payloads are opaque bytes. The
//! actor's loop is a future that the runtime spawns; time and epochs are arguments.
//!
//! *Waiting has no cycle:* a sender of requests may wait for a home's mailbox, and a home may wait
//! for a core's delivery mailbox, but the receiver of deliveries never waits for either. A core
//! that is behind with one large room holds that room, so its home need not wait for the core.

mod actor;
mod bound;
mod budget;
mod history;
mod log;
mod mailbox;
mod name;
mod occupancy;
mod pace;
mod pasts;
mod presence;
mod recent_keys;
mod record;
mod retired_logs;
mod room;
mod rooms;
mod rules;
mod run;
mod saved;
mod table;
mod view;

pub use actor::run;
pub use bound::bound;
pub use budget::{Kept, RoomBudget};
pub use history::{HistoryLimits, Unrecoverable};
pub use log::{
    AnswerLimits, Conflict, Envelope, Epoch, Log, Newest, NotNext, Numbered, OtherEpoch, Page,
    Position, Recover, Recovered, Since,
};
pub use mailbox::{
    Answer, AnswerRefusal, ConnectionId, CoreId, Delivery, JoinRefusal, LossReason, PublishRefusal,
    Question, Request, RoomId, Stamps, Target, Terms, Ticket,
};
pub use name::{NameError, ROOM_NAME_BYTES_MAX, RoomName};
pub use occupancy::Occupancy;
pub use pace::Pace;
pub use presence::{Announcement, Member};
pub use recent_keys::Idempotency;
pub use record::{Details, Publisher, Record, Version};
pub use rooms::{HomeBounds, Rooms};
pub use rules::{NoRules, RoomRules, RuleBook};
pub use saved::{PageBounds, Restored, SavedKey, SavedMessage, SavedPage, SavedRoom};
pub use table::{Keyed, TableLimits};
pub use view::{Listing, RoomView, Seen};
