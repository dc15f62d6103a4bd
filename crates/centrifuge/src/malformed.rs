//! Every rule of framing and form that a frame of commands can break.

use thiserror::Error;

/// Why a frame, or a command in it, cannot be read. A session closes with 3501 for each of them.
///
/// No variant repeats bytes of the peer, so each may be logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Malformed {
    /// A frame has no bytes.
    #[error("the frame is empty")]
    EmptyFrame,
    /// A line of a JSON frame is empty. Only behind the last newline there may be nothing.
    #[error("a line is empty")]
    EmptyLine,
    /// Text is not UTF-8.
    #[error("the text is not UTF-8")]
    Utf8,
    /// A line is not JSON, or a value has another type than its field.
    #[error("the JSON is wrong after {column} bytes")]
    Json {
        /// How many bytes of the line were read when it was noticed.
        column: usize,
    },
    /// A payload nests deeper than [`JSON_DEPTH_MAX`](crate::JSON_DEPTH_MAX).
    #[error("a payload nests too deep")]
    Depth,
    /// The length before a Protobuf message is no number of at most 10 bytes, or goes beyond the
    /// frame.
    #[error("a length goes beyond the frame")]
    Length,
    /// A Protobuf message is cut short, or a field has another wire type than in the schema.
    #[error("the Protobuf message is wrong")]
    Protobuf,
    /// A connect command names more than
    /// [`CONNECT_SUBSCRIPTIONS_MAX`](crate::CONNECT_SUBSCRIPTIONS_MAX) subscriptions.
    #[error("the connect command has too many subscriptions")]
    Subscriptions,
    /// A connect command has more than [`CONNECT_HEADERS_MAX`](crate::CONNECT_HEADERS_MAX) headers.
    #[error("the connect command has too many headers")]
    Headers,
}
