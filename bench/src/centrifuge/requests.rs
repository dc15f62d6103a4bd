//! Requests that bring commands to a stream: one at a time, so that commands come in their order.

use super::Encoding;
use super::streams::post;
use anyhow::{Context as _, Result, bail, ensure};

const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// What an answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// It has not arrived.
    NotYet,
    /// The commands were handed on.
    Taken,
    /// The server is busy: the same request must be sent again.
    Again,
    /// The server knows nothing of the stream any more.
    Gone,
}

/// Commands that go beside a stream.
#[derive(Debug)]
pub struct Requests {
    encoding: Encoding,
    host: String,
    path: String,
    /// How requests name the stream; nothing before the connect command is answered.
    names: Option<(String, String)>,
    /// The request that is not answered.
    unanswered: Option<Vec<u8>>,
    /// Commands that no request has taken yet.
    waiting: Vec<u8>,
    answer: Vec<u8>,
}

impl Requests {
    /// None yet, to a server whose paths begin with `base`.
    #[must_use]
    pub fn new(encoding: Encoding, host: &str, base: &str) -> Self {
        Self {
            encoding,
            host: host.to_owned(),
            path: format!("{base}/emulation"),
            names: None,
            unanswered: None,
            waiting: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// From now on requests can be sent.
    pub fn begin(&mut self, session: &str, node: &str) {
        self.names = Some((session.to_owned(), node.to_owned()));
    }

    /// Commands that wait, for further ones to be appended.
    pub fn waiting(&mut self) -> &mut Vec<u8> {
        &mut self.waiting
    }

    /// Whether nothing waits, and everything is answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.unanswered.is_none()
    }

    /// Whether the answer to a request is missing.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether there is something to be said, and nothing is unanswered.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.unanswered.is_none() && !self.waiting.is_empty() && self.names.is_some()
    }

    /// The next request, if there is something to be said and nothing is unanswered.
    pub fn next(&mut self) -> Option<&[u8]> {
        if !self.can_ask() {
            return None;
        }
        let (session, node) = self.names.as_ref()?;
        let commands = std::mem::take(&mut self.waiting);
        let body = self.encoding.emulation(session, node, &commands);
        let request = post(&self.host, &self.path, self.encoding.media_type(), &body);
        Some(self.unanswered.insert(request))
    }

    /// The request that must be sent again.
    #[must_use]
    pub fn again(&self) -> Option<&[u8]> {
        self.unanswered.as_deref()
    }

    /// Takes what has arrived of the answer.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Answered> {
        ensure!(self.unanswered.is_some(), "an answer to no request");
        self.answer.extend_from_slice(bytes);
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(&self.answer)? else {
            ensure!(
                self.answer.len() <= ANSWER_BYTES_MAX,
                "an answer's head does not end"
            );
            return Ok(Answered::NotYet);
        };
        let body = head
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case("content-length"));
        let body = body.map(|it| {
            str::from_utf8(it.value)?
                .parse::<usize>()
                .context("a length")
        });
        let whole = length + body.transpose()?.unwrap_or(0);
        if self.answer.len() < whole {
            return Ok(Answered::NotYet);
        }
        ensure!(
            self.answer.len() == whole,
            "more than one answer to a request"
        );
        let answered = match head.code {
            Some(204) => Answered::Taken,
            Some(503) => Answered::Again,
            Some(404) => Answered::Gone,
            code => bail!(
                "a request beside a stream is answered {}: {}",
                code.unwrap_or(0),
                String::from_utf8_lossy(&self.answer[length..])
            ),
        };
        self.answer.clear();
        if answered != Answered::Again {
            self.unanswered = None;
        }
        Ok(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &[u8]) -> Vec<u8> {
        let head = request.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
        let length = format!("Content-Length: {}\r\n", request.len() - head);
        assert!(String::from_utf8_lossy(&request[..head]).contains(&length));
        request[head..].to_vec()
    }

    #[test]
    fn commands_wait_for_the_answer_before_and_leave_together() {
        let mut requests = Requests::new(Encoding::Json, "localhost", "");
        requests.waiting().extend_from_slice(b"{\"id\":2}");
        assert!(requests.next().is_none(), "the stream has no name yet");
        requests.begin("s", "n");
        let first: serde_json::Value =
            serde_json::from_slice(&body(requests.next().unwrap())).unwrap();
        assert_eq!(
            first,
            serde_json::json!({"session": "s", "node": "n", "data": "{\"id\":2}"})
        );
        requests
            .waiting()
            .extend_from_slice(b"{\"id\":3}\n{\"id\":4}");
        assert!(requests.next().is_none(), "the first is not answered");
        assert_eq!(
            requests.take(b"HTTP/1.1 204 No Con").unwrap(),
            Answered::NotYet
        );
        assert_eq!(requests.take(b"tent\r\n\r\n").unwrap(), Answered::Taken);
        let second = body(requests.next().unwrap());
        assert!(
            String::from_utf8(second)
                .unwrap()
                .contains(r#"{\"id\":3}\n{\"id\":4}"#)
        );
        assert!(!requests.is_idle());
        let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\n";
        assert_eq!(requests.take(busy).unwrap(), Answered::NotYet);
        assert_eq!(requests.take(b"busy").unwrap(), Answered::Again);
        assert!(requests.again().is_some());
        assert_eq!(
            requests.take(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap(),
            Answered::Gone
        );
        assert!(requests.is_idle() && requests.take(b"x").is_err());
    }

    #[test]
    fn other_answers_are_faults() {
        for answer in [
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\nx",
        ] {
            let mut requests = Requests::new(Encoding::Protobuf, "localhost", "");
            requests.begin("s", "n");
            requests.waiting().push(0);
            assert_eq!(
                body(requests.next().unwrap()),
                b"\x0a\x01n\x12\x01s\x1a\x01\x00"
            );
            assert!(requests.take(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
