//! Close codes and the payload of close frames (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use crate::error::FrameError;

/// A status code that may travel in a close frame (RFC 6455 section 7.4).
///
/// 1005, 1006 and 1015 stand for the absence of a code on the wire, so they have no value here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server is shutting down, or the browser has left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke a rule of the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: this endpoint does not support this kind of message.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: a payload contradicts its type, such as text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1008: the peer broke a rule of this server for which there is no other code.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is larger than this endpoint accepts.
    pub const TOO_BIG: Self = Self(1009);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL: Self = Self(1011);
    /// 1013: the server is overloaded; the client may try again later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// The code with this number; `None` unless it may appear in a close frame, which holds for
    /// 1000–1003, 1007–1014 and 3000–4999 (RFC 6455 section 7.4, and the IANA registry for
    /// 1012–1014).
    #[must_use]
    pub const fn from_wire(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number, as it is on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Decodes the payload of a close frame: empty, or a code followed by a reason in UTF-8.
pub(crate) fn decode(payload: &[u8]) -> Result<Option<CloseCode>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(FrameError::CloseTruncated),
        };
    };
    let code =
        CloseCode::from_wire(u16::from_be_bytes(*code)).ok_or(FrameError::CloseCodeInvalid)?;
    simdutf8::basic::from_utf8(reason).map_err(|_| FrameError::CloseReasonUtf8)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_wire_every_number_accepts_exactly_the_allowed() {
        let allowed = (0..=u16::MAX).filter(|code| CloseCode::from_wire(*code).is_some());
        let expected = (1000..=1003).chain(1007..=1014).chain(3000..=4999);
        assert!(allowed.eq(expected));
    }

    #[test]
    fn decode_each_payload_gives_code_or_the_rule_broken() {
        let check = |payload: &[u8], expected| assert_eq!(decode(payload), expected);
        check(b"", Ok(None));
        check(b"\x03", Err(FrameError::CloseTruncated));
        check(b"\x03\xe8", Ok(Some(CloseCode::NORMAL)));
        check(b"\x03\xe9bye \xc3\xa9", Ok(Some(CloseCode::GOING_AWAY)));
        check(b"\x03\xed", Err(FrameError::CloseCodeInvalid));
        check(b"\x03\xe8\xc3", Err(FrameError::CloseReasonUtf8));
        check(b"\x03\xed\xff", Err(FrameError::CloseCodeInvalid));
    }
}
