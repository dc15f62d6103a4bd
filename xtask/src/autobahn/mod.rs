//! Runs the Autobahn test suite against `/echo` of the server, and judges the suite's report.
//!
//! ```text
//!  cases.rs ── which cases ──▶ tool.rs ── wstest or kosoku ──▶ index.json ──▶ verdict.rs
//!                                 │ ws://127.0.0.1:PORT/echo
//!                              server.rs (the server, started with one driver)
//! ```

mod cases;
mod server;
mod tool;
mod verdict;

use crate::report::Counts;
use crate::workspace::{self, Optimised};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use server::Server;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tool::Tool;

/// The server's I/O drivers.
#[derive(Clone, Copy, ValueEnum)]
pub enum Driver {
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
}

impl Driver {
    fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Drivers {
    #[value(name = "io_uring")]
    IoUring,
    Epoll,
    Both,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Which driver the server runs on
    #[arg(long, default_value = "both")]
    driver: Drivers,
    /// Cases to run, parted by commas: `all` (517), `plain` (301, without compression), `fast` (373:
    /// plain and the smallest of each compression group), or globs such as `9.1.*,12.*`
    #[arg(long, value_name = "CASES", default_value = cases::FAST)]
    cases: String,
    /// Where reports go, a directory for each driver [default: autobahn/report of the target directory]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// A program that takes the server's flags [default: the release build, made when missing]
    #[arg(long, value_name = "PATH")]
    server: Option<PathBuf>,
}

/// `cargo xtask autobahn`.
pub fn chore(arguments: &Arguments) -> Result<bool> {
    let drivers: &[Driver] = match arguments.driver {
        Drivers::IoUring => &[Driver::IoUring],
        Drivers::Epoll => &[Driver::Epoll],
        Drivers::Both => &[Driver::IoUring, Driver::Epoll],
    };
    let cases = cases::chosen(&arguments.cases)?;
    let mut total = Counts::default();
    for driver in drivers {
        let counts = suite(*driver, &cases, arguments).unwrap_or_else(|error| {
            println!("autobahn, {}: {error:#}", driver.name());
            Counts::of(0, 1)
        });
        total.add(&counts);
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

/// Installs what [`step`] needs.
pub fn tools() -> Result<()> {
    Tool::ready(&home()?).map(drop)
}

fn home() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("autobahn"))
}

/// The step of `cargo xtask test`: the fast cases on one driver, or with `full` all of them, which
/// takes six minutes or more.
pub fn step(driver: Driver, full: bool) -> Result<Counts> {
    let cases = if full { cases::ALL } else { cases::FAST };
    let arguments = Arguments {
        driver: Drivers::Both,
        cases: cases.to_owned(),
        report: None,
        server: Some(workspace::server(Optimised::of(full))?),
    };
    suite(driver, &cases::chosen(&arguments.cases)?, &arguments)
}

fn suite(driver: Driver, cases: &[String], arguments: &Arguments) -> Result<Counts> {
    let program = match &arguments.server {
        Some(path) => std::path::absolute(path)?,
        None => workspace::server(Optimised::Release)?,
    };
    let home = home()?;
    let report = match &arguments.report {
        Some(directory) => std::path::absolute(directory)?,
        None => home.join("report"),
    };
    let report = fresh_directory(&report.join(driver.name()))?;
    let tool = Tool::ready(&home)?;

    let started = Instant::now();
    let mut server = Server::start(&program, driver.name(), &report)?;
    tool.run(&mut server, cases, &report)?;

    let verdict = verdict::judge(cases, &verdict::read(&report.join("index.json"))?);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "autobahn, {}: {} cases by {} in {seconds:.1} s",
        driver.name(),
        cases.len(),
        tool.name()
    );
    println!("{verdict}");
    println!("report: {}", report.join("index.html").display());
    let mut counts = verdict.counts();
    if let Err(death) = server.still_runs() {
        println!("{death:#}");
        counts.failed = counts.failed.max(1);
    }
    Ok(counts)
}

/// Empties the directory, so that an old report cannot be taken for this run's.
fn fresh_directory(path: &Path) -> Result<PathBuf> {
    if path.exists() {
        // The user may have given any directory, such as `--report .`, so only a report is deleted.
        let ours = path.join("server.log").exists() || path.read_dir()?.next().is_none();
        if !ours {
            bail!("{} holds something else than a report", path.display());
        }
        std::fs::remove_dir_all(path)?;
    }
    std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_directory_with_foreign_files_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        fresh_directory(&path).unwrap();
        std::fs::write(path.join("thesis.txt"), "years of work").unwrap();
        assert!(fresh_directory(&path).is_err());
        std::fs::write(path.join("server.log"), "").unwrap();
        fresh_directory(&path).unwrap();
        assert!(path.read_dir().unwrap().next().is_none());
    }
}
