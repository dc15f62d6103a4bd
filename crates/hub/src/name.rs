//! The name of a room, validated once where it enters.

use std::{borrow::Borrow, fmt, sync::Arc};

use percent_encoding::percent_decode_str;

/// The longest name of a room, in bytes of UTF-8 after percent-decoding.
pub const ROOM_NAME_BYTES_MAX: usize = 255;

/// A room's name: 1 to 255 bytes of UTF-8 without control characters and without `/`.
///
/// Cheap to clone: the text is shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is not a room name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a room's name must not be empty")]
    Empty,
    /// The name is longer than [`ROOM_NAME_BYTES_MAX`].
    #[error("a room's name has at most 255 bytes")]
    TooLong,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("a room's name has a % that is not followed by two hexadecimal digits")]
    BadEscape,
    /// The percent-decoded bytes are not UTF-8.
    #[error("a room's name must be UTF-8 once percent-decoded")]
    NotUtf8,
    /// The name contains `/` or a control character.
    #[error("a room's name must not hold control characters or a slash")]
    ForbiddenCharacter,
}

impl RoomName {
    /// Validates a name as it stands, without percent-decoding.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match name {
            "" => Err(NameError::Empty),
            _ if name.len() > ROOM_NAME_BYTES_MAX => Err(NameError::TooLong),
            _ if name.contains(|c: char| c.is_control() || c == '/') => {
                Err(NameError::ForbiddenCharacter)
            }
            _ => Ok(Self(name.into())),
        }
    }

    /// A room of the server itself, under a name that no client can request.
    pub fn reserved(name: &str) -> Self {
        Self(format!("/{name}").into())
    }

    /// Decodes one segment of a request's path (RFC 3986 section 2.1), once: `%2541` is the name
    /// `%41`.
    ///
    /// # Errors
    /// The first rule that the segment breaks.
    pub fn from_path_segment(segment: &str) -> Result<Self, NameError> {
        let well_formed = segment.split('%').skip(1).all(|rest| {
            let digits = rest.as_bytes();
            digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
        });
        if !well_formed {
            return Err(NameError::BadEscape);
        }
        let decoded = percent_decode_str(segment)
            .decode_utf8()
            .map_err(|_| NameError::NotUtf8)?;
        Self::new(&decoded)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(segment: &str, expected: Result<&str, NameError>) {
        let name = RoomName::from_path_segment(segment);
        assert_eq!(
            name.as_ref().map(RoomName::as_str),
            expected.as_ref().copied()
        );
    }

    #[test]
    fn segment_with_ordinary_text_is_the_name() {
        check("lobby", Ok("lobby"));
        check("chat:index", Ok("chat:index"));
        check("caf%C3%A9", Ok("café"));
        check("a%20b", Ok("a b"));
        check("..", Ok(".."));
    }

    #[test]
    fn reserved_name_cannot_come_from_outside() {
        let reserved = RoomName::reserved("lobby");
        assert_ne!(reserved, RoomName::new("lobby").expect("a name"));
        assert!(RoomName::new(reserved.as_str()).is_err());
    }

    #[test]
    fn segment_is_decoded_exactly_once() {
        check("%2541", Ok("%41"));
    }

    #[test]
    fn segment_that_is_empty_or_too_long_is_refused() {
        check("", Err(NameError::Empty));
        let longest = "x".repeat(255);
        check(&longest, Ok(&longest));
        check(&"x".repeat(256), Err(NameError::TooLong));
        check(&"%C3%A9".repeat(127), Ok(&"é".repeat(127)));
        check(&"%C3%A9".repeat(128), Err(NameError::TooLong));
    }

    #[test]
    fn segment_with_bad_escape_is_refused() {
        for segment in ["%", "a%", "%4", "%zz", "%+1", "%%41"] {
            check(segment, Err(NameError::BadEscape));
        }
    }

    #[test]
    fn segment_with_forbidden_characters_is_refused() {
        check("%2F", Err(NameError::ForbiddenCharacter));
        check("a%00b", Err(NameError::ForbiddenCharacter));
        check("a%0Ab", Err(NameError::ForbiddenCharacter));
        check("%7F", Err(NameError::ForbiddenCharacter));
        check("%C2%85", Err(NameError::ForbiddenCharacter));
        check("%FF", Err(NameError::NotUtf8));
        check("%C0%AF", Err(NameError::NotUtf8));
    }
}
