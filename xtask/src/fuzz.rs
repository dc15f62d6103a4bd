//! Runs every fuzz target with cargo-fuzz for its share of the time, and reads the figures of libFuzzer.
//!
//! The instrumentation is an unstable feature of the compiler. A nightly toolchain has it, and so
//! has the stable one if `RUSTC_BOOTSTRAP` is set. cargo-fuzz is installed below the target
//! directory.
//!
//! ```text
//!  fuzz/corpus/TARGET ─┐                   ┌─▶ target/fuzz/TARGET.log ──▶ figures, one line each
//!                      ├─▶ cargo fuzz run ─┤
//!  target/fuzz/found ◀─┘                   └─▶ fuzz/artifacts/TARGET: an input that crashes it
//! ```

use crate::install;
use crate::process::{answers, run, run_into, stdout_of};
use crate::report::Counts;
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// The shortest share of a target, in seconds: in less it would hardly get beyond its corpus.
const TARGET_SECONDS_MIN: u64 = 10;
/// An input that takes longer, in seconds, is a fault: work must be linear in the bytes of the
/// input.
const SECONDS_PER_INPUT_MAX: u64 = 10;
/// Most lines of a failed run's log that are shown when no line states the fault.
const LOG_LINES_SHOWN: usize = 40;

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    Fuzzer::ready().map(drop)
}

/// Fuzzes the targets of `fuzz/` for so many seconds in all; each counts as one test.
pub fn step(total_seconds: u64) -> Result<Counts> {
    let fuzzer = Fuzzer::ready()?;
    let targets = stdout_of(&mut fuzzer.command("list"))?;
    let targets: Vec<_> = targets.lines().collect();
    let seconds = share(total_seconds, targets.len()).context("fuzz/ has no targets")?;
    let started = Instant::now();
    run(fuzzer.command("build").args(fuzzer.target_directory())).context("fuzz/ does not build")?;
    println!(
        "-- {} and fuzz targets are built after {:.0} s; each runs for {seconds} s",
        fuzzer.toolchain,
        started.elapsed().as_secs_f64()
    );
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let mut counts = Counts::default();
    for beside in targets.chunks(processors) {
        for (target, result) in fuzzer.fuzz_beside(beside, seconds) {
            match result {
                Ok(figures) => {
                    println!("{target:<12} {figures}");
                    counts.passed += 1;
                }
                Err(error) => {
                    println!("{target:<12} FAILED: {error:#}");
                    counts.failed += 1;
                    counts.failures.push(format!("{target}: {error:#}"));
                }
            }
        }
    }
    Ok(counts)
}

/// The seconds of each target, or `None` if there is none.
fn share(total_seconds: u64, targets: usize) -> Option<u64> {
    let even = total_seconds.checked_div(targets as u64)?;
    Some(even.max(TARGET_SECONDS_MIN))
}

/// The compiler that instruments the targets.
#[derive(Clone, Copy)]
enum Toolchain {
    Nightly,
    /// The toolchain that runs this program, with its unstable features unlocked.
    Bootstrapped,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "nightly",
            Self::Bootstrapped => "stable with RUSTC_BOOTSTRAP=1",
        })
    }
}

/// cargo-fuzz, installed, and a toolchain that works with it.
struct Fuzzer {
    toolchain: Toolchain,
    /// The directory of the program `cargo-fuzz`.
    programs: PathBuf,
    /// Logs, builds and found inputs, which are kept for later runs.
    home: PathBuf,
}

impl Fuzzer {
    fn ready() -> Result<Self> {
        install::cxx()?;
        let target = workspace::target_directory()?;
        let nightly = ["run", "nightly", "cargo", "--version"];
        let toolchain = match answers(Path::new("rustup"), &nightly, |_| true) {
            true => Toolchain::Nightly,
            false => Toolchain::Bootstrapped,
        };
        Ok(Self {
            toolchain,
            programs: cargo_fuzz(&target)?,
            home: target.join("fuzz"),
        })
    }

    /// The command `cargo fuzz SUBCOMMAND`, in the root of the workspace.
    fn command(&self, subcommand: &str) -> Command {
        let mut command = match self.toolchain {
            // rustup must start this one, because the cargo that runs us is bound to its own
            // toolchain.
            Toolchain::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly", "cargo"]);
                rustup.env_remove("CARGO");
                rustup
            }
            Toolchain::Bootstrapped => {
                let mut cargo = workspace::cargo();
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&inherited));
        let path = std::env::join_paths(path).expect("parts of PATH make a PATH");
        command.env("PATH", path);
        command.current_dir(workspace::root());
        command.args(["fuzz", subcommand]);
        command
    }

    fn target_directory(&self) -> [PathBuf; 2] {
        ["--target-dir".into(), self.home.join("target")]
    }

    /// Fuzzes these targets at the same time, each in its own process.
    fn fuzz_beside<'a>(
        &self,
        targets: &[&'a str],
        seconds: u64,
    ) -> Vec<(&'a str, Result<Figures>)> {
        thread::scope(|scope| {
            let start = |target| (target, scope.spawn(move || self.fuzz(target, seconds)));
            let started: Vec<_> = targets.iter().copied().map(start).collect();
            let end = |(target, run): (_, thread::ScopedJoinHandle<'_, _>)| {
                (target, run.join().expect("fuzzing returns its errors"))
            };
            started.into_iter().map(end).collect()
        })
    }

    /// Starts from the corpus of the repository; new inputs are kept beside the build.
    fn fuzz(&self, target: &str, seconds: u64) -> Result<Figures> {
        let found = self.home.join("found").join(target);
        std::fs::create_dir_all(&found)?;
        let log = self.home.join(format!("{target}.log"));
        let mut command = self.command("run");
        command.args(self.target_directory());
        command.arg(target).arg(found);
        let corpus = workspace::root().join("fuzz/corpus").join(target);
        if corpus.exists() {
            command.arg(corpus);
        }
        command.args([
            "--",
            "-print_final_stats=1",
            &format!("-max_total_time={seconds}"),
            &format!("-timeout={SECONDS_PER_INPUT_MAX}"),
        ]);
        let status = run_into(&mut command, &log)?;
        let said = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        if !status.success() {
            let complaint = complaint(&said);
            bail!("{complaint}\n{status}; the whole log is {}", log.display());
        }
        Figures::read(&said)
            .with_context(|| format!("{} has no figures: did it fuzz at all?", log.display()))
    }
}

/// Extracts from the log of a failed run: the fault, the input (its file, and in base64 for readers
/// who have only this text), and the command that repeats it.
fn complaint(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let is_fault = |line: &&str| line.contains("panicked at") || line.contains("ERROR: ");
    let Some(first) = lines.iter().position(is_fault) else {
        return lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
    };
    let labels = ["Test unit written to", "Base64: ", "cargo fuzz run "];
    let labelled = |line: &&&str| labels.iter().any(|label| line.contains(label));
    let fault = lines[first..].iter().take(3);
    let rest = lines[first..].iter().skip(3).filter(labelled);
    let shown: Vec<_> = fault.chain(rest).map(|line| line.trim()).collect();
    shown.join("\n")
}

/// Returns the directory of `cargo-fuzz`, and installs the program there if it is missing.
fn cargo_fuzz(target: &Path) -> Result<PathBuf> {
    let root = target.join(format!("tools/cargo-fuzz-{CARGO_FUZZ_VERSION}"));
    if !root.join("bin/cargo-fuzz").is_file() {
        println!("-- installing cargo-fuzz {CARGO_FUZZ_VERSION}, once");
        let mut install = workspace::cargo();
        install.args(["install", "--quiet", "--locked", "--no-track"]);
        // It only starts other programs, so optimising it would take more time than it saves.
        install.arg("--debug").arg("--root").arg(&root);
        install.args(["--version", &format!("={CARGO_FUZZ_VERSION}"), "cargo-fuzz"]);
        run(&mut install).context("cargo-fuzz cannot be installed")?;
    }
    Ok(root.join("bin"))
}

/// The figures that libFuzzer prints at the end of a run.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    executions: u64,
    executions_per_second: u64,
    /// Edges of the program that some input reached.
    coverage: u64,
    /// Inputs that each reach an edge, or a count of it, that no other reaches.
    corpus: u64,
}

impl Figures {
    /// Reads the `stat::…` lines and the last line of progress:
    /// `#81 DONE   cov: 1192 ft: 3611 corp: 240/38Kb lim: 4096 exec/s: 27 rss: 47Mb`.
    fn read(log: &str) -> Option<Self> {
        let statistic = |name: &str| {
            let line = log.lines().rev().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        let done = log.lines().rev().find(|line| line.contains("\tDONE "))?;
        let after = |label: &str| {
            let rest = done.split_once(label)?.1.trim_start();
            let digits = rest.split(|it: char| !it.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        Some(Self {
            executions: statistic("stat::number_of_executed_units:")?,
            executions_per_second: statistic("stat::average_exec_per_sec:")?,
            coverage: after("cov:")?,
            corpus: after("corp:")?,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            executions_per_second,
            coverage,
            corpus,
        } = self;
        write!(
            f,
            "{executions} executions, {executions_per_second}/s, coverage {coverage} edges, corpus {corpus} inputs"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "#4096\tpulse  cov: 7 ft: 9 corp: 3/9b lim: 4096 exec/s: 2048 rss: 46Mb\n\
        #81920\tDONE   cov: 1192 ft: 3611 corp: 240/38Kb lim: 4096 exec/s: 27306 rss: 47Mb\n\
        Done 81920 runs in 3 second(s)\n\
        stat::number_of_executed_units: 81920\n\
        stat::average_exec_per_sec:     27306\n\
        stat::new_units_added:          14\n";

    #[test]
    fn share_is_even_and_never_too_short() {
        for (total, targets, each) in [(240, 5, 48), (240, 7, 34), (1, 5, 10), (3600, 1, 3600)] {
            assert_eq!(share(total, targets), Some(each), "{total} s, {targets}");
        }
        assert_eq!(share(240, 0), None);
    }

    #[test]
    fn figures_are_read_from_the_end_of_the_log() {
        let expected = Figures {
            executions: 81920,
            executions_per_second: 27306,
            coverage: 1192,
            corpus: 240,
        };
        assert_eq!(Figures::read(LOG), Some(expected));
    }

    #[test]
    fn complaint_has_the_fault_the_input_and_how_to_repeat_it() {
        let log = "#81 NEW cov: 7\nthread '<unnamed>' panicked at src/x.rs:1:2:\nplanted\nnote\n\
            frame 1\nartifact_prefix='a/'; Test unit written to a/crash-1\nBase64: AQ==\n\
            Reproduce with:\n\n\tcargo fuzz run x a/crash-1\n";
        let complaint = complaint(log);
        for part in [
            "src/x.rs",
            "planted",
            "a/crash-1",
            "AQ==",
            "cargo fuzz run x",
        ] {
            assert!(complaint.contains(part), "{complaint}");
        }
        assert!(!complaint.contains("frame 1"), "{complaint}");
        assert_eq!(super::complaint("one\ntwo"), "one\ntwo");
    }

    #[test]
    fn figures_of_a_run_that_did_not_end_are_none() {
        assert_eq!(Figures::read(&LOG.replace("DONE", "NEW")), None);
        assert_eq!(Figures::read(&LOG.replace("stat::number", "stat::x")), None);
        assert_eq!(Figures::read(""), None);
    }
}
