//! Tells the service manager that started this process, if one did, when it serves and when it ends.
//!
//! One datagram each to the socket that `NOTIFY_SOCKET` names (sd_notify(3), `Type=notify` of
//! systemd). That is the whole protocol, and written out here since a start and a stop must not
//! wait for a manager that stands still: the crates for it send without a bound.
//!
//! A reload is not told: only from version 253 on does systemd wait for the end of one
//! (`Type=notify-reload`), and the unit is for older ones too.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// Connections are answered.
pub fn ready() {
    tell("READY=1");
}

/// The server has been told to stop.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(state, &socket) {
        warn!(state, ?socket, %error, "the service manager could not be told");
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
