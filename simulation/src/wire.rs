//! What a server sends, read strictly: one answer head, then frames, chunks or a body.

/// Something that a peer is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// A head and its body.
    Answer(Answer),
    /// A text message, or a chunk.
    Text(String),
    /// A ping with this payload.
    Ping(Vec<u8>),
    /// A pong with this payload.
    Pong(Vec<u8>),
    /// A close frame.
    Close,
    /// The end of a body in chunks.
    LastChunk,
}

/// An answer over HTTP.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its body, if it has a length.
    pub body: Vec<u8>,
}

/// What has come and is not read yet.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Heads,
    Frames,
    Chunks,
    Over,
}

impl Inbox {
    /// These bytes have come.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a WebSocket is open, or a stream.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Frames | Phase::Chunks)
    }

    /// Whether something has come in part.
    pub fn is_within(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next thing that has come whole.
    pub fn read(&mut self) -> Result<Option<Told>, String> {
        match self.phase {
            Phase::Heads => self.next_answer(),
            Phase::Frames => self.next_frame(),
            Phase::Chunks => self.next_chunk(),
            Phase::Over if self.bytes.is_empty() => Ok(None),
            Phase::Over => Err("bytes came behind the last chunk".into()),
        }
    }

    fn next_answer(&mut self) -> Result<Option<Told>, String> {
        let Some(end) = find(&self.bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no answer: {head:?}"))?;
        let field = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        let length = field("Content-Length:").map_or(Ok(0), |length| length.parse());
        let length: usize = length.map_err(|_| format!("no length: {head:?}"))?;
        let whole = end + 4 + length;
        if self.bytes.len() < whole {
            return Ok(None);
        }
        let body = self.bytes[end + 4..whole].to_vec();
        self.bytes.drain(..whole);
        if status == 101 {
            self.phase = Phase::Frames;
        } else if field("Transfer-Encoding:").is_some() {
            self.phase = Phase::Chunks;
        }
        Ok(Some(Told::Answer(Answer { status, body })))
    }

    fn next_frame(&mut self) -> Result<Option<Told>, String> {
        let [first, second, ..] = self.bytes[..] else {
            return Ok(None);
        };
        let (head, length) = match second {
            0..=125 => (2, usize::from(second)),
            126 if self.bytes.len() >= 4 => (
                4,
                usize::from(u16::from_be_bytes([self.bytes[2], self.bytes[3]])),
            ),
            126 => return Ok(None),
            _ => return Err(format!("a frame of the length {second}")),
        };
        if self.bytes.len() < head + length {
            return Ok(None);
        }
        let payload = self.bytes[head..head + length].to_vec();
        self.bytes.drain(..head + length);
        let text = |bytes| String::from_utf8(bytes).map_err(|_| "a text that is none".to_owned());
        Ok(Some(match first {
            0x81 => Told::Text(text(payload)?),
            0x88 => Told::Close,
            0x89 => Told::Ping(payload),
            0x8A => Told::Pong(payload),
            _ => return Err(format!("a frame that begins with {first:#x}")),
        }))
    }

    fn next_chunk(&mut self) -> Result<Option<Told>, String> {
        let Some(end) = find(&self.bytes, b"\r\n") else {
            return Ok(None);
        };
        let size = str::from_utf8(&self.bytes[..end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(|| format!("a chunk of no size: {:?}", &self.bytes[..end]))?;
        let whole = end + 2 + size + 2;
        if self.bytes.len() < whole {
            return Ok(None);
        }
        let chunk = self.bytes[end + 2..whole - 2].to_vec();
        if self.bytes[whole - 2..whole] != *b"\r\n" {
            return Err("a chunk that does not end where it should".into());
        }
        self.bytes.drain(..whole);
        if size == 0 {
            self.phase = Phase::Over;
            return Ok(Some(Told::LastChunk));
        }
        let text = String::from_utf8(chunk).map_err(|_| "a chunk that is no text")?;
        Ok(Some(Told::Text(text)))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_answers_are_read_whole_and_strictly() {
        let mut inbox = Inbox::default();
        let all = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x03a b\x89\x00\x88\x02\x03\xe8";
        let mut told = Vec::new();
        for byte in all {
            inbox.take(&[*byte]);
            told.extend(inbox.read().unwrap());
        }
        let answer = Answer {
            status: 101,
            body: Vec::new(),
        };
        let text = Told::Text("a b".into());
        assert_eq!(
            told,
            [
                Told::Answer(answer),
                text,
                Told::Ping(Vec::new()),
                Told::Close
            ]
        );
        inbox.take(b"\x01\x00");
        assert!(inbox.read().is_err());
    }

    #[test]
    fn chunks_are_read_whole_and_strictly() {
        let mut inbox = Inbox::default();
        inbox.take(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        assert!(matches!(
            inbox.read(),
            Ok(Some(Told::Answer(Answer { status: 200, .. })))
        ));
        assert_eq!(inbox.read(), Ok(Some(Told::Text("ab".into()))));
        assert_eq!(inbox.read(), Ok(Some(Told::LastChunk)));
        inbox.take(b"x");
        assert!(inbox.read().is_err());
    }
}
