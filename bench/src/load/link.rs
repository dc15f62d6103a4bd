//! One connection of the load: callers send and receive uncompressed frames, with or without TLS
//! and compression below.
//!
//! ```text
//!            ┌─────────────── Link ───────────────┐
//!  socket ──▶│ TLS, if any ──▶ inflated, if agreed │──▶ the server's frames, as if uncompressed
//!  socket ◀──│ TLS, if any ◀──────────────────────── the client's frames, compressed beforehand
//!            └─────────────────────────────────────┘
//! ```

use super::deflate::{Inflate, Known};
use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustls::{ClientConnection, HandshakeKind};
use std::io::{Read as _, Write as _};

/// Most bytes of one receive.
const RECEIVE_BYTES: usize = 256 * 1024;

/// The outcome of one receive.
#[derive(Debug)]
pub enum Received<'a> {
    /// No complete unit has arrived.
    Nothing,
    /// Bytes of the server's answer or of its frames.
    Bytes(&'a [u8]),
    /// The server has ended the connection.
    End,
}

/// Receive buffers that all connections share.
#[derive(Debug)]
pub struct Buffers {
    received: Vec<u8>,
    decrypted: Vec<u8>,
    frames: Vec<u8>,
    /// The cache of compressed messages.
    pub known: Known,
}

impl Buffers {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            received: vec![0; RECEIVE_BYTES],
            decrypted: Vec::new(),
            frames: Vec::new(),
            known: Known::new(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    tls: Option<Box<ClientConnection>>,
    inflate: Option<Inflate>,
    unsent: Vec<u8>,
}

impl Link {
    /// A link over a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd, tls: Option<ClientConnection>) -> Self {
        Self {
            socket,
            tls: tls.map(Box::new),
            inflate: None,
            unsent: Vec::new(),
        }
    }

    /// Expects compressed messages from the server from now on.
    pub fn inflates(&mut self, inflate: Option<Inflate>) {
        self.inflate = inflate;
    }

    /// The socket, for polling and options.
    #[must_use]
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether a TLS session was resumed.
    #[must_use]
    pub fn was_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether some bytes wait until the socket accepts more.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends as much as the socket accepts and keeps the rest; returns whether all was sent. Bytes
    /// that are sent before the TLS handshake is complete leave with its last step.
    pub fn send(&mut self, bytes: &[u8]) -> Result<bool> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return self.flush();
        }
        let sent = match self.unsent.is_empty() {
            true => send_some(&self.socket, bytes)?,
            false => 0,
        };
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(self.unsent.is_empty())
    }

    /// Sends the kept bytes; returns whether all were sent.
    pub fn flush(&mut self) -> Result<bool> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.unsent)?;
            }
        }
        if !self.unsent.is_empty() {
            let sent = send_some(&self.socket, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(self.unsent.is_empty())
    }

    /// Performs one receive.
    pub fn receive<'a>(&mut self, buffers: &'a mut Buffers) -> Result<Received<'a>> {
        let buffer = &mut buffers.received[..];
        let received = match rustix::net::recv(&self.socket, buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(Received::End),
            Ok((_, received)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(error) => return Err(anyhow::Error::new(error).context("receiving")),
        };
        let mut bytes = &buffers.received[..received];
        if self.tls.is_some() {
            buffers.decrypted.clear();
            self.decrypt(bytes, &mut buffers.decrypted)?;
            bytes = &buffers.decrypted;
        }
        if let Some(inflate) = &mut self.inflate {
            buffers.frames.clear();
            inflate.receive(bytes, &mut buffers.known, &mut buffers.frames)?;
            bytes = &buffers.frames;
        }
        Ok(match bytes {
            [] => Received::Nothing,
            bytes => Received::Bytes(bytes),
        })
    }

    /// Decrypts all of `bytes`, and sends what TLS itself must answer.
    fn decrypt(&mut self, mut bytes: &[u8], decrypted: &mut Vec<u8>) -> Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let mut ends = false;
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().context("TLS")?;
            let before = decrypted.len();
            decrypted.resize(before + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut decrypted[before..])?;
            ends = state.peer_has_closed();
        }
        if ends {
            tls.send_close_notify();
        }
        if tls.wants_write() {
            self.flush()?;
        }
        if ends {
            // A peer that waits for our end receives it; an error means that the peer has already
            // ended.
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
        Ok(())
    }
}

fn send_some(socket: &OwnedFd, bytes: &[u8]) -> Result<usize> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(anyhow::Error::new(error).context("sending")),
    }
}
