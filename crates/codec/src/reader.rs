//! Frames in, messages and control frames out (RFC 6455 sections 5.4 and 5.5, RFC 7692).

use std::{borrow::Cow, mem};

use crate::close::{self, CloseCode};
use crate::deflate::{Deflate, Inflater, Inflation, Window};
use crate::error::FrameError;
use crate::frame::{Control, Header, Kind, Role, Sequence};
use crate::input::{Cursor, Place};
use crate::limits::Limits;
use crate::{mask, utf8};

/// Most frames that one call reads, so that who calls can let others have their turn: a message of a
/// thousand empty fragments costs far more than the bytes of it weigh.
const FRAMES_PER_CALL: usize = 16;

/// Something whole that was read.
pub(crate) enum Found {
    Message {
        kind: Kind,
        payload: Place,
        fragments: u32,
    },
    Ping(Place),
    Pong(Place),
    Close(Option<CloseCode>),
}

/// What one call lends the reader.
pub(crate) struct Call<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) inflater: &'a mut Inflater,
    /// Receives the bytes of what is found that do not lie in the input.
    pub(crate) lent: &'a mut Vec<u8>,
}

/// Reads the frames of one connection. Between messages it owns no heap but the client's window.
#[derive(Default)]
pub(crate) struct Reader {
    frame: Frame,
    message: Message,
    compression: Option<Compression>,
}

/// What was agreed, and what messages of the client may refer to.
struct Compression {
    deflate: Deflate,
    window: Window,
}

/// Where in a frame the next byte belongs.
enum Frame {
    Header(PartialHeader),
    /// Part of the message that is being assembled.
    Payload(Payload),
    Control(PartialControl),
    Skip(u64),
    /// A compressed message has come whole, and making it plain takes more than one call.
    Inflating(Box<Inflating>),
}

struct Inflating {
    kind: Kind,
    fragments: u32,
    compressed: Vec<u8>,
    inflation: Inflation,
}

#[derive(Clone, Copy, Default)]
struct PartialHeader {
    bytes: [u8; Header::BYTES_MAX],
    length: u8,
}

struct Payload {
    fin: bool,
    key: mask::Key,
    remaining: u64,
}

struct PartialControl {
    control: Control,
    key: mask::Key,
    remaining: u64,
    payload: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self::Header(PartialHeader::default())
    }
}

/// What data frames contribute to.
#[derive(Default)]
enum Message {
    /// Nothing yet: the next one begins a message.
    #[default]
    Between,
    Within(Box<PartialMessage>),
    /// Nothing any more: our close frame was sent, so data and pings are skipped.
    Discarding,
}

struct PartialMessage {
    kind: Kind,
    compressed: bool,
    fragments: u32,
    /// Unmasked, compressed if it came so. Grows with what arrives, not with what is announced.
    payload: Vec<u8>,
    utf8: utf8::Progress,
}

impl Reader {
    pub(crate) fn new(deflate: Option<Deflate>) -> Self {
        Self {
            compression: deflate.map(|deflate| Compression {
                deflate,
                window: Window::default(),
            }),
            ..Self::default()
        }
    }

    pub(crate) fn deflate(&self) -> Option<Deflate> {
        self.compression
            .as_ref()
            .map(|compression| compression.deflate)
    }

    /// Reads until something is whole, the input ends or enough frames were read for one call. Bytes
    /// that came in several pieces are moved to `lent` once they are whole.
    pub(crate) fn advance(
        &mut self,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        for _ in 0..FRAMES_PER_CALL {
            if cursor.rest().is_empty() && !self.is_inflating() {
                break;
            }
            let found = match mem::take(&mut self.frame) {
                Frame::Header(partial) => self.read_header(partial, cursor, call)?,
                Frame::Payload(payload) => self.read_payload(payload, cursor, call)?,
                Frame::Control(partial) => self.read_control(partial, cursor, call.lent)?,
                Frame::Skip(remaining) => {
                    self.skip(remaining, cursor);
                    None
                }
                Frame::Inflating(inflating) => self.inflate(inflating, call)?,
            };
            if found.is_some() || self.is_inflating() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// From now on only a close frame is found. Frees what was collected of a message and what
    /// messages may refer to; a frame that has begun keeps its boundaries.
    pub(crate) fn discard(&mut self) {
        self.message = Message::Discarding;
        if let Some(compression) = &mut self.compression {
            compression.window = Window::default();
        }
        match &self.frame {
            Frame::Payload(Payload { remaining, .. })
            | Frame::Control(PartialControl {
                control: Control::Ping | Control::Pong,
                remaining,
                ..
            }) => self.frame = Frame::Skip(*remaining),
            Frame::Inflating(_) => self.frame = Frame::default(),
            Frame::Header(_) | Frame::Control(_) | Frame::Skip(_) => {}
        }
    }

    /// Whether a call goes on with a compressed message, even without further input.
    pub(crate) fn is_inflating(&self) -> bool {
        matches!(self.frame, Frame::Inflating(_))
    }

    /// Heap held for what is not whole yet, in bytes.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        let frame = match &self.frame {
            Frame::Control(partial) => partial.payload.capacity(),
            Frame::Inflating(inflating) => {
                let held = inflating.compressed.capacity() + inflating.inflation.held_bytes();
                size_of::<Inflating>() + held
            }
            Frame::Header(_) | Frame::Payload(_) | Frame::Skip(_) => 0,
        };
        let message = match &self.message {
            Message::Within(partial) => size_of::<PartialMessage>() + partial.payload.capacity(),
            Message::Between | Message::Discarding => 0,
        };
        frame + message
    }

    /// Heap held for what messages may refer to, in bytes.
    pub(crate) fn window_bytes(&self) -> usize {
        match &self.compression {
            Some(compression) => compression.window.buffered_bytes(),
            None => 0,
        }
    }

    /// Whether a message or a frame is not whole yet.
    pub(crate) fn is_within_message(&self) -> bool {
        let is_between_frames =
            matches!(&self.frame, Frame::Header(partial) if partial.length == 0);
        !is_between_frames || matches!(self.message, Message::Within(_))
    }

    fn read_header(
        &mut self,
        mut partial: PartialHeader,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let sequence = self.message.sequence();
        let Some(header) = partial.complete(cursor, sequence, self.compression.is_some())? else {
            self.frame = Frame::Header(partial);
            return Ok(None);
        };
        match (&mut self.message, header.role) {
            (_, Role::Control(control @ Control::Close))
            | (Message::Between | Message::Within(_), Role::Control(control)) => {
                self.begin_control(control, &header, cursor)
            }
            (Message::Discarding, _) => {
                self.frame = Frame::Skip(header.payload_bytes);
                Ok(None)
            }
            (Message::Between, Role::Start(kind)) => {
                let mut partial = PartialMessage::new(kind, header.compressed);
                partial.admit(&header, call.limits)?;
                self.begin_message(partial, &header, cursor, call)
            }
            (Message::Within(partial), Role::Continuation) => {
                partial.admit(&header, call.limits)?;
                self.read_payload(Payload::new(&header), cursor, call)
            }
            (Message::Between, Role::Continuation) | (Message::Within(_), Role::Start(_)) => {
                unreachable!("the header was decoded for the sequence of this message")
            }
        }
    }

    fn begin_control(
        &mut self,
        control: Control,
        header: &Header,
        cursor: &mut Cursor<'_>,
    ) -> Result<Option<Found>, FrameError> {
        if let Some(range) = cursor.take_whole(header.payload_bytes) {
            let payload = cursor.bytes_mut(range.clone());
            mask::apply(header.key, payload);
            return control_found(control, payload, Place::Input(range)).map(Some);
        }
        self.frame = Frame::Control(PartialControl {
            control,
            key: header.key,
            remaining: header.payload_bytes,
            payload: Vec::new(),
        });
        Ok(None)
    }

    fn begin_message(
        &mut self,
        partial: PartialMessage,
        header: &Header,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        // The common case, without a copy: a message in one frame in one piece.
        if header.fin
            && let Some(range) = cursor.take_whole(header.payload_bytes)
        {
            let payload = cursor.bytes_mut(range.clone());
            mask::apply(header.key, payload);
            if partial.compressed {
                return self.begin_inflating(partial.kind, 1, Cow::Borrowed(payload), call);
            }
            check_text(partial.kind, payload)?;
            return Ok(Some(Found::Message {
                kind: partial.kind,
                payload: Place::Input(range),
                fragments: 1,
            }));
        }
        self.message = Message::Within(Box::new(partial));
        self.read_payload(Payload::new(header), cursor, call)
    }

    fn read_payload(
        &mut self,
        mut frame: Payload,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let Message::Within(partial) = &mut self.message else {
            unreachable!("a payload is read only within a message")
        };
        let piece = cursor.take(frame.remaining);
        frame.remaining -= piece.len() as u64;
        frame.key = mask::apply(frame.key, piece);
        partial.append(piece)?;
        if frame.remaining > 0 {
            self.frame = Frame::Payload(frame);
            return Ok(None);
        }
        if !frame.fin {
            return Ok(None);
        }
        partial.finish()?;
        let payload = mem::take(&mut partial.payload);
        let (kind, fragments) = (partial.kind, partial.fragments);
        let is_compressed = partial.compressed;
        self.message = Message::Between;
        if is_compressed {
            return self.begin_inflating(kind, fragments, Cow::Owned(payload), call);
        }
        *call.lent = payload;
        Ok(Some(Found::Message {
            kind,
            payload: Place::Lent,
            fragments,
        }))
    }

    /// Makes a whole compressed message plain, or as much of it as one call does.
    fn begin_inflating(
        &mut self,
        kind: Kind,
        fragments: u32,
        compressed: Cow<'_, [u8]>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let window = &self.compression().window;
        let mut inflation = call.inflater.begin(window)?;
        if inflation.advance(&compressed, window, call.limits.message_bytes_max)? {
            return self.inflated(kind, fragments, inflation, call).map(Some);
        }
        self.frame = Frame::Inflating(Box::new(Inflating {
            kind,
            fragments,
            compressed: compressed.into_owned(),
            inflation,
        }));
        Ok(None)
    }

    /// Goes on with a compressed message as far as one call does.
    fn inflate(
        &mut self,
        mut inflating: Box<Inflating>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let window = &self.compression().window;
        let bytes_max = call.limits.message_bytes_max;
        let Inflating {
            compressed,
            inflation,
            ..
        } = &mut *inflating;
        if !inflation.advance(compressed, window, bytes_max)? {
            self.frame = Frame::Inflating(inflating);
            return Ok(None);
        }
        let Inflating {
            kind,
            fragments,
            inflation,
            ..
        } = *inflating;
        self.inflated(kind, fragments, inflation, call).map(Some)
    }

    /// A compressed message is plain, in `lent`.
    fn inflated(
        &mut self,
        kind: Kind,
        fragments: u32,
        inflation: Inflation,
        call: &mut Call<'_>,
    ) -> Result<Found, FrameError> {
        *call.lent = call.inflater.end(inflation);
        check_text(kind, call.lent)?;
        let Compression { deflate, window } = self.compression();
        window.push(call.lent, deflate.kept_bytes_max());
        Ok(Found::Message {
            kind,
            payload: Place::Lent,
            fragments,
        })
    }

    fn compression(&mut self) -> &mut Compression {
        let Some(compression) = &mut self.compression else {
            unreachable!("without an agreement no header says that a message is compressed")
        };
        compression
    }

    fn read_control(
        &mut self,
        mut partial: PartialControl,
        cursor: &mut Cursor<'_>,
        lent: &mut Vec<u8>,
    ) -> Result<Option<Found>, FrameError> {
        let piece = cursor.take(partial.remaining);
        partial.remaining -= piece.len() as u64;
        partial.key = mask::apply(partial.key, piece);
        partial.payload.extend_from_slice(piece);
        if partial.remaining > 0 {
            self.frame = Frame::Control(partial);
            return Ok(None);
        }
        *lent = partial.payload;
        control_found(partial.control, lent, Place::Lent).map(Some)
    }

    fn skip(&mut self, mut remaining: u64, cursor: &mut Cursor<'_>) {
        remaining -= cursor.take(remaining).len() as u64;
        if remaining > 0 {
            self.frame = Frame::Skip(remaining);
        }
    }
}

impl PartialHeader {
    /// The header, once its last byte is there.
    fn complete(
        &mut self,
        cursor: &mut Cursor<'_>,
        sequence: Sequence,
        deflate: bool,
    ) -> Result<Option<Header>, FrameError> {
        if self.length == 0
            && let Some(header) = Header::decode(cursor.rest(), sequence, deflate)?
        {
            cursor.take(header.header_bytes as u64);
            return Ok(Some(header));
        }
        while let [byte] = cursor.take(1) {
            self.bytes[usize::from(self.length)] = *byte;
            self.length += 1;
            let bytes = &self.bytes[..usize::from(self.length)];
            let header = Header::decode(bytes, sequence, deflate)?;
            if header.is_some() {
                return Ok(header);
            }
        }
        Ok(None)
    }
}

impl Payload {
    fn new(header: &Header) -> Self {
        Self {
            fin: header.fin,
            key: header.key,
            remaining: header.payload_bytes,
        }
    }
}

impl Message {
    fn sequence(&self) -> Sequence {
        match self {
            Self::Between => Sequence::Start,
            Self::Within(_) => Sequence::Continuation,
            Self::Discarding => Sequence::Any,
        }
    }
}

impl PartialMessage {
    fn new(kind: Kind, compressed: bool) -> Self {
        Self {
            kind,
            compressed,
            fragments: 0,
            payload: Vec::new(),
            utf8: utf8::Progress::default(),
        }
    }

    /// Judges a further frame by its header, before any of its payload.
    fn admit(&mut self, header: &Header, limits: &Limits) -> Result<(), FrameError> {
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

    fn append(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        self.payload.extend_from_slice(piece);
        match self.kind {
            Kind::Text if !self.compressed => self.utf8.advance(&self.payload),
            Kind::Text | Kind::Binary => Ok(()),
        }
    }

    fn finish(&self) -> Result<(), FrameError> {
        match self.kind {
            Kind::Text if !self.compressed => self.utf8.finish(&self.payload),
            Kind::Text | Kind::Binary => Ok(()),
        }
    }
}

fn check_text(kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    match kind {
        Kind::Text => match simdutf8::basic::from_utf8(payload) {
            Ok(_) => Ok(()),
            Err(_) => Err(FrameError::TextUtf8),
        },
        Kind::Binary => Ok(()),
    }
}

/// What a whole control frame with this unmasked payload, which lies at `place`, says.
fn control_found(control: Control, payload: &[u8], place: Place) -> Result<Found, FrameError> {
    match control {
        Control::Close => close::decode(payload).map(Found::Close),
        Control::Ping => Ok(Found::Ping(place)),
        Control::Pong => Ok(Found::Pong(place)),
    }
}
