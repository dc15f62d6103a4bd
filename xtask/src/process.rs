//! Runs other programs: streams or keeps their output, and stops them at a deadline.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Runs a command whose output goes to our own; any exit status but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", line_of(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line_of(command));
    }
    Ok(())
}

/// Runs a command that says on stderr why it fails, and nothing much else; that is part of the error. Its
/// stdout goes to our own.
pub fn run_with_reason(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", line_of(command)))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    eprint!("{stderr}");
    if !output.status.success() {
        bail!(
            "{}\n`{}` ended with {}",
            stderr.trim(),
            line_of(command),
            output.status
        );
    }
    Ok(())
}

/// Runs a command and returns its stdout; any exit status but success is an error that contains
/// stderr.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", line_of(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` ended with {}: {}",
            line_of(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, prints its stdout as it arrives, and returns it; the caller judges the status.
pub fn run_and_keep(command: &mut Command) -> Result<(ExitStatus, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", line_of(command)))?;
    let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
    let kept = tee(BufReader::new(stdout))?;
    Ok((child.wait()?, kept))
}

/// Runs a command with stdout and stderr, in their order, written to `log`; the caller judges the
/// status.
pub fn run_into(command: &mut Command, log: &Path) -> Result<ExitStatus> {
    let output = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .with_context(|| format!("cannot start `{}`", line_of(command)))
}

fn tee(mut from: impl BufRead) -> Result<String> {
    let mut kept = String::new();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        kept.push_str(&text);
        line.clear();
    }
    Ok(kept)
}

/// Whether the program runs and `accepts` its output; false also if it does not exist.
pub fn answers(program: &Path, arguments: &[&str], accepts: impl Fn(&str) -> bool) -> bool {
    let mut command = Command::new(program);
    command.args(arguments);
    stdout_of(&mut command).is_ok_and(|stdout| accepts(&stdout))
}

/// A child that is killed and reaped when this is dropped.
pub struct Guarded(pub Child);

impl Guarded {
    /// How the child ended, or `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits until the child ends, or until `stop` returns true (then `None`; dropping kills the
    /// child).
    pub fn wait_unless(
        &mut self,
        mut stop: impl FnMut() -> Result<bool>,
    ) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if stop()? {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both calls fail only if the child has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Repeats `attempt` until it returns something or the time is over.
pub fn poll<T>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// The processor time that this process has taken, and all processes that it has waited for. Zero where
/// the kernel does not say.
pub fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    ticks(&stat).map_or(Duration::ZERO, |ticks| Duration::from_millis(10 * ticks))
}

/// The clock ticks, a hundredth of a second each, in the four fields from `utime` to `cstime` of
/// `/proc/PID/stat` (proc_pid_stat(5)).
fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name, which may hold spaces and brackets.
    let (_, from_third) = stat.rsplit_once(')')?;
    let fields: Vec<u64> = from_third
        .split_whitespace()
        .skip(11)
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    (fields.len() == 4).then(|| fields.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_counts_processes_that_were_waited_for() {
        let before = processor_time();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        run(Command::new("sh").args(["-c", busy])).unwrap();
        assert!(processor_time() > before);
        assert_eq!(
            ticks("7 (a) b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"),
            Some(50)
        );
        assert_eq!(ticks("7 (a) R 1"), None);
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn run_failing_command_names_it() {
        let error = run(&mut sh("exit 3")).unwrap_err().to_string();
        assert!(error.contains("sh -c exit 3"), "{error}");
    }

    #[test]
    fn run_and_keep_failing_command_returns_status_and_output() {
        let (status, kept) = run_and_keep(&mut sh("echo one; echo two; exit 4")).unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(kept, "one\ntwo\n");
    }

    #[test]
    fn run_into_keeps_both_outputs_and_the_status() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let status = run_into(&mut sh("echo one; echo two >&2; exit 4"), &log).unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn answers_missing_program_is_false() {
        assert!(!answers(Path::new("/no/such/program"), &[], |_| true));
    }

    #[test]
    fn wait_unless_stopped_kills_the_child() {
        let mut child = Guarded(sh("sleep 60").spawn().unwrap());
        assert!(child.wait_unless(|| Ok(true)).unwrap().is_none());
        let started = Instant::now();
        drop(child);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
