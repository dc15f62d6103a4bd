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
mod application;
mod arrival;
#[cfg(feature = "simulation")]
mod audit;
mod body;
mod close;
mod commands;
mod due;
mod events;
mod handshake;
mod identify;
mod memberships;
mod message_rates;
mod opening;
mod outgoing;
mod outlet;
mod parts;
mod pause;
mod rare;
mod recount;
mod replies;
mod send;
mod session;
mod shown;
mod stage;
mod stream;
mod users;

use std::net::SocketAddr;

use codec::Phase;

pub(crate) use self::{
    actor::{Actor, Flow, Inbound},
    arrival::{Arrival, Leftover},
    due::SweepTime,
    memberships::Memberships,
    message_rates::MessageRates,
    outgoing::{GoesOn, Outgoing},
    parts::{Counters, OutSide, Parts, RoomSide},
    pause::{Pause, Wait},
    rare::Rare,
    replies::Fate,
    stage::{Heartbeat, Joining, Last, Linger, OpeningHead, Stage},
    users::Users,
};
pub use self::{
    application::{
        Answer, Application, AtCost, Opening, Route, Streaming, TakeBody, TakeBodyFrom, Taken,
    },
    commands::{Command, Recipient},
    outlet::{IfReset, Outlet, TooManyRooms},
    session::{KeepAlive, Lag, LeftReason, Pings, Session, SessionEvent},
};

use crate::{
    admission::{Admitted, Header, Peer},
    clock::{Now, RecentMs},
    end::{EndReason, Reached},
    ids::ConnectionKey,
    io::Socket,
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
    /// Whether it is on its core's attention list.
    pub(crate) is_listed: bool,
    pub(crate) out: Outgoing,
    pub(crate) rooms: Memberships,
    /// Set while it is not read.
    pub(crate) pause: Option<Pause>,
    pub(crate) provenance: Provenance,
    pub(crate) rare: Rare,
}

/// What an idle connection takes is mostly this.
const _: () = assert!(size_of::<Connection>() <= 248);

/// Where a connection comes from, and what became of its request.
pub(crate) struct Provenance {
    /// The client's address if a trusted proxy has named it, otherwise the address of the socket's
    /// peer.
    pub(crate) address: Peer,
    pub(crate) client: Client,
    /// When it was accepted, in nanoseconds since the process started.
    pub(crate) accepted_ns: u64,
    /// Its entry in the application's table, once it is open.
    pub(crate) entry: Option<u8>,
    /// Whether there was room for it; if not, its request is answered 503.
    pub(crate) admitted: Admitted,
}

/// Where the address of a connection's client is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// It is known. Whether the connection is counted for its network.
    Known { is_counted: bool },
    /// A trusted proxy will tell it in the request.
    InRequest,
    /// A trusted proxy tells it in a header before everything else, which is awaited
    /// ([`Rare::header`]).
    InHeader,
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
            pause: None,
            provenance: Provenance {
                address: peer.into(),
                client: Client::Known { is_counted: false },
                accepted_ns: now.ns,
                entry: None,
                admitted,
            },
            rare: Rare::default(),
        }
    }

    /// All bytes that wait to be sent, its lag in its rooms and what has been encrypted included.
    pub(crate) fn queued_bytes(&self, shards: &Shards) -> usize {
        self.out.queue.bytes(&self.rooms.subscriptions, shards) + self.socket.unsent_bytes()
    }

    /// Whether something is still to be sent to it: what waits, what its rooms have gathered, and its own
    /// publications.
    pub(crate) fn is_owed(&self, shards: &Shards) -> bool {
        self.rooms.window_bytes > 0 || self.queued_bytes(shards) > 0 || self.rooms.is_owed(shards)
    }

    /// Whether received bytes, or a message that is not wholly inflated, wait to be processed.
    pub(crate) fn has_leftover_input(&self) -> bool {
        self.rare.has_leftover() || self.protocol.is_inflating()
    }

    /// Whether the socket may have more to read, or received input waits to be processed.
    pub(crate) fn has_pending_input(&self) -> bool {
        self.arrival.is_readable || self.has_leftover_input()
    }

    /// How it goes on without further input: with what its session was handed, or with what becomes of its
    /// request. Once it is closing it does not, because nothing may follow a close frame (RFC 6455 section
    /// 5.5.1).
    pub(super) fn goes_on(&self) -> GoesOn {
        match self.stage {
            Stage::Open { .. } => self.out.goes_on,
            Stage::Deciding(_) => GoesOn::Costly,
            _ => GoesOn::No,
        }
    }

    /// Whether it is, or is about to be, a stream over HTTP.
    pub(crate) fn is_stream(&self) -> bool {
        self.out.form.packing.is_stream()
    }

    /// Whether its messages may come compressed.
    pub(crate) fn has_compression(&self) -> bool {
        self.protocol.deflate().is_some()
    }

    /// Why its handshake ends, if a deadline of it has passed.
    pub(crate) fn handshake_overdue(&self, has_passed: impl Fn(u64) -> bool) -> Option<EndReason> {
        let deadline_ms = match &self.stage {
            Stage::Handshake { deadline_ms } => *deadline_ms,
            Stage::Deciding(deciding) => deciding.deadline_ms,
            _ => return None,
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
        Some(self.provenance.admitted.overdue(overdue))
    }

    /// Begins a pause, or goes on with one.
    pub(crate) fn begin_pause(&mut self, wait: Wait, now: Now) {
        let since = self.pause.map(|pause| pause.since);
        let since = since.unwrap_or(RecentMs::at(now.ms));
        self.pause = Some(Pause { wait, since });
    }

    /// Everything received has been processed: a message of which a part has arrived must be complete by
    /// `by_ms`, unless it has an earlier deadline. The beginning of a TLS record counts as the beginning of a
    /// message, since nobody can tell yet what is in it.
    pub(crate) fn note_unfinished(&mut self, by_ms: u64) {
        let is_unfinished =
            self.protocol.is_within_message() || self.socket.partial_record_bytes() > 0;
        let by_ms = self.rare.message_by_ms().unwrap_or(by_ms);
        self.rare.set_message_by_ms(is_unfinished.then_some(by_ms));
    }

    /// How far it has come.
    pub(crate) fn reached(&self) -> Reached {
        match self.stage {
            Stage::Handshake { .. } if self.is_silent() => Reached::Nothing,
            Stage::KeptAlive { .. } => Reached::Nothing,
            Stage::Handshake { .. }
            | Stage::Receiving(_)
            | Stage::Answering { .. }
            | Stage::Deciding(_)
            | Stage::Joining(_) => Reached::Handshake,
            Stage::Open { .. } | Stage::Finishing { .. } | Stage::Closing { .. } | Stage::Over => {
                Reached::WebSocket
            }
        }
    }

    /// Whether nothing is there that could be answered: no part of a request, of a TLS handshake or
    /// of a proxy's header.
    fn is_silent(&self) -> bool {
        self.rare.header().is_none_or(Header::is_untouched)
            && !self.socket.has_tls_begun()
            && self.protocol.phase() == Phase::Handshake
            && self.protocol.unfinished_bytes() == 0
    }

    /// Records why the connection ends, if nothing was recorded before.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.rare.set_end(reason);
    }
}
