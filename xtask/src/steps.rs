//! The steps of `cargo xtask test`: what each needs, and beside which others it runs.
//!
//! ```text
//!  lane        one step after the other, from left to right
//!  tools       tools
//!  deadlines   test-build ─ test ─ autobahn-io_uring ─ autobahn-epoll
//!  release     build ─ browser ─ sdk ─ api ─ deploy ─ bench ─ verify
//!  computing   fmt ─ tidy ─ fuzz ─ instructions ─ simulate ─ clippy ─ docs   (yields to all others)
//! ```

use crate::autobahn::{self, Driver};
use crate::lanes;
use crate::process::processor_time;
use crate::report::{Counts, Outcome, summary};
use crate::workspace::Optimised;
use crate::{api, bench, browser, cargo, deploy, fuzz, instructions, sdk, simulate, tidy};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
#[command(
    after_help = "Steps: tools, fmt, clippy, tidy, test-build, test, docs, build, autobahn-io_uring, \
                  autobahn-epoll, browser, sdk, api, deploy, bench, verify, fuzz, simulate, instructions. What stands \
                  before a dash names all of its family, so that `autobahn` is both drivers."
)]
pub struct TestArguments {
    /// Run only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these steps out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<String>,
    #[command(flatten)]
    extent: Extent,
}

/// How much the steps do.
#[derive(Args, Clone, Copy)]
pub struct Extent {
    /// All 517 Autobahn cases on each driver (six minutes each, or more) instead of the fast 373, the
    /// server as it is shipped (link-time optimisation, some five minutes), instructions counted under
    /// valgrind (some six minutes of building), and the SDKs of Rust, and of Go and Java where their toolchains are
    #[arg(long)]
    pub full: bool,
    /// Fuzz for this long, all targets together: each gets an even share, and ten seconds at least
    #[arg(long, value_name = "SECONDS", default_value_t = 240)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub fuzz_seconds: u64,
    /// Simulate random seeds for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub simulate_seconds: u64,
}

/// One step in a process of its own, as `cargo xtask test` starts it.
#[derive(Args)]
pub struct StepArguments {
    name: String,
    /// Where to write how it ended
    #[arg(long)]
    outcome: PathBuf,
    /// The steps of the whole run
    #[arg(long, value_delimiter = ',')]
    chosen: Vec<String>,
    #[command(flatten)]
    extent: Extent,
}

/// Steps of one lane run one after the other, each lane beside the others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Downloads what other steps need, which leaves the processors to the compiling steps.
    Tools,
    /// The tests of all crates, and the suites that load a server.
    Deadlines,
    /// The optimised build, and the suites that mostly wait.
    Release,
    /// Steps that only the end of the run waits for.
    Computing,
}

impl Lane {
    /// The increment of `nice`, by which a lane yields to those with a lower one: if two steps
    /// compete for a processor, one that is 5 higher gets a quarter of it, and one that is 10
    /// higher a tenth.
    pub fn niceness(self) -> u8 {
        match self {
            Self::Deadlines | Self::Release => 0,
            Self::Tools => 5,
            Self::Computing => 10,
        }
    }
}

pub struct Step {
    pub name: &'static str,
    pub lane: Lane,
    /// Steps that run before this one, if they were selected too.
    pub needs: &'static [&'static str],
    /// Installs the tools of the step that are missing.
    tools: fn() -> Result<()>,
    run: Box<dyn Fn() -> Result<Counts>>,
}

/// A step that needs no other steps and no tools.
pub fn step(name: &'static str, lane: Lane, run: impl Fn() -> Result<Counts> + 'static) -> Step {
    Step {
        name,
        lane,
        needs: &[],
        tools: || Ok(()),
        run: Box::new(run),
    }
}

impl Step {
    pub fn needs(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    fn tools(self, tools: fn() -> Result<()>) -> Self {
        Self { tools, ..self }
    }
}

/// `cargo xtask test`.
pub fn test(arguments: &TestArguments) -> Result<bool> {
    let steps = select(all(arguments.extent), arguments)?;
    if lanes::are_one(&steps) {
        return Ok(in_order(&steps));
    }
    let outcomes = lanes::run(&steps, arguments.extent)?;
    Ok(told(&outcomes))
}

/// `cargo xtask check`.
pub fn check() -> Result<bool> {
    Ok(in_order(&quick()))
}

/// `cargo xtask step`, which only `cargo xtask test` calls.
pub fn one(arguments: &StepArguments) -> Result<bool> {
    let steps = all(arguments.extent);
    let outcome = match arguments.name.as_str() {
        TOOLS => fetched(&steps, &arguments.chosen),
        name => {
            let step = steps.iter().find(|step| step.name == name);
            of(step.with_context(|| format!("no step is called {name}"))?)
        }
    };
    std::fs::write(&arguments.outcome, outcome.to_json())?;
    Ok(outcome.succeeded())
}

fn quick() -> Vec<Step> {
    vec![
        step("fmt", Lane::Computing, cargo::fmt),
        step("clippy", Lane::Computing, cargo::clippy),
        step("tidy", Lane::Computing, tidy::step),
        step("test", Lane::Deadlines, cargo::test),
    ]
}

/// The step that installs the tools of the others.
const TOOLS: &str = "tools";

/// In each lane, the steps that others wait for come first.
fn all(extent: Extent) -> Vec<Step> {
    use Lane::{Computing, Deadlines, Release, Tools};
    let autobahn = |driver| move || autobahn::step(driver, extent.full);
    let needs: &[_] = &["build", TOOLS];
    let server = Optimised::of(extent.full);
    vec![
        step(TOOLS, Tools, || Ok(Counts::default())),
        step("test-build", Deadlines, cargo::test_build),
        step("test", Deadlines, cargo::test_optimised)
            .needs(&["test-build", "build", TOOLS])
            .tools(cargo::test_tools),
        step("autobahn-io_uring", Deadlines, autobahn(Driver::IoUring))
            .needs(needs)
            .tools(autobahn::tools),
        step("autobahn-epoll", Deadlines, autobahn(Driver::Epoll))
            .needs(needs)
            .tools(autobahn::tools),
        step("build", Release, move || cargo::build(server)),
        step("browser", Release, move || browser::step(server))
            .needs(needs)
            .tools(browser::tools),
        step("sdk", Release, move || sdk::step(server, extent.full))
            .needs(needs)
            .tools(sdk::tools),
        step("api", Release, move || api::step(server))
            .needs(needs)
            .tools(api::tools),
        step("deploy", Release, move || deploy::step(server))
            .needs(needs)
            .tools(deploy::tools),
        step("bench", Release, move || bench::step(server)).needs(&["build", "test-build"]),
        step("verify", Release, move || bench::verify(server)).needs(&["build", "test-build"]),
        step("fmt", Computing, cargo::fmt),
        step("tidy", Computing, tidy::step),
        step("fuzz", Computing, move || fuzz::step(extent.fuzz_seconds))
            .needs(&[TOOLS])
            .tools(fuzz::tools),
        step("instructions", Computing, move || {
            instructions::step(extent.full)
        })
        .needs(&[TOOLS]),
        // These come after `test`, which would otherwise wait for them to release the target
        // directory.
        step("simulate", Computing, move || {
            simulate::step(extent.simulate_seconds)
        })
        .needs(&["test"]),
        step("clippy", Computing, cargo::clippy).needs(&["test"]),
        step("docs", Computing, cargo::docs).needs(&["test"]),
    ]
}

fn select(mut steps: Vec<Step>, arguments: &TestArguments) -> Result<Vec<Step>> {
    for chosen in arguments.only.iter().chain(&arguments.skip) {
        let chosen = std::slice::from_ref(chosen);
        if !steps.iter().any(|step| names(chosen, step.name)) {
            let known: Vec<_> = steps.iter().map(|step| step.name).collect();
            bail!(
                "no step is called {}; there are: {}",
                chosen[0],
                known.join(", ")
            );
        }
    }
    steps.retain(|step| {
        let wanted = arguments.only.is_empty() || names(&arguments.only, step.name);
        wanted && !names(&arguments.skip, step.name)
    });
    Ok(steps)
}

/// Whether the list has the step's name, or the part before its dash.
fn names(list: &[String], step: &str) -> bool {
    let family = step.split('-').next();
    list.iter()
        .any(|name| name == step || Some(name.as_str()) == family)
}

/// Runs steps in this process, printing their output as it arrives. If one fails, the others still
/// run.
fn in_order(steps: &[Step]) -> bool {
    let outcomes: Vec<_> = steps.iter().map(of).collect();
    told(&outcomes)
}

fn told(outcomes: &[Outcome]) -> bool {
    println!("\n{}", summary(outcomes));
    outcomes.iter().all(Outcome::succeeded)
}

fn of(step: &Step) -> Outcome {
    println!("\n==== {}", step.name);
    measured(step.name, &step.run)
}

/// Installs the tools of the selected steps. An installation that fails is not a failure of this
/// step: the step that needs the tool tries again, and reports what is missing.
fn fetched(steps: &[Step], chosen: &[String]) -> Outcome {
    println!("\n==== {TOOLS}");
    measured(TOOLS, || {
        for step in steps
            .iter()
            .filter(|step| chosen.iter().any(|name| name == step.name))
        {
            if let Err(error) = (step.tools)() {
                println!("{}: {error:#}", step.name);
            }
        }
        Ok(Counts::default())
    })
}

fn measured(step: &'static str, run: impl FnOnce() -> Result<Counts>) -> Outcome {
    let (started, worked_before) = (Instant::now(), processor_time());
    let result = run();
    let worked = processor_time().saturating_sub(worked_before);
    Outcome::new(step, result, started.elapsed())
        .worked(worked)
        .shown()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent {
        full: false,
        fuzz_seconds: 1,
        simulate_seconds: 1,
    };

    fn selected(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let arguments = TestArguments {
            only: owned(only),
            skip: owned(skip),
            extent: EXTENT,
        };
        let steps = select(all(EXTENT), &arguments)?;
        Ok(steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn select_family_takes_both_drivers() {
        let both = ["autobahn-io_uring", "autobahn-epoll"];
        assert_eq!(selected(&["autobahn"], &[]).unwrap(), both);
        assert_eq!(
            selected(&["fmt", "autobahn"], &["autobahn-epoll"]).unwrap(),
            ["autobahn-io_uring", "fmt"]
        );
    }

    #[test]
    fn select_everything_takes_all_that_is_quick_and_fuzzing_too() {
        let everything = selected(&[], &[]).unwrap();
        assert!(everything.contains(&"fuzz") && everything.contains(&"simulate"));
        assert!(quick().iter().all(|step| everything.contains(&step.name)));
        assert!(!selected(&[], &["fuzz"]).unwrap().contains(&"fuzz"));
    }

    #[test]
    fn select_unknown_step_is_an_error() {
        let error = selected(&[], &["clipy"]).unwrap_err().to_string();
        assert!(
            error.contains("clipy") && error.contains("clippy"),
            "{error}"
        );
    }

    #[test]
    fn needs_of_all_steps_exist_and_never_form_a_circle() {
        let steps = all(EXTENT);
        let mut done: Vec<&str> = Vec::new();
        while let Some(step) = lanes::next(&steps, &done, &[]) {
            done.push(step.name);
        }
        assert_eq!(done.len(), steps.len(), "{done:?}");
        for need in steps.iter().flat_map(|step| step.needs) {
            assert!(done.contains(need), "{need}");
        }
    }

    #[test]
    fn in_order_failed_step_fails_the_whole_and_later_ones_still_run() {
        let ran = std::rc::Rc::new(std::cell::Cell::new(false));
        let seen = ran.clone();
        let steps = [
            step("bad", Lane::Deadlines, || bail!("planted")),
            step("good", Lane::Deadlines, move || {
                seen.set(true);
                Ok(Counts::default())
            }),
        ];
        assert!(!in_order(&steps));
        assert!(ran.get());
    }
}
