//! Paths of the workspace: its root, its target directory, cargo itself.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace, wherever cargo was started.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// A cargo command in the root of the workspace, with the cargo that runs this program.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The output of `cargo metadata`, for this workspace alone or with all dependencies resolved.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]);
    command.args(arguments);
    let stdout = crate::process::stdout_of(&mut command)?;
    serde_json::from_str(&stdout).context("cargo metadata printed something that is not JSON")
}

/// The directory that cargo builds to, as `CARGO_TARGET_DIR` and cargo's settings say.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}

/// Which of the optimised servers suites run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimised {
    /// The one that is shipped. Its link-time optimisation takes as long as everything else of its build.
    Release,
    /// The same without that and with debug assertions, for every day.
    Suites,
}

impl Optimised {
    /// The one that is shipped for a full run, which may take its time.
    pub fn of(full: bool) -> Self {
        match full {
            true => Self::Release,
            false => Self::Suites,
        }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Suites => "suites",
        }
    }
}

/// Builds an optimised server, if it is not up to date, and returns its path.
pub fn server(optimised: Optimised) -> Result<PathBuf> {
    let profile = optimised.profile();
    let mut command = cargo();
    command.args(["build", "--profile", profile]);
    command.args(["--package", "server", "--bin", "hubbub"]);
    crate::process::run(&mut command).context("the optimised server does not build")?;
    Ok(target_directory()?.join(profile).join("hubbub"))
}
