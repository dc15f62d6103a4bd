//! Notifies the service manager that started this process, if any, when it serves and when it stops.
//!
//! The whole protocol is one datagram each to the socket that `NOTIFY_SOCKET` names (sd_notify(3),
//! `Type=notify` of systemd). It is implemented here because a start and a stop must not wait for a
//! manager that does not respond, and the crates for it may block in send.
//!
//! Reloads are not notified: systemd waits for the end of a reload (`Type=notify-reload`) only since
//! version 253, and the unit must work with older versions.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// Notifies that connections are answered.
pub fn ready() {
    tell("READY=1");
}

/// Notifies that the server is stopping.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(state, &socket) {
        warn!(state, ?socket, %error, "the service manager could not be notified");
    }
}

fn send(state: &str, socket: &OsStr) -> io::Result<()> {
    let manager = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let own = UnixDatagram::unbound()?;
    own.set_nonblocking(true)?;
    own.send_to_addr(state.as_bytes(), &manager)?;
    Ok(())
}
