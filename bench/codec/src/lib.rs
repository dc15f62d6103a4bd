//! The input of the codec's benchmarks: messages and requests as clients send them, ready to be
//! read.
//!
//! Everything here except [`Arriving::read`] and [`Asking::answer`] runs before counting starts.

use std::hint::black_box;

use codec::frame::encode_masked;
use codec::{Connection, Event, Inflater, Kind, Limits};

/// The number of times that each benchmark does its work, so that the overhead around it is
/// negligible.
pub const TIMES: usize = 32;

/// Payload bytes of the message that arrives in pieces.
pub const CUT_MESSAGE_BYTES: usize = 16 * 1024;

/// A request with only the fields that RFC 6455 section 4.2.1 requires.
pub const REQUEST_SHORT: &str = "GET /room/lobby HTTP/1.1\r\n\
    Host: chat.example.org\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A request as a browser sends it, without a proxy.
pub const REQUEST_BROWSER: &str = "GET /room/lobby HTTP/1.1\r\n\
    Host: chat.example.org\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://chat.example.org\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,el;q=0.8\r\n\
    Cookie: session=4bf92f3577b34da6a3ce929d0e0e4736; theme=dark\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// An open connection, and the bytes that its socket will deliver.
pub struct Arriving {
    connection: Connection,
    limits: Limits,
    inflater: Inflater,
    /// The bytes of each receive.
    receives: Vec<Vec<u8>>,
    out: Vec<u8>,
    events: usize,
    payload_bytes: usize,
    expected_bytes: usize,
}

impl Arriving {
    /// Binary messages, each in a receive of its own.
    #[must_use]
    pub fn binary(payload_bytes: usize) -> Self {
        let frame = frame(Kind::Binary, &ascii(payload_bytes));
        Self::new(vec![frame; TIMES], payload_bytes)
    }

    /// Text messages of ASCII, each in a receive of its own.
    #[must_use]
    pub fn text(payload_bytes: usize) -> Self {
        let frame = frame(Kind::Text, &ascii(payload_bytes));
        Self::new(vec![frame; TIMES], payload_bytes)
    }

    /// Text messages of two-byte characters, each in a receive of its own.
    #[must_use]
    pub fn greek(payload_bytes: usize) -> Self {
        let frame = frame(Kind::Text, &greek(payload_bytes));
        Self::new(vec![frame; TIMES], payload_bytes)
    }

    /// Text messages of ASCII, all in one receive.
    #[must_use]
    pub fn deep(payload_bytes: usize) -> Self {
        let frame = frame(Kind::Text, &ascii(payload_bytes));
        Self::new(vec![frame.repeat(TIMES)], payload_bytes)
    }

    /// Text messages of ASCII, each in receives of `piece_bytes`.
    #[must_use]
    pub fn ascii_in_pieces(piece_bytes: usize) -> Self {
        Self::in_pieces(&ascii(CUT_MESSAGE_BYTES), piece_bytes)
    }

    /// Text messages of two-byte characters, each in receives of `piece_bytes`.
    #[must_use]
    pub fn greek_in_pieces(piece_bytes: usize) -> Self {
        Self::in_pieces(&greek(CUT_MESSAGE_BYTES), piece_bytes)
    }

    /// Pings, each in a receive of its own.
    #[must_use]
    pub fn pings(payload_bytes: usize) -> Self {
        let mut frame = Vec::new();
        let payload = ascii(payload_bytes);
        encode_masked(codec::Opcode::Ping, true, KEY, &payload, &mut frame);
        Self::new(vec![frame; TIMES], payload_bytes)
    }

    fn in_pieces(payload: &[u8], piece_bytes: usize) -> Self {
        let frame = frame(Kind::Text, payload);
        let pieces = frame.chunks(piece_bytes).map(<[u8]>::to_vec);
        let receives = pieces
            .cycle()
            .take(frame.len().div_ceil(piece_bytes) * TIMES);
        Self::new(receives.collect(), payload.len())
    }

    fn new(receives: Vec<Vec<u8>>, payload_bytes: usize) -> Self {
        // The first text and the first handshake of a process detect the features of the processor.
        let mut first = Self::open(vec![frame(Kind::Text, &greek(256))], 0);
        first.read();
        Self::open(receives, payload_bytes * TIMES)
    }

    fn open(receives: Vec<Vec<u8>>, expected_bytes: usize) -> Self {
        let mut asking = Asking::one(REQUEST_SHORT);
        asking.answer();
        Self {
            connection: asking.connections.remove(0),
            limits: Limits::default(),
            inflater: Inflater::default(),
            receives,
            out: Vec::with_capacity(1024),
            events: 0,
            payload_bytes: 0,
            expected_bytes,
        }
    }

    /// Reads the input as a server does: each receive up to its last event, then the owed frames.
    pub fn read(&mut self) {
        for receive in &mut self.receives {
            let mut rest = receive.as_mut_slice();
            loop {
                let step = self
                    .connection
                    .receive(rest, &self.limits, &mut self.inflater);
                let consumed = step.consumed;
                match black_box(step.event) {
                    None => break,
                    Some(Event::Message(message)) => self.payload_bytes += message.payload.len(),
                    Some(Event::Ping(payload)) => {
                        self.payload_bytes += payload.len();
                        self.out.clear();
                        self.connection.transmit(&mut self.out);
                    }
                    Some(_) => return,
                }
                self.events += 1;
                rest = &mut rest[consumed..];
            }
        }
    }

    /// # Panics
    /// If some input was not read.
    pub fn check(&self) {
        assert_eq!(self.events, TIMES);
        assert_eq!(self.payload_bytes, self.expected_bytes);
    }
}

/// New connections, and a request for each.
pub struct Asking {
    connections: Vec<Connection>,
    requests: Vec<Vec<u8>>,
    limits: Limits,
    inflater: Inflater,
    out: Vec<u8>,
    accepted: usize,
}

impl Asking {
    /// Connections that all send this request.
    #[must_use]
    pub fn all(request: &str) -> Self {
        // Detects the processor's features, as `Arriving::new` does.
        Self::one(REQUEST_SHORT).answer();
        Self::new(request, TIMES)
    }

    fn one(request: &str) -> Self {
        Self::new(request, 1)
    }

    fn new(request: &str, connections: usize) -> Self {
        Self {
            connections: (0..connections).map(|_| Connection::new()).collect(),
            requests: vec![request.as_bytes().to_vec(); connections],
            limits: Limits::default(),
            inflater: Inflater::default(),
            out: Vec::with_capacity(1024),
            accepted: 0,
        }
    }

    /// Reads each request and answers it with a 101.
    pub fn answer(&mut self) {
        for (connection, request) in self.connections.iter_mut().zip(&mut self.requests) {
            self.out.clear();
            let step = connection.receive(request, &self.limits, &mut self.inflater);
            let Some(Event::Request(request)) = black_box(step.event) else {
                return;
            };
            let Ok(upgrade) = request.upgrade() else {
                return;
            };
            connection.accept(&upgrade.accept, None, None, &mut self.out);
            self.accepted += 1;
        }
    }

    /// # Panics
    /// If a connection was not opened.
    pub fn check(&self) {
        assert_eq!(self.accepted, TIMES);
    }
}

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(kind.into(), true, KEY, payload, &mut frame);
    frame
}

/// Letters and spaces.
#[must_use]
pub fn ascii(bytes: usize) -> Vec<u8> {
    b"hubbub ".iter().copied().cycle().take(bytes).collect()
}

/// Characters of two bytes; one of a single byte at the end where `bytes` is odd.
fn greek(bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> = "θόρυβος".bytes().cycle().take(bytes / 2 * 2).collect();
    text.resize(bytes, b'.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_every_kind_of_arrival_is_whole() {
        for bytes in [0, 1, 20, 125, 126, 1024, 16 * 1024] {
            for make in [
                Arriving::binary,
                Arriving::text,
                Arriving::greek,
                Arriving::deep,
            ] {
                let mut arriving = make(bytes);
                arriving.read();
                arriving.check();
            }
        }
        for piece_bytes in [1, 63, 1024, 4096] {
            for make in [Arriving::ascii_in_pieces, Arriving::greek_in_pieces] {
                let mut arriving = make(piece_bytes);
                arriving.read();
                arriving.check();
            }
        }
        let mut pings = Arriving::pings(8);
        pings.read();
        pings.check();
    }

    #[test]
    fn answer_every_request_is_accepted() {
        for request in [REQUEST_SHORT, REQUEST_BROWSER] {
            let mut asking = Asking::all(request);
            asking.answer();
            asking.check();
        }
    }
}
