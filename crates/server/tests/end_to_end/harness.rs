//! A server process under test: started on a free port, watched, killed when the test ends.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything takes that works, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const BY_LOG: &str = "(by its log)";

const LOG_LINES_SHOWN: usize = 200;

/// Deadlines of the server, long unless a flag says otherwise: on a busy machine a late client must
/// not count as gone. They are set in the environment, so that they take precedence over a file.
const PATIENT: [&str; 7] = [
    "HANDSHAKE_TIMEOUT",
    "TLS_HANDSHAKE_TIMEOUT",
    "MESSAGE_TIMEOUT",
    "PING_INTERVAL",
    "WRITE_TIMEOUT",
    "PAUSE_TIMEOUT",
    "PONG_TIMEOUT",
];

/// The driver of the server's cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    pub fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// A running server.
pub struct Server {
    child: Child,
    /// The lines on its standard output, one for each address.
    pub start_lines: Vec<String>,
    addresses: Vec<SocketAddr>,
    internal: SocketAddr,
    api: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    has_ended: bool,
}

/// How a process ended that did not keep running.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The server's program: the one that `SERVER_BIN` names, or else the one that cargo has built for these tests. An
/// optimised one, with debug assertions, takes a third of the processor time.
pub fn program() -> OsString {
    env::var_os("SERVER_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_hubbub").into())
}

/// The command of the server, without the environment of this process.
pub fn command() -> Command {
    let mut command = Command::new(program());
    command.env_clear();
    with_own_port(command)
}

/// Tests run side by side, so each server has an internal listener on a port of its own.
pub fn with_own_port(mut command: Command) -> Command {
    command.env("HUBBUB_INTERNAL_LISTEN", "127.0.0.1:0");
    command
}

impl Server {
    /// Starts it and waits until it listens: on 127.0.0.1, unless a flag says otherwise.
    pub fn start(driver: Driver, flags: &[&str]) -> Self {
        Self::launch(command(), &[&["--driver", driver.name()], flags].concat())
    }

    /// Starts it with this command.
    pub fn launch(mut command: Command, flags: &[&str]) -> Self {
        command.args(["--log-level", "debug"]);
        for key in PATIENT {
            command.env(format!("HUBBUB_{key}"), "10m");
        }
        Self::launch_quietly(command, flags)
    }

    /// The same, but its log is set by its own settings.
    pub fn launch_quietly(command: Command, flags: &[&str]) -> Self {
        Self::launch_into(command, flags, Stdio::piped(), Stdio::piped())
    }

    /// The same, with these as standard output and standard error. At least one must be piped, and
    /// must say where the server listens.
    pub fn launch_into(mut command: Command, flags: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let listening = flags.iter().filter(|flag| **flag == "--listen").count();
        if listening == 0 {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(flags);
        command.stdout(stdout).stderr(stderr);
        let mut child = command.spawn().expect("the server starts");
        // The command would keep the other ends of the pipes open.
        drop(command);

        let log = Arc::new(Mutex::new(String::new()));
        let (line, lines) = mpsc::channel();
        let mut readers = Vec::new();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let by_log = (stdout.is_none() || flags.contains(&"json")).then(|| line.clone());
        readers.extend(stdout.map(|stdout| {
            read_lines(stdout, move |said| {
                let _ = line.send(said);
            })
        }));
        let logged = log.clone();
        readers.extend(stderr.map(|stderr| {
            read_lines(stderr, move |said| {
                writeln!(logged.lock().unwrap(), "{said}").unwrap();
                if let (Some(line), Some(start)) = (&by_log, start_line(&said)) {
                    let _ = line.send(start);
                }
            })
        }));
        let mut server = Self {
            child,
            start_lines: Vec::new(),
            addresses: Vec::new(),
            internal: SocketAddr::from(([0; 4], 0)),
            api: None,
            log,
            readers,
            has_ended: false,
        };
        let has_api = flags.iter().any(|flag| flag.starts_with("--api-listen"));
        while server.internal.port() == 0 || has_api && server.api.is_none() {
            let said = lines.recv_timeout(PATIENCE).expect("the server listens");
            // A launcher may have printed something before.
            let Some((before, rest)) = said.split_once("://") else {
                continue;
            };
            let before = before
                .strip_suffix(" on http")
                .or(before.strip_suffix(" on https"));
            let Some(before) = before else { continue };
            let address = rest.split_whitespace().next().unwrap().parse().unwrap();
            if before.ends_with("listens") {
                server.addresses.push(address);
            } else if before.contains("API") {
                server.api = Some(address);
            } else {
                server.internal = address;
            }
            server.start_lines.push(said);
        }
        assert_eq!(server.addresses.len(), listening.max(1));
        server
    }

    /// Its first address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All of its addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its internal listener's address.
    pub fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// The address of its API, which a flag has asked for.
    pub fn api(&self) -> SocketAddr {
        self.api.expect("--api-listen")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            // One thread takes the signal and stops the others, which run on until it has had a
            // processor.
            eventually("it stands still", || crate::process::is_stopped(self.pid()));
        }
    }

    /// Whether only its log, and not standard output, has said where it listens.
    pub fn all_by_log(&self) -> bool {
        self.start_lines.iter().all(|line| line.ends_with(BY_LOG))
    }

    /// How many connections have ended for this reason, according to the log at debug.
    pub fn ends_logged(&self, reason: &str) -> usize {
        let field = format!("reason=\"{reason}\"");
        let log = self.log();
        let ends = log.lines().filter(|line| line.contains("connection ended"));
        ends.filter(|line| line.contains(&field)).count()
    }

    /// What it has logged so far. What it does now may be read of it only later: see [`logs`](Self::logs).
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged these words.
    pub fn logs(&self, words: &str) {
        eventually(words, || self.log().contains(words));
    }

    /// Waits for its end, and until all of its log is read.
    pub fn wait(&mut self) -> ExitStatus {
        let status = await_end(&mut self.child);
        self.has_ended = true;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let was_running = matches!(self.child.try_wait(), Ok(None));
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let log = self.log();
        if thread::panicking() {
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the server's log ends:\n{}", shown.join("\n"));
            return;
        }
        assert!(
            was_running || self.has_ended,
            "the server ended by itself:\n{log}"
        );
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    mut said: impl FnMut(String) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let lines = BufReader::new(from).lines();
        lines.map_while(Result::ok).for_each(&mut said);
    })
}

/// The address in a line of the log, in either form, in the words of a start line.
fn start_line(logged: &str) -> Option<String> {
    let who = match logged {
        _ if logged.contains("internal listener") => "operators,",
        _ if logged.contains("API of back ends") => "The API, for back ends,",
        _ if logged.contains("listening") => "listens",
        _ => return None,
    };
    let (_, rest) = logged.split_once("address")?;
    let address = rest.trim_start_matches(['"', ':', '=']);
    let address = address.split(['"', ' ']).next()?;
    Some(format!("{who} on http://{address} {BY_LOG}"))
}

/// Runs a command that is expected to end by itself.
pub fn run(mut command: Command) -> Ended {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let status = await_end(&mut child);
    let mut stdout = String::new();
    let mut stderr = String::new();
    let mut pipes = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    pipes.0.read_to_string(&mut stdout).unwrap();
    pipes.1.read_to_string(&mut stderr).unwrap();
    Ended {
        status,
        stdout,
        stderr,
    }
}

fn await_end(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("the process did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks repeatedly until the answer is yes; panics if it never is.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
