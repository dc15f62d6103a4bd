//! What `hubbub WORD` does beside serving: each subcommand, from its definition to its exit code.
//!
//! ```text
//!  settings/task.rs ─▶ Word ─▶ its file here ─▶ standard output, or an error that names the remedy
//!                                   │
//!                                   ├─▶ settings of the server, by --config and the environment
//!                                   └─▶ remote.rs: a running server, over HTTP
//! ```
//!
//! The definitions stand beside what they do. `--help`, completion scripts and manual pages come from them alone.
//!
//! - `token.rs`, `token/` make and explain tokens; `health.rs` asks whether a server is well
//! - `publish.rs` and `rooms.rs` call the API of a running server, by `api.rs`
//! - `pages.rs` prints completion scripts and manual pages; `import.rs`, `import/` read Centrifugo's configuration
//! - `context.rs` has the settings, `output.rs` what people and scripts are shown

pub(crate) mod api;
mod context;
mod health;
pub mod import;
mod output;
mod pages;
mod publish;
mod remote;
mod rooms;
mod token;

use std::process::ExitCode;

use clap::Subcommand;

use crate::settings::{Sources, Stop};

/// The subcommands, except `config`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
#[expect(
    missing_docs,
    reason = "the comments of their structs are the texts of --help"
)]
pub enum Word {
    /// Make and explain the tokens that clients show
    #[command(subcommand, disable_help_subcommand = true)]
    Token(token::Word),
    Publish(Box<publish::Publish>),
    Presence(Box<rooms::Presence>),
    Rooms(Box<rooms::Rooms>),
    Health(health::Health),
    Completions(pages::Completions),
    Man(pages::Man),
}

/// Why a subcommand has not done what it was to do.
#[derive(Debug)]
pub enum Failed {
    /// The settings that it needs are refused, or its own arguments.
    Settings(Stop),
    /// Something else, with a remedy.
    Otherwise(anyhow::Error),
}

/// How a subcommand ends.
pub type Done = Result<ExitCode, Failed>;

impl From<Stop> for Failed {
    fn from(stop: Stop) -> Self {
        Self::Settings(stop)
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Otherwise(error)
    }
}

impl Failed {
    /// Says it, and returns the code to exit with.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Settings(stop) => stop.report(),
            Self::Otherwise(error) => {
                output::note(format_args!("error: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}

impl Word {
    /// Does what it says.
    ///
    /// # Errors
    /// When it could not; see [`Failed::report`].
    pub fn run(&self, sources: &Sources<'_>) -> Done {
        match self {
            Self::Token(word) => word.run(sources),
            Self::Publish(publish) => publish.run(sources),
            Self::Presence(presence) => presence.run(sources),
            Self::Rooms(rooms) => rooms.run(sources),
            Self::Health(health) => health.run(sources),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
        }
    }
}
