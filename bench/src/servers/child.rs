//! A server as a child process: it is started on its processors, awaited and stopped.

use super::{Rules, Server, Start};
use crate::centrifuge::Encoding;
use crate::load::backend::{API_KEY, Beside, Event, HOOK_TIMEOUT};
use crate::load::dial::{Target, dial_all};
use crate::load::sdk::Namespaces;
use crate::load::tls::{Certificates, Client};
use crate::load::transport::{Compression, Security, Transport};
use crate::pin::Processors;
use crate::proc::Process;
use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const READY_TIMEOUT: Duration = Duration::from_secs(15);
const NOT_INSTALLED: i32 = 3;
/// A range below the ports that the kernel assigns to clients.
const PORTS: std::ops::Range<u16> = 18_000..28_000;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The server is not installed; the text says how to install it.
    NotInstalled(String),
    /// The server is installed, but failed to start.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// The conditions of a workload under which a server is started.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The number of threads.
    pub threads: usize,
    /// TLS and compression.
    pub transport: Transport,
    /// The certificates for TLS.
    pub certificates: &'a Certificates,
    /// The rules of rooms and the key of tokens, for clients of the Centrifuge protocol.
    pub rules: Option<(&'a Rules, Namespaces)>,
    /// What it has beside the public listener.
    pub beside: Beside,
}

impl Terms<'_> {
    fn client(&self) -> Result<Option<Client>> {
        let authority = &self.certificates.authority;
        Ok(match self.transport.security {
            Security::Plain => None,
            Security::Tls => Some(Client::trusting(authority, false)?),
            Security::Resumed => Some(Client::trusting(authority, true)?),
        })
    }

    /// The flags of Hubbub for these conditions.
    fn flags(&self) -> Result<Vec<String>> {
        let mut flags = Vec::new();
        if self.transport.is_encrypted() {
            let file = |path: &Path| path.display().to_string();
            flags.extend([
                "--tls-cert".to_owned(),
                file(&self.certificates.certificate),
            ]);
            flags.extend(["--tls-key".to_owned(), file(&self.certificates.key)]);
        }
        if let Some(takeover) = self.takeover() {
            let words = ["--compression", "on", "--compression-takeover", takeover];
            flags.extend(words.map(str::to_owned));
            // Contexts are what this measures, so their memory is not bounded.
            let unbounded = ["--compression-contexts-bytes-max", "64TiB"];
            flags.extend(unbounded.map(str::to_owned));
        }
        if let Some(address) = self.beside.api {
            flags.extend(["--api-listen".to_owned(), address.to_string()]);
        }
        if let Some((rules, namespaces)) = self.rules {
            let flags_of = ["--config", "--token-keys"].into_iter();
            let files = flags_of.zip(rules.files(namespaces, self.beside)?);
            flags.extend(
                files.flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()]),
            );
        }
        Ok(flags)
    }

    /// The environment variables that pass these conditions to `bench/peers/run`.
    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = Vec::new();
        if self.transport.is_encrypted() {
            variables.push(("PEER_TLS_CERT", self.certificates.certificate.clone()));
            variables.push(("PEER_TLS_KEY", self.certificates.key.clone()));
        }
        if let Some(takeover) = self.takeover() {
            variables.push(("PEER_TAKEOVER", takeover.into()));
        }
        variables.extend(
            self.rules
                .map(|(rules, _)| ("PEER_TOKEN_KEY", rules.public_key.clone())),
        );
        if let Some(address) = self.beside.api.or(self.beside.internal) {
            variables.push(("PEER_API_PORT", address.port().to_string().into()));
            variables.push(("PEER_API_KEY", API_KEY.into()));
        }
        if let Some((event, address)) = self.beside.hook {
            let variable = match event {
                Event::Connect => "PEER_HOOK_CONNECT",
                Event::Subscribe => "PEER_HOOK_SUBSCRIBE",
            };
            let url = format!("http://{address}{}", event.path());
            variables.push((variable, url.into()));
            let timeout = format!("{}ms", HOOK_TIMEOUT.as_millis());
            variables.push(("PEER_HOOK_TIMEOUT", timeout.into()));
        }
        variables
    }

    fn takeover(&self) -> Option<&'static str> {
        match self.transport.compression {
            Compression::Off => None,
            Compression::Message => Some("none"),
            Compression::Takeover => Some("both"),
        }
    }
}

/// A running server, which is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// How the load connects to the server.
    pub target: Target,
}

impl Running {
    /// The process, for its processor time and memory.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// How the server has ended, if it has.
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

/// Starts a server under these conditions and waits until it accepts connections. Its output goes
/// to a file in `logs`.
pub fn start(
    server: &Server,
    terms: Terms<'_>,
    processors: &Processors,
    logs: &Path,
) -> Result<Running, StartError> {
    let port = free_port()?;
    let command = command_line(server, port, terms)?;
    let log = logs.join(format!("{}.log", server.name));
    let child = spawn(&command, terms, &processors.server(terms.threads), &log)?;
    let target = Target {
        address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        framing: server.framing,
        tls: terms.client()?,
        compression: terms.transport.compression,
    };
    let mut running = Running { child, target };
    let since = Instant::now();
    let path = match server.echo {
        true => "/echo",
        false if server.speaks_only_sdk() => Encoding::Json.path(),
        false => "/rooms/ready",
    };
    while let Err(refused) = dial_all(&running.target, 0..1, |_| path.to_owned()) {
        if let Ok(Some(status)) = running.child.try_wait() {
            let said = last_line(&log);
            return Err(match status.code() {
                Some(NOT_INSTALLED) => StartError::NotInstalled(said),
                _ => StartError::Failed(anyhow!("ended at start ({status}): {said}")),
            });
        }
        if since.elapsed() > READY_TIMEOUT {
            let text = format!("is not ready after {READY_TIMEOUT:?}");
            return Err(StartError::Failed(refused.context(text)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for address in [terms.beside.api, terms.beside.internal] {
        await_listener(address, since)?;
    }
    Ok(running)
}

/// Waits until somebody listens there, if anybody is to.
fn await_listener(address: Option<SocketAddrV4>, since: Instant) -> Result<(), StartError> {
    while let Some(address) = address
        && let Err(refused) = TcpStream::connect(address)
    {
        if since.elapsed() > READY_TIMEOUT {
            let text = format!("nobody listens on {address} after {READY_TIMEOUT:?}");
            return Err(StartError::Failed(anyhow!(refused).context(text)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn command_line(server: &Server, port: u16, terms: Terms<'_>) -> Result<Vec<String>, StartError> {
    match &server.start {
        Start::Program { program, arguments } => {
            if !program.exists() {
                let text = format!("{} is not there: build it, or name it", program.display());
                return Err(StartError::NotInstalled(text));
            }
            let internal = terms.beside.internal.map(|it| it.to_string());
            let internal = internal.as_deref().unwrap_or("off");
            let fill = |argument: &String| {
                argument
                    .replace("{internal}", internal)
                    .replace("{port}", &port.to_string())
                    .replace("{threads}", &terms.threads.to_string())
            };
            let mut command = vec![program.display().to_string()];
            command.extend(arguments.iter().map(fill));
            command.extend(terms.flags()?);
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
                .chain([port.to_string(), terms.threads.to_string()])
                .collect())
        }
    }
}

/// Starts it through this program, because processors are chosen between fork and exec.
fn spawn(command: &[String], terms: Terms<'_>, processors: &[usize], log: &Path) -> Result<Child> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let processors: Vec<String> = processors.iter().map(usize::to_string).collect();
    Command::new(std::env::current_exe()?)
        .args(["exec-pinned", "--processors", &processors.join(","), "--"])
        .args(command)
        .envs(terms.environment())
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

/// A port on which nobody listens.
pub fn free_port() -> Result<u16> {
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

/// The version of a server, in one line.
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
