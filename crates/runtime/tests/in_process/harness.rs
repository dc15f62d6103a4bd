//! A server of this process, its clients, and an application whose parts a test chooses.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use codec::{Kind, Message, Request};
use hub::RoomName;
use runtime::{
    Answer, Application, BodyForm, Config, DriverChoice, EndReason, Lag, Opening, Outlet, Pings,
    Route, Server, Session, Ticket, Timeouts,
};
use tungstenite::{Error, WebSocket};

/// Far longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a session of a test does with a message of text.
pub type Receive = fn(&str, &mut Outlet<'_>);

/// What a session of a test does when it is over.
pub type Closed = fn();

/// What a session of a test does when it is over, and why.
pub type Over = fn(&EndReason);

/// Opens `/rooms/{name}` in that room and everything else without one, with the same session.
pub struct App {
    pub receive: Receive,
    pub closed: Over,
    /// Runs when a session is dropped.
    pub dropped: Closed,
    /// Is asked before every request is routed.
    pub route: fn(&str),
}

impl App {
    pub fn new(receive: Receive) -> Self {
        Self {
            receive,
            closed: |_| {},
            dropped: || {},
            route: |_| {},
        }
    }
}

/// Publishes a text in the room that the connection was opened in, if there is one.
pub fn publish(text: &str, outlet: &mut Outlet<'_>) -> Option<Ticket> {
    outlet.publish(outlet.room()?, Kind::Text, text.as_bytes())
}

struct Scripted {
    receive: Receive,
    closed: Over,
    dropped: Closed,
}

impl Application for App {
    fn protocols(&self) -> Vec<&'static str> {
        vec!["scripted"]
    }

    fn route(&self, request: &Request<'_>) -> Route {
        (self.route)(request.path());
        if !request.wants_upgrade() {
            return Route::Answer(Answer::text(200, "a page"));
        }
        let room = request.path().strip_prefix("/rooms/");
        Route::Open(Opening {
            protocol: "scripted",
            subprotocol: None,
            room: room.map(|name| RoomName::new(name).unwrap()),
            body: BodyForm::RAW,
            lag: Lag::Close,
            terms: None,
            pings: Pings::Frames,
            session: Box::new(Scripted {
                receive: self.receive,
                closed: self.closed,
                dropped: self.dropped,
            }),
        })
    }
}

impl Session for Scripted {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        let text = std::str::from_utf8(message.payload).unwrap();
        (self.receive)(text, outlet);
    }

    fn closed(&mut self, reason: &EndReason) {
        (self.closed)(reason);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        (self.dropped)();
    }
}

/// A running server, drained when it is dropped.
pub struct Running {
    server: Option<Server>,
    address: SocketAddr,
    _alone: MutexGuard<'static, ()>,
}

/// Starts a server of two cores on a free port.
pub fn start(driver: DriverChoice, app: impl Application) -> Running {
    start_with(driver, app, |_| {})
}

/// As [`start`], with other settings.
pub fn start_with(
    driver: DriverChoice,
    app: impl Application,
    set: impl FnOnce(&mut Config),
) -> Running {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut config = config(driver);
    set(&mut config);
    let server = Server::start(config, Arc::new(app)).expect("the server starts");
    Running {
        address: server.addresses()[0],
        server: Some(server),
        _alone: alone,
    }
}

/// What the servers of these tests have in common.
pub fn config(driver: DriverChoice) -> Config {
    Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        cores: 2,
        driver,
        timeouts: Timeouts {
            drain: Duration::from_millis(50),
            close: Duration::from_millis(500),
            // Nobody is pinged while a test is patient.
            ping_interval: 2 * PATIENCE,
            ..Timeouts::default()
        },
        ..Config::default()
    }
}

impl Running {
    pub fn connect(&self, path: &str) -> Client {
        let stream = self.stream();
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tungstenite::client(url, stream).expect("101");
        Client(socket)
    }

    /// Sends a request and reads the answer.
    pub fn ask(&self, request: &str) -> String {
        let mut stream = self.stream();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// How many descriptors this process has open, once nothing comes or goes any more.
    pub fn descriptors_at_rest(&self) -> usize {
        let mut before = usize::MAX;
        loop {
            let now = descriptors();
            if now == before {
                return now;
            }
            before = now;
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until no more descriptors are open than that.
    #[track_caller]
    pub fn await_descriptors(&self, most: usize) {
        let until = Instant::now() + PATIENCE;
        while descriptors() > most {
            assert!(Instant::now() < until, "{} open, not {most}", descriptors());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Drains it; an error if a core has failed.
    pub fn stop(mut self) -> Result<(), String> {
        let server = self.server.take().unwrap();
        server.drainer().drain();
        server.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.drainer().drain();
            let ended = server.wait();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A WebSocket client.
pub struct Client(WebSocket<TcpStream>);

impl Client {
    pub fn send(&mut self, text: &str) {
        self.0.send(text.into()).unwrap();
    }

    #[track_caller]
    pub fn text(&mut self) -> String {
        let message = self.0.read().unwrap();
        assert!(message.is_text(), "{message:?}");
        message.into_text().unwrap().to_string()
    }

    /// A message of text, or the code and reason of the close frame that came in its place.
    #[track_caller]
    pub fn text_or_close(&mut self) -> Result<String, (u16, String)> {
        match self.0.read().unwrap() {
            tungstenite::Message::Close(Some(close)) => {
                Err((close.code.into(), close.reason.to_string()))
            }
            message => Ok(message.into_text().unwrap().to_string()),
        }
    }

    /// The code and reason of the close frame that must come next; the stream must end after it.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        let tungstenite::Message::Close(Some(close)) = self.0.read().unwrap() else {
            panic!("no close frame with a code");
        };
        match self.0.read() {
            Err(Error::ConnectionClosed) => (close.code.into(), close.reason.to_string()),
            other => panic!("after the close frame {other:?}"),
        }
    }

    /// Closes it as one should.
    pub fn leave(mut self) {
        self.0.close(None).unwrap();
        while self.0.read().is_ok() {}
    }
}
