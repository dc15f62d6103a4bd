//! Opens many connections, each from its own address, and checks the answers to the handshakes.

use super::deflate::{Inflate, agree, offer};
use super::link::{Buffers, Link, Received};
use super::tls::Client;
use super::transport::Compression;
use super::wire::Framing;
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use sha1::{Digest as _, Sha1};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Fewer than the smallest common backlog of listening sockets (128).
const AT_ONCE: usize = 100;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The server to connect to, and the properties of the connections.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddrV4,
    /// The framing of messages.
    pub framing: Framing,
    /// The TLS configuration, if the server speaks TLS.
    pub tls: Option<Client>,
    /// The compression that is offered, and that the server must accept.
    pub compression: Compression,
}

impl Target {
    /// A connected link, still blocking.
    pub fn open(&self, index: usize) -> Result<Link> {
        let socket = connect(self.address, index)?;
        let tls = self.tls.as_ref().map(Client::connection).transpose()?;
        Ok(Link::new(socket, tls))
    }

    /// The same, with a request over HTTP on it if there is one.
    pub fn open_with(&self, request: &[u8], index: usize) -> Result<Link> {
        let mut link = self.open(index)?;
        ensure!(
            link.send(request)?,
            "a new connection did not take the request"
        );
        Ok(link)
    }

    /// A connected link, still blocking, on which connection `index` has sent its request.
    pub fn ask(&self, path: &str, index: usize) -> Result<Link> {
        let mut link = self.open(index)?;
        if self.framing == Framing::WebSocket {
            let request = request(path, self, index);
            ensure!(
                link.send(request.as_bytes())?,
                "a new connection did not take the request"
            );
        }
        Ok(link)
    }
}

/// Opens `count` connections; `path` says what each asks for, and `index` numbers them.
pub fn dial_all(
    target: &Target,
    indices: std::ops::Range<usize>,
    path: impl Fn(usize) -> String,
) -> Result<Vec<Link>> {
    let indices: Vec<usize> = indices.collect();
    let mut links = Vec::with_capacity(indices.len());
    let mut buffers = Buffers::new();
    for batch in indices.chunks(AT_ONCE) {
        let mut opened = Vec::with_capacity(batch.len());
        for &index in batch {
            let link = target.ask(&path(index), index)?;
            prepare(link.socket())?;
            opened.push((index, link));
        }
        for (index, mut link) in opened {
            if target.framing == Framing::WebSocket {
                await_answer(&mut link, target.compression, index, &mut buffers)
                    .with_context(|| format!("handshake of connection {index}"))?;
            }
            rustix::io::ioctl_fionbio(link.socket(), true)?;
            links.push(link);
        }
    }
    Ok(links)
}

/// A blocking connect, which completes at once on loopback.
fn connect(address: SocketAddrV4, index: usize) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("cannot open a socket: the limit of open files may be too low (ulimit -n)")?;
    if address.ip().is_loopback() {
        rustix::net::bind(&socket, &SocketAddrV4::new(source(index), 0))
            .context("cannot bind an address of 127.0.0.0/8")?;
    }
    rustix::net::connect(&socket, &address)
        .with_context(|| format!("cannot connect to {address}"))?;
    Ok(socket)
}

/// Sets the options of a live connection: it sends without delay, and resets when it is dropped, so
/// that its port is free again at once.
pub fn prepare(socket: &OwnedFd) -> Result<()> {
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    sockopt::set_socket_timeout(socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    Ok(())
}

/// Spreads connections over 127.0.0.0/8, so that ports never run out.
fn source(index: usize) -> Ipv4Addr {
    let part = |divisor: usize, modulus: usize| (1 + index / divisor % modulus) as u8;
    Ipv4Addr::new(127, part(62_500, 250), part(250, 250), part(1, 250))
}

fn key(index: usize) -> String {
    let mut nonce = *b"hubbub bench....";
    nonce[12..].copy_from_slice(&(index as u32).to_be_bytes());
    BASE64.encode(nonce)
}

/// The request of connection `index`.
fn request(path: &str, target: &Target, index: usize) -> String {
    let (address, key) = (target.address, key(index));
    let extensions = offer(target.compression).map_or(String::new(), |offer| {
        format!("Sec-WebSocket-Extensions: {offer}\r\n")
    });
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

fn await_answer(
    link: &mut Link,
    offered: Compression,
    index: usize,
    buffers: &mut Buffers,
) -> Result<()> {
    let mut head = Vec::with_capacity(512);
    let since = Instant::now();
    loop {
        match link.receive(buffers)? {
            Received::End => bail!("the server closed the connection"),
            // TLS needed a step, or the socket's timeout is over.
            Received::Nothing => ensure!(since.elapsed() < ANSWER_TIMEOUT, "no answer"),
            Received::Bytes(bytes) => head.extend_from_slice(bytes),
        }
        if let Some(answer) = read_answer(&head, offered, index)? {
            ensure!(
                answer.bytes == head.len(),
                "the server sent a message that nobody asked for"
            );
            link.inflates(answer.inflate);
            return Ok(());
        }
    }
}

/// A complete and correct answer.
#[derive(Debug)]
pub struct Answer {
    /// The length of the answer in bytes.
    pub bytes: usize,
    /// Inflates the server's messages, if compression was agreed on.
    pub inflate: Option<Inflate>,
}

/// The answer, if it is complete; an error, if it is wrong.
pub fn read_answer(head: &[u8], offered: Compression, index: usize) -> Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(bytes) = answer.parse(head)? else {
        ensure!(
            head.len() <= HEAD_BYTES_MAX,
            "the answer's head does not end"
        );
        return Ok(None);
    };
    if answer.code != Some(101) {
        bail!(
            "answered {} {}",
            answer.code.unwrap_or(0),
            answer.reason.unwrap_or("")
        );
    }
    let field = |name: &str| {
        let found = answer
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.map_or("", |field| str::from_utf8(field.value).unwrap_or(""))
    };
    ensure!(
        field("upgrade").eq_ignore_ascii_case("websocket"),
        "no `Upgrade: websocket`"
    );
    ensure!(
        field("connection").to_ascii_lowercase().contains("upgrade"),
        "no `Connection: Upgrade`"
    );
    ensure!(
        field("sec-websocket-accept") == accept_of(&key(index)),
        "wrong Sec-WebSocket-Accept"
    );
    let inflate = agree(offered, field("sec-websocket-extensions"))?;
    Ok(Some(Answer { bytes, inflate }))
}

fn accept_of(key: &str) -> String {
    let mut digest = Sha1::new();
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(accept: &str) -> String {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }

    #[test]
    fn accept_key_of_the_rfc_is_computed() {
        assert_eq!(
            accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn answer_with_right_key_is_taken_and_with_wrong_refused() {
        let right = answer(&accept_of(&key(7)));
        let read = |head: &[u8], index| read_answer(head, Compression::Off, index);
        let whole = read(right.as_bytes(), 7).unwrap().unwrap();
        assert_eq!(whole.bytes, right.len());
        assert!(read(&right.as_bytes()[..40], 7).unwrap().is_none());
        assert!(read(right.as_bytes(), 8).is_err());
        assert!(read(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 7).is_err());
        let offered = read_answer(right.as_bytes(), Compression::Message, 7);
        assert!(offered.is_err(), "compression was offered, and not taken");
    }

    #[test]
    fn source_addresses_differ() {
        let all: std::collections::HashSet<_> = (0..70_000).map(source).collect();
        assert_eq!(all.len(), 70_000);
    }
}
