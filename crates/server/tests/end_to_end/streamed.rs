//! A client of a session over a stream: it reads what comes on one connection, and sends commands on another.

use std::{
    io::{BufRead, BufReader, Read},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    client::{Response, ask},
    commands::{Configured, OPEN},
    harness::{Driver, Server},
    wire,
};

pub const HTTP_STREAM: &str = "/connection/http_stream";
pub const SSE: &str = "/connection/sse";
pub const EMULATION: &str = "/emulation";

/// The streams of clients that ask, and of those that never do.
pub const STREAMS: [&str; 2] = [HTTP_STREAM, SSE];
pub const ONE_WAY: [&str; 2] = ["/connection/uni_http_stream", "/connection/uni_sse"];

const PAST: &str = "read_history = [\"client\", \"anonymous\"]\nhistory_size = 100\nhistory_ttl = \"5m\"\nrecovery = \"allowed\"\n";

/// A server with rooms that are open to everybody and have a past.
pub fn open(driver: Driver, flags: &[&str]) -> Configured {
    Configured::start(driver, "", &format!("[rooms]{OPEN}{PAST}"), flags)
}

/// An answer over HTTP that lasts.
pub struct Stream {
    reader: BufReader<TcpStream>,
    pub head: Response,
    /// Of the body, what nobody has asked for yet.
    read: Vec<u8>,
    is_whole: bool,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With its last chunk.
    Whole,
    /// Without.
    Cut,
}

impl Stream {
    /// Sends a request and reads the head of its answer.
    pub fn ask(server: &Server, request: impl AsRef<[u8]>) -> Self {
        Self::over(wire::connect(server.address()), request)
    }

    /// The same over a connection of a test's own making.
    pub fn over(mut stream: TcpStream, request: impl AsRef<[u8]>) -> Self {
        wire::send(&mut stream, request.as_ref());
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        while wire::head_end(&head).is_none() {
            let read = reader.read_until(b'\n', &mut head).expect("a head");
            assert!(read > 0, "no head but {:?}", String::from_utf8_lossy(&head));
        }
        Self {
            reader,
            head: Response::parse(&head),
            read: Vec::new(),
            is_whole: false,
        }
    }

    /// Reads one more chunk; false at the end.
    fn read_chunk(&mut self) -> bool {
        let mut length = String::new();
        if self.is_whole || self.reader.read_line(&mut length).unwrap_or(0) == 0 {
            return false;
        }
        let bytes = usize::from_str_radix(length.trim(), 16).expect("a chunk's length");
        let mut chunk = vec![0; bytes + 2];
        if self.reader.read_exact(&mut chunk).is_err() {
            return false;
        }
        assert!(chunk.ends_with(b"\r\n"));
        self.read.extend_from_slice(&chunk[..bytes]);
        self.is_whole = bytes == 0;
        !self.is_whole
    }

    /// So many bytes.
    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.read_chunk(), "only {:?}", self.read);
        }
        self.read.drain(..count).collect()
    }

    /// The next line that is not empty, without `data: `; an error says how the stream ended.
    pub fn next(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.read.drain(..=end).collect();
                let line = str::from_utf8(&line).unwrap().trim_end_matches('\n');
                match line.strip_prefix("data: ").unwrap_or(line) {
                    "" => {}
                    line => return Ok(line.to_owned()),
                }
            } else if !self.read_chunk() {
                assert!(self.read.is_empty(), "half of a line: {:?}", self.read);
                return Err(match self.is_whole {
                    true => End::Whole,
                    false => End::Cut,
                });
            }
        }
    }

    /// The next event as it came, without its empty line; an error says how the stream ended.
    pub fn event(&mut self) -> Result<String, End> {
        loop {
            let end = self.read.windows(2).position(|two| two == b"\n\n");
            if let Some(end) = end {
                let event: Vec<_> = self.read.drain(..end + 2).collect();
                return Ok(str::from_utf8(&event[..end]).unwrap().to_owned());
            }
            if !self.read_chunk() {
                assert!(self.read.is_empty(), "half of an event: {:?}", self.read);
                return Err(match self.is_whole {
                    true => End::Whole,
                    false => End::Cut,
                });
            }
        }
    }

    /// The next message.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        let line = self.next().expect("a message");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The code of the disconnect that ends the stream, other messages aside, and how that ended.
    #[track_caller]
    pub fn closed(&mut self) -> (u64, End) {
        let mut code = None;
        loop {
            match self.next() {
                Ok(line) => {
                    let said: Value = serde_json::from_str(&line).unwrap();
                    let disconnect = match &said["push"] {
                        Value::Null => &said["disconnect"],
                        push => &push["disconnect"],
                    };
                    assert_eq!(code, None, "nothing comes behind the last words: {line}");
                    code = disconnect["code"].as_u64();
                }
                Err(end) => return (code.expect("a disconnect"), end),
            }
        }
    }
}

/// A session over a stream.
pub struct Streamed {
    pub stream: Stream,
    pub session: String,
    pub node: String,
}

impl Streamed {
    /// A session of somebody without a token, over one of the paths.
    #[track_caller]
    pub fn anonymous(server: &Server, path: &str) -> Self {
        let first = r#"{"id":1,"connect":{}}"#;
        let mut stream = Stream::ask(server, begin(path, first));
        assert_eq!(stream.head.status, 200);
        let reply = stream.reply();
        assert_eq!(reply["id"], 1, "{reply}");
        let text = |of: &Value| of.as_str().expect("a text").to_owned();
        Self {
            session: text(&reply["connect"]["session"]),
            node: text(&reply["connect"]["node"]),
            stream,
        }
    }

    /// Sends a frame on a connection of its own.
    #[track_caller]
    pub fn send(&self, server: &Server, frame: &str) {
        let sent = emulate(server, &self.session, &self.node, frame);
        assert_eq!(sent.status, 204, "{sent:?}");
    }

    /// Sends a command and reads up to its reply.
    #[track_caller]
    pub fn ask(&mut self, server: &Server, command: &str) -> Value {
        let asked: Value = serde_json::from_str(command).unwrap();
        self.send(server, command);
        loop {
            let reply = self.stream.reply();
            if reply["id"] == asked["id"] {
                return reply;
            }
        }
    }
}

/// The request that opens a stream at this path with this frame.
pub fn begin(path: &str, frame: &str) -> String {
    match path.ends_with("sse") {
        true => {
            let frame =
                percent_encoding::utf8_percent_encode(frame, percent_encoding::NON_ALPHANUMERIC);
            wire::request("GET", &format!("{path}?cf_connect={frame}"), &[])
        }
        false => post(path, &[], frame),
    }
}

/// A request with a body.
pub fn post(path: &str, fields: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    wire::request("POST", path, &[&[&*length], fields].concat()) + body
}

/// Sends commands for a session.
pub fn emulate(server: &Server, session: &str, node: &str, data: &str) -> Response {
    let body = json!({ "session": session, "node": node, "data": data });
    let fields = ["Content-Type: application/json", "Connection: close"];
    ask(server, post(EMULATION, &fields, &body.to_string()))
}
