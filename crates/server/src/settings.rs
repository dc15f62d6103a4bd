//! The settings: one struct, read from flags, environment, a file and defaults, in that order.
//!
//! Each field is one argument of the command line, and from that one declaration come its flag
//! (`--ping-interval`), its variable (`HUBBUB_PING_INTERVAL`), its key in the file
//! (`ping_interval`), its place in `--help` and its check. The environment and the file are
//! layers *below* the command line: what no flag gives is added to it as a flag, so that one parser
//! and one set of rules serve all of them.
//!
//! *Invariant:* nothing is guessed. A value that is out of range, has the wrong unit or belongs to
//! no setting is refused before anything listens, with the place where it stands and a remedy.
//!
//! - `layers.rs` merges the sources; `file.rs` and `environment.rs` read one each
//! - `units.rs` sizes, durations and counts; `rules.rs` what must agree between settings
//! - `help.rs` the command with its texts; `nearest.rs` "did you mean"; `report.rs` messages
//! - `reload.rs` which settings change at run time; `print.rs` the file with every key;
//!   `task.rs` what the command line asks for

mod environment;
mod file;
mod help;
mod layers;
mod nearest;
mod print;
mod reload;
mod report;
mod rules;
mod task;
mod units;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::logging::{self, LogFormat};
use crate::origin::{AllowList, Permit};

pub use layers::{Loaded, Sources};
pub use reload::{AT_RUN_TIME, AT_START, Reload};
pub use report::{Override, Place, Refusal, Stop, Warning};
pub use task::Task;
pub use units::{Internal, Period, Size};

use units::{GIB, KIB, MIB, address, cores, count, delay, internal, period, permit, size};

/// How the cores wait for sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// io_uring where the kernel offers what is needed, else epoll.
    #[default]
    Auto,
    /// io_uring, or the server does not start.
    #[value(name = "io_uring")]
    IoUring,
    /// epoll.
    Epoll,
}

const LISTENING: &str = "Listening";
const PAGE: &str = "Page and origins";
const HANDSHAKE: &str = "Limits of a handshake";
const MESSAGES: &str = "Limits of messages and queues";
const ROOMS: &str = "Rooms";
const TIMEOUTS: &str = "Timeouts";
const LOGGING: &str = "Logging";

/// All that can be set. The comments are the texts of `--help`.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "server", version, about = help::ABOUT, long_about = help::LONG_ABOUT)]
#[command(after_help = help::AFTER, after_long_help = help::EXAMPLES, max_term_width = 100)]
pub struct Settings {
    /// Addresses and ports to listen on
    ///
    /// A list. Names are not resolved: write `127.0.0.1:8000`, `[::1]:8000`, or `0.0.0.0:8000` for
    /// every interface. With port 0 the system chooses one, which the log tells.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    #[arg(default_value = "127.0.0.1:8000", help_heading = LISTENING)]
    pub listen: Vec<SocketAddr>,

    /// Address and port of the internal listener: metrics, health and what stands out; or off
    ///
    /// Serves /metrics, /healthz, /readyz and /debug over plain HTTP, to anyone who reaches it:
    /// keep it within your network.
    #[arg(long, value_name = "ADDRESS", value_parser = internal)]
    #[arg(default_value = "127.0.0.1:9000", help_heading = LISTENING)]
    pub internal_listen: Internal,

    /// File with the certificate for TLS, in PEM, and those that lead to a known authority
    ///
    /// With tls_key, all addresses of listen speak TLS 1.2 and 1.3 and nothing else: https:// and
    /// wss://. On SIGHUP the file is read again; to begin or end with TLS takes a restart.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub tls_cert: Option<PathBuf>,

    /// File with the private key of tls_cert, in PEM
    ///
    /// Without a passphrase; readable by the server's user alone.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub tls_key: Option<PathBuf>,

    /// File with the certificate of the internal listener, in PEM
    ///
    /// With internal_tls_key, that listener speaks TLS. On SIGHUP the file is read again.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_cert: Option<PathBuf>,

    /// File with the private key of internal_tls_cert, in PEM
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_key: Option<PathBuf>,

    /// File with the authorities whose clients the internal listener serves, in PEM
    ///
    /// With it, a client must have a certificate that one of them has signed. Without it, whoever
    /// reaches the listener is served.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_client_ca: Option<PathBuf>,

    /// How many threads serve connections, each on a core of its own
    ///
    /// 1 to 256. Without it, one for each core that this process may use.
    #[arg(long, value_name = "COUNT", value_parser = cores(256), help_heading = LISTENING)]
    pub cores: Option<NonZeroUsize>,

    /// How the cores wait for sockets
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = LISTENING)]
    pub driver: Driver,

    /// Most connections at a time, over all cores
    ///
    /// Beyond it, a peer is answered 503 with Retry-After. Without it, as many as there are file
    /// descriptors: RLIMIT_NOFILE (`ulimit -Hn`) less those that are open at start, and less a
    /// reserve of 64 or a quarter, whichever is smaller.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000_000))]
    #[arg(help_heading = LISTENING)]
    pub max_connections: Option<usize>,

    /// File in TOML to read settings from
    ///
    /// Its keys are the flags' names with underscores: `ping_interval = "25s"`. A list is an array
    /// of strings.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub config: Option<PathBuf>,

    /// Directory to serve over HTTP in place of the built-in page
    ///
    /// It is read into memory once, at start; a change shows after a restart. A relative path
    /// starts from the working directory. Names that begin with a dot are left out.
    #[arg(long, value_name = "PATH", help_heading = PAGE)]
    pub static_dir: Option<PathBuf>,

    /// Most bytes to read from static_dir
    ///
    /// A larger directory is refused at start.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "64MiB", help_heading = PAGE)]
    pub static_bytes_max: Size,

    /// Origins whose pages may connect, beside this server's own
    ///
    /// A list of scheme://host:port or host:port, without the port if it is the scheme's default;
    /// `*` accepts every origin, and is logged as a warning. A browser tells which page opens a
    /// connection: a page of another host or port is answered 403 unless it is listed. Programs
    /// that send no Origin are accepted.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = permit)]
    #[arg(help_heading = PAGE)]
    pub allow_origin: Vec<Permit>,

    /// Most bytes of a request's head
    ///
    /// The request line and all fields. Beyond it, the peer is answered 431.
    #[arg(long, value_name = "SIZE", value_parser = size(256, MIB))]
    #[arg(default_value = "16KiB", help_heading = HANDSHAKE)]
    pub head_bytes_max: Size,

    /// Most fields of a request's head
    ///
    /// 1 to 256. Beyond it, the peer is answered 431.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 256))]
    #[arg(default_value = "64", help_heading = HANDSHAKE)]
    pub head_fields_max: usize,

    /// Most bytes of a request's first line
    ///
    /// At most head_bytes_max. Beyond it, the peer is answered 414.
    #[arg(long, value_name = "SIZE", value_parser = size(64, MIB))]
    #[arg(default_value = "8KiB", help_heading = HANDSHAKE)]
    pub request_line_bytes_max: Size,

    /// Most bytes of a message from a peer
    ///
    /// Of all its fragments together. Beyond it, the peer is closed with 1009.
    #[arg(long, value_name = "SIZE", value_parser = size(1, GIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub message_bytes_max: Size,

    /// Most fragments of a message from a peer; 0 for any number
    ///
    /// Beyond it, the peer is closed with 1008. 0 leaves fragments unbounded, and is logged as a
    /// warning.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "1024", help_heading = MESSAGES)]
    pub message_fragments_max: usize,

    /// Most bytes waiting to be sent to one connection
    ///
    /// A peer that reads too slowly and exceeds it is closed with 1013 ("try again later"), so that
    /// it slows down nobody else. An empty queue takes one message of any permitted size.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = MESSAGES)]
    pub send_queue_bytes_max: Size,

    /// Most bytes of a connection's own messages on their way to their rooms
    ///
    /// Above it, the connection is not read until some have arrived: its peer sees a slower
    /// server. See pause_timeout.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub publish_window_bytes: Size,

    /// Most bytes of requests that wait on one core for another core's mailbox
    ///
    /// Above it, that core's connections are not read: their peers see a slower server, and joins
    /// are answered 503. See pause_timeout.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "4MiB", help_heading = MESSAGES)]
    pub outbox_bytes_max: Size,

    /// Capacity of each mailbox between two cores, in batches
    ///
    /// 1 to 65536. When it is full, requests wait in the sender's outbox.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 65_536))]
    #[arg(default_value = "64", help_heading = MESSAGES)]
    pub mailbox_batches: usize,

    /// Bytes that one core receives at a time, from all its connections in turn
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 16 * MIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub receive_buffer_bytes: Size,

    /// Most rooms at a time
    ///
    /// Beyond it, a peer that asks for a new room is answered 503.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 100_000_000))]
    #[arg(default_value = "1000000", help_heading = ROOMS)]
    pub rooms_max: usize,

    /// How long a room without subscribers is kept
    ///
    /// A peer that returns within it finds the same room; after it, a new one of that name.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "60s", help_heading = ROOMS)]
    pub room_idle_timeout: Period,

    /// Time for a whole handshake, from accepting the connection
    ///
    /// After it, the peer is answered 408 or closed.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub handshake_timeout: Period,

    /// Time for a TLS handshake, from accepting the connection
    ///
    /// Part of handshake_timeout. After it, the connection is closed.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = TIMEOUTS)]
    pub tls_handshake_timeout: Period,

    /// Time between two pings to a peer
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "25s", help_heading = TIMEOUTS)]
    pub ping_interval: Period,

    /// Time for a peer to answer a ping
    ///
    /// After it, the peer is taken for lost: it is closed with 1011, then reset.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub pong_timeout: Period,

    /// Time for a peer to answer a close
    ///
    /// After it, the connection is reset.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = TIMEOUTS)]
    pub close_timeout: Period,

    /// Time that sending may stand still
    ///
    /// A peer that takes not one byte for so long is closed with 1013, then reset.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = TIMEOUTS)]
    pub write_timeout: Period,

    /// Time that a connection may go unread because its room cannot take more
    ///
    /// After it, the peer is closed with 1013. See publish_window_bytes.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "30s", help_heading = TIMEOUTS)]
    pub pause_timeout: Period,

    /// Age at which a connection is closed
    ///
    /// Its peer is closed with 1001 ("going away") and connects again, perhaps to a server that
    /// was added since. A tenth more or less, different for each connection, so that those that
    /// came together do not go together. Without it, no connection is closed for its age.
    #[arg(long, value_name = "DURATION", value_parser = period, help_heading = TIMEOUTS)]
    pub max_connection_age: Option<Period>,

    /// Time between the signal to shut down and the shutdown
    ///
    /// Meanwhile the server serves and accepts as before, but is no longer ready: time for a load
    /// balancer to notice. 0s to 1day.
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    #[arg(default_value = "0s", help_heading = TIMEOUTS)]
    pub drain_delay: Period,

    /// Time for a shutdown, over which the closes are spread
    ///
    /// Peers are closed with 1001 ("going away") at an even pace, each at a random time of its own
    /// part of it, so that they do not all return at once. What is queued for them is sent first.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "30s", help_heading = TIMEOUTS)]
    pub drain_timeout: Period,

    /// What to log: a level, or rules by module
    ///
    /// off, error, warn, info, debug or trace; or rules, such as `info,runtime=debug`.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    #[arg(default_value = "info", help_heading = LOGGING)]
    pub log_level: String,

    /// Form of the lines on standard error
    #[arg(long, value_name = "NAME", default_value = "text", help_heading = LOGGING)]
    pub log_format: LogFormat,
}

impl Settings {
    /// The origins that are accepted beside the server's own.
    pub fn allow_list(&self) -> AllowList {
        self.allow_origin.iter().cloned().collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::parse_from(["server"])
    }
}

fn filter(text: &str) -> Result<String, String> {
    logging::check_filter(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests;
