//! The state machine of one connection, from its first byte to its closing.

use std::{fmt, mem};

use crate::body;
use crate::chunk;
use crate::close::CloseCode;
use crate::deflate::{Deflate, Inflater};
use crate::error::{Error, FrameError, HandshakeError};
use crate::frame::{self, Kind, Opcode};
use crate::head::{self, Head};
use crate::input::{Cursor, Place};
use crate::limits::Limits;
use crate::reader::{Call, Found, Reader};
use crate::request::{AcceptKey, Request};
use crate::response::{self, BodyFraming, ResponseHead};
use crate::state::{Asked, Farewell, Pieces, State};

/// The server's side of one WebSocket connection. It does no I/O: the caller passes received bytes
/// to [`Connection::receive`] and sends the bytes that [`Connection::transmit`] and other methods
/// append.
///
/// It takes 16 bytes, and no heap while it is open and idle, unless the client's compressed
/// messages may refer to earlier ones: then the last of these are kept, up to the size of its
/// window. Incomplete input and owed output lie in a box until they are complete or sent.
#[derive(Default)]
pub struct Connection {
    state: State,
}

/// The stage of a connection's life. It only moves forwards, except that an answer which keeps the
/// connection returns it to [`Phase::Handshake`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Phase {
    /// The head of a request is incomplete.
    Handshake,
    /// The application wants the body of the request, and the body is incomplete.
    Body,
    /// A request, valid or not, awaits [`Connection::accept`], [`Connection::take_body`],
    /// [`Connection::respond`] or [`Connection::refuse`].
    Answering,
    /// The body of a response awaits [`Connection::finish_response`].
    Responding,
    /// The WebSocket is open, and messages go both ways.
    Open,
    /// Our close frame was appended, and the peer's is awaited.
    Closing,
    /// All further input is ignored. Once nothing is owed either, the socket can be closed.
    Closed,
}

/// The outcome of one call of [`Connection::receive`].
#[derive(PartialEq, Eq, Debug)]
pub struct Step<'a> {
    /// The number of input bytes that were consumed and must not be passed again.
    pub consumed: usize,
    /// The event that they complete, if they do.
    pub event: Option<Event<'a>>,
}

/// A complete unit that the peer sent.
#[derive(PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// The head of a request. It must be answered by [`Connection::accept`],
    /// [`Connection::respond`] or [`Connection::refuse`], either at once or after its body, which
    /// arrives if [`Connection::take_body`] is called.
    Request(Request<'a>),
    /// The whole body of the request, which must now be answered.
    Body(&'a [u8]),
    /// A message.
    Message(Message<'a>),
    /// A ping; its pong is now owed.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The peer's close frame with its code; `None` if it had none, which RFC 6455 section 7.1.5
    /// calls 1005. A reply with the same code is now owed, unless our close frame was sent before.
    Close(Option<CloseCode>),
    /// The peer broke a rule. A request must be answered by [`Connection::refuse`]. Behind the
    /// handshake, a close frame with the error's code is now owed, unless our close frame was sent
    /// before.
    Failed(Error),
}

/// A complete message, with all its fragments together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: Kind,
    /// The payload, which is valid UTF-8 if the message is text.
    pub payload: &'a [u8],
    /// The number of frames that it arrived in, at least 1.
    pub fragments: u32,
}

/// The frames that a call of [`Connection::transmit`] appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transmitted {
    /// The pong to the latest ping.
    pub pong: bool,
    /// The last frame: the reply to a close frame, or the close frame that states which rule was
    /// broken.
    pub farewell: bool,
}

impl Connection {
    /// A connection before its first byte.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Processes `input` up to the next event, or 16 frames of it if there is none before; the rest
    /// is for the next call. The caller must repeat this until everything is consumed, there is no
    /// event and nothing [is inflated](Connection::is_inflating). So one call follows the last
    /// event, which frees what that event borrowed. A call consumes something, yields an event or
    /// continues inflating, unless `input` is empty or a request awaits the end of its answer:
    /// nothing is read in [`Phase::Answering`], nor in [`Phase::Responding`] if the connection will
    /// be kept. The bytes behind the request stay with the caller, to be passed again afterwards.
    ///
    /// Payloads are unmasked in place, which is why `input` is mutable. A compressed message passes
    /// through `inflater` once it is complete; `inflater` keeps nothing of it. After
    /// [`Event::Close`], or after [`Event::Failed`] for a frame, the phase is [`Phase::Closed`], in
    /// which all input is consumed and ignored. So is input behind a request whose answer is the
    /// last.
    pub fn receive<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Step<'a> {
        let mut cursor = Cursor::new(input);
        let is_closing = matches!(self.state, State::Closing { .. });
        match &mut self.state {
            State::Handshake(head) => {
                let found = Head::read(head, &mut cursor, limits);
                let consumed = cursor.consumed();
                self.step_in_handshake(found, consumed, input, limits)
            }
            State::Open { deflate, kept } | State::Closing { deflate, kept } => {
                let mut call = Call {
                    limits,
                    inflater,
                    deflate: *deflate,
                };
                let found = Reader::read(kept, is_closing, &mut cursor, &mut call);
                let consumed = cursor.consumed();
                self.step_in_frames(found, consumed, input)
            }
            State::Body {
                missing, collected, ..
            } => {
                let found = body::read(missing, collected, &mut cursor);
                let consumed = cursor.consumed();
                let event = found.map(|place| self.body(&place, input));
                Step { consumed, event }
            }
            State::Responding { keeps: true, .. } => Step {
                consumed: 0,
                event: None,
            },
            State::Answering { lent, .. } => {
                *lent = None;
                Step {
                    consumed: 0,
                    event: None,
                }
            }
            State::Responding { keeps: false, .. } | State::Closed { .. } => Step {
                consumed: input.len(),
                event: None,
            },
        }
    }

    /// Answering → Open: appends the 101. `accept` is the value from [`Request::upgrade`];
    /// `subprotocol` must be one that the client offered (RFC 6455 section 4.2.2); `deflate` is
    /// what [`Request::deflate`] accepted of its offers. The 101 has no `Date`: none is required in
    /// it, and no cache stores it (RFC 9110 section 6.6.1). No-op in another phase.
    pub fn accept(
        &mut self,
        accept: &AcceptKey,
        subprotocol: Option<&str>,
        deflate: Option<Deflate>,
        out: &mut Vec<u8>,
    ) {
        if matches!(self.state, State::Answering { body_bytes: 0, .. }) {
            self.state = State::Open {
                deflate,
                kept: None,
            };
            response::encode_switching_protocols(accept, subprotocol, deflate, out);
        }
    }

    /// Answering → Body: the body of the request will be read, and comes whole in an
    /// [`Event::Body`]. Appends the 100 that the peer may be waiting for (RFC 9110 section 10.1.1):
    /// the application wants the body, so asking for it costs nothing, whereas after a 417 the peer
    /// would have to begin again. Returns false without effect in another phase or if there is no
    /// body to read; the request can then be answered.
    #[must_use]
    pub fn take_body(&mut self, out: &mut Vec<u8>) -> bool {
        let State::Answering {
            asked,
            body_bytes: missing @ 1..,
            ..
        } = self.state
        else {
            return false;
        };
        if asked.expects_continue {
            response::encode_continue(out);
        }
        self.state = State::Body {
            asked,
            missing,
            collected: None,
        };
        true
    }

    /// Answering → Responding, Handshake or Closed: appends the head of the response, and returns
    /// in which form the caller must append its body. An answer to HEAD has none (RFC 9110 section
    /// 9.3.2), nor does a status that excludes one (RFC 9112 section 6.3).
    ///
    /// The connection is kept if `response.keep` asks for it, the peer speaks HTTP/1.1 and does not
    /// close, and the request was read whole: a body that was not taken is never read. If the
    /// connection is kept, or if the length of the body is not known, the phase is Responding until
    /// [`Connection::finish_response`], unless no body follows. Otherwise the phase is Closed.
    ///
    /// Also allowed in [`Phase::Handshake`] and [`Phase::Body`], for answers that do not wait for
    /// the rest of the request, such as 408 and 503. In any other phase it is a no-op that returns
    /// [`BodyFraming::None`].
    #[must_use]
    pub fn respond(&mut self, response: &ResponseHead<'_>, out: &mut Vec<u8>) -> BodyFraming {
        let Some(asked) = self.state.asked() else {
            return BodyFraming::None;
        };
        let keeps = response.keep && self.state.may_keep();
        let form = response.body_form(asked.is_to_head, asked.persistence);
        response.encode_for(asked.persistence, keeps, out);
        let is_over = match form {
            BodyFraming::None => true,
            // The caller knows how many bytes must follow, and all input behind the request is
            // ignored.
            BodyFraming::Plain => !keeps && response.content_length.is_some(),
            BodyFraming::Chunked => false,
        };
        self.state = State::Responding {
            is_chunked: form == BodyFraming::Chunked,
            keeps,
        };
        if is_over {
            self.state.after_response();
        }
        form
    }

    /// Responding → Handshake if the connection is kept, else Closed: the body of the response was
    /// appended. Appends the last chunk if the body was chunked. A body that cannot be completed
    /// must end with its connection instead, which shows the peer that something is missing. No-op
    /// in another phase.
    pub fn finish_response(&mut self, out: &mut Vec<u8>) {
        if let State::Responding { is_chunked, .. } = self.state {
            if is_chunked {
                out.extend_from_slice(chunk::LAST);
            }
            self.state.after_response();
        }
    }

    /// Answering → Closed: appends the whole response to a request that broke a rule, whether
    /// [`Event::Failed`] or [`Request::upgrade`] reported it. `date` is as in [`ResponseHead`].
    /// No-op in another phase.
    pub fn refuse(&mut self, error: HandshakeError, date: Option<&str>, out: &mut Vec<u8>) {
        if let State::Answering { asked, .. } = self.state {
            self.state = State::closed();
            response::encode_error(error, date, asked.is_to_head, out);
        }
    }

    /// Appends the frames that are owed: the pong to the latest ping, then the reply to a close
    /// frame, or the close frame that states which rule the peer broke.
    pub fn transmit(&mut self, out: &mut Vec<u8>) -> Transmitted {
        let mut transmitted = Transmitted::default();
        if let Some(pong) = self.state.take_pong() {
            frame::encode(Opcode::Pong, pong.payload(), out);
            transmitted.pong = true;
        }
        if let State::Closed { farewell, .. } = &mut self.state {
            match mem::replace(farewell, Farewell::Said) {
                Farewell::Said => return transmitted,
                Farewell::Reply(code) => frame::encode_close(code, "", out),
                Farewell::Broken(error) => {
                    frame::encode_close(Some(error.close_code()), &error.to_string(), out);
                }
            }
            transmitted.farewell = true;
        }
        transmitted
    }

    /// Whether [`Connection::transmit`] would append anything.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.state.owes()
    }

    /// Open → Closing: appends an owed pong and our close frame, whose reason is cut to 123 bytes
    /// at a character boundary. From now on messages and pings are skipped, and the only events are
    /// [`Event::Close`] and [`Event::Failed`]. In another phase it is a no-op that returns false.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) -> bool {
        let State::Open { deflate, kept } = &mut self.state else {
            return false;
        };
        if let Some(pong) = Reader::take_pong(kept) {
            frame::encode(Opcode::Pong, pong.payload(), out);
        }
        Reader::discard(kept);
        self.state = State::Closing {
            deflate: *deflate,
            kept: kept.take(),
        };
        frame::encode_close(Some(code), reason, out);
        true
    }

    /// The compression that was agreed on, in [`Phase::Open`] and [`Phase::Closing`]; `None` in
    /// other phases, or if none was agreed on.
    #[must_use]
    pub fn deflate(&self) -> Option<Deflate> {
        match &self.state {
            State::Open { deflate, .. } | State::Closing { deflate, .. } => *deflate,
            State::Handshake(_)
            | State::Body { .. }
            | State::Answering { .. }
            | State::Responding { .. }
            | State::Closed { .. } => None,
        }
    }

    /// The current stage of the connection.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Handshake(_) => Phase::Handshake,
            State::Body { .. } => Phase::Body,
            State::Answering { .. } => Phase::Answering,
            State::Responding { .. } => Phase::Responding,
            State::Open { .. } => Phase::Open,
            State::Closing { .. } => Phase::Closing,
            State::Closed { .. } => Phase::Closed,
        }
    }

    /// Heap held for input, in bytes: incomplete input, the bytes of the last event until the next
    /// call of `receive`, an owed pong and, if the client has context takeover, its window. Since
    /// buffers grow by doubling, it is at most about twice the bytes that were received (after
    /// decompression), and a box of about a hundred bytes.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.state.buffered_bytes()
    }

    /// As [`Connection::buffered_bytes`], but without the window, which belongs to no single
    /// message.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.state.unfinished_bytes()
    }

    /// Whether a compressed message has arrived completely but was only partly inflated by the last
    /// call of [`Connection::receive`]: the next call continues, even without input.
    #[must_use]
    pub fn is_inflating(&self) -> bool {
        matches!(&self.state, State::Open { kept: Some(reader), .. } if reader.is_inflating())
    }

    /// Whether a message or a frame has begun and is incomplete, so that its next byte is awaited.
    #[must_use]
    pub fn is_within_message(&self) -> bool {
        matches!(&self.state, State::Open { kept: Some(reader), .. } if reader.is_within_message())
    }

    fn step_in_handshake<'a>(
        &'a mut self,
        found: Result<Option<Place>, HandshakeError>,
        consumed: usize,
        input: &'a [u8],
        limits: &Limits,
    ) -> Step<'a> {
        let event = match found {
            Ok(None) => None,
            Ok(Some(place)) => Some(self.request(&place, input, limits)),
            Err(error) => {
                self.state.misunderstand(input, limits);
                Some(Event::Failed(error.into()))
            }
        };
        let consumed = match event {
            // The bytes behind a malformed request cannot be interpreted.
            Some(Event::Failed(_)) => input.len(),
            _ => consumed,
        };
        Step { consumed, event }
    }

    /// Parses a complete head.
    fn request<'a>(&'a mut self, place: &Place, input: &'a [u8], limits: &Limits) -> Event<'a> {
        self.state = State::Answering {
            asked: Asked::unknown(false),
            body_bytes: 0,
            lent: self.state.take_head(),
        };
        let State::Answering {
            asked,
            body_bytes,
            lent,
        } = &mut self.state
        else {
            unreachable!("it was just set")
        };
        let head = place.bytes(input, bytes_of(lent));
        asked.is_to_head = head::is_to_head(head.iter());
        match Request::parse(head, limits) {
            Ok(request) => {
                asked.expects_continue = request.expects_continue();
                asked.persistence = request.persistence();
                *body_bytes = request.body_bytes();
                Event::Request(request)
            }
            Err(error) => Event::Failed(error.into()),
        }
    }

    /// Returns the complete body of a request, which must now be answered.
    fn body<'a>(&'a mut self, place: &Place, input: &'a [u8]) -> Event<'a> {
        if let State::Body {
            asked, collected, ..
        } = &mut self.state
        {
            self.state = State::Answering {
                asked: *asked,
                body_bytes: 0,
                lent: collected.take(),
            };
        }
        match &self.state {
            State::Answering { lent, .. } => Event::Body(place.bytes(input, bytes_of(lent))),
            _ => unreachable!("a body is read in its state alone"),
        }
    }

    fn step_in_frames<'a>(
        &'a mut self,
        found: Result<Option<Found>, FrameError>,
        consumed: usize,
        input: &'a [u8],
    ) -> Step<'a> {
        let event = match found {
            Ok(None) => {
                return Step {
                    consumed,
                    event: None,
                };
            }
            Ok(Some(Found::Message {
                kind,
                payload,
                fragments,
            })) => Event::Message(Message {
                kind,
                payload: payload.bytes(input, self.state.lent()),
                fragments,
            }),
            Ok(Some(Found::Ping(payload))) => Event::Ping(payload.bytes(input, self.state.lent())),
            Ok(Some(Found::Pong(payload))) => Event::Pong(payload.bytes(input, self.state.lent())),
            Ok(Some(Found::Close(code))) => {
                self.state.end(Farewell::Reply(code));
                Event::Close(code)
            }
            Err(error) => {
                self.state.end(Farewell::Broken(error));
                return Step {
                    consumed: input.len(),
                    event: Some(Event::Failed(error.into())),
                };
            }
        };
        Step {
            consumed,
            event: Some(event),
        }
    }
}

fn bytes_of(pieces: &Pieces) -> &[u8] {
    pieces.as_deref().map_or(&[], Vec::as_slice)
}

impl fmt::Debug for Connection {
    /// Shows none of the peer's bytes, which can be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("phase", &self.phase())
            .field("buffered_bytes", &self.buffered_bytes())
            .field("owes", &self.owes())
            .finish()
    }
}
