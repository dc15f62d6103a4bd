//! What to do about a start that failed, beside what failed.

use std::{io, net::SocketAddr};

use anyhow::{Error, anyhow};
use runtime::StartError;

use crate::threads;

/// Adds a remedy to the error of a start that failed, of a server of so many cores.
pub fn of_start(error: StartError, cores: usize) -> Error {
    let remedy = match &error {
        StartError::Listen { source, .. } => {
            let otherwise = "choose another address with --listen";
            format!("; {}", of_listening(source, otherwise))
        }
        StartError::Driver { .. } => {
            "; --driver auto takes epoll where io_uring is not granted".to_owned()
        }
        StartError::Thread { source, .. } => of_thread(source, cores),
        StartError::Io(_) | StartError::Core { .. } => String::new(),
    };
    anyhow!("{:#}{remedy}", Error::new(error))
}

/// The internal listener cannot be bound.
pub fn of_internal_listener(address: SocketAddr, error: &io::Error) -> Error {
    let otherwise = "choose another address with --internal-listen, or write --internal-listen off";
    let remedy = of_listening(error, otherwise);
    anyhow!("the internal listener cannot have {address}: {error}; {remedy}")
}

/// A thread that a server of so many cores needs beside them cannot be had.
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
        io::ErrorKind::AddrInUse => "another program listens there (`ss -ltnp` names it); ",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it (`ip address`); ",
        _ => "",
    };
    format!("{right}{otherwise}")
}

/// The kernel says "try again" where a limit is reached.
fn of_thread(error: &io::Error, cores: usize) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => format!("; {}", threads::shortage(cores)),
        _ => String::new(),
    }
}
