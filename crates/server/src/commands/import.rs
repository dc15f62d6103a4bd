//! `hubbub config import`: the settings that a configuration of Centrifugo v6 comes to, and what of it has no place
//! here.
//!
//! ```text
//!  a file ─▶ source.rs: JSON, YAML, TOML ─▶ rows.rs and the tables: what each becomes ─▶ draft.rs: a hubbub.toml
//!                                                         │                                    │ as a start reads it
//!                                                         ▼                                    ▼
//!                                              report.rs: what was imported, and what not and why
//! ```
//!
//! The tables are in `server.rs`, `clients.rs`, `hooks.rs` and `rooms.rs`; `values.rs` and `files.rs` have what they make.
//!
//! *Invariants:* what is printed is accepted by `config check`; it has no secret, and neither has the report;
//! nothing of the file is passed over in silence.

mod clients;
mod draft;
mod files;
mod hooks;
mod report;
mod rooms;
mod rows;
mod server;
mod source;
mod values;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use super::{Done, output};
use crate::settings::Sources;

pub use rows::{Becomes, Row};

use draft::Draft;
use report::Report;

/// All options with what becomes of each, in the tables of docs/coming-from-centrifugo.md.
pub const TABLES: [(&str, &[Row]); 4] = [
    ("The server", server::ROWS),
    ("Clients", clients::ROWS),
    ("Questions to a back end", hooks::ROWS),
    ("Channels", rooms::ROWS),
];

/// Print the settings that a configuration of Centrifugo v6 comes to
///
/// FILE is JSON, YAML or TOML, by its ending. Standard output is a hubbub.toml that `config check` accepts, and
/// standard error a table of what was imported, and what was not and why; the same is at the end of the file, as
/// comments. docs/coming-from-centrifugo.md has it for all options. Variables of Centrifugo are not read.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The configuration of Centrifugo
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Directory for the secrets and keys of FILE, each in a file that only you can read
    ///
    /// Settings here name files where Centrifugo has secrets and keys themselves. Without a directory they are
    /// left out. A file that exists is not written over.
    #[arg(long, value_name = "PATH")]
    secrets: Option<PathBuf>,
}

/// A configuration longer than this is none.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl Import {
    /// Prints the settings, and the report beside them.
    ///
    /// # Errors
    /// When the file is no configuration of Centrifugo v6, or a secret cannot be written.
    pub fn run(&self, _: &Sources<'_>) -> Done {
        let text = read(&self.file)?;
        let name = self.file.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let document = source::parse(&name, &text)?;
        let mut report = Report::default();
        let mut draft = Draft::of(&document, self.secrets.as_deref(), &mut report);
        let file = draft.accepted(&name, &mut report);
        for (path, contents) in draft.files() {
            keep(path, contents)?;
        }
        output::say(&file)?;
        output::note(report.text().trim_end());
        Ok(ExitCode::SUCCESS)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let named = path.display();
    let length = fs::metadata(path).map(|it| it.len());
    if length.is_ok_and(|length| length > FILE_BYTES_MAX) {
        bail!("{named} is longer than {FILE_BYTES_MAX} bytes: it is no configuration");
    }
    fs::read_to_string(path).with_context(|| {
        format!("{named} cannot be read: name the configuration file of Centrifugo")
    })
}

/// Writes a secret into a file of its own, unless just that is there already.
fn keep(path: &Path, contents: &str) -> anyhow::Result<()> {
    let named = path.display();
    if fs::read_to_string(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(contents.as_bytes()));
    written.with_context(|| {
        format!("--secrets: {named} cannot be written: name a directory that exists and has no such file")
    })
}
