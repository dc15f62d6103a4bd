//! A server as a child process: started on its processors, waited for, stopped.

use super::{Server, Start};
use crate::load::dial::{Target, dial_all};
use crate::pin::Processors;
use crate::proc::Process;
use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(15);
const NOT_INSTALLED: i32 = 3;
/// Below the ports that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 18_000..28_000;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// It is not on this machine; the text says what to do.
    NotInstalled(String),
    /// It is, and failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// A server that listens. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddrV4,
}

impl Running {
    /// For its processor time and memory.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// Says how it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("the server ended by itself: {status}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Starts a server with so many threads and waits until it accepts connections. What it says goes
/// to a file of `logs`.
pub fn start(
    server: &Server,
    threads: usize,
    processors: &Processors,
    logs: &Path,
) -> Result<Running, StartError> {
    let port = free_port()?;
    let command = command_line(server, port, threads)?;
    let log = logs.join(format!("{}.log", server.name));
    let child = spawn(&command, &processors.server(threads), &log)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut running = Running { child, address };
    let since = Instant::now();
    let target = Target {
        address,
        framing: server.framing,
    };
    let path = if server.echo { "/echo" } else { "/rooms/ready" };
    while dial_all(target, 0..1, |_| path.to_owned()).is_err() {
        if let Ok(Some(status)) = running.child.try_wait() {
            let said = last_line(&log);
            return Err(match status.code() {
                Some(NOT_INSTALLED) => StartError::NotInstalled(said),
                _ => StartError::Failed(anyhow!("ended at start ({status}): {said}")),
            });
        }
        if since.elapsed() > READY_TIMEOUT {
            let text = anyhow!("does not listen on {address} after {READY_TIMEOUT:?}");
            return Err(StartError::Failed(text));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(running)
}

fn command_line(server: &Server, port: u16, threads: usize) -> Result<Vec<String>, StartError> {
    match &server.start {
        Start::Program { program, arguments } => {
            if !program.exists() {
                let text = format!("{} is not there: build it, or name it", program.display());
                return Err(StartError::NotInstalled(text));
            }
            let fill = |argument: &String| {
                argument
                    .replace("{port}", &port.to_string())
                    .replace("{threads}", &threads.to_string())
            };
            let mut command = vec![program.display().to_string()];
            command.extend(arguments.iter().map(fill));
            Ok(command)
        }
        Start::Peer { scripts } => {
            let run = scripts.join("run");
            if !run.exists() {
                let text = format!("{} is not there", run.display());
                return Err(StartError::NotInstalled(text));
            }
            let words = [run.display().to_string(), server.name.clone()];
            Ok(words
                .into_iter()
                .chain([port.to_string(), threads.to_string()])
                .collect())
        }
    }
}

/// Through ourselves, because processors are chosen between fork and exec.
fn spawn(command: &[String], processors: &[usize], log: &Path) -> Result<Child> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let processors: Vec<String> = processors.iter().map(usize::to_string).collect();
    Command::new(std::env::current_exe()?)
        .args(["exec-pinned", "--processors", &processors.join(","), "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start a process")
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").to_owned()
}

fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 97) as u16 * 100;
    for _ in 0..PORTS.len() {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u16;
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(anyhow!(
        "no port is free between {} and {}",
        PORTS.start,
        PORTS.end
    ))
}

/// One line on which version a server is.
#[must_use]
pub fn version(server: &Server) -> String {
    let output = match &server.start {
        Start::Program { program, arguments } if !arguments.iter().any(|it| it == "floor") => {
            Command::new(program)
                .arg("--version")
                .stderr(Stdio::null())
                .output()
        }
        Start::Program { .. } => return format!("bench {}", env!("CARGO_PKG_VERSION")),
        Start::Peer { scripts } => Command::new(scripts.join("version"))
            .arg(&server.name)
            .stderr(Stdio::null())
            .output(),
    };
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let line = text
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or("")
        .to_owned();
    if line.is_empty() {
        "unknown".to_owned()
    } else {
        line
    }
}
