//! Makes frames of messages in the form that connections have agreed on: plain or compressed.
//!
//! ```text
//!  room's message ──▶ encode(form) ──▶ one frame for all subscribers of that form on this core
//!  reply          ──▶ append(form, context) ──▶ the connection's own bytes
//! ```
//!
//! A message is compressed by itself, with a compressor of the core, unless the connection has a
//! context of its own. So an idle connection holds no compressor, and what a room is told is
//! compressed once for each window size, not once for each subscriber.

use codec::{
    Deflate, Deflater, Kind,
    frame::{self, HeaderBytes},
};

use crate::{config::Compression, tally::Compressed};

/// The window sizes that a peer can ask for, in bits.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOWS: usize = 7;

/// The memory for the latest compressed frame is kept up to this size.
const SCRATCH_BYTES_MAX: usize = 128 << 10;

/// What a message is on the wire of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WireForm {
    /// As it is.
    #[default]
    Plain,
    /// Compressed (RFC 7692) for a peer with a window of 2^`window_bits` bytes, where that is
    /// shorter.
    Deflate {
        /// 9 to 15.
        window_bits: u8,
    },
}

/// The earlier messages that a connection's own messages refer to (RFC 7692 section 7.1.1).
#[derive(Default)]
pub(crate) enum Context {
    /// None, ever.
    #[default]
    None,
    /// None yet.
    Fresh,
    /// Those that this compressor has seen.
    Kept(Box<Deflater>),
}

/// A frame, in the pieces that it is made of.
pub(crate) enum Encoded<'a> {
    /// A header, and the message's own bytes.
    Plain(HeaderBytes, &'a [u8]),
    /// All in one.
    Compressed(&'a [u8]),
}

impl Encoded<'_> {
    /// Its bytes in order.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Plain(header, payload) => [header, payload],
            Self::Compressed(frame) => [frame, &[]],
        }
    }
}

/// A core's compressors.
pub(crate) struct Encoder {
    compression: Option<Compression>,
    /// One for each window size, made when it is first needed.
    deflaters: [Option<Box<Deflater>>; WINDOWS],
    /// The latest compressed frame.
    frame: Vec<u8>,
    compressed: Compressed,
}

impl WireForm {
    /// What was agreed with a peer.
    pub(crate) fn agreed(deflate: Option<Deflate>) -> Self {
        match deflate {
            None => Self::Plain,
            Some(deflate) => Self::Deflate {
                window_bits: deflate.server_window_bits,
            },
        }
    }
}

impl Context {
    /// What was agreed with a peer.
    pub(crate) fn agreed(deflate: Option<Deflate>) -> Self {
        match deflate {
            Some(deflate) if deflate.server_takeover => Self::Fresh,
            _ => Self::None,
        }
    }
}

impl Encoder {
    /// Nothing is allotted before there is something to compress.
    pub(crate) fn new(compression: Option<Compression>) -> Self {
        Self {
            compression,
            deflaters: Default::default(),
            frame: Vec::new(),
            compressed: Compressed::default(),
        }
    }

    /// Goes on with other settings. Without any, all messages are plain from now on: whoever can
    /// take compressed ones can take plain ones too.
    pub(crate) fn configure(&mut self, compression: Option<Compression>) {
        if compression != self.compression {
            *self = Self {
                compressed: self.compressed,
                ..Self::new(compression)
            };
        }
    }

    /// What has been compressed so far.
    pub(crate) fn compressed(&self) -> Compressed {
        self.compressed
    }

    /// One frame for all connections of this form.
    pub(crate) fn encode<'a>(
        &'a mut self,
        form: WireForm,
        kind: Kind,
        payload: &'a [u8],
    ) -> Encoded<'a> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.shrink_to(SCRATCH_BYTES_MAX);
        let is_shorter = match (form, self.fitting(payload)) {
            (WireForm::Deflate { window_bits }, Some(level)) => self
                .deflater(level, window_bits)
                .encode_message(kind, payload, &mut frame),
            _ => false,
        };
        self.frame = frame;
        if !is_shorter {
            return Encoded::Plain(frame::header(kind.into(), payload.len()), payload);
        }
        self.compressed.count(payload.len(), self.frame.len());
        Encoded::Compressed(&self.frame)
    }

    /// Appends a frame for one connection alone, which may refer to those before it.
    pub(crate) fn append(
        &mut self,
        form: WireForm,
        context: &mut Context,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        match (form, self.fitting(payload)) {
            (WireForm::Deflate { window_bits }, Some(level)) => {
                if let Some(deflater) = context.deflater(level, window_bits) {
                    let before = out.len();
                    deflater.encode_next(kind, payload, out);
                    return self.compressed.count(payload.len(), out.len() - before);
                }
            }
            // No compression any more: nor is there a reason to keep what it would refer to.
            (WireForm::Deflate { .. }, None) if self.compression.is_none() => context.forget(),
            _ => {}
        }
        for part in self.encode(form, kind, payload).parts() {
            out.extend_from_slice(part);
        }
    }

    /// The level, if a message is to be compressed.
    fn fitting(&self, payload: &[u8]) -> Option<u32> {
        let compression = self.compression.as_ref()?;
        (payload.len() >= compression.bytes_min).then_some(compression.level)
    }

    fn deflater(&mut self, level: u32, window_bits: u8) -> &mut Deflater {
        let at = usize::from(window_bits.saturating_sub(WINDOW_BITS_MIN)).min(WINDOWS - 1);
        self.deflaters[at].get_or_insert_with(|| Box::new(Deflater::new(level, window_bits)))
    }
}

impl Context {
    /// The connection's own compressor, if it has a context at all.
    fn deflater(&mut self, level: u32, window_bits: u8) -> Option<&mut Deflater> {
        if matches!(self, Self::Fresh) {
            *self = Self::Kept(Box::new(Deflater::new(level, window_bits)));
        }
        match self {
            Self::Kept(deflater) => Some(deflater),
            Self::None | Self::Fresh => None,
        }
    }

    /// Begins anew, without any memory. Peers need not be told: what refers to nothing is good
    /// whatever they remember.
    fn forget(&mut self) {
        if matches!(self, Self::Kept(_)) {
            *self = Self::Fresh;
        }
    }
}

#[cfg(test)]
mod tests {
    use codec::DeflatePolicy;

    use super::*;

    const TWELVE: WireForm = WireForm::Deflate { window_bits: 12 };

    fn encoder() -> Encoder {
        Encoder::new(Some(Compression {
            level: 1,
            bytes_min: 100,
            policy: DeflatePolicy {
                window_bits: 12,
                server_takeover: true,
                client_takeover: false,
            },
        }))
    }

    fn is_compressed(encoded: &Encoded<'_>) -> bool {
        matches!(encoded, Encoded::Compressed(_))
    }

    #[test]
    fn compressor_is_made_when_a_message_first_needs_its_window() {
        let mut encoder = encoder();
        let made = |encoder: &Encoder| encoder.deflaters.iter().flatten().count();
        for (form, bytes, expected, count) in [
            (WireForm::Plain, 1000, false, 0),
            (TWELVE, 99, false, 0),
            (TWELVE, 100, true, 1),
            (TWELVE, 1000, true, 1),
            (WireForm::Deflate { window_bits: 9 }, 1000, true, 2),
            (WireForm::Deflate { window_bits: 15 }, 1000, true, 3),
        ] {
            let payload = vec![b'x'; bytes];
            let encoded = encoder.encode(form, Kind::Text, &payload);
            assert_eq!(is_compressed(&encoded), expected, "{form:?}, {bytes}");
            assert_eq!(made(&encoder), count);
        }
        assert_eq!(encoder.compressed().messages, 4);
    }

    #[test]
    fn context_is_kept_from_the_first_message_until_compression_is_turned_off() {
        let mut encoder = encoder();
        let mut context = Context::Fresh;
        let append = |encoder: &mut Encoder, context: &mut Context| {
            let mut out = Vec::new();
            encoder.append(TWELVE, context, Kind::Text, &[b'x'; 300], &mut out);
            out.len()
        };
        assert!(append(&mut encoder, &mut context) < 300);
        assert!(matches!(context, Context::Kept(_)));
        encoder.configure(None);
        assert_eq!(append(&mut encoder, &mut context), 4 + 300);
        assert!(matches!(context, Context::Fresh));
    }

    #[test]
    fn memory_of_a_large_frame_is_given_back() {
        let mut encoder = encoder();
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 28) as u8
        });
        let large: Vec<_> = noise.take(1 << 20).collect();
        assert!(is_compressed(&encoder.encode(TWELVE, Kind::Text, &large)));
        assert!(encoder.frame.capacity() > SCRATCH_BYTES_MAX);
        encoder.encode(WireForm::Plain, Kind::Text, b"");
        assert!(encoder.frame.capacity() <= SCRATCH_BYTES_MAX);
    }
}
