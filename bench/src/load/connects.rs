//! Connections a second: each is opened, upgraded, closed in order and waited for.

use super::dial::{Target, answer_bytes, connect, request};
use super::meter::{Measured, Meter};
use super::wait::wait;
use anyhow::{Context as _, Result, bail, ensure};
use codec::Opcode;
use codec::frame::encode_masked;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::time::{Duration, Instant};

/// A server that answered the close but keeps the socket is not waited for.
const END_TIMEOUT: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// The request is sent; this much of the answer has come.
    Asked(Vec<u8>),
    /// The close is sent; this much of the server's has come.
    Closing(Vec<u8>),
    /// The server's close has come; it has yet to end the connection.
    Closed,
}

#[derive(Debug)]
struct Attempt {
    socket: OwnedFd,
    index: usize,
    since: Instant,
    stage: Stage,
}

/// The load of connecting.
#[derive(Debug)]
struct Connects {
    target: Target,
    path: String,
    epoll: OwnedFd,
    close: Vec<u8>,
    next: usize,
    lingering: u64,
}

impl Connects {
    fn open(&mut self, slot: usize) -> Result<Attempt> {
        let index = self.next;
        self.next += 1;
        let since = Instant::now();
        let socket = connect(self.target.address, index)?;
        let request = request(&self.path, self.target.address, index);
        let sent = rustix::net::send(&socket, request.as_bytes(), SendFlags::NOSIGNAL)?;
        ensure!(
            sent == request.len(),
            "a new connection did not take the request"
        );
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        Ok(Attempt {
            socket,
            index,
            since,
            stage: Stage::Asked(Vec::new()),
        })
    }

    /// Goes on with one connection; says whether it has ended and another begun.
    fn advance(
        &mut self,
        attempts: &mut [Attempt],
        slot: usize,
        meter: &mut Meter,
    ) -> Result<bool> {
        let attempt = &mut attempts[slot];
        let index = attempt.index;
        let ended = self
            .receive(attempt)
            .with_context(|| format!("connection {index}"))?;
        if ended {
            meter.record(attempt.since, Instant::now(), 1);
            *attempt = self.open(slot)?;
        }
        Ok(ended)
    }

    /// Takes what has come; says whether the connection has ended.
    fn receive(&self, attempt: &mut Attempt) -> Result<bool> {
        let mut buffer = [0; 1024];
        let received =
            match rustix::net::recv(&attempt.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, received)) => received,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
        match &mut attempt.stage {
            Stage::Asked(head) => {
                ensure!(received > 0, "the server closed before it answered");
                head.extend_from_slice(&buffer[..received]);
                if let Some(bytes) = answer_bytes(head, attempt.index)? {
                    ensure!(bytes == head.len(), "the server sent an unexpected message");
                    rustix::net::send(&attempt.socket, &self.close, SendFlags::NOSIGNAL)?;
                    attempt.stage = Stage::Closing(Vec::new());
                }
                Ok(false)
            }
            Stage::Closing(frame) => {
                frame.extend_from_slice(&buffer[..received]);
                ensure!(
                    received > 0,
                    "the server ended the connection without a close frame"
                );
                if is_close_of_1000(frame)? {
                    attempt.stage = Stage::Closed;
                }
                Ok(false)
            }
            Stage::Closed if received == 0 => Ok(true),
            Stage::Closed => bail!("the server sent something after its close"),
        }
    }
}

/// Whether this is a whole close frame with the code that we sent.
fn is_close_of_1000(frame: &[u8]) -> Result<bool> {
    ensure!(
        frame[0] == 0x88,
        "the close was answered with another frame"
    );
    if frame.len() < 2 || frame.len() < 2 + usize::from(frame[1]) {
        return Ok(false);
    }
    ensure!(
        frame[1] < 2 || frame[2..4] == [3, 232],
        "the close was answered with another code"
    );
    Ok(true)
}

/// Keeps `slots` connections on their way until the measured part is over.
pub fn measure(target: Target, path: &str, slots: usize, mut meter: Meter) -> Result<Measured> {
    let mut close = Vec::new();
    encode_masked(Opcode::Close, true, [1, 2, 3, 4], &[3, 232], &mut close);
    let mut load = Connects {
        target,
        path: path.to_owned(),
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        close,
        next: 0,
        lingering: 0,
    };
    let mut attempts = (0..slots)
        .map(|slot| load.open(slot))
        .collect::<Result<Vec<_>>>()?;
    let mut events: Vec<epoll::Event> = Vec::with_capacity(slots);
    let mut progress = Instant::now();
    while !meter.is_over(Instant::now())? {
        ensure!(
            progress.elapsed() < SILENCE_MAX,
            "no connection came about for 5 s"
        );
        wait(&load.epoll, &mut events, &mut meter)?;
        for event in &events {
            if load.advance(&mut attempts, event.data.u64() as usize, &mut meter)? {
                progress = Instant::now();
            }
        }
        replace_lingering(&mut load, &mut attempts, &mut meter)?;
    }
    let mut measured = meter.finish().context("the run ended before it began")?;
    if load.lingering > 0 {
        measured.note = Some(format!(
            "{} connections were not ended by the server",
            load.lingering
        ));
    }
    Ok(measured)
}

fn replace_lingering(
    load: &mut Connects,
    attempts: &mut [Attempt],
    meter: &mut Meter,
) -> Result<()> {
    let now = Instant::now();
    for (slot, attempt) in attempts.iter_mut().enumerate() {
        let late = now.duration_since(attempt.since) > END_TIMEOUT;
        if late && matches!(attempt.stage, Stage::Closed) {
            load.lingering += 1;
            meter.record(attempt.since, now, 1);
            *attempt = load.open(slot)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_close_of_1000;

    #[test]
    fn close_answers_are_told_apart() {
        assert!(is_close_of_1000(&[0x88, 2, 3, 232]).unwrap());
        assert!(is_close_of_1000(&[0x88, 0]).unwrap());
        assert!(!is_close_of_1000(&[0x88, 2, 3]).unwrap());
        assert!(is_close_of_1000(&[0x88, 2, 3, 233]).is_err());
        assert!(is_close_of_1000(&[0x81, 0]).is_err());
    }
}
