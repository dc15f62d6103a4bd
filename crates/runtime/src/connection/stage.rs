//! How far a connection is in its life, and what it waits for in each part of it.
//!
//! ```text
//!  Handshake ─┬─▶ Joining ──▶ Open ──▶ Finishing ──┐
//!   ▲   ▲     ├─▶ Deciding: as after Handshake     │
//!   │   │     ├─▶ Answering ──▶ KeptAlive          ├──▶ Closing ──▶ Over
//!   │   │     └─▶ Receiving ─┐      │              │
//!   │   └──── (its body came)┘      │  any stage ──┘  or at once
//!   └──────── (the next request) ───┘
//! ```

use bytes::Bytes;
use codec::AcceptKey;
use hub::{RoomName, Terms};

use super::{AtCost, KeepAlive, Lag, Opening, Pings, Session, Streaming, TakeBody, shown::Shown};
use crate::{
    encoding::{Packing, WireForm},
    jitter,
    memory::contexts::Agreement,
    rooms::Ticket,
};

/// The parts of a connection's life.
pub(crate) enum Stage {
    /// The request's head is awaited.
    Handshake { deadline_ms: u64 },
    /// What becomes of a request is costly work, for which there is a lane.
    Deciding(Box<Deciding>),
    /// The request was good; its room has been asked to take it in.
    Joining(Box<Joining>),
    /// The body of a request is awaited, of which the answer is made.
    Receiving(Box<Receiving>),
    /// An answer that keeps the connection is on its way.
    Answering { deadline_ms: u64 },
    /// An answer has left, and nothing has come of another request.
    KeptAlive { deadline_ms: u64 },
    /// A WebSocket, or a stream over HTTP.
    Open { heartbeat: Heartbeat },
    /// The peer has said its last, by a close frame, by the end of its stream, or by breaking a rule.
    /// Its own publications are still on their way back to it; when they have been queued, the answer
    /// and the end follow.
    Finishing { deadline_ms: u64, last: Last },
    /// Everything that this side has to say is queued or sent; what the peer says is only
    /// awaited for the sake of the end.
    Closing { deadline_ms: u64, last: Last },
    /// The connection has ended; the reactor removes it on its next turn.
    Over,
}

/// What is kept between the request and the head of its answer.
pub(crate) struct Joining {
    pub(crate) deadline_ms: u64,
    pub(crate) protocol: &'static str,
    pub(crate) session: Box<dyn Session>,
    /// The room that the session begins in, if it begins in one.
    pub(crate) name: Option<RoomName>,
    /// The ticket of the join, once the room's home has been asked.
    pub(crate) room: Option<Ticket>,
    pub(crate) form: WireForm,
    pub(crate) lag: Lag,
    pub(crate) pings: Pings,
    pub(crate) terms: Option<Box<Terms>>,
    pub(crate) head: OpeningHead,
}

/// What is kept of a request until it is decided.
pub(crate) struct Deciding {
    pub(crate) deadline_ms: u64,
    pub(crate) decision: Decision,
}

/// What is to be decided, and what is kept of the request for each outcome.
pub(crate) enum Decision {
    /// Which WebSocket opens. The request is a good upgrade.
    WebSocket {
        opening: AtCost<Opening>,
        accept: AcceptKey,
        agreement: Option<Agreement>,
        /// Whether subprotocols were offered.
        has_offered: bool,
        /// What the log shows of it.
        shown: Shown,
    },
    /// Which stream opens.
    Stream {
        streaming: AtCost<Streaming>,
        packing: Packing,
        /// Whether the request wants the head alone.
        is_head: bool,
    },
}

/// What is kept of a request until its body is whole.
pub(crate) struct Receiving {
    pub(crate) deadline_ms: u64,
    pub(crate) take: TakeBody,
    /// How a stream is packed, if the answer is one.
    pub(crate) packing: Packing,
}

/// The head of an answer with which a session opens.
pub(crate) enum OpeningHead {
    /// A 101.
    WebSocket {
        subprotocol: Option<&'static str>,
        accept: AcceptKey,
        agreement: Option<Agreement>,
    },
    /// The head of a body that lasts.
    Stream {
        status: u16,
        fields: Vec<(&'static str, String)>,
        keep_alive: KeepAlive,
    },
}

/// The keep-alive of an open connection: a ping and its pong (a WebSocket's, RFC 6455 section 5.5.2, or the
/// session's own), or a stream's heartbeat.
pub(crate) enum Heartbeat {
    /// The next ping leaves at this time.
    PingAt(u64),
    /// A ping with this payload, the time when it was sent, is under way.
    PongBy { deadline_ms: u64, payload: [u8; 4] },
    /// A stream's, which nobody answers.
    Beats(Box<Beats>),
    /// A stream has none.
    None,
}

/// What a stream's application has sent from time to time.
pub(crate) struct Beats {
    pub(crate) next_ms: u64,
    pub(crate) bytes: Bytes,
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

impl Decision {
    /// Bytes of memory that are kept until it is made.
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Self::WebSocket { opening, .. } => opening.held_bytes,
            Self::Stream { streaming, .. } => streaming.held_bytes,
        }
    }

    /// What is agreed on compression, should a WebSocket open.
    pub(crate) fn agreement(&self) -> Option<Agreement> {
        match self {
            Self::WebSocket { agreement, .. } => *agreement,
            Self::Stream { .. } => None,
        }
    }
}

impl Stage {
    /// A pong has come. One that repeats the latest ping's payload answers it; others are
    /// unsolicited and mean nothing (RFC 6455 section 5.5.3). Returns how long it took, in
    /// microseconds.
    pub(crate) fn pong(
        &mut self,
        answers: impl FnOnce(&[u8; 4]) -> bool,
        now_ns: u64,
        next_ms: u64,
    ) -> Option<u32> {
        let Self::Open { heartbeat } = self else {
            return None;
        };
        match heartbeat {
            Heartbeat::PongBy { payload, .. } if answers(payload) => {
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

    /// The first heartbeat of a connection leaves after half to one interval, spread by its token, so
    /// that those of connections that came together do not leave together.
    pub(crate) fn first_ms(now_ms: u64, interval_ms: u64, token: u64) -> u64 {
        let half_ms = interval_ms / 2;
        now_ms + half_ms + jitter::part(half_ms, token)
    }

    /// A stream's. An empty one would be no chunk.
    pub(crate) fn of_stream(keep_alive: KeepAlive, next_ms: u64) -> Self {
        match keep_alive {
            KeepAlive::Messages => Self::PingAt(next_ms),
            KeepAlive::Bytes(bytes) if !bytes.is_empty() => {
                Self::Beats(Box::new(Beats { next_ms, bytes }))
            }
            KeepAlive::Bytes(_) | KeepAlive::Nothing => Self::None,
        }
    }

    /// Moves the pong's deadline to `by_ms`. It is called while the peer is not read or cannot be sent to,
    /// and whenever bytes arrive, because on a slow line the pong stands behind the peer's own upload.
    pub(crate) fn postpone(&mut self, by_ms: u64) {
        if let Self::PongBy { deadline_ms, .. } = self {
            *deadline_ms = by_ms;
        }
    }
}
