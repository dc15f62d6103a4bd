//! What a connection remembers in each phase of its life, and what that takes.

use crate::close::CloseCode;
use crate::deflate::Deflate;
use crate::head::Head;
use crate::reader::{Pong, Reader};

/// 16 bytes: whatever is larger lies in a box, which there is only while it is needed.
pub(crate) enum State {
    /// What has come of a head, if anything has.
    Handshake(Option<Box<Head>>),
    Answering {
        /// Whether the method is HEAD, whose answer has no body.
        is_to_head: bool,
        lent: Lent,
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

/// What an event of HTTP borrows, if its bytes came in several pieces.
pub(crate) type Lent = Option<Box<Vec<u8>>>;

/// The last thing the peer is to be told.
pub(crate) enum Farewell {
    Said,
    Close(Option<CloseCode>),
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

    /// Whether the request, as far as it has come and with `more` of it, is one to HEAD.
    pub(crate) fn is_to_head(&self, more: &[u8]) -> bool {
        match self {
            Self::Handshake(head) => Head::is_to_head(head.as_deref(), more),
            Self::Answering { is_to_head, .. } => *is_to_head,
            Self::Open { .. } | Self::Closing { .. } | Self::Closed { .. } => false,
        }
    }

    /// The bytes of a head that came in several pieces.
    pub(crate) fn take_head(&mut self) -> Lent {
        match self {
            Self::Handshake(head) => head.take().map(|head| Box::new(head.into_bytes())),
            _ => None,
        }
    }

    /// What the last event of a frame borrows that did not lie in the input.
    pub(crate) fn lent(&self) -> &[u8] {
        self.reader().map_or(&[], Reader::lent)
    }

    /// The pong that is owed: it is owed no longer.
    pub(crate) fn take_pong(&mut self) -> Option<Box<Pong>> {
        match self {
            Self::Open { kept, .. } | Self::Closing { kept, .. } => Reader::take_pong(kept),
            Self::Closed { pong, .. } => pong.take(),
            Self::Handshake(_) | Self::Answering { .. } => None,
        }
    }

    /// To Closed, with a close frame unless ours was sent: no frame may follow it
    /// (RFC 6455 section 5.5.1).
    pub(crate) fn end(&mut self, code: Option<CloseCode>) {
        let pong = self.take_pong();
        let farewell = match self {
            Self::Closing { .. } => Farewell::Said,
            _ => Farewell::Close(code),
        };
        *self = Self::Closed { farewell, pong };
    }

    pub(crate) fn owes(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Closing { .. } => {
                self.reader().is_some_and(Reader::owes_pong)
            }
            Self::Closed { farewell, pong } => {
                pong.is_some() || matches!(farewell, Farewell::Close(_))
            }
            Self::Handshake(_) | Self::Answering { .. } => false,
        }
    }

    /// Heap held, in bytes.
    pub(crate) fn buffered_bytes(&self) -> usize {
        match self.reader() {
            Some(reader) => reader.buffered_bytes(),
            None => self.unfinished_bytes(),
        }
    }

    /// Heap held, in bytes, but for what is kept for later messages.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        match self {
            Self::Handshake(head) => head.as_ref().map_or(0, |head| head.buffered_bytes()),
            Self::Answering { lent, .. } => lent
                .as_ref()
                .map_or(0, |lent| size_of::<Vec<u8>>() + lent.capacity()),
            Self::Open { .. } | Self::Closing { .. } => {
                self.reader().map_or(0, Reader::unfinished_bytes)
            }
            Self::Closed { pong, .. } => pong.as_ref().map_or(0, |_| size_of::<Pong>()),
        }
    }

    fn reader(&self) -> Option<&Reader> {
        match self {
            Self::Open { kept, .. } | Self::Closing { kept, .. } => kept.as_deref(),
            Self::Handshake(_) | Self::Answering { .. } | Self::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle connection pays for these bytes.
    #[test]
    fn state_takes_two_words() {
        assert_eq!(size_of::<State>(), 16);
        assert_eq!(size_of::<crate::Connection>(), 16);
    }
}
