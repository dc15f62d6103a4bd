//! Frames on the wire: decoding of headers, and encoding (RFC 6455 section 5.2).

use std::ops::Deref;

use crate::close::CloseCode;
use crate::error::FrameError;
use crate::mask;

const FIN: u8 = 0x80;
/// Marks the first frame of a compressed message (RFC 7692 section 6).
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

/// Longest payload of a control frame in bytes (RFC 6455 section 5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// The type of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Arbitrary bytes.
    Binary,
}

/// The meaning of a frame (RFC 6455 section 11.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// A text message or its first fragment.
    Text,
    /// A binary message or its first fragment.
    Binary,
    /// The last frame that its sender sends.
    Close,
    /// Requests a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

impl From<Kind> for Opcode {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Binary => Self::Binary,
        }
    }
}

/// An encoded frame header of the server, of 2, 4 or 10 bytes.
///
/// It serves payloads that many connections share: the header is sent before the payload.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; Self::BYTES_MAX],
    length: u8,
}

impl HeaderBytes {
    /// Longest header of the server in bytes: two, and a 64-bit length.
    pub(crate) const BYTES_MAX: usize = 10;
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The header of an unmasked, unfragmented frame whose payload has `payload_bytes` bytes.
#[must_use]
pub fn header(opcode: Opcode, payload_bytes: usize) -> HeaderBytes {
    encode_header(FIN | opcode.to_wire(), 0, payload_bytes)
}

/// The header of an unmasked, unfragmented frame that carries a whole compressed message.
pub(crate) fn compressed_header(kind: Kind, payload_bytes: usize) -> HeaderBytes {
    let opcode = Opcode::from(kind).to_wire();
    encode_header(FIN | RSV1 | opcode, 0, payload_bytes)
}

/// Appends a message as one unmasked frame.
pub fn encode_message(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    encode(kind.into(), payload, out);
}

/// Appends a ping. Its payload is cut to 125 bytes, the most that a control frame may carry.
pub fn encode_ping(payload: &[u8], out: &mut Vec<u8>) {
    encode(
        Opcode::Ping,
        &payload[..payload.len().min(CONTROL_BYTES_MAX)],
        out,
    );
}

/// Appends a close frame: empty without a code, otherwise with the code and as many whole
/// characters of `reason` as fit into 123 bytes.
pub fn encode_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    let Some(code) = code else {
        return encode(Opcode::Close, b"", out);
    };
    let code = code.get().to_be_bytes();
    let mut reason_bytes = reason.len().min(CONTROL_BYTES_MAX - code.len());
    while !reason.is_char_boundary(reason_bytes) {
        reason_bytes -= 1;
    }
    let reason = &reason[..reason_bytes];
    out.extend_from_slice(&header(Opcode::Close, code.len() + reason.len()));
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a frame as a client sends it: masked with `key`, and with `fin` as given. It enforces no
/// other rule, so that tests can break them.
pub fn encode_masked(opcode: Opcode, fin: bool, key: [u8; 4], payload: &[u8], out: &mut Vec<u8>) {
    let fin = if fin { FIN } else { 0 };
    out.extend_from_slice(&encode_header(
        fin | opcode.to_wire(),
        MASKED,
        payload.len(),
    ));
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(key, &mut out[start..]);
}

pub(crate) fn encode(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&header(opcode, payload.len()));
    out.extend_from_slice(payload);
}

fn encode_header(first: u8, masked: u8, payload_bytes: usize) -> HeaderBytes {
    let mut bytes = [0; HeaderBytes::BYTES_MAX];
    bytes[0] = first;
    let length = if payload_bytes <= CONTROL_BYTES_MAX {
        bytes[1] = masked | payload_bytes as u8;
        2
    } else if let Ok(short) = u16::try_from(payload_bytes) {
        bytes[1] = masked | 126;
        bytes[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        bytes[1] = masked | 127;
        bytes[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        10
    };
    HeaderBytes { bytes, length }
}

/// The meaning of a control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    Close,
    Ping,
    Pong,
}

/// The role of a received frame, as far as the reader distinguishes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Start(Kind),
    Continuation,
    Control(Control),
}

impl Role {
    fn from_wire(opcode: u8) -> Result<Self, FrameError> {
        match opcode {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Start(Kind::Text)),
            0x2 => Ok(Self::Start(Kind::Binary)),
            0x8 => Ok(Self::Control(Control::Close)),
            0x9 => Ok(Self::Control(Control::Ping)),
            0xa => Ok(Self::Control(Control::Pong)),
            _ => Err(FrameError::ReservedOpcode),
        }
    }
}

/// Which data frame is allowed next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sequence {
    /// The first frame of a message.
    Start,
    /// A continuation frame.
    Continuation,
    /// Either, because the frame will be discarded.
    Any,
}

impl Sequence {
    fn check(self, role: Role) -> Result<(), FrameError> {
        match (self, role) {
            (Self::Start, Role::Continuation) => Err(FrameError::ContinuationWithoutStart),
            (Self::Continuation, Role::Start(_)) => Err(FrameError::MessageInterleaved),
            _ => Ok(()),
        }
    }
}

/// A decoded header of a client's frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// Whether RSV1 is set, which `decode` allows only on the first frame of a message.
    pub(crate) compressed: bool,
    pub(crate) role: Role,
    pub(crate) key: mask::Key,
    /// The announced length, at most 2⁶³ − 1; none of the payload need have arrived.
    pub(crate) payload_bytes: u64,
    pub(crate) header_bytes: usize,
}

impl Header {
    /// Longest header of a client in bytes: two, a 64-bit length and a masking key.
    pub(crate) const BYTES_MAX: usize = 14;

    /// Decodes the header at the beginning of `bytes`; `None` if it is incomplete. Each rule is
    /// checked as soon as its byte is there, in the order of the bytes, so that the verdict does
    /// not depend on how many bytes follow. `deflate` says whether messages may be compressed.
    pub(crate) fn decode(
        bytes: &[u8],
        sequence: Sequence,
        deflate: bool,
    ) -> Result<Option<Self>, FrameError> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let compressed = first & RSV1 != 0;
        if first & RSV2_RSV3 != 0 || (compressed && !deflate) {
            return Err(FrameError::ReservedBits);
        }
        let role = Role::from_wire(first & OPCODE)?;
        // RFC 7692 section 6.1: RSV1 is set on the first frame of a message only, never on a
        // control frame.
        if compressed && !matches!(role, Role::Start(_)) {
            return Err(FrameError::ReservedBits);
        }
        let control = matches!(role, Role::Control(_));
        if control && !fin {
            return Err(FrameError::ControlFragmented);
        }
        sequence.check(role)?;

        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        // RFC 6455 section 5.1: a server must close the connection upon an unmasked frame.
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        let short = second & !MASKED;
        if control && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = decode_length(short, &bytes[2..])? else {
            return Ok(None);
        };
        let Some((&key, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let header_bytes = bytes.len() - rest.len();
        Ok(Some(Self {
            fin,
            compressed,
            role,
            key,
            payload_bytes,
            header_bytes,
        }))
    }
}

/// Decodes the payload length from the seven bits of the second byte and the bytes behind it;
/// returns it with the bytes that follow. "The minimal number of bytes MUST be used" (RFC 6455
/// section 5.2).
fn decode_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (length, minimum, rest) = match short {
        126 => {
            let Some((length, rest)) = bytes.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*length)), 126, rest)
        }
        127 => {
            if bytes.first().is_some_and(|highest| highest & 0x80 != 0) {
                return Err(FrameError::LengthHighestBit);
            }
            let Some((length, rest)) = bytes.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*length), 1 << 16, rest)
        }
        _ => (u64::from(short), 0, bytes),
    };
    if length < minimum {
        return Err(FrameError::LengthNotMinimal);
    }
    Ok(Some((length, rest)))
}
