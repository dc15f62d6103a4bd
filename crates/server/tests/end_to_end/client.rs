//! A WebSocket client that follows the protocol, and one request over HTTP.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use tungstenite::{
    Bytes, Error, HandshakeError, Message, WebSocket,
    client::IntoClientRequest,
    handshake::client::Response as Opened,
    http::{HeaderName, HeaderValue},
    protocol::WebSocketConfig,
};

use crate::{
    harness::{PATIENCE, Server, eventually},
    wire,
};

/// A WebSocket connection. Every call waits at most [`PATIENCE`].
pub struct Client<S = TcpStream> {
    socket: WebSocket<S>,
    opened: Opened,
}

impl Client {
    pub fn connect(server: &Server, path: &str) -> Self {
        Self::connect_to(server.address(), path, &[]).expect("101")
    }

    pub fn join(server: &Server, room: &str) -> Self {
        Self::connect(server, &format!("/rooms/{room}"))
    }

    pub fn with_fields(
        server: &Server,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        Self::connect_to(server.address(), path, fields)
    }

    /// Opens a connection, or returns the status of the answer that refused it.
    pub fn connect_to(
        address: SocketAddr,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        Self::over(wire::connect(address), path, fields)
    }

    /// Drops the connection without a close frame.
    pub fn vanish(self) {
        wire::reset(self.socket.into_inner());
    }
}

impl<S: Read + Write> Client<S> {
    /// The same over a stream that is already connected.
    pub fn over(stream: S, path: &str, fields: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://localhost{path}")
            .into_client_request()
            .unwrap();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().append(name, value);
        }
        let config = WebSocketConfig::default().max_frame_size(None);
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, opened)) => Ok(Self { socket, opened }),
            Err(HandshakeError::Failure(Error::Http(refused))) => Err(refused.status().as_u16()),
            Err(error) => panic!("neither 101 nor a refusal: {error}"),
        }
    }

    /// The subprotocol that the server has chosen.
    pub fn subprotocol(&self) -> Option<&str> {
        let chosen = self.opened.headers().get("sec-websocket-protocol")?;
        chosen.to_str().ok()
    }

    pub fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).unwrap();
    }

    /// Queues a message, which the next [`flush`](Self::flush) or [`send`](Self::send) sends.
    pub fn write(&mut self, message: impl Into<Message>) {
        self.socket.write(message.into()).unwrap();
    }

    pub fn flush(&mut self) {
        self.socket.flush().unwrap();
    }

    /// The next frame other than ping and pong (pings are answered); an error once the stream has
    /// ended.
    pub fn next(&mut self) -> Result<Message, Error> {
        loop {
            match self.socket.read() {
                Ok(Message::Ping(_)) => self.socket.flush()?,
                result => return result,
            }
        }
    }

    /// The next text or binary message.
    #[track_caller]
    pub fn receive(&mut self) -> Message {
        loop {
            match self.next() {
                Ok(Message::Pong(_)) => {}
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => return message,
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// The next message, which must be text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        self.receive().into_text().unwrap().to_string()
    }

    /// Reads up to the close frame, answers it and returns its code. The stream must end after it.
    #[track_caller]
    pub fn closed(&mut self) -> u16 {
        let code = loop {
            match self.next() {
                Ok(Message::Close(Some(frame))) => break u16::from(frame.code),
                Ok(Message::Close(None)) => panic!("a close frame without a code"),
                Ok(_) => {}
                Err(error) => panic!("no close frame but {error}"),
            }
        };
        match self.next() {
            Err(Error::ConnectionClosed) => code,
            other => panic!("after the close frame {other:?}"),
        }
    }

    /// The underlying stream.
    pub fn stream(&mut self) -> &mut S {
        self.socket.get_mut()
    }

    /// Closes the connection properly, and waits until it has ended.
    #[track_caller]
    pub fn leave(mut self) {
        self.socket.close(None).unwrap();
        loop {
            match self.next() {
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return,
                Err(error) => panic!("closing failed: {error}"),
            }
        }
    }
}

/// Binary content as a message.
pub fn binary(content: impl Into<Bytes>) -> Message {
    Message::Binary(content.into())
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// Everything that arrives until the server stops sending.
    pub fn read_from(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::parse(&bytes)
    }

    pub fn parse(bytes: &[u8]) -> Self {
        let shown = || String::from_utf8_lossy(bytes).into_owned();
        let end = wire::head_end(bytes).unwrap_or_else(|| panic!("no head: {:?}", shown()));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").expect("a status line");
        Self {
            status: status[..3].parse().unwrap(),
            head,
            body: bytes[end..].to_vec(),
        }
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    #[track_caller]
    pub fn length(&self) -> usize {
        let length = self.field("Content-Length").expect("Content-Length");
        length.parse().unwrap()
    }
}

/// Sends these bytes and reads the answer.
pub fn ask(server: &Server, request: impl AsRef<[u8]>) -> Response {
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, request.as_ref());
    Response::read_from(&mut stream)
}

/// Sends a part of a request, and reads the server's last answer. If this machine is busy and the
/// part arrives after its time, the server has not seen a part of a request: it is sent once more.
pub fn ask_in_part(server: &Server, part: impl AsRef<[u8]>) -> Response {
    let mut said = Vec::new();
    eventually("a part comes in time", || {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, part.as_ref());
        stream.read_to_end(&mut said).unwrap();
        !said.is_empty()
    });
    Response::parse(&said)
}

/// Gets a page.
pub fn get(server: &Server, path: &str) -> Response {
    ask(server, wire::request("GET", path, &[]))
}

/// Gets a page of the internal listener.
pub fn get_internal(server: &Server, path: &str) -> Response {
    let mut stream = wire::connect(server.internal());
    let request = wire::request("GET", path, &["Connection: close"]);
    wire::send(&mut stream, request.as_bytes());
    Response::read_from(&mut stream)
}

/// All samples of a scrape, by their name and labels as printed.
pub fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let page = get_internal(server, "/metrics");
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// Whether the server answers now: a new connection opens and echoes.
pub fn serves(server: &Server) -> bool {
    let stream = TcpStream::connect_timeout(&server.address(), PATIENCE).unwrap();
    wire::prepare(&stream);
    Client::over(stream, "/echo", &[]).is_ok_and(|mut client| {
        client.send("are you there?");
        client.text() == "are you there?"
    })
}
