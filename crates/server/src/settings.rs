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
//! - `layers.rs` merges the sources; `file.rs` and `environment.rs` read one each; `negative.rs` sees
//!   to numbers below zero among the flags
//! - `units.rs` sizes, durations and counts; `rules.rs` what must agree between settings
//! - `help.rs` the command with its texts; `nearest.rs` "did you mean"; `report.rs` messages
//! - `reload.rs` which settings change at run time; `print.rs` the file with every key;
//!   `task.rs` what the command line asks for

mod environment;
mod file;
mod help;
mod layers;
mod nearest;
mod negative;
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
use ipnet::IpNet;

use crate::logging::{self, LogFormat};
use crate::origin::{AllowList, Permit};

pub use layers::{Loaded, Sources};
pub use reload::{AT_RUN_TIME, AT_START, Reload};
pub use report::{Override, Place, Refusal, Stop, Warning};
pub use task::Task;
pub use units::{Internal, Period, Size};

use units::{
    GIB, KIB, MIB, TIB, address, cores, count, delay, internal, network, period, permit, size,
};

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

/// Whether messages are compressed for peers that ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// Never.
    #[default]
    Off,
    /// For every peer that offers permessage-deflate, as browsers do.
    On,
}

/// Whose messages may refer to earlier ones of the same connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Takeover {
    /// Nobody's: an idle connection holds no memory for compression.
    #[default]
    None,
    /// The peer's.
    Client,
    /// The server's.
    Server,
    /// Both.
    Both,
}

impl Takeover {
    /// Whether the server's messages may.
    pub fn is_for_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    /// Whether the peer's messages may.
    pub fn is_for_client(self) -> bool {
        matches!(self, Self::Client | Self::Both)
    }
}

/// How a trusted proxy tells whom it speaks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProxyHeader {
    /// In the request's fields X-Forwarded-For.
    #[default]
    XForwardedFor,
    /// In a header of the PROXY protocol, version 2, before anything else.
    ProxyV2,
}

const LISTENING: &str = "Listening";
const ADDRESSES: &str = "Limits of addresses, and proxies";
const PAGE: &str = "Page and origins";
const HANDSHAKE: &str = "Limits of a handshake";
const MESSAGES: &str = "Limits of messages and queues";
const COMPRESSION: &str = "Compression";
const ROOMS: &str = "Rooms";
const TIMEOUTS: &str = "Timeouts";
const LOGGING: &str = "Logging";

/// All that can be set. The comments are the texts of `--help`.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "hubbub", version, about = help::ABOUT, long_about = help::LONG_ABOUT)]
#[command(after_help = help::AFTER, after_long_help = help::EXAMPLES, max_term_width = 100)]
pub struct Settings {
    /// Addresses and ports to listen on
    ///
    /// A list. Names are not resolved: write `127.0.0.1:8000`, `[::1]:8000`, or `0.0.0.0:8000` for
    /// every interface. With port 0 the system chooses one, which the log tells. No two may overlap,
    /// nor with internal_listen; `0.0.0.0` and `[::]` do not, since each is for its own family.
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
    /// 1 to 256. Without it, one for each core that this process may use: those of its affinity, or
    /// as many whole ones as the CPU quota of its control group has, if they are fewer; at least 1.
    #[arg(long, value_name = "COUNT", value_parser = cores(256), help_heading = LISTENING)]
    pub cores: Option<NonZeroUsize>,

    /// How the cores wait for sockets
    ///
    /// With io_uring a core waits through the ring, while receives and sends are direct system calls, as
    /// they are with epoll. Receives by completion and sends in batches were tried and are not used,
    /// because most workloads cost the same within the noise and an idle connection would hold more memory.
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

    /// Most connections of one address at a time; 0 for any number
    ///
    /// Of an IPv4 address, or of an IPv6 network of 64 bits; this machine's own (127.0.0.0/8, ::1)
    /// are not counted. Beyond it, a peer is answered 429 with Retry-After; eight are told so at a
    /// time, others are reset. 0 is logged as a warning. Behind a proxy, see trusted_proxies.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 10_000_000))]
    #[arg(default_value = "100", help_heading = ADDRESSES)]
    pub address_connections_max: usize,

    /// New connections of one address a second; 0 for any number
    ///
    /// Counted as address_connections_max does, and answered like it. 0 is logged as a warning.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "20", help_heading = ADDRESSES)]
    pub address_rate: usize,

    /// New connections of one address at once, before address_rate holds
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "40", help_heading = ADDRESSES)]
    pub address_burst: usize,

    /// Most addresses whose connections are counted, over all cores
    ///
    /// 16 to 10000000. An address is forgotten when it has no connection and its burst is whole
    /// again. While all are in use, connections of further addresses are let in uncounted, which a
    /// metric shows: to refuse them would let one who has many addresses shut all others out.
    #[arg(long, value_name = "COUNT", value_parser = count(16, 10_000_000))]
    #[arg(default_value = "65536", help_heading = ADDRESSES)]
    pub addresses_max: usize,

    /// Networks of proxies that may speak for their clients
    ///
    /// A list of networks, such as 10.0.0.0/8 or fd00::/8, and single addresses. What such a peer
    /// says of its client, in the way of proxy_header, is what limits of addresses count and the
    /// log shows. From anyone else it is not believed.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = network)]
    #[arg(help_heading = ADDRESSES)]
    pub trusted_proxies: Vec<IpNet>,

    /// How a trusted proxy tells whom it speaks for
    ///
    /// With x-forwarded-for, the client is the last address of all these fields that is no trusted
    /// proxy's. With proxy-v2, every connection of a trusted proxy must begin with a header of the
    /// PROXY protocol, version 2: without one it is refused, with 400 if it is a request.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for", help_heading = ADDRESSES)]
    pub proxy_header: ProxyHeader,

    /// File in TOML to read settings from
    ///
    /// Its keys are the flags' names with underscores: `ping_interval = "25s"`. A list is an array
    /// of strings.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub config: Option<PathBuf>,

    /// Directory to serve over HTTP in place of the built-in page
    ///
    /// It is read into memory at start and on SIGHUP; a change shows after that. A relative path
    /// starts from the working directory. Names that begin with a dot are left out.
    #[arg(long, value_name = "PATH", help_heading = PAGE)]
    pub static_dir: Option<PathBuf>,

    /// Most bytes to read from static_dir
    ///
    /// A larger directory is refused, at start and by a reload, which holds the old files until it
    /// has all of the new ones.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "64MiB", help_heading = PAGE)]
    pub static_bytes_max: Size,

    /// Origins whose pages may connect, beside this server's own
    ///
    /// A list of scheme://host:port or host:port, without the port if it is the scheme's default. A
    /// browser tells which page opens a connection: a page of another host or port is answered 403
    /// unless it is listed. Programs that send no Origin are accepted. What browsers send for pages
    /// of no web server is listed as they send it: chrome-extension://ID, capacitor://localhost,
    /// `file://` for local files, `null` for pages without an origin of their own. `*` accepts every
    /// origin. It, `file://` and `null` are logged as warnings: any page can send `null` from a
    /// sandboxed frame.
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

    /// Messages that a peer may send a second; 0 for any number
    ///
    /// Beyond it, the peer is closed with 1008.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "0", help_heading = MESSAGES)]
    pub message_rate: usize,

    /// Messages that a peer may send at once, before message_rate holds
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "200", help_heading = MESSAGES)]
    pub message_burst: usize,

    /// Pings and pongs that a peer may send a second; 0 for any number
    ///
    /// Beyond it, the peer is closed with 1008. Answers to the server's own pings count too.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "0", help_heading = MESSAGES)]
    pub control_rate: usize,

    /// Pings and pongs that a peer may send at once, before control_rate holds
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "50", help_heading = MESSAGES)]
    pub control_burst: usize,

    /// Most bytes waiting to be sent to one connection
    ///
    /// A peer that reads too slowly and exceeds it is closed with 1013 ("try again later"), so that
    /// it slows down nobody else. An empty queue takes one message of any permitted size.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = MESSAGES)]
    pub send_queue_bytes_max: Size,

    /// Most bytes of memory for what waits to be sent, to all connections together
    ///
    /// Each core has an even share of it. When a core has more, the peers for whom the most waits
    /// are closed with 1013 ("try again later") until it has not. Without it, a quarter of the
    /// memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = MESSAGES)]
    pub send_queues_bytes_max: Option<Size>,

    /// Most bytes of memory for what has come and is not whole yet, of all connections together
    ///
    /// Requests, messages and TLS records, and what a connection keeps that is not read for a while.
    /// Each core has an even share of it, or three times message_bytes_max if that is more. When a core
    /// has more, the peers that hold the most are closed with 1013 ("try again later"), or answered
    /// 503. Without it, an eighth of the memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = MESSAGES)]
    pub unfinished_bytes_max: Option<Size>,

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

    /// Whether messages are compressed (RFC 7692) for peers that ask for it
    ///
    /// It saves bytes and costs processor time, much more than everything else that is done for a
    /// message. What a room is told is compressed once on each core, however many hear it.
    #[arg(long, value_name = "CHOICE", default_value = "off", help_heading = COMPRESSION)]
    pub compression: Compression,

    /// How hard to compress
    ///
    /// From 1, the fastest, to 9, the shortest. 3 takes three to four times as long as 1 and makes
    /// a kilobyte of chat a quarter shorter: worth it where rooms are large.
    #[arg(long, value_name = "LEVEL", value_parser = count(1, 9))]
    #[arg(default_value = "1", help_heading = COMPRESSION)]
    pub compression_level: usize,

    /// Fewest bytes of a message that is compressed
    ///
    /// Shorter ones are sent as they are, and so are those that compressing would not shorten.
    #[arg(long, value_name = "SIZE", value_parser = size(0, GIB))]
    #[arg(default_value = "256", help_heading = COMPRESSION)]
    pub compression_bytes_min: Size,

    /// Whose messages may refer to earlier ones of the same connection
    ///
    /// Shorter messages, for memory that each connection holds on to: docs/limits.md says how much,
    /// and compression_contexts_bytes_max bounds it. Connections in rooms never need it for what is
    /// sent to them. Where a page can make a peer send secrets beside its own text, lengths tell them:
    /// then leave it off.
    #[arg(long, value_name = "CHOICE", default_value = "none", help_heading = COMPRESSION)]
    pub compression_takeover: Takeover,

    /// Window of the server's messages, as a power of two of bytes
    ///
    /// 9 (512 bytes) to 15 (32 KiB); a peer may ask for a smaller one. With compression_takeover
    /// for the client it bounds the memory of its earlier messages, too, if it offers that.
    #[arg(long, value_name = "BITS", value_parser = count(9, 15))]
    #[arg(default_value = "15", help_heading = COMPRESSION)]
    pub compression_window_bits: usize,

    /// Most bytes of memory for what messages of all connections refer to
    ///
    /// With compression_takeover. Each core has an even share of it. When the rest is too little,
    /// whoever comes is served without takeover: of the server's messages, or of the peer's, too.
    /// Without it, an eighth of the memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = COMPRESSION)]
    pub compression_contexts_bytes_max: Option<Size>,

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
    /// After it, the peer is answered 408, or just closed if it has sent nothing.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub handshake_timeout: Period,

    /// Time for a message, from its first byte to its last, all its fragments together
    ///
    /// After it, the peer is closed with 1008. It stands still while the server does not read.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub message_timeout: Period,
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
    /// Whatever arrives from the peer begins the time anew, since the pong of a peer that uploads over
    /// a slow line stands behind its own upload. After the time, the peer is taken for lost: it is
    /// closed with 1011, then reset.
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

    /// Time between SIGTERM and the shutdown
    ///
    /// Meanwhile the server serves and accepts as before, but is no longer ready: time for a load
    /// balancer to notice. 0s to 1day.
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    #[arg(default_value = "0s", help_heading = TIMEOUTS)]
    pub drain_delay: Period,

    /// Time for a shutdown by SIGTERM, over which the closes are spread
    ///
    /// Peers are closed with 1001 ("going away") at an even pace, each at a random time of its own
    /// part of it, so that they do not all return at once; the first of each core is closed at once.
    /// What is queued for them is sent first.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "30s", help_heading = TIMEOUTS)]
    pub drain_timeout: Period,

    /// Time for a shutdown by SIGINT, as Ctrl-C sends it
    ///
    /// Begins at once, without drain_delay. The closes are spread over half of it, the answers have
    /// the other half; whoever is left at its end is reset.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "2s", help_heading = TIMEOUTS)]
    pub interrupt_drain_timeout: Period,

    /// What to log: a level, or rules by module
    ///
    /// off, error, warn, info, debug or trace; or rules, such as `info,runtime=debug`. The modules
    /// are hubbub, server and runtime. RUST_LOG is read where HUBBUB_LOG_LEVEL is not set.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    #[arg(default_value = "info", help_heading = LOGGING)]
    pub log_level: String,

    /// Form of the lines on standard error
    ///
    /// With json, nothing is said on standard output: where it listens is in the log. Settings that
    /// are refused are told in this form, too, if what was read of it is good.
    #[arg(long, value_name = "NAME", default_value = "text", help_heading = LOGGING)]
    pub log_format: LogFormat,

    /// Most bytes of the log that wait until standard error takes them
    ///
    /// 16KiB to 1GiB. Nothing waits for whoever reads the log: lines beyond it are dropped, counted
    /// (hubbub_log_lines_dropped_total), and their number is logged when there is room again.
    #[arg(long, value_name = "SIZE", value_parser = size(16 * KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = LOGGING)]
    pub log_queue_bytes_max: Size,
}

impl Settings {
    /// The origins that are accepted beside the server's own.
    pub fn allow_list(&self) -> AllowList {
        self.allow_origin.iter().cloned().collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::parse_from(["hubbub"])
    }
}

fn filter(text: &str) -> Result<String, String> {
    logging::check_filter(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests;
