//! The floor: the cost of the same bytes over the same sockets without any protocol.
//!
//! It is a process of its own, measured like the servers. It forwards received bytes to their
//! sender (`echo`), or to every connection, including the sender (`send`, `uring`).

mod uring;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::collections::BTreeMap;
use std::net::SocketAddrV4;

const LISTENER: u64 = u64::MAX;
const RECEIVE_BYTES: usize = 256 * 1024;
const BACKLOG: i32 = 4096;

/// How received bytes are forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// Back to their sender.
    Echo,
    /// One `send()` for each connection.
    Send,
    /// One io_uring send for each connection, submitted together.
    Uring,
}

/// Forwards until it is killed.
pub fn serve(mode: Mode, address: SocketAddrV4) -> Result<()> {
    let mut floor = Floor::new(mode, address)?;
    let mut buffer = vec![0; RECEIVE_BYTES];
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept()?,
                token => floor.forward(token, &mut buffer)?,
            }
        }
    }
}

struct Floor {
    mode: Mode,
    epoll: OwnedFd,
    listener: OwnedFd,
    sockets: BTreeMap<u64, OwnedFd>,
    next: u64,
    ring: Option<uring::Batches>,
}

impl Floor {
    fn new(mode: Mode, address: SocketAddrV4) -> Result<Self> {
        let listener = listen(address).with_context(|| format!("cannot listen on {address}"))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Self {
            mode,
            epoll,
            listener,
            sockets: BTreeMap::new(),
            next: 0,
            ring: (mode == Mode::Uring)
                .then(uring::Batches::new)
                .transpose()?,
        })
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(socket) = accept(&self.listener)? {
            let data = epoll::EventData::new_u64(self.next);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            self.sockets.insert(self.next, socket);
            self.next += 1;
        }
        Ok(())
    }

    fn forward(&mut self, token: u64, buffer: &mut [u8]) -> Result<()> {
        let socket = &self.sockets[&token];
        let received = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, received)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => 0,
        };
        if received == 0 {
            self.sockets.remove(&token);
            return Ok(());
        }
        let bytes = &buffer[..received];
        match (self.mode, &mut self.ring) {
            (Mode::Echo, _) => send_all(socket, bytes),
            (_, Some(ring)) => ring.send(self.sockets.values(), bytes)?,
            (_, None) => self
                .sockets
                .values()
                .for_each(|socket| send_all(socket, bytes)),
        }
        Ok(())
    }
}

fn listen(address: SocketAddrV4) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn accept(listener: &OwnedFd) -> Result<Option<OwnedFd>> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(socket) => {
            sockopt::set_tcp_nodelay(&socket, true)?;
            Ok(Some(socket))
        }
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Blocks while the socket is full; a peer that has gone receives nothing.
fn send_all(socket: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
