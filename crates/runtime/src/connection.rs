//! One connection as its core knows it: the stage it is in, and all it holds.

use std::{net::SocketAddr, rc::Rc};

use codec::{AcceptKey, Phase};
use slotmap::new_key_type;
use smallvec::SmallVec;

use crate::{
    addresses::Network,
    admission::Admitted,
    allowance::Allowance,
    contexts::Agreement,
    encoder::{Context, WireForm},
    end::{EndReason, Reached},
    jitter, proxy_protocol,
    send_queue::{SendQueue, Sending},
    session::{Opening, Session},
    shard::{Shards, Subscription},
    signal::Signal,
    socket::{Arrived, Received, Socket},
    tls::PeerStream,
};

new_key_type! {
    /// A connection's slot on its core. Never used again for another connection.
    pub(crate) struct ConnectionKey;
}

/// A connection. Times are in milliseconds since the process started.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    /// Its client's address, as far as it is known: its socket's peer, or for whom a trusted proxy
    /// speaks.
    pub(crate) peer: SocketAddr,
    pub(crate) client: Client,
    /// When it was accepted, in nanoseconds since the process started.
    pub(crate) accepted_ns: u64,
    /// Its entry in the application's table, once it is open.
    pub(crate) entry: Option<u8>,
    /// Whether there was room for it; if not, its request is answered 503.
    pub(crate) admitted: Admitted,
    pub(crate) protocol: codec::Connection,
    pub(crate) stage: Stage,
    pub(crate) session: Option<Box<dyn Session>>,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    /// What messages to it look like.
    pub(crate) form: WireForm,
    /// What messages to it alone refer to.
    pub(crate) context: Context,
    /// Bytes of memory that are reserved for what messages of either side refer to.
    pub(crate) contexts_bytes: usize,
    pub(crate) queue: SendQueue,
    /// Bytes of memory that its queue holds, as they are counted in those of its core.
    pub(crate) held_bytes: usize,
    pub(crate) allowance: Allowance,
    /// When the message must be whole of which a part has come.
    pub(crate) message_by_ms: Option<u64>,
    /// Bytes of its publications that no home has ordered yet.
    pub(crate) window_bytes: usize,
    /// Received, but not yet taken by the protocol: at most one receive's worth.
    pub(crate) kept: Unread,
    /// Bytes of memory for what has arrived and is not whole yet, as they are counted in those of its
    /// core.
    pub(crate) unfinished_bytes: usize,
    /// Set while it is not read.
    pub(crate) pause: Option<Pause>,
    /// What its socket has reported.
    pub(crate) arrival: Arrival,
    /// Wakes the actor: something has arrived, a pause may be over, or the connection is.
    pub(crate) attention: Signal,
    /// The first reason there was for the connection to end.
    pub(crate) end: Option<EndReason>,
}

/// Where the address of a connection's client is to be found.
pub(crate) enum Client {
    /// It is known, and counted for this network if it is counted at all.
    Known(Option<Network>),
    /// A trusted proxy will tell it in the request.
    InRequest,
    /// A trusted proxy tells it in a header before everything else, which is awaited.
    InHeader(Box<proxy_protocol::Header>),
}

/// Received bytes that wait for a later turn. Taking some of them moves none of the others.
#[derive(Default)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    taken: usize,
}

impl Unread {
    /// These.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            taken: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Those that were not taken.
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.taken..]
    }

    /// The first so many of the rest have been taken. The memory goes with the last.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// What a socket has reported of its peer's stream and has not been used up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// A receive may find something.
    pub(crate) is_readable: bool,
    /// The stream has ended or broken: receives are to go on until one says so, since the socket
    /// will not report it again.
    pub(crate) has_ended: bool,
    /// Urgent data has come (RFC 6093). A receive ends at its mark, whatever lies behind it, so that
    /// receives are to go on until one finds nothing. The urgent byte itself is no part of the
    /// stream: the kernel leaves it out.
    pub(crate) has_mark: bool,
    /// It has broken: nothing can be said to the peer any more, either.
    pub(crate) has_broken: bool,
}

impl Arrival {
    /// A receive has brought something, all that there was unless the stream has ended or is marked.
    pub(crate) fn took(&mut self, received: &Received) {
        self.has_mark &= !matches!(received.arrived, Arrived::Nothing);
        self.is_readable = !received.is_all || self.has_ended || self.has_mark;
    }

    /// How far the peer's stream has come.
    pub(crate) fn peer_stream(self) -> PeerStream {
        match self {
            Self {
                has_broken: true, ..
            } => PeerStream::Broken,
            Self {
                has_ended: true, ..
            } => PeerStream::Ended,
            _ => PeerStream::Open,
        }
    }
}

/// A connection's life, in order.
pub(crate) enum Stage {
    /// The request's head is awaited.
    Handshake { deadline_ms: u64 },
    /// The request was good; its room has been asked to take it in.
    Joining {
        deadline_ms: u64,
        joining: Box<Joining>,
    },
    /// A WebSocket.
    Open { heartbeat: Heartbeat },
    /// The peer has said its last, by a close frame, by the end of its stream, or by breaking a rule.
    /// Its own publications are still on their way back to it; when they have been queued, the answer
    /// and the end follow.
    Finishing { deadline_ms: u64, last: Last },
    /// Everything that this side has to say is queued or sent; what the peer says is only
    /// awaited for the sake of the end.
    Closing { deadline_ms: u64, last: Last },
    /// The actor is about to remove it.
    Over,
}

/// What is kept between the request and its 101.
pub(crate) struct Joining {
    pub(crate) opening: Opening,
    pub(crate) accept: AcceptKey,
    pub(crate) agreement: Option<Agreement>,
}

/// The application's heartbeat (RFC 6455 section 5.5.2).
pub(crate) enum Heartbeat {
    /// The next ping leaves at this time.
    PingAt(u64),
    /// A ping with this payload, the time when it was sent, is under way.
    PongBy { deadline_ms: u64, payload: [u8; 4] },
}

/// What a closing connection waits for once its queue is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The peer's close frame is awaited.
    PeerClose,
    /// Both sides have said all: the socket can close at once.
    Nothing,
    /// This side stops sending and reads until the peer stops too, so that what was sent is not
    /// lost to a reset (RFC 9112 section 9.6).
    PeerEnd(Linger),
    /// As before, and sending has stopped.
    PeerEndAwaited(Linger),
}

/// For how long the end of a peer's stream is awaited, and what happens if it does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linger {
    /// The peer has sent its close frame, so that nothing more is expected of it. What comes all the
    /// same is discarded for a moment; then the socket is closed, and the kernel goes on sending.
    Briefly,
    /// For as long as closing may take; then the connection is reset.
    Fully,
}

/// Why a connection is not read, since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) wait: Wait,
    pub(crate) since_ms: u64,
}

/// What a connection waits for before it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its room's answer.
    Joins,
    /// Room in its own queue.
    Queue,
    /// An order for what it published.
    Window,
    /// Room in the outbox towards one of its rooms.
    Outbox,
}

impl Connection {
    pub(crate) fn new(
        socket: Socket,
        peer: SocketAddr,
        admitted: Admitted,
        accepted_ns: u64,
        handshake_ms: u64,
    ) -> Self {
        let deadline_ms = accepted_ns / 1_000_000 + handshake_ms;
        Self {
            socket,
            peer,
            client: Client::Known(None),
            accepted_ns,
            entry: None,
            admitted,
            protocol: codec::Connection::new(),
            stage: Stage::Handshake { deadline_ms },
            session: None,
            subscriptions: SmallVec::new(),
            form: WireForm::Plain,
            context: Context::None,
            contexts_bytes: 0,
            queue: SendQueue::default(),
            held_bytes: 0,
            allowance: Allowance::default(),
            message_by_ms: None,
            window_bytes: 0,
            kept: Unread::default(),
            unfinished_bytes: 0,
            pause: None,
            arrival: Arrival::default(),
            attention: Signal::default(),
            end: None,
        }
    }

    /// All bytes that wait to be sent, its lag in its rooms and what has been encrypted included.
    pub(crate) fn queued_bytes(&self, shards: &Shards) -> usize {
        self.queue.bytes(&self.subscriptions, shards) + self.socket.unsent_bytes()
    }

    /// Bytes of memory held to be sent to it, what has been encrypted included.
    pub(crate) fn held_bytes_now(&self) -> usize {
        self.queue.held_bytes() + self.socket.unsent_held_bytes()
    }

    /// Bytes of memory for what has arrived and is not whole yet, or is kept while it is not read.
    pub(crate) fn unfinished_bytes_now(&self) -> usize {
        let kept = self.kept.held_bytes() + self.socket.kept_held_bytes();
        self.protocol.unfinished_bytes() + kept
    }

    /// Whether something has arrived that is not used up: received bytes, or a message that is not
    /// wholly inflated.
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty() || self.protocol.is_inflating()
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
        Some(self.admitted.overdue(overdue))
    }

    /// Whether bytes have arrived that were not read yet, or not taken.
    pub(crate) fn has_unread(&self) -> bool {
        self.arrival.is_readable || self.has_kept()
    }

    /// Puts the connection on the flusher's list, unless it is there or its socket is full.
    pub(crate) fn mark_dirty(&mut self, key: ConnectionKey, dirty: &mut Dirty) {
        if self.queue.sending == Sending::Idle {
            self.queue.sending = Sending::Dirty;
            dirty.push(key);
        }
    }

    /// Begins a pause, or goes on with one.
    pub(crate) fn begin_pause(&mut self, wait: Wait, now_ms: u64) {
        let since_ms = self.pause.map_or(now_ms, |pause| pause.since_ms);
        self.pause = Some(Pause { wait, since_ms });
    }

    /// All that has come was taken: a message of which a part has come must be whole by then,
    /// unless it had to be sooner.
    pub(crate) fn note_unfinished(&mut self, by_ms: u64) {
        let is_unfinished = self.protocol.is_within_message();
        self.message_by_ms = is_unfinished.then(|| self.message_by_ms.unwrap_or(by_ms));
    }

    /// Puts off whatever is to happen at some time.
    pub(crate) fn put_off(&mut self, by_ms: u64) {
        match &mut self.stage {
            Stage::Handshake { deadline_ms }
            | Stage::Joining { deadline_ms, .. }
            | Stage::Open {
                heartbeat: Heartbeat::PingAt(deadline_ms) | Heartbeat::PongBy { deadline_ms, .. },
            }
            | Stage::Finishing { deadline_ms, .. }
            | Stage::Closing { deadline_ms, .. } => *deadline_ms += by_ms,
            Stage::Over => {}
        }
        self.socket.put_off(by_ms);
        self.queue.sending.put_off(by_ms);
        if let Some(message_by_ms) = &mut self.message_by_ms {
            *message_by_ms += by_ms;
        }
        if let Some(pause) = &mut self.pause {
            pause.since_ms += by_ms;
        }
    }

    /// Appends what the protocol owes the peer. Its answer to a close frame stays behind all that is
    /// still to be delivered.
    pub(crate) fn queue_owed(&mut self) -> codec::Transmitted {
        match self.stage {
            Stage::Finishing { .. } => codec::Transmitted::default(),
            _ => self.protocol.transmit(&mut self.queue.direct),
        }
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
        !self.client.has_header_begun()
            && !self.socket.has_tls_begun()
            && self.protocol.phase() == Phase::Handshake
            && self.protocol.unfinished_bytes() == 0
    }

    /// Records why the connection ends, if nothing was recorded before.
    pub(crate) fn end(&mut self, reason: EndReason) {
        self.end.get_or_insert(reason);
    }
}

impl Stage {
    /// A pong has come. One that repeats the latest ping's payload answers it; others are
    /// unsolicited and mean nothing (RFC 6455 section 5.5.3). Returns how long it took, in
    /// microseconds.
    pub(crate) fn pong(&mut self, received: &[u8], now_ns: u64, next_ms: u64) -> Option<u32> {
        let Self::Open { heartbeat } = self else {
            return None;
        };
        match heartbeat {
            Heartbeat::PongBy { payload, .. } if payload == received => {
                let sent_us = u32::from_be_bytes(*payload);
                *heartbeat = Heartbeat::PingAt(next_ms);
                let took_us = ((now_ns / 1000) as u32).wrapping_sub(sent_us);
                // The turn may have begun just before the ping left: then it took no time.
                Some(took_us.cast_signed().max(0).cast_unsigned())
            }
            _ => None,
        }
    }
}

impl Heartbeat {
    /// What a ping that leaves now carries: the low bytes of the time in microseconds. They tell
    /// it from the ping before, and the pong then tells how long it took.
    pub(crate) fn payload(now_ns: u64) -> [u8; 4] {
        ((now_ns / 1000) as u32).to_be_bytes()
    }
}

impl Heartbeat {
    /// The first ping of a connection leaves after half to one interval, spread by its token, so
    /// that connections that came together are not pinged together.
    pub(crate) fn first(now_ms: u64, interval_ms: u64, token: u64) -> Self {
        let half_ms = interval_ms / 2;
        Self::PingAt(now_ms + half_ms + jitter::part(half_ms, token))
    }

    /// The pong is awaited until then: while the peer is not read, or cannot be sent anything, its
    /// deadline stands still, and whatever arrives postpones it. The pong of a peer that uploads over
    /// a slow line stands behind its own upload.
    pub(crate) fn hold(&mut self, by_ms: u64) {
        if let Self::PongBy { deadline_ms, .. } = self {
            *deadline_ms = by_ms;
        }
    }
}

/// The flusher's list: connections with something to send at the end of this turn.
pub(crate) struct Dirty {
    pub(crate) connections: Vec<ConnectionKey>,
    pub(crate) flush: Rc<Signal>,
}

impl Dirty {
    pub(crate) fn push(&mut self, key: ConnectionKey) {
        self.connections.push(key);
        self.flush.raise();
    }
}
