//! The data of a connection in each phase of its life, and the memory that it takes.

use crate::close::CloseCode;
use crate::deflate::Deflate;
use crate::error::FrameError;
use crate::head::Head;
use crate::limits::Limits;
use crate::reader::{Pong, Reader};
use crate::response::Persistence;

/// It takes 16 bytes: anything larger lies in a box that exists only while it is needed.
pub(crate) enum State {
    /// The part of a head that has arrived, if any has.
    Handshake(Option<Box<Head>>),
    Answering {
        asked: Asked,
        /// The bytes of the request's body that were not taken.
        body_bytes: u32,
        lent: Pieces,
    },
    Body {
        asked: Asked,
        /// The bytes of the body that have not arrived yet.
        missing: u32,
        collected: Pieces,
    },
    Responding {
        is_chunked: bool,
        keeps: bool,
    },
    Open {
        deflate: Option<Deflate>,
        kept: Option<Box<Reader>>,
    },
    Closing {
        deflate: Option<Deflate>,
        kept: Option<Box<Reader>>,
    },
    Closed {
        farewell: Farewell,
        pong: Option<Box<Pong>>,
    },
}

/// The bytes of a head or a body that arrived in several pieces. It is one word, because most
/// arrive in one.
pub(crate) type Pieces = Option<Box<Vec<u8>>>;

/// The properties of a request that its answer depends on.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    /// Whether the method is HEAD, whose answer has no body.
    pub(crate) is_to_head: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) persistence: Persistence,
}

impl Asked {
    /// The properties of a request that is malformed or incomplete.
    pub(crate) fn unknown(is_to_head: bool) -> Self {
        Self {
            is_to_head,
            expects_continue: false,
            persistence: Persistence::Http10,
        }
    }
}

/// The last frame for the peer.
pub(crate) enum Farewell {
    Said,
    /// The reply to the peer's close frame.
    Reply(Option<CloseCode>),
    /// Which rule the peer broke.
    Broken(FrameError),
}

impl Default for State {
    fn default() -> Self {
        Self::Handshake(None)
    }
}

impl State {
    /// Closed, with nothing owed.
    pub(crate) fn closed() -> Self {
        Self::Closed {
            farewell: Farewell::Said,
            pong: None,
        }
    }

    /// Moves to Answering after a malformed request, whose connection is not kept and whose body
    /// cannot be taken.
    pub(crate) fn misunderstand(&mut self, rest: &[u8], limits: &Limits) {
        if let Self::Handshake(head) = self {
            *self = Self::Answering {
                asked: Asked::unknown(Head::is_to_head(
                    head.as_deref(),
                    rest,
                    limits.head_bytes_max,
                )),
                body_bytes: 0,
                lent: None,
            };
        }
    }

    /// The properties of the request, if it can be answered now.
    pub(crate) fn asked(&self) -> Option<Asked> {
        match self {
            Self::Handshake(head) => Some(Asked::unknown(Head::is_to_head(
                head.as_deref(),
                &[],
                usize::MAX,
            ))),
            Self::Answering { asked, .. } | Self::Body { asked, .. } => Some(*asked),
            Self::Responding { .. }
            | Self::Open { .. }
            | Self::Closing { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// Moves on after a complete response: to Handshake if the connection is kept, else to Closed.
    pub(crate) fn after_response(&mut self) {
        *self = match self {
            Self::Responding { keeps: true, .. } => Self::default(),
            _ => Self::closed(),
        };
    }

    /// Whether another request may follow the answer, which requires that this one was read
    /// completely.
    pub(crate) fn may_keep(&self) -> bool {
        match self {
            Self::Answering {
                asked,
                body_bytes: 0,
                ..
            } => asked.persistence == Persistence::Keeps,
            _ => false,
        }
    }

    /// Takes the bytes of a head that arrived in several pieces.
    pub(crate) fn take_head(&mut self) -> Pieces {
        match self {
            Self::Handshake(head) => head.take().map(|head| Box::new(head.into_bytes())),
            _ => None,
        }
    }

    /// The bytes that the last event borrows, if they did not lie in the input.
    pub(crate) fn lent(&self) -> &[u8] {
        self.reader().map_or(&[], Reader::lent)
    }

    /// Takes the owed pong, which is then no longer owed.
    pub(crate) fn take_pong(&mut self) -> Option<Box<Pong>> {
        match self {
            Self::Open { kept, .. } | Self::Closing { kept, .. } => Reader::take_pong(kept),
            Self::Closed { pong, .. } => pong.take(),
            Self::Handshake(_)
            | Self::Answering { .. }
            | Self::Body { .. }
            | Self::Responding { .. } => None,
        }
    }

    /// Moves to Closed and owes a close frame, unless ours was sent: no frame may follow it (RFC
    /// 6455 section 5.5.1).
    pub(crate) fn end(&mut self, farewell: Farewell) {
        let pong = self.take_pong();
        let farewell = match self {
            Self::Closing { .. } => Farewell::Said,
            _ => farewell,
        };
        *self = Self::Closed { farewell, pong };
    }

    pub(crate) fn owes(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Closing { .. } => {
                self.reader().is_some_and(Reader::owes_pong)
            }
            Self::Closed { farewell, pong } => {
                pong.is_some() || !matches!(farewell, Farewell::Said)
            }
            Self::Handshake(_)
            | Self::Answering { .. }
            | Self::Body { .. }
            | Self::Responding { .. } => false,
        }
    }

    /// Heap held, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        match self.reader() {
            Some(reader) => reader.buffered_bytes(),
            None => self.unfinished_bytes(),
        }
    }

    /// Heap held in bytes, without the window, which is kept for later messages.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        match self {
            Self::Handshake(head) => head.as_ref().map_or(0, |head| head.buffered_bytes()),
            Self::Answering { lent: pieces, .. }
            | Self::Body {
                collected: pieces, ..
            } => pieces
                .as_ref()
                .map_or(0, |bytes| size_of::<Vec<u8>>() + bytes.capacity()),
            Self::Responding { .. } => 0,
            Self::Open { .. } | Self::Closing { .. } => {
                self.reader().map_or(0, Reader::unfinished_bytes)
            }
            Self::Closed { pong, .. } => pong.as_ref().map_or(0, |_| size_of::<Pong>()),
        }
    }

    fn reader(&self) -> Option<&Reader> {
        match self {
            Self::Open { kept, .. } | Self::Closing { kept, .. } => kept.as_deref(),
            Self::Handshake(_)
            | Self::Answering { .. }
            | Self::Body { .. }
            | Self::Responding { .. }
            | Self::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection takes these bytes.
    #[test]
    fn state_takes_two_words() {
        assert_eq!(size_of::<State>(), 16);
        assert_eq!(size_of::<crate::Connection>(), 16);
    }
}
