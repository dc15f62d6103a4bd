//! The server's WebSocket frames, taken apart as they arrive.

use anyhow::{Result, bail, ensure};
use codec::Opcode;
use codec::frame::encode_masked;

/// Longer messages are none that these clients have published, nor an answer to them.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Any key but zero, so that the server must unmask.
const KEY: [u8; 4] = [0x5a, 0x31, 0xc4, 0x9e];

/// Bytes of frames that have arrived.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    taken: usize,
    /// A message whose end has not come.
    unfinished: Vec<u8>,
}

/// What the server has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message.
    Message(Vec<u8>),
    /// A ping, which wants this back.
    Ping(Vec<u8>),
    /// The connection is over, with this code; 0 without one.
    Close(u16),
}

impl Frames {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.taken);
        }
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, if all of it has arrived.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        while let Some((first, payload)) = self.take()? {
            let is_last = first & 0x80 != 0;
            match first & 0x0f {
                0x0..=0x2 if is_last && self.unfinished.is_empty() => {
                    return Ok(Some(Frame::Message(payload)));
                }
                0x0..=0x2 => {
                    self.unfinished.extend_from_slice(&payload);
                    if is_last {
                        let message = std::mem::take(&mut self.unfinished);
                        return Ok(Some(Frame::Message(message)));
                    }
                }
                0x8 => {
                    let code = payload
                        .first_chunk()
                        .map_or(0, |it| u16::from_be_bytes(*it));
                    return Ok(Some(Frame::Close(code)));
                }
                0x9 => return Ok(Some(Frame::Ping(payload))),
                0xa => {}
                other => bail!("a frame with opcode {other}"),
            }
        }
        Ok(None)
    }

    /// Takes the first byte and the payload of the next whole frame.
    fn take(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        let rest = &self.bytes[self.taken..];
        let Some(split) = split_first(rest)? else {
            return Ok(None);
        };
        let taken = (split.first, split.payload.to_vec());
        self.taken += rest.len() - split.rest.len();
        Ok(Some(taken))
    }
}

/// A frame, and what is behind it.
#[derive(Debug)]
pub struct Split<'a> {
    /// The first byte, with the opcode.
    pub first: u8,
    /// The payload.
    pub payload: &'a [u8],
    /// What has arrived after the frame.
    pub rest: &'a [u8],
}

/// The first frame; nothing if it has not arrived whole.
pub fn split_first(bytes: &[u8]) -> Result<Option<Split<'_>>> {
    let &[first, second, ref behind @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(second & 0x80 == 0, "the server masks a frame");
    ensure!(first & 0x70 == 0, "a frame with reserved bits");
    let (length, head) = match (second, behind) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, _) => match behind.first_chunk() {
            Some(length) => (u64::from_be_bytes(*length), 10),
            None => return Ok(None),
        },
        (126, _) => return Ok(None),
        (length, _) => (u64::from(length), 2),
    };
    ensure!(length <= MESSAGE_BYTES_MAX, "a frame of {length} bytes");
    let split = bytes[head..].split_at_checked(length as usize);
    Ok(split.map(|(payload, rest)| Split {
        first,
        payload,
        rest,
    }))
}

/// Appends a frame as a client sends it.
pub fn append(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    encode_masked(opcode, true, KEY, payload, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_arrive_byte_by_byte_are_the_same() {
        let long = vec![7; 300];
        let mut bytes = vec![
            0x81, 2, b'h', b'i', 0x89, 1, 9, 0x01, 1, b'a', 0x80, 1, b'b',
        ];
        bytes.extend_from_slice(&[0x82, 126, 1, 44]);
        bytes.extend_from_slice(&long);
        bytes.extend_from_slice(&[0x88, 2, 0x0b, 0xc0]);
        let expected = [
            Frame::Message(b"hi".to_vec()),
            Frame::Ping(vec![9]),
            Frame::Message(b"ab".to_vec()),
            Frame::Message(long),
            Frame::Close(3008),
        ];
        for step in [1, 3, bytes.len()] {
            let (mut frames, mut all) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(step) {
                frames.push(piece);
                while let Some(frame) = frames.next().unwrap() {
                    all.push(frame);
                }
            }
            assert_eq!(all, expected);
        }
    }

    #[test]
    fn frame_that_no_server_may_send_is_refused() {
        for bytes in [
            &[0x81, 0x80][..],
            &[0xc1, 0],
            &[0x83, 0],
            &[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert!(frames.next().is_err(), "{bytes:?}");
        }
    }
}
