//! Connections a second: each is opened, upgraded, closed in order and waited for.

use super::dial::{Target, read_answer};
use super::link::{Buffers, Link, Received};
use super::meter::{Measured, Meter};
use super::wait::wait;
use anyhow::{Context as _, Result, bail, ensure};
use codec::Opcode;
use codec::frame::encode_masked;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
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
    link: Link,
    index: usize,
    since: Instant,
    stage: Stage,
}

/// The load of connecting.
#[derive(Debug)]
struct Connects<'a> {
    target: &'a Target,
    path: &'a str,
    epoll: OwnedFd,
    close: Vec<u8>,
    buffers: Buffers,
    next: usize,
    lingering: u64,
    /// Of all that ended, those whose TLS session was resumed.
    resumed: u64,
    ended: u64,
}

impl Connects<'_> {
    fn open(&mut self, slot: usize) -> Result<Attempt> {
        let index = self.next;
        self.next += 1;
        let since = Instant::now();
        let link = self.target.ask(self.path, index)?;
        rustix::io::ioctl_fionbio(link.socket(), true)?;
        let data = epoll::EventData::new_u64(slot as u64);
        epoll::add(&self.epoll, link.socket(), data, epoll::EventFlags::IN)?;
        Ok(Attempt {
            link,
            index,
            since,
            stage: Stage::Asked(Vec::new()),
        })
    }

    /// What a reader must know of the connections.
    fn note(&self) -> Option<String> {
        let resumed = 100.0 * self.resumed as f64 / self.ended.max(1) as f64;
        if self.lingering > 0 {
            Some(format!(
                "{} connections were not ended by the server",
                self.lingering
            ))
        } else if self.target.tls.is_some() {
            Some(format!("{resumed:.0} % of the TLS sessions were resumed"))
        } else {
            None
        }
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
            self.ended += 1;
            self.resumed += u64::from(attempt.link.was_resumed());
            *attempt = self.open(slot)?;
        }
        Ok(ended)
    }

    /// Takes what has come; says whether the connection has ended.
    fn receive(&mut self, attempt: &mut Attempt) -> Result<bool> {
        let received = attempt.link.receive(&mut self.buffers)?;
        match (&mut attempt.stage, received) {
            (_, Received::Nothing) => Ok(false),
            (Stage::Asked(_), Received::End) => bail!("the server closed before it answered"),
            (Stage::Asked(head), Received::Bytes(bytes)) => {
                head.extend_from_slice(bytes);
                let answer = read_answer(head, self.target.compression, attempt.index)?;
                if let Some(answer) = answer {
                    let bytes = answer.bytes;
                    ensure!(bytes == head.len(), "the server sent an unexpected message");
                    attempt.link.send(&self.close)?;
                    attempt.stage = Stage::Closing(Vec::new());
                }
                Ok(false)
            }
            (Stage::Closing(_), Received::End) => {
                bail!("the server ended the connection without a close frame")
            }
            (Stage::Closing(frame), Received::Bytes(bytes)) => {
                frame.extend_from_slice(bytes);
                if is_close_of_1000(frame)? {
                    attempt.stage = Stage::Closed;
                }
                Ok(false)
            }
            (Stage::Closed, Received::End) => Ok(true),
            (Stage::Closed, Received::Bytes(_)) => {
                bail!("the server sent something after its close")
            }
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
pub fn measure(target: &Target, path: &str, slots: usize, mut meter: Meter) -> Result<Measured> {
    let mut close = Vec::new();
    encode_masked(Opcode::Close, true, [1, 2, 3, 4], &[3, 232], &mut close);
    let mut load = Connects {
        target,
        path,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        close,
        buffers: Buffers::new(),
        next: 0,
        lingering: 0,
        resumed: 0,
        ended: 0,
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
    measured.note = load.note();
    Ok(measured)
}

fn replace_lingering(
    load: &mut Connects<'_>,
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
