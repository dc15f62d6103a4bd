//! What the log and operators may see of names and paths: a secret name may be what grants access.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Select, TABLE};

/// What the log and operators may see of a name that is secret: its first six characters.
pub fn shown_name(name: &str) -> Cow<'_, str> {
    match begin(name) {
        None => name.into(),
        Some(begin) => format!("{begin}...").into(),
    }
}

/// The first six characters of a name, if it has more.
fn begin(name: &str) -> Option<&str> {
    const NAME_CHARACTERS_MAX: usize = 6;
    let (end, _) = name.char_indices().nth(NAME_CHARACTERS_MAX)?;
    Some(&name[..end])
}

/// The part of a path that the log may show. Of a path that contains a name, such as a room's, that is
/// only the first six characters of the name, because a secret name may be what grants access.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let mut prefixes = TABLE.iter().filter_map(|protocol| match protocol.select {
        Select::PathPrefix(prefix) => Some((prefix, path.strip_prefix(prefix)?)),
        Select::Path(_) | Select::PathBetween(..) | Select::Subprotocol(_) => None,
    });
    let Some((prefix, rest)) = prefixes.next() else {
        return path.into();
    };
    let name = percent_decode_str(rest).decode_utf8_lossy();
    match begin(&name) {
        None => path.into(),
        Some(begin) => {
            let begin = utf8_percent_encode(begin, ESCAPED);
            format!("{prefix}{begin}...").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_shown_with_no_more_than_six_characters_of_a_rooms_name() {
        for (path, expected) in [
            ("/", "/"),
            ("/echo", "/echo"),
            ("/eecho-and-more", "/eecho-and-more"),
            ("/rooms", "/rooms"),
            ("/rooms/", "/rooms/"),
            ("/rooms/sesame", "/rooms/sesame"),
            ("/rooms/%73%65same", "/rooms/%73%65same"),
            ("/rooms/sesame!", "/rooms/sesame..."),
            ("/rooms/open/sesame", "/rooms/open%2Fs..."),
            ("/rooms/sesame!/sse", "/rooms/sesame..."),
            ("/rooms/open/sse", "/rooms/open%2Fs..."),
            (
                "/rooms/%C3%A4%C3%B6%C3%BC123456",
                "/rooms/%C3%A4%C3%B6%C3%BC123...",
            ),
            ("/rooms/a%0Ab%22%FFcdefg", "/rooms/a%0Ab%22%EF%BF%BDc..."),
        ] {
            assert_eq!(shown_path(path), expected, "{path}");
        }
    }
}
