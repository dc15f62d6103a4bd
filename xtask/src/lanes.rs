//! Runs steps in parallel, each in its own process, whose whole output is printed when it ends.
//!
//! ```text
//!  next ──▶ `xtask step NAME` ──▶ target/steps/NAME.log ──▶ printed when it has ended
//!   ▲                        └──▶ target/steps/NAME.json ─▶ its outcome
//!   └──────────── a lane is free, and what the step needs has ended
//! ```

use crate::process::Guarded;
use crate::report::Outcome;
use crate::steps::{Extent, Lane, Step};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Whether all steps are in one lane, so that nothing would run in parallel.
pub fn are_one(steps: &[Step]) -> bool {
    steps.windows(2).all(|pair| pair[0].lane == pair[1].lane)
}

/// Runs all steps. If one fails, the others still run, even those that need it.
pub fn run(steps: &[Step], extent: Extent) -> Result<Vec<Outcome>> {
    let home = workspace::target_directory()?.join("steps");
    // The files of an earlier run must not be taken for this one's.
    if home.exists() {
        std::fs::remove_dir_all(&home)?;
    }
    std::fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    println!(
        "the output of each step is in {} while it runs",
        home.display()
    );
    let start = |step: &Step| Running::start(step, &own_program(), &home, steps, extent);
    scheduled(steps, start)
}

/// The program of this process. Cargo replaces the file when it builds the workspace, but this path
/// still leads to the running program.
fn own_program() -> PathBuf {
    format!("/proc/{}/exe", std::process::id()).into()
}

fn scheduled(steps: &[Step], start: impl Fn(&Step) -> Result<Running>) -> Result<Vec<Outcome>> {
    let mut running: Vec<Running> = Vec::new();
    let mut outcomes: Vec<Outcome> = Vec::new();
    while outcomes.len() < steps.len() {
        let done: Vec<_> = outcomes.iter().map(|outcome| outcome.step).collect();
        let busy: Vec<_> = running.iter().map(|it| (it.step, it.lane)).collect();
        if let Some(step) = next(steps, &done, &busy) {
            running.push(start(step)?);
            continue;
        }
        std::thread::sleep(Duration::from_millis(50));
        for index in (0..running.len()).rev() {
            if let Some(status) = running[index].child.ended()? {
                outcomes.push(running.swap_remove(index).end(status));
            }
        }
    }
    let place = |outcome: &Outcome| steps.iter().position(|step| step.name == outcome.step);
    outcomes.sort_by_key(place);
    Ok(outcomes)
}

/// The first step whose lane is free, and whose needs have ended or were not selected.
pub fn next<'a>(steps: &'a [Step], done: &[&str], busy: &[(&str, Lane)]) -> Option<&'a Step> {
    let waits_for =
        |need: &str| steps.iter().any(|step| step.name == need) && !done.contains(&need);
    steps.iter().find(|step| {
        let free = busy.iter().all(|(_, lane)| *lane != step.lane);
        free && !done.contains(&step.name) && !step.needs.iter().any(|need| waits_for(need))
    })
}

/// A step in its process, which is killed when this is dropped.
struct Running {
    step: &'static str,
    lane: Lane,
    child: Guarded,
    started: Instant,
    log: PathBuf,
    outcome: PathBuf,
}

impl Running {
    fn start(
        step: &Step,
        program: &Path,
        home: &Path,
        chosen: &[Step],
        extent: Extent,
    ) -> Result<Self> {
        let log = home.join(format!("{}.log", step.name));
        let outcome = home.join(format!("{}.json", step.name));
        if outcome.exists() {
            std::fs::remove_file(&outcome)?;
        }
        let mut command = Command::new("nice");
        command
            .args(["-n", &step.lane.niceness().to_string()])
            .arg(program);
        let names: Vec<_> = chosen.iter().map(|step| step.name).collect();
        command.args(["step", step.name, "--chosen", &names.join(",")]);
        command.args(["--fuzz-seconds", &extent.fuzz_seconds.to_string()]);
        command.args(["--simulate-seconds", &extent.simulate_seconds.to_string()]);
        command.args(extent.full.then_some("--full"));
        command.arg("--outcome").arg(&outcome);
        let output =
            File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start step {}", step.name))?;
        println!("-- {} starts", step.name);
        Ok(Self {
            step: step.name,
            lane: step.lane,
            child: Guarded(child),
            started: Instant::now(),
            log,
            outcome,
        })
    }

    /// Prints the whole output of the step.
    fn end(self, status: ExitStatus) -> Outcome {
        let said = std::fs::read(&self.log).unwrap_or_default();
        print!("{}", String::from_utf8_lossy(&said));
        let took = self.started.elapsed();
        let written = std::fs::read_to_string(&self.outcome).context("it wrote no outcome");
        match written.and_then(|json| Outcome::from_json(self.step, &json, took)) {
            Ok(outcome) => outcome,
            Err(error) => {
                let error = error.context(format!("the step's process ended with {status}"));
                Outcome::new(self.step, Err(error), took).shown()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;
    use crate::steps::step;
    use std::os::unix::fs::PermissionsExt;

    const EXTENT: Extent = Extent {
        full: false,
        fuzz_seconds: 1,
        simulate_seconds: 1,
    };

    fn named(name: &'static str, lane: Lane) -> Step {
        step(name, lane, || Ok(Counts::default()))
    }

    /// Runs steps whose processes execute this script; returns their outcomes. The script finds its
    /// step's name in `$2`, the file for its outcome in `${10}`, and itself in the returned directory.
    fn ran(steps: &[Step], script: &str) -> (tempfile::TempDir, Vec<Outcome>) {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("program");
        let script = format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{script}\n");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let start = |step: &Step| Running::start(step, &program, home.path(), steps, EXTENT);
        let outcomes = scheduled(steps, start).unwrap();
        (home, outcomes)
    }

    #[test]
    fn scheduled_lanes_run_beside_each_other_and_a_need_before_who_needs_it() {
        let steps = [
            named("first", Lane::Deadlines),
            named("last", Lane::Deadlines).needs(&["beside"]),
            named("beside", Lane::Computing),
        ];
        // The first script ends only after the one beside it has begun, and that ends only after
        // the first.
        let script = r#"
            echo "$2 begins" >>order
            await() { for i in $(seq 200); do grep -q "$1" order && return; sleep 0.05; done; exit 1; }
            test $2 = first && await "beside begins"
            test $2 = beside && await "first ends"
            echo "$2 ends" >>order
            echo '{"passed":1,"failed":0,"worked_seconds":0.5}' >"${10}""#;
        let (home, outcomes) = ran(&steps, script);
        let order = std::fs::read_to_string(home.path().join("order")).unwrap();
        let lines: Vec<_> = order.lines().skip(2).collect();
        assert_eq!(
            lines,
            ["first ends", "beside ends", "last begins", "last ends"]
        );
        let names: Vec<_> = outcomes.iter().map(|outcome| outcome.step).collect();
        assert_eq!(names, ["first", "last", "beside"]);
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.counts == Counts::of(1, 0))
        );
    }

    #[test]
    fn scheduled_step_that_fails_or_dies_is_told_and_others_still_run() {
        let steps = [
            named("dies", Lane::Deadlines),
            named("fails", Lane::Deadlines),
            named("works", Lane::Deadlines).needs(&["dies", "fails", "not chosen"]),
        ];
        let script = r#"
            test $2 = dies && kill -9 $$
            test $2 = works && echo '{"passed":2,"failed":0,"worked_seconds":0.5}' >"${10}"
            test $2 = fails && echo '{"passed":2,"failed":1,"failures":["a"],"problem":"b","worked_seconds":0.5}' >"${10}""#;
        let (_home, outcomes) = ran(&steps, script);
        let [dies, fails, works] = &outcomes[..] else {
            panic!("{} outcomes", outcomes.len());
        };
        assert!(
            dies.problem.as_ref().unwrap().contains("signal: 9"),
            "{:?}",
            dies.problem
        );
        assert!(!dies.succeeded() && !fails.succeeded() && works.succeeded());
        assert_eq!(
            (&fails.counts.failures[..], fails.problem.as_deref()),
            (&["a".to_owned()][..], Some("b"))
        );
    }

    #[test]
    fn are_one_lane_is_no_reason_for_processes() {
        let lanes = |lanes: &[Lane]| {
            lanes
                .iter()
                .map(|lane| named("x", *lane))
                .collect::<Vec<_>>()
        };
        assert!(are_one(&lanes(&[Lane::Deadlines, Lane::Deadlines])));
        assert!(!are_one(&lanes(&[Lane::Deadlines, Lane::Computing])));
        assert!(are_one(&[]));
    }
}
