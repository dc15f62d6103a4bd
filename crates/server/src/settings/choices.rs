//! The choices of settings that offer a few: which there are, and what each means.

use clap::ValueEnum;

/// How the cores wait for sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// io_uring if the kernel supports all that is needed, else epoll.
    #[default]
    Auto,
    /// io_uring; without it the server does not start.
    #[value(name = "io_uring")]
    IoUring,
    /// epoll.
    Epoll,
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is not.
    #[default]
    Off,
    /// It is.
    On,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Whether messages are compressed for peers that ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Never.
    #[default]
    Off,
    /// For every peer that offers permessage-deflate, as browsers do.
    On,
}

/// Whose messages may refer to earlier ones of the same connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Takeover {
    /// No side's: an idle connection holds no memory for compression.
    #[default]
    None,
    /// The peer's messages.
    Client,
    /// The server's messages.
    Server,
    /// The messages of both sides.
    Both,
}

impl Takeover {
    /// Whether the server's messages may refer to earlier ones.
    pub fn is_for_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    /// Whether the peer's messages may refer to earlier ones.
    pub fn is_for_client(self) -> bool {
        matches!(self, Self::Client | Self::Both)
    }
}

/// How the API says that a call has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ErrorMode {
    /// With status 200, and the error in the place of the result.
    #[default]
    Result,
    /// With a status of its own, and the error as the body.
    Transport,
}

/// How a trusted proxy names its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// In the X-Forwarded-For fields of the request.
    #[default]
    XForwardedFor,
    /// In a header of the PROXY protocol, version 2, before anything else.
    ProxyV2,
}

/// Where blocks, mutes and revocations of tokens are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Moderation {
    /// In state_dir.
    #[default]
    State,
    /// In memory alone.
    Memory,
}
