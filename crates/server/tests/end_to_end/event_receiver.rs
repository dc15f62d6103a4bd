//! A back end that is told of events: a small HTTP server that verifies each batch, keeps it, and answers as a test
//! says; and a server that tells it.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use aws_lc_rs::hmac;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::scrape,
    commands,
    harness::{Driver, Server, command, eventually},
    key_server,
    tls_client::Pair,
};

/// The secret of the tests' batches.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What it does with a batch.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Takes it.
    Take,
    /// Keeps it, and closes the connection without an answer.
    KeepAndVanish,
    /// Answers with this head, and does not keep it.
    Refuse(String),
    /// Takes it, with a body of so many bytes.
    TakeAtLength(usize),
    /// Refuses it, with a body of so many bytes.
    RefuseAtLength(usize),
    /// Says nothing, and keeps the connection.
    Stall,
}

impl Answer {
    /// An answer with this status and no body.
    pub fn status(status: &str) -> Self {
        Self::Refuse(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
    }
}

/// What has come.
#[derive(Clone, Debug)]
pub struct Received {
    pub batch: Value,
    pub body: Vec<u8>,
    pub time_s: u64,
}

/// The back end.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    kept: Mutex<Vec<Received>>,
    secret: Mutex<String>,
    /// Requests that came, whatever became of them.
    asked: AtomicUsize,
    /// Requests whose signature is not that of the secret.
    forged: AtomicUsize,
    connections: AtomicUsize,
}

impl Receiver {
    pub fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn at(address: SocketAddr) -> Self {
        Self::serve(address, None)
    }

    /// One that speaks TLS.
    pub fn start_tls(pair: &Pair) -> Self {
        let tls = Arc::new(key_server::tls_of(pair));
        Self::serve(SocketAddr::from(([127, 0, 0, 1], 0)), Some(tls))
    }

    fn serve(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                answer: Mutex::new(Answer::Take),
                kept: Mutex::default(),
                secret: Mutex::new(SECRET.to_owned()),
                asked: AtomicUsize::default(),
                forged: AtomicUsize::default(),
                connections: AtomicUsize::default(),
            }),
        };
        let shared = receiver.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (shared.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => while shared.converse(&mut &stream).is_some() {},
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).unwrap();
                        let mut stream = StreamOwned::new(tls, stream);
                        while shared.converse(&mut stream).is_some() {}
                    }
                });
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/events?key=hidden", self.address)
    }

    /// The URL of one that speaks TLS.
    pub fn secure_url(&self) -> String {
        format!(
            "https://localhost:{}/events?key=hidden",
            self.address.port()
        )
    }

    pub fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn expects(&self, secret: &str) {
        *self.shared.secret.lock().unwrap() = secret.to_owned();
    }

    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    pub fn forged(&self) -> usize {
        self.shared.forged.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// All requests whose batches were kept, repeated ones included.
    pub fn received(&self) -> Vec<Received> {
        self.shared.kept.lock().unwrap().clone()
    }

    /// All batches of now, each once.
    pub fn batches(&self) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let batches = self.received().into_iter().map(|it| it.batch);
        batches
            .filter(|batch| {
                let of = (batch["node"].to_string(), batch["batch"].as_u64().unwrap());
                seen.insert(of)
            })
            .collect()
    }

    /// All events of now in order, each once, as a back end has them that looks at ids.
    pub fn events(&self) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let batches = self.received().into_iter().map(|it| it.batch);
        let events = batches.flat_map(|batch| batch["events"].as_array().unwrap().clone());
        events
            .filter(|event| seen.insert(event["id"].to_string()))
            .collect()
    }

    /// How many events of this kind have come.
    pub fn count(&self, kind: &str) -> usize {
        self.events().iter().filter(|it| it["kind"] == kind).count()
    }

    #[track_caller]
    pub fn awaits(&self, kind: &str, count: usize) {
        eventually(&format!("{count} {kind}"), || self.count(kind) >= count);
        assert_eq!(self.count(kind), count, "{kind}");
    }

    /// What is known of the connections, each by itself: words such as `subscribed a`.
    pub fn stories(&self) -> Vec<Vec<String>> {
        let events = self.events();
        let mut clients: Vec<_> = Vec::new();
        for event in &events {
            let client = &event["client"];
            if client.is_string() && !clients.contains(client) {
                clients.push(client.clone());
            }
        }
        let story = |client: &Value| {
            let own = events.iter().filter(|event| event["client"] == *client);
            own.map(told).collect()
        };
        clients.iter().map(story).collect()
    }

    /// What is known of rooms: `occupied a`.
    pub fn rooms(&self) -> Vec<String> {
        let events = self.events();
        let of_rooms = events.iter().filter(|event| event["client"].is_null());
        of_rooms.map(told).collect()
    }
}

/// An event in short.
pub fn told(event: &Value) -> String {
    let parts = ["kind", "room", "reason", "code"];
    let parts = parts.iter().filter_map(|part| match &event[part] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    });
    parts.collect::<Vec<_>>().join(" ")
}

impl Shared {
    /// Takes one request; `None` if the connection is over.
    fn converse(&self, stream: &mut (impl Read + Write)) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| {
                let (of, value) = line.split_once(": ")?;
                of.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        assert!(head.starts_with("POST /events?key=hidden "), "{head}");
        assert_eq!(field("content-type").as_deref(), Some("application/json"));
        let length: usize = field("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        self.asked.fetch_add(1, Ordering::SeqCst);
        let Some(time_s) = self.verified(&field("hubbub-signature").unwrap(), &body) else {
            self.forged.fetch_add(1, Ordering::SeqCst);
            let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(refused).ok();
        };
        let answer = self.answer.lock().unwrap().clone();
        if !matches!(
            answer,
            Answer::Refuse(_) | Answer::RefuseAtLength(_) | Answer::Stall
        ) {
            let batch = serde_json::from_slice(&body).unwrap();
            self.kept.lock().unwrap().push(Received {
                batch,
                body,
                time_s,
            });
        }
        match answer {
            Answer::Take => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok(),
            Answer::Refuse(head) => stream.write_all(head.as_bytes()).ok(),
            Answer::KeepAndVanish => None,
            Answer::Stall => {
                let _ = stream.read(&mut [0]);
                None
            }
            Answer::TakeAtLength(bytes) => at_length(stream, "200 OK", bytes),
            Answer::RefuseAtLength(bytes) => at_length(stream, "500 Internal Server Error", bytes),
        }
    }

    /// The time of a batch that is signed as it should be, as `docs/events.md` says.
    fn verified(&self, signature: &str, body: &[u8]) -> Option<u64> {
        let (time, signature) = signature.split_once(",v1=")?;
        let time = time.strip_prefix("t=")?;
        let signature: Vec<u8> = (0..signature.len() / 2)
            .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let key = self.secret.lock().unwrap().clone();
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signed = [time.as_bytes(), b".", body].concat();
        hmac::verify(&key, &signed, &signature).ok()?;
        let time_s: u64 = time.parse().ok()?;
        let now_s = u64::try_from(commands::in_seconds(0)).unwrap();
        assert!(now_s.abs_diff(time_s) < 60, "it is of now");
        Some(time_s)
    }
}

fn at_length(stream: &mut impl Write, status: &str, bytes: usize) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let chunk = vec![b'x'; 64 << 10];
    for _ in 0..bytes / chunk.len() {
        stream.write_all(&chunk).ok()?;
    }
    None
}

/// A server that tells of events.
pub struct Telling {
    pub server: Server,
    dir: TempDir,
    settings: String,
    driver: Driver,
}

/// Fast enough for tests.
pub const FAST: &str = "batch_delay = \"10ms\"\nretry_max = \"100ms\"\ndebounce = \"100ms\"\n";

impl Telling {
    /// Starts one that tells this receiver; `more` stands in the table `[events]`.
    pub fn start(driver: Driver, receiver: &Receiver, more: &str, tables: &str) -> Self {
        Self::start_at(driver, &receiver.url(), more, tables, &[])
    }

    pub fn start_at(driver: Driver, url: &str, more: &str, tables: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("events-secret");
        fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let fast = FAST.lines().filter(|line| {
            let (key, _) = line.split_once(" =").unwrap();
            !more.contains(&format!("{key} ="))
        });
        let fast: Vec<_> = fast.collect();
        let events = format!(
            "[events]\nurl = {url:?}\nsecret = {secret:?}\n{}\n{more}\n",
            fast.join("\n")
        );
        let settings = commands::settings(&dir, "", &format!("{events}{tables}"));
        fs::write(dir.path().join("hubbub.toml"), &settings).unwrap();
        let server = Self::launch(driver, &dir, flags);
        Self {
            server,
            dir,
            settings,
            driver,
        }
    }

    fn launch(driver: Driver, dir: &TempDir, flags: &[&str]) -> Server {
        let mut command = command();
        command.args(["--driver", driver.name(), "--cores", "2"]);
        command.arg("--config").arg(dir.path().join("hubbub.toml"));
        Server::launch(command, flags)
    }

    /// Kills it, and starts another one in its place.
    pub fn killed_and_started_again(self) -> Self {
        let Self {
            mut server,
            dir,
            settings,
            driver,
        } = self;
        server.signal(rustix::process::Signal::KILL);
        server.wait();
        drop(server);
        Self {
            server: Self::launch(driver, &dir, &[]),
            dir,
            settings,
            driver,
        }
    }

    pub fn secret_file(&self) -> PathBuf {
        self.dir.path().join("events-secret")
    }

    /// Has it read its settings again, with this in place of that.
    pub fn reload(&mut self, old: &str, new: &str) {
        self.settings = self.settings.replace(old, new);
        fs::write(self.dir.path().join("hubbub.toml"), &self.settings).unwrap();
        let before = self.server.log().matches("reloaded:").count();
        self.server.signal(rustix::process::Signal::HUP);
        eventually("it has reloaded", || {
            self.server.log().matches("reloaded:").count() > before
        });
    }
}

/// Something that nobody listens to, at an address where somebody may listen later.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Rooms for everybody, with what raw clients need.
pub const OPEN: &str = "[rooms]\nsubscribe = [\"client\", \"anonymous\"]\npublish = [\"client\", \"anonymous\"]\nraw = \"publish\"\n";

/// A receiver, and a server that tells it.
pub fn open(driver: Driver) -> (Receiver, Telling) {
    let receiver = Receiver::start();
    let telling = Telling::start(driver, &receiver, "", OPEN);
    (receiver, telling)
}

/// How many events were told or lost so far.
pub fn told_and_lost(server: &Server) -> f64 {
    let series = scrape(server);
    let of = |name: &str| {
        series
            .iter()
            .filter(|(series, _)| series.starts_with(name))
            .map(|(_, count)| count)
            .sum::<f64>()
    };
    of("hubbub_events_told_total") + of("hubbub_events_lost_total")
}

/// Batches have numbers without gaps, all of one node, and only the first says that it knows nothing of before.
pub fn check_numbers(receiver: &Receiver) {
    let batches = receiver.batches();
    for (number, batch) in (1..).zip(&batches) {
        assert_eq!(batch["batch"], json!(number), "{batches:?}");
        assert_eq!(batch["node"], batches[0]["node"]);
        assert_eq!(batch["started_ms"], batches[0]["started_ms"]);
        assert_eq!(batch["before"] == "unknown", number == 1);
    }
    let events = receiver.events();
    for (number, event) in (1..).zip(&events) {
        let id = format!("{}-{number}", batches[0]["node"].as_str().unwrap());
        assert_eq!(event["id"], json!(id));
    }
}
