//! The simulation's program: how it is built, and one process of it.

use super::tally::Said;
use crate::process::{Guarded, run_into};
use crate::workspace::{self, target_directory};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The manifest of the simulation, from the root of its tree.
pub const MANIFEST: &str = "simulation/Cargo.toml";

/// A process that takes so much longer than it was asked to has met a loop without an end. A script
/// that fails is cut down in this time, too.
const HANGS: Duration = Duration::from_secs(600);

/// Most lines of a log that are shown.
const LOG_LINES_SHOWN: usize = 40;

/// A program that is built, and a directory for what it writes.
#[derive(Clone)]
pub struct Program {
    path: PathBuf,
    home: PathBuf,
}

/// One part of the seeds `from`, `from + every`, …
#[derive(Clone, Copy)]
pub struct Slice {
    pub from: u64,
    pub every: u64,
    pub extent: Extent,
}

/// How far a slice goes.
#[derive(Clone, Copy)]
pub enum Extent {
    For(Duration),
    /// So many runs, which are the same on all machines.
    Runs(u64),
}

/// The directory that simulations write to. They are built in the workspace's own, whose dependencies they
/// share.
pub fn home() -> Result<PathBuf> {
    Ok(target_directory()?.join("simulation"))
}

/// `cargo SUBCOMMAND` for the simulation, which is a workspace of its own.
pub fn cargo(subcommand: &str) -> Result<Command> {
    let mut command = workspace::cargo();
    command.args([subcommand, "--manifest-path", MANIFEST]);
    command.arg("--target-dir").arg(target_directory()?);
    Ok(command)
}

impl Program {
    /// Builds the simulation below `tree`. All trees share the dependencies that are built, but also
    /// the place of the program, so that it is copied to one with this `name`.
    pub fn build(tree: &Path, name: &str) -> Result<Self> {
        let (home, started) = (home()?, Instant::now());
        std::fs::create_dir_all(&home)?;
        let log = home.join(format!("{name}.log"));
        let mut command = workspace::cargo();
        command.args(["build", "--quiet", "--manifest-path"]);
        command.arg(tree.join(MANIFEST));
        let target = target_directory()?;
        command.arg("--target-dir").arg(&target);
        // Warnings belong to the step's lints; here they would only come twice.
        if !run_into(&mut command, &log)?.success() {
            let said = std::fs::read_to_string(&log)?;
            bail!("{} does not build\n{}", name, errors(&said));
        }
        let path = home.join(name);
        // A program that runs cannot be written to, but its name can be given to another.
        let fresh = home.join(format!("{name}.new"));
        std::fs::copy(target.join("debug/simulation"), &fresh)
            .and_then(|_| std::fs::rename(&fresh, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!(
            "-- {name} is built after {:.0} s",
            started.elapsed().as_secs_f64()
        );
        Ok(Self { path, home })
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        // The log of a run is for those who replay it.
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// The file of this kind, which belongs to the process of this name alone.
    pub fn file(&self, process: &str, kind: &str) -> PathBuf {
        self.home.join(format!("{process}.{kind}"))
    }

    /// Runs a slice of seeds. If one fails, its script is at [`file`](Self::file)`(process,
    /// "script")`, unless it is not to be cut down.
    pub fn seeds(
        &self,
        slice: Slice,
        process: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Said> {
        let mut command = self.command();
        let (from, every) = (slice.from.to_string(), slice.every.to_string());
        command.args(["seeds", "--from", &from, "--every", &every]);
        command.arg("--script").arg(self.file(process, "script"));
        let limit = match slice.extent {
            Extent::For(time) => time,
            Extent::Runs(runs) => {
                command.args(["--runs", &runs.to_string()]);
                HANGS
            }
        };
        command.args(["--seconds", &limit.as_secs_f64().to_string()]);
        prepare(&mut command);
        let log = self.file(process, "log");
        let said = said_within(&mut command, limit + HANGS, &log)
            .with_context(|| format!("seeds {from}, and every {every} after it"))?;
        Said::read(&said).with_context(|| format!("{}\n{}", log.display(), end(&said)))
    }
}

/// The output of a process, which is killed if it takes longer than `limit`.
fn said_within(command: &mut Command, limit: Duration, log: &Path) -> Result<String> {
    let output = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = Guarded(command.spawn().context("the simulation does not start")?);
    let deadline = Instant::now() + limit;
    if child
        .wait_unless(|| Ok(Instant::now() >= deadline))?
        .is_none()
    {
        bail!(
            "no end after {} s: the simulation was stopped",
            limit.as_secs()
        );
    }
    Ok(String::from_utf8_lossy(&std::fs::read(log)?).into_owned())
}

/// What a compiler says from its first error on.
fn errors(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("error"));
    let lines = &lines[first.unwrap_or_default()..];
    lines[..lines.len().min(LOG_LINES_SHOWN)].join("\n")
}

fn end(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_without_an_end_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let started = Instant::now();
        let mut sleeper = Command::new("sleep");
        let said = said_within(sleeper.arg("60"), Duration::from_millis(100), &log);
        assert!(said.unwrap_err().to_string().contains("no end"));
        assert!(started.elapsed() < Duration::from_secs(20));
        let said = said_within(Command::new("echo").arg("7"), Duration::from_secs(20), &log);
        assert_eq!(said.unwrap(), "7\n");
    }

    #[test]
    fn errors_begin_after_the_warnings() {
        let log = "warning: unused\n --> a.rs\nerror[E0277]: no\n --> b.rs\n";
        assert_eq!(errors(log), "error[E0277]: no\n --> b.rs");
        assert_eq!(errors("killed\n"), "killed");
        assert_eq!(
            errors(&"error\n".repeat(100)).lines().count(),
            LOG_LINES_SHOWN
        );
    }
}
