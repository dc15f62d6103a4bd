//! The bounds a peer must keep, shared by all connections.

/// Bounds on what one peer may send. Passed by reference in each call: stored per connection,
/// they would cost memory on every idle one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request head in bytes, its last empty line included; beyond it 431.
    pub head_bytes_max: usize,
    /// Most fields in a request head; beyond it 431. Values above
    /// [`Limits::HEAD_FIELDS_CEILING`] count as that.
    pub head_fields_max: usize,
    /// Longest request line in bytes, without its line ending; beyond it 414.
    pub request_line_bytes_max: usize,
    /// Longest body of a request in bytes; beyond it 413, before any of it is read.
    pub body_bytes_max: u32,
    /// Longest message in bytes, all its fragments together, before compression; beyond it close
    /// code 1009. Compressed it may be a quarter and 64 bytes longer than that, which is more than
    /// a poor compressor adds to what cannot be compressed.
    pub message_bytes_max: usize,
    /// Most frames in one message, empty ones included; beyond it close code 1008. 0 means no
    /// bound.
    pub message_fragments_max: u32,
}

impl Limits {
    /// What `head_fields_max` can be at most: heads are parsed into an array of this length on
    /// the stack (8 KiB).
    pub const HEAD_FIELDS_CEILING: usize = 256;

    /// Most bytes of a message on the wire.
    pub(crate) fn wire_bytes_max(&self, compressed: bool) -> usize {
        let plain = self.message_bytes_max;
        match compressed {
            true => plain.saturating_add(plain / 4).saturating_add(64),
            false => plain,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Cookies and a token of 4 KiB fit well; nginx allows 32 KiB, Envoy 60 KiB.
            head_bytes_max: 16 * 1024,
            // Browsers send about 20, proxies add about 10.
            head_fields_max: 64,
            // A token of 4 KiB in the query, percent-encoded, fits.
            request_line_bytes_max: 8 * 1024,
            // A batch of what a back end has to publish.
            body_bytes_max: 1 << 20,
            // What chat and events need; larger things belong into an upload.
            message_bytes_max: 64 * 1024,
            // A message of the largest size in pieces of 64 bytes.
            message_fragments_max: 1024,
        }
    }
}
