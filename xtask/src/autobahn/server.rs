//! Starts the server for one run of the suite, and checks that it answers before the run and still
//! lives after it.

use crate::process::{Guarded, poll};
use anyhow::{Context, Result, bail};
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Group 9 sends 16 MiB messages in fragments of 64 bytes, and the suite never answers some pings,
/// so these limits are raised. Groups 12 and 13 must find every message compressed, with context
/// takeover on both sides and the largest window.
const SETTINGS: [&str; 20] = [
    "--cores",
    "1",
    "--message-bytes-max",
    "64MiB",
    "--message-fragments-max",
    "0",
    "--send-queue-bytes-max",
    "64MiB",
    "--write-timeout",
    "60s",
    "--ping-interval",
    "10m",
    "--compression",
    "on",
    "--compression-takeover",
    "both",
    "--compression-window-bits",
    "15",
    "--compression-bytes-min",
    "0",
];

/// A running server, which is killed when this is dropped.
pub struct Server {
    child: Guarded,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `program` on a free port and waits until it accepts a WebSocket; its output goes to a
    /// log.
    pub fn start(program: &Path, driver: &str, report: &Path) -> Result<Self> {
        let address = free_address()?;
        let log = report.join("server.log");
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(["--listen", &address.to_string(), "--driver", driver]);
        command.args(["--internal-listen", "off"]);
        command.args(SETTINGS);
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self {
            child: Guarded(child),
            address,
            log,
        };
        server.wait_until_it_accepts()?;
        upgrade(address)
            .context("the server accepts connections, but opens no WebSocket at /echo")?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("ws://{}/echo", self.address)
    }

    pub fn has_died(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_some())
    }

    /// Returns an error with the end of the server's log if the server has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.ended()? {
            bail!(
                "the server ended with {status}; its log ends:\n{}",
                self.log_end()
            );
        }
        Ok(())
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let address = self.address;
        let accepts = poll(START_LIMIT, || {
            self.still_runs()?;
            Ok(TcpStream::connect(address).ok())
        })?;
        if accepts.is_none() {
            bail!(
                "the server does not listen on {address} after {START_LIMIT:?}; its log ends:\n{}",
                self.log_end()
            );
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A port on which nothing listened a moment ago. It is below those that the kernel gives to clients, of
/// which one could have it before the server has started.
fn free_address() -> Result<SocketAddr> {
    let start = RandomState::new().hash_one(std::process::id()) % 20_000;
    let ports = (0..20_000).map(|nth| 10_000 + ((start + nth) % 20_000) as u16);
    let free = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    free.into_iter()
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no port is free")
}

/// Opens one WebSocket by hand. If the server did not answer, the suite would wait five seconds in
/// each case.
fn upgrade(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(
        stream,
        "GET /echo HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut status = [0; 12];
    stream
        .read_exact(&mut status)
        .context("no answer to the opening handshake")?;
    if status != *b"HTTP/1.1 101" {
        bail!(
            "the opening handshake was answered with {:?}",
            String::from_utf8_lossy(&status)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// A peer that accepts one connection and sends `answer` whatever it receives.
    fn peer(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = BufReader::new(&stream).lines();
            while !request.next().unwrap().unwrap().is_empty() {}
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn upgrade_other_status_or_silence_is_an_error() {
        upgrade(peer("HTTP/1.1 101 Switching Protocols\r\n\r\n")).unwrap();
        assert!(upgrade(peer("HTTP/1.1 404 Not Found\r\n\r\n")).is_err());
        assert!(upgrade(peer("")).is_err());
    }

    #[test]
    fn start_program_that_ends_at_once_is_an_error_with_its_log() {
        let report = tempfile::tempdir().unwrap();
        let program = report.path().join("server");
        std::fs::write(&program, "#!/bin/sh\necho no such driver: $4 >&2\nexit 2\n").unwrap();
        std::process::Command::new("chmod")
            .arg("+x")
            .arg(&program)
            .status()
            .unwrap();
        let error = Server::start(&program, "kqueue", report.path())
            .err()
            .unwrap();
        assert!(
            format!("{error:#}").contains("no such driver: kqueue"),
            "{error:#}"
        );
    }
}
