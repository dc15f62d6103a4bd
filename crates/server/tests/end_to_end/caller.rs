//! A back end: a server with an API, and calls of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    ops::Deref,
    process::ExitStatus,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::Response,
    commands,
    harness::{Driver, Server, command},
    wire,
};

/// The key that may do everything.
pub const KEY: &str = "a-key-of-the-tests";

/// A server with an API.
pub struct Api {
    server: Server,
    /// Where its configuration is.
    pub dir: TempDir,
}

impl Deref for Api {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Api {
    /// Starts a server with this in its file beside the key for everything.
    pub fn start(driver: Driver, config: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), driver, config, flags)
    }

    /// The same, where clients may have tokens.
    pub fn with_tokens(driver: Driver, config: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = commands::settings(&dir, "", config);
        Self::start_in(dir, driver, &config, flags)
    }

    fn start_in(dir: TempDir, driver: Driver, config: &str, flags: &[&str]) -> Self {
        let path = dir.path().join("hubbub.toml");
        std::fs::write(&path, with_key(config)).unwrap();
        let path = path.to_str().unwrap();
        let own = ["--driver", driver.name(), "--config", path];
        let own = [&own[..], &["--api-listen", "127.0.0.1:0"], flags].concat();
        let server = Server::launch(command(), &own);
        Self { server, dir }
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.server.wait()
    }

    /// Replaces what its file has.
    pub fn rewrite(&self, config: &str) {
        let path = self.dir.path().join("hubbub.toml");
        std::fs::write(path, with_key(config)).unwrap();
    }

    /// Calls a method; returns its result.
    #[track_caller]
    pub fn call(&self, method: &str, request: Value) -> Value {
        let answer = self.answer(method, &request);
        assert!(
            answer.get("error").is_none(),
            "{method} {request}: {answer}"
        );
        answer["result"].clone()
    }

    /// Carries out a batch, whose answer has no `result` around its replies.
    #[track_caller]
    pub fn batch(&self, request: Value) -> Value {
        self.answer("batch", &request)
    }

    /// Calls a method that fails; returns the code of its error.
    #[track_caller]
    pub fn fail(&self, method: &str, request: Value) -> u64 {
        let answer = self.answer(method, &request);
        let code = answer["error"]["code"].as_u64();
        code.unwrap_or_else(|| panic!("{method} {request}: {answer}"))
    }

    #[track_caller]
    fn answer(&self, method: &str, request: &Value) -> Value {
        let answer = self.post(&format!("/api/{method}"), &[], request.to_string());
        assert_eq!(answer.status, 200, "{method} {request}: {answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
        json(&answer)
    }

    /// Posts a body with the key.
    pub fn post(&self, path: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Response {
        let key = format!("X-API-Key: {KEY}");
        self.ask("POST", path, &[&[&*key], fields].concat(), body.as_ref())
    }

    /// Sends a request on a connection of its own.
    pub fn ask(&self, verb: &str, path: &str, fields: &[&str], body: &[u8]) -> Response {
        let mut stream = wire::connect(self.api());
        ask_over(&mut stream, verb, path, fields, body)
    }

    /// A connection to the API.
    pub fn connect(&self) -> TcpStream {
        wire::connect(self.api())
    }
}

fn with_key(config: &str) -> String {
    format!("{config}\n[api_keys.all]\nkey = \"{KEY}\"\n")
}

/// A request with its body.
pub fn request(verb: &str, path: &str, fields: &[&str], length: usize) -> String {
    let length = format!("Content-Length: {length}");
    wire::request(verb, path, &[fields, &[&*length]].concat())
}

/// Sends a request and reads the answer, behind which the connection ends.
pub fn ask_over(
    stream: &mut (impl Read + Write),
    verb: &str,
    path: &str,
    fields: &[&str],
    body: &[u8],
) -> Response {
    let fields = [fields, &["Connection: close"]].concat();
    let head = request(verb, path, &fields, body.len());
    // A server that refuses does not read on.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    Response::read_from(stream)
}

/// The body of an answer.
#[track_caller]
pub fn json(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
