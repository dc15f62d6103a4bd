//! Makes frames of messages in the form that connections have agreed on: plain, compressed, or pieces of
//! a stream over HTTP.
//!
//! ```text
//!  room's message ──▶ encode(form) ──▶ one frame for all subscribers of that form on this core
//!  reply          ──▶ append(packing, context) ──▶ the connection's own bytes
//! ```
//!
//! A message is compressed by itself, with a compressor of the core, unless the connection has a
//! context of its own. So an idle connection holds no compressor, and what a room is told is
//! compressed once for each window size, not once for each subscriber.

use std::sync::Arc;

use codec::{Deflate, Deflater, Kind, chunk, frame};

use super::{BodyEncoder, BodyForm, Delivered, Packing, RoomEvent, WireForm};
use crate::{config::Compression, observe::Compressed};

/// The window sizes that a peer can ask for, in bits.
const WINDOW_BITS_MIN: u8 = 9;
const WINDOWS: usize = 7;

/// The memory for the latest compressed frame is kept up to this size.
const SCRATCH_BYTES_MAX: usize = 128 << 10;

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
    Plain(frame::HeaderBytes, &'a [u8]),
    /// The same between the header and the end of a chunk.
    Chunk(chunk::HeaderBytes, &'a [u8]),
    /// All in one.
    Whole(&'a [u8]),
}

impl<'a> Encoded<'a> {
    /// A body that is not compressed. Without any bytes it is no chunk, because such a chunk would be the
    /// last.
    pub(crate) fn of(packing: Packing, kind: Kind, body: &'a [u8]) -> Self {
        match packing {
            Packing::Plain | Packing::Deflate { .. } => {
                Self::Plain(frame::header(kind.into(), body.len()), body)
            }
            Packing::Chunk if !body.is_empty() => Self::Chunk(chunk::header(body.len()), body),
            Packing::Chunk | Packing::Bytes => Self::Whole(body),
        }
    }

    /// Its bytes in order.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::Plain(header, payload) => [header, payload, &[]],
            Self::Chunk(header, payload) => [header, payload, chunk::END],
            Self::Whole(bytes) => [bytes, &[], &[]],
        }
    }
}

/// A core's compressors.
pub(crate) struct Encoder {
    compression: Option<Compression>,
    /// Makes bodies of the application's own forms.
    bodies: Option<Arc<dyn BodyEncoder>>,
    /// The latest such body.
    body: Vec<u8>,
    /// One for each window size, made when it is first needed.
    deflaters: [Option<Box<Deflater>>; WINDOWS],
    /// The latest compressed frame.
    frame: Vec<u8>,
    compressed: Compressed,
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
    pub(crate) fn new(
        compression: Option<Compression>,
        bodies: Option<Arc<dyn BodyEncoder>>,
    ) -> Self {
        Self {
            compression,
            bodies,
            body: Vec::new(),
            deflaters: Default::default(),
            frame: Vec::new(),
            compressed: Compressed::default(),
        }
    }

    /// Goes on with other settings. Without compression all messages are plain from now on: whoever can
    /// take compressed ones can take plain ones too.
    pub(crate) fn configure(
        &mut self,
        compression: Option<Compression>,
        bodies: Option<Arc<dyn BodyEncoder>>,
    ) {
        let compressed = self.compressed;
        if compression != self.compression {
            *self = Self::new(compression, None);
            self.compressed = compressed;
        }
        self.bodies = bodies;
    }

    /// What has been compressed so far.
    pub(crate) fn compressed(&self) -> Compressed {
        self.compressed
    }

    /// One frame for all subscribers of this form; `None` if they are not told of this.
    pub(crate) fn encode<'a>(
        &'a mut self,
        form: WireForm,
        delivered: &Delivered<'a>,
    ) -> Option<Encoded<'a>> {
        // It is taken out and put back, because all cores would write to a counter that they share.
        let bodies = self.bodies.take_if(|_| form.body != BodyForm::RAW);
        let Some(bodies) = bodies else {
            let RoomEvent::Message { kind, payload, .. } = delivered.event else {
                return None;
            };
            return Some(self.pack(form.packing, kind, payload));
        };
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        body.shrink_to(SCRATCH_BYTES_MAX);
        let kind = bodies.encode(form.body, delivered, &mut body);
        self.bodies = Some(bodies);
        let is_compressed = kind.is_some_and(|kind| self.compress(form.packing, kind, &body));
        self.body = body;
        Some(match is_compressed {
            true => Encoded::Whole(&self.frame),
            false => Encoded::of(form.packing, kind?, &self.body),
        })
    }

    /// Whether one frame of this form may carry several bodies. A stream over HTTP has no frames: whatever
    /// separates its messages is in their bodies.
    pub(crate) fn gathers(&self, form: WireForm) -> bool {
        match &self.bodies {
            Some(bodies) if form.body != BodyForm::RAW => bodies.gathers(form.body),
            _ => form.packing.is_stream(),
        }
    }

    /// Appends a body to those that will share a frame with it. `None`, and nothing is appended, if subscribers
    /// of this form are not told of this.
    pub(crate) fn gather(
        &self,
        form: BodyForm,
        delivered: &Delivered<'_>,
        gathered: &mut Vec<u8>,
    ) -> Option<Kind> {
        let before = gathered.len();
        let kind = match &self.bodies {
            Some(bodies) if form != BodyForm::RAW => bodies.encode(form, delivered, gathered),
            _ => match delivered.event {
                RoomEvent::Message { kind, payload, .. } => {
                    gathered.extend_from_slice(payload);
                    Some(kind)
                }
                RoomEvent::Came(_) | RoomEvent::Went(_) => None,
            },
        };
        if kind.is_none() {
            gathered.truncate(before);
        }
        kind
    }

    /// One frame with this body.
    pub(crate) fn pack<'a>(
        &'a mut self,
        packing: Packing,
        kind: Kind,
        body: &'a [u8],
    ) -> Encoded<'a> {
        match self.compress(packing, kind, body) {
            true => Encoded::Whole(&self.frame),
            false => Encoded::of(packing, kind, body),
        }
    }

    /// Compresses a body into `self.frame`, if that is agreed on and makes it shorter.
    fn compress(&mut self, packing: Packing, kind: Kind, body: &[u8]) -> bool {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.shrink_to(SCRATCH_BYTES_MAX);
        let is_shorter = match (packing, self.fitting(body)) {
            (Packing::Deflate { window_bits }, Some(level)) => self
                .deflater(level, window_bits)
                .encode_message(kind, body, &mut frame),
            _ => false,
        };
        self.frame = frame;
        if is_shorter {
            self.compressed.count(body.len(), self.frame.len());
        }
        is_shorter
    }

    /// Appends a frame for one connection alone, which may refer to those before it.
    pub(crate) fn append(
        &mut self,
        packing: Packing,
        context: &mut Context,
        kind: Kind,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        match (packing, self.fitting(payload)) {
            (Packing::Deflate { window_bits }, Some(level)) => {
                if let Some(deflater) = context.deflater(level, window_bits) {
                    let before = out.len();
                    deflater.encode_next(kind, payload, out);
                    return self.compressed.count(payload.len(), out.len() - before);
                }
            }
            // No compression any more: nor is there a reason to keep what it would refer to.
            (Packing::Deflate { .. }, None) if self.compression.is_none() => context.forget(),
            _ => {}
        }
        for part in self.pack(packing, kind, payload).parts() {
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
    use hub::{Epoch, Member, RoomName};

    use super::*;

    const TWELVE: Packing = Packing::Deflate { window_bits: 12 };

    fn encoder() -> Encoder {
        let compression = Compression {
            level: 1,
            bytes_min: 100,
            policy: DeflatePolicy {
                window_bits: 12,
                server_takeover: true,
                client_takeover: false,
            },
        };
        Encoder::new(Some(compression), Some(Arc::new(Named)))
    }

    /// A form of the tests: the room's name and the offset before the payload.
    struct Named;

    impl BodyEncoder for Named {
        fn encode(
            &self,
            form: BodyForm,
            delivered: &Delivered<'_>,
            body: &mut Vec<u8>,
        ) -> Option<Kind> {
            assert_eq!(form, BodyForm(1));
            let RoomEvent::Message {
                offset, payload, ..
            } = delivered.event
            else {
                return None;
            };
            body.extend_from_slice(format!("{} {offset} ", delivered.room).as_bytes());
            body.extend_from_slice(payload);
            Some(Kind::Binary)
        }
    }

    #[test]
    fn body_is_what_the_application_makes_of_it_in_each_packing() {
        let mut encoder = encoder();
        let room = RoomName::new("lobby").unwrap();
        let payload = [b'x'; 200];
        let message = Delivered {
            room: &room,
            event: RoomEvent::Message {
                epoch: Epoch(1),
                offset: 7,
                kind: Kind::Text,
                meta: &[],
                keyed: None,
                payload: &payload,
            },
        };
        let expected = [b"lobby 7 ", &payload[..]].concat();
        let form = |body, packing| WireForm { body, packing };
        let mut frame = |form| encoder.encode(form, &message).unwrap().parts().concat();
        let raw = frame(form(BodyForm::RAW, Packing::Plain));
        assert_eq!((raw[0], &raw[4..]), (0x81, &payload[..]));
        let named = frame(form(BodyForm(1), Packing::Plain));
        assert_eq!((named[0], &named[4..]), (0x82, &expected[..]));
        let packed = frame(form(BodyForm(1), TWELVE));
        assert_eq!(packed[0], 0xc2);
        assert!(packed.len() < 60, "{}", packed.len());
        let chunk = frame(form(BodyForm(1), Packing::Chunk));
        assert_eq!(chunk, [b"d0\r\n", &expected[..], b"\r\n"].concat());
        assert_eq!(frame(form(BodyForm(1), Packing::Bytes)), expected);
        assert_eq!(frame(form(BodyForm::RAW, Packing::Bytes)), payload);
        let member = Member {
            user: "ann".into(),
            info: "x".into(),
        };
        let came = Delivered {
            room: &room,
            event: RoomEvent::Came(&member),
        };
        for body in [BodyForm::RAW, BodyForm(1)] {
            assert!(encoder.encode(form(body, Packing::Plain), &came).is_none());
        }
    }

    #[test]
    fn body_without_bytes_is_no_chunk() {
        let mut encoder = encoder();
        for packing in [Packing::Chunk, Packing::Bytes] {
            let empty = encoder.pack(packing, Kind::Text, b"");
            assert_eq!(empty.parts().concat(), b"");
        }
    }

    fn is_compressed(encoded: &Encoded<'_>) -> bool {
        matches!(encoded, Encoded::Whole(_))
    }

    #[test]
    fn compressor_is_made_when_a_message_first_needs_its_window() {
        let mut encoder = encoder();
        let made = |encoder: &Encoder| encoder.deflaters.iter().flatten().count();
        for (form, bytes, expected, count) in [
            (Packing::Plain, 1000, false, 0),
            (TWELVE, 99, false, 0),
            (TWELVE, 100, true, 1),
            (TWELVE, 1000, true, 1),
            (Packing::Deflate { window_bits: 9 }, 1000, true, 2),
            (Packing::Deflate { window_bits: 15 }, 1000, true, 3),
        ] {
            let payload = vec![b'x'; bytes];
            let encoded = encoder.pack(form, Kind::Text, &payload);
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
        encoder.configure(None, None);
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
        assert!(is_compressed(&encoder.pack(TWELVE, Kind::Text, &large)));
        assert!(encoder.frame.capacity() > SCRATCH_BYTES_MAX);
        encoder.pack(Packing::Plain, Kind::Text, b"");
        assert!(encoder.frame.capacity() <= SCRATCH_BYTES_MAX);
    }
}
