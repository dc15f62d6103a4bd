//! A listener: accepting without waiting, and waiting for somebody to come.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{Shutdown, SocketFlags, acceptfrom_with, shutdown},
};

use super::Connected;

/// A socket that listens, for a core's thread to take.
pub(crate) type Listening = TcpListener;

/// A core's listener.
pub(crate) struct Listener {
    listening: TcpListener,
    /// The same socket, for waiting.
    readiness: monoio::net::TcpListener,
}

/// A descriptor that is kept for the moment in which there is no other.
pub(crate) struct Reserve {
    _descriptor: OwnedFd,
}

impl Listener {
    /// Needs a running monoio runtime.
    pub(crate) fn new(listening: Listening) -> io::Result<Self> {
        Ok(Self {
            readiness: monoio::net::TcpListener::from_std(listening.try_clone()?)?,
            listening,
        })
    }

    /// Accepts a connection; `WOULDBLOCK` if nobody waits.
    pub(crate) fn accept(&self) -> Result<(Connected, SocketAddr), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (connected, peer) = acceptfrom_with(&self.listening, flags)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        Ok((connected.into(), peer.ok_or(Errno::CONNABORTED)?))
    }

    /// Waits until somebody comes, or it listens no longer.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.readiness.readable(false).await
    }

    /// Listens no longer, which wakes the task that waits for it.
    pub(crate) fn shut(&self) {
        let _ = shutdown(&self.listening, Shutdown::Both);
    }
}

impl Reserve {
    /// Opens a descriptor; `None` if there is none.
    pub(crate) fn open() -> Option<Self> {
        let _descriptor = File::open("/dev/null").ok()?.into();
        Some(Self { _descriptor })
    }
}
