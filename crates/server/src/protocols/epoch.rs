//! Epochs as clients know them: sixteen hexadecimal digits, which they only compare.

use hub::Epoch;

/// The text of an epoch.
pub fn text(epoch: Epoch) -> String {
    format!("{:016x}", epoch.0)
}

/// The epoch of no room.
pub const NOBODYS: Epoch = Epoch(0);

/// The epoch that a client names; `None` if it names none. A text that is no epoch of this server is one
/// that no room has.
pub fn named(text: &str) -> Option<Epoch> {
    match text {
        "" => None,
        text if text.len() == 16 && text.bytes().all(|it| it.is_ascii_hexdigit()) => {
            Some(u64::from_str_radix(text, 16).map_or(NOBODYS, Epoch))
        }
        _ => Some(NOBODYS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_is_read_back_and_any_other_text_is_nobodys() {
        let epoch = Epoch(0x0123_4567_89ab_cdef);
        assert_eq!(named(&text(epoch)), Some(epoch));
        assert_eq!(named(&text(Epoch(7))), Some(Epoch(7)));
        assert_eq!(named(""), None);
        for other in ["x", "abcdefgh", "0123456789abcdeg", "+123456789abcdef"] {
            assert_ne!(named(other), None, "{other}");
            assert_ne!(named(other), Some(epoch), "{other}");
        }
    }
}
