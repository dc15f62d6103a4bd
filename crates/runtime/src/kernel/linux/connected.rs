//! A connected socket: receives and sends that never wait.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::{Errno, retry_on_intr},
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt},
};

/// Most bytes that the kernel may queue unsent for one peer. With its default, which is megabytes,
/// a slow peer would be hidden from our own bounds and pings would wait behind all of that.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// A connected socket, closed when it is dropped.
pub(crate) struct Connected(OwnedFd);

impl Connected {
    /// Sets the options that every connection has.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        sockopt::set_tcp_nodelay(&self.0, true)?;
        socket2::SockRef::from(&self.0).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
    }

    /// Receives at most as many bytes as fit into `buffer`: 0 at the end of the peer's stream,
    /// `WOULDBLOCK` if nothing has arrived.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        // An interrupted call does not mean that the socket is drained: a caller that took it for that
        // would wait for an event that was already reported.
        retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::DONTWAIT))
            .map(|(bytes, _)| bytes)
    }

    /// Sends as much of `runs`, in order, as the socket accepts in one call; 0 if it is full.
    pub(crate) fn send(&self, runs: &[IoSlice<'_>]) -> io::Result<usize> {
        // NOSIGNAL: writing to a peer that is gone yields an error, not a SIGPIPE.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = retry_on_intr(|| match runs {
            [] => Ok(0),
            [run] => rustix::net::send(&self.0, run, flags),
            _ => rustix::net::sendmsg(&self.0, runs, &mut SendAncillaryBuffer::default(), flags),
        });
        match sent {
            Ok(bytes) => Ok(bytes),
            Err(Errno::WOULDBLOCK) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes the sending direction, which the peer sees as the end of the stream.
    pub(crate) fn shut_sending(&self) {
        // An error means that the peer is already gone, which the next receive reports.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
    }

    /// Makes closing the socket reset the connection: the kernel then drops its queues, and the
    /// peer learns of it at once.
    pub(crate) fn reset_on_close(&self) {
        let _ = sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
    }
}

impl From<OwnedFd> for Connected {
    fn from(connected: OwnedFd) -> Self {
        Self(connected)
    }
}

impl AsFd for Connected {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
