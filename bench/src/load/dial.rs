//! Opens many connections, each from an address of its own, and checks the handshake's answer.

use super::wire::Framing;
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use sha1::{Digest as _, Sha1};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Below the smallest backlog of listening sockets that is common (128).
const AT_ONCE: usize = 100;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Where to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The server.
    pub address: SocketAddrV4,
    /// How messages lie on its connections.
    pub framing: Framing,
}

/// Opens `count` connections; `path` says what each asks for, and `index` numbers them.
pub fn dial_all(
    target: Target,
    indices: std::ops::Range<usize>,
    path: impl Fn(usize) -> String,
) -> Result<Vec<OwnedFd>> {
    let indices: Vec<usize> = indices.collect();
    let mut sockets = Vec::with_capacity(indices.len());
    for batch in indices.chunks(AT_ONCE) {
        let mut opened = Vec::with_capacity(batch.len());
        for &index in batch {
            let socket = connect(target.address, index)?;
            prepare(&socket)?;
            if target.framing == Framing::WebSocket {
                send_all(
                    &socket,
                    request(&path(index), target.address, index).as_bytes(),
                )?;
            }
            opened.push((index, socket));
        }
        for (index, socket) in opened {
            if target.framing == Framing::WebSocket {
                await_answer(&socket, index)
                    .with_context(|| format!("handshake of connection {index}"))?;
            }
            rustix::io::ioctl_fionbio(&socket, true)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// A blocking connection, which is at once there on loopback.
pub fn connect(address: SocketAddrV4, index: usize) -> Result<OwnedFd> {
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

/// For a connection that lives: it sends at once, and resets when it is dropped, so that no port
/// stays taken.
fn prepare(socket: &OwnedFd) -> Result<()> {
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
#[must_use]
pub fn request(path: &str, address: SocketAddrV4, index: usize) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        key(index)
    )
}

fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn await_answer(socket: &OwnedFd, index: usize) -> Result<()> {
    let mut head = Vec::with_capacity(512);
    let mut buffer = [0; 1024];
    loop {
        let (_, received) =
            rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()).context("no answer")?;
        ensure!(received > 0, "the server closed the connection");
        head.extend_from_slice(&buffer[..received]);
        if let Some(bytes) = answer_bytes(&head, index)? {
            ensure!(
                bytes == head.len(),
                "the server sent a message that nobody asked for"
            );
            return Ok(());
        }
    }
}

/// Length of the answer if it is complete; an error if it is not the right one.
pub fn answer_bytes(head: &[u8], index: usize) -> Result<Option<usize>> {
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
    ensure!(
        field("sec-websocket-extensions").is_empty(),
        "an extension nobody offered"
    );
    Ok(Some(bytes))
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
        assert_eq!(
            answer_bytes(right.as_bytes(), 7).unwrap(),
            Some(right.len())
        );
        assert_eq!(answer_bytes(&right.as_bytes()[..40], 7).unwrap(), None);
        assert!(answer_bytes(right.as_bytes(), 8).is_err());
        assert!(answer_bytes(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 7).is_err());
    }

    #[test]
    fn source_addresses_differ() {
        let all: std::collections::HashSet<_> = (0..70_000).map(source).collect();
        assert_eq!(all.len(), 70_000);
    }
}
