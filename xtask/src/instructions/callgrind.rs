//! Runs a scenario of the simulation under callgrind, and reads how many instructions the core took.

use super::Scenario;
use crate::process::stdout_of;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where callgrind begins and ceases to count, as patterns of function names: it counts in the poll of a
/// core's task, and not in what that asks of the simulated machine. `simulation/src/world/` keeps these names.
const TOGGLES: [&str; 2] = [
    "simulation::world::poll_core*",
    "<simulation::world::World as runtime::kernel::simulated::World>::*",
];

/// How the scenarios of one build are counted.
pub struct Callgrind<'a> {
    pub valgrind: &'a Path,
    /// The simulation that was built.
    pub program: PathBuf,
    /// Where its profiles are left, for `callgrind_annotate`.
    pub profiles: &'a Path,
    /// What their names begin with.
    pub side: &'a str,
}

/// What one run of a scenario took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    instructions: u64,
    units: u64,
}

impl Callgrind<'_> {
    /// The instructions of one unit: what a run of twice the length takes more, so that what both take at
    /// their beginning and end does not count.
    pub fn of_unit(&self, scenario: &Scenario) -> Result<f64> {
        let once = self.run(scenario.name, scenario.times);
        let twice = self.run(scenario.name, 2 * scenario.times);
        per_unit(once?, twice?).with_context(|| scenario.name.to_owned())
    }

    fn run(&self, scenario: &str, times: usize) -> Result<Cost> {
        let profile = format!("{}-{scenario}-{times}.callgrind", self.side);
        let profile = self.profiles.join(profile);
        let mut command = Command::new(self.valgrind);
        command.args(["--tool=callgrind", "--quiet"]);
        command.args(TOGGLES.map(|function| format!("--toggle-collect={function}")));
        command.arg(format!("--callgrind-out-file={}", profile.display()));
        command.arg(&self.program);
        command.args(["count", scenario, "--times", &times.to_string()]);
        // What is logged is not what is counted.
        command.env_remove("RUST_LOG");
        let units = stdout_of(&mut command)?;
        let text = std::fs::read_to_string(&profile)
            .with_context(|| format!("callgrind has not written {}", profile.display()))?;
        Ok(Cost {
            instructions: instructions_in(&text)?,
            units: units.trim().parse().context("no number of units")?,
        })
    }
}

fn per_unit(once: Cost, twice: Cost) -> Result<f64> {
    let instructions = twice.instructions.checked_sub(once.instructions);
    let units = twice.units.checked_sub(once.units);
    match (instructions, units) {
        (Some(instructions), Some(units)) if instructions > 0 && units > 0 => {
            Ok(instructions as f64 / units as f64)
        }
        _ => anyhow::bail!(
            "nothing was counted ({once:?}, then {twice:?}): does the simulation still have \
             the functions {TOGGLES:?}?"
        ),
    }
}

/// Reads the sum of a profile, whose only event must be the execution of an instruction (callgrind's manual,
/// "Callgrind Format Specification").
fn instructions_in(profile: &str) -> Result<u64> {
    let value_of = |key: &str| {
        let value = profile.lines().find_map(|line| line.strip_prefix(key));
        value.map(str::trim)
    };
    let events = value_of("events:").context("the profile names no events")?;
    ensure!(events == "Ir", "the profile counts {events}, not Ir alone");
    let sum = value_of("totals:").context("the profile has no sum")?;
    sum.parse()
        .with_context(|| format!("the profile's sum is no number: {sum:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 7\n\
        cmd: simulation count sweep --times 4\npart: 1\n\n\ndesc: Trigger: Program termination\n\n\
        positions: line\nevents: Ir\nsummary: 90\n\n\nob=(1) simulation\nfl=(1) actor.rs\n\
        fn=(1) attend\n16 70\ncfn=(2) flush\ncalls=3 12\n17 20\n\ntotals: 90\n";

    #[test]
    fn instructions_are_the_sum_of_a_whole_profile_of_that_event_alone() {
        assert_eq!(instructions_in(PROFILE).unwrap(), 90);
        for (part, other, why) in [
            ("events: Ir", "events: Ir Dr", "Ir Dr"),
            ("events: Ir\n", "", "no events"),
            ("totals: 90\n", "", "no sum"),
            ("totals: 90", "totals: many", "many"),
        ] {
            let profile = PROFILE.replace(part, other);
            let error = format!("{:#}", instructions_in(&profile).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn unit_costs_what_the_longer_run_takes_more() {
        let cost = |instructions, units| Cost {
            instructions,
            units,
        };
        let unit = per_unit(cost(1_000, 10), cost(1_250, 20)).unwrap();
        assert!((unit - 25.0).abs() < 1e-9, "{unit}");
        for (once, twice) in [
            (cost(0, 10), cost(0, 20)),
            (cost(1_000, 10), cost(1_250, 10)),
            (cost(1_000, 10), cost(900, 20)),
        ] {
            let error = per_unit(once, twice).unwrap_err().to_string();
            assert!(error.contains("nothing was counted"), "{error}");
        }
    }
}
