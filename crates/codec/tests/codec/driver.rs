//! Feeds bytes to a connection as a caller would, in any pieces, and records what came of it.
//!
//! Also the bodies of the fuzz targets, which the corpus test runs too.

use codec::{
    CloseCode, Connection, Error, Event, Kind, Limits, Message, Phase, Request, ResponseHead,
    negotiate,
};

/// An event that outlives the input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Request {
        method: String,
        target: String,
        host: String,
    },
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseCode>),
    Failed(Error),
}

/// What came of some input.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome {
    pub seen: Vec<Seen>,
    pub sent: Vec<u8>,
    pub phase: Phase,
}

/// A connection, its caller, and a record.
pub struct Driver {
    pub connection: Connection,
    pub limits: Limits,
    pub seen: Vec<Seen>,
    pub sent: Vec<u8>,
    /// Call `close` once this many events were seen.
    pub close_after: Option<usize>,
    fed_bytes: usize,
}

/// A head that may be answered with a 101.
pub const HANDSHAKE: &str = "GET /room?a=b HTTP/1.1\r\nHost: example.com:80\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, chat\r\n\r\n";

impl Driver {
    pub fn new(limits: Limits) -> Self {
        Self {
            connection: Connection::new(),
            limits,
            seen: Vec::new(),
            sent: Vec::new(),
            close_after: None,
            fed_bytes: 0,
        }
    }

    /// Already in the phase Open.
    pub fn open(limits: Limits) -> Self {
        let mut driver = Self::new(Limits::default());
        driver.feed(HANDSHAKE.as_bytes());
        assert_eq!(driver.connection.phase(), Phase::Open);
        Self {
            connection: driver.connection,
            ..Self::new(limits)
        }
    }

    pub fn feed(&mut self, piece: &[u8]) {
        self.fed_bytes += piece.len();
        let mut input = piece.to_vec();
        let mut rest = &mut input[..];
        loop {
            let before = rest.len();
            let phase = self.connection.phase();
            let step = self.connection.receive(rest, &self.limits);
            let consumed = step.consumed;
            assert!(consumed <= before);
            assert!(phase != Phase::Closed || (consumed == before && step.event.is_none()));
            let request = match step.event {
                None if consumed == before => break,
                None => panic!("neither everything was consumed nor an event came"),
                Some(Event::Request(request)) => Some(judge(&request, &mut self.seen)),
                Some(event) => {
                    self.seen.push(Seen::from(&event));
                    None
                }
            };
            if let Some(request) = request {
                request.answer(&mut self.connection, &mut self.sent);
            }
            self.settle();
            rest = &mut rest[consumed..];
        }
        self.check_memory();
    }

    pub fn outcome(self) -> Outcome {
        Outcome {
            seen: self.seen,
            sent: self.sent,
            phase: self.connection.phase(),
        }
    }

    fn settle(&mut self) {
        let owed = self.connection.owes();
        let before = self.sent.len();
        assert_eq!(self.connection.transmit(&mut self.sent).any(), owed);
        assert_eq!(self.sent.len() > before, owed);
        assert!(!self.connection.owes());
        if self.close_after == Some(self.seen.len()) {
            let open = self.connection.phase() == Phase::Open;
            let closed = self
                .connection
                .close(CloseCode::NORMAL, "bye", &mut self.sent);
            assert_eq!(closed, open);
        }
    }

    /// Memory follows what arrived. Vectors double, and start with 8 bytes.
    fn check_memory(&self) {
        let held = self.connection.buffered_bytes();
        assert!(
            held <= 2 * self.fed_bytes + 128,
            "{held} bytes held of {}",
            self.fed_bytes
        );
    }
}

fn judge(request: &Request<'_>, seen: &mut Vec<Seen>) -> Verdict {
    assert!(request.host().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(request.path() == "*" || request.path().starts_with('/'));
    assert!(!request.path().contains('?'));
    assert!(request.subprotocols().all(|offered| !offered.is_empty()));
    seen.push(Seen::Request {
        method: request.method().into(),
        target: request.target().into(),
        host: request.host().into(),
    });
    match request.upgrade() {
        Ok(upgrade) => {
            assert!(request.wants_upgrade());
            Verdict::Accept(upgrade.accept, negotiate(request, &["chat", "a"]))
        }
        Err(error) if request.wants_upgrade() => Verdict::Refuse(error),
        Err(_) => Verdict::Respond,
    }
}

enum Verdict {
    Accept(codec::AcceptKey, Option<&'static str>),
    Refuse(codec::HandshakeError),
    Respond,
}

impl Verdict {
    fn answer(self, connection: &mut Connection, out: &mut Vec<u8>) {
        assert_eq!(connection.phase(), Phase::Answering);
        match self {
            Self::Accept(accept, subprotocol) => connection.accept(&accept, subprotocol, out),
            Self::Refuse(error) => connection.refuse(error, out),
            Self::Respond => connection.respond(
                &ResponseHead {
                    status: 404,
                    fields: &[],
                    content_length: 0,
                },
                out,
            ),
        }
    }
}

impl From<&Event<'_>> for Seen {
    fn from(event: &Event<'_>) -> Self {
        match event {
            Event::Request(_) => unreachable!("requests are judged"),
            Event::Message(Message { kind, payload, .. }) => {
                assert!(*kind == Kind::Binary || str::from_utf8(payload).is_ok());
                Self::Message(*kind, payload.to_vec())
            }
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(code) => Self::Close(*code),
            Event::Failed(error) => Self::Failed(*error),
        }
    }
}

/// Body of the fuzz target `connection`. The first byte says where to begin and when to close,
/// the second how to cut the rest into pieces.
pub fn fuzz_connection(bytes: &[u8]) {
    let [mode, seed, wire @ ..] = bytes else {
        return;
    };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut driver = if mode & 1 == 1 {
            Driver::open(tight())
        } else {
            Driver::new(tight())
        };
        driver.close_after = Some(usize::from(mode >> 1)).filter(|events| *events > 0);
        pieces.for_each(|piece| driver.feed(piece));
        driver.outcome()
    };
    let whole = run(&mut std::iter::once(wire));
    assert_eq!(run(&mut pieces(wire, *seed)), whole);
    assert_eq!(run(&mut wire.chunks(1)), whole);
}

/// Body of the fuzz target `handshake`: the first byte says how to cut the rest into pieces.
pub fn fuzz_handshake(bytes: &[u8]) {
    let [seed, head @ ..] = bytes else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut driver = Driver::new(Limits::default());
        pieces.for_each(|piece| driver.feed(piece));
        driver.outcome()
    };
    let whole = run(&mut std::iter::once(head));
    assert_eq!(run(&mut pieces(head, *seed)), whole);
    if let Some(Seen::Request { .. }) = whole.seen.first() {
        check_lines(head);
    }
}

/// What was taken for a head has CR LF between its lines and no control character in them.
fn check_lines(head: &[u8]) {
    let text = head.trim_ascii_start();
    let end = text
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head ends");
    for line in String::from_utf8_lossy(&text[..end]).split("\r\n") {
        assert!(!line.starts_with([' ', '\t']), "folded: {line:?}");
        assert!(
            !line.contains(|c: char| c.is_ascii_control() && c != '\t'),
            "{line:?}"
        );
    }
}

/// Small enough for a fuzzer to exceed.
fn tight() -> Limits {
    Limits {
        head_bytes_max: 512,
        head_fields_max: 12,
        request_line_bytes_max: 64,
        message_bytes_max: 300,
        message_fragments_max: 4,
    }
}

/// Cuts of 1 to 16 bytes that follow from the seed.
fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed) | 0x100;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (1 + (state >> 28) as usize).min(bytes.len());
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (length > 0).then_some(piece)
    })
}
