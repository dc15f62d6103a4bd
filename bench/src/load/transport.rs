//! What lies between a connection's socket and its messages: nothing, TLS, compression.

/// Whether connections are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Security {
    /// They are not.
    #[default]
    Plain,
    /// TLS; each connection makes a full handshake.
    Tls,
    /// TLS; a connection resumes the session of one before it, if the server gave a ticket.
    Resumed,
}

/// Whether messages are compressed (RFC 7692).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// They are not, and it is not offered.
    #[default]
    Off,
    /// Each by itself: no context is kept, on neither side.
    Message,
    /// With contexts on both sides that last as long as the connection.
    Takeover,
}

/// How a workload's connections are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transport {
    /// TLS or not.
    pub security: Security,
    /// permessage-deflate or not.
    pub compression: Compression,
}

impl Transport {
    /// Encrypted, with full handshakes.
    pub const TLS: Self = Self {
        security: Security::Tls,
        compression: Compression::Off,
    };
    /// Encrypted, with sessions that are resumed.
    pub const RESUMED: Self = Self {
        security: Security::Resumed,
        compression: Compression::Off,
    };
    /// Each message is compressed by itself.
    pub const DEFLATE: Self = Self {
        security: Security::Plain,
        compression: Compression::Message,
    };
    /// Messages are compressed with what came before them.
    pub const TAKEOVER: Self = Self {
        security: Security::Plain,
        compression: Compression::Takeover,
    };

    /// Whether the server needs a certificate.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        self.security != Security::Plain
    }

    /// Whether the server must agree to permessage-deflate.
    #[must_use]
    pub fn is_compressed(self) -> bool {
        self.compression != Compression::Off
    }
}
