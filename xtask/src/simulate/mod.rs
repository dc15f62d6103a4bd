//! Simulates the server in virtual time: seeds, and planted faults, to see that the simulation finds
//! what it must. Scripts that failed once are among the tests of the simulation.
//!
//! ```text
//!  simulation/ ────────────▶ program ─────▶ seeds ───▶ tally, a script of each fault
//!  simulation/, crates/ ─▶ copy ──┐
//!  simulation/faults/ ──▶ fault ──┴─▶ program ─────▶ planted: a table
//! ```
//!
//! Builds, logs and scripts are in `target/simulation`.

mod copy;
mod fault;
mod planted;
mod program;
mod seeds;
mod tally;

use crate::process::{run, run_and_keep};
use crate::report::{Counts, libtest_counts};
use crate::workspace::root;
use anyhow::Result;
use clap::Args;
pub use program::cargo;
use program::{MANIFEST, Program};
use seeds::Search;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

#[derive(Args)]
pub struct Arguments {
    /// Run seeds for this long
    #[arg(long, value_name = "HOURS", conflicts_with = "seconds")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    hours: Option<u64>,
    /// Run seeds for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The first seed, which is otherwise drawn
    #[arg(long)]
    seed: Option<u64>,
    /// Plant the faults of `simulation/faults`, each of which must be found, and run nothing else
    #[arg(long, conflicts_with_all = ["hours", "seconds", "seed"])]
    planted: bool,
}

impl Arguments {
    fn search(&self) -> Search {
        let seconds = self.hours.map_or(self.seconds, |hours| hours * 3_600);
        Search {
            from: self.seed.unwrap_or_else(seeds::drawn),
            time: Duration::from_secs(seconds),
            processes: thread::available_parallelism().map_or(1, NonZero::get),
        }
    }
}

/// `cargo xtask simulate`.
pub fn chore(arguments: &Arguments) -> Result<bool> {
    if arguments.planted {
        let counts = planted::run()?;
        for failure in &counts.failures {
            println!("{failure}");
        }
        return Ok(counts.failed == 0);
    }
    let program = Program::build(root(), "simulation-plain")?;
    let searched = arguments.search().run(&program)?;
    Ok(searched.faults.is_empty())
}

/// The step of `cargo xtask test`: lints and tests of the simulation, seeds for so long, planted
/// faults. Tests and planted faults are counted, and of the seeds those that fail.
pub fn step(seconds: u64) -> Result<Counts> {
    lints()?;
    let mut counts = tests()?;
    let program = Program::build(root(), "simulation-plain")?;
    let search = Search {
        from: seeds::drawn(),
        time: Duration::from_secs(seconds),
        // The other steps that run at the time have the other processors.
        processes: 1,
    };
    let searched = search.run(&program)?;
    for (failure, script) in &searched.faults {
        counts.failed += 1;
        counts.failures.push(seeds::told(failure, script)?);
    }
    take(&mut counts, planted::run()?);
    counts.note = Some(searched.tally.to_string());
    Ok(counts)
}

fn lints() -> Result<()> {
    run(crate::workspace::cargo().args(["fmt", "--check", "--manifest-path", MANIFEST]))?;
    run(cargo("clippy")?.args(["--all-targets", "--", "-D", "warnings"]))
}

fn tests() -> Result<Counts> {
    let mut command = cargo("test")?;
    // Colour codes would get into the lines that are parsed.
    command.env("CARGO_TERM_COLOR", "never");
    let (status, output) = run_and_keep(&mut command)?;
    libtest_counts(&output).judged("cargo test of the simulation", status.success())
}

/// Adds the counts of a part, with the details of what failed.
fn take(counts: &mut Counts, part: Counts) {
    counts.add(&part);
    counts.failures.extend(part.failures);
}
