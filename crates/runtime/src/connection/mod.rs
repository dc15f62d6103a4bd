//! One connection: a socket's state machine, and all that it holds.
//!
//! ```text
//!  what happens ──▶ Actor ─▶ codec ─▶ events ─▶ session ─▶ outlet ─┬─▶ send queue (own bytes)
//!  (readiness, time,   │                                           └─▶ requests to rooms' homes
//!   answers, commands) └─▶ send: plan ─▶ socket ─▶ settle
//! ```
//!
//! An [`Actor`] is synchronous: it is handed what happened and the time, changes its connection and what
//! its core lends it ([`Parts`]), and waits for nothing. Its panics end its own connection alone.

mod actor;
mod arrival;
mod close;
mod commands;
mod due;
mod events;
mod handshake;
mod identify;
mod memberships;
mod message_rates;
mod outgoing;
mod outlet;
mod parts;
mod pause;
mod rooms;
mod send;
mod session;
mod settle;
mod shown;
mod stage;
mod users;

use std::net::SocketAddr;

use codec::Phase;

pub(crate) use self::{
    actor::{Actor, Flow, Inbound},
    arrival::{Arrival, Unread},
    due::SweepTime,
    memberships::Memberships,
    message_rates::MessageRates,
    outgoing::Outgoing,
    parts::{Counters, OutSide, Parts, RoomSide},
    pause::{Pause, Wait},
    rooms::Fate,
    stage::{Heartbeat, Joining, Last, Linger, Stage},
    users::Users,
};
pub use self::{
    commands::{Command, Recipient},
    outlet::{Outlet, TooManyRooms},
    session::{Answer, Application, Lag, LeftReason, Opening, Route, Session, SessionEvent},
};

use crate::{
    admission::{Admitted, Header, Network},
    clock::Now,
    end::{EndReason, Reached},
    ids::ConnectionKey,
    io::Socket,
    memory::Holding,
    rooms::Shards,
};

/// A connection. Times are in milliseconds of deadlines ([`Now::ms`]).
pub(crate) struct Connection {
    pub(crate) key: ConnectionKey,
    pub(crate) protocol: codec::Connection,
    pub(crate) session: Option<Box<dyn Session>>,
    pub(crate) stage: Stage,
    pub(crate) socket: Socket,
    /// What its socket has reported.
    pub(crate) arrival: Arrival,
    /// Whether it is on its core's list of connections to be attended to.
    pub(crate) is_listed: bool,
    pub(crate) out: Outgoing,
    pub(crate) rooms: Memberships,
    pub(crate) rates: MessageRates,
    /// When the message must be whole of which a part has come.
    pub(crate) message_by_ms: Option<u64>,
    /// Received, but not yet taken by the protocol: at most one receive's worth.
    pub(crate) unread: Unread,
    /// Set while it is not read.
    pub(crate) pause: Option<Pause>,
    /// Bytes of memory held for it, as they are counted in its core's ledger.
    pub(crate) held: Holding,
    pub(crate) origin: Origin,
    /// The first reason there was for the connection to end.
    pub(crate) end: Option<EndReason>,
}

/// Where a connection comes from, and what became of its request.
pub(crate) struct Origin {
    /// Its client's address, as far as it is known: its socket's peer, or for whom a trusted proxy
    /// speaks.
    pub(crate) peer: SocketAddr,
    pub(crate) client: Client,
    /// When it was accepted, in nanoseconds since the process started.
    pub(crate) accepted_ns: u64,
    /// The same in milliseconds of deadlines.
    pub(crate) accepted_ms: u64,
    /// Its entry in the application's table, once it is open.
    pub(crate) entry: Option<u8>,
    /// Whether there was room for it; if not, its request is answered 503.
    pub(crate) admitted: Admitted,
}

/// Where the address of a connection's client is to be found.
pub(crate) enum Client {
    /// It is known, and counted for this network if it is counted at all.
    Known(Option<Network>),
    /// A trusted proxy will tell it in the request.
    InRequest,
    /// A trusted proxy tells it in a header before everything else, which is awaited.
    InHeader(Box<Header>),
}

impl Connection {
    /// A connection that was accepted at `now` and has `handshake_ms` for its request.
    pub(crate) fn new(
        key: ConnectionKey,
        socket: Socket,
        peer: SocketAddr,
        admitted: Admitted,
        now: Now,
        handshake_ms: u64,
    ) -> Self {
        Self {
            key,
            protocol: codec::Connection::new(),
            session: None,
            stage: Stage::Handshake {
                deadline_ms: now.ms + handshake_ms,
            },
            socket,
            arrival: Arrival::default(),
            is_listed: false,
            out: Outgoing::default(),
            rooms: Memberships::default(),
            rates: MessageRates::default(),
            message_by_ms: None,
            unread: Unread::default(),
            pause: None,
            held: Holding::default(),
            origin: Origin {
                peer,
                client: Client::Known(None),
                accepted_ns: now.ns,
                accepted_ms: now.ms,
                entry: None,
                admitted,
            },
            end: None,
        }
    }

    /// All bytes that wait to be sent, its lag in its rooms and what has been encrypted included.
    pub(crate) fn queued_bytes(&self, shards: &Shards) -> usize {
        self.out.queue.bytes(&self.rooms.subscriptions, shards) + self.socket.unsent_bytes()
    }

    /// Whether something has arrived that is not used up: received bytes, or a message that is not
    /// wholly inflated.
    pub(crate) fn has_kept(&self) -> bool {
        !self.unread.is_empty() || self.protocol.is_inflating()
    }

    /// Whether bytes have arrived that were not read yet, or not taken.
    pub(crate) fn has_unread(&self) -> bool {
        self.arrival.is_readable || self.has_kept()
    }

    /// Whether its messages may come compressed.
    pub(crate) fn has_compression(&self) -> bool {
        self.protocol.deflate().is_some()
    }

    /// Why its handshake ends, if a deadline of it has passed.
    pub(crate) fn handshake_overdue(&self, has_passed: impl Fn(u64) -> bool) -> Option<EndReason> {
        let Stage::Handshake { deadline_ms } = self.stage else {
            return None;
        };
        let tls_by_ms = self.socket.handshake_deadline_ms();
        let overdue = match has_passed(deadline_ms) {
            true => EndReason::HandshakeTimeout,
            false if tls_by_ms.is_some_and(&has_passed) => EndReason::TlsHandshakeTimeout,
            false => return None,
        };
        let overdue = match self.reached() {
            Reached::Nothing => EndReason::SilentTimeout,
            Reached::Handshake | Reached::WebSocket => overdue,
        };
        Some(self.origin.admitted.overdue(overdue))
    }

    /// Begins a pause, or goes on with one.
    pub(crate) fn begin_pause(&mut self, wait: Wait, now: Now) {
        let since_ms = self.pause.map_or(now.ms, |pause| pause.since_ms);
        self.pause = Some(Pause { wait, since_ms });
    }

    /// All that has come was taken: a message of which a part has come must be whole by then,
    /// unless it had to be sooner.
    pub(crate) fn note_unfinished(&mut self, by_ms: u64) {
        let is_unfinished = self.protocol.is_within_message();
        self.message_by_ms = is_unfinished.then(|| self.message_by_ms.unwrap_or(by_ms));
    }

    /// How far it has come.
    pub(crate) fn reached(&self) -> Reached {
        match self.stage {
            Stage::Handshake { .. } if self.is_silent() => Reached::Nothing,
            Stage::Handshake { .. } | Stage::Joining { .. } => Reached::Handshake,
            Stage::Open { .. } | Stage::Finishing { .. } | Stage::Closing { .. } | Stage::Over => {
                Reached::WebSocket
            }
        }
    }

    /// Whether nothing is there that could be answered: no part of a request, of a TLS handshake or
    /// of a proxy's header.
    fn is_silent(&self) -> bool {
        !self.origin.client.has_header_begun()
            && !self.socket.has_tls_begun()
            && self.protocol.phase() == Phase::Handshake
            && self.protocol.unfinished_bytes() == 0
    }

    /// Records why the connection ends, if nothing was recorded before.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.end.get_or_insert(reason);
    }
}
