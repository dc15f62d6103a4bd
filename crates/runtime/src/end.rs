//! Why connections end: one list, and for each reason what the peer is told and what is counted.

use codec::{CloseCode, Error};

/// The one recorded reason for which a connection ended: the first that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer sent a close frame, with this code if it had one.
    PeerClosed(Option<CloseCode>),
    /// The peer's stream ended without a close frame.
    PeerGone,
    /// The socket failed; most often the peer reset it.
    SocketFailed,
    /// A request was answered over HTTP: a page, or an upgrade refused by the application.
    Answered,
    /// There are as many connections as are allowed (503).
    TooManyConnections,
    /// There are as many connections of its address as are allowed (429).
    AddressConnections,
    /// Connections of its address come faster than is allowed (429).
    AddressRate,
    /// A trusted proxy did not begin with the header that it must begin with (400, or nothing).
    ProxyHeader,
    /// A room of the request cannot be joined now (503).
    JoinRefused,
    /// No whole request within the handshake's time (408).
    HandshakeTimeout,
    /// No TLS handshake within its time.
    TlsHandshakeTimeout,
    /// The peer broke a rule of TLS, sent what cannot be decrypted, or gave up with an alert.
    TlsFailed,
    /// A request over plain HTTP where TLS is served (400).
    PlainHttp,
    /// The peer broke a rule of the protocol (an HTTP status or close code of its own).
    Protocol(codec::Error),
    /// No pong in time.
    PongTimeout,
    /// More was queued for the peer than is allowed.
    SendQueueFull,
    /// More was queued for all peers together than is allowed, and most of it for this one.
    QueuesFull,
    /// It sent more messages than is allowed.
    MessageRate,
    /// It sent more pings and pongs than is allowed.
    ControlRate,
    /// A message was not whole in time.
    MessageTimeout,
    /// Sending made no progress for too long.
    WriteStalled,
    /// A room could not take the peer's messages for too long.
    RoomBusy,
    /// A room of this connection is no more.
    RoomGone,
    /// The session asked for it, with this code and text.
    SessionClosed(CloseCode, &'static str),
    /// The session's code panicked.
    Panicked,
    /// The server is shutting down.
    Drained,
    /// It has been open for as long as a connection may be, or sent as much as its keys of TLS 1.2
    /// may encrypt.
    Aged,
}

impl EndReason {
    /// A stable name, for logs and as the value of a label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PeerClosed(_) => "peer_closed",
            Self::PeerGone => "peer_gone",
            Self::SocketFailed => "socket_failed",
            Self::Answered => "answered",
            Self::TooManyConnections => "too_many_connections",
            Self::AddressConnections => "address_connections",
            Self::AddressRate => "address_rate",
            Self::ProxyHeader => "proxy_header",
            Self::JoinRefused => "join_refused",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::TlsHandshakeTimeout => "tls_handshake_timeout",
            Self::TlsFailed => "tls_failed",
            Self::PlainHttp => "plain_http",
            Self::Protocol(error) => error.name(),
            Self::PongTimeout => "pong_timeout",
            Self::SendQueueFull => "send_queue_full",
            Self::QueuesFull => "queues_full",
            Self::MessageRate => "message_rate",
            Self::ControlRate => "control_rate",
            Self::MessageTimeout => "message_timeout",
            Self::WriteStalled => "write_stalled",
            Self::RoomBusy => "room_busy",
            Self::RoomGone => "room_gone",
            Self::SessionClosed(..) => "session_closed",
            Self::Panicked => "panicked",
            Self::Drained => "drained",
            Self::Aged => "aged",
        }
    }

    /// The close code that tells a WebSocket peer of it, where this side is the one to close.
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::PeerClosed(_) | Self::PeerGone | Self::SocketFailed | Self::Answered => None,
            Self::TooManyConnections | Self::AddressConnections | Self::AddressRate => None,
            Self::ProxyHeader | Self::JoinRefused | Self::HandshakeTimeout => None,
            Self::TlsHandshakeTimeout | Self::TlsFailed | Self::PlainHttp => None,
            Self::Protocol(error) => error.close_code(),
            Self::MessageRate | Self::ControlRate | Self::MessageTimeout => Some(CloseCode::POLICY),
            Self::SendQueueFull | Self::QueuesFull | Self::WriteStalled | Self::RoomBusy => {
                Some(CloseCode::TRY_AGAIN_LATER)
            }
            // For a missed pong no code fits well; this one makes clients come back.
            Self::PongTimeout | Self::RoomGone | Self::Panicked => Some(CloseCode::INTERNAL),
            Self::SessionClosed(code, _) => Some(*code),
            Self::Drained | Self::Aged => Some(CloseCode::GOING_AWAY),
        }
    }

    /// Whether it refuses the handshake of a connection that has not had its 101. An answer of the
    /// application does if an upgrade was asked for, which this does not know.
    pub(crate) fn refuses(&self) -> bool {
        matches!(
            self,
            Self::Protocol(Error::Handshake(_))
                | Self::TooManyConnections
                | Self::AddressConnections
                | Self::AddressRate
                | Self::ProxyHeader
                | Self::JoinRefused
                | Self::HandshakeTimeout
                | Self::Panicked
                | Self::Drained
        )
    }

    /// What is counted of it.
    pub(crate) fn ending(&self, was_open: bool) -> Ending {
        let (initiator, code) = match self {
            Self::PeerClosed(code) => ("peer", *code),
            Self::PeerGone | Self::SocketFailed => ("peer", None),
            _ => ("server", self.close_code()),
        };
        Ending {
            code: code_label(code.filter(|_| was_open)),
            initiator,
            reason: self.name(),
        }
    }

    /// A short text for people, beside the close code.
    pub fn text(&self) -> &'static str {
        match self {
            Self::PongTimeout => "no pong in time",
            Self::SendQueueFull => "too slow: the queue of this connection is full",
            Self::QueuesFull => "too slow: the queues of all connections are full",
            Self::MessageRate => "too many messages a second",
            Self::ControlRate => "too many pings or pongs a second",
            Self::MessageTimeout => "the message did not come in time",
            Self::WriteStalled => "too slow: nothing could be sent for too long",
            Self::RoomBusy => "the room cannot take more for now",
            Self::RoomGone => "the room is no more",
            Self::Panicked => "internal error",
            Self::Drained => "the server is going away",
            Self::Aged => "this connection has reached its age; connect again",
            Self::SessionClosed(_, text) => text,
            _ => "",
        }
    }
}

/// How a connection ended, as it is counted: each part is from a fixed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending {
    /// The close code that was sent; `none` without one, `application` from 3000 on.
    pub code: &'static str,
    /// `server` or `peer`.
    pub initiator: &'static str,
    /// The reason's name.
    pub reason: &'static str,
}

/// Reasons that are one each; the others carry a code or a rule.
const PLAIN: [EndReason; 24] = [
    EndReason::PeerGone,
    EndReason::SocketFailed,
    EndReason::Answered,
    EndReason::TooManyConnections,
    EndReason::AddressConnections,
    EndReason::AddressRate,
    EndReason::ProxyHeader,
    EndReason::JoinRefused,
    EndReason::HandshakeTimeout,
    EndReason::TlsHandshakeTimeout,
    EndReason::TlsFailed,
    EndReason::PlainHttp,
    EndReason::PongTimeout,
    EndReason::SendQueueFull,
    EndReason::QueuesFull,
    EndReason::MessageRate,
    EndReason::ControlRate,
    EndReason::MessageTimeout,
    EndReason::WriteStalled,
    EndReason::RoomBusy,
    EndReason::RoomGone,
    EndReason::Panicked,
    EndReason::Drained,
    EndReason::Aged,
];

impl Ending {
    /// All that there can be, each once, in order.
    pub fn all() -> Vec<Self> {
        let codes = || (0..=u16::MAX).filter_map(CloseCode::from_wire);
        let by_peer = codes().map(|code| EndReason::PeerClosed(Some(code)));
        let by_session = codes().map(|code| EndReason::SessionClosed(code, ""));
        let reasons = PLAIN
            .into_iter()
            .chain(Error::all().map(EndReason::Protocol))
            .chain([EndReason::PeerClosed(None)])
            .chain(by_peer)
            .chain(by_session);
        let mut all: Vec<_> = reasons
            .flat_map(|reason| match reason {
                // Also before there is a WebSocket, whose end then has no code.
                EndReason::Panicked | EndReason::Drained => {
                    vec![reason.ending(false), reason.ending(true)]
                }
                _ => vec![reason.ending(true)],
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// All reasons for which a handshake can be refused, each once, in order.
pub fn refusals() -> Vec<&'static str> {
    let reasons = PLAIN
        .into_iter()
        .chain(Error::all().map(EndReason::Protocol));
    let refusing = reasons.filter(|reason| reason.refuses() || *reason == EndReason::Answered);
    let mut names: Vec<_> = refusing.map(|reason| reason.name()).collect();
    names.sort_unstable();
    names
}

fn code_label(code: Option<CloseCode>) -> &'static str {
    match code.map_or(0, CloseCode::get) {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1010 => "1010",
        1011 => "1011",
        1012 => "1012",
        1013 => "1013",
        1014 => "1014",
        3000.. => "application",
        _ => "none",
    }
}
