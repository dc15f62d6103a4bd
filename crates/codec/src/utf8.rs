//! Validates UTF-8 text that arrives in pieces, and finds the first bad byte as soon as it arrives.

use crate::error::FrameError;

/// The length of the prefix of a growing buffer that is known to be whole characters.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    valid_bytes: usize,
}

impl Progress {
    /// Validates the bytes that were added to `text` since the last call; fails if no further bytes
    /// could make it UTF-8. An incomplete character at the end (at most three bytes) is read again
    /// next time, so that the work stays linear in the bytes added.
    pub(crate) fn advance(&mut self, text: &[u8]) -> Result<(), FrameError> {
        self.valid_bytes += match simdutf8::compat::from_utf8(&text[self.valid_bytes..]) {
            Ok(added) => added.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(FrameError::TextUtf8),
        };
        Ok(())
    }

    /// Ends the message: `text` must not end inside a character.
    pub(crate) fn finish(self, text: &[u8]) -> Result<(), FrameError> {
        if self.valid_bytes < text.len() {
            Err(FrameError::TextUtf8)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the byte at which text that is passed byte by byte is refused.
    fn refused_at(text: &[u8]) -> Option<usize> {
        let mut progress = Progress::default();
        (0..text.len()).find(|last| progress.advance(&text[..=*last]).is_err())
    }

    #[test]
    fn advance_bad_text_byte_by_byte_fails_at_the_first_bad_byte() {
        let check = |text: &[u8], expected| assert_eq!(refused_at(text), expected, "{text:x?}");
        check("κόσμε \u{10ffff}\u{0}".as_bytes(), None);
        check(b"\x80", Some(0));
        check(b"\xc0\x80", Some(0));
        check(b"\xc3(", Some(1));
        check(b"\xe0\x80\x80", Some(1));
        check(b"\xed\xa0\x80", Some(1));
        check(b"\xef\xbf\xbf", None);
        check(b"\xf0\x80\x80\x80", Some(1));
        check(b"\xf4\x8f\xbf\xbf", None);
        check(b"\xf4\x90\x80\x80", Some(1));
        check(b"\xf5", Some(0));
        check(b"ab\xe2\x82(", Some(4));
    }

    #[test]
    fn finish_inside_a_character_fails() {
        let text = "aé€😀".as_bytes();
        for end in 0..=text.len() {
            let mut progress = Progress::default();
            assert_eq!(progress.advance(&text[..end]), Ok(()));
            let whole = std::str::from_utf8(&text[..end]).is_ok();
            assert_eq!(
                progress.finish(&text[..end]).is_ok(),
                whole,
                "first {end} bytes"
            );
        }
    }
}
