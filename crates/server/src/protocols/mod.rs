//! The table of protocols: what selects each protocol, and the session that it opens.
//!
//! To add a protocol, add one file beside these with its `PROTOCOL`, and one line in [`TABLE`].

use std::borrow::Cow;

use codec::{Request, negotiate};
use hub::{NameError, RoomName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use runtime::{BodyForm, Lag, Opening, Pings, Session};

/// Declares a module and an entry of the table for each line.
macro_rules! table {
    ($($protocol:ident,)*) => {
        $(mod $protocol;)*

        /// All protocols. A path takes precedence over a subprotocol, and earlier entries over later.
        pub const TABLE: &[Protocol] = &[$($protocol::PROTOCOL,)*];
    };
}

table! {
    echo,
    room,
    lws_minimal,
}

/// An application protocol.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Its name, for logs.
    pub name: &'static str,
    /// What selects it.
    pub select: Select,
    /// Opens its session with the text that [`Select`] found.
    pub open: fn(&str) -> Result<Started, NameError>,
}

/// What selects a protocol, and the text that its session is opened with.
#[derive(Clone, Copy, Debug)]
pub enum Select {
    /// Exactly this path; the session is opened with "".
    Path(&'static str),
    /// A path with this prefix; the session is opened with the rest, as it stands in the request.
    PathPrefix(&'static str),
    /// One of these subprotocols, in order of preference, on a path that no other entry has. The
    /// session is opened with the chosen subprotocol, which the 101 names.
    Subprotocol(&'static [&'static str]),
}

/// A session, and the room that it starts in.
pub struct Started {
    /// The session.
    pub session: Box<dyn Session>,
    /// Its room, if it has one.
    pub room: Option<RoomName>,
}

/// Finds the protocol that a request asks for. `None` means that the site answers the request.
pub fn select(request: &Request<'_>) -> Option<Result<Opening, NameError>> {
    let by_path = TABLE.iter().find_map(|protocol| {
        let rest = match protocol.select {
            Select::Path(path) => (request.path() == path).then_some("")?,
            Select::PathPrefix(prefix) => request.path().strip_prefix(prefix)?,
            Select::Subprotocol(_) => return None,
        };
        Some(protocol.start(rest, None))
    });
    if by_path.is_some() || !request.wants_upgrade() {
        return by_path;
    }
    TABLE.iter().find_map(|protocol| match protocol.select {
        Select::Subprotocol(names) => {
            let name = negotiate(request, names)?;
            Some(protocol.start(name, Some(name)))
        }
        Select::Path(_) | Select::PathPrefix(_) => None,
    })
}

/// The part of a path that the log may show. Of a path that contains a name, such as a room's, that is
/// only the first six characters of the name, because a secret name may be what grants access.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    const NAME_CHARACTERS_MAX: usize = 6;
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let mut prefixes = TABLE.iter().filter_map(|protocol| match protocol.select {
        Select::PathPrefix(prefix) => Some((prefix, path.strip_prefix(prefix)?)),
        Select::Path(_) | Select::Subprotocol(_) => None,
    });
    let Some((prefix, rest)) = prefixes.next() else {
        return path.into();
    };
    let name = percent_decode_str(rest).decode_utf8_lossy();
    match name.char_indices().nth(NAME_CHARACTERS_MAX) {
        None => path.into(),
        Some((end, _)) => {
            let begin = utf8_percent_encode(&name[..end], ESCAPED);
            format!("{prefix}{begin}...").into()
        }
    }
}

impl Protocol {
    fn start(&self, rest: &str, subprotocol: Option<&'static str>) -> Result<Opening, NameError> {
        let Started { session, room } = (self.open)(rest)?;
        Ok(Opening {
            protocol: self.name,
            subprotocol,
            room,
            body: BodyForm::RAW,
            lag: Lag::Close,
            terms: None,
            pings: Pings::Frames,
            session,
        })
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
