//! The limits on what a peer may send, shared by all connections.

/// Limits on what one peer may send. They are passed by reference in each call: stored in each
/// connection, they would cost memory on every idle one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request head in bytes, with its final empty line; a longer one is answered with 431.
    pub head_bytes_max: usize,
    /// Most fields in a request head; more are answered with 431. Values above
    /// [`Limits::HEAD_FIELDS_CEILING`] count as that.
    pub head_fields_max: usize,
    /// Longest request line in bytes, without its line ending; a longer one is answered with 414.
    pub request_line_bytes_max: usize,
    /// Beginnings of the targets of GET requests that carry in their query what others have in a body, as
    /// pages have to with `EventSource`.
    pub long_targets: &'static [&'static str],
    /// Longest head and longest request line of such a request in bytes, where it is more than the
    /// limits for others; a longer one is answered with 414 or 431.
    pub long_head_bytes_max: usize,
    /// Longest request body in bytes; a longer one is answered with 413, before any of it is read.
    pub body_bytes_max: u32,
    /// Longest message in bytes, decompressed and with all its fragments; a longer one is closed
    /// with 1009. Its compressed form may exceed this by a quarter and 64 bytes, which is more than
    /// a poor compressor adds to incompressible data.
    pub message_bytes_max: usize,
    /// Most frames in one message, including empty ones; more are closed with 1008. 0 means no
    /// bound.
    pub message_fragments_max: u32,
}

impl Limits {
    /// The largest effective `head_fields_max`: heads are parsed into an array of this length on
    /// the stack (8 KiB).
    pub const HEAD_FIELDS_CEILING: usize = 256;

    /// Most bytes of a message on the wire, compressed or not.
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
            // Cookies and a token of 4 KiB fit easily; nginx allows 32 KiB, Envoy 60 KiB.
            head_bytes_max: 16 * 1024,
            // Browsers send about 20 fields, and proxies add about 10.
            head_fields_max: 64,
            // A percent-encoded token of 4 KiB in the query fits.
            request_line_bytes_max: 8 * 1024,
            long_targets: &[],
            // A token of 4 KiB and positions in 128 rooms fit.
            long_head_bytes_max: 64 * 1024,
            // A batch of publications from a back end fits.
            body_bytes_max: 1 << 20,
            // Chat messages and events fit; larger content belongs into an upload.
            message_bytes_max: 64 * 1024,
            // A message of the largest size may arrive in pieces of 64 bytes.
            message_fragments_max: 1024,
        }
    }
}
