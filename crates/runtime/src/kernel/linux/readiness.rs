//! A core's epoll set, for which the driver waits.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

use super::Connected;

/// The set of a core's sockets.
pub(crate) struct ReadySet {
    set: OwnedFd,
    /// The same set, for waiting: monoio waits for readiness of whatever it takes for a socket.
    waiting: monoio::net::UnixStream,
}

impl ReadySet {
    /// Needs a running monoio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let waiting = monoio::net::UnixStream::from_std(UnixStream::from(set.try_clone()?))?;
        Ok(Self { set, waiting })
    }

    /// Adds a socket until it is closed; its reports carry `token`.
    pub(crate) fn add(
        &self,
        socket: &Connected,
        token: u64,
        interest: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.set,
            socket,
            EventData::new_u64(token),
            interest,
        )?)
    }

    /// Waits until a socket has something to report.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.waiting.readable(false).await
    }

    /// Takes what sockets have to report by now, as much as `events` has capacity for.
    pub(crate) fn take(&self, events: &mut Vec<Event>) -> rustix::io::Result<()> {
        events.clear();
        match epoll::wait(
            &self.set,
            spare_capacity(events),
            Some(&Timespec::default()),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
