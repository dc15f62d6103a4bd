//! Why connections end: one list, and for each reason all that there is to say of it, in one place.
//!
//! What is counted, logged, answered and sent in close frames is read from here;
//! `docs/close-codes.md` says it to people who write clients, and a test holds it against this.

use codec::{CloseCode, Error};

/// The one recorded reason for which a connection ended: the first that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The peer sent a close frame, with this code if it had one.
    PeerClosed(Option<CloseCode>),
    /// The peer's stream ended without a close frame, so far along.
    PeerGone(Reached),
    /// The socket failed, so far along; most often the peer reset it.
    SocketFailed(Reached),
    /// A request was answered over HTTP with what it asked for: a page.
    Answered,
    /// The application refused a request (400, 401, 403, 404, 405, 429, 503).
    Refused(Refused),
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
    /// A part of a request, and no whole one within the handshake's time (408).
    HandshakeTimeout,
    /// Not a byte of a request within the handshake's time, nor of a TLS handshake within its own. It
    /// asked for nothing, so it is not answered.
    SilentTimeout,
    /// A part of a TLS handshake, and no whole one within its time.
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
    /// What has arrived unfinished of all peers together takes more memory than is allowed, and most
    /// of it this one's.
    UnfinishedFull,
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
    /// The order of a room of this connection is lost.
    RoomLost,
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

/// How far a connection had come when its peer left or its socket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing was asked for: not a byte of a request or of an unfinished TLS handshake had come. A
    /// probe of the port does that, and so does a browser that opens connections to have them ready.
    Nothing,
    /// The handshake was under way.
    Handshake,
    /// It was a WebSocket, or a stream over HTTP.
    WebSocket,
}

/// Why an application refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A page of this origin may not connect (403).
    Origin,
    /// There is nothing at this path (404).
    Path,
    /// The path would be a room's, but has no good name for one (404).
    RoomName,
    /// The path has no such method (405).
    Method,
    /// Its token is bad or expired, or missing where one would help (401).
    Token,
    /// The key of its token is yet to come (503).
    TokenKey,
    /// A right is lacking (403).
    Right,
    /// It has a token for a subprotocol that it does not ask for (400).
    Subprotocol,
    /// Its user has as many connections as one may have (429).
    UserConnections,
    /// A parameter of its query means nothing, or something that its room does not have (400).
    Parameter,
    /// Its address asks for one-shot rooms too fast (429).
    OneShotRate,
    /// There are as many one-shot rooms as there may be (503).
    OneShotsFull,
}

/// All that there is to say of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// A stable name, for logs and as the value of a label.
    pub name: &'static str,
    /// Who ended the connection.
    pub initiator: Initiator,
    /// The code of the close frame that tells a WebSocket's peer of it, or with which the peer has
    /// told of it.
    pub code: Option<CloseCode>,
    /// A short text for people, beside the code.
    pub text: &'static str,
    /// The HTTP answer to a request that is still unanswered when the connection ends.
    pub answer: Option<Said>,
}

/// An answer over HTTP: its status, and a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Three digits.
    pub status: u16,
    /// The body.
    pub sentence: &'static str,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiator {
    /// The other side.
    Peer,
    /// This side.
    Server,
}

impl EndReason {
    /// All that there is to say of it.
    pub fn explained(&self) -> Explained {
        use CloseCode as Code;
        match self {
            Self::PeerClosed(code) => by_peer("peer_closed", *code),
            Self::PeerGone(Reached::Nothing) => by_peer("peer_gone_silent", None),
            Self::PeerGone(Reached::Handshake) => by_peer("peer_gone_handshake", None),
            Self::PeerGone(Reached::WebSocket) => by_peer("peer_gone", None),
            Self::SocketFailed(Reached::Nothing) => by_peer("socket_failed_silent", None),
            Self::SocketFailed(Reached::Handshake) => by_peer("socket_failed_handshake", None),
            Self::SocketFailed(Reached::WebSocket) => by_peer("socket_failed", None),
            Self::Answered => in_silence("answered"),
            // The sentences are the application's own.
            Self::Refused(Refused::Origin) => answered("origin_forbidden", 403, ""),
            Self::Refused(Refused::Path) => answered("not_found", 404, ""),
            Self::Refused(Refused::RoomName) => answered("room_name_invalid", 404, ""),
            Self::Refused(Refused::Method) => answered("method_not_allowed", 405, ""),
            Self::Refused(Refused::Token) => answered("token_refused", 401, ""),
            Self::Refused(Refused::TokenKey) => answered("token_key_unknown", 503, ""),
            Self::Refused(Refused::Right) => answered("right_denied", 403, ""),
            Self::Refused(Refused::Subprotocol) => answered("subprotocol_missing", 400, ""),
            Self::Refused(Refused::UserConnections) => answered("user_connections", 429, ""),
            Self::Refused(Refused::Parameter) => answered("parameter_invalid", 400, ""),
            Self::Refused(Refused::OneShotRate) => answered("oneshot_rate", 429, ""),
            Self::Refused(Refused::OneShotsFull) => answered("oneshot_rooms_full", 503, ""),
            Self::TooManyConnections => answered(
                "too_many_connections",
                503,
                "There are as many connections as are allowed; try again later.",
            ),
            Self::AddressConnections => answered(
                "address_connections",
                429,
                "There are as many connections of your address as are allowed; close some.",
            ),
            Self::AddressRate => answered(
                "address_rate",
                429,
                "Connections of your address come too fast; try again later.",
            ),
            Self::ProxyHeader => answered(
                "proxy_header",
                400,
                "A proxy must begin with a header of the PROXY protocol, version 2.",
            ),
            Self::JoinRefused => answered(
                "join_refused",
                503,
                "The room cannot be joined now; try again later.",
            ),
            Self::HandshakeTimeout => answered(
                "handshake_timeout",
                408,
                "The request did not come in time.",
            ),
            Self::PlainHttp => answered(
                "plain_http",
                400,
                "This port speaks TLS: use https:// or wss:// instead of http:// or ws://.",
            ),
            Self::SilentTimeout => in_silence("silent_timeout"),
            Self::TlsHandshakeTimeout => in_silence("tls_handshake_timeout"),
            Self::TlsFailed => in_silence("tls_failed"),
            Self::Protocol(error) => broken(*error),
            // For a missed pong no code fits well; this one makes clients come back.
            Self::PongTimeout => closed("pong_timeout", Code::INTERNAL, "no pong in time"),
            Self::SendQueueFull => closed(
                "send_queue_full",
                Code::TRY_AGAIN_LATER,
                "too slow: the queue of this connection is full",
            ),
            // It is reset: a close frame would wait behind what its peer does not read.
            Self::QueuesFull => in_silence("queues_full"),
            Self::UnfinishedFull => closed(
                "unfinished_full",
                Code::TRY_AGAIN_LATER,
                "the unfinished messages of all connections are too much: send whole ones",
            )
            .or_answered(
                503,
                "The unfinished requests of all connections are too much; send it at once, or later.",
            ),
            Self::WriteStalled => closed(
                "write_stalled",
                Code::TRY_AGAIN_LATER,
                "too slow: nothing could be sent for too long",
            ),
            Self::RoomBusy => closed(
                "room_busy",
                Code::TRY_AGAIN_LATER,
                "the room cannot take more for now",
            ),
            Self::MessageRate => closed("message_rate", Code::POLICY, "too many messages a second"),
            Self::ControlRate => closed(
                "control_rate",
                Code::POLICY,
                "too many pings or pongs a second",
            ),
            Self::MessageTimeout => closed(
                "message_timeout",
                Code::POLICY,
                "the message did not come in time",
            ),
            Self::RoomGone => closed("room_gone", Code::INTERNAL, "the room is no more"),
            Self::RoomLost => closed(
                "room_lost",
                Code::TRY_AGAIN_LATER,
                "messages of the room may be lost: join it again",
            ),
            Self::SessionClosed(code, text) => closed("session_closed", *code, text),
            Self::Panicked => closed("panicked", Code::INTERNAL, "internal error")
                .or_answered(500, "Something went wrong here."),
            Self::Drained => closed("drained", Code::GOING_AWAY, "the server is going away")
                .or_answered(503, "The server is going away; try again."),
            Self::Aged => closed(
                "aged",
                Code::GOING_AWAY,
                "this connection has reached its age; connect again",
            ),
        }
    }

    /// A stable name, for logs and as the value of a label.
    pub fn name(&self) -> &'static str {
        self.explained().name
    }

    /// Whether the log tells of each connection that ends for it, at info and in bounded number. It tells
    /// of limits that were reached and rules that were broken, and not of ends that belong to any
    /// day: peers that leave or fall silent, pages that are served, restarts.
    pub(crate) fn is_told_of(&self) -> bool {
        match self {
            Self::TooManyConnections
            | Self::AddressConnections
            | Self::AddressRate
            | Self::ProxyHeader
            | Self::JoinRefused
            | Self::HandshakeTimeout
            | Self::TlsHandshakeTimeout
            | Self::PlainHttp
            | Self::Protocol(Error::Frame(_))
            | Self::SendQueueFull
            | Self::QueuesFull
            | Self::UnfinishedFull
            | Self::MessageRate
            | Self::ControlRate
            | Self::MessageTimeout
            | Self::WriteStalled
            | Self::RoomBusy
            | Self::RoomGone
            | Self::RoomLost
            | Self::Panicked => true,
            // These were told of with more than is known at the end.
            Self::Refused(_) | Self::Protocol(Error::Handshake(_)) | Self::TlsFailed => false,
            Self::PeerClosed(_)
            | Self::PeerGone(_)
            | Self::SocketFailed(_)
            | Self::Answered
            | Self::SilentTimeout
            | Self::PongTimeout
            | Self::SessionClosed(..)
            | Self::Drained
            | Self::Aged => false,
        }
    }

    /// One value for every reason; reasons that carry a code appear once, without it.
    pub fn all() -> impl Iterator<Item = Self> {
        PLAIN
            .into_iter()
            .chain(REACHED.map(Self::PeerGone))
            .chain(REACHED.map(Self::SocketFailed))
            .chain(REFUSED.map(Self::Refused))
            .chain(Error::all().map(Self::Protocol))
            .chain([Self::PeerClosed(None)])
    }

    /// What is counted of it, where its session has told the peer with a code of its own.
    pub(crate) fn ending_of_session(&self) -> Ending {
        Ending {
            code: OF_SESSION,
            ..self.ending(false)
        }
    }

    /// What is counted of it.
    pub(crate) fn ending(&self, was_told: bool) -> Ending {
        let Explained {
            name,
            initiator,
            code,
            ..
        } = self.explained();
        Ending {
            code: code_label(code.filter(|_| was_told)),
            initiator: initiator.label(),
            reason: name,
        }
    }
}

impl Explained {
    /// The same, for a reason that can also keep a request from its answer.
    fn or_answered(self, status: u16, sentence: &'static str) -> Self {
        let answer = Some(Said { status, sentence });
        Self { answer, ..self }
    }
}

impl Initiator {
    /// As a value of a label.
    fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Server => "server",
        }
    }
}

fn by_peer(name: &'static str, code: Option<CloseCode>) -> Explained {
    Explained {
        name,
        initiator: Initiator::Peer,
        code,
        text: "",
        answer: None,
    }
}

/// Ended by this side, and the peer is told nothing, or has been told already.
fn in_silence(name: &'static str) -> Explained {
    Explained {
        name,
        initiator: Initiator::Server,
        code: None,
        text: "",
        answer: None,
    }
}

fn closed(name: &'static str, code: CloseCode, text: &'static str) -> Explained {
    Explained {
        code: Some(code),
        text,
        ..in_silence(name)
    }
}

fn answered(name: &'static str, status: u16, sentence: &'static str) -> Explained {
    in_silence(name).or_answered(status, sentence)
}

/// A rule of the protocol was broken. Its answer is made by the codec, with a sentence of its own.
fn broken(error: Error) -> Explained {
    let explained = Explained {
        code: error.close_code(),
        ..in_silence(error.name())
    };
    match error {
        Error::Handshake(error) => explained.or_answered(error.status(), ""),
        Error::Frame(_) => explained,
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

/// The label of all close codes of sessions' own.
const OF_SESSION: &str = "application";

const REACHED: [Reached; 3] = [Reached::Nothing, Reached::Handshake, Reached::WebSocket];

const REFUSED: [Refused; 12] = [
    Refused::Origin,
    Refused::Path,
    Refused::RoomName,
    Refused::Method,
    Refused::Token,
    Refused::TokenKey,
    Refused::Right,
    Refused::Subprotocol,
    Refused::UserConnections,
    Refused::Parameter,
    Refused::OneShotRate,
    Refused::OneShotsFull,
];

/// Reasons that are one each; the others carry a code, a rule or how far it had come.
const PLAIN: [EndReason; 25] = [
    EndReason::Answered,
    EndReason::TooManyConnections,
    EndReason::AddressConnections,
    EndReason::AddressRate,
    EndReason::ProxyHeader,
    EndReason::JoinRefused,
    EndReason::HandshakeTimeout,
    EndReason::SilentTimeout,
    EndReason::TlsHandshakeTimeout,
    EndReason::TlsFailed,
    EndReason::PlainHttp,
    EndReason::PongTimeout,
    EndReason::SendQueueFull,
    EndReason::QueuesFull,
    EndReason::UnfinishedFull,
    EndReason::MessageRate,
    EndReason::ControlRate,
    EndReason::MessageTimeout,
    EndReason::WriteStalled,
    EndReason::RoomBusy,
    EndReason::RoomGone,
    EndReason::RoomLost,
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
        let reasons = EndReason::all().chain(by_peer).chain(by_session);
        let mut all: Vec<_> = reasons
            .flat_map(|reason| match reason {
                // Also before there is a WebSocket, or of a stream, or by a reset: then without a code.
                EndReason::Panicked
                | EndReason::Drained
                | EndReason::UnfinishedFull
                | EndReason::SendQueueFull
                | EndReason::WriteStalled
                | EndReason::RoomBusy
                | EndReason::RoomGone
                | EndReason::RoomLost
                | EndReason::SessionClosed(..)
                | EndReason::Aged => {
                    vec![
                        reason.ending(false),
                        reason.ending(true),
                        reason.ending_of_session(),
                    ]
                }
                EndReason::PongTimeout | EndReason::MessageRate | EndReason::ControlRate => {
                    vec![reason.ending(true), reason.ending_of_session()]
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
    // A page is no refusal, unless an upgrade was asked for.
    let refusing = EndReason::all()
        .filter(|reason| reason.explained().answer.is_some() || *reason == EndReason::Answered);
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
        3000.. => OF_SESSION,
        _ => "none",
    }
}
