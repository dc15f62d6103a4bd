//! Runs the chosen steps one after the other; a failed one does not keep the others from running.

use crate::autobahn::{self, Driver};
use crate::report::{Counts, Outcome, summary};
use crate::{bench, browser, cargo, deploy, fuzz, tidy};
use anyhow::{Result, bail};
use clap::Args;
use std::time::Instant;

#[derive(Args)]
#[command(
    after_help = "Steps: fmt, clippy, tidy, test, docs, build, autobahn-io_uring, autobahn-epoll \
                  (`autobahn` stands for both), browser, deploy, bench, fuzz."
)]
pub struct TestArguments {
    /// Run only these steps
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave these steps out
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    skip: Vec<String>,
    /// All 517 Autobahn cases on each driver (six minutes each, or more) instead of the fast 373
    #[arg(long)]
    full: bool,
    /// Run each fuzz target for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    fuzz_seconds: u64,
}

struct Step {
    name: &'static str,
    run: Box<dyn Fn() -> Result<Counts>>,
}

fn step(name: &'static str, run: impl Fn() -> Result<Counts> + 'static) -> Step {
    Step {
        name,
        run: Box::new(run),
    }
}

/// `cargo xtask test`.
pub fn test(arguments: &TestArguments) -> Result<bool> {
    Ok(run(select(all(arguments), arguments)?))
}

/// `cargo xtask check`.
pub fn check() -> Result<bool> {
    Ok(run(quick()))
}

fn quick() -> Vec<Step> {
    vec![
        step("fmt", cargo::fmt),
        step("clippy", cargo::clippy),
        step("tidy", tidy::step),
        step("test", cargo::test),
    ]
}

fn all(arguments: &TestArguments) -> Vec<Step> {
    let (full, fuzz_seconds) = (arguments.full, arguments.fuzz_seconds);
    let mut steps = quick();
    steps.extend([
        step("docs", cargo::docs),
        step("build", cargo::build),
        step("autobahn-io_uring", move || {
            autobahn::step(Driver::IoUring, full)
        }),
        step("autobahn-epoll", move || {
            autobahn::step(Driver::Epoll, full)
        }),
        step("browser", browser::step),
        step("deploy", deploy::step),
        step("bench", bench::step),
        step("fuzz", move || fuzz::step(fuzz_seconds)),
    ]);
    steps
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

/// True when the list holds the step's name, or what stands before its dash.
fn names(list: &[String], step: &str) -> bool {
    let family = step.split('-').next();
    list.iter()
        .any(|name| name == step || Some(name.as_str()) == family)
}

fn run(steps: Vec<Step>) -> bool {
    let mut outcomes = Vec::new();
    for step in steps {
        println!("\n==== {}", step.name);
        let started = Instant::now();
        let outcome = Outcome::new(step.name, (step.run)(), started.elapsed());
        if let Some(problem) = &outcome.problem {
            println!("{problem}");
        }
        let verdict = if outcome.succeeded() { "ok" } else { "FAILED" };
        println!(
            "---- {} {verdict}, {:.1} s",
            step.name,
            outcome.took.as_secs_f64()
        );
        outcomes.push(outcome);
    }
    println!("\n{}", summary(&outcomes));
    outcomes.iter().all(Outcome::succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let arguments = TestArguments {
            only: owned(only),
            skip: owned(skip),
            full: false,
            fuzz_seconds: 1,
        };
        let steps = select(all(&arguments), &arguments)?;
        Ok(steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn select_family_takes_both_drivers() {
        let both = ["autobahn-io_uring", "autobahn-epoll"];
        assert_eq!(selected(&["autobahn"], &[]).unwrap(), both);
        assert_eq!(
            selected(&["autobahn", "fmt"], &["autobahn-epoll"]).unwrap(),
            ["fmt", "autobahn-io_uring"]
        );
    }

    #[test]
    fn select_everything_takes_fuzzing_too() {
        assert!(selected(&[], &[]).unwrap().contains(&"fuzz"));
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
    fn run_failed_step_fails_the_whole_and_later_ones_still_run() {
        let ran = std::rc::Rc::new(std::cell::Cell::new(false));
        let seen = ran.clone();
        let steps = vec![
            step("bad", || bail!("planted")),
            step("good", move || {
                seen.set(true);
                Ok(Counts::default())
            }),
        ];
        assert!(!run(steps));
        assert!(ran.get());
    }
}
