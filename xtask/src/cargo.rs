//! The steps that cargo does itself: format, lints, tests, docs, the optimised build.

use crate::install;
use crate::process::{run, run_and_keep};
use crate::report::{Counts, libtest_counts};
use crate::simulate;
use crate::workspace::{Optimised, cargo};
use anyhow::Result;
use std::num::NonZero;
use std::process::Command;
use std::thread;

pub fn fmt() -> Result<Counts> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Counts::default())
}

pub fn clippy() -> Result<Counts> {
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    // Nothing else in the workspace has these crates with these features.
    for of_one_crate in [
        "--package runtime --features simulation,small-bounds",
        "--package access --no-default-features --features unverified",
    ] {
        let mut command = cargo();
        command.arg("clippy").args(of_one_crate.split(' '));
        run(command.args(["--", "-D", "warnings"]))?;
    }
    Ok(Counts::default())
}

pub fn docs() -> Result<Counts> {
    run(cargo()
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Counts::default())
}

pub fn build(server: Optimised) -> Result<Counts> {
    crate::workspace::server(server)?;
    Ok(Counts::default())
}

/// Builds all test programs, those of the simulation too, and the programs that tests and the bench start.
/// `cargo test` then rebuilds nothing.
pub fn test_build() -> Result<Counts> {
    run(cargo().args(["build", "--workspace", "--tests", "--bins"]))?;
    run(simulate::cargo("build")?.args(["--tests", "--bins"]))?;
    Ok(Counts::default())
}

/// Installs the clients of other origins that the end-to-end tests of TLS use.
pub fn test_tools() -> Result<()> {
    install::openssl()?;
    install::python3()?;
    Ok(())
}

/// The same tests as [`test()`], against a server that is optimised, which takes a third of the processor time.
pub fn test_optimised() -> Result<Counts> {
    let mut command = cargo();
    command.env("SERVER_BIN", crate::workspace::server(Optimised::Suites)?);
    tested(command)
}

/// Unit, property, end-to-end and doc tests of all crates. Ignored ones are tools of other tests.
pub fn test() -> Result<Counts> {
    tested(cargo())
}

fn tested(mut command: Command) -> Result<Counts> {
    test_tools()?;
    command.args(["test", "--workspace", "--no-fail-fast"]);
    // Most tests wait for a server's deadlines rather than for the processor.
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    command.env("RUST_TEST_THREADS", (3 * processors).to_string());
    // Colour codes would get into the lines that are parsed.
    command.env("CARGO_TERM_COLOR", "never");
    let (status, output) = run_and_keep(&mut command)?;
    libtest_counts(&output).judged("cargo test", status.success())
}
