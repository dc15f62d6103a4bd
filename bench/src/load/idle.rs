//! Idle connections: what each costs in memory, before and after it has talked once.

use super::check::EchoCheck;
use super::dial::{Target, dial_all};
use super::wire::Template;
use crate::proc::Process;
use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::thread::sleep;
use std::time::{Duration, Instant};

const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that talk at the same time.
const TALKING: usize = 64;

/// Memory of a server that holds idle connections.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Before the first connection.
    pub base_bytes: u64,
    /// With so many idle connections, so many bytes in all.
    pub curve: Vec<(usize, u64)>,
    /// After each has sent one message and received it back.
    pub talked_bytes: u64,
}

/// How connections are opened.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Memory is read after each.
    pub count: usize,
    /// Time before it is read.
    pub settle: Duration,
}

/// Opens the connections in steps, then lets each talk once.
pub fn measure(
    target: Target,
    process: Process,
    connections: usize,
    steps: Steps,
    template: &mut Template,
    path: impl Fn(usize) -> String,
) -> Result<Memory> {
    sleep(steps.settle);
    let base_bytes = process.resident_bytes()?;
    let mut sockets = Vec::with_capacity(connections);
    let mut curve = vec![(0, base_bytes)];
    for step in 1..=steps.count {
        let until = connections * step / steps.count;
        sockets.extend(dial_all(target, sockets.len()..until, &path)?);
        sleep(steps.settle);
        curve.push((until, process.resident_bytes()?));
    }
    for first in (0..sockets.len()).step_by(TALKING) {
        let until = (first + TALKING).min(sockets.len());
        talk(&sockets[first..until], first, template)?;
    }
    sleep(steps.settle);
    Ok(Memory {
        base_bytes,
        curve,
        talked_bytes: process.resident_bytes()?,
    })
}

fn talk(sockets: &[OwnedFd], first: usize, template: &mut Template) -> Result<()> {
    for (offset, socket) in sockets.iter().enumerate() {
        let mut message = Vec::new();
        template.append((first + offset) as u32, 0, &mut message);
        let sent = rustix::net::send(socket, &message, SendFlags::NOSIGNAL)?;
        ensure!(
            sent == message.len(),
            "an idle connection did not take a message"
        );
    }
    for (offset, socket) in sockets.iter().enumerate() {
        let index = first + offset;
        receive_own(socket, index, template).with_context(|| format!("connection {index}"))?;
    }
    Ok(())
}

fn receive_own(socket: &OwnedFd, index: usize, template: &mut Template) -> Result<()> {
    let mut check = EchoCheck::new(index as u32);
    let mut buffer = [0; 1024];
    let since = Instant::now();
    while check.returned() == 0 {
        match rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((_, received)) => {
                ensure!(received > 0, "the server closed the connection");
                check
                    .receive(template, 1, without_pings(&buffer[..received]))
                    .map_err(|fault| anyhow!("{fault}"))?;
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                ensure!(since.elapsed() < REPLY_TIMEOUT, "no reply");
                sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A connection that was idle for long may have been pinged. A server sends a ping in one piece.
fn without_pings(mut bytes: &[u8]) -> &[u8] {
    while let [0x89, length, rest @ ..] = bytes {
        bytes = rest.get(usize::from(*length)..).unwrap_or(&[]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::without_pings;

    #[test]
    fn pings_before_a_reply_are_left_out() {
        assert_eq!(without_pings(&[0x89, 0, 0x89, 2, 7, 7, 0x81, 0]), [0x81, 0]);
        assert_eq!(without_pings(&[0x81, 0]), [0x81, 0]);
    }
}
