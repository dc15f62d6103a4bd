//! The layers between a connection's socket and its messages: none, TLS, compression.

/// Whether connections are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Security {
    /// Connections are not encrypted.
    #[default]
    Plain,
    /// TLS, with a full handshake for each connection.
    Tls,
    /// TLS; a connection resumes an earlier session, if the server has issued a ticket.
    Resumed,
}

/// Whether messages are compressed (RFC 7692).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// Compression is not offered.
    #[default]
    Off,
    /// Each message is compressed by itself, without context takeover.
    Message,
    /// With context takeover on both sides.
    Takeover,
}

/// The security and compression of a workload's connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transport {
    /// Whether connections use TLS.
    pub security: Security,
    /// Whether messages use permessage-deflate.
    pub compression: Compression,
}

impl Transport {
    /// TLS with full handshakes.
    pub const TLS: Self = Self {
        security: Security::Tls,
        compression: Compression::Off,
    };
    /// TLS with resumed sessions.
    pub const RESUMED: Self = Self {
        security: Security::Resumed,
        compression: Compression::Off,
    };
    /// Each message compressed by itself.
    pub const DEFLATE: Self = Self {
        security: Security::Plain,
        compression: Compression::Message,
    };
    /// Messages compressed with context takeover.
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
