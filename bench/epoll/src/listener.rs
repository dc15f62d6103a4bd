//! Listening sockets, one per thread on the same address.

use std::net::SocketAddr;

use rustix::{
    fd::OwnedFd,
    io::{Errno, Result},
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

/// Most connections that wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Checks that no other program listens on the address: with SO_REUSEPORT a second server would
/// take half of the connections unnoticed. Returns the address, in which the kernel has replaced
/// port 0.
pub fn probe(address: SocketAddr) -> Result<SocketAddr> {
    let socket = stream_socket(address)?;
    net::bind(&socket, &address)?;
    let bound = net::getsockname(&socket)?;
    SocketAddr::try_from(bound).map_err(|_| Errno::AFNOSUPPORT)
}

/// Listens on an address that other threads share.
pub fn listen(address: SocketAddr) -> Result<OwnedFd> {
    let socket = stream_socket(address)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted sockets inherit the option, which saves a system call for each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn stream_socket(address: SocketAddr) -> Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A port whose last connections are in TIME_WAIT may be used.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(socket)
}
