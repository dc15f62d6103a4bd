//! What the log may show of a request: neither its query nor its other fields, which may be secrets.

use std::borrow::Cow;

use codec::Request;

use super::Application;

/// Bytes that a line shows of one field, before they are escaped: any usual origin or path, and a line
/// that still fits a terminal.
const SHOWN_BYTES_MAX: usize = 100;

/// What a line of the log shows of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) origin: Option<String>,
    pub(crate) path: String,
}

impl Shown {
    pub(crate) fn of(request: &Request<'_>, application: &dyn Application) -> Self {
        let path: Cow<'_, str> = application.shown_path(request);
        Self {
            origin: request.origin().map(shown),
            path: shown(path.as_bytes()),
        }
    }
}

/// The beginning of what a peer sent, in visible ASCII.
fn shown(sent: &[u8]) -> String {
    match sent.get(..SHOWN_BYTES_MAX) {
        Some(begin) if begin.len() < sent.len() => format!("{}...", begin.escape_ascii()),
        _ => sent.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_visible_and_cut() {
        assert_eq!(shown(b"https://example.com"), "https://example.com");
        assert_eq!(shown(b"a\r\n\x1b\xff\""), r#"a\r\n\x1b\xff\""#);
        assert_eq!(shown(&[b'x'; 100]), "x".repeat(100));
        assert_eq!(shown(&[b'x'; 101]), "x".repeat(100) + "...");
        assert_eq!(shown(b""), "");
    }
}
