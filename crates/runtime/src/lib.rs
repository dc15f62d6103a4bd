//! One monoio thread per core, one connection actor per socket.
//!
//! ```text
//!  accept, poller
//!     └─▶ actor ─▶ codec ─▶ session ─▶ outlet ─┬─▶ send queue ───────────────────────────┐
//!       (one task per                          │  own bytes                             │
//!        socket)                               └─▶ outbox ─▶ home ─▶ deliver ─▶ log ─▶ flusher ─▶ socket
//!                                                 (a batch   (hub)   (every   (shard,  (one send per
//!                                                 per turn)           core)   cursors)  socket and turn)
//!  under both ends of it, where it is configured: tls, between socket and plaintext
//!  beside them: sweep (deadlines), drain (paced closes), turnstile (a fair yield)
//! ```
//!
//! Everything of a core belongs to its thread; cores share only mailboxes, counters and the table of addresses.
//! An [`Application`] says what becomes of requests; a [`Session`] is one connection's protocol.
//!
//! *Never* here: environment variables, rules of rooms, exporters of metrics, HTTP beyond one
//! answer per connection.
//!
//! *Invariants*
//! - No I/O future is dropped: the driver waits for one descriptor, the core's epoll set, and that
//!   wait goes on for as long as the core.
//! - `Core::state` is borrowed for synchronous work only, never across an await.
//! - Sends towards rooms may wait; sends towards peers never do.

mod accept;
mod actor;
mod addresses;
mod admission;
mod affinity;
mod allowance;
mod budget;
mod config;
mod configure;
mod connection;
mod contexts;
mod core;
mod cost;
mod date;
mod deliver;
mod distribution;
mod drain;
mod driver;
mod encoder;
mod end;
#[cfg(test)]
mod fixture;
mod flusher;
mod forwarded;
mod identify;
mod jitter;
mod lifecycle;
mod log;
mod monitor;
mod notices;
mod outbox;
mod poller;
mod proxy_protocol;
mod rates;
mod ration;
mod readiness;
mod send_queue;
mod server;
mod session;
mod shard;
mod signal;
mod socket;
mod spare;
mod steps;
mod sweep;
mod tally;
mod tls;
mod turnstile;
mod unfinished;

pub use addresses::AddressLimits;
pub use config::{Compression, Config, DriverChoice, Timeouts};
pub use configure::Configurer;
pub use distribution::{Sizes, Timing};
pub use driver::Driver;
pub use end::{EndReason, Ending, Explained, Initiator, Reached, Refused, Said, refusals};
pub use forwarded::{Proxies, ProxyHeader};
pub use hub::{RoomView, Seen};
pub use monitor::{ConnectionView, ConnectionsView, Monitor, Snapshot};
pub use rates::Rate;
pub use readiness::{Phase, Readiness};
pub use server::{Drainer, Server, StartError};
pub use session::{Answer, Application, Opening, Outlet, Route, Session};
pub use tally::{
    AcceptErrors, Batches, Compressed, Frames, Payload, Takeovers, Tally, TlsHandshakes,
};
