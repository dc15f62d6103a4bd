//! Plants faults to see whether the simulation finds each: all are built into one program, of which
//! each process has one of them.

use super::copy::{self, Sources};
use super::fault::{Fault, VARIABLE};
use super::program::{Extent, Program, Slice, home};
use super::tally::{Failure, Said, Tally};
use crate::report::Counts;
use crate::workspace::root;
use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};

/// Steps in which each fault must be found. Thirty faults that are all missed would take some ten
/// minutes.
const STEPS_MAX: u64 = 5_000_000;

/// A process ends after so many runs, of some 2,400 steps each, and the next goes on. This many are
/// the same on all machines, which a time would not be.
const RUNS: u64 = 500;

/// What became of a fault.
enum Verdict {
    Found {
        tally: Tally,
        failure: Failure,
    },
    Missed {
        tally: Tally,
    },
    /// It could not be planted, or its program said nothing.
    Broken(String),
}

/// Plants each fault of `simulation/faults`, and prints a table. Each that is found counts as a
/// test that passed.
pub fn run() -> Result<Counts> {
    let faults = faults(&root().join("simulation/faults"))?;
    let mut sources = copy::read(root())?;
    let mut planted = Vec::new();
    for (name, fault) in faults {
        let result = fault.and_then(|fault| plant(&fault, &mut sources));
        planted.push((name, result));
    }
    let tree = home()?.join("planted");
    copy::write(&sources, &tree)?;
    let program = Program::build(&tree, "simulation-planted")?;
    let mut counts = Counts::default();
    println!("{:<24} {:>9} {:>6}  found", "fault", "steps", "seed");
    for (name, result) in planted {
        let verdict = match result {
            Ok(()) => search(&name, STEPS_MAX, |slice| seeds(&program, &name, slice)),
            Err(error) => Verdict::Broken(format!("{error:#}")),
        };
        println!("{name:<24} {verdict}");
        count(&mut counts, &name, &verdict);
    }
    Ok(counts)
}

/// The faults of a directory, in the order of their names.
fn faults(directory: &Path) -> Result<Vec<(String, Result<Fault>)>> {
    let mut faults = Vec::new();
    for path in files_of(directory, "fault")? {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path)?;
        let fault = Fault::read(&name, &text);
        faults.push((name, fault));
    }
    if faults.is_empty() {
        bail!("{} has no faults", directory.display());
    }
    Ok(faults)
}

/// The files of a directory with this ending, in the order of their names.
fn files_of(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = directory.read_dir();
    let entries = entries.with_context(|| directory.display().to_string())?;
    let paths: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|it| it == ending));
    paths.sort();
    Ok(paths)
}

fn plant(fault: &Fault, sources: &mut Sources) -> Result<()> {
    let source = sources.get_mut(&fault.file);
    let source = source.with_context(|| format!("{} does not exist", fault.file))?;
    let text = std::str::from_utf8(source).with_context(|| fault.file.clone())?;
    *source = fault.planted_in(text)?.into_bytes();
    Ok(())
}

fn seeds(program: &Program, fault: &str, slice: Slice) -> Result<Said> {
    program.seeds(slice, "planted", |command| {
        // A backtrace for each panic would take longer than the run.
        command
            .arg("--whole")
            .env(VARIABLE, fault)
            .env("RUST_BACKTRACE", "0");
    })
}

/// Runs slices of seeds until one finds the fault.
fn search(name: &str, steps_max: u64, mut seeds: impl FnMut(Slice) -> Result<Said>) -> Verdict {
    let mut tally = Tally::default();
    while tally.steps < steps_max {
        let from = tally.seeds.map_or(1, |(_, last)| last + 1);
        let extent = Extent::Runs(RUNS);
        let said = match seeds(Slice {
            from,
            every: 1,
            extent,
        }) {
            Ok(said) => said,
            Err(error) => return Verdict::Broken(format!("{error:#}")),
        };
        if said.tally.runs == 0 {
            return Verdict::Broken(format!("with {name}, no seed was run from {from} on"));
        }
        tally.add(said.tally);
        match said.failure {
            Some(failure) if tally.steps <= steps_max => return Verdict::Found { tally, failure },
            Some(_) => break,
            None => {}
        }
    }
    Verdict::Missed { tally }
}

fn count(counts: &mut Counts, name: &str, verdict: &Verdict) {
    let problem = match verdict {
        Verdict::Found { .. } => {
            counts.passed += 1;
            return;
        }
        Verdict::Missed { tally } => format!("the planted fault {name} was not found in {tally}"),
        Verdict::Broken(why) => format!("the planted fault {name}: {why}"),
    };
    counts.failed += 1;
    counts.failures.push(problem);
}

/// The rest of a row of the table.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found { tally, failure } => {
                let Failure { seed, what } = failure;
                let what = what.lines().next().unwrap_or_default();
                write!(f, "{:>9} {seed:>6}  {what}", tally.steps)
            }
            Self::Missed { tally } => write!(f, "{:>9} {:>6}  NOT FOUND", tally.steps, "-"),
            Self::Broken(why) => write!(f, "{:>9} {:>6}  FAILED: {why}", "-", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each slice has 500 runs of ten steps; the seed that fails is the last of its slice.
    fn slice_of(slice: Slice, fails: u64) -> Result<Said> {
        let last = (slice.from + RUNS - 1).min(fails.max(slice.from));
        let runs = last - slice.from + 1;
        let tally = Tally {
            steps: 10 * runs,
            runs,
            seeds: Some((slice.from, last)),
        };
        let what = "lost\nmore".to_owned();
        let failure = (last == fails).then_some(Failure { seed: fails, what });
        Ok(Said { tally, failure })
    }

    #[test]
    fn search_goes_on_until_the_seed_that_fails() {
        let verdict = search("a", 20_000, |slice| slice_of(slice, 1_200));
        let expected = format!("{:>9} {:>6}  lost", 12_000, 1_200);
        assert_eq!(verdict.to_string(), expected);
    }

    #[test]
    fn search_ends_at_the_limit_even_if_a_later_step_fails() {
        for steps_max in [11_999, 5_000] {
            let verdict = search("a", steps_max, |slice| slice_of(slice, 1_200));
            assert!(
                matches!(verdict, Verdict::Missed { .. }),
                "{steps_max}: {verdict}"
            );
        }
    }

    #[test]
    fn count_names_each_fault_that_was_not_found() {
        let mut counts = Counts::default();
        let found = search("a", 20_000, |slice| slice_of(slice, 7));
        let missed = search("b", 5_000, |slice| slice_of(slice, u64::MAX));
        let broken = search("c", 5_000, |_| bail!("it crashed"));
        for (name, verdict) in [("a", found), ("b", missed), ("c", broken)] {
            count(&mut counts, name, &verdict);
        }
        assert_eq!((counts.passed, counts.failed), (1, 2));
        let missed = "the planted fault b was not found in 5000 steps in 500 runs, seeds 1 to 500";
        assert_eq!(counts.failures, [missed, "the planted fault c: it crashed"]);
    }

    #[test]
    fn plant_in_a_file_that_does_not_exist_names_it() {
        let text = "# Why.\ncrates/hub/src/gone.rs\n----\na\n====\nPLANTED\n";
        let fault = Fault::read("a", text).unwrap();
        let error = plant(&fault, &mut Sources::new()).unwrap_err();
        assert_eq!(error.to_string(), "crates/hub/src/gone.rs does not exist");
    }

    #[test]
    fn faults_of_the_workspace_can_all_be_planted() {
        let mut sources = copy::read(root()).unwrap();
        for (_, fault) in faults(&root().join("simulation/faults")).unwrap() {
            plant(&fault.unwrap(), &mut sources).unwrap();
        }
    }
}
