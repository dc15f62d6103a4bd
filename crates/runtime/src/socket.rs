//! All I/O on a connection's socket: receive or send without waiting. `poller.rs` does the waiting.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt},
};

/// How much the kernel may hold for a peer that has not been put on the wire. More would hide a
/// slow peer from our own bounds (it would take megabytes), and put pings far behind.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// A connected socket.
pub(crate) struct Socket(OwnedFd);

/// What one receive or send came to.
pub(crate) enum Moved {
    /// So many bytes; a receive of 0 is the end of the peer's stream.
    Bytes(usize),
    /// Nothing now: wait for readiness.
    WouldBlock,
}

impl Socket {
    /// Takes a connected socket over.
    pub(crate) fn new(connected: OwnedFd) -> io::Result<Self> {
        sockopt::set_tcp_nodelay(&connected, true)?;
        socket2::SockRef::from(&connected).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        Ok(Self(connected))
    }

    /// Receives what has arrived, at most `buffer.len()` bytes.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Moved> {
        moved(rustix::net::recv(&self.0, buffer, RecvFlags::DONTWAIT).map(|(n, _)| n))
    }

    /// Sends as much of `runs`, in order, as the socket takes, in one call.
    pub(crate) fn send(&self, runs: &[IoSlice<'_>]) -> io::Result<Moved> {
        // NOSIGNAL: a peer that is gone is an error, not a SIGPIPE.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        moved(match runs {
            [run] => rustix::net::send(&self.0, run, flags),
            _ => rustix::net::sendmsg(&self.0, runs, &mut SendAncillaryBuffer::default(), flags),
        })
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn shut_sending(&self) {
        // An error means that the peer is gone already, which the next receive reports.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// From now on closing the socket resets the connection: what is queued in the kernel is
    /// thrown away and the peer is told at once.
    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn moved(result: rustix::io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(bytes) => Ok(Moved::Bytes(bytes)),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(Moved::WouldBlock),
        Err(error) => Err(error.into()),
    }
}
