//! What connections have been sent, taken apart into what the server says; pings are answered on the way.

use crate::centrifuge::{Command, Encoding, frames};
use anyhow::{Result, bail, ensure};
use codec::Opcode;

/// The server has closed a connection, for this reason.
#[derive(Debug)]
pub struct Closed(pub String);

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the server closed the connection: {}", self.0)
    }
}

impl std::error::Error for Closed {}

/// Bytes of all connections that are not a whole frame yet.
#[derive(Debug)]
pub struct Inbox {
    encoding: Encoding,
    parts: Vec<Vec<u8>>,
    pong: Vec<u8>,
    /// What the connection that was read last has to send: its pongs.
    pub owed: Vec<u8>,
    /// The server's pings so far.
    pub pings: u64,
    /// Frames with messages so far.
    pub frames: u64,
    /// Bytes of the longest message so far.
    pub longest: usize,
}

impl Inbox {
    /// An inbox of this many connections.
    #[must_use]
    pub fn new(encoding: Encoding, connections: usize) -> Self {
        Self {
            encoding,
            parts: vec![Vec::new(); connections],
            pong: command(encoding, 0, Command::Pong),
            owed: Vec::new(),
            pings: 0,
            frames: 0,
            longest: 0,
        }
    }

    /// Calls `each` for everything that the server says with these bytes and those before, one at a time, pings
    /// aside. A close frame is an error.
    pub fn take(
        &mut self,
        index: usize,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.owed.clear();
        let mut whole = std::mem::take(&mut self.parts[index]);
        let mut rest = bytes;
        if !whole.is_empty() {
            whole.extend_from_slice(bytes);
            rest = &whole;
        }
        while let Some(split) = frames::split_first(rest)? {
            rest = split.rest;
            match split.first & 0x0f {
                0x1 | 0x2 => {
                    ensure!(split.first & 0x80 != 0, "the server sent a fragment");
                    self.frames += 1;
                    self.take_message(split.payload, &mut each)?;
                }
                0x8 => return Err(Closed(reason(split.payload)).into()),
                0x9 => frames::append(Opcode::Pong, split.payload, &mut self.owed),
                other => bail!("the server sent a frame with opcode {other}"),
            }
        }
        self.parts[index] = rest.to_vec();
        Ok(())
    }

    fn take_message(
        &mut self,
        mut message: &[u8],
        each: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while !message.is_empty() {
            let one = self.encoding.split_first(&mut message)?;
            let is_ping = match self.encoding {
                Encoding::Json => one.trim_ascii() == b"{}",
                Encoding::Protobuf => one == [0],
            };
            if is_ping {
                self.pings += 1;
                self.owed.extend_from_slice(&self.pong);
            } else {
                self.longest = self.longest.max(one.len());
                each(one)?;
            }
        }
        Ok(())
    }
}

/// A command as a client sends it, in a frame of its own.
#[must_use]
pub fn command(encoding: Encoding, id: u32, command: Command<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    append(encoding, id, command, &mut out);
    out
}

/// Appends a command in a frame of its own.
pub fn append(encoding: Encoding, id: u32, command: Command<'_>, out: &mut Vec<u8>) {
    let mut message = Vec::new();
    encoding.append(id, command, &mut message);
    frames::append(encoding.opcode(), &message, out);
}

/// What a close frame says.
fn reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("{code} {}", String::from_utf8_lossy(reason))
        }
        _ => "without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codec::{Kind, frame};

    fn taken(encoding: Encoding, bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Inbox) {
        let mut inbox = Inbox::new(encoding, 1);
        let (mut said, mut owed) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(step) {
            let each = |one: &[u8]| {
                said.push(one.to_vec());
                Ok(())
            };
            inbox.take(0, piece, each).unwrap();
            owed.extend_from_slice(&inbox.owed);
        }
        inbox.owed = owed;
        (said, inbox)
    }

    #[test]
    fn pings_are_answered_and_all_else_is_handed_on_however_it_arrives() {
        let check = |encoding: Encoding, kind, message: &[u8], expected: [&[u8]; 2]| {
            let mut bytes = Vec::new();
            frame::encode_message(kind, message, &mut bytes);
            frame::encode_message(kind, expected[0], &mut bytes);
            for step in [1, 5, bytes.len()] {
                let (said, inbox) = taken(encoding, &bytes, step);
                assert_eq!(said, [expected[0], expected[1], expected[0]]);
                assert_eq!((inbox.pings, inbox.frames), (1, 2));
                assert_eq!(inbox.owed, command(encoding, 0, Command::Pong));
            }
        };
        let replies: [&[u8]; 2] = [b"{\"id\":1,\"publish\":{}}", b"{\"id\":2,\"publish\":{}}"];
        let message = [replies[0], b"\n{}\n", replies[1]].concat();
        check(Encoding::Json, Kind::Text, &message, replies);
        let replies: [&[u8]; 2] = [&[4, 8, 1, 66, 0], &[4, 8, 2, 66, 0]];
        let message = [replies[0], &[0], replies[1]].concat();
        check(Encoding::Protobuf, Kind::Binary, &message, replies);
    }

    #[test]
    fn close_is_an_error_that_says_why() {
        let mut inbox = Inbox::new(Encoding::Json, 1);
        let close = [0x88, 5, 0x0b, 0xc0, b's', b'l', b'o'];
        let error = inbox.take(0, &close, |_| Ok(())).unwrap_err();
        assert!(error.to_string().ends_with("3008 slo"), "{error}");
    }
}
