//! A core's side of the rooms: requests to their homes, and what their subscribers here are to be sent.
//!
//! *Never* here: sockets and connections. Who has news is a key, and what is to be sent a run of bytes.

mod batch_interval;
mod latest;
mod publication;
mod readers;
mod requests;
mod room_log;
mod shards;
mod standing;
mod subscriptions;
mod ticket;

pub use batch_interval::BatchInterval;
pub use publication::kind_of;
pub(crate) use publication::{publication_bytes, tag_of};
pub(crate) use requests::{Blocked, Requests, home_of_name};
pub(crate) use shards::{Gathering, Parked, Reach, Shards, Subscription, Unsent, Visit};
pub(crate) use subscriptions::{Membership, Subscriptions};
pub use ticket::Ticket;
