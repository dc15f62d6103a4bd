//! HTTP responses: the 101 that opens a connection, and those that refuse it.

use crate::deflate::Deflate;
use crate::error::HandshakeError;
use crate::request::AcceptKey;

/// The head of a response that is not a 101. The connection closes after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHead<'a> {
    /// Three digits, 200 or above.
    pub status: u16,
    /// When it is made, in the form that HTTP prefers (RFC 9110 section 5.6.7). `None` is for a server
    /// without a clock (section 6.6.1), of which there is none in this crate.
    pub date: Option<&'a str>,
    /// Further fields, with neither `Content-Length` nor `Connection: close`. Control characters in
    /// them become spaces.
    pub fields: &'a [(&'a str, &'a str)],
    /// Bytes of the body, which the caller sends, or would send if this were no answer to HEAD.
    pub content_length: usize,
}

impl ResponseHead<'_> {
    /// Appends the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let line = format!(
            "HTTP/1.1 {} {}\r\n",
            self.status,
            reason_phrase(self.status)
        );
        out.extend_from_slice(line.as_bytes());
        encode_field("Connection", "close", out);
        if let Some(date) = self.date {
            encode_field("Date", date, out);
        }
        // RFC 9110 section 8.6: a 204 must not have the field.
        if self.status != 204 {
            encode_field("Content-Length", &self.content_length.to_string(), out);
        }
        for (name, value) in self.fields {
            encode_field(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends the whole response to a refused request: its body is the sentence of the error, which an
/// answer to HEAD leaves out and only tells the length of (RFC 9110 section 9.3.2).
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
        content_length: body.len(),
    }
    .encode(out);
    if !is_to_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends the response that opens the connection (RFC 6455 section 4.2.2).
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

/// No text may end the line and begin a field of its own.
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

/// RFC 9110 section 15. The phrase may be empty (RFC 9112 section 4).
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
