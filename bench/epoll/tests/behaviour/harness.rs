//! Starts a server for each test, in Rust or in C, and clients for it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use rustix::{
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
    process::{Pid, Signal, kill_process},
};
use tungstenite::{Message, WebSocket, protocol::Role};

/// The time limit of every operation, after which a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, which is killed when this is dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts the server in Rust with these flags, on a free port.
    pub fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-epoll"));
        command.args(flags);
        Self::run(command)
    }

    /// Starts the server in Rust with at most this many descriptors.
    pub fn with_descriptors(limit: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_bench-epoll")]);
        Self::run(command)
    }

    /// Starts the server in C. Its sanitizers end it with an error as soon as it accesses invalid
    /// memory, and at its end if it has leaked memory.
    pub fn in_c(flags: &[&str]) -> Self {
        let mut command = Command::new(sanitized());
        command.args(flags);
        Self::run(command)
    }

    /// Starts the server in C with at most this many descriptors.
    pub fn in_c_with_descriptors(limit: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(&script).arg(sanitized());
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut process = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        Self {
            process,
            address: address.unwrap_or_else(|| panic!("no address in {line:?}")),
        }
    }

    /// A client that opened this path.
    pub fn open(&self, path: &str) -> Client {
        self.open_over(TcpStream::connect(self.address).unwrap(), path)
    }

    /// A client with a small receive buffer, so that the server must soon wait.
    pub fn open_narrow(&self, path: &str) -> Client {
        let socket = net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        net::connect(&socket, &self.address).unwrap();
        self.open_over(socket.into(), path)
    }

    fn open_over(&self, stream: TcpStream, path: &str) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        Client(socket)
    }

    /// The number of descriptors that the server has open.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        open.count()
    }

    /// CPU time used so far, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
        fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    /// Stops the server; the one in C then exits with 0 if no sanitizer found an error.
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.process.wait().unwrap();
        let was_stopped = status.success() || status.signal() == Some(Signal::TERM.as_raw());
        assert!(thread::panicking() || was_stopped, "the server: {status}");
    }
}

/// The program in C with sanitizers, which is built once for all tests of this process.
fn sanitized() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../epoll-c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-epoll-c");
        let built = Command::new("cc")
            .args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror"])
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
            .arg("-o")
            .arg(&program)
            .args(["server.c", "protocol.c"].map(|file| sources.join(file)))
            .status()
            .unwrap();
        assert!(built.success(), "the server in C cannot be built");
        program
    })
}

/// A WebSocket connection.
pub struct Client(pub WebSocket<TcpStream>);

impl Client {
    /// Sends one message.
    pub fn send(&mut self, message: &Message) {
        self.0.send(message.clone()).unwrap();
    }

    /// Sends the bytes as they are, in one write.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// Receives the next message, which must be equal to `expected`.
    #[track_caller]
    pub fn expect(&mut self, expected: &Message) {
        let message = self.0.read().unwrap();
        assert!(
            message == *expected,
            "{} bytes that differ from the {} expected",
            message.len(),
            expected.len()
        );
    }

    /// A second handle of the same connection, which can send while this one reads.
    pub fn sender(&self) -> Self {
        let stream = self.0.get_ref().try_clone().unwrap();
        Self(WebSocket::from_raw_socket(stream, Role::Client, None))
    }
}

/// A binary message of this length, whose content depends on its number alone.
pub fn numbered(number: usize, bytes: usize) -> Message {
    let byte = |at: usize| (number * 31 + at * 7) as u8;
    Message::binary((0..bytes).map(byte).collect::<Vec<_>>())
}
