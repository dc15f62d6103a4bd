//! Adds to the error of a failed start what to do about it.

use std::{io, net::SocketAddr};

use anyhow::{Error, anyhow};
use runtime::StartError;
use rustix::process::{Resource, getrlimit};

use crate::{descriptors, threads};

/// How the text of an error ends that is about the limit on descriptors (EMFILE). Some are known only
/// as text.
const NO_DESCRIPTOR: &str = "(os error 24)";

/// Adds a remedy to the error of a failed start of a server with this many cores.
pub fn of_start(error: StartError, cores: usize) -> Error {
    let remedy = match &error {
        StartError::Listen { source, .. } => {
            let otherwise = "choose another address with --listen";
            format!("; {}", of_listening(source, otherwise))
        }
        StartError::Driver { .. } => {
            "; the kernel (sysctl kernel.io_uring_disabled) or a seccomp profile may forbid \
             io_uring: --driver auto then uses epoll"
                .to_owned()
        }
        StartError::Thread { source, .. } => of_thread(source, cores),
        StartError::Io(_) | StartError::Core { .. } | StartError::Restore(_) => String::new(),
    };
    let error = format!("{:#}", Error::new(error));
    match error.contains(NO_DESCRIPTOR) {
        true => anyhow!("{error}; {}", of_descriptors()),
        false => anyhow!("{error}{remedy}"),
    }
}

/// The error when the internal listener cannot be bound.
pub fn of_internal_listener(address: SocketAddr, error: &io::Error) -> Error {
    let otherwise = "choose another address with --internal-listen, or use --internal-listen off";
    let remedy = match error.to_string().contains(NO_DESCRIPTOR) {
        true => of_descriptors(),
        false => of_listening(error, otherwise),
    };
    anyhow!("the internal listener cannot listen on {address}: {error}; {remedy}")
}

/// The error when the API cannot be listened on.
pub fn of_api_listener(address: SocketAddr, error: &io::Error) -> Error {
    let otherwise = "choose another address with --api-listen, or use --api-listen off";
    let remedy = match error.to_string().contains(NO_DESCRIPTOR) {
        true => of_descriptors(),
        false => of_listening(error, otherwise),
    };
    anyhow!("the API cannot listen on {address}: {error}; {remedy}")
}

/// The error when one of the threads beside the cores cannot be started.
pub fn of_other_thread(name: &str, error: &io::Error, cores: usize) -> Error {
    let remedy = of_thread(error, cores);
    anyhow!("the thread `{name}` cannot be started: {error}{remedy}")
}

/// The limit on descriptors is too low for a server, even without a connection.
fn of_descriptors() -> String {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    format!(
        "RLIMIT_NOFILE allows this process {limit}: {}",
        descriptors::REMEDY
    )
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
