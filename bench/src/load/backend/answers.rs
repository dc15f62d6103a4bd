//! Answers over HTTP on kept connections, taken apart as they arrive: by their length, or in chunks (RFC 9112,
//! section 7.1).

use anyhow::{Context as _, Result, bail, ensure};

const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longer bodies are none that these clients have asked for.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A whole answer.
#[derive(PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of an answer of 200; an error that quotes any other.
    pub fn accepted(&self) -> Result<&[u8]> {
        ensure!(
            self.code == 200,
            "answered {}: {}",
            self.code,
            text_of(&self.body)
        );
        Ok(&self.body)
    }
}

/// What has arrived on one connection.
#[derive(Debug, Default)]
pub struct Answers {
    bytes: Vec<u8>,
    taken: usize,
}

impl Answers {
    /// Adds what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next answer, if all of it has arrived.
    pub fn next(&mut self) -> Result<Option<Answer>> {
        let rest = &self.bytes[self.taken..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some(head) = read_head(rest)? else {
            return Ok(None);
        };
        let behind = &rest[head.bytes..];
        let body = match head.length {
            Some(length) => behind.get(..length).map(|body| (body.to_vec(), length)),
            None => unchunked(behind)?,
        };
        Ok(body.map(|(body, bytes)| {
            self.taken += head.bytes + bytes;
            let code = head.code;
            Answer { code, body }
        }))
    }
}

struct Head {
    code: u16,
    /// The head's own length.
    bytes: usize,
    /// The body's; nothing if it comes in chunks.
    length: Option<usize>,
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes).context("no head of an answer")?
    else {
        ensure!(bytes.len() <= HEAD_BYTES_MAX, "the head does not end");
        return Ok(None);
    };
    let field = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name));
        found.map(|it| String::from_utf8_lossy(it.value))
    };
    let is_chunked = field("transfer-encoding").is_some_and(|it| it == "chunked");
    let body = match field("content-length") {
        _ if is_chunked => None,
        Some(digits) => Some(digits.parse::<usize>().context("a body's length")?),
        None => bail!("an answer with neither length nor chunks"),
    };
    ensure!(
        body.is_none_or(|it| it <= BODY_BYTES_MAX),
        "a body of {} bytes",
        body.unwrap_or(0)
    );
    Ok(Some(Head {
        code: head.code.context("no status")?,
        bytes: length,
        length: body,
    }))
}

/// The body, and the bytes that it took with its chunks' lengths; nothing if its end has not come.
fn unchunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (length_bytes, length) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => bail!("a chunk without a length: {}", text_of(&bytes[at..])),
        };
        let length = usize::try_from(length)?;
        ensure!(
            body.len() + length <= BODY_BYTES_MAX,
            "a body that does not end"
        );
        at += length_bytes;
        let Some(chunk) = bytes.get(at..at + length + 2) else {
            return Ok(None);
        };
        let (chunk, end) = chunk.split_at(length);
        ensure!(end == b"\r\n", "a chunk does not end where it says");
        at += length + 2;
        body.extend_from_slice(chunk);
        if length == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes: &[u8], step: usize) -> Result<Vec<Answer>> {
        let (mut answers, mut all) = (Answers::default(), Vec::new());
        for piece in bytes.chunks(step) {
            answers.push(piece);
            while let Some(answer) = answers.next()? {
                all.push(answer);
            }
        }
        Ok(all)
    }

    #[test]
    fn answers_are_taken_apart_however_they_arrive() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
            HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n";
        let answer = |code, body: &[u8]| Answer {
            code,
            body: body.to_vec(),
        };
        let expected = [answer(200, b"{}"), answer(200, b"abcde"), answer(429, b"")];
        for step in 1..=bytes.len() {
            assert_eq!(answers(bytes, step).unwrap(), expected, "{step}");
        }
        assert!(expected[0].accepted().is_ok() && expected[2].accepted().is_err());
    }

    #[test]
    fn answer_that_breaks_its_own_form_is_refused() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
            b"nonsense\r\n\r\n",
        ] {
            assert!(answers(bytes, bytes.len()).is_err(), "{}", text_of(bytes));
        }
    }
}
