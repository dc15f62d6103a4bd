//! A message that arrives in fragments or in pieces: its bytes so far, and which frame may follow.

use crate::error::FrameError;
use crate::frame::{Header, Kind, Sequence};
use crate::limits::Limits;
use crate::utf8;

/// The message that data frames belong to.
pub(crate) enum Message {
    /// There is none: the next data frame begins a message.
    Between,
    Within(PartialMessage),
    /// Our close frame was sent, so data frames and pings are skipped.
    Discarding,
}

pub(crate) struct PartialMessage {
    pub(crate) kind: Kind,
    pub(crate) compressed: bool,
    pub(crate) fragments: u32,
    /// Unmasked, and compressed if the message is. It grows with the bytes that arrive, not with
    /// the announced length.
    pub(crate) payload: Vec<u8>,
    utf8: utf8::Progress,
}

impl Message {
    pub(crate) fn sequence(&self) -> Sequence {
        match self {
            Self::Between => Sequence::Start,
            Self::Within(_) => Sequence::Continuation,
            Self::Discarding => Sequence::Any,
        }
    }
}

impl PartialMessage {
    pub(crate) fn new(kind: Kind, compressed: bool) -> Self {
        Self {
            kind,
            compressed,
            fragments: 0,
            payload: Vec::new(),
            utf8: utf8::Progress::default(),
        }
    }

    /// Checks a further frame by its header, before any of its payload is read.
    pub(crate) fn admit(&mut self, header: &Header, limits: &Limits) -> Result<(), FrameError> {
        let message_bytes = self.payload.len() as u64 + header.payload_bytes;
        if message_bytes > limits.wire_bytes_max(self.compressed) as u64 {
            return Err(FrameError::MessageTooBig);
        }
        if limits.message_fragments_max > 0 && self.fragments >= limits.message_fragments_max {
            return Err(FrameError::TooManyFragments);
        }
        self.fragments = self.fragments.saturating_add(1);
        Ok(())
    }

    pub(crate) fn append(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        self.payload.extend_from_slice(piece);
        match self.kind {
            Kind::Text if !self.compressed => self.utf8.advance(&self.payload),
            Kind::Text | Kind::Binary => Ok(()),
        }
    }

    pub(crate) fn finish(&self) -> Result<(), FrameError> {
        match self.kind {
            Kind::Text if !self.compressed => self.utf8.finish(&self.payload),
            Kind::Text | Kind::Binary => Ok(()),
        }
    }
}

/// Checks text that arrived in one piece.
pub(crate) fn check_text(kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    match kind {
        Kind::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(_) => Ok(()),
            Err(_) => Err(FrameError::TextUtf8),
        },
        Kind::Binary => Ok(()),
    }
}
