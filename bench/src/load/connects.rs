//! Connections a second: each connection is opened, upgraded and closed in order, up to its end.

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

/// A server that answers the close frame but then keeps the socket open is not waited for any
/// longer.
const END_TIMEOUT: Duration = Duration::from_millis(500);
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// The stage of a connection.
#[derive(Debug)]
enum Stage {
    /// The request is sent; this part of the answer has arrived.
    Asked(Vec<u8>),
    /// The close frame is sent; this part of the server's has arrived.
    Closing(Vec<u8>),
    /// The server's close frame has arrived, but the connection has not ended yet.
    Closed,
}

#[derive(Debug)]
struct Attempt {
    link: Link,
    index: usize,
    since: Instant,
    stage: Stage,
}

/// The load that opens connections.
#[derive(Debug)]
struct Connects<'a> {
    target: &'a Target,
    path: &'a str,
    epoll: OwnedFd,
    close: Vec<u8>,
    buffers: Buffers,
    next: usize,
    lingering: u64,
    /// The number of connections that are opened at the start. They cannot resume a session,
    /// because no ticket exists yet.
    slots: usize,
    sessions: Sessions,
}

/// TLS sessions of all later connections.
#[derive(Clone, Copy, Default, Debug)]
struct Sessions {
    resumed: u64,
    all: u64,
}

impl Sessions {
    /// The number of resumed sessions. It is an error if sessions should be resumed and none was.
    fn note(self, should_resume: bool) -> Result<Option<String>> {
        if self.all == 0 {
            return Ok(None);
        }
        ensure!(
            self.resumed > 0 || !should_resume,
            "none of {} TLS sessions was resumed",
            self.all
        );
        let share = 100.0 * self.resumed as f64 / self.all as f64;
        Ok(Some(format!(
            "{share:.0} % of the TLS sessions were resumed"
        )))
    }
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

    /// A remark about the connections for the reader of the results.
    fn note(&self) -> Result<Option<String>> {
        let sessions = match &self.target.tls {
            Some(client) => self.sessions.note(client.resumes())?,
            None => None,
        };
        let lingering = format!(
            "{} connections were not ended by the server",
            self.lingering
        );
        Ok(if self.lingering > 0 {
            Some(lingering)
        } else {
            sessions
        })
    }

    /// Advances one connection; returns whether it has ended and a new one has begun.
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
            if index >= self.slots {
                self.sessions.all += 1;
                self.sessions.resumed += u64::from(attempt.link.was_resumed());
            }
            *attempt = self.open(slot)?;
        }
        Ok(ended)
    }

    /// Reads what has arrived; returns whether the connection has ended.
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

/// Whether this is a complete close frame with the code that was sent.
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

/// Keeps `slots` connections in progress until the measured part is over.
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
        slots,
        sessions: Sessions::default(),
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
    measured.note = load.note()?;
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
    use super::{Sessions, is_close_of_1000};

    #[test]
    fn close_answers_are_told_apart() {
        assert!(is_close_of_1000(&[0x88, 2, 3, 232]).unwrap());
        assert!(is_close_of_1000(&[0x88, 0]).unwrap());
        assert!(!is_close_of_1000(&[0x88, 2, 3]).unwrap());
        assert!(is_close_of_1000(&[0x88, 2, 3, 233]).is_err());
        assert!(is_close_of_1000(&[0x81, 0]).is_err());
    }

    #[test]
    fn sessions_none_resumed_where_they_should_be_is_an_error() {
        let sessions = |resumed, all| Sessions { resumed, all };
        let note = |part| Some(format!("{part} % of the TLS sessions were resumed"));
        assert_eq!(sessions(3, 4).note(true).unwrap(), note(75));
        assert_eq!(sessions(0, 4).note(false).unwrap(), note(0));
        assert_eq!(sessions(0, 0).note(true).unwrap(), None);
        let error = sessions(0, 4).note(true).unwrap_err().to_string();
        assert!(error.contains("none of 4"), "{error}");
    }
}
