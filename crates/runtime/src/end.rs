//! Why connections end: one list, and for each reason what the peer is told.

use codec::CloseCode;

/// The one recorded reason for which a connection ended: the first that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer sent a close frame.
    PeerClosed,
    /// The peer's stream ended without a close frame.
    PeerGone,
    /// The socket failed; most often the peer reset it.
    SocketFailed,
    /// A request was answered over HTTP: a page, or an upgrade refused by the application.
    Answered,
    /// There are as many connections as are allowed (503).
    TooManyConnections,
    /// A room of the request cannot be joined now (503).
    JoinRefused,
    /// No whole request within the handshake's time (408).
    HandshakeTimeout,
    /// The peer broke a rule of the protocol (an HTTP status or close code of its own).
    Protocol(codec::Error),
    /// No pong in time.
    PongTimeout,
    /// More was queued for the peer than is allowed.
    SendQueueFull,
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
    /// It has been open for as long as a connection may be.
    Aged,
}

impl EndReason {
    /// A stable name, for logs and as the value of a label.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::PeerGone => "peer_gone",
            Self::SocketFailed => "socket_failed",
            Self::Answered => "answered",
            Self::TooManyConnections => "too_many_connections",
            Self::JoinRefused => "join_refused",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Protocol(error) => error.name(),
            Self::PongTimeout => "pong_timeout",
            Self::SendQueueFull => "send_queue_full",
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
            Self::PeerClosed | Self::PeerGone | Self::SocketFailed | Self::Answered => None,
            Self::TooManyConnections | Self::JoinRefused | Self::HandshakeTimeout => None,
            Self::Protocol(error) => error.close_code(),
            Self::SendQueueFull | Self::WriteStalled | Self::RoomBusy => {
                Some(CloseCode::TRY_AGAIN_LATER)
            }
            // For a missed pong no code fits well; this one makes clients come back.
            Self::PongTimeout | Self::RoomGone | Self::Panicked => Some(CloseCode::INTERNAL),
            Self::SessionClosed(code, _) => Some(*code),
            Self::Drained | Self::Aged => Some(CloseCode::GOING_AWAY),
        }
    }

    /// A short text for people, beside the close code.
    pub fn text(&self) -> &'static str {
        match self {
            Self::PongTimeout => "no pong in time",
            Self::SendQueueFull => "too slow: the queue of this connection is full",
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
