//! Feeds bytes to a connection as a caller would, in any pieces, and records what came of it.
//!
//! Also the bodies of the fuzz targets, which the corpus test runs too.

use codec::{
    BodyFraming, CloseCode, Connection, Deflate, DeflatePolicy, Error, Event, Inflater, Kind,
    Limits, Message, Phase, Request, ResponseHead, Transmitted, chunk, negotiate,
};

/// An event that outlives the input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Request {
        method: String,
        target: String,
        host: String,
    },
    Body(Vec<u8>),
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
    /// What to agree to of what is offered.
    pub policy: Option<DeflatePolicy>,
    /// Take bodies, and keep the connection where that is possible.
    pub serves_http: bool,
    inflater: Inflater,
    fed_bytes: usize,
    /// Of all messages, before compression.
    message_bytes: usize,
}

/// Agrees to all there is.
pub const TAKEOVER: DeflatePolicy = DeflatePolicy {
    window_bits: 15,
    server_takeover: true,
    client_takeover: true,
};

/// The example of RFC 9110 section 5.6.7.
pub const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

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
            policy: None,
            serves_http: false,
            inflater: Inflater::default(),
            fed_bytes: 0,
            message_bytes: 0,
        }
    }

    /// Already in the phase Open.
    pub fn open(limits: Limits) -> Self {
        Self::open_after(HANDSHAKE, None, limits)
    }

    /// Already in the phase Open, with what this offer comes to.
    pub fn compressed(offer: &str, policy: DeflatePolicy, limits: Limits) -> Self {
        let driver = Self::open_after(&offering(offer), Some(policy), limits);
        assert!(driver.connection.deflate().is_some(), "{offer}");
        driver
    }

    fn open_after(head: &str, policy: Option<DeflatePolicy>, limits: Limits) -> Self {
        let mut driver = Self::new(Limits::default());
        driver.policy = policy;
        driver.feed(head.as_bytes());
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
            let step = self
                .connection
                .receive(rest, &self.limits, &mut self.inflater);
            let consumed = step.consumed;
            assert!(consumed <= before);
            assert!(phase != Phase::Closed || (consumed == before && step.event.is_none()));
            let is_silent = step.event.is_none();
            let verdict = match step.event {
                None => None,
                Some(Event::Request(request)) => {
                    let verdict = judge(&request, self.policy.as_ref(), &mut self.seen);
                    Some(verdict.or_serve(self.serves_http, &request))
                }
                Some(Event::Body(body)) => {
                    self.seen.push(Seen::Body(body.to_vec()));
                    // Some are streamed.
                    Some(Verdict::Serve(
                        Some(body.len()).filter(|bytes| bytes % 2 == 0),
                    ))
                }
                Some(Event::Failed(Error::Handshake(error))) => {
                    self.seen.push(Seen::Failed(error.into()));
                    Some(Verdict::Refuse(error))
                }
                Some(event) => {
                    if let Event::Message(message) = &event {
                        self.message_bytes += message.payload.len();
                    }
                    self.seen.push(Seen::from(&event));
                    None
                }
            };
            if is_silent && !self.connection.is_inflating() {
                if consumed == before {
                    break;
                }
                assert!(consumed > 0, "neither anything was consumed nor found");
            }
            if let Some(verdict) = verdict {
                verdict.answer(&mut self.connection, &mut self.sent);
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
        let transmitted = self.connection.transmit(&mut self.sent);
        assert_eq!(transmitted != Transmitted::default(), owed);
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

    /// Memory follows what arrived. Vectors double, and start with 8 bytes. What messages were
    /// before compression is held for later ones, up to the largest window.
    fn check_memory(&self) {
        let held = self.connection.buffered_bytes();
        let window = match self.connection.deflate() {
            Some(agreed) if agreed.client_takeover => (2 * self.message_bytes).min(1 << 15),
            _ => 0,
        };
        assert!(
            held <= 2 * self.fed_bytes + window + 128,
            "{held} bytes held of {}",
            self.fed_bytes
        );
    }
}

/// [`HANDSHAKE`] with an offer of extensions.
pub fn offering(offer: &str) -> String {
    let field = format!("\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
    HANDSHAKE.replacen("\r\n\r\n", &field, 1)
}

fn judge(request: &Request<'_>, policy: Option<&DeflatePolicy>, seen: &mut Vec<Seen>) -> Verdict {
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
            let deflate = policy.and_then(|policy| request.deflate(policy));
            Verdict::Accept(upgrade.accept, negotiate(request, &["chat", "a"]), deflate)
        }
        Err(error) if request.wants_upgrade() => Verdict::Refuse(error),
        Err(_) => Verdict::Respond,
    }
}

/// Of a response that is not an error of the codec's own.
const BODY: &[u8] = b"nobody";

enum Verdict {
    Accept(codec::AcceptKey, Option<&'static str>, Option<Deflate>),
    Refuse(codec::HandshakeError),
    Respond,
    TakeBody,
    /// With a body of this length, or one that is streamed, and to be kept.
    Serve(Option<usize>),
}

impl Verdict {
    /// With a target that ends in `!` the body is not taken.
    fn or_serve(self, serves_http: bool, request: &Request<'_>) -> Self {
        match self {
            Self::Respond if !serves_http => Self::Respond,
            Self::Respond if request.body_bytes() > 0 && !request.target().ends_with('!') => {
                Self::TakeBody
            }
            Self::Respond => Self::Serve(Some(request.target().len())),
            other => other,
        }
    }

    fn answer(self, connection: &mut Connection, out: &mut Vec<u8>) {
        assert_eq!(connection.phase(), Phase::Answering);
        match self {
            Self::Accept(accept, subprotocol, deflate) => {
                connection.accept(&accept, subprotocol, deflate, out);
                assert_eq!(connection.deflate(), deflate);
            }
            Self::Refuse(error) => connection.refuse(error, Some(DATE), out),
            Self::Respond => {
                let head = ResponseHead {
                    status: 404,
                    date: Some(DATE),
                    fields: &[],
                    content_length: Some(BODY.len()),
                    keep: false,
                };
                if connection.respond(&head, out) == BodyFraming::Plain {
                    out.extend(BODY);
                }
                assert_eq!(connection.phase(), Phase::Closed);
            }
            Self::TakeBody => {
                assert!(connection.take_body(out));
                assert_eq!(connection.phase(), Phase::Body);
            }
            Self::Serve(content_length) => serve(connection, content_length, out),
        }
    }
}

/// Answers with a body of as many bytes, or with a streamed one.
fn serve(connection: &mut Connection, content_length: Option<usize>, out: &mut Vec<u8>) {
    let head = ResponseHead {
        status: 200,
        date: None,
        fields: &[],
        content_length,
        keep: true,
    };
    match connection.respond(&head, out) {
        BodyFraming::None => {}
        BodyFraming::Plain => out.extend(vec![b'.'; content_length.unwrap_or(3)]),
        BodyFraming::Chunked => chunk::encode(b"a chunk", out),
    }
    connection.finish_response(out);
    let phase = connection.phase();
    assert!(
        matches!(phase, Phase::Handshake | Phase::Closed),
        "{phase:?}"
    );
}

impl From<&Event<'_>> for Seen {
    fn from(event: &Event<'_>) -> Self {
        match event {
            Event::Request(_) | Event::Body(_) => unreachable!("requests are judged"),
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

/// Body of the fuzz target `connection`. The first byte says where to begin, whether HTTP is served
/// and when to close, the second how to cut the rest into pieces.
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
        driver.policy = Some(TAKEOVER);
        driver.serves_http = mode & 0x80 != 0;
        driver.close_after = Some(usize::from(mode >> 1 & 0x3f)).filter(|events| *events > 0);
        pieces.for_each(|piece| driver.feed(piece));
        driver.outcome()
    };
    let whole = run(&mut std::iter::once(wire));
    assert_eq!(run(&mut pieces(wire, *seed)), whole);
    assert_eq!(run(&mut wire.chunks(1)), whole);
}

/// Body of the fuzz target `deflate`: frames for a connection with compression. The first byte
/// says what is agreed, the second the limits, the third how to cut the rest into pieces.
pub fn fuzz_deflate(bytes: &[u8]) {
    let [agreed, limit, seed, wire @ ..] = bytes else {
        return;
    };
    let bits = 8 + (agreed & 7);
    let offer = format!("permessage-deflate; client_max_window_bits={bits}");
    let policy = DeflatePolicy {
        client_takeover: agreed & 8 == 0,
        ..TAKEOVER
    };
    let limits = Limits {
        message_bytes_max: 16 << (limit & 15),
        message_fragments_max: 1 + u32::from(limit >> 4),
        ..Limits::default()
    };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut driver = Driver::compressed(&offer, policy, limits.clone());
        driver.close_after = Some(usize::from(agreed >> 4)).filter(|events| *events > 0);
        pieces.for_each(|piece| driver.feed(piece));
        driver.outcome()
    };
    let whole = run(&mut std::iter::once(wire));
    for seen in &whole.seen {
        if let Seen::Message(_, payload) = seen {
            assert!(payload.len() <= limits.message_bytes_max);
        }
    }
    assert_eq!(run(&mut pieces(wire, *seed)), whole);
    assert_eq!(run(&mut wire.chunks(1)), whole);
}

/// Body of the fuzz target `handshake`: the first byte says how to cut the rest into pieces.
pub fn fuzz_handshake(bytes: &[u8]) {
    let [seed, head @ ..] = bytes else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut driver = Driver::new(Limits::default());
        driver.policy = Some(TAKEOVER);
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
        long_targets: &["/long?"],
        long_head_bytes_max: 1024,
        body_bytes_max: 100,
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
