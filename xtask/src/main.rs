//! The single entry point for all chores: `cargo xtask test` runs everything, the other chores are
//! parts of it.
//!
//! ```text
//!  cargo xtask test ──▶ steps ──▶ fmt, clippy, tidy, test, docs      (cargo, tidy/)
//!                        │  ├───▶ tools                             (install.rs, python.rs)
//!                        │  ├───▶ build                             (optimised server)
//!                        │  ├───▶ autobahn-io_uring, autobahn-epoll (autobahn/)
//!                        │  ├───▶ browser                           (browser.rs)
//!                        │  ├───▶ deploy                            (deploy.rs)
//!                        │  ├───▶ bench                             (bench.rs)
//!                        │  ├───▶ fuzz                              (fuzz.rs)
//!                        │  ├───▶ simulate                          (simulate/)
//!                        │  └───▶ instructions                      (instructions/)
//!                        │        beside each other                 (lanes.rs)
//!                        ▼
//!                     summary: a table, then `N passed, N failed`
//! ```

mod api;
mod autobahn;
mod bench;
mod browser;
mod cargo;
mod deploy;
mod fuzz;
mod install;
mod instructions;
mod lanes;
mod process;
mod python;
mod report;
mod sdk;
mod simulate;
mod steps;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the workspace.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything: format, lints, tidy, tests, docs, Autobahn on both drivers, the browser, deploy/, fuzzing, simulation
    Test(steps::TestArguments),
    /// One step of `test`, as that starts it
    #[command(hide = true)]
    Step(steps::StepArguments),
    /// The quick ones: format, lints, tidy, tests
    Check,
    /// The Autobahn suite against the server, on one driver or both
    Autobahn(autobahn::Arguments),
    /// Instructions of the core for what it does most, at the commit in bench/instructions-base and at head
    Instructions,
    /// The server in virtual time from random seeds, or with planted faults that must be found
    Simulate(simulate::Arguments),
    /// Rules of this workspace that no other tool knows: dependency direction, file headers, …
    Tidy,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Test(arguments) => steps::test(&arguments),
        Chore::Step(arguments) => steps::one(&arguments),
        Chore::Check => steps::check(),
        Chore::Autobahn(arguments) => autobahn::chore(&arguments),
        Chore::Instructions => instructions::chore(),
        Chore::Simulate(arguments) => simulate::chore(&arguments),
        Chore::Tidy => tidy::chore(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
