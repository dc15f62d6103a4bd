//! Runs every fuzz target for some seconds with cargo-fuzz (nightly toolchain).

use crate::process::{run, stdout_of};
use crate::report::Counts;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Each target of `fuzz/`; no such directory means that there is nothing to do.
pub fn step(seconds: u64) -> Result<Counts> {
    if !workspace::root().join("fuzz/Cargo.toml").exists() {
        println!("no fuzz targets here");
        return Ok(Counts::default());
    }
    ensure_installed()?;
    let targets = stdout_of(nightly().args(["fuzz", "list"]))?;
    if targets.trim().is_empty() {
        bail!("fuzz/ has no targets");
    }
    let found = workspace::target_directory()?.join("fuzz-corpus");
    for target in targets.lines() {
        println!("-- {target}, {seconds} s");
        fuzz(target, &found.join(target), seconds)?;
    }
    Ok(Counts::default())
}

/// Starts from the corpus of the repository; what is found goes to `found`, kept for later runs.
fn fuzz(target: &str, found: &Path, seconds: u64) -> Result<()> {
    std::fs::create_dir_all(found)?;
    let mut command = nightly();
    command.args(["fuzz", "run", target]).arg(found);
    let corpus = workspace::root().join("fuzz/corpus").join(target);
    if corpus.exists() {
        command.arg(corpus);
    }
    command.args(["--", &format!("-max_total_time={seconds}")]);
    run(&mut command)
        .with_context(|| format!("fuzz target {target}; the input is in fuzz/artifacts/{target}"))
}

fn ensure_installed() -> Result<()> {
    stdout_of(nightly().arg("--version"))
        .context("fuzzing needs a nightly toolchain: `rustup toolchain install nightly`")?;
    if stdout_of(nightly().args(["fuzz", "--version"])).is_err() {
        run(nightly().args(["install", "--locked", "cargo-fuzz"]))
            .context("cargo-fuzz cannot be installed; do it by hand: `cargo install cargo-fuzz`")?;
    }
    Ok(())
}

/// `cargo +nightly` through rustup: the cargo that runs us is already bound to its toolchain.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command.env_remove("CARGO");
    command.current_dir(workspace::root());
    command
}
