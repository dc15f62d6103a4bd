//! Every rule that a peer can break, with its HTTP status or close code, and its name.

use strum::VariantArray;
use thiserror::Error as ThisError;

use crate::close::CloseCode;

/// A peer broke a rule, which ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ThisError)]
pub enum Error {
    /// A request was refused, before the first frame.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A frame was refused.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Error {
    /// Every rule, for tables and tests.
    pub fn all() -> impl Iterator<Item = Self> {
        let handshake = HandshakeError::VARIANTS
            .iter()
            .copied()
            .map(Self::Handshake);
        handshake.chain(FrameError::VARIANTS.iter().copied().map(Self::Frame))
    }

    /// The code of the close frame that reports this error; `None` for a request, which is answered
    /// with an HTTP response.
    #[must_use]
    pub const fn close_code(self) -> Option<CloseCode> {
        match self {
            Self::Handshake(_) => None,
            Self::Frame(error) => Some(error.close_code()),
        }
    }

    /// A stable `snake_case` name of the rule, for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake(error) => error.name(),
            Self::Frame(error) => error.name(),
        }
    }
}

/// A broken rule for requests (RFC 9112, RFC 6455 section 4.2.1). Its `Display` form is one
/// sentence for the peer, which is also the body of the error response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ThisError, VariantArray)]
#[expect(missing_docs, reason = "the sentence of each variant says it")]
pub enum HandshakeError {
    #[error("The request head is larger than is accepted here.")]
    HeadTooLarge,
    #[error("The request has more header fields than are accepted here.")]
    TooManyFields,
    #[error("The request line is longer than is accepted here.")]
    RequestLineTooLong,
    #[error("Lines must end with CR LF; a CR or LF stands alone.")]
    BareLineEnding,
    #[error("The request head contains a control character.")]
    ControlCharacter,
    #[error("This port does not speak TLS: use http:// or ws:// instead of https:// or wss://.")]
    TlsHello,
    #[error("A header line must not begin with white space.")]
    FoldedField,
    #[error("The request line must be a method, a target without spaces and a version.")]
    RequestLineMalformed,
    #[error("The request target must be a path or an absolute URL.")]
    TargetInvalid,
    #[error("The request must use HTTP/1.1.")]
    HttpVersion,
    #[error("A header line must be a field name, a colon and a value.")]
    FieldMalformed,
    #[error("A request must carry a Host field.")]
    HostMissing,
    #[error("A request must carry one Host field only.")]
    HostRepeated,
    #[error("The Host field is not a host and port.")]
    HostInvalid,
    #[error("Content-Length must be a single decimal number.")]
    ContentLength,
    #[error("A request body needs Content-Length: Transfer-Encoding must be absent.")]
    TransferEncoding,
    #[error("The request body is larger than is accepted here.")]
    BodyTooLarge,
    #[error("A request body is not accepted here: Content-Length must be 0 or absent.")]
    BodyUnexpected,
    #[error("The only expectation that is met here is 100-continue.")]
    ExpectationUnknown,

    #[error("A WebSocket handshake must use the method GET.")]
    UpgradeMethod,
    #[error("A WebSocket handshake must use HTTP/1.1.")]
    UpgradeHttpVersion,
    #[error("This is a WebSocket endpoint: the request needs the field Upgrade: websocket.")]
    UpgradeMissing,
    #[error(
        "A WebSocket handshake needs the field Connection: Upgrade; a proxy may have removed it."
    )]
    ConnectionToken,
    #[error("A WebSocket handshake needs the field Sec-WebSocket-Key.")]
    KeyMissing,
    #[error("A WebSocket handshake must carry one Sec-WebSocket-Key field only.")]
    KeyRepeated,
    #[error("Sec-WebSocket-Key must be 16 bytes in base64.")]
    KeyInvalid,
    #[error("A WebSocket handshake needs the field Sec-WebSocket-Version: 13.")]
    VersionMissing,
    #[error("A WebSocket handshake must carry one Sec-WebSocket-Version field only.")]
    VersionRepeated,
    #[error("The only WebSocket version spoken here is 13.")]
    VersionUnsupported,
    #[error("Sec-WebSocket-Extensions must be a list of extensions with their parameters.")]
    ExtensionsMalformed,
}

impl HandshakeError {
    /// The HTTP status of the response, 400 to 505.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BareLineEnding
            | Self::ControlCharacter
            | Self::TlsHello
            | Self::FoldedField
            | Self::RequestLineMalformed
            | Self::TargetInvalid
            | Self::FieldMalformed
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::BodyUnexpected
            | Self::UpgradeHttpVersion
            | Self::ConnectionToken
            | Self::KeyMissing
            | Self::KeyRepeated
            | Self::KeyInvalid
            | Self::VersionRepeated
            | Self::ExtensionsMalformed => 400,
            Self::UpgradeMethod => 405,
            Self::BodyTooLarge => 413,
            Self::RequestLineTooLong => 414,
            Self::ExpectationUnknown => 417,
            Self::UpgradeMissing | Self::VersionMissing | Self::VersionUnsupported => 426,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::HttpVersion => 505,
        }
    }

    /// The fields that the response must carry because of its status.
    #[must_use]
    pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self.status() {
            // RFC 9110 section 15.5.6.
            405 => &[("Allow", "GET")],
            // RFC 6455 section 4.4, RFC 9110 sections 7.8 (the connection option) and 15.5.22.
            426 => &[
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
            ],
            _ => &[],
        }
    }

    /// A stable `snake_case` name of the rule, for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::BareLineEnding => "bare_line_ending",
            Self::ControlCharacter => "control_character",
            Self::TlsHello => "tls_hello",
            Self::FoldedField => "folded_field",
            Self::RequestLineMalformed => "request_line_malformed",
            Self::TargetInvalid => "target_invalid",
            Self::HttpVersion => "http_version",
            Self::FieldMalformed => "field_malformed",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostInvalid => "host_invalid",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyUnexpected => "body_unexpected",
            Self::ExpectationUnknown => "expectation_unknown",
            Self::UpgradeMethod => "upgrade_method",
            Self::UpgradeHttpVersion => "upgrade_http_version",
            Self::UpgradeMissing => "upgrade_missing",
            Self::ConnectionToken => "connection_token",
            Self::KeyMissing => "key_missing",
            Self::KeyRepeated => "key_repeated",
            Self::KeyInvalid => "key_invalid",
            Self::VersionMissing => "version_missing",
            Self::VersionRepeated => "version_repeated",
            Self::VersionUnsupported => "version_unsupported",
            Self::ExtensionsMalformed => "extensions_malformed",
        }
    }
}

/// A broken rule for frames (RFC 6455 sections 5 and 8.1, RFC 7692 section 7.2.2, and our limits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ThisError, VariantArray)]
#[expect(missing_docs, reason = "the sentence of each variant says it")]
pub enum FrameError {
    #[error("a reserved bit is set that no agreed extension defines")]
    ReservedBits,
    #[error("the opcode is reserved")]
    ReservedOpcode,
    #[error("a control frame is fragmented")]
    ControlFragmented,
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    #[error("a continuation frame arrived outside a fragmented message")]
    ContinuationWithoutStart,
    #[error("a message begins inside a fragmented message")]
    MessageInterleaved,
    #[error("a frame from a client is not masked")]
    Unmasked,
    #[error("a payload length is not in its shortest form")]
    LengthNotMinimal,
    #[error("the highest bit of a 64-bit length is set")]
    LengthHighestBit,
    #[error("a message is larger than is accepted here")]
    MessageTooBig,
    #[error("a message has more fragments than are accepted here")]
    TooManyFragments,
    #[error("the payload of a compressed message is not valid DEFLATE")]
    DeflateInvalid,
    #[error("a text message is not UTF-8")]
    TextUtf8,
    #[error("a close frame has a payload of one byte")]
    CloseTruncated,
    #[error("a close frame has a code that must not be sent")]
    CloseCodeInvalid,
    #[error("the reason of a close frame is not UTF-8")]
    CloseReasonUtf8,
}

impl FrameError {
    /// The code of the close frame that reports this error.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::ContinuationWithoutStart
            | Self::MessageInterleaved
            | Self::Unmasked
            | Self::LengthNotMinimal
            | Self::LengthHighestBit
            | Self::CloseTruncated
            | Self::CloseCodeInvalid => CloseCode::PROTOCOL_ERROR,
            // RFC 7692 names no code. The frames of such a message keep every rule, but their
            // payload is not the DEFLATE that RSV1 promises, and 1007 means such a mismatch (RFC
            // 6455 section 7.4.1).
            Self::DeflateInvalid | Self::TextUtf8 | Self::CloseReasonUtf8 => {
                CloseCode::INVALID_DATA
            }
            Self::TooManyFragments => CloseCode::POLICY,
            Self::MessageTooBig => CloseCode::TOO_BIG,
        }
    }

    /// A stable `snake_case` name of the rule, for metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReservedBits => "reserved_bits",
            Self::ReservedOpcode => "reserved_opcode",
            Self::ControlFragmented => "control_fragmented",
            Self::ControlTooLong => "control_too_long",
            Self::ContinuationWithoutStart => "continuation_without_start",
            Self::MessageInterleaved => "message_interleaved",
            Self::Unmasked => "unmasked",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthHighestBit => "length_highest_bit",
            Self::MessageTooBig => "message_too_big",
            Self::TooManyFragments => "too_many_fragments",
            Self::DeflateInvalid => "deflate_invalid",
            Self::TextUtf8 => "text_utf8",
            Self::CloseTruncated => "close_truncated",
            Self::CloseCodeInvalid => "close_code_invalid",
            Self::CloseReasonUtf8 => "close_reason_utf8",
        }
    }
}
