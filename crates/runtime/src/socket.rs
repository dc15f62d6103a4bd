//! All I/O on a connection's socket: wait for readiness, then receive or send without blocking.
//!
//! The wait takes no bytes, so nothing is lost when it is dropped, and it is the same on io_uring
//! (a poll request in the ring) and on epoll. Another form of socket I/O would change this file
//! and nothing else.
#![allow(unsafe_code)]

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    pin::pin,
    task::Poll,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt},
};

use crate::turnstile::Turnstile;

/// How much the kernel may hold for a peer that has not been put on the wire. More would hide a
/// slow peer from our own bounds (it would take megabytes), and put pings far behind.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// A connected socket.
pub(crate) struct Socket(monoio::net::TcpStream);

/// What one receive or send came to.
pub(crate) enum Moved {
    /// So many bytes; a receive of 0 is the end of the peer's stream.
    Bytes(usize),
    /// Nothing now: wait for readiness.
    WouldBlock,
}

impl Socket {
    /// Takes a connected socket over. Needs a running monoio runtime.
    pub(crate) fn new(connected: OwnedFd) -> io::Result<Self> {
        sockopt::set_tcp_nodelay(&connected, true)?;
        socket2::SockRef::from(&connected).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        monoio::net::TcpStream::from_std(connected.into()).map(Self)
    }

    /// Waits until a receive would find something, the end of the stream or an error included.
    ///
    /// On epoll a socket that still has bytes is found readable at once; the turnstile sees to it
    /// that a peer who never stops sending does not keep the core for itself. (Under io_uring
    /// each wait goes through the ring.)
    pub(crate) async fn readable(&self, turnstile: &Turnstile) -> io::Result<()> {
        let mut readable = pin!(self.0.readable(false));
        match poll_fn(|context| Poll::Ready(readable.as_mut().poll(context))).await {
            Poll::Ready(result) => {
                turnstile.pass().await;
                result
            }
            Poll::Pending => readable.await,
        }
    }

    /// Waits until a send would find room, or an error.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.0.writable(false).await
    }

    /// Receives what has arrived, at most `buffer.len()` bytes.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Moved> {
        moved(rustix::net::recv(self.fd(), buffer, RecvFlags::DONTWAIT).map(|(n, _)| n))
    }

    /// Sends as much of `runs`, in order, as the socket takes, in one call.
    pub(crate) fn send(&self, runs: &[IoSlice<'_>]) -> io::Result<Moved> {
        // NOSIGNAL: a peer that is gone is an error, not a SIGPIPE.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        moved(match runs {
            [run] => rustix::net::send(self.fd(), run, flags),
            _ => rustix::net::sendmsg(self.fd(), runs, &mut SendAncillaryBuffer::default(), flags),
        })
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn shut_sending(&self) {
        // An error means that the peer is gone already, which the next receive reports.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// Makes the tasks that wait for this socket wake up and find it at its end.
    pub(crate) fn shut(&self) {
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }

    /// From now on closing the socket resets the connection: what is queued in the kernel is
    /// thrown away and the peer is told at once.
    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(self.fd(), Some(Duration::ZERO));
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: monoio owns the descriptor and keeps it open for as long as `self.0` lives,
        // which the returned borrow cannot outlive.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

fn moved(result: rustix::io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Moved::WouldBlock),
        Err(error) => Err(error.into()),
    }
}
