//! How much of its input a call has consumed, and where the bytes of an event lie.

use std::ops::Range;

/// The input of one call, and how much of it is consumed.
pub(crate) struct Cursor<'a> {
    input: &'a mut [u8],
    consumed: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(input: &'a mut [u8]) -> Self {
        Self { input, consumed: 0 }
    }

    pub(crate) fn consumed(&self) -> usize {
        self.consumed
    }

    pub(crate) fn rest(&self) -> &[u8] {
        &self.input[self.consumed..]
    }

    /// Consumes up to `bytes_max` bytes.
    pub(crate) fn take(&mut self, bytes_max: u64) -> &mut [u8] {
        let bytes = bytes_max.min(self.rest().len() as u64) as usize;
        let start = self.consumed;
        self.consumed += bytes;
        &mut self.input[start..self.consumed]
    }

    /// Consumes `bytes` bytes and returns their range, if all of them are there.
    pub(crate) fn take_whole(&mut self, bytes: u64) -> Option<Range<usize>> {
        let start = self.consumed;
        let whole = bytes <= self.rest().len() as u64;
        whole.then(|| {
            self.consumed += bytes as usize;
            start..self.consumed
        })
    }

    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.input[range]
    }
}

/// Where the bytes of an event lie. Readers name the place; only the last step borrows the bytes.
pub(crate) enum Place {
    /// A range of this call's input: nothing was copied.
    Input(Range<usize>),
    /// In a buffer of the connection, because the bytes arrived in several pieces.
    Lent,
}

impl Place {
    pub(crate) fn bytes<'a>(&self, input: &'a [u8], lent: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Input(range) => &input[range.clone()],
            Self::Lent => lent,
        }
    }
}
