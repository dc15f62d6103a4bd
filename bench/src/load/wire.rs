//! The messages of the load: the bytes that are sent, and the bytes that must return.

use super::chat;
use super::deflate;
use codec::frame;
use codec::{Kind, Opcode};

/// Any key but zero, so that the server must unmask.
const KEY: [u8; 4] = [0x5a, 0x31, 0xc4, 0x9e];
/// The name of a message: eight hexadecimal digits for the sender, and eight for the sequence
/// number.
const NAMED_BYTES: usize = 16;

/// The framing of messages on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Frames of RFC 6455, masked by the client.
    WebSocket,
    /// The server's frames in both directions, without a handshake. It is for the floor, which
    /// forwards bytes and does not know frames.
    Raw,
}

/// The beginning of a compressed message: a stored block (RFC 1951 section 3.2.4) for the name.
/// Only the name changes from message to message, so the load compresses once.
const STORED_HEAD: [u8; 5] = [0x00, NAMED_BYTES as u8, 0x00, !(NAMED_BYTES as u8), 0xff];

/// A message of one size, in which only the sender and the sequence number change.
#[derive(Clone, Debug)]
pub struct Template {
    plain: Vec<u8>,
    /// The place of the name in `plain`.
    plain_name: usize,
    client: Vec<u8>,
    client_name: usize,
    /// The client's masking key, rotated to the place of the name.
    name_key: [u8; 4],
}

impl Template {
    /// A template for messages of `payload_bytes` letters, at least 16.
    #[must_use]
    pub fn new(framing: Framing, kind: Kind, payload_bytes: usize) -> Self {
        let payload: Vec<u8> = (0..payload_bytes.max(NAMED_BYTES))
            .map(|at| b'a' + (at % 23) as u8)
            .collect();
        let mut plain = Vec::new();
        frame::encode_message(kind, &payload, &mut plain);
        let mut client = Vec::new();
        let name_key = match framing {
            Framing::WebSocket => {
                frame::encode_masked(Opcode::from(kind), true, KEY, &payload, &mut client);
                KEY
            }
            Framing::Raw => {
                client.extend_from_slice(&plain);
                [0; 4]
            }
        };
        Self {
            plain_name: plain.len() - payload.len(),
            client_name: client.len() - payload.len(),
            plain,
            client,
            name_key,
        }
    }

    /// A template for chat-like text messages of `payload_bytes`, which the client compresses.
    #[must_use]
    pub fn compressed(payload_bytes: usize) -> Self {
        let chat = chat::text(payload_bytes.saturating_sub(NAMED_BYTES));
        let payload = [&[b'0'; NAMED_BYTES][..], &chat].concat();
        let mut plain = Vec::new();
        frame::encode_message(Kind::Text, &payload, &mut plain);
        let rest = deflate::compressed(&chat);
        let content = [&STORED_HEAD[..], &payload[..NAMED_BYTES], &rest].concat();
        let mut client = Vec::new();
        frame::encode_masked(Opcode::Text, true, KEY, &content, &mut client);
        mark_compressed(&mut client);
        let mut name_key = KEY;
        name_key.rotate_left(STORED_HEAD.len() % KEY.len());
        Self {
            plain_name: plain.len() - payload.len(),
            client_name: client.len() - content.len() + STORED_HEAD.len(),
            plain,
            client,
            name_key,
        }
    }

    /// The length in bytes of one message as the server sends it.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Appends a message as the client sends it.
    pub fn append(&mut self, sender: u32, number: u32, out: &mut Vec<u8>) {
        let mut name = name(sender, number);
        for (at, byte) in name.iter_mut().enumerate() {
            *byte ^= self.name_key[at % 4];
        }
        self.client[self.client_name..self.client_name + NAMED_BYTES].copy_from_slice(&name);
        out.extend_from_slice(&self.client);
    }

    /// The message as the server must send it, before any compression.
    pub fn expected(&mut self, sender: u32, number: u32) -> &[u8] {
        let name = name(sender, number);
        self.plain[self.plain_name..self.plain_name + NAMED_BYTES].copy_from_slice(&name);
        &self.plain
    }

    /// The sender and the sequence number of a frame; `None` if it is not a message of this
    /// template.
    #[must_use]
    pub fn parse(&self, frame: &[u8]) -> Option<(u32, u32)> {
        let rest = self.plain_name + NAMED_BYTES;
        let same = frame.len() == self.plain.len()
            && frame[..self.plain_name] == self.plain[..self.plain_name]
            && frame[rest..] == self.plain[rest..];
        if !same {
            return None;
        }
        let name = &frame[self.plain_name..rest];
        Some((hexadecimal(&name[..8])?, hexadecimal(&name[8..])?))
    }
}

/// A piece of the bytes that a server sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// A message or a part of one.
    Message(&'a [u8]),
    /// The payload of a ping. A connection that was idle for long may get one between messages.
    Ping(&'a [u8]),
}

/// The first piece of `bytes`, and the bytes behind it. `left` is the number of bytes missing of
/// the current message, or the whole length between two messages. A ping always arrives in one
/// piece.
#[must_use]
pub fn first_piece(bytes: &[u8], left: usize, frame_bytes: usize) -> (Piece<'_>, &[u8]) {
    if let [0x89, length, rest @ ..] = bytes
        && left == frame_bytes
        && let Some((payload, rest)) = rest.split_at_checked(usize::from(*length))
    {
        return (Piece::Ping(payload), rest);
    }
    let (message, rest) = bytes.split_at(left.min(bytes.len()));
    (Piece::Message(message), rest)
}

/// The bytes behind the pings that a connection got between two messages.
#[must_use]
pub fn without_pings(mut bytes: &[u8]) -> &[u8] {
    while let (Piece::Ping(_), rest) = first_piece(bytes, 1, 1) {
        bytes = rest;
    }
    bytes
}

/// Appends the pong to a ping.
pub fn append_pong(payload: &[u8], out: &mut Vec<u8>) {
    frame::encode_masked(Opcode::Pong, true, KEY, payload, out);
}

/// Appends a text message as a client sends it.
pub fn append_text(payload: &[u8], out: &mut Vec<u8>) {
    frame::encode_masked(Opcode::Text, true, KEY, payload, out);
}

/// Marks a client's frame as the first of a compressed message (RSV1, RFC 7692 section 6).
pub fn mark_compressed(frame: &mut [u8]) {
    frame[0] |= 0x40;
}

fn name(sender: u32, number: u32) -> [u8; NAMED_BYTES] {
    let mut digits = [0; NAMED_BYTES];
    let both = (u64::from(sender) << 32) | u64::from(number);
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(both >> (60 - 4 * at)) as usize & 15];
    }
    digits
}

/// The number that these digits are, eight at most.
#[must_use]
pub fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, &digit| {
        Some((number << 4) | char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_expected_is_parsed_back() {
        let mut template = Template::new(Framing::WebSocket, Kind::Text, 128);
        let frame = template.expected(0xdead_beef, 7).to_vec();
        assert_eq!(frame.len(), 132);
        assert_eq!(template.parse(&frame), Some((0xdead_beef, 7)));
    }

    #[test]
    fn template_other_bytes_are_no_message() {
        let mut template = Template::new(Framing::WebSocket, Kind::Text, 20);
        let good = template.expected(1, 2).to_vec();
        for at in (0..good.len()).filter(|at| !(2..18).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(template.parse(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn pings_before_a_reply_are_left_out() {
        assert_eq!(without_pings(&[0x89, 0, 0x89, 2, 7, 7, 0x81, 0]), [0x81, 0]);
        assert_eq!(without_pings(&[0x81, 0]), [0x81, 0]);
        assert!(without_pings(&[0x89, 0]).is_empty());
    }

    #[test]
    fn pieces_end_with_messages_and_pings_lie_between_them() {
        let message = [0x81, 2, 0x89, 0x89];
        let bytes = [&message[..], &[0x89, 1, 7], &message[..2]].concat();
        let (piece, rest) = first_piece(&bytes, 4, 4);
        assert_eq!(piece, Piece::Message(&message));
        let (piece, rest) = first_piece(rest, 4, 4);
        assert_eq!(piece, Piece::Ping(&[7]));
        assert_eq!(
            first_piece(rest, 4, 4),
            (Piece::Message(&message[..2]), &[][..])
        );
        // Inside a message these bytes are not a ping.
        let rest = &message[2..];
        assert_eq!(first_piece(rest, 2, 4), (Piece::Message(rest), &[][..]));
    }

    #[test]
    fn template_compressed_inflates_to_what_is_expected() {
        let mut template = Template::compressed(1024);
        for (sender, number) in [(3, 9), (0xffff_ffff, 0x0123_4567)] {
            let mut sent = Vec::new();
            template.append(sender, number, &mut sent);
            assert_eq!(sent[0], 0xc1);
            let head = 4 + KEY.len();
            let masked = sent[head..].iter().enumerate();
            let content: Vec<u8> = masked.map(|(at, byte)| byte ^ KEY[at % 4]).collect();
            assert!(content.len() < 700, "{} bytes", content.len());
            let mut payload = Vec::with_capacity(2048);
            flate2::Decompress::new(false)
                .decompress_vec(&content, &mut payload, flate2::FlushDecompress::Sync)
                .unwrap();
            assert!(str::from_utf8(&payload).is_ok());
            let expected = template.expected(sender, number).to_vec();
            assert_eq!(expected[4..], payload);
            assert_eq!(template.parse(&expected), Some((sender, number)));
        }
    }

    #[test]
    fn template_client_frame_unmasks_to_the_same_payload() {
        let mut template = Template::new(Framing::WebSocket, Kind::Text, 300);
        let mut sent = Vec::new();
        template.append(3, 9, &mut sent);
        let head = sent.len() - 300;
        let payload: Vec<u8> = sent[head..]
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ KEY[at % 4])
            .collect();
        assert!(template.expected(3, 9).ends_with(&payload));
        assert_eq!(sent[head - 4..head], KEY);
    }
}
