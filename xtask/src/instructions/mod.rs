//! Counts the instructions that the core takes for what it does most, at a base commit and at head, and
//! fails where head takes more than 5 % more.
//!
//! Time on a shared machine says nothing about a few per cent; callgrind's counts of one build agree to a
//! hundredth of a per cent. Both commits are built and counted in one run with one toolchain, so that nothing else
//! differs.
//!
//! ```text
//!  bench/instructions-base ─▶ base.rs (a worktree) ─┐
//!                                                   ├─▶ simulation count ─▶ callgrind.rs ─▶ verdict.rs
//!  this tree ───────────────────────────────────────┘    under valgrind        a count        a table
//! ```

mod base;
mod callgrind;
mod verdict;

use crate::install;
use crate::process::run;
use crate::report::Counts;
use crate::workspace::{cargo, root, target_directory};
use anyhow::{Context, Result};
use base::Base;
use callgrind::Callgrind;
use std::path::{Path, PathBuf};
use verdict::Row;

/// A scenario of `simulation count`, what one unit of its cost is, and how often it is done in the shorter of
/// its two runs: each run takes about a second.
struct Scenario {
    name: &'static str,
    unit: &'static str,
    times: usize,
}

const fn scenario(name: &'static str, unit: &'static str, times: usize) -> Scenario {
    Scenario { name, unit, times }
}

const SCENARIOS: [Scenario; 6] = [
    scenario("echo-alone", "echoed message, alone", 500),
    scenario("echo-16-deep", "echoed message, 16 deep", 100),
    scenario("delivery-10", "delivery, room of 10", 200),
    scenario("delivery-1000", "delivery, room of 1,000", 5),
    scenario("connect-close", "connect and close", 200),
    scenario("sweep", "idle connection and sweep", 10),
];

/// `cargo xtask instructions`.
pub fn chore() -> Result<bool> {
    let counts = step(true)?;
    Ok(counts.failed == 0)
}

/// The step of `cargo xtask test`, which takes two release builds and is therefore for the full run; each
/// row of the table counts as one test.
pub fn step(is_full: bool) -> Result<Counts> {
    if !is_full {
        return Ok(skipped("only `--full` does it"));
    }
    let commit = base::named()?;
    let home = target_directory()?.join("instructions");
    std::fs::create_dir_all(&home)?;
    let valgrind = match install::valgrind() {
        Ok(valgrind) => valgrind,
        Err(error) => return Ok(skipped(&format!("{error:#}"))),
    };
    if let Err(error) = base::is_there(&commit) {
        return Ok(skipped(&format!("{error:#}")));
    }
    let base = Base::check_out(&commit, &home.join("base"))?;
    let before = count_all(&valgrind, base.root(), &home, "base").context("at the base")?;
    drop(base);
    let after = count_all(&valgrind, root(), &home, "head").context("at head")?;
    let rows = SCENARIOS.iter().zip(before.into_iter().zip(after));
    let rows: Vec<_> = rows
        .map(|(scenario, (base, head))| Row {
            unit: scenario.unit,
            base,
            head,
        })
        .collect();
    println!("\n{}", verdict::table(&commit, &rows));
    Ok(verdict::judge(&rows))
}

fn skipped(why: &str) -> Counts {
    println!("-- SKIPPED, no instructions are counted: {why}");
    Counts::default()
}

/// Builds the simulation of one of the two trees and returns the instructions of a unit of each scenario.
fn count_all(valgrind: &Path, tree: &Path, home: &Path, side: &str) -> Result<Vec<f64>> {
    let callgrind = Callgrind {
        valgrind,
        program: build(tree, &home.join("build"))?,
        profiles: home,
        side,
    };
    SCENARIOS
        .iter()
        .map(|scenario| callgrind.of_unit(scenario))
        .collect()
}

/// Both trees build to one directory, so that what they both depend on is built once. What is built last
/// replaces the other's program.
fn build(tree: &Path, target: &Path) -> Result<PathBuf> {
    // By default the simulation's bounds are small; what is shipped has others.
    let mut command = cargo();
    command.args(["build", "--release", "--no-default-features"]);
    command
        .arg("--manifest-path")
        .arg(tree.join("simulation/Cargo.toml"));
    command.arg("--target-dir").arg(target);
    run(&mut command).context("the simulation does not build")?;
    Ok(target.join("release/simulation"))
}
