//! All I/O on a connection's socket, with or without TLS: receive or send without waiting.
//! `poller.rs` does the waiting.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt},
};

use super::tls::{Opened, PeerStream, RECORD_BYTES_MAX, Secured, Tls};

/// How much the kernel may hold for a peer that has not been put on the wire. More would hide a
/// slow peer from our own bounds (it would take megabytes), and put pings far behind.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// A connected socket.
pub(crate) struct Socket {
    connected: OwnedFd,
    transport: Transport,
}

/// What lies between the socket and the protocol.
enum Transport {
    Plain,
    Tls(Box<Tls>),
}

/// What all sockets of a core receive into, one after the other.
pub(crate) struct Arrivals {
    /// What the protocol is to read.
    pub(crate) plain: Vec<u8>,
    /// What came under TLS, behind what was kept of an unfinished record.
    wire: Vec<u8>,
}

/// What all sockets of a core send under TLS from, one after the other.
#[derive(Default)]
pub(crate) struct Sealing {
    /// Plaintext that has to be put together for a record.
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// What one receive came to.
pub(crate) struct Received {
    /// Bytes that the socket gave.
    pub(crate) wire: usize,
    /// Whether that was all that it had; what comes next is then reported anew.
    pub(crate) is_all: bool,
    /// The TLS handshake, if this completed it.
    pub(crate) secured: Option<Secured>,
    /// Whether a TLS handshake was gone on with.
    pub(crate) has_shaken: bool,
    pub(crate) arrived: Arrived,
}

/// What has arrived.
pub(crate) enum Arrived {
    /// Nothing.
    Nothing,
    /// So many bytes at the beginning of [`Arrivals::plain`].
    Plain(usize),
    /// The end of the peer's stream.
    End,
    /// A request over plain HTTP where TLS is served: so many bytes at the beginning of
    /// [`Arrivals::plain`].
    PlainHttp(usize),
    /// TLS has failed.
    TlsFailed(rustls::Error),
    /// The socket has failed.
    Failed(io::Error),
}

/// What one send came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Bytes of what was offered that need not be offered again.
    pub(crate) taken: usize,
    /// Bytes that the socket took.
    pub(crate) wire: usize,
    /// Whether the socket takes no more now: wait for readiness.
    pub(crate) is_full: bool,
}

impl Socket {
    /// Takes a connected socket over.
    pub(crate) fn new(connected: OwnedFd, tls: Option<Tls>) -> io::Result<Self> {
        sockopt::set_tcp_nodelay(&connected, true)?;
        socket2::SockRef::from(&connected).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        let transport = tls.map_or(Transport::Plain, |tls| Transport::Tls(Box::new(tls)));
        Ok(Self {
            connected,
            transport,
        })
    }

    /// One that an epoll set does not take.
    #[cfg(test)]
    pub(crate) fn unwatchable() -> Self {
        Self {
            connected: std::fs::File::open("/dev/null").unwrap().into(),
            transport: Transport::Plain,
        }
    }

    /// Receives what has arrived, at most as much as there is room for. What the socket has reported
    /// of `peer` is for TLS: no handshake is gone on with that cannot come to its end.
    pub(crate) fn receive(&mut self, arrivals: &mut Arrivals, peer: PeerStream) -> Received {
        let Arrivals { plain, wire } = arrivals;
        let Self {
            connected,
            transport,
        } = self;
        match transport {
            Transport::Plain => match receive(connected, plain) {
                Ok(bytes) => Received::of(bytes, plain.len(), Arrived::Plain),
                Err(error) => Received::nothing(error),
            },
            Transport::Tls(tls) if tls.has_peer_ended() => Received::of(0, 1, Arrived::Plain),
            Transport::Tls(tls) => {
                let kept = tls.put_kept(wire);
                let room = tls.receive_bytes().min(wire.len() - kept);
                let bytes = match receive(connected, &mut wire[kept..kept + room]) {
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
                    has_shaken: was_handshaking && !is_idle,
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
                    // The end that the peer has announced is found by the next receive.
                    is_all: received.is_all && !tls.has_peer_ended(),
                    ..received
                }
            }
        }
    }

    /// Receives at most as much as there is room for of what comes before TLS, so that there may be
    /// more.
    pub(crate) fn receive_before(&self, buffer: &mut [u8]) -> Received {
        match receive(&self.connected, buffer) {
            Ok(bytes) => Received::of(bytes, 0, Arrived::Plain),
            Err(error) => Received::nothing(error),
        }
    }

    /// Sends as much of `runs`, in order, as the socket takes, in one call. Under TLS what is sent
    /// is at most four records; what was encrypted counts as taken, and what the socket did not
    /// take of it is kept and leaves first.
    pub(crate) fn send(&mut self, runs: &[IoSlice<'_>], sealing: &mut Sealing) -> io::Result<Sent> {
        match &mut self.transport {
            Transport::Plain => {
                let offered = runs.iter().map(|run| run.len()).sum();
                let taken = send(&self.connected, runs)?;
                Ok(Sent {
                    taken,
                    wire: taken,
                    is_full: taken < offered,
                })
            }
            Transport::Tls(tls) => send_sealed(&self.connected, tls, runs, sealing),
        }
    }

    /// What has been encrypted and waits for the socket to take it, in bytes.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.tls().map_or(0, |tls| tls.unsent.len())
    }

    /// Memory held for it, in bytes.
    pub(crate) fn unsent_held_bytes(&self) -> usize {
        self.tls().map_or(0, |tls| tls.unsent.capacity())
    }

    /// Memory held for ciphertext that is no whole record yet, in bytes.
    pub(crate) fn kept_held_bytes(&self) -> usize {
        self.tls().map_or(0, Tls::kept_held_bytes)
    }

    /// What has been encrypted is not sent any more: the connection is about to be reset.
    pub(crate) fn forget_unsent(&mut self) {
        if let Transport::Tls(tls) = &mut self.transport {
            tls.unsent = Vec::new();
        }
    }

    /// Whether a TLS handshake is under way, so that nothing can be said to the peer.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls().is_some_and(Tls::is_handshaking)
    }

    /// When a TLS handshake that is under way must be complete, in milliseconds since the process
    /// started.
    pub(crate) fn handshake_deadline_ms(&self) -> Option<u64> {
        self.tls().and_then(Tls::handshake_deadline_ms)
    }

    /// Whether a TLS handshake, or a record, has begun that is not whole yet.
    pub(crate) fn has_tls_begun(&self) -> bool {
        self.tls().is_some_and(Tls::has_begun)
    }

    /// Whether it must be closed before the keys of its TLS are used up.
    pub(crate) fn is_worn(&self) -> bool {
        self.tls().is_some_and(Tls::is_worn)
    }

    /// The peer does not speak TLS: it is answered as it speaks.
    pub(crate) fn leave_tls(&mut self) {
        self.transport = Transport::Plain;
    }

    /// Nothing more can be said under TLS, but what waits is still sent.
    pub(crate) fn give_up_tls(&mut self) {
        if let Transport::Tls(tls) = &mut self.transport {
            tls.give_up();
        }
    }

    /// Announces the end of what is sent, under TLS, and sends as much of that as the socket
    /// takes. Saying it again only sends the rest.
    pub(crate) fn say_last(&mut self) -> io::Result<Sent> {
        match &mut self.transport {
            Transport::Plain => Ok(Sent::default()),
            Transport::Tls(tls) => {
                tls.say_last();
                flush(&self.connected, tls)
            }
        }
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn shut_sending(&self) {
        // An error means that the peer is gone already, which the next receive reports.
        let _ = rustix::net::shutdown(&self.connected, Shutdown::Write);
    }

    /// From now on closing the socket resets the connection: what is queued in the kernel is
    /// thrown away and the peer is told at once.
    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.connected, Some(Duration::ZERO));
    }

    fn tls(&self) -> Option<&Tls> {
        match &self.transport {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connected.as_fd()
    }
}

impl Arrivals {
    /// With so much room for one receive. TLS needs more: behind a record that is whole but for its
    /// last byte, there must be room for what is received.
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
    /// So many bytes where there was room for more, or as many.
    fn of(bytes: usize, room: usize, arrived: impl FnOnce(usize) -> Arrived) -> Self {
        Self {
            wire: bytes,
            is_all: bytes < room,
            secured: None,
            has_shaken: false,
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
            has_shaken: false,
            arrived: match error {
                Errno::WOULDBLOCK => Arrived::Nothing,
                _ => Arrived::Failed(error.into()),
            },
        }
    }
}

/// Sends what was encrypted before, then encrypts more and sends that.
fn send_sealed(
    connected: &OwnedFd,
    tls: &mut Tls,
    runs: &[IoSlice<'_>],
    sealing: &mut Sealing,
) -> io::Result<Sent> {
    let before = flush(connected, tls)?;
    let offered = runs.iter().map(|run| run.len()).sum();
    if tls.is_over() {
        // It cannot be said any more.
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
    let sent = send(connected, &[IoSlice::new(wire)])?;
    tls.unsent.extend_from_slice(&wire[sent..]);
    Ok(Sent {
        taken,
        wire: before.wire + sent,
        is_full: sent < wire.len(),
    })
}

/// Sends what was encrypted before.
fn flush(connected: &OwnedFd, tls: &mut Tls) -> io::Result<Sent> {
    let unsent = &mut tls.unsent;
    if unsent.is_empty() {
        return Ok(Sent::default());
    }
    let sent = send(connected, &[IoSlice::new(unsent)])?;
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

fn receive(connected: &OwnedFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    // Interrupted is not empty: who took it for that would wait for what has been reported already.
    retry_on_intr(|| rustix::net::recv(connected, &mut *buffer, RecvFlags::DONTWAIT))
        .map(|(bytes, _)| bytes)
}

/// How many bytes the socket took; none if it is full.
fn send(connected: &OwnedFd, runs: &[IoSlice<'_>]) -> io::Result<usize> {
    // NOSIGNAL: a peer that is gone is an error, not a SIGPIPE.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = retry_on_intr(|| match runs {
        [] => Ok(0),
        [run] => rustix::net::send(connected, run, flags),
        _ => rustix::net::sendmsg(connected, runs, &mut SendAncillaryBuffer::default(), flags),
    });
    match sent {
        Ok(bytes) => Ok(bytes),
        Err(Errno::WOULDBLOCK) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
