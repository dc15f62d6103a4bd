//! The servers that are compared: their features, and how each is started and stopped.

mod beside;
mod catalogue;
mod child;
mod rules;

pub use beside::beside;
#[cfg(test)]
pub use catalogue::compile_c;
pub use catalogue::{Binaries, Named, PAGES, catalogue};
pub use child::{Running, StartError, Terms, free_port, start, version};
pub use rules::Rules;

use crate::load::backend::Page;
use crate::load::wire::Framing;
use std::path::PathBuf;

/// The origin of a server, which decides how the report shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Hubbub.
    Hubbub,
    /// The epoll version that belongs to the bench.
    Baseline,
    /// A server that a user might choose instead of Hubbub.
    Peer,
    /// The least that the machine needs.
    Floor,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub enum Start {
    /// One of our programs, with `{port}` and `{threads}` filled in.
    Program {
        /// The path of the program.
        program: PathBuf,
        /// The arguments of the program.
        arguments: Vec<String>,
    },
    /// A peer, started through `bench/peers/run`.
    Peer {
        /// The directory of the scripts.
        scripts: PathBuf,
    },
}

/// A server of the comparison.
#[derive(Clone, Debug)]
pub struct Server {
    /// The name, for `--servers`.
    pub name: String,
    /// A description in one line.
    pub about: String,
    /// The origin of the server.
    pub origin: Origin,
    /// How it is started.
    pub start: Start,
    /// The framing of its messages.
    pub framing: Framing,
    /// Whether it serves `/echo`.
    pub echo: bool,
    /// Most rooms that it can hold.
    pub rooms_max: usize,
    /// Whether it takes text commands to join, leave and publish in rooms, and has no paths.
    pub takes_commands: bool,
    /// Whether one room may have members on several threads.
    pub shares_rooms: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Whether it supports permessage-deflate.
    pub compression: bool,
    /// Whether it speaks the Centrifuge protocol.
    pub sdk: bool,
    /// Whether its rooms can gather messages, and pass over them for subscribers that are too slow.
    pub passes_over: bool,
    /// Whether back ends can publish over HTTP.
    pub api: bool,
    /// Whether it asks a back end about clients.
    pub asks: bool,
    /// Its pages of health and metrics, and their paths.
    pub pages: &'static [(Page, &'static str)],
}

impl Server {
    /// Whether it has neither echo nor rooms without a protocol in them.
    #[must_use]
    pub fn speaks_only_sdk(&self) -> bool {
        self.sdk && !self.echo && self.rooms_max == 0
    }
}
