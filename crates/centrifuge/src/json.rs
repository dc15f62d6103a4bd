//! Reading JSON without copying: messages, payloads as they came, and what counts as JSON at all.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Malformed;
use crate::message::Message;

/// How many arrays and objects of a payload may lie in each other. Readers of some languages
/// recurse, and must not be brought down by another peer.
pub const JSON_DEPTH_MAX: usize = 128;

/// Whether these bytes are one JSON value (RFC 8259) in UTF-8 that nests at most
/// [`JSON_DEPTH_MAX`] deep. Nothing is built, and the work is linear in the bytes.
#[must_use]
pub fn is_json(bytes: &[u8]) -> bool {
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
        return false;
    };
    serde_json::from_str::<IgnoredAny>(text).is_ok() && nests_within(bytes, JSON_DEPTH_MAX)
}

/// Whether a value that [`is_json`] accepts is an object: its first byte tells.
#[must_use]
pub fn is_json_object(json: &[u8]) -> bool {
    json.trim_ascii_start().first() == Some(&b'{')
}

/// Whether a JSON value nests at most `levels` deep; of other bytes it says something, too. serde_json needs neither
/// stack nor a limit for what it skips, so its own limit on recursion does not hold for payloads.
#[must_use]
pub fn nests_within(json: &[u8], levels: usize) -> bool {
    let opens = |byte: &&u8| matches!(byte, b'[' | b'{');
    // Nearly every payload has too few brackets to nest that deep, and counting them is quick.
    if json.iter().filter(opens).count() <= levels {
        return true;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') if depth == levels => return false,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Reads the one message of a line.
pub(crate) fn read<'a, T: Message<'a>>(line: &'a [u8]) -> Result<T, Malformed> {
    let line = simdutf8::basic::from_utf8(line).map_err(|_| Malformed::Utf8)?;
    let mut message = T::default();
    let mut reader = serde_json::Deserializer::from_str(line);
    let read = reader.deserialize_map(Fields(&mut message));
    match read.and_then(|()| reader.end()) {
        Ok(()) => Ok(message),
        Err(error) => Err(cause(&error)),
    }
}

/// serde_json's error without its words, which may repeat what the peer sent.
fn cause(error: &serde_json::Error) -> Malformed {
    let own = [
        Malformed::Depth,
        Malformed::Subscriptions,
        Malformed::Headers,
    ];
    let said = error.to_string();
    let is_said = |it: &Malformed| error.is_data() && said.starts_with(&it.to_string());
    own.into_iter().find(is_said).unwrap_or(Malformed::Json {
        column: error.column(),
    })
}

/// Adds the fields of an object to a message; `null` stands for an absent object.
pub(crate) struct Fill<'m, T>(pub(crate) &'m mut T);

impl<'de, T: Message<'de>> DeserializeSeed<'de> for Fill<'_, T> {
    /// Whether there was an object.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de, T: Message<'de>> Visitor<'de> for Fill<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_map(Fields(self.0)).map(|()| true)
    }
}

/// As [`Fill`], but only an object will do: an array of the fields' values is none.
struct Fields<'m, T>(&'m mut T);

impl<'de, T: Message<'de>> Visitor<'de> for Fields<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = map.next_key()? {
            self.0.read_field(&name, &mut map)?;
        }
        Ok(())
    }
}

/// A string, borrowed unless it has escapes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(TextVisitor)
    }
}

/// Takes a value as the text that it is.
pub(crate) fn payload<'a, M: MapAccess<'a>>(map: &mut M) -> Result<&'a [u8], M::Error> {
    let text = map.next_value::<&'a RawValue>()?.get().as_bytes();
    match nests_within(text, JSON_DEPTH_MAX) {
        true => Ok(text),
        false => Err(M::Error::custom(Malformed::Depth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_json_accepts_exactly_the_grammar() {
        let good = ["null", " {} ", "[1,\r\n2]", "-0.5e+3", r#""a\u00e9\ud800""#];
        for text in good {
            assert!(is_json(text.as_bytes()), "{text}");
        }
        let bad = [
            "",
            " ",
            "nul",
            "{,}",
            "01",
            "'a'",
            "[1,]",
            "{} {}",
            "\"\n\"",
            "NaN",
            "\u{feff}1",
        ];
        for text in bad {
            assert!(!is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json(b"\"\xff\""), "not UTF-8");
    }

    #[test]
    fn is_json_depth_is_bounded() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(is_json(nested(JSON_DEPTH_MAX).as_bytes()));
        assert!(!is_json(nested(JSON_DEPTH_MAX + 1).as_bytes()));
        assert!(!is_json("[".repeat(1 << 20).as_bytes()));
        let wide = format!("[{}1]", r#"["\"[",{}],"#.repeat(JSON_DEPTH_MAX));
        assert!(
            is_json(wide.as_bytes()),
            "brackets beside each other and in strings"
        );
    }

    #[test]
    fn is_json_object_first_byte_decides() {
        assert!(is_json_object(b" \t{}"));
        assert!(!is_json_object(b"[{}]"));
        assert!(!is_json_object(b""));
    }
}
