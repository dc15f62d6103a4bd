//! Checks `deploy/`: manifests, rules, dashboard, unit, profiles. The checks are pytest files in
//! `deploy/checks`; this module provides their tools.

use crate::process::{run, run_and_keep};
use crate::python::{environment, new_venv, pip};
use crate::report::{Counts, pytest_counts};
use crate::{
    install,
    workspace::{self, Optimised},
};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Installs what is missing, then runs the checks against an optimised server.
pub fn step(server: Optimised) -> Result<Counts> {
    let checks = workspace::root().join("deploy/checks");
    let server = workspace::server(server)?;
    let (tools, programs) = ready()?;

    let mut tests = Command::new(tools.join("python"));
    tests.args(["-B", "-m", "pytest", "-q", "--tb=short"]);
    tests.args(["-p", "no:cacheprovider"]);
    tests.arg(&checks);
    tests.current_dir(workspace::root());
    tests.env("SERVER_BIN", server);
    tests.env("PATH", path(&tools, &programs)?);
    // Colour codes would get into the line that is parsed.
    tests.env("PY_COLORS", "0");
    let (status, output) = run_and_keep(&mut tests)?;
    pytest_counts(&output).judged("pytest", status.success())
}

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    ready().map(drop)
}

/// The directory of the pinned Python tools, and the programs that the checks start.
fn ready() -> Result<(PathBuf, [PathBuf; 5])> {
    let programs = [
        install::prometheus()?,
        install::promtool()?,
        install::haproxy()?,
        install::nginx()?,
        install::openssl()?,
    ];
    let home = workspace::target_directory()?.join("deploy");
    let requirements = workspace::root().join("deploy/checks/requirements.txt");
    Ok((python_tools(&home, &requirements)?, programs))
}

/// Installs the pinned Python tools, which include kubectl and hadolint.
fn python_tools(home: &Path, requirements: &Path) -> Result<PathBuf> {
    let directory = home.join("tools");
    environment(&directory, requirements, |directory| {
        new_venv(directory)?;
        let only_wheels = ["install", "--only-binary", ":all:", "--requirement"];
        run(pip(directory, &only_wheels).arg(requirements))
    })
    .context("the tools of deploy/checks/requirements.txt cannot be installed")?;
    Ok(directory.join("bin"))
}

/// PATH with the tools first, and with the directories of programs that may lie outside it.
fn path(tools: &Path, programs: &[PathBuf]) -> Result<std::ffi::OsString> {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = vec![tools.to_owned()];
    directories.extend(programs.iter().filter_map(|p| Some(p.parent()?.to_owned())));
    directories.extend(std::env::split_paths(&inherited));
    std::env::join_paths(directories).context("PATH cannot be put together")
}
