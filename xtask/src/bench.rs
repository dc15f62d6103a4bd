//! Runs the bench at tiny sizes, and the checker of rooms: every reply is checked, no time is asserted.

use crate::process::run_with_reason;
use crate::report::Counts;
use crate::{
    cargo,
    workspace::{self, Optimised},
};
use anyhow::Result;
use std::process::Command;

/// Runs Hubbub on both drivers, the epoll versions and the server of many rooms, about a second for each
/// workload. Hubbub is the optimised build of all suites. The others are the debug builds that the tests also use, since
/// no time is measured.
pub fn step(server: Optimised) -> Result<Counts> {
    let server = workspace::server(server)?;
    cargo::test_build()?;
    let built = workspace::target_directory()?.join("debug");
    let mut bench = Command::new(built.join("bench"));
    bench.current_dir(workspace::root());
    bench.args(["compare", "--tiny", "--no-build"]);
    bench.arg("--server-bin").arg(server);
    bench.arg("--epoll-bin").arg(built.join("bench-epoll"));
    bench.arg("--rooms-bin").arg(built.join("bench-many-rooms"));
    run_with_reason(&mut bench)?;
    Ok(Counts::of(1, 0))
}

/// How long clients are cut, stalled and come back, on both drivers together.
const VERIFY_SECONDS: &str = "60";

/// Verifies that Hubbub keeps what it promises of rooms, on both drivers, while clients are disturbed and the
/// server is killed.
pub fn verify(server: Optimised) -> Result<Counts> {
    let server = workspace::server(server)?;
    cargo::test_build()?;
    let built = workspace::target_directory()?.join("debug");
    let mut verify = Command::new(built.join("bench"));
    verify.current_dir(workspace::root());
    verify.args(["verify", "--seconds", VERIFY_SECONDS]);
    verify.arg("--server-bin").arg(server);
    run_with_reason(&mut verify)?;
    Ok(Counts::of(1, 0))
}
