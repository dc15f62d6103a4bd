//! Runs the benchmarks under callgrind and prints their counts: `cargo run -p bench-codec`.
//!
//! A missing runner is installed into the target directory; a missing valgrind is reported.
//! Arguments go to the runner: `cargo run -p bench-codec -- '*handshake*'`.

mod table;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use table::Count;

fn main() -> ExitCode {
    match run() {
        Ok(table) => {
            println!("\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String> {
    let valgrind = stdout_of(Command::new("valgrind").arg("--version"))
        .context("valgrind is needed and does not start; `apt-get install valgrind` brings it")?;
    let runner = runner()?;
    let counts = counts(&runner)?;
    let rustc = stdout_of(Command::new("rustc").arg("--version"))?;
    let table = table::render(&counts);
    Ok(format!("{table}\n{}, {}", rustc.trim(), valgrind.trim()))
}

/// The runner, in exactly the version that Cargo.lock has of the library: the two refuse to work
/// with another version.
fn runner() -> Result<PathBuf> {
    let stdout = stdout_of(cargo().args(["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&stdout).context("cargo metadata is not JSON")?;
    let library = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|each| each["name"] == "gungraun"));
    let version = library.and_then(|library| library["version"].as_str());
    let target = metadata["target_directory"].as_str();
    let (Some(version), Some(target)) = (version, target) else {
        bail!("cargo metadata names no gungraun, or no target directory");
    };
    let root = Path::new(target).join(format!("tools/gungraun-runner-{version}"));
    let runner = root.join("bin/gungraun-runner");
    if !runner.is_file() {
        eprintln!("installing gungraun-runner {version}, once …");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "--no-track", "--root"]);
        install.arg(&root);
        install.args(["--version", &format!("={version}"), "gungraun-runner"]);
        let status = install.status().context("cargo does not start")?;
        if !status.success() {
            bail!("gungraun-runner {version} could not be installed: see above");
        }
    }
    Ok(runner)
}

fn counts(runner: &Path) -> Result<Vec<Count>> {
    let mut bench = cargo();
    bench.args(["bench", "--package", "bench-codec", "--bench", "codec"]);
    bench.args(["--", "--output-format=json"]);
    bench.args(std::env::args_os().skip(1));
    bench.env("GUNGRAUN_RUNNER", runner);
    let mut child = bench
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not start")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut counts = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let count = Count::parse(&line?)?;
        eprintln!("{:>9}  {}", count.instructions, count.name());
        counts.push(count);
    }
    if !child.wait()?.success() {
        bail!("the benchmarks failed: see above");
    }
    Ok(counts)
}

/// The cargo that runs this program, in this workspace.
fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn stdout_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{program} does not start"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed no text"))
}
