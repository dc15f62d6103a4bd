//! Runs simulations: for a while, from a seed, or from a script that is kept.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use simulation::{
    count::{Scenario, count},
    run::run,
    script::Script,
    shrink::shrink,
};

/// The whole server in one thread, in virtual time, from one seed.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run seeds one after the other; the first that fails is cut down and written as a script
    Seeds {
        /// The first of them
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// The step from one to the next
        #[arg(long, default_value_t = 1)]
        every: u64,
        /// For how long
        #[arg(long, default_value_t = 60.0, value_name = "SECONDS")]
        seconds: f64,
        /// At most so many
        #[arg(long, default_value_t = u64::MAX)]
        runs: u64,
        /// Where a script that fails is written
        #[arg(long, default_value = "failed.script")]
        script: PathBuf,
        /// Do not cut it down
        #[arg(long)]
        whole: bool,
    },
    /// Run a script that was written
    Script {
        /// Its file
        file: PathBuf,
        /// Cut it down and write it again
        #[arg(long)]
        shrink: bool,
    },
    /// Do one thing many times, for instructions to be counted, and print how many units that makes
    Count {
        /// What to do
        scenario: Scenario,
        /// How often
        #[arg(long, value_name = "N")]
        times: usize,
    },
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .without_time()
        .init();
    match Flags::parse().chore {
        Chore::Seeds {
            from,
            every,
            seconds,
            runs,
            script,
            whole,
        } => {
            let limit = Duration::from_secs_f64(seconds);
            seeds(from, every, limit, runs, &script, whole)
        }
        Chore::Script { file, shrink } => replay(&file, shrink),
        Chore::Count { scenario, times } => count(scenario, times).map(|units| {
            println!("{units}");
            ExitCode::SUCCESS
        }),
    }
    .unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn seeds(
    from: u64,
    every: u64,
    limit: Duration,
    runs: u64,
    file: &PathBuf,
    whole: bool,
) -> Result<ExitCode> {
    let began = Instant::now();
    let (mut steps, mut done, mut virtual_ns) = (0, 0, 0);
    let mut seed = from;
    while began.elapsed() < limit && done < runs {
        let script = Script::of(seed);
        let outcome = run(&script);
        steps += outcome.steps;
        virtual_ns += outcome.virtual_ns;
        done += 1;
        if let Some(failure) = outcome.failure {
            println!("seed {seed} fails: {failure}");
            println!("{steps} steps in {done} runs, seeds {from} to {seed}");
            let (script, failure) = match whole {
                true => (script, failure),
                false => shrink(&script, |steps| eprintln!("{steps} steps fail, too")),
            };
            let lines = format!("# {failure}\n{}", script.to_lines());
            std::fs::write(file, lines)
                .with_context(|| format!("cannot write {}", file.display()))?;
            println!(
                "{} has {} steps: {failure}",
                file.display(),
                script.steps.len()
            );
            return Ok(ExitCode::FAILURE);
        }
        seed += every;
    }
    let last = seed - every;
    let hours = virtual_ns / 3_600_000_000_000;
    println!(
        "{steps} steps in {done} runs, seeds {from} to {last}, {hours} virtual hours: no fault"
    );
    Ok(ExitCode::SUCCESS)
}

fn replay(file: &PathBuf, is_shrunk: bool) -> Result<ExitCode> {
    let lines =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let script = Script::of_lines(&lines)?;
    let outcome = run(&script);
    println!("{outcome:?}");
    if outcome.failure.is_some() && is_shrunk {
        let (script, failure) = shrink(&script, |steps| eprintln!("{steps} steps fail, too"));
        std::fs::write(file, format!("# {failure}\n{}", script.to_lines()))?;
    }
    Ok(match outcome.failure {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}
