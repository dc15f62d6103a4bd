//! A client of the Centrifuge protocol that says exactly what a test has it say, and tokens.

use std::{
    fs,
    net::TcpStream,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use tempfile::TempDir;
use tungstenite::{Error, Message};

use crate::{
    client::{Client, binary},
    harness::{Driver, Server, command},
    wire,
};

/// Where sessions are opened.
pub const PATH: &str = "/connection/websocket";

/// The first command of a client without a token.
pub const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

/// The secret of the tests' tokens.
pub const SECRET: &str = "a-secret-of-32-bytes-at-the-least";

/// Rules that permit everything to everybody, so that only the protocol decides.
pub const OPEN: &str = r#"
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
presence = true
read_presence = ["client", "anonymous"]
"#;

/// A server with a file of settings, and with a secret for tokens.
pub struct Configured {
    pub server: Server,
    _dir: TempDir,
}

impl Configured {
    /// Starts it with these settings; `tables` are those of the rooms.
    pub fn start(driver: Driver, settings: &str, tables: &str, flags: &[&str]) -> Self {
        let (command, dir) = Self::command(driver, settings, tables);
        Self {
            server: Server::launch(command, flags),
            _dir: dir,
        }
    }

    /// The same with a log of everything that the server ever logs.
    pub fn start_telling_all(driver: Driver, settings: &str, tables: &str) -> Self {
        let (command, dir) = Self::command(driver, settings, tables);
        Self {
            server: Server::launch_quietly(command, &["--log-level", "trace"]),
            _dir: dir,
        }
    }

    fn command(driver: Driver, settings: &str, tables: &str) -> (Command, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hubbub.toml");
        fs::write(&file, self::settings(&dir, settings, tables)).unwrap();
        let mut command = command();
        command.args(["--driver", driver.name()]);
        command.arg("--config").arg(&file);
        (command, dir)
    }
}

/// The text of a file of settings, with a secret for tokens, which is written into the directory.
pub fn settings(dir: &TempDir, settings: &str, tables: &str) -> String {
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    format!("token_secret = {secret:?}\nanonymous = \"on\"\n{settings}\n{tables}")
}

/// What came of a frame, or how the connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// One message of a frame.
    Line(String),
    /// A close frame, and nothing behind it.
    Closed(u16, String),
}

/// A session in JSON.
pub struct Session {
    client: Client,
    /// Messages of the last frame that nobody has asked for yet, the last one first.
    lines: Vec<String>,
}

impl Session {
    /// A session whose peer has said nothing.
    pub fn open(server: &Server) -> Self {
        Self::over(Client::connect(server, PATH))
    }

    /// The same over a connection of a test's own making.
    pub fn over(client: Client) -> Self {
        Self {
            client,
            lines: Vec::new(),
        }
    }

    /// A session of somebody without a token.
    #[track_caller]
    pub fn anonymous(server: &Server) -> Self {
        let mut session = Self::open(server);
        session.send(CONNECT);
        assert_eq!(session.reply()["id"], 1);
        session
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: impl Into<String>) {
        self.client.send(frame.into());
    }

    /// What comes next; an empty object, which is a ping, counts as any other message.
    #[track_caller]
    pub fn hear(&mut self) -> Said {
        if let Some(line) = self.lines.pop() {
            return Said::Line(line);
        }
        let next = loop {
            match self.client.next() {
                Ok(Message::Pong(_)) => {}
                next => break next,
            }
        };
        match next {
            Ok(Message::Text(frame)) => {
                self.lines = frame.lines().rev().map(str::to_owned).collect();
                Said::Line(self.lines.pop().expect("a frame has a message"))
            }
            Ok(Message::Close(Some(frame))) => {
                let said = Said::Closed(frame.code.into(), frame.reason.to_string());
                assert!(matches!(self.client.next(), Err(Error::ConnectionClosed)));
                said
            }
            other => panic!("neither text nor a close frame but {other:?}"),
        }
    }

    /// The next message.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.hear() {
            Said::Line(line) => line,
            closed @ Said::Closed(..) => panic!("no message but {closed:?}"),
        }
    }

    /// The next message, as a value.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Sends a command and reads up to its reply.
    #[track_caller]
    pub fn ask(&mut self, command: &str) -> Value {
        let asked: Value = serde_json::from_str(command).unwrap();
        self.send(command);
        loop {
            let reply = self.reply();
            if reply["id"] == asked["id"] {
                return reply;
            }
        }
    }

    /// Reads up to the close frame.
    #[track_caller]
    pub fn closed(&mut self) -> (u16, String) {
        loop {
            if let Said::Closed(code, reason) = self.hear() {
                return (code, reason);
            }
        }
    }

    /// The connection's stream.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.client.stream()
    }
}

/// Opens a session in Protobuf.
pub fn protobuf(server: &Server) -> Client {
    let fields = [("sec-websocket-protocol", "centrifuge-protobuf")];
    let client = Client::with_fields(server, PATH, &fields).expect("101");
    assert_eq!(client.subprotocol(), Some("centrifuge-protobuf"));
    client
}

/// Sends a frame in Protobuf to a new session, and returns the code with which it is closed.
#[track_caller]
pub fn closed_for(server: &Server, frames: &[&[u8]]) -> u16 {
    let mut client = protobuf(server);
    for frame in frames {
        client.send(binary(frame.to_vec()));
    }
    client.closed()
}

/// A head that opens a session, for those who send their own frames.
pub fn upgrade() -> String {
    wire::upgrade(PATH)
}

/// The time that a token is good until, this many seconds from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed() + seconds
}

/// A token with these claims.
pub fn token(claims: &Value) -> String {
    signed(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

/// A token with this header, and these claims.
pub fn signed(header: &str, claims: &Value) -> String {
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(header), part(&claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}
