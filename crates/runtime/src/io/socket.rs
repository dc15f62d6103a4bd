//! All I/O on a connection's socket, with or without TLS. Receive and send never block;
//! `reactor/poll.rs` waits for readiness.

use std::io::{self, IoSlice};

use rustix::io::Errno;

use super::tls::{Opened, PeerStream, RECORD_BYTES_MAX, Secured, Tls};
use crate::kernel::Connected;

/// A connected socket.
pub(crate) struct Socket {
    connected: Connected,
    transport: Transport,
}

/// What encrypts and decrypts between the socket and the protocol.
enum Transport {
    Plain,
    Tls(Box<Tls>),
}

/// The receive buffers of a core, shared by all of its sockets.
pub(crate) struct Arrivals {
    /// Plaintext for the protocol to read.
    pub(crate) plain: Vec<u8>,
    /// Ciphertext, behind what was kept of an incomplete record.
    wire: Vec<u8>,
}

/// The TLS send buffers of a core, shared by all of its sockets.
#[derive(Default)]
pub(crate) struct Sealing {
    /// Plaintext from several runs, gathered for one record.
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// The outcome of one receive.
pub(crate) struct Received {
    /// The number of bytes read from the socket.
    pub(crate) wire: usize,
    /// Whether the socket is drained; the poller then reports what arrives next.
    pub(crate) is_all: bool,
    /// The parameters of the TLS handshake, if this receive completed it.
    pub(crate) secured: Option<Secured>,
    /// Whether a TLS handshake was advanced, which costs far more than a plain receive.
    pub(crate) did_handshake_step: bool,
    pub(crate) arrived: Arrived,
}

/// What was received.
pub(crate) enum Arrived {
    /// Nothing.
    Nothing,
    /// This many bytes at the beginning of [`Arrivals::plain`].
    Plain(usize),
    /// The end of the peer's stream.
    End,
    /// A request over plain HTTP although TLS is served: this many bytes at the beginning of
    /// [`Arrivals::plain`].
    PlainHttp(usize),
    /// TLS has failed.
    TlsFailed(rustls::Error),
    /// The socket has failed.
    Failed(io::Error),
}

/// The outcome of one send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// The number of offered bytes that need not be offered again.
    pub(crate) taken: usize,
    /// The number of bytes that the socket accepted.
    pub(crate) wire: usize,
    /// Whether the socket accepts no more bytes now, so that the caller must wait for readiness.
    pub(crate) is_full: bool,
}

impl Socket {
    /// Takes ownership of a connected socket and sets its options.
    pub(crate) fn new(connected: Connected, tls: Option<Tls>) -> io::Result<Self> {
        connected.prepare()?;
        let transport = tls.map_or(Transport::Plain, |tls| Transport::Tls(Box::new(tls)));
        Ok(Self {
            connected,
            transport,
        })
    }

    /// A socket that an epoll set refuses.
    #[cfg(test)]
    pub(crate) fn unwatchable() -> Self {
        Self {
            connected: std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into(),
            transport: Transport::Plain,
        }
    }

    /// Receives at most as many bytes as fit into the buffer. `peer` is what the socket has
    /// reported of the peer's stream: TLS does not advance a handshake that cannot complete.
    pub(crate) fn receive(&mut self, arrivals: &mut Arrivals, peer: PeerStream) -> Received {
        let Arrivals { plain, wire } = arrivals;
        let Self {
            connected,
            transport,
        } = self;
        match transport {
            Transport::Plain => match connected.receive(plain) {
                Ok(bytes) => Received::of(bytes, plain.len(), Arrived::Plain),
                Err(error) => Received::nothing(error),
            },
            Transport::Tls(tls) if tls.has_peer_ended() => Received::of(0, 1, Arrived::Plain),
            Transport::Tls(tls) => {
                let kept = tls.put_kept(wire);
                let room = tls.receive_bytes().min(wire.len() - kept);
                let bytes = match connected.receive(&mut wire[kept..kept + room]) {
                    Ok(bytes) => bytes,
                    Err(error) => return Received::nothing(error),
                };
                let was_handshaking = tls.is_handshaking();
                let opened = match bytes {
                    0 => Opened::Plain(0),
                    _ => tls.open(&mut wire[..kept + bytes], plain, peer),
                };
                let is_idle = bytes == 0 || matches!(opened, Opened::Http | Opened::PeerGone);
                let received = Received {
                    secured: tls.secured().filter(|_| was_handshaking),
                    did_handshake_step: was_handshaking && !is_idle,
                    ..Received::of(bytes, room, |_| match opened {
                        Opened::Plain(bytes) => Arrived::Plain(bytes),
                        Opened::Http => {
                            plain[..kept + bytes].copy_from_slice(&wire[..kept + bytes]);
                            Arrived::PlainHttp(kept + bytes)
                        }
                        Opened::PeerGone => Arrived::End,
                        Opened::Failed(error) => Arrived::TlsFailed(error),
                    })
                };
                Received {
                    // The next receive finds the end that the peer has announced.
                    is_all: received.is_all && !tls.has_peer_ended(),
                    ..received
                }
            }
        }
    }

    /// Receives at most as many bytes as fit into `buffer`, before TLS begins. More may have
    /// arrived.
    pub(crate) fn receive_before(&self, buffer: &mut [u8]) -> Received {
        match self.connected.receive(buffer) {
            Ok(bytes) => Received::of(bytes, 0, Arrived::Plain),
            Err(error) => Received::nothing(error),
        }
    }

    /// Sends as much of `runs`, in order, as the socket accepts in one call. Under TLS it encrypts
    /// at most four records. All that was encrypted counts as taken; what the socket did not accept
    /// of it is kept and is sent first next time.
    pub(crate) fn send(&mut self, runs: &[IoSlice<'_>], sealing: &mut Sealing) -> io::Result<Sent> {
        match &mut self.transport {
            Transport::Plain => {
                let offered = runs.iter().map(|run| run.len()).sum();
                let taken = self.connected.send(runs)?;
                Ok(Sent {
                    taken,
                    wire: taken,
                    is_full: taken < offered,
                })
            }
            Transport::Tls(tls) => send_sealed(&self.connected, tls, runs, sealing),
        }
    }

    /// The number of encrypted bytes that wait until the socket accepts them.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.tls().map_or(0, |tls| tls.unsent.len())
    }

    /// Memory held for encrypted bytes that wait, in bytes.
    pub(crate) fn unsent_held_bytes(&self) -> usize {
        self.tls().map_or(0, |tls| tls.unsent.capacity())
    }

    /// Memory held for received ciphertext of an incomplete record, in bytes.
    pub(crate) fn partial_record_bytes(&self) -> usize {
        self.tls().map_or(0, Tls::partial_record_bytes)
    }

    /// Drops the encrypted bytes that wait, because the connection is about to be reset.
    pub(crate) fn forget_unsent(&mut self) {
        if let Transport::Tls(tls) = &mut self.transport {
            tls.unsent = Vec::new();
        }
    }

    /// Whether a TLS handshake is in progress, so that no message can be sent to the peer.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls().is_some_and(Tls::is_handshaking)
    }

    /// The deadline of a TLS handshake in progress, in milliseconds of deadlines ([`Now::ms`](crate::clock::Now::ms)).
    pub(crate) fn handshake_deadline_ms(&self) -> Option<u64> {
        self.tls().and_then(Tls::handshake_deadline_ms)
    }

    /// Whether a TLS handshake or a record has begun and is incomplete.
    pub(crate) fn has_tls_begun(&self) -> bool {
        self.tls().is_some_and(Tls::has_begun)
    }

    /// Whether the connection must close because its TLS keys are nearly used up.
    pub(crate) fn has_worn_keys(&self) -> bool {
        self.tls().is_some_and(Tls::has_worn_keys)
    }

    /// Continues without TLS, because the peer does not speak it and is answered in plain HTTP.
    pub(crate) fn leave_tls(&mut self) {
        self.transport = Transport::Plain;
    }

    /// Ends TLS: encrypted bytes that wait are still sent, nothing further is encrypted.
    pub(crate) fn give_up_tls(&mut self) {
        if let Transport::Tls(tls) = &mut self.transport {
            tls.give_up();
        }
    }

    /// Announces the end of sending under TLS (close_notify), and sends as much of that as the
    /// socket accepts. Further calls only send the rest.
    pub(crate) fn say_last(&mut self) -> io::Result<Sent> {
        match &mut self.transport {
            Transport::Plain => Ok(Sent::default()),
            Transport::Tls(tls) => {
                tls.say_last();
                flush(&self.connected, tls)
            }
        }
    }

    /// Closes the sending direction, which the peer sees as the end of the stream.
    pub(crate) fn shut_sending(&self) {
        self.connected.shut_sending();
    }

    /// Makes closing the socket reset the connection: the kernel then drops its queues, and the
    /// peer learns of it at once.
    pub(crate) fn reset_on_close(&self) {
        self.connected.reset_on_close();
    }

    /// The socket itself, for whoever waits for its readiness.
    pub(crate) fn connected(&self) -> &Connected {
        &self.connected
    }

    fn tls(&self) -> Option<&Tls> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}

impl Arrivals {
    /// Buffers of `bytes` bytes for one receive. TLS needs a longer one: behind a record that lacks
    /// only its last byte there must be room for a whole receive.
    pub(crate) fn new(bytes: usize, has_tls: bool) -> Self {
        let (plain, wire) = match has_tls {
            true => (bytes + RECORD_BYTES_MAX, bytes + RECORD_BYTES_MAX),
            false => (bytes, 0),
        };
        Self {
            plain: vec![0; plain],
            wire: vec![0; wire],
        }
    }
}

impl Received {
    /// The outcome of a receive of `bytes` bytes into a buffer of `room` bytes.
    fn of(bytes: usize, room: usize, arrived: impl FnOnce(usize) -> Arrived) -> Self {
        Self {
            wire: bytes,
            is_all: bytes < room,
            secured: None,
            did_handshake_step: false,
            arrived: match bytes {
                0 => Arrived::End,
                _ => arrived(bytes),
            },
        }
    }

    fn nothing(error: Errno) -> Self {
        Self {
            wire: 0,
            is_all: true,
            secured: None,
            did_handshake_step: false,
            arrived: match error {
                Errno::WOULDBLOCK => Arrived::Nothing,
                _ => Arrived::Failed(error.into()),
            },
        }
    }
}

/// Sends what was encrypted before, then encrypts the first of `runs` and sends that.
fn send_sealed(
    connected: &Connected,
    tls: &mut Tls,
    runs: &[IoSlice<'_>],
    sealing: &mut Sealing,
) -> io::Result<Sent> {
    let before = flush(connected, tls)?;
    let offered = runs.iter().map(|run| run.len()).sum();
    if tls.is_over() {
        // The session is over, so these bytes are dropped.
        let taken = offered;
        return Ok(Sent { taken, ..before });
    }
    if before.is_full || offered == 0 {
        return Ok(before);
    }
    let Sealing { plain, wire } = sealing;
    wire.clear();
    let sealed = match runs {
        [run] => tls.seal(run, wire),
        _ => {
            plain.clear();
            for run in runs {
                let room = Tls::SEALED_BYTES_MAX - plain.len();
                plain.extend_from_slice(&run[..run.len().min(room)]);
            }
            tls.seal(plain, wire)
        }
    };
    let taken = sealed.map_err(io::Error::other)?;
    let sent = connected.send(&[IoSlice::new(wire)])?;
    tls.unsent.extend_from_slice(&wire[sent..]);
    Ok(Sent {
        taken,
        wire: before.wire + sent,
        is_full: sent < wire.len(),
    })
}

/// Sends what was encrypted before.
fn flush(connected: &Connected, tls: &mut Tls) -> io::Result<Sent> {
    let unsent = &mut tls.unsent;
    if unsent.is_empty() {
        return Ok(Sent::default());
    }
    let sent = connected.send(&[IoSlice::new(unsent)])?;
    if sent == unsent.len() {
        *unsent = Vec::new();
    } else {
        unsent.drain(..sent);
    }
    Ok(Sent {
        taken: 0,
        wire: sent,
        is_full: !unsent.is_empty(),
    })
}
