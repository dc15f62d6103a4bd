//! An application with streams and bodies over HTTP, and a client that reads its answers byte by byte.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use codec::{Kind, Message, Request};
use hub::RoomName;
use runtime::{
    Answer, Application, AtCost, BodyEncoder, BodyForm, Delivered, EndReason, KeepAlive, Lag,
    Opening, Outlet, Pings, RoomEvent, Route, Session, SessionEvent, Streaming, TakeBody, Taken,
    Tally,
};

use socket2::{Domain, Socket, Type};

use crate::harness::{PATIENCE, Running, publish};

/// A line for each message.
const LINES: BodyForm = BodyForm(1);

/// What is sent to whom from time to time.
pub const BEAT: &[u8] = b": still here\n";

/// | Path | What it is |
/// |---|---|
/// | `/rooms/{room}` | a WebSocket whose messages are published in the room |
/// | `/lines/{room}` | a stream of the room's messages, a line each |
/// | `/cost/{room}` | the same, decided at a cost, and refused without a room |
/// | `/raw/{room}` | the same as they were published |
/// | `/beats` | a stream of heartbeats |
/// | `/user/{name}` | a stream that greets and then says what its user is told |
/// | `/echo` | answers with the body, and keeps the connection |
/// | `/once` | the same, and closes it |
/// | `/panic` | panics over the body |
/// | everything else | a page |
#[derive(Clone, Default)]
pub struct Pages {
    /// The paths of all requests that were routed.
    pub routed: Arc<Mutex<Vec<String>>>,
}

impl Application for Pages {
    fn protocols(&self) -> Vec<&'static str> {
        vec!["web_socket", "stream"]
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Lines))
    }

    fn route(&self, request: &Request<'_>) -> Route {
        let path = request.path();
        self.routed.lock().unwrap().push(path.into());
        let mut parts = path[1..].splitn(2, '/');
        let (kind, name) = (parts.next().unwrap(), parts.next());
        match kind {
            "rooms" => web_socket(name.unwrap()),
            "lines" => Route::Stream(stream(name, LINES, KeepAlive::Nothing, Listener(None))),
            "cost" => {
                let opens =
                    name.map(|name| stream(Some(name), LINES, KeepAlive::Nothing, Listener(None)));
                Route::StreamAtCost(AtCost {
                    decide: Box::new(|| opens.ok_or_else(|| Answer::text(401, "who is it?"))),
                    held_bytes: 0,
                })
            }
            "raw" => Route::Stream(stream(
                name,
                BodyForm::RAW,
                KeepAlive::Nothing,
                Listener(None),
            )),
            "beats" => {
                let beats = KeepAlive::Bytes(Bytes::from_static(BEAT));
                Route::Stream(stream(None, LINES, beats, Listener(None)))
            }
            "user" => {
                let listener = Listener(name.map(String::from));
                Route::Stream(stream(None, LINES, KeepAlive::Nothing, listener))
            }
            "own" => Route::Stream(Streaming {
                session: Box::new(Pinging),
                ..stream(None, LINES, KeepAlive::Messages, Listener(None))
            }),
            "lines-of-body" => Route::Body(Box::new(|room| {
                let room = str::from_utf8(room).ok().filter(|room| !room.is_empty());
                Taken::Stream(Box::new(stream(
                    room,
                    LINES,
                    KeepAlive::Nothing,
                    Listener(None),
                )))
            })),
            "echo" => Route::Body(echo(true)),
            "once" => Route::Body(echo(false)),
            "panic" => Route::Body(Box::new(|_| panic!("as the test wants it"))),
            _ => Route::Answer(Answer::text(200, "a page")),
        }
    }
}

struct Lines;

impl BodyEncoder for Lines {
    fn encode(&self, form: BodyForm, said: &Delivered<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        assert_eq!(form, LINES);
        let RoomEvent::Message { kind, payload, .. } = said.event else {
            return None;
        };
        body.extend_from_slice(payload);
        body.push(b'\n');
        Some(kind)
    }
}

fn web_socket(room: &str) -> Route {
    Route::Open(Opening {
        protocol: "web_socket",
        subprotocol: None,
        room: Some(RoomName::new(room).unwrap()),
        body: BodyForm::RAW,
        lag: Lag::Close,
        terms: None,
        pings: Pings::Frames,
        session: Box::new(Publisher),
    })
}

fn stream(
    room: Option<&str>,
    body: BodyForm,
    keep_alive: KeepAlive,
    session: Listener,
) -> Streaming {
    Streaming {
        protocol: "stream",
        status: 200,
        fields: vec![("Content-Type", "text/plain".into())],
        room: room
            .filter(|_| session.0.is_none())
            .map(|name| RoomName::new(name).unwrap()),
        body,
        lag: Lag::Close,
        terms: None,
        keep_alive,
        session: Box::new(session),
    }
}

fn echo(keep: bool) -> TakeBody {
    Box::new(move |body| {
        Taken::Answer(Answer {
            status: 200,
            fields: Vec::new(),
            body: Bytes::copy_from_slice(body),
            refused: None,
            keep,
        })
    })
}

struct Publisher;

impl Session for Publisher {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        publish(str::from_utf8(message.payload).unwrap(), outlet);
    }
}

/// Greets and is a user's, if it is told whose.
struct Listener(Option<String>);

impl Session for Listener {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        if let Some(user) = &self.0 {
            outlet.identify(user);
            outlet.send(Kind::Text, format!("hello {user}").as_bytes());
        }
    }

    fn receive(&mut self, message: Message<'_>, _: &mut Outlet<'_>) {
        panic!("a stream has received {message:?}");
    }
}

/// Says hello with its id, asks its peer for signs of life, which come as commands, and says why it ends.
struct Pinging;

impl Session for Pinging {
    fn opened(&mut self, outlet: &mut Outlet<'_>) {
        outlet.identify("pinged");
        outlet.send(Kind::Text, b"hello\n");
    }

    fn receive(&mut self, message: Message<'_>, _: &mut Outlet<'_>) {
        panic!("a stream has received {message:?}");
    }

    fn ping(&mut self, outlet: &mut Outlet<'_>) {
        outlet.send(Kind::Text, b"ping\n");
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        match event {
            SessionEvent::Command(_) => outlet.ponged(),
            event => outlet.close_for(&event),
        }
    }

    fn last_words(&mut self, reason: &EndReason) -> Option<Bytes> {
        Some(Bytes::from(format!("over: {}\n", reason.name())))
    }
}

/// A connection over which requests are sent and answers are read.
pub struct Caller {
    pub socket: TcpStream,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

impl Caller {
    pub fn connect(server: &Running) -> Self {
        let socket = server.stream();
        socket.set_nodelay(true).unwrap();
        Self { socket }
    }

    /// Asks for a stream and reads the head of the answer, which is good.
    #[track_caller]
    pub fn get(server: &Running, path: &str, version: Version) -> Self {
        let mut caller = Self::connect(server);
        caller.ask(path, version);
        caller
    }

    /// One whose socket holds little.
    pub fn that_reads_slowly(server: &Running) -> Self {
        let address = server.stream().peer_addr().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(&address.into()).unwrap();
        let socket = socket.into();
        Self { socket }
    }

    /// Asks for a stream on a connection that is there.
    #[track_caller]
    pub fn ask(&mut self, path: &str, version: Version) {
        let minor = u8::from(version == Version::Http11);
        self.send(&format!("GET {path} HTTP/1.{minor}\r\nHost: a\r\n\r\n"));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let is_chunked = head.contains("\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(is_chunked, version == Version::Http11, "{head}");
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    }

    pub fn send(&mut self, bytes: &str) {
        self.socket.write_all(bytes.as_bytes()).unwrap();
    }

    pub fn post(&mut self, path: &str, body: &str) {
        self.send(&post(path, body));
    }

    /// Reads up to an end that is awaited.
    pub fn up_to(&mut self, end: &[u8]) -> io::Result<String> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            let mut byte = [0];
            self.socket.read_exact(&mut byte)?;
            read.push(byte[0]);
        }
        Ok(String::from_utf8(read).unwrap())
    }

    #[track_caller]
    pub fn head(&mut self) -> String {
        self.up_to(b"\r\n\r\n").expect("a head")
    }

    /// The next chunk, which is empty if it is the last. An error if the body ends without it.
    pub fn chunk(&mut self) -> io::Result<String> {
        let header = self.up_to(b"\r\n")?;
        let bytes = usize::from_str_radix(header.trim_end(), 16).expect("a chunk's header");
        let mut payload = vec![0; bytes + 2];
        self.socket.read_exact(&mut payload)?;
        assert_eq!(&payload[bytes..], b"\r\n");
        payload.truncate(bytes);
        Ok(String::from_utf8(payload).unwrap())
    }

    /// The next message of a stream of lines.
    pub fn line(&mut self, version: Version) -> io::Result<String> {
        let line = match version {
            Version::Http10 => self.up_to(b"\n")?,
            Version::Http11 => self.chunk()?,
        };
        Ok(line.trim_end_matches('\n').to_string())
    }

    /// Reads an answer whose length is told: its status and its body.
    #[track_caller]
    pub fn answer(&mut self) -> (u16, String) {
        let head = self.head();
        let bytes = head.split("\r\nContent-Length: ").nth(1);
        let bytes = bytes.and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; bytes.expect("a length").parse().unwrap()];
        self.socket.read_exact(&mut body).unwrap();
        let status = head[9..12].parse().unwrap();
        (status, String::from_utf8(body).unwrap())
    }

    /// What still comes, up to a good end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.socket.read_to_string(&mut rest).expect("an end");
        rest
    }
}

/// A request with a body.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What all cores together have counted.
pub fn tally(server: &Running) -> Tally {
    let monitor = server.server().monitor();
    let mut total = Tally::new(2);
    for core in 0..monitor.cores() {
        total.add(&monitor.snapshot(core).recv().unwrap().tally);
    }
    total
}

/// Waits until one connection has ended for this reason, and no other has. Returns the code that was
/// counted.
#[track_caller]
pub fn ended_for(server: &Running, reason: &str) -> &'static str {
    let until = Instant::now() + PATIENCE;
    loop {
        let ended = tally(server).ended;
        let mut fitting = ended.iter().filter(|(ending, _)| ending.reason == reason);
        if let Some((ending, count)) = fitting.next() {
            assert_eq!((*count, fitting.next()), (1, None), "{ended:?}");
            return ending.code;
        }
        assert!(Instant::now() < until, "not {reason} but {ended:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
