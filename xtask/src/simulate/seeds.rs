//! Runs seeds for a while, in one process for each processor, and stops at the first fault.

use super::program::{Extent, MANIFEST, Program, Slice, home};
use super::tally::{Failure, Said, Tally};
use anyhow::{Context, Result};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// A process ends after so long, and the next goes on: all stop soon after the first fault, and the
/// sum that is shown is of now.
const SLICE: Duration = Duration::from_secs(5);

/// Seeds that are drawn lie below this, since people write them down.
const SEED_DRAWN_MAX: u64 = 1_000_000_000;

/// Which seeds are run, and for how long.
#[derive(Clone, Copy)]
pub struct Search {
    pub from: u64,
    pub time: Duration,
    pub processes: usize,
}

/// What a search has come to.
#[derive(Default)]
pub struct Searched {
    pub tally: Tally,
    /// What fails, and the script that was cut down.
    pub faults: Vec<(Failure, PathBuf)>,
    /// What kept a process from telling anything.
    problem: Option<anyhow::Error>,
}

/// A seed that differs from run to run.
pub fn drawn() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.expect("the clock is past 1970").as_micros();
    (since % u128::from(SEED_DRAWN_MAX)) as u64
}

impl Search {
    /// Runs the seeds, says how far it is, and says at the end what was found.
    pub fn run(&self, program: &Program) -> Result<Searched> {
        let Self {
            from,
            time,
            processes,
        } = self;
        let seconds = time.as_secs();
        println!("-- {seconds} s from seed {from}, in {processes} process(es)");
        let (searched, started) = (Mutex::new(Searched::default()), Instant::now());
        let mut progress = Progress::new();
        thread::scope(|scope| {
            let start = |index| {
                let searched = &searched;
                scope.spawn(move || self.process(program, index, started, searched))
            };
            let running: Vec<_> = (0..*processes).map(start).collect();
            while running.iter().any(|process| !process.is_finished()) {
                thread::sleep(Duration::from_millis(200));
                progress.show(started.elapsed(), *time, locked(&searched).tally);
            }
        });
        progress.end();
        let mut searched = searched.into_inner().expect("no process panics");
        if let Some(problem) = searched.problem.take() {
            return Err(problem);
        }
        println!("{}, {} fault(s)", searched.tally, searched.faults.len());
        for (failure, script) in &searched.faults {
            println!("{}", told(failure, script)?);
        }
        Ok(searched)
    }

    /// One process after the other, each going on where the last one ended.
    fn process(&self, program: &Program, index: usize, started: Instant, all: &Mutex<Searched>) {
        let name = format!("seeds-{index}");
        let every = self.processes as u64;
        let mut from = self.from + index as u64;
        loop {
            let left = self.time.saturating_sub(started.elapsed());
            let is_over = left.is_zero() || locked(all).has_ended();
            if is_over {
                return;
            }
            let extent = Extent::For(left.min(SLICE));
            let slice = Slice {
                from,
                every,
                extent,
            };
            let said = program.seeds(slice, &name, |_| {});
            let script = program.file(&name, "script");
            let mut all = locked(all);
            match said.and_then(|said| all.add(said, &script)) {
                Ok(last) => from = last + every,
                Err(problem) => all.problem = Some(problem),
            }
        }
    }
}

impl Searched {
    fn has_ended(&self) -> bool {
        !self.faults.is_empty() || self.problem.is_some()
    }

    /// Adds what a process said, and returns its last seed.
    fn add(&mut self, said: Said, script: &Path) -> Result<u64> {
        let (_, last) = said
            .tally
            .seeds
            .context("a process of the simulation ran no seed")?;
        self.tally.add(said.tally);
        if let Some(failure) = said.failure {
            // The next search writes to the same file.
            let kept = script.with_file_name(format!("seed-{}.script", failure.seed));
            std::fs::rename(script, &kept)
                .with_context(|| format!("seed {} fails: {}", failure.seed, failure.what))?;
            self.faults.push((failure, kept));
        }
        Ok(last)
    }
}

/// What fails, and how to see it again.
pub fn told(failure: &Failure, script: &Path) -> Result<String> {
    let Failure { seed, what } = failure;
    let (script, home) = (script.display(), home()?);
    let home = home.display();
    Ok(format!(
        "seed {seed} fails: {what}\n  the script that was cut down: {script}\n  to replay it: \
         cargo run --manifest-path {MANIFEST} --target-dir {home} -- script {script}"
    ))
}

fn locked(searched: &Mutex<Searched>) -> std::sync::MutexGuard<'_, Searched> {
    searched.lock().expect("no process panics")
}

/// One line that is written over, on a terminal; elsewhere a line from time to time.
struct Progress {
    is_terminal: bool,
    next: Duration,
}

impl Progress {
    fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let next = Self::interval(is_terminal);
        Self { is_terminal, next }
    }

    fn interval(is_terminal: bool) -> Duration {
        Duration::from_secs(if is_terminal { 1 } else { 60 })
    }

    fn show(&mut self, elapsed: Duration, whole: Duration, tally: Tally) {
        if elapsed < self.next {
            return;
        }
        self.next = elapsed + Self::interval(self.is_terminal);
        let (elapsed, whole) = (elapsed.as_secs(), whole.as_secs());
        let line = format!("{elapsed} of {whole} s: {tally}");
        match self.is_terminal {
            // Erases to the end of the line, since the last one may have been longer.
            true => print!("\r{line}\x1b[K"),
            false => println!("{line}"),
        }
        // Progress that cannot be shown is no reason to stop.
        let _ = std::io::stdout().flush();
    }

    fn end(&self) {
        if self.is_terminal {
            print!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSED: &str = "20 steps in 2 runs, seeds 3 to 5, 0 virtual hours: no fault\n";
    const FAILED: &str = "seed 8 fails: lost (step 3, 9 µs)\n30 steps in 3 runs, seeds 4 to 8\n";

    #[test]
    fn searched_sums_up_and_keeps_the_script_of_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("seeds-0.script");
        std::fs::write(&script, "8\n").unwrap();
        let mut searched = Searched::default();
        let last = searched.add(Said::read(PASSED).unwrap(), &script);
        assert_eq!(last.unwrap(), 5);
        assert!(!searched.has_ended());
        assert_eq!(
            searched.add(Said::read(FAILED).unwrap(), &script).unwrap(),
            8
        );
        assert!(searched.has_ended());
        assert_eq!(
            searched.tally.to_string(),
            "50 steps in 5 runs, seeds 3 to 8"
        );
        let (failure, kept) = &searched.faults[0];
        assert_eq!(kept, &directory.path().join("seed-8.script"));
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "8\n");
        let told = told(failure, kept).unwrap();
        for part in ["seed 8 fails: lost", "seed-8.script", " -- script /"] {
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn searched_fault_without_a_script_is_an_error_that_says_what_fails() {
        let script = Path::new("/no/such/seeds-0.script");
        let error = Searched::default().add(Said::read(FAILED).unwrap(), script);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("seed 8 fails: lost")
        );
    }
}
