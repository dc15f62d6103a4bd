//! Bytes on the wire, valid and invalid: requests, frames, and a connection that sends given bytes.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, SocketAddrV4, TcpStream},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::{PATIENCE, Server};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const MASK: [u8; 4] = [0x1f, 0x2e, 0x3d, 0x4c];

/// Connects; no call on the stream takes longer than [`PATIENCE`].
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connected");
    prepare(&stream);
    stream
}

pub fn prepare(stream: &TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
}

/// Connects with a receive buffer of about this size: with a small one the server soon notices that
/// its peer does not read.
pub fn connect_narrow(address: SocketAddr, receive_buffer: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(receive_buffer).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    prepare(&stream);
    stream
}

/// Connects from this address of this machine.
pub fn connect_from(source: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream = TcpStream::from(socket);
    prepare(&stream);
    stream
}

/// A header of the PROXY protocol, version 2: its command, its family, and what follows.
pub fn proxy_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend(rest);
    header
}

/// A header that names this client, which connects to 192.0.2.1:443.
pub fn proxy_for(client: SocketAddrV4) -> Vec<u8> {
    let mut rest = client.ip().octets().to_vec();
    rest.extend([192, 0, 2, 1]);
    rest.extend(client.port().to_be_bytes());
    rest.extend(443_u16.to_be_bytes());
    proxy_header(0x21, 0x11, &rest)
}

/// Closes the stream by a reset.
pub fn reset(stream: TcpStream) {
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends all of it; the server may have closed the connection meanwhile.
pub fn send(stream: &mut impl Write, bytes: &[u8]) {
    match stream.write_all(bytes) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        Err(error) => panic!("sending failed: {error}"),
    }
}

/// A request with these fields in addition to Host.
pub fn request(method: &str, target: &str, fields: &[&str]) -> String {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for field in fields {
        request += field;
        request += "\r\n";
    }
    request + "\r\n"
}

/// The fields of a handshake (the key is that of RFC 6455 section 1.3).
pub const UPGRADE: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// A handshake's request.
pub fn upgrade(target: &str) -> String {
    request("GET", target, &UPGRADE)
}

/// The end of a head, including its empty line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

/// A whole message in one frame, masked.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked(0x80 | opcode, payload)
}

/// A frame with this first byte, masked.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0x80, payload.len());
    frame.extend(MASK);
    let mask = MASK.iter().cycle();
    frame.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame that a client must not send.
pub fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(0x80 | opcode, 0, payload.len());
    frame.extend(payload);
    frame
}

fn header(first: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => header.push(mask_bit | length),
        (_, Ok(length)) => {
            header.push(mask_bit | 126);
            header.extend(length.to_be_bytes());
        }
        _ => {
            header.push(mask_bit | 127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
}

/// A close frame.
pub fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// The code of a close frame.
    #[track_caller]
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode(), CLOSE, "{self:?}");
        let code = self
            .payload
            .first_chunk()
            .expect("a close frame with a code");
        u16::from_be_bytes(*code)
    }

    /// Removes the first frame from the received bytes, if it is whole.
    fn take(received: &mut Vec<u8>) -> Option<Self> {
        let [first, length, rest @ ..] = received.as_slice() else {
            return None;
        };
        assert_eq!(length & 0x80, 0, "servers do not mask");
        let (start, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*rest.first_chunk()?) as usize),
            length => (2, usize::from(*length)),
        };
        let payload = received.get(start..start + length)?.to_vec();
        let frame = Self {
            first: *first,
            payload,
        };
        received.drain(..start + length);
        Some(frame)
    }
}

/// What came next on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Frame(Frame),
    /// The server has stopped sending, at a frame's boundary.
    End,
    /// A reset, or the end inside a frame.
    Cut,
}

impl Heard {
    /// Whether the connection is over, in whatever way.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::End | Self::Cut)
    }
}

/// An open WebSocket whose owner controls every byte.
pub struct Raw<S = TcpStream> {
    pub stream: S,
    /// The head of the 101.
    pub head: String,
    received: Vec<u8>,
}

impl Raw {
    /// Opens a connection as a good client does.
    pub fn open(server: &Server, path: &str) -> Self {
        Self::over(connect(server.address()), upgrade(path))
    }
}

impl<S: Read + Write> Raw<S> {
    /// Sends this request, with whatever follows it, and reads the head of the 101.
    pub fn over(stream: S, request: impl AsRef<[u8]>) -> Self {
        let mut raw = Self {
            stream,
            head: String::new(),
            received: Vec::new(),
        };
        raw.send(request);
        raw.opened();
        raw
    }

    /// Reads the head of the 101 and nothing after it.
    #[track_caller]
    fn opened(&mut self) {
        let end = loop {
            if let Some(end) = head_end(&self.received) {
                break end;
            }
            assert!(self.read().is_some_and(|bytes| bytes > 0), "no head");
        };
        let head: Vec<_> = self.received.drain(..end).collect();
        self.head = String::from_utf8(head).unwrap();
        assert!(self.head.starts_with("HTTP/1.1 101 "), "{}", self.head);
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        send(&mut self.stream, bytes.as_ref());
    }

    /// The next frame, or how the stream ends.
    #[track_caller]
    pub fn next(&mut self) -> Heard {
        loop {
            if let Some(frame) = Frame::take(&mut self.received) {
                return Heard::Frame(frame);
            }
            match self.read() {
                Some(0) if self.received.is_empty() => return Heard::End,
                Some(0) | None => return Heard::Cut,
                Some(_) => {}
            }
        }
    }

    /// The next frame, which must come.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        match self.next() {
            Heard::Frame(frame) => frame,
            other => panic!("no frame but {other:?}"),
        }
    }

    /// The next frame that is neither ping nor pong.
    #[track_caller]
    pub fn message(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if !matches!(frame.opcode(), PING | PONG) {
                return frame;
            }
        }
    }

    fn read(&mut self) -> Option<usize> {
        let mut buffer = [0; 64 << 10];
        match self.stream.read(&mut buffer) {
            Ok(bytes) => {
                self.received.extend_from_slice(&buffer[..bytes]);
                Some(bytes)
            }
            // A TLS client reports an end without close_notify as the latter.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
                ) =>
            {
                None
            }
            Err(error) => panic!("receiving failed: {error}"),
        }
    }
}
