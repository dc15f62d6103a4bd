//! A server that serves keys as a test says, over HTTP or HTTPS, and the keys themselves.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::{harness::PATIENCE, tls_client::Pair};

/// A key that signs tokens, with its name.
pub struct Signer {
    pub kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    pub fn new(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        Self { kid, pair }
    }

    /// The public key, as a JWKS lists it.
    pub fn jwk(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "alg": "EdDSA", "x": x})
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_naming(self.kid, claims)
    }

    /// A token with these claims that names another key.
    pub fn token_naming(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": kid});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The JWKS of these keys.
pub fn jwks(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// A server with one answer for every request, which may be exchanged.
pub struct KeyServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
}

/// What it does with a request.
#[derive(Clone)]
pub enum Answer {
    /// Answers 200 with this body.
    Body(Vec<u8>),
    /// Answers with these bytes, status line and all.
    Raw(String),
    /// Sends these bytes and no more, and keeps the connection.
    Stall(String),
    /// Closes the connection without a word.
    Nothing,
}

impl Answer {
    /// The keys of these signers.
    pub fn keys(signers: &[&Signer]) -> Self {
        Self::Body(jwks(signers).into_bytes())
    }
}

impl KeyServer {
    /// Serves over HTTP.
    pub fn start(answer: Answer) -> Self {
        Self::serve(answer, None)
    }

    /// Serves over HTTPS.
    pub fn start_tls(answer: Answer, pair: &Pair) -> Self {
        Self::serve(answer, Some(Arc::new(tls_of(pair))))
    }

    fn serve(answer: Answer, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
        };
        let (answer, asked) = (server.answer.clone(), server.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answer, asked, tls) = (answer.clone(), asked.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => converse(stream, &answer, &asked),
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).unwrap();
                        converse(StreamOwned::new(tls, stream), &answer, &asked);
                    }
                });
            }
        });
        server
    }

    /// Its URL over HTTP.
    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Its URL over HTTPS.
    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    pub fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// How many requests have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The TLS of a server with this certificate.
pub fn tls_of(pair: &Pair) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(&fs::read(&pair.cert).unwrap())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&pair.key).unwrap()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

fn converse(mut stream: impl Conversation, answer: &Mutex<Answer>, asked: &AtomicUsize) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            // The other side does not believe the certificate, or has gone.
            _ => return,
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let answer = answer.lock().unwrap().clone();
    let _ = match answer {
        Answer::Nothing => return,
        Answer::Raw(text) => stream.write_all(text.as_bytes()),
        Answer::Stall(text) => {
            let sent = stream.write_all(text.as_bytes());
            // Until the other side gives up.
            let _ = stream.flush();
            let _ = stream.read(&mut [0]);
            sent
        }
        Answer::Body(body) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat())
        }
    };
    let _ = stream.flush();
    stream.finish();
}

trait Conversation: Read + Write {
    /// Sends what says that nothing more comes.
    fn finish(&mut self);
}

impl Conversation for TcpStream {
    fn finish(&mut self) {
        let _ = self.set_read_timeout(Some(PATIENCE.min(Duration::from_secs(1))));
        let _ = self.shutdown(std::net::Shutdown::Write);
        let _ = self.read(&mut [0]);
    }
}

impl Conversation for StreamOwned<ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.finish();
    }
}
