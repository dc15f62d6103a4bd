//! What a process of the simulation prints, read, and the sum of several of them.

use anyhow::{Context, Result};

/// How much was simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps of all cores of the simulated machines.
    pub steps: u64,
    pub runs: u64,
    /// The lowest and the highest seed; `None` before the first run.
    pub seeds: Option<(u64, u64)>,
}

/// A seed whose run shows a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub seed: u64,
    pub what: String,
}

/// What `simulation seeds` has come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub tally: Tally,
    pub failure: Option<Failure>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.runs += other.runs;
        self.seeds = match (self.seeds, other.seeds) {
            (Some((low, high)), Some((first, last))) => Some((low.min(first), high.max(last))),
            (seeds, None) => seeds,
            (None, seeds) => seeds,
        };
    }

    /// Reads `698048 steps in 524 runs, seeds 1 to 524`, which more may follow.
    fn read(line: &str) -> Option<Self> {
        let (steps, rest) = line.split_once(" steps in ")?;
        let (runs, rest) = rest.split_once(" runs, seeds ")?;
        let seeds = rest.split(',').next()?;
        let (first, last) = seeds.split_once(" to ")?;
        Some(Self {
            steps: steps.parse().ok()?,
            runs: runs.parse().ok()?,
            seeds: Some((first.parse().ok()?, last.parse().ok()?)),
        })
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { steps, runs, .. } = self;
        write!(f, "{steps} steps in {runs} runs")?;
        match self.seeds {
            Some((low, high)) => write!(f, ", seeds {low} to {high}"),
            None => Ok(()),
        }
    }
}

impl Said {
    /// Reads the output of a process. What went wrong may take several lines, since a panic's
    /// message does.
    pub fn read(output: &str) -> Result<Self> {
        let lines: Vec<_> = output.lines().collect();
        let place = lines.iter().position(|line| Tally::read(line).is_some());
        let place = place.context("the simulation printed no sum of its steps")?;
        let tally = Tally::read(lines[place]).expect("this line is one");
        let start = lines[..place]
            .iter()
            .position(|line| of_seed(line).is_some());
        let failure = start.map(|start| {
            let (seed, first) = of_seed(lines[start]).expect("this line is one");
            let what = [&[first], &lines[start + 1..place]].concat().join("\n");
            Failure { seed, what }
        });
        Ok(Self { tally, failure })
    }
}

/// Reads `seed 23 fails: WHAT`.
fn of_seed(line: &str) -> Option<(u64, &str)> {
    let (seed, what) = line.strip_prefix("seed ")?.split_once(" fails: ")?;
    Some((seed.parse().ok()?, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(steps: u64, runs: u64, low: u64, high: u64) -> Tally {
        let seeds = Some((low, high));
        Tally { steps, runs, seeds }
    }

    #[test]
    fn said_without_a_fault_has_its_tally() {
        let output = "698048 steps in 524 runs, seeds 1 to 524, 2 virtual hours: no fault\n";
        let said = Said::read(output).unwrap();
        assert_eq!(said.tally, tally(698_048, 524, 1, 524));
        assert_eq!(said.failure, None);
    }

    #[test]
    fn said_of_a_fault_has_its_seed_and_all_its_lines() {
        let output = "thread 'main' panicked at x.rs:1:2:\nleft\nseed 23 fails: a core panicked: left\n  \
            right (step 7, 9 µs)\n24407 steps in 23 runs, seeds 1 to 23\nx.script has 3 steps: left\n";
        let said = Said::read(output).unwrap();
        assert_eq!(said.tally, tally(24_407, 23, 1, 23));
        let failure = said.failure.unwrap();
        assert_eq!(failure.seed, 23);
        assert_eq!(
            failure.what,
            "a core panicked: left\n  right (step 7, 9 µs)"
        );
    }

    #[test]
    fn said_by_a_process_that_crashed_is_an_error() {
        for output in [
            "",
            "error: no memory\n",
            "7 steps in x runs, seeds 1 to 2\n",
        ] {
            assert!(Said::read(output).is_err(), "{output}");
        }
    }

    #[test]
    fn tally_of_several_processes_is_their_sum() {
        let mut sum = Tally::default();
        assert_eq!(sum.to_string(), "0 steps in 0 runs");
        for part in [tally(10, 2, 6, 8), tally(30, 3, 5, 9), Tally::default()] {
            sum.add(part);
        }
        assert_eq!(sum, tally(40, 5, 5, 9));
        assert_eq!(sum.to_string(), "40 steps in 5 runs, seeds 5 to 9");
    }
}
