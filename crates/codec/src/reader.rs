//! Frames in, messages and control frames out (RFC 6455 sections 5.4 and 5.5, RFC 7692).

use std::{borrow::Cow, mem, ops::Range};

use crate::close::{self, CloseCode};
use crate::deflate::{Deflate, Inflater, Inflation, Window};
use crate::error::FrameError;
use crate::frame::{CONTROL_BYTES_MAX, Control, Header, Kind, Role, Sequence};
use crate::input::{Cursor, Place};
use crate::limits::Limits;
use crate::mask;
use crate::message::{Message, PartialMessage, check_text};

/// Most frames that one call reads, so that the caller can serve others in between: the cost of a
/// message of a thousand empty fragments is far out of proportion to its bytes.
const FRAMES_PER_CALL: usize = 16;

/// A complete unit that was read.
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

/// What the connection lends to the reader for one call.
pub(crate) struct Call<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) inflater: &'a mut Inflater,
    /// The agreed compression.
    pub(crate) deflate: Option<Deflate>,
}

/// Reads the frames of one connection. Most receives bring whole messages, and most connections
/// wait for one; then there is nothing to remember, and a reader lives on the stack for one call.
/// It is kept in a box between calls only while it has something to remember.
pub(crate) struct Reader {
    frame: Frame,
    message: Message,
    /// The end of the client's messages, which its next one may refer to.
    window: Window,
    /// The bytes of the last event, if they did not lie in the input. They are freed when the next
    /// call begins.
    lent: Vec<u8>,
    /// The payload of the latest ping that was not answered yet. "If an endpoint receives a Ping
    /// frame and has not yet sent Pong frame(s) in response to previous Ping frame(s), the endpoint
    /// MAY elect to send a Pong frame for only the most recently processed Ping frame" (RFC 6455
    /// section 5.5.3), so a flood of pings owes one pong.
    pong: Option<Box<Pong>>,
}

/// The payload of a pong.
pub(crate) struct Pong {
    bytes: [u8; CONTROL_BYTES_MAX],
    length: u8,
}

/// The part of a frame that the next byte belongs to.
enum Frame {
    Header(PartialHeader),
    /// The payload of a frame of the current message.
    Payload(Payload),
    Control(PartialControl),
    Skip(u64),
    /// A complete compressed message, which takes more than one call to inflate.
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
    /// Bytes that are still missing, at most 125.
    remaining: u8,
    payload: Vec<u8>,
}

impl Default for Frame {
    fn default() -> Self {
        Self::Header(PartialHeader::default())
    }
}

impl Reader {
    /// A reader with nothing to remember. `is_closing` says that our close frame was sent.
    fn new(is_closing: bool) -> Self {
        Self {
            frame: Frame::default(),
            message: match is_closing {
                true => Message::Discarding,
                false => Message::Between,
            },
            window: Window::default(),
            lent: Vec::new(),
            pong: None,
        }
    }

    /// Continues with the kept reader, or with a new one, and keeps it if it then has something to
    /// remember.
    pub(crate) fn read(
        kept: &mut Option<Box<Self>>,
        is_closing: bool,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        if let Some(reader) = kept {
            reader.lent = Vec::new();
            let found = reader.advance(cursor, call);
            Self::free_if_idle(kept);
            return found;
        }
        if cursor.rest().is_empty() {
            return Ok(None);
        }
        if !is_closing && let Some(found) = read_plain(cursor, call)? {
            return Ok(Some(found));
        }
        let mut reader = Self::new(is_closing);
        let found = reader.advance(cursor, call);
        if !reader.is_idle() {
            *kept = Some(Box::new(reader));
        }
        found
    }

    /// Drops a reader that has nothing to remember.
    fn free_if_idle(kept: &mut Option<Box<Self>>) {
        if kept.as_ref().is_some_and(|reader| reader.is_idle()) {
            *kept = None;
        }
    }

    fn is_idle(&self) -> bool {
        self.is_between_frames()
            && !matches!(self.message, Message::Within(_))
            && self.lent.capacity() == 0
            && self.pong.is_none()
            && self.window.is_empty()
    }

    /// The bytes of the last event, if they did not lie in the input.
    pub(crate) fn lent(&self) -> &[u8] {
        &self.lent
    }

    pub(crate) fn owes_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// Takes the owed pong, which is then no longer owed. Frees the lent bytes too, so that a
    /// reader kept only for a ping is freed with it.
    pub(crate) fn take_pong(kept: &mut Option<Box<Self>>) -> Option<Box<Pong>> {
        let reader = kept.as_mut()?;
        let pong = reader.pong.take()?;
        reader.lent = Vec::new();
        Self::free_if_idle(kept);
        Some(pong)
    }

    /// Reads until there is an event, the input ends, or this call has read [`FRAMES_PER_CALL`]
    /// frames. Bytes that arrived in several pieces are moved to `lent` once they are complete.
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
                Frame::Control(partial) => self.read_control(partial, cursor)?,
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

    /// Skips everything but a close frame from now on. Frees the collected part of a message and
    /// the window; a frame that has begun keeps its boundaries.
    pub(crate) fn discard(kept: &mut Option<Box<Self>>) {
        if let Some(reader) = kept {
            reader.discard_message();
            Self::free_if_idle(kept);
        }
    }

    fn discard_message(&mut self) {
        self.message = Message::Discarding;
        self.window = Window::default();
        self.lent = Vec::new();
        match &self.frame {
            Frame::Payload(Payload { remaining, .. }) => self.frame = Frame::Skip(*remaining),
            Frame::Control(PartialControl {
                control: Control::Ping | Control::Pong,
                remaining,
                ..
            }) => self.frame = Frame::Skip((*remaining).into()),
            Frame::Inflating(_) => self.frame = Frame::default(),
            Frame::Header(_) | Frame::Control(_) | Frame::Skip(_) => {}
        }
    }

    /// Whether the next call continues to inflate a message, even without further input.
    pub(crate) fn is_inflating(&self) -> bool {
        matches!(self.frame, Frame::Inflating(_))
    }

    /// Heap held, in bytes, including the box of this reader.
    pub(crate) fn buffered_bytes(&self) -> usize {
        size_of::<Self>() + self.held_bytes() + self.window.buffered_bytes()
    }

    /// The same, without the window, which is kept only for later messages.
    pub(crate) fn unfinished_bytes(&self) -> usize {
        let is_kept_for_the_window = self.is_between_frames() && self.held_bytes() == 0;
        match is_kept_for_the_window {
            true => 0,
            false => size_of::<Self>() + self.held_bytes(),
        }
    }

    /// Heap held in bytes, without the window and the box of this reader.
    fn held_bytes(&self) -> usize {
        let frame = match &self.frame {
            Frame::Control(partial) => partial.payload.capacity(),
            Frame::Inflating(inflating) => {
                let held = inflating.compressed.capacity() + inflating.inflation.held_bytes();
                size_of::<Inflating>() + held
            }
            Frame::Header(_) | Frame::Payload(_) | Frame::Skip(_) => 0,
        };
        let message = match &self.message {
            Message::Within(partial) => partial.payload.capacity(),
            Message::Between | Message::Discarding => 0,
        };
        let pong = self.pong.as_ref().map_or(0, |_| size_of::<Pong>());
        frame + message + pong + self.lent.capacity()
    }

    /// Whether a message or a frame has begun and is incomplete.
    pub(crate) fn is_within_message(&self) -> bool {
        !self.is_between_frames() || matches!(self.message, Message::Within(_))
    }

    fn is_between_frames(&self) -> bool {
        matches!(&self.frame, Frame::Header(partial) if partial.length == 0)
    }

    fn read_header(
        &mut self,
        mut partial: PartialHeader,
        cursor: &mut Cursor<'_>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let sequence = self.message.sequence();
        let Some(header) = partial.complete(cursor, sequence, call.deflate.is_some())? else {
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
            return control_found(control, payload, Place::Input(range), &mut self.pong).map(Some);
        }
        self.frame = Frame::Control(PartialControl {
            control,
            key: header.key,
            remaining: header.payload_bytes as u8,
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
        // A message in one frame that lies whole in the input is not copied.
        if header.fin
            && let Some(range) = cursor.take_whole(header.payload_bytes)
        {
            if !partial.compressed {
                return plain_found(partial.kind, header, range, cursor).map(Some);
            }
            let payload = cursor.bytes_mut(range);
            mask::apply(header.key, payload);
            return self.begin_inflating(partial.kind, 1, Cow::Borrowed(payload), call);
        }
        self.message = Message::Within(partial);
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
        self.lent = payload;
        Ok(Some(Found::Message {
            kind,
            payload: Place::Lent,
            fragments,
        }))
    }

    /// Inflates a complete compressed message, or as much of it as one call does.
    fn begin_inflating(
        &mut self,
        kind: Kind,
        fragments: u32,
        compressed: Cow<'_, [u8]>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let mut inflation = call.inflater.begin(&self.window)?;
        if inflation.advance(&compressed, &self.window, call.limits.message_bytes_max)? {
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

    /// Continues to inflate a message, as far as one call does.
    fn inflate(
        &mut self,
        mut inflating: Box<Inflating>,
        call: &mut Call<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let bytes_max = call.limits.message_bytes_max;
        let Inflating {
            compressed,
            inflation,
            ..
        } = &mut *inflating;
        if !inflation.advance(compressed, &self.window, bytes_max)? {
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

    /// Moves a message that is now decompressed to `lent`, and checks it.
    fn inflated(
        &mut self,
        kind: Kind,
        fragments: u32,
        inflation: Inflation,
        call: &mut Call<'_>,
    ) -> Result<Found, FrameError> {
        self.lent = call.inflater.end(inflation);
        check_text(kind, &self.lent)?;
        let kept_bytes_max = call.deflate.map_or(0, Deflate::kept_bytes_max);
        self.window.push(&self.lent, kept_bytes_max);
        Ok(Found::Message {
            kind,
            payload: Place::Lent,
            fragments,
        })
    }

    fn read_control(
        &mut self,
        mut partial: PartialControl,
        cursor: &mut Cursor<'_>,
    ) -> Result<Option<Found>, FrameError> {
        let piece = cursor.take(partial.remaining.into());
        partial.remaining -= piece.len() as u8;
        partial.key = mask::apply(partial.key, piece);
        partial.payload.extend_from_slice(piece);
        if partial.remaining > 0 {
            self.frame = Frame::Control(partial);
            return Ok(None);
        }
        self.lent = partial.payload;
        control_found(partial.control, &self.lent, Place::Lent, &mut self.pong).map(Some)
    }

    fn skip(&mut self, mut remaining: u64, cursor: &mut Cursor<'_>) {
        remaining -= cursor.take(remaining).len() as u64;
        if remaining > 0 {
            self.frame = Frame::Skip(remaining);
        }
    }
}

impl Pong {
    /// A pong to a ping whose payload, at most 125 bytes, is `payload`.
    fn of(payload: &[u8]) -> Self {
        let mut bytes = [0; CONTROL_BYTES_MAX];
        bytes[..payload.len()].copy_from_slice(payload);
        Self {
            bytes,
            length: payload.len() as u8,
        }
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialHeader {
    /// Returns the header once its last byte has arrived.
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

/// The common case, which needs no memory: an uncompressed message in one frame that lies whole in
/// the input, while no other message is incomplete. In any other case it consumes nothing and
/// returns `None`.
fn read_plain(cursor: &mut Cursor<'_>, call: &Call<'_>) -> Result<Option<Found>, FrameError> {
    let header = Header::decode(cursor.rest(), Sequence::Start, call.deflate.is_some())?;
    let Some(header) = header else {
        return Ok(None);
    };
    let frame_bytes = header.header_bytes as u64 + header.payload_bytes;
    match header.role {
        Role::Start(kind) if header.fin && !header.compressed => {
            let Some(frame) = cursor.take_whole(frame_bytes) else {
                return Ok(None);
            };
            PartialMessage::new(kind, false).admit(&header, call.limits)?;
            let payload = frame.start + header.header_bytes..frame.end;
            plain_found(kind, &header, payload, cursor).map(Some)
        }
        _ => Ok(None),
    }
}

/// A complete uncompressed message, whose masked payload is this range of the input.
fn plain_found(
    kind: Kind,
    header: &Header,
    range: Range<usize>,
    cursor: &mut Cursor<'_>,
) -> Result<Found, FrameError> {
    let payload = cursor.bytes_mut(range.clone());
    mask::apply(header.key, payload);
    check_text(kind, payload)?;
    Ok(Found::Message {
        kind,
        payload: Place::Input(range),
        fragments: 1,
    })
}

/// The event of a complete control frame, whose unmasked payload lies at `place`. A ping makes a
/// pong owed.
fn control_found(
    control: Control,
    payload: &[u8],
    place: Place,
    pong: &mut Option<Box<Pong>>,
) -> Result<Found, FrameError> {
    match control {
        Control::Close => close::decode(payload).map(Found::Close),
        Control::Ping => {
            *pong = Some(Box::new(Pong::of(payload)));
            Ok(Found::Ping(place))
        }
        Control::Pong => Ok(Found::Pong(place)),
    }
}
