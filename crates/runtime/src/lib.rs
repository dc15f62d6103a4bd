//! One monoio thread per core, one connection actor per socket.
//!
//! ```text
//!  process ── starts, tells and asks ──▶ cores, each one thread:
//!
//!  reactor (loops):  poll ─▶ attend ──────────────▶ flush ─▶ sockets
//!                              │                      ▲  └──▶ homes (hub)
//!                              ▼                      │         │
//!  connection (actors):  codec ─▶ session ─▶ outlet ──┤         ▼
//!                                                     └── deliver (rooms' logs)
//! ```
//!
//! Everything of a core belongs to its thread; cores share only mailboxes, the counts of connections and
//! rooms, and the table of addresses. An [`Application`] says what becomes of requests; a [`Session`] is one connection's
//! protocol.
//!
//! Folders import in one direction, from the last of these to the first:
//!
//! | Folder | Duty |
//! |---|---|
//! | `kernel/` | what is asked of the kernel and of its driver |
//! | `clock`, `ids`, `end`, `jitter` | time, keys of connections, why they end, spreading of deadlines |
//! | `turn/` | what a turn may do, who is to be attended to, waking and giving way |
//! | `admission/` | who may come in |
//! | `config` | what the runtime is told |
//! | `io/` | sockets and TLS, without waiting |
//! | `observe/` | counters and notices |
//! | `memory/` | the ledger of held memory |
//! | `encoding/` | frames of messages |
//! | `rooms/` | requests to homes, logs, subscribers |
//! | `out/` | what waits to be sent to one connection |
//! | `connection/` | one connection's state machine; what applications see |
//! | `reactor/` | a core's loops |
//! | `process/` | starting, telling, asking, ending |
//!
//! *Never* here: environment variables, rules of rooms, exporters of metrics, what a body of HTTP means.
//!
//! *Invariants*
//! - No I/O future is dropped: the driver waits for the core's epoll set, for its listeners and for the
//!   turnstile's socket, and each wait goes on for as long as what it waits for.
//! - A core's state is borrowed for synchronous work only, never across an await.
//! - Sends towards rooms may wait; sends towards peers never do.

#![cfg_attr(feature = "simulation", allow(dead_code, unused_imports))]

mod admission;
mod clock;
mod config;
mod connection;
mod encoding;
mod end;
#[cfg(test)]
mod fixture;
mod ids;
mod io;
mod jitter;
mod kernel;
mod memory;
mod observe;
mod out;
mod process;
mod reactor;
mod rooms;
mod turn;

pub use admission::{AddressLimits, AddressRates, Bucket, Proxies, ProxyHeader, Rate};
pub use config::{Compression, Config, DriverChoice, Timeouts};
pub use connection::{
    Answer, Application, AtCost, Command, IfReset, KeepAlive, Lag, LeftReason, Opening, Outlet,
    Pings, Recipient, Route, Session, SessionEvent, Streaming, TakeBody, TakeBodyFrom, Taken,
    TooManyRooms,
};
pub use encoding::{BodyEncoder, BodyForm, Delivered, RoomEvent};
pub use end::{EndReason, Ending, Explained, Initiator, Reached, Refused, Said, refusals};
pub use hub::{Kept, RoomView, Seen};
pub use observe::{
    AcceptErrors, Batches, Compressed, Frames, Payload, Recoveries, RoomsLost, Sizes, Takeovers,
    Tally, Timing, TlsHandshakes, Unpublished,
};
pub use process::{Configurer, Driver, Monitor, Phase, Readiness};
#[cfg(not(feature = "simulation"))]
pub use process::{Drainer, Homes, NoAnswer, Server, StartError};
pub use reactor::{
    CommandRefused, Commander, ConnectionView, ConnectionsView, Desk, DeskFull, Snapshot,
};
pub use rooms::{BatchInterval, Ticket, kind_of};

/// What the crate `simulation` runs cores with: a machine of its own in place of the kernel.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::{
        kernel::simulated::{Errno, EventFlags, Id, Task, World, enter, leave, record, tls},
        process::simulated::{Machine, Seed},
        reactor::CoreCounts,
    };
}
