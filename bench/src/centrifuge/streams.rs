//! Answers over HTTP that last: the head, the chunks (RFC 9112, section 7.1), and the messages in them.

use super::{Encoding, Frame};
use anyhow::{Context as _, Result, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Longer chunks are none that these clients have anything of.
const CHUNK_BYTES_MAX: usize = 16 << 20;
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How a client of the protocol is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Transport {
    /// A WebSocket.
    Websocket,
    /// A stream of messages over HTTP, with requests beside it.
    HttpStream,
    /// Server-sent events, with requests beside them.
    Sse,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Websocket, Self::HttpStream, Self::Sse];

    /// Whether messages in this encoding can be sent over it.
    #[must_use]
    pub fn carries(self, encoding: Encoding) -> bool {
        self != Self::Sse || encoding == Encoding::Json
    }

    /// The request that opens a stream with these commands; nothing for a WebSocket. `base` is what the paths begin
    /// with, and `host` the server's.
    #[must_use]
    pub fn request(
        self,
        encoding: Encoding,
        host: &str,
        base: &str,
        commands: &[u8],
    ) -> Option<Vec<u8>> {
        match self {
            Self::Websocket => None,
            Self::HttpStream => {
                let path = format!("{base}/connection/http_stream");
                Some(post(host, &path, encoding.media_type(), commands))
            }
            Self::Sse => {
                let commands = percent_encode(commands, NON_ALPHANUMERIC);
                let head = format!(
                    "GET {base}/connection/sse?cf_connect={commands} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                );
                Some(head.into_bytes())
            }
        }
    }
}

/// A request with a body.
pub fn post(host: &str, path: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// What chunks have in them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Messages as they are in frames of a WebSocket.
    Messages(Encoding),
    /// A message in the data of each event.
    Data,
    /// Events of which all fields count.
    Events,
}

/// An answer that lasts, taken apart as it arrives.
#[derive(Debug)]
pub struct Stream {
    form: Form,
    /// What has arrived and was not taken apart.
    bytes: Vec<u8>,
    taken: usize,
    /// The end of the chunks so far, which is no whole message.
    unfinished: Vec<u8>,
    is_open: bool,
}

impl Stream {
    /// A stream whose head is still to come.
    #[must_use]
    pub fn new(transport: Transport, encoding: Encoding) -> Self {
        Self::of(match transport {
            Transport::Sse => Form::Data,
            Transport::HttpStream | Transport::Websocket => Form::Messages(encoding),
        })
    }

    /// A stream of events of which all fields are wanted: its messages are the lines of whole events.
    #[must_use]
    pub fn of_events() -> Self {
        Self::of(Form::Events)
    }

    fn of(form: Form) -> Self {
        Self {
            form,
            bytes: Vec::new(),
            taken: 0,
            unfinished: Vec::new(),
            is_open: false,
        }
    }

    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the head has arrived; an error if it is not that of a stream.
    pub fn opens(&mut self) -> Result<bool> {
        if !self.is_open {
            let Some(head) = read_head(&self.bytes, !matches!(self.form, Form::Messages(_)))?
            else {
                return Ok(false);
            };
            self.taken = head;
            self.is_open = true;
        }
        Ok(true)
    }

    /// The whole messages that the next chunk brings, if all of it has arrived and it brings any. The last chunk is a
    /// close without a code, since a message before it says why.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        while self.opens()? {
            let Some(chunk) = self.next_chunk()? else {
                return Ok(None);
            };
            if chunk.is_empty() {
                ensure!(
                    self.unfinished.is_empty(),
                    "the stream ends within a message"
                );
                return Ok(Some(Frame::Close(0)));
            }
            self.unfinished.extend_from_slice(&chunk);
            let messages = self.take_messages();
            if !messages.is_empty() {
                return Ok(Some(Frame::Message(messages)));
            }
        }
        Ok(None)
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let rest = &self.bytes[self.taken..];
        let (length_bytes, length) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => bail!("a chunk without a length: {}", text_of(rest)),
        };
        let length = usize::try_from(length)?;
        ensure!(length <= CHUNK_BYTES_MAX, "a chunk of {length} bytes");
        let behind = &rest[length_bytes..];
        let Some((chunk, end)) = behind.split_at_checked(length) else {
            return Ok(None);
        };
        let Some(end) = end.first_chunk::<2>() else {
            return Ok(None);
        };
        ensure!(end == b"\r\n", "a chunk does not end where it says");
        let chunk = chunk.to_vec();
        self.taken += length_bytes + length + 2;
        Ok(Some(chunk))
    }

    /// Takes what is whole, as a message of a WebSocket would have it.
    fn take_messages(&mut self) -> Vec<u8> {
        if let Form::Messages(encoding) = self.form {
            let whole = encoding.whole(&self.unfinished);
            return self.unfinished.drain(..whole).collect();
        }
        let end = self.unfinished.windows(2).rposition(|it| it == b"\n\n");
        let whole: Vec<u8> = self
            .unfinished
            .drain(..end.map_or(0, |at| at + 2))
            .collect();
        if self.form == Form::Events {
            return whole;
        }
        let lines = whole.split(|&byte| byte == b'\n');
        let data = lines.filter_map(|line| line.strip_prefix(b"data:"));
        let mut messages = Vec::with_capacity(whole.len());
        for line in data {
            messages.extend_from_slice(line.strip_prefix(b" ").unwrap_or(line));
            messages.push(b'\n');
        }
        messages
    }
}

/// The length of the head, if it has arrived; an error if it is not that of a stream.
fn read_head(bytes: &[u8], is_events: bool) -> Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).context("no head of an answer")?
    else {
        ensure!(bytes.len() <= HEAD_BYTES_MAX, "the head does not end");
        return Ok(None);
    };
    let code = head.code.unwrap_or(0);
    ensure!(code == 200, "answered {code} {}", head.reason.unwrap_or(""));
    let has = |name: &str, wanted: &str| {
        head.headers.iter().any(|field| {
            let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
            field.name.eq_ignore_ascii_case(name) && value.contains(wanted)
        })
    };
    ensure!(
        has("transfer-encoding", "chunked"),
        "a stream without chunks"
    );
    ensure!(
        !is_events || has("content-type", "text/event-stream"),
        "events without their media type"
    );
    Ok(Some(length))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

    fn chunk(bytes: &[u8]) -> Vec<u8> {
        let length = format!("{:x}\r\n", bytes.len());
        [length.as_bytes(), bytes, b"\r\n"].concat()
    }

    /// What a stream of these chunks says, however it arrives.
    fn said(transport: Transport, encoding: Encoding, chunks: &[&[u8]]) -> Vec<Frame> {
        let mut bytes = HEAD.as_bytes().to_vec();
        chunks.iter().for_each(|it| bytes.extend(chunk(it)));
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut all: Vec<Vec<Frame>> = Vec::new();
        for step in [1, 7, bytes.len()] {
            let (mut stream, mut frames) = (Stream::new(transport, encoding), Vec::new());
            for piece in bytes.chunks(step) {
                stream.push(piece);
                while let Some(frame) = stream.next().unwrap() {
                    frames.push(frame);
                    if frames.last() == Some(&Frame::Close(0)) {
                        break;
                    }
                }
            }
            all.push(frames);
        }
        assert!(all.iter().all(|it| *it == all[0]), "{all:?}");
        all.swap_remove(0)
    }

    fn messages(all: &[&[u8]]) -> Vec<Frame> {
        let messages = all.iter().map(|it| Frame::Message(it.to_vec()));
        messages.chain([Frame::Close(0)]).collect()
    }

    #[test]
    fn messages_of_a_stream_are_those_of_its_chunks_however_it_arrives() {
        let lines: [&[u8]; 3] = [b"{\"id\":1}\n{}\n", b"{\"id\":2", b",\"publish\":{}}\n"];
        let whole = messages(&[lines[0], b"{\"id\":2,\"publish\":{}}\n"]);
        assert_eq!(said(Transport::HttpStream, Encoding::Json, &lines), whole);
        let binary: [&[u8]; 2] = [&[4, 8, 1, 66, 0, 0, 4, 8], &[2, 66, 0]];
        let whole = messages(&[&[4, 8, 1, 66, 0, 0], &[4, 8, 2, 66, 0]]);
        assert_eq!(
            said(Transport::HttpStream, Encoding::Protobuf, &binary),
            whole
        );
        let events: [&[u8]; 3] = [b": hello\n\ndata: {}\n\n", b"data: {\"id\":2}\n", b"\n"];
        let whole = messages(&[b"{}\n", b"{\"id\":2}\n"]);
        assert_eq!(said(Transport::Sse, Encoding::Json, &events), whole);
    }

    #[test]
    fn events_whose_fields_are_wanted_come_whole() {
        let mut stream = Stream::of_events();
        stream.push(HEAD.as_bytes());
        for piece in [&b"id: e:1\nda"[..], b"ta: x\n\nid: "] {
            stream.push(&chunk(piece));
        }
        let event = Frame::Message(b"id: e:1\ndata: x\n\n".to_vec());
        assert_eq!(stream.next().unwrap(), Some(event));
        assert_eq!(stream.next().unwrap(), None);
    }

    #[test]
    fn stream_that_breaks_its_own_form_is_refused() {
        let check = |bytes: &[u8]| {
            let mut stream = Stream::new(Transport::Sse, Encoding::Json);
            stream.push(bytes);
            let mut all = std::iter::from_fn(|| stream.next().transpose());
            assert!(all.any(|it| it.is_err()), "{}", text_of(bytes));
        };
        check(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        check(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        check(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for body in ["xyz\r\n", "1\r\nabc", "7\r\ndata: {\r\n0\r\n\r\n"] {
            check(&[HEAD.as_bytes(), body.as_bytes()].concat());
        }
    }
}
