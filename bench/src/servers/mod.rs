//! The servers that are compared: what they can do, and how each is started and stopped.

mod catalogue;
mod child;

#[cfg(test)]
pub use catalogue::compile_c;
pub use catalogue::{Binaries, Named, catalogue};
pub use child::{StartError, Terms, start, version};

use crate::load::wire::Framing;
use std::path::PathBuf;

/// Who made a server, which says how the report shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Hubbub.
    Hubbub,
    /// The epoll version of the bench.
    Baseline,
    /// What a user would take instead.
    Peer,
    /// What the machine needs at least.
    Floor,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub enum Start {
    /// A program of ours, with `{port}` and `{threads}` filled in.
    Program {
        /// Its file.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// Through `bench/peers/run`.
    Peer {
        /// The directory of the scripts.
        scripts: PathBuf,
    },
}

/// A server of the comparison.
#[derive(Clone, Debug)]
pub struct Server {
    /// For `--servers`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Who made it.
    pub origin: Origin,
    /// How it is started.
    pub start: Start,
    /// How its messages lie on the connection.
    pub framing: Framing,
    /// Whether it has `/echo`.
    pub echo: bool,
    /// How many rooms it can hold.
    pub rooms_max: usize,
    /// Whether it takes text commands to join, leave and publish in rooms, and has no paths.
    pub takes_commands: bool,
    /// Whether one room may have members on several threads.
    pub shares_rooms: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether it has permessage-deflate.
    pub compression: bool,
}
