//! A back end that answers what a test says, over HTTP, and notes what it was asked.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, eventually};

/// A request that has come.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    /// Fields of its head, by their names in lower case; of several with one name, the last.
    pub fields: BTreeMap<String, String>,
    pub body: Value,
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers 200 with this.
    Json(Value),
    /// The same when the test [lets it](BackEnd::release).
    Held(Value),
    /// Answers with these bytes, status line and all, and closes the connection.
    Raw(String),
    /// Sends these bytes and no more, and keeps the connection.
    Stall(&'static str),
    /// Sends so many bytes as its body.
    Long(usize),
    /// Closes the connection without a word.
    Nothing,
}

impl Answer {
    /// Yes, with this.
    pub fn result(result: Value) -> Self {
        Self::Json(json!({ "result": result }))
    }
}

type Script = Box<dyn Fn(&Asked) -> Answer + Send>;

/// A back end.
pub struct BackEnd {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    is_released: Mutex<bool>,
    released: Condvar,
}

impl BackEnd {
    /// Serves on a port of its own.
    pub fn start(script: impl Fn(&Asked) -> Answer + Send + 'static) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// Serves on this listener.
    pub fn serve(
        listener: TcpListener,
        script: impl Fn(&Asked) -> Answer + Send + 'static,
    ) -> Self {
        let back_end = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                script: Mutex::new(Box::new(script)),
                asked: Mutex::default(),
                is_released: Mutex::default(),
                released: Condvar::new(),
            }),
        };
        let shared = back_end.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || shared.converse(stream));
            }
        });
        back_end
    }

    /// Its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The table of a hook that asks it, with these options.
    pub fn hook(&self, name: &str, options: &str) -> String {
        let url = self.url(&format!("/{name}"));
        format!("[hooks.{name}]\nurl = \"{url}\"\n{options}\n")
    }

    /// Answers by another script from now on.
    pub fn set(&self, script: impl Fn(&Asked) -> Answer + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// All requests for this path so far.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.shared.asked.lock().unwrap();
        let those = asked.iter().filter(|it| it.path == path);
        those.cloned().collect()
    }

    /// Waits until so many requests for this path have come, and returns the last.
    #[track_caller]
    pub fn await_asked(&self, path: &str, count: usize) -> Asked {
        eventually("the back end is asked", || self.asked(path).len() >= count);
        self.asked(path).pop().unwrap()
    }

    /// Lets it answer what is held, now and from now on.
    pub fn release(&self) {
        *self.shared.is_released.lock().unwrap() = true;
        self.shared.released.notify_all();
    }
}

impl Shared {
    fn converse(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(asked) = read(&mut reader) {
            self.asked.lock().unwrap().push(asked.clone());
            let answer = (self.script.lock().unwrap())(&asked);
            let sent = match answer {
                Answer::Json(json) => stream.write_all(&ok(json.to_string().as_bytes())),
                Answer::Held(json) => {
                    let is_released = self.is_released.lock().unwrap();
                    let waited = self
                        .released
                        .wait_timeout_while(is_released, PATIENCE, |is| !*is);
                    drop(waited);
                    stream.write_all(&ok(json.to_string().as_bytes()))
                }
                Answer::Raw(text) => {
                    let _ = stream.write_all(text.as_bytes());
                    return;
                }
                Answer::Stall(text) => {
                    let sent = stream.write_all(text.as_bytes());
                    // Until the other side gives up.
                    let _ = reader.read(&mut [0]);
                    sent
                }
                Answer::Long(bytes) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
                    let block = [b' '; 64 << 10];
                    let mut sent = stream.write_all(head.as_bytes());
                    let mut left = bytes;
                    while sent.is_ok() && left > 0 {
                        let now = left.min(block.len());
                        sent = stream.write_all(&block[..now]);
                        left -= now;
                    }
                    sent
                }
                Answer::Nothing => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some("POST"));
    let path = words.next()?.to_owned();
    let mut fields = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        fields.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = fields.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = serde_json::from_slice(&body).expect("the body is JSON");
    Some(Asked { path, fields, body })
}
