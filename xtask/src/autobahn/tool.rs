//! Installs and runs the fuzzing client: wstest where Python 2.7 is available, otherwise kosoku.

use super::cases::is_compression;
use super::server::Server;
use crate::install;
use crate::process::{Guarded, run};
use crate::python::{environment, new_venv, pip};
use crate::workspace::root;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The last virtualenv that can create environments for Python 2.7.
const VIRTUALENV: &str = "virtualenv==20.21.1";
/// All plain cases together take 30 seconds on a fast machine, the compression cases up to 30
/// minutes.
const SECONDS_PER_PLAIN_CASE: u64 = 1;
const SECONDS_PER_COMPRESSION_CASE: u64 = 10;
const SECONDS_MIN: u64 = 120;
/// How long the client may continue after the server has ended: it writes its results only at its
/// end.
const AFTERLIFE: Duration = Duration::from_secs(20);
/// kosoku sometimes aborts when it exits, so it is run again.
const ATTEMPTS: usize = 3;

/// An installed fuzzing client.
pub enum Tool {
    Wstest(PathBuf),
    Kosoku(PathBuf),
}

impl Tool {
    /// Finds a client installed below `home`, or installs one.
    pub fn ready(home: &Path) -> Result<Self> {
        match install::python27() {
            Some(python) => Ok(Self::Wstest(wstest(home, &python)?)),
            None => {
                println!("-- no Python 2.7 here: kosoku runs the cases instead of wstest");
                Ok(Self::Kosoku(kosoku(home)?))
            }
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Wstest(_) => "wstest",
            Self::Kosoku(_) => "kosoku",
        }
    }

    /// Runs the cases; the results are in `index.json` of the report. If the client crashes it is
    /// run again, but never after it has written a report.
    pub fn run(&self, server: &mut Server, cases: &[String], report: &Path) -> Result<()> {
        let index = report.join("index.json");
        for attempt in 1..=ATTEMPTS {
            let ended = self.run_once(server, cases, report);
            // The report is written after the last case, so it counts however the client then
            // ended.
            if index.exists() {
                return Ok(());
            }
            server.still_runs()?;
            let status = ended?;
            println!(
                "{} left no report and ended with {status} (attempt {attempt})",
                self.name()
            );
        }
        bail!(
            "{} left no report; see {}",
            self.name(),
            log(report).display()
        );
    }

    fn run_once(&self, server: &mut Server, cases: &[String], report: &Path) -> Result<ExitStatus> {
        let output = File::create(log(report))?;
        let mut command = match self {
            Self::Wstest(program) => wstest_command(program, &server.url(), cases, report)?,
            Self::Kosoku(program) => kosoku_command(program, &server.url(), cases, report),
        };
        command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.name()))?;
        supervise(Guarded(child), server, limit(cases))?
            .with_context(|| format!("{} was stopped {}", self.name(), last_case(report)))
    }
}

/// Waits for the client, but no longer than `limit`, and not much longer than the server lives.
fn supervise(
    mut tool: Guarded,
    server: &mut Server,
    limit: Duration,
) -> Result<Option<ExitStatus>> {
    let mut deadline = Instant::now() + limit;
    let mut server_died = false;
    let status = tool.wait_unless(|| {
        if !server_died && server.has_died()? {
            server_died = true;
            deadline = deadline.min(Instant::now() + AFTERLIFE);
        }
        Ok(Instant::now() >= deadline)
    })?;
    if status.is_none() {
        server.still_runs()?;
    }
    Ok(status)
}

fn limit(cases: &[String]) -> Duration {
    let seconds = cases.iter().map(|case| match is_compression(case) {
        true => SECONDS_PER_COMPRESSION_CASE,
        false => SECONDS_PER_PLAIN_CASE,
    });
    Duration::from_secs(SECONDS_MIN.max(seconds.sum()))
}

/// The case in which a stopped run hung, from what wstest prints before each case.
fn last_case(report: &Path) -> String {
    let log = std::fs::read_to_string(log(report)).unwrap_or_default();
    let last = log
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Running test case ID "));
    match last.and_then(|line| line.split(' ').next()) {
        Some(case) => format!("after its time was over, in case {case}"),
        None => "after its time was over".to_owned(),
    }
}

fn log(report: &Path) -> PathBuf {
    report.join("tool.log")
}

fn wstest_command(program: &Path, url: &str, cases: &[String], report: &Path) -> Result<Command> {
    let spec = json!({
        "outdir": report,
        "servers": [{ "agent": "server", "url": url }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let path = report.join("spec.json");
    std::fs::write(&path, serde_json::to_string_pretty(&spec)?)?;
    let mut command = Command::new(program);
    command
        .args(["--mode", "fuzzingclient", "--spec"])
        .arg(path);
    Ok(command)
}

fn kosoku_command(program: &Path, url: &str, cases: &[String], report: &Path) -> Command {
    let mut command = Command::new(program);
    for case in cases {
        command.args(["--include", case]);
    }
    command.arg("--outdir").arg(report).arg(url);
    command
}

fn wstest(home: &Path, python: &Path) -> Result<PathBuf> {
    let requirements = root().join("tests/autobahn/requirements-wstest.txt");
    let directory = home.join("wstest");
    environment(&directory, &requirements, |directory| {
        let maker = home.join("virtualenv");
        new_venv(&maker)?;
        run(&mut pip(&maker, &["install", VIRTUALENV]))?;
        run(Command::new(maker.join("bin/virtualenv"))
            .args(["--quiet", "--no-download", "--python"])
            .args([python, directory]))?;
        run(pip(directory, &["install", "--requirement"]).arg(&requirements))
    })
    .context(
        "wstest cannot be installed; its pins are in tests/autobahn/requirements-wstest.txt",
    )?;
    Ok(directory.join("bin/wstest"))
}

fn kosoku(home: &Path) -> Result<PathBuf> {
    let requirements = root().join("tests/autobahn/requirements-kosoku.txt");
    let directory = home.join("kosoku");
    environment(&directory, &requirements, |directory| {
        new_venv(directory)?;
        run(pip(directory, &["install", "--only-binary", ":all:", "--requirement"]).arg(&requirements))
    })
    .context("kosoku cannot be installed; it needs Python 3.10 or later and a wheel of this machine's kind")?;
    Ok(directory.join("bin/kosoku"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_case_is_read_from_the_log() {
        let report = tempfile::tempdir().unwrap();
        let lines = "Running test case ID 9.1.5 for agent server\nRunning test case ID 9.1.6 for agent server\nx\n";
        std::fs::write(log(report.path()), lines).unwrap();
        assert!(last_case(report.path()).ends_with("in case 9.1.6"));
    }
}
