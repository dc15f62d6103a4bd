//! Knows where things lie: the root of the workspace, its target directory, cargo itself.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the workspace, wherever cargo was called from.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// A cargo command that runs in the root, with the cargo that runs us.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// What `cargo metadata` says, of this workspace alone or with all dependencies resolved.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]);
    command.args(arguments);
    let stdout = crate::process::stdout_of(&mut command)?;
    serde_json::from_str(&stdout).context("cargo metadata printed something that is not JSON")
}

/// Where cargo builds to; follows `CARGO_TARGET_DIR` and cargo's settings.
pub fn target_directory() -> Result<PathBuf> {
    let metadata = metadata(&["--no-deps"])?;
    let directory = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(PathBuf::from(directory))
}

/// Builds the release server (at once when it is fresh) and says where it lies.
pub fn release_server() -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--release",
        "--package",
        "server",
        "--bin",
        "hubbub",
    ]);
    crate::process::run(&mut command).context("the release server does not build")?;
    Ok(target_directory()?.join("release/hubbub"))
}
