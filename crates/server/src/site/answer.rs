//! Builds the answers: status, fields and body, without writing them.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::{Answer, Refused};

use super::File;

const PLAIN: &str = "text/plain; charset=utf-8";

const NOT_FOUND: &[u8] = b"404 Not Found: nothing is served at this path.\n\n\
    What this server has:\n\
    \x20 /rooms/{room}               a WebSocket: messages go to all members of the room\n\
    \x20 /rooms/{room}/sse           the same room to listen to, as server-sent events\n\
    \x20 /connection/websocket       for SDKs of the Centrifuge protocol\n\
    \x20 /connection/http_stream     for SDKs, where WebSocket does not get through; so are\n\
    \x20                             /connection/sse, and /emulation for what they send\n\
    \x20 /connection/uni_sse         for programs that only listen; so are\n\
    \x20                             /connection/uni_http_stream and /connection/uni_websocket\n\
    \x20 /oneshot/{namespace}        POST makes a room for one message\n\
    \x20 /echo                       a WebSocket: every message comes back\n";

const START_PAGE: &[u8] = b"\nThe start page is at /\n";

const WRONG_METHOD: &[u8] = b"405 Method Not Allowed: files are read with GET or HEAD.\n";

const MOVED: &[u8] = b"301 Moved Permanently: a directory's path ends with a slash.\n";

/// The bytes that need no encoding in the path of a `Location`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(super) fn content(file: &File, policy: &str) -> Answer {
    let mut fields = common_fields(file.media_type);
    fields.push(("ETag", file.tag.clone()));
    fields.push(("Content-Security-Policy", policy.to_owned()));
    answer(200, fields, file.content.clone())
}

/// Answers 304 with only the fields that a cache needs (RFC 9110 section 15.4.5). The body is not
/// sent, although its length is stated.
pub(super) fn not_modified(file: &File) -> Answer {
    let fields = vec![
        ("ETag", file.tag.clone()),
        ("Cache-Control", "no-cache".to_owned()),
    ];
    answer(304, fields, file.content.clone())
}

pub(super) fn moved(location: &str) -> Answer {
    let mut fields = common_fields(PLAIN);
    fields.push(("Location", location.to_owned()));
    answer(301, fields, Bytes::from_static(MOVED))
}

pub(super) fn not_found(has_start_page: bool) -> Answer {
    let text = match has_start_page {
        true => [NOT_FOUND, START_PAGE].concat().into(),
        false => Bytes::from_static(NOT_FOUND),
    };
    let answer = answer(404, common_fields(PLAIN), text);
    answer.refusing(Refused::Path)
}

pub(super) fn wrong_method() -> Answer {
    let mut fields = common_fields(PLAIN);
    fields.push(("Allow", "GET, HEAD".to_owned()));
    let answer = answer(405, fields, Bytes::from_static(WRONG_METHOD));
    answer.refusing(Refused::Method)
}

fn answer(status: u16, fields: Vec<(&'static str, String)>, body: Bytes) -> Answer {
    Answer {
        status,
        fields,
        body,
        refused: None,
        keep: false,
    }
}

/// `no-cache` lets a browser keep a copy but check it each time, so that a new release shows at once.
fn common_fields(media_type: &str) -> Vec<(&'static str, String)> {
    vec![
        ("Content-Type", media_type.to_owned()),
        ("Cache-Control", "no-cache".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
        ("Referrer-Policy", "no-referrer".to_owned()),
    ]
}

/// Writes a decoded path as it stands in a request.
pub(super) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, ESCAPED).to_string()
}

/// Whether an `If-None-Match` field is `*` or lists the tag, compared weakly (RFC 9110 section
/// 13.1.2). A malformed field matches nothing, which only makes the answer longer.
pub(super) fn names_tag(field: &[u8], tag: &str) -> bool {
    let mut rest = field.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(opaque) = rest.strip_prefix(b"\"") else {
            return false;
        };
        let Some(end) = opaque.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        if rest.get(..end + 2) == Some(tag.as_bytes()) {
            return true;
        }
        rest = opaque.get(end + 1..).unwrap_or_default().trim_ascii_start();
        rest = match rest.strip_prefix(b",") {
            Some(next) => next.trim_ascii_start(),
            None => return false,
        };
    }
}
