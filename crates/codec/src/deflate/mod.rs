//! permessage-deflate (RFC 7692): what was agreed, and the two directions.
//!
//! ```text
//!  request  ──▶ extensions ──▶ Deflate (agreed) ──▶ the 101, and the reader
//!  received ──▶ inflation (lent by the core's inflater) ◀──▶ window (per connection, only with takeover)
//!  message  ──▶ deflater ──▶ one compressed frame
//! ```
//!
//! *Invariants*: a receiving connection holds zlib state only while a message is inflated;
//! inflating stops at the limit for messages, whatever the compressed form promises.

mod deflater;
mod extensions;
mod inflater;
mod window;

use std::fmt;

pub use deflater::Deflater;
pub(crate) use extensions::{is_well_formed, negotiate};
pub use inflater::Inflater;
pub(crate) use inflater::Inflation;
pub(crate) use window::Window;

/// The name of the extension (RFC 7692 section 7).
const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The end of a flush, which the sender removes (RFC 7692 section 7.2.1): the rest of an empty
/// stored block.
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The smallest window that zlib compresses with, as an exponent of 2.
const WINDOW_BITS_MIN: u8 = 9;

/// The largest window of DEFLATE, 32 KiB, as an exponent of 2. It is the default on the wire.
const WINDOW_BITS_MAX: u8 = 15;

/// The terms of compression that the server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflatePolicy {
    /// The largest window for what the server sends, 9 to 15: 2 to the power of it, in bytes. With
    /// context takeover of the client, it is also the window that the client is asked to use, if
    /// its offer allows that, because the server must then keep that window.
    pub window_bits: u8,
    /// Whether the server's messages may refer to earlier ones.
    pub server_takeover: bool,
    /// Whether the client's messages may refer to earlier ones.
    pub client_takeover: bool,
}

/// The extension as agreed for one connection (RFC 7692 section 7.1). Its `Display` form is the
/// value in the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Deflate {
    /// Whether the server's messages may refer to earlier ones.
    pub server_takeover: bool,
    /// Whether the client's messages may refer to earlier ones.
    pub client_takeover: bool,
    /// The window for what the server sends, 9 to 15: at most 2 to the power of it, in bytes.
    pub server_window_bits: u8,
    /// The window for what the client sends, 8 to 15, in the same unit.
    client_window_bits: u8,
    names_server_window: bool,
    names_client_window: bool,
}

impl Deflate {
    /// Most memory that a connection may keep between messages for this extension, in bytes: the
    /// end of what the client sent, and a [`Deflater`] of its own. 0 without context takeover.
    #[must_use]
    pub fn contexts_bytes_max(self) -> usize {
        let of_server = match self.server_takeover {
            true => Deflater::bytes_max(self.server_window_bits),
            false => 0,
        };
        of_server + Window::bytes_max(self.kept_bytes_max())
    }

    /// The bytes of the client's messages that must be kept for its next one.
    pub(crate) fn kept_bytes_max(self) -> usize {
        match self.client_takeover {
            // A zlib client compresses with a window of 9 bits where 8 were agreed on.
            true => 1 << self.client_window_bits.max(WINDOW_BITS_MIN),
            false => 0,
        }
    }
}

impl fmt::Display for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if !self.server_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if !self.client_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.names_server_window {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={}", self.server_window_bits)?;
        }
        if self.names_client_window {
            write!(f, "; {CLIENT_MAX_WINDOW_BITS}={}", self.client_window_bits)?;
        }
        Ok(())
    }
}
