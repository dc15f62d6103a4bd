//! Runs the bench at tiny sizes: every reply is checked, no time is asserted.

use crate::process::run;
use crate::report::Counts;
use crate::workspace::{self, cargo};
use anyhow::Result;

/// Hubbub on both drivers and the epoll version, a second or so for each workload.
pub fn step() -> Result<Counts> {
    workspace::release_server()?;
    run(cargo().args([
        "run",
        "--release",
        "--package",
        "bench",
        "--",
        "compare",
        "--tiny",
    ]))?;
    Ok(Counts::of(1, 0))
}
