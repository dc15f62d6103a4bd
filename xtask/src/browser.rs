//! Runs the browser test (an npm project in `tests/browser`) against an optimised server.

use crate::process::{run, run_and_keep};
use crate::report::{Counts, node_counts};
use crate::{
    install,
    workspace::{self, Optimised},
};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// Installs what is missing, then runs `npm test`.
pub fn step(server: Optimised) -> Result<Counts> {
    let server = workspace::server(server)?;
    let chromium = ready()?;
    let mut tests = Command::new("npm");
    tests.args(["test", "--silent", "--", "--test-reporter=tap"]);
    tests.current_dir(directory());
    tests.env("SERVER_BIN", server);
    tests.env("CHROMIUM", chromium);
    let (status, output) = run_and_keep(&mut tests)?;
    node_counts(&output).judged("npm test", status.success())
}

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    ready().map(drop)
}

/// Prepares Node.js with the packages of the test, OpenSSL, and a Chromium, whose path is returned.
fn ready() -> Result<PathBuf> {
    if !directory().join("package-lock.json").exists() {
        bail!("tests/browser has no package-lock.json: it must be in the repository");
    }
    install::node()?;
    let chromium = install::chromium()?;
    install::openssl()?;
    let mut packages = Command::new("npm");
    packages.args(["ci", "--no-audit", "--no-fund"]);
    packages.current_dir(directory());
    run(&mut packages).context("the packages of tests/browser cannot be installed")?;
    Ok(chromium)
}

fn directory() -> PathBuf {
    workspace::root().join("tests/browser")
}
