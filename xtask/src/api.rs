//! Tests the API of back ends as others use it (`tests/api`): the unmodified client `cent`, Schemathesis, and the
//! examples of its document.

use crate::python::{environment_of, pytest};
use crate::report::Counts;
use crate::{
    install,
    workspace::{self, Optimised},
};
use anyhow::Result;
use std::path::PathBuf;

/// Runs the tests against an optimised server.
pub fn step(server: Optimised) -> Result<Counts> {
    let server = workspace::server(server)?;
    pytest(&packages()?, &directory(), &server)
}

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    install::node()?;
    packages().map(drop)
}

fn directory() -> PathBuf {
    workspace::root().join("tests/api")
}

fn packages() -> Result<PathBuf> {
    let home = workspace::target_directory()?.join("api");
    environment_of(&home, &directory().join("requirements.txt"))?;
    Ok(home)
}
