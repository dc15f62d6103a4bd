//! Adds to the error of a failed start what to do about it.

use std::{io, net::SocketAddr};

use anyhow::{Error, anyhow};
use runtime::StartError;

use crate::threads;

/// Adds a remedy to the error of a failed start of a server with this many cores.
pub fn of_start(error: StartError, cores: usize) -> Error {
    let remedy = match &error {
        StartError::Listen { source, .. } => {
            let otherwise = "choose another address with --listen";
            format!("; {}", of_listening(source, otherwise))
        }
        StartError::Driver { .. } => {
            "; --driver auto uses epoll where io_uring is not available".to_owned()
        }
        StartError::Thread { source, .. } => of_thread(source, cores),
        StartError::Io(_) | StartError::Core { .. } => String::new(),
    };
    anyhow!("{:#}{remedy}", Error::new(error))
}

/// The error when the internal listener cannot be bound.
pub fn of_internal_listener(address: SocketAddr, error: &io::Error) -> Error {
    let otherwise = "choose another address with --internal-listen, or use --internal-listen off";
    let remedy = of_listening(error, otherwise);
    anyhow!("the internal listener cannot listen on {address}: {error}; {remedy}")
}

/// The error when one of the threads beside the cores cannot be started.
pub fn of_other_thread(name: &str, error: &io::Error, cores: usize) -> Error {
    let remedy = of_thread(error, cores);
    anyhow!("the thread `{name}` cannot be started: {error}{remedy}")
}

fn of_listening(error: &io::Error, otherwise: &str) -> String {
    let right = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "a port this low needs the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= of a \
             systemd unit, --cap-add NET_BIND_SERVICE of a container), or a lower \
             net.ipv4.ip_unprivileged_port_start; or "
        }
        io::ErrorKind::AddrInUse => "another program listens on it (`ss -ltnp` names it); ",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it (`ip address`); ",
        _ => "",
    };
    format!("{right}{otherwise}")
}

/// Adds a remedy if the error is `WouldBlock`, with which the kernel reports a reached limit.
fn of_thread(error: &io::Error, cores: usize) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => format!("; {}", threads::shortage(cores)),
        _ => String::new(),
    }
}
