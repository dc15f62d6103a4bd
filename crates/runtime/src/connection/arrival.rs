//! What has arrived of a peer's stream: what its socket has reported, and bytes that wait to be processed.

use crate::io::{Arrived, PeerStream, Received};

/// What a socket has reported of its peer's stream and has not been used up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    /// A receive may find something.
    pub(crate) is_readable: bool,
    /// The stream has ended or broken: receives are to go on until one says so, since the socket
    /// will not report it again.
    pub(crate) has_ended: bool,
    /// Urgent data has come (RFC 6093). A receive ends at its mark, whatever lies behind it, so that
    /// receives are to go on until one finds nothing. The urgent byte itself is no part of the
    /// stream: the kernel leaves it out.
    pub(crate) has_mark: bool,
    /// It has broken: nothing can be said to the peer any more, either.
    pub(crate) has_broken: bool,
}

impl Arrival {
    /// A receive has brought something, all that there was unless the stream has ended or is marked.
    pub(crate) fn took(&mut self, received: &Received) {
        self.has_mark &= !matches!(received.arrived, Arrived::Nothing);
        self.is_readable = !received.is_all || self.has_ended || self.has_mark;
    }

    /// How far the peer's stream has come.
    pub(crate) fn peer_stream(self) -> PeerStream {
        match self {
            Self {
                has_broken: true, ..
            } => PeerStream::Broken,
            Self {
                has_ended: true, ..
            } => PeerStream::Ended,
            _ => PeerStream::Open,
        }
    }
}

/// Received bytes that wait for a later turn. Processing some of them moves none of the others.
#[derive(Default)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

impl Leftover {
    /// Keeps a copy of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            taken: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that are not processed yet.
    pub(crate) fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.taken..]
    }

    /// Marks the first `bytes` of the rest as processed; frees the memory once all are.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}
