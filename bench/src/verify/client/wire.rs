//! The two directions of a connection: the frames of a WebSocket, or a stream with requests beside it.

use super::Form;
use crate::centrifuge::{Answered, Frame, Frames, Requests, Stream, Transport};
use crate::load::dial::read_answer;
use crate::load::link::{Buffers, Link, Received};
use crate::load::transport::Compression;
use anyhow::Result;
use std::time::{Duration, Instant};

/// How long a client waits whose request a busy server did not take, as the server asks it to.
const BUSY: Duration = Duration::from_secs(1);

/// What the server sends.
#[derive(Debug)]
pub enum Inflow {
    /// The answer to a handshake is coming.
    Handshake(Vec<u8>),
    /// Frames of a WebSocket.
    Frames(Frames),
    /// A stream over HTTP.
    Stream(Stream),
}

impl Inflow {
    /// What a server sends to a client of this form over this transport.
    #[must_use]
    pub fn new(form: Form, transport: Transport) -> Self {
        match (transport, form.encoding()) {
            _ if form == Form::Events => Self::Stream(Stream::of_events()),
            (Transport::HttpStream | Transport::Sse, Some(encoding)) => {
                Self::Stream(Stream::new(transport, encoding))
            }
            _ => Self::Handshake(Vec::new()),
        }
    }

    /// Adds what has arrived; returns whether the client is let in, and an error if it is not.
    pub fn push(&mut self, bytes: &[u8], client: u32) -> Result<bool> {
        match self {
            Self::Handshake(head) => {
                head.extend_from_slice(bytes);
                let Some(answer) = read_answer(head, Compression::Off, client as usize)? else {
                    return Ok(false);
                };
                let mut frames = Frames::default();
                frames.push(&head[answer.bytes..]);
                *self = Self::Frames(frames);
                Ok(true)
            }
            Self::Frames(frames) => {
                frames.push(bytes);
                Ok(true)
            }
            Self::Stream(stream) => {
                stream.push(bytes);
                stream.opens()
            }
        }
    }

    /// What has arrived whole.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        match self {
            Self::Handshake(_) => Ok(None),
            Self::Frames(frames) => frames.next(),
            Self::Stream(stream) => stream.next(),
        }
    }
}

/// What goes beside a stream, on a connection that is opened when it is needed.
#[derive(Debug)]
pub struct Beside {
    /// The connection, if there is one.
    pub link: Option<Link>,
    /// The requests on it.
    pub requests: Requests,
    /// When the server may be asked the same once more.
    again_at: Option<Instant>,
}

/// How requests beside a stream have fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fared {
    /// Well.
    Well,
    /// The stream is of no use any more: a command may be lost, or the server does not know it.
    Badly,
}

impl Beside {
    /// No requests yet.
    #[must_use]
    pub fn new(requests: Requests) -> Self {
        Self {
            link: None,
            requests,
            again_at: None,
        }
    }

    /// Whether something is to be sent, and there is no connection for it.
    #[must_use]
    pub fn wants_link(&self) -> bool {
        self.link.is_none() && self.requests.can_ask()
    }

    /// Sends what can be sent. A connection that the server has ended says so when it is read.
    pub fn send(&mut self) {
        if let Some(link) = &mut self.link
            && let Some(request) = self.requests.next()
        {
            let _ = link.send(request);
        }
    }

    /// Sends what is left, and what was to be asked again.
    pub fn tend(&mut self, now: Instant) {
        let Some(link) = &mut self.link else {
            return;
        };
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            let _ = self.requests.again().map(|request| link.send(request));
        } else if link.has_unsent() {
            let _ = link.flush();
        }
    }

    /// Takes what has arrived.
    pub fn receive(&mut self, buffers: &mut Buffers, now: Instant) -> Result<Fared> {
        let Some(link) = &mut self.link else {
            return Ok(Fared::Well);
        };
        let bytes = match link.receive(buffers) {
            Ok(Received::Nothing) => return Ok(Fared::Well),
            Ok(Received::Bytes(bytes)) => bytes,
            // A server may end a connection that it kept for the next request, but for one that is under way.
            Ok(Received::End) | Err(_) => {
                self.link = None;
                return Ok(match self.requests.is_asking() {
                    true => Fared::Badly,
                    false => Fared::Well,
                });
            }
        };
        match self.requests.take(bytes)? {
            Answered::NotYet => {}
            Answered::Taken => self.send(),
            Answered::Again => self.again_at = Some(now + BUSY),
            Answered::Gone => return Ok(Fared::Badly),
        }
        Ok(Fared::Well)
    }
}

/// A fault in what a stream brings, for the checker to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A chunk is lost.
    LostChunk,
    /// A chunk comes twice.
    RepeatedChunk,
}

impl Sabotage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LostChunk, Self::RepeatedChunk];

    /// How often the chunk comes.
    #[must_use]
    pub fn times(self) -> usize {
        match self {
            Self::LostChunk => 0,
            Self::RepeatedChunk => 2,
        }
    }
}
