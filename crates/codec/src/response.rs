//! HTTP responses: the 101 that opens a WebSocket, and all others.

use crate::deflate::Deflate;
use crate::error::HandshakeError;
use crate::request::AcceptKey;

/// The head of a response that is not a 101.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHead<'a> {
    /// The status code: three digits, 200 or above.
    pub status: u16,
    /// When the response is made, in the preferred format of HTTP (RFC 9110 section 5.6.7). This
    /// crate has no clock, so the caller passes the date; `None` is for a server without a clock
    /// (section 6.6.1).
    pub date: Option<&'a str>,
    /// Further fields, except `Content-Length`, `Transfer-Encoding` and `Connection: close`, which
    /// are added here. Control characters in them become spaces.
    pub fields: &'a [(&'a str, &'a str)],
    /// The length of the body in bytes, even if the body is not sent because the request is HEAD.
    /// `None` is for a body that is generated while it is sent, whose length is not known yet.
    pub content_length: Option<usize>,
    /// Whether another request may follow on the connection, if the peer allows it too.
    pub keep: bool,
}

/// The form in which the caller sends the body of a response, behind its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFraming {
    /// The response has no body.
    None,
    /// Unchanged: `content_length` bytes or, if the length is not known, all bytes until the
    /// connection ends.
    Plain,
    /// In chunks (see [`crate::chunk`]) until [`crate::Connection::finish_response`].
    Chunked,
}

/// What the peer allows for the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Persistence {
    /// The peer speaks HTTP/1.0 or an unknown version. It need not understand chunks, and the
    /// connection ends with the answer.
    Http10,
    /// The peer understands chunks, and the connection ends with the answer.
    Closes,
    /// The peer understands chunks, and may send another request.
    Keeps,
}

impl ResponseHead<'_> {
    /// Appends the head of a response after which the connection ends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_for(Persistence::Http10, false, out);
    }

    /// The form of the body in the answer to such a request.
    pub(crate) fn body_form(&self, is_to_head: bool, persistence: Persistence) -> BodyFraming {
        match self.content_length {
            _ if is_to_head || !self.may_have_body() => BodyFraming::None,
            Some(0) => BodyFraming::None,
            None if persistence != Persistence::Http10 => BodyFraming::Chunked,
            Some(_) | None => BodyFraming::Plain,
        }
    }

    /// Appends the head for such a peer; `keeps` says whether the connection is kept.
    pub(crate) fn encode_for(&self, persistence: Persistence, keeps: bool, out: &mut Vec<u8>) {
        let line = format!(
            "HTTP/1.1 {} {}\r\n",
            self.status,
            reason_phrase(self.status)
        );
        out.extend_from_slice(line.as_bytes());
        if !keeps {
            encode_field("Connection", "close", out);
        }
        if let Some(date) = self.date {
            encode_field("Date", date, out);
        }
        match self.content_length {
            // RFC 9110 section 8.6: a 204 must not have Content-Length.
            Some(bytes) if self.status != 204 => {
                encode_field("Content-Length", &bytes.to_string(), out);
            }
            // An answer to HEAD has the field too (RFC 9112 section 6.1).
            None if self.may_have_body() && persistence != Persistence::Http10 => {
                encode_field("Transfer-Encoding", "chunked", out);
            }
            Some(_) | None => {}
        }
        for (name, value) in self.fields {
            encode_field(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether the status allows a body (RFC 9112 section 6.3).
    fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// Appends a 100, which asks a waiting peer for the body of its request (RFC 9110 section 15.2.1).
pub(crate) fn encode_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Appends the whole response to a refused request. Its body is the sentence of the error; an
/// answer to HEAD states the length but omits the body (RFC 9110 section 9.3.2).
pub(crate) fn encode_error(
    error: HandshakeError,
    date: Option<&str>,
    is_to_head: bool,
    out: &mut Vec<u8>,
) {
    let body = format!("{error}\n");
    let mut fields = vec![("Content-Type", "text/plain; charset=utf-8")];
    fields.extend_from_slice(error.fields());
    ResponseHead {
        status: error.status(),
        date,
        fields: &fields,
        content_length: Some(body.len()),
        keep: false,
    }
    .encode(out);
    if !is_to_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends the response that opens the WebSocket (RFC 6455 section 4.2.2).
pub(crate) fn encode_switching_protocols(
    accept: &AcceptKey,
    subprotocol: Option<&str>,
    deflate: Option<Deflate>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    if let Some(subprotocol) = subprotocol {
        encode_field("Sec-WebSocket-Protocol", subprotocol, out);
    }
    if let Some(deflate) = deflate {
        encode_field("Sec-WebSocket-Extensions", &deflate.to_string(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Replaces control characters, so that no text can end the line and begin another field.
fn encode_field(name: &str, value: &str, out: &mut Vec<u8>) {
    let printable = |text: &str, out: &mut Vec<u8>| {
        out.extend(
            text.bytes()
                .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
        );
    };
    printable(name, out);
    out.extend_from_slice(b": ");
    printable(value, out);
    out.extend_from_slice(b"\r\n");
}

/// The phrase of a status (RFC 9110 section 15). It may be empty (RFC 9112 section 4).
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
