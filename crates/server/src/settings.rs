//! The settings: one struct, read from flags, environment, a file and defaults, in that order.
//!
//! Each field is one argument of the command line. That one declaration defines its flag
//! (`--ping-interval`), its variable (`HUBBUB_PING_INTERVAL`), its key in the file
//! (`ping_interval`), its place in `--help` and its check. The environment and the file are
//! layers *below* the command line: a value that no flag gives is added to the command line as a
//! flag, so that one parser and one set of rules serve all of them.
//!
//! *Invariant:* nothing is guessed. A value that is out of range, has the wrong unit or belongs to
//! no setting is refused before anything listens, with the place where it stands and a remedy.
//!
//! - `layers.rs` merges the sources; `file.rs` and `environment.rs` read one each; `negative.rs`
//!   accepts numbers below zero as values of flags
//! - `units.rs` parses sizes, durations and counts, `url.rs` URLs; `choices.rs` has the choices of settings that
//!   offer a few; `rules.rs` checks settings against each other
//! - `namespaces.rs` has the rules of rooms, `hooks.rs` the hooks, and `api_keys.rs` the keys of the API, which have
//!   tables of their own in the file; `table.rs` reads the options of such tables
//! - `help.rs` has the command with its texts; `nearest.rs` "did you mean"; `report.rs` messages
//! - `reload.rs` says which settings change at run time; `print.rs` prints the file with every key;
//!   `task.rs` says what the command line asks for

mod api_keys;
mod choices;
mod environment;
mod file;
mod help;
mod hooks;
mod layers;
mod namespaces;
mod nearest;
mod negative;
mod print;
mod reload;
mod report;
mod rules;
mod table;
mod task;
mod units;
mod url;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;
use ipnet::IpNet;

use crate::events::EventKind;
use crate::logging::{self, LogFormat};
use crate::origin::{AllowList, Permit};

pub use api_keys::{ApiKey, ApiKeys, KEY_OPTIONS, Secret, namespace_of, read_key_file};
pub use choices::{Compression, Driver, ErrorMode, Moderation, ProxyHeader, Switch, Takeover};
pub use help::command;
pub use hooks::{DeclaredHooks, HOOK_OPTIONS, HookOption, HookSettings};
pub use layers::{Loaded, Sources};
pub use namespaces::{Declared, NamespaceOption, OPTIONS};
pub use reload::{AT_RUN_TIME, AT_START, Reload};
pub use report::{Override, Place, Refusal, Stop, Warning};
pub use table::TableOption;
pub use task::Task;
pub(crate) use units::period;
pub use units::{HostName, Internal, Period, Size};
pub use url::Url;
pub(crate) use url::url as url_of;

use units::{
    GIB, KIB, MIB, TIB, address, cores, count, delay, host_name, internal, leeway, network, pause,
    permit, size,
};
use url::{endpoint, url};

const LISTENING: &str = "Listening";
const ADDRESSES: &str = "Limits of addresses, and proxies";
const API: &str = "The API of back ends";
const PAGE: &str = "Page and origins";
const HANDSHAKE: &str = "Limits of a handshake";
const MESSAGES: &str = "Limits of messages and queues";
const COMPRESSION: &str = "Compression";
const ROOMS: &str = "Rooms";
const STATE: &str = "What outlives the process";
const CLIENTS: &str = "Who may be here";
const EVENTS: &str = "Events to the back end";
const TIMEOUTS: &str = "Timeouts";
const LOGGING: &str = "Logging";
const EMBEDDING: &str = "For programs that embed the server";

/// Where the API of a server in dev listens unless something else is said.
const DEV_API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);

/// All settings. The comments are the texts of `--help`.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "hubbub", version, about = help::ABOUT, long_about = help::LONG_ABOUT)]
#[command(after_help = help::AFTER, after_long_help = help::EXAMPLES, max_term_width = 100)]
pub struct Settings {
    /// Addresses and ports to listen on
    ///
    /// A list. Host names are not resolved: write `127.0.0.1:8000`, `[::1]:8000`, or `0.0.0.0:8000`
    /// for every interface. With port 0 the system chooses a port, which the log shows. No address
    /// may overlap another one or internal_listen; `0.0.0.0` and `[::]` do not overlap, since each
    /// covers only its own family.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', value_parser = address)]
    #[arg(default_value = "127.0.0.1:8000", help_heading = LISTENING)]
    pub listen: Vec<SocketAddr>,

    /// Address and port of the internal listener (metrics, health, debug pages), or off
    ///
    /// It serves /metrics, /healthz, /readyz and /debug over plain HTTP to everyone who can reach
    /// it: keep it inside your network.
    #[arg(long, value_name = "ADDRESS", value_parser = internal)]
    #[arg(default_value = "127.0.0.1:9000", help_heading = LISTENING)]
    pub internal_listen: Internal,

    /// File with the TLS certificate and its chain to a known authority, in PEM
    ///
    /// With tls_key, all addresses of listen speak only TLS 1.2 and 1.3: https:// and wss://. The
    /// file is read again on SIGHUP; turning TLS on or off needs a restart.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub tls_cert: Option<PathBuf>,

    /// File with the private key of tls_cert, in PEM
    ///
    /// The key must have no passphrase, and should be readable only by the server's user.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub tls_key: Option<PathBuf>,

    /// File with the certificate of the internal listener, in PEM
    ///
    /// With internal_tls_key, the internal listener speaks TLS. The file is read again on SIGHUP.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_cert: Option<PathBuf>,

    /// File with the private key of internal_tls_cert, in PEM
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_key: Option<PathBuf>,

    /// File with the authorities whose clients the internal listener serves, in PEM
    ///
    /// If it is set, a client must have a certificate that one of them has signed. Otherwise the
    /// listener serves everyone who can reach it.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub internal_tls_client_ca: Option<PathBuf>,

    /// Number of threads that serve connections, each on its own core
    ///
    /// 1 to 256. The default is one for each core that this process may use: the cores of its
    /// affinity, or the whole part of the CPU quota of its control group if that is less; at least
    /// 1.
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
    /// A connection beyond it is answered 503 with Retry-After. By default, it follows from the
    /// file descriptors: RLIMIT_NOFILE (`ulimit -Hn`), less those that are open at start, and less
    /// a reserve of 64 or a quarter, whichever is smaller. With an API, those of its connections are
    /// left out, too.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000_000))]
    #[arg(help_heading = LISTENING)]
    pub max_connections: Option<usize>,

    /// Most connections of one address at a time; 0 means no bound
    ///
    /// An address is an IPv4 address, or an IPv6 network of 64 bits. This machine's own addresses
    /// (127.0.0.0/8, ::1) are not counted. A connection beyond the bound is answered 429 with
    /// Retry-After; eight at a time get this answer, others are reset. 0 is logged as a warning.
    /// Behind a proxy, see trusted_proxies.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 10_000_000))]
    #[arg(default_value = "100", help_heading = ADDRESSES)]
    pub address_connections_max: usize,

    /// New connections of one address per second; 0 means no bound
    ///
    /// Addresses are counted, and connections beyond the bound answered, as for
    /// address_connections_max. 0 is logged as a warning.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "20", help_heading = ADDRESSES)]
    pub address_rate: usize,

    /// New connections of one address at once, before address_rate applies
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "40", help_heading = ADDRESSES)]
    pub address_burst: usize,

    /// Most addresses whose connections are counted, over all cores
    ///
    /// 16 to 10000000. An address is forgotten when it has no connection and its burst has
    /// refilled. While the table is full, connections of further addresses are admitted uncounted,
    /// which a metric shows. Refusing them would let an attacker with many addresses lock everyone
    /// else out.
    #[arg(long, value_name = "COUNT", value_parser = count(16, 10_000_000))]
    #[arg(default_value = "65536", help_heading = ADDRESSES)]
    pub addresses_max: usize,

    /// Networks of proxies that may name their clients
    ///
    /// A list of networks, such as 10.0.0.0/8 or fd00::/8, and of single addresses. If the peer is
    /// one of them, the client address that it names (see proxy_header) is what the limits of
    /// addresses count and the log shows. Such a claim from any other peer is ignored.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',', value_parser = network)]
    #[arg(help_heading = ADDRESSES)]
    pub trusted_proxies: Vec<IpNet>,

    /// How a trusted proxy names its client
    ///
    /// With x-forwarded-for, the client is the last address in all these fields that is not a
    /// trusted proxy's. With proxy-v2, every connection of a trusted proxy must begin with a header
    /// of the PROXY protocol, version 2; without one it is refused, with 400 if it is a request.
    #[arg(long, value_name = "NAME", default_value = "x-forwarded-for", help_heading = ADDRESSES)]
    pub proxy_header: ProxyHeader,

    /// Address and port of the API of back ends, or off
    ///
    /// It serves POST /api/METHOD, POST /rooms/NAME and GET /openapi.json to everyone who shows a key of a table
    /// `[api_keys.NAME]`. Not set, there is no API, except that dev has one at 127.0.0.1:8001, with a key that it
    /// makes at each start.
    #[arg(long, value_name = "ADDRESS", value_parser = internal, help_heading = API)]
    pub api_listen: Option<Internal>,

    /// File with the certificate of the API, in PEM
    ///
    /// With api_tls_key, the API speaks TLS. The file is read again on SIGHUP.
    #[arg(long, value_name = "PATH", help_heading = API)]
    pub api_tls_cert: Option<PathBuf>,

    /// File with the private key of api_tls_cert, in PEM
    #[arg(long, value_name = "PATH", help_heading = API)]
    pub api_tls_key: Option<PathBuf>,

    /// File with the authorities whose clients the API serves, in PEM
    ///
    /// If it is set, a client must have a certificate that one of them has signed, beside its key.
    #[arg(long, value_name = "PATH", help_heading = API)]
    pub api_tls_client_ca: Option<PathBuf>,

    /// Hosts by whose names the API may be called
    ///
    /// A list of names and addresses without ports. A request whose Host is another one is answered 403. By
    /// default any is accepted, and in dev only localhost and addresses of this machine.
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = host_name)]
    #[arg(help_heading = API)]
    pub api_hosts: Vec<HostName>,

    /// Origins whose pages may call the API
    ///
    /// A list as that of allow_origin. Browsers say which page sends a request; programs don't. A request of any
    /// other page is answered 403, whatever key it has: a key in a page is everybody's.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = permit)]
    #[arg(help_heading = API)]
    pub api_origins: Vec<Permit>,

    /// How the API says that a call has failed
    ///
    /// A request may choose for itself by the field X-Centrifugo-Error-Mode.
    #[arg(long, value_name = "CHOICE", default_value = "result", help_heading = API)]
    pub api_error_mode: ErrorMode,

    /// Most connections of the API at a time
    ///
    /// 1 to 10000. A further one takes the place of the one that has gone longest without a request, and waits
    /// if all are being answered.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000))]
    #[arg(default_value = "256", help_heading = API)]
    pub api_connections_max: usize,

    /// Most bytes of the body of a call
    ///
    /// A longer one is answered 413.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 64 * MIB))]
    #[arg(default_value = "1MiB", help_heading = API)]
    pub api_body_bytes_max: Size,

    /// Most bytes of the bodies of all calls that are being read or carried out
    ///
    /// At least api_body_bytes_max. A call that does not fit beside the others is answered 503 with Retry-After.
    /// When answers that have not left take as much, batches carry out no further commands.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 16 * GIB))]
    #[arg(default_value = "64MiB", help_heading = API)]
    pub api_bodies_bytes_max: Size,

    /// Time for the head of a call, for its body, and for its answer, each
    ///
    /// A call whose body is late is answered 408, and one that is not carried out in time 503. A caller that takes
    /// nothing of its answer for so long is let go.
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "10s")]
    #[arg(help_heading = API)]
    pub api_timeout: Period,

    /// File in TOML to read settings from
    ///
    /// Its keys are the flags' names with underscores: `ping_interval = "25s"`. A list is an array
    /// of strings. Below the keys, the tables `[rooms]` and `[namespaces.NAME]` have the rules of
    /// rooms, and `[hooks.NAME]` what a back end is asked about; `config print` explains their options.
    #[arg(long, value_name = "PATH", help_heading = LISTENING)]
    pub config: Option<PathBuf>,

    /// Directory to serve over HTTP in place of the built-in page
    ///
    /// It is read into memory at start and on SIGHUP, so changes show only after that. A relative
    /// path starts at the working directory. Files whose names begin with a dot are left out.
    #[arg(long, value_name = "PATH", help_heading = PAGE)]
    pub static_dir: Option<PathBuf>,

    /// Most bytes to read from static_dir
    ///
    /// A larger directory is refused, at start and by a reload. A reload holds the old files until
    /// it has read all of the new ones.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "64MiB", help_heading = PAGE)]
    pub static_bytes_max: Size,

    /// Origins whose pages may connect, in addition to this server's own
    ///
    /// A list of scheme://host:port or host:port; leave the port out if it is the scheme's default.
    /// A browser says which page opens a connection. A page of another host or port is answered 403
    /// unless its origin is listed. Programs that send no Origin are accepted. For pages that do
    /// not come from a web server, list what the browser sends: chrome-extension://ID,
    /// capacitor://localhost, `file://` for local files, `null` for pages without an origin of
    /// their own. `*` accepts every origin. `*`, `file://` and `null` are logged as warnings: any
    /// page can send `null` from a sandboxed frame.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = permit)]
    #[arg(help_heading = PAGE)]
    pub allow_origin: Vec<Permit>,

    /// Most bytes of a request's head
    ///
    /// The head is the request line and all fields. A longer one is answered 431.
    #[arg(long, value_name = "SIZE", value_parser = size(256, MIB))]
    #[arg(default_value = "16KiB", help_heading = HANDSHAKE)]
    pub head_bytes_max: Size,

    /// Most fields of a request's head
    ///
    /// 1 to 256. A head with more is answered 431.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 256))]
    #[arg(default_value = "64", help_heading = HANDSHAKE)]
    pub head_fields_max: usize,

    /// Most bytes of a request's first line
    ///
    /// At most head_bytes_max. A longer one is answered 414.
    #[arg(long, value_name = "SIZE", value_parser = size(64, MIB))]
    #[arg(default_value = "8KiB", help_heading = HANDSHAKE)]
    pub request_line_bytes_max: Size,

    /// Most bytes of the head, and of the first line, of a request for server-sent events
    ///
    /// Pages have to put into the address what they would send in a first message: a token, and positions in
    /// rooms. It holds for GET requests of /connection/sse and /connection/uni_sse, where it is more than
    /// head_bytes_max; a longer one is answered 414 or 431. What has come of a head counts against
    /// unfinished_bytes_max.
    #[arg(long, value_name = "SIZE", value_parser = size(256, MIB))]
    #[arg(default_value = "64KiB", help_heading = HANDSHAKE)]
    pub sse_head_bytes_max: Size,

    /// Most bytes of a message from a peer
    ///
    /// All fragments of a message count together. A peer that exceeds it is closed with 1009.
    #[arg(long, value_name = "SIZE", value_parser = size(1, GIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub message_bytes_max: Size,

    /// Most fragments of a message from a peer; 0 means no bound
    ///
    /// A peer that exceeds it is closed with 1008. 0 is logged as a warning.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "1024", help_heading = MESSAGES)]
    pub message_fragments_max: usize,

    /// Messages that a peer may send per second; 0 means no bound
    ///
    /// A peer that exceeds it is closed with 1008.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "0", help_heading = MESSAGES)]
    pub message_rate: usize,

    /// Messages that a peer may send at once, before message_rate applies
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "200", help_heading = MESSAGES)]
    pub message_burst: usize,

    /// Pings and pongs that a peer may send per second; 0 means no bound
    ///
    /// A peer that exceeds it is closed with 1008. Answers to the server's own pings count, too.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "0", help_heading = MESSAGES)]
    pub control_rate: usize,

    /// Pings and pongs that a peer may send at once, before control_rate applies
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "50", help_heading = MESSAGES)]
    pub control_burst: usize,

    /// Most bytes that wait to be sent to one connection
    ///
    /// A peer that reads too slowly and exceeds it is closed with 1013 ("try again later"), so that
    /// it slows down no other peer. An empty queue accepts one message of any permitted size.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = MESSAGES)]
    pub send_queue_bytes_max: Size,

    /// Most bytes of memory for everything that waits to be sent, over all connections
    ///
    /// Each core has an even share. When a core exceeds its share, it resets the connections for
    /// which the most waits, until it is down to seven eighths of it. The default is a quarter of
    /// the memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = MESSAGES)]
    pub send_queues_bytes_max: Option<Size>,

    /// Most bytes of memory for input that has arrived only in part, over all connections
    ///
    /// It bounds unfinished requests, messages and TLS records, and input that is kept while a
    /// connection is not read. Each core has an even share, or three times message_bytes_max if
    /// that is more. When a core exceeds its share, it closes the peers that hold the most with
    /// 1013 ("try again later"), or answers them 503, until it is down to seven eighths of it. The
    /// default is an eighth of the memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = MESSAGES)]
    pub unfinished_bytes_max: Option<Size>,

    /// Most bytes of a connection's own messages that are on their way to their rooms
    ///
    /// Above it, the connection is not read until some of them have arrived, so its peer sees a
    /// slower server. See pause_timeout.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub publish_window_bytes: Size,

    /// Most bytes of requests that wait on one core for another core's mailbox
    ///
    /// Above it, that core's connections are not read: their peers see a slower server, and joins
    /// are answered 503. See pause_timeout. It also bounds, over all cores, the requests of /emulation that are
    /// on their way to the cores of their sessions; further ones are answered 503. The value at start also bounds the messages that wait on
    /// one core for rooms which are too busy to take them; a peer whose message exceeds that is
    /// closed with 1013 ("try again later").
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "4MiB", help_heading = MESSAGES)]
    pub outbox_bytes_max: Size,

    /// Most bytes of commands that wait for one client whose transport is a stream over HTTP
    ///
    /// Such a client sends its commands by requests of their own (/emulation), which nothing slows down while
    /// it waits for rooms or does not read. A client beyond it is told 3013 ("too many requests"); a single
    /// request is taken however long a message may be. What waits counts against unfinished_bytes_max.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = MESSAGES)]
    pub emulation_waiting_bytes_max: Size,

    /// Capacity of each mailbox between two cores, in batches
    ///
    /// 1 to 65536. When a mailbox is full, requests wait in the sender's outbox.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 65_536))]
    #[arg(default_value = "64", help_heading = MESSAGES)]
    pub mailbox_batches: usize,

    /// Most commands that wait on one core for its connections
    ///
    /// 1 to 1000000. When as many wait, a further one is refused, and its sender learns that at once. Half
    /// of the places are kept from what peers send by requests of their own (/emulation): such a request
    /// is answered 503 when the other half is taken.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 1_000_000))]
    #[arg(default_value = "1024", help_heading = EMBEDDING)]
    pub commands_max: usize,

    /// Most requests to rooms from within the server, as of its API, that wait on one core or are under way there
    ///
    /// 1 to 1000000. When there are as many, or more bytes of publications among them than outbox_bytes_max, a
    /// further one is refused, and whoever makes it learns that at once.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 1_000_000))]
    #[arg(default_value = "1024", help_heading = EMBEDDING)]
    pub desk_requests_max: usize,

    /// Bytes that a core receives at a time; all its connections share this buffer in turn
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 16 * MIB))]
    #[arg(default_value = "64KiB", help_heading = MESSAGES)]
    pub receive_buffer_bytes: Size,

    /// Whether messages are compressed (RFC 7692) for peers that ask for it
    ///
    /// Compression saves bytes and costs much more processor time than everything else that the
    /// server does for a message. A room's message is compressed once on each core, however many
    /// subscribers receive it.
    #[arg(long, value_name = "CHOICE", default_value = "off", help_heading = COMPRESSION)]
    pub compression: Compression,

    /// How hard to compress
    ///
    /// 1 is the fastest, 9 gives the shortest messages. 3 takes three to four times as long as 1
    /// and makes a kilobyte of chat a quarter shorter, which is worth it if rooms are large.
    #[arg(long, value_name = "LEVEL", value_parser = count(1, 9))]
    #[arg(default_value = "1", help_heading = COMPRESSION)]
    pub compression_level: usize,

    /// Fewest bytes of a message that is compressed
    ///
    /// Shorter messages are sent uncompressed, and so are those that compression would not shorten.
    #[arg(long, value_name = "SIZE", value_parser = size(0, GIB))]
    #[arg(default_value = "256", help_heading = COMPRESSION)]
    pub compression_bytes_min: Size,

    /// Whose messages may refer to earlier ones of the same connection
    ///
    /// This makes messages shorter but holds memory for each connection: docs/limits.md says how
    /// much, and compression_contexts_bytes_max bounds it. Messages to connections in rooms never
    /// use it. If a page can make a peer send secrets beside text of the page's choice, the lengths
    /// can reveal them: then leave it off.
    #[arg(long, value_name = "CHOICE", default_value = "none", help_heading = COMPRESSION)]
    pub compression_takeover: Takeover,

    /// Window of the server's messages, as a power of two of bytes
    ///
    /// 9 (512 bytes) to 15 (32 KiB); a peer may ask for a smaller one. With compression_takeover
    /// for the client, it also bounds the memory for the client's earlier messages, if the client
    /// offers that.
    #[arg(long, value_name = "BITS", value_parser = count(9, 15))]
    #[arg(default_value = "15", help_heading = COMPRESSION)]
    pub compression_window_bits: usize,

    /// Most bytes of memory for the earlier messages that compression refers to
    ///
    /// It applies with compression_takeover, over all connections. Each core has an even share.
    /// When too little of it is left, new connections are served without takeover, first of the
    /// server's messages, then also of the peer's. The default is an eighth of the memory that this
    /// process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = COMPRESSION)]
    pub compression_contexts_bytes_max: Option<Size>,

    /// Most rooms at a time
    ///
    /// A peer that asks for a new room beyond it is answered 503. Positions that are kept for rooms
    /// of the past (position_ttl) count as rooms until a new room needs their place.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 100_000_000))]
    #[arg(default_value = "1000000", help_heading = ROOMS)]
    pub rooms_max: usize,

    /// Most rooms that one connection may be in at a time
    ///
    /// 1 to 256, including rooms that it has asked for and waits for. A join beyond it is refused,
    /// and the connection stays open. It matters to protocols whose connections join several rooms;
    /// a connection of the built-in ones is in one room at most.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 256))]
    #[arg(default_value = "128", help_heading = EMBEDDING)]
    pub rooms_per_connection_max: usize,

    /// Time for which a room without subscribers is kept
    ///
    /// A peer that returns within it finds the same room; after it, the peer gets a new room of
    /// that name.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "60s", help_heading = ROOMS)]
    pub room_idle_timeout: Period,

    /// Time for which a room's epoch and latest number are kept after the room itself; 0s means not
    ///
    /// 0s to 1day, and only for rooms with positions. A room of the same name that is made within it goes
    /// on counting where the old one ended, so that a client can tell whether it has missed messages.
    /// What is kept counts against rooms_max, and gives its place up, the oldest first, when a new room
    /// needs one.
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    #[arg(default_value = "1h", help_heading = ROOMS)]
    pub position_ttl: Period,

    /// Most positions that are kept for rooms of the past
    ///
    /// Each core has an even share. Beyond it the oldest is forgotten: that room gets a new epoch.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 100_000_000))]
    #[arg(default_value = "1000000", help_heading = ROOMS)]
    pub positions_max: usize,

    /// Most memory for the past of all rooms
    ///
    /// It applies over all cores, each with an even share. When that is used up, the room that has been
    /// untouched for the longest time forgets its oldest messages first. The default is a fifth of the
    /// memory that this process may use.
    #[arg(long, value_name = "SIZE", value_parser = size(MIB, 64 * TIB))]
    #[arg(help_heading = ROOMS)]
    pub history_bytes_max: Option<Size>,

    /// Most messages of a room's past in one answer; who has missed more is given none
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000))]
    #[arg(default_value = "300", help_heading = ROOMS)]
    pub recovered_messages_max: usize,

    /// Most bytes of a room's past in one answer; each message counts with some 80 besides its own
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 64 * MIB))]
    #[arg(default_value = "512KiB", help_heading = ROOMS)]
    pub recovered_bytes_max: Size,

    /// Most one-shot rooms at a time
    ///
    /// They are made by `POST /oneshot/NAMESPACE` in namespaces that say so (oneshot), and live for seconds to
    /// minutes. A request beyond the bound is answered 503 with Retry-After.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000_000))]
    #[arg(default_value = "10000", help_heading = ROOMS)]
    pub oneshot_rooms_max: usize,

    /// One-shot rooms that one address may make per second; 0 means no bound
    ///
    /// Addresses are counted as for address_rate, at most addresses_max of them. A request beyond the bound is
    /// answered 429 with Retry-After.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "1", help_heading = ROOMS)]
    pub oneshot_rate: usize,

    /// One-shot rooms that one address may make at once, before oneshot_rate applies
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "20", help_heading = ROOMS)]
    pub oneshot_burst: usize,

    /// Directory for what outlives the process
    ///
    /// When a drain is over, rooms are written there with their histories, tables and positions, and the next start
    /// goes on with them: clients recover over a restart as they do over a cut line. A process that is killed
    /// leaves nothing, and rooms have new epochs. Blocks, mutes and revocations are there, too, unless moderation
    /// says memory. It must exist, and belong to the server's user. One process has it at a time.
    #[arg(long, value_name = "PATH", help_heading = STATE)]
    pub state_dir: Option<PathBuf>,

    /// Most bytes of rooms to write to state_dir, or to read from it
    ///
    /// Beyond it rooms are written with their positions alone, or not at all. What a start finds there that is more
    /// is set aside. It does not bound blocks, mutes and revocations, which have bounds of their own.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, TIB))]
    #[arg(default_value = "1GiB", help_heading = STATE)]
    pub state_bytes_max: Size,

    /// Time to write rooms to state_dir at the end, and to read them at the start
    ///
    /// The rest of them gets new epochs. It comes after drain_timeout, so a supervisor must wait for both.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = STATE)]
    pub state_timeout: Period,

    /// Where blocks, mutes and revocations of tokens are kept
    ///
    /// They are written to state_dir before the API answers, and in force again at the next start. Without state_dir
    /// the API refuses them. With memory they are over with the process, and so with each restart.
    #[arg(long, value_name = "NAME", default_value = "state", help_heading = STATE)]
    pub moderation: Moderation,

    /// Most users that are blocked at a time
    ///
    /// Blocks that are over do not count for longer than a minute. The API refuses one beyond the bound.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 10_000_000))]
    #[arg(default_value = "100000", help_heading = STATE)]
    pub blocks_max: usize,

    /// Most mutes of users in rooms at a time
    ///
    /// One user is muted in 1000 rooms at most. The API refuses a mute beyond either bound.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 10_000_000))]
    #[arg(default_value = "100000", help_heading = STATE)]
    pub mutes_max: usize,

    /// Most users at a time whose tokens are revoked
    ///
    /// All users together count as one. The API refuses a revocation beyond the bound.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 10_000_000))]
    #[arg(default_value = "100000", help_heading = STATE)]
    pub revocations_max: usize,

    /// Open the server to everybody on this machine, for development
    ///
    /// Clients of SDKs need no token, may subscribe and publish everywhere, and rooms keep 100 messages
    /// for five minutes, with positions, recovery and presence. It is also on when the server is started
    /// without any setting. What raw rooms do not have is refused to hosts other than this machine, to
    /// pages of other origins and to proxies that name themselves. Never put a proxy before it: one that
    /// hides itself would open it to everybody.
    #[arg(
        long,
        value_name = "SWITCH",
        default_value = "off",
        default_missing_value = "on"
    )]
    #[arg(num_args = 0..=1, require_equals = true, help_heading = CLIENTS)]
    pub dev: Switch,

    /// Whether clients of SDKs may connect without a token
    ///
    /// What they may do then is up to the namespaces: those that say `anonymous`.
    #[arg(long, value_name = "SWITCH", default_value = "off", help_heading = CLIENTS)]
    pub anonymous: Switch,

    /// Give everybody all rights, without a token
    ///
    /// Clients of SDKs need no token, and may subscribe, publish and read everywhere, whatever the rules of
    /// rooms say. What names say stays: a room with `$` takes a token, and one with `#` is for the users that it
    /// lists. A token that is shown must be good. Unlike dev it serves other machines and proxies, too. It is
    /// for tests, and for servers that nobody but your own programs can reach; it is logged as a warning.
    #[arg(
        long,
        value_name = "SWITCH",
        default_value = "off",
        default_missing_value = "on"
    )]
    #[arg(num_args = 0..=1, require_equals = true, help_heading = CLIENTS)]
    pub insecure: Switch,

    /// Most connections of one user at a time; 0 means no bound
    ///
    /// It applies to users that tokens name, over all cores. A connection beyond it is closed with 3504.
    #[arg(long, value_name = "COUNT", value_parser = count(0, 1_000_000))]
    #[arg(default_value = "0", help_heading = CLIENTS)]
    pub user_connections_max: usize,

    /// Whether a user's older connections are closed when a new one comes
    ///
    /// They are closed with 3504, after which SDKs do not connect again; raw clients are closed with 1008.
    #[arg(long, value_name = "SWITCH", default_value = "off", help_heading = CLIENTS)]
    pub single_connection: Switch,

    /// File with the secret that tokens are signed with (HS256, HS384, HS512)
    ///
    /// At least 32 bytes; a newline at the end is no part of it.
    #[arg(long, value_name = "PATH", help_heading = CLIENTS)]
    pub token_secret: Option<PathBuf>,

    /// Files with public keys or certificates in PEM that tokens are verified with
    ///
    /// A list. RSA (RS256, RS384, RS512), P-256, P-384, P-521 (ES256, ES384, ES512) and Ed25519 (EdDSA).
    #[arg(long, value_name = "PATH", value_delimiter = ',', help_heading = CLIENTS)]
    pub token_keys: Vec<PathBuf>,

    /// File with the public keys as a JWKS (RFC 7517); then no other key is used
    #[arg(long, value_name = "PATH", help_heading = CLIENTS)]
    pub token_jwks: Option<PathBuf>,

    /// URL of the public keys as a JWKS; then no other key is used
    ///
    /// https://, or http:// to this machine; see token_jwks_http. The keys are fetched beside the cores, again
    /// after token_jwks_refresh, and when a token names a key that is not known. Redirects are not followed.
    /// Until the first keys have come, every token is answered with a temporary error and /readyz with 503; after
    /// that the keys that came last stay in force while the URL does not answer.
    #[arg(long, value_name = "URL", value_parser = url, help_heading = CLIENTS)]
    pub token_jwks_url: Option<Url>,

    /// File with the authorities of the servers of such URLs, in PEM; the system's by default
    #[arg(long, value_name = "PATH", help_heading = CLIENTS)]
    pub token_jwks_ca: Option<PathBuf>,

    /// Whether such URLs may be http:// to other machines
    ///
    /// Whoever is on the way could then put their own keys in place of yours, and be anybody. It is logged as a
    /// warning.
    #[arg(long, value_name = "SWITCH", default_value = "off", help_heading = CLIENTS)]
    pub token_jwks_http: Switch,

    /// Time from one fetch of keys to the next
    #[arg(long, value_name = "DURATION", value_parser = pause, default_value = "10m")]
    #[arg(help_heading = CLIENTS)]
    pub token_jwks_refresh: Period,

    /// Least time from one fetch of keys to the next
    ///
    /// 100ms to 1day. It bounds how often tokens with unknown keys cause one. After a failure it doubles, up to
    /// token_jwks_refresh.
    #[arg(long, value_name = "DURATION", value_parser = pause, default_value = "10s")]
    #[arg(help_heading = CLIENTS)]
    pub token_jwks_pause: Period,

    /// Time for a fetch of keys, from the lookup of the name to the last byte
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "5s")]
    #[arg(help_heading = CLIENTS)]
    pub token_jwks_timeout: Period,

    /// Most bytes of keys that are fetched
    ///
    /// A longer answer is not used.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 64 * KIB), default_value = "64KiB")]
    #[arg(help_heading = CLIENTS)]
    pub token_jwks_bytes_max: Size,

    /// Most keys of a JWKS that are used
    ///
    /// 1 to 64. Further ones are left out, which is logged; and a JWKS that lists more than 64 keys is not used.
    #[arg(long, value_name = "COUNT", value_parser = count(1, 64), default_value = "16")]
    #[arg(help_heading = CLIENTS)]
    pub token_jwks_keys_max: usize,

    /// What the claim `iss` of tokens must be
    #[arg(long, value_name = "TEXT", help_heading = CLIENTS)]
    pub token_issuer: Option<String>,

    /// What the claim `aud` of tokens must be, or contain
    #[arg(long, value_name = "TEXT", help_heading = CLIENTS)]
    pub token_audience: Option<String>,

    /// The claim that names the user, in place of `sub`
    #[arg(long, value_name = "NAME", help_heading = CLIENTS)]
    pub token_user_claim: Option<String>,

    /// For how long a token is still good after its end, and good before its beginning
    ///
    /// 0s to 30s, for a back end whose clock is not exact.
    #[arg(long, value_name = "DURATION", value_parser = leeway, default_value = "0s")]
    #[arg(help_heading = CLIENTS)]
    pub token_leeway: Period,

    /// Longest token
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, 64 * KIB), default_value = "4KiB")]
    #[arg(help_heading = CLIENTS)]
    pub token_bytes_max: Size,

    /// File with the secret of subscription tokens, if they have keys of their own
    ///
    /// With any key of their own, subscription tokens are verified with these and with no other, and their claims
    /// `iss` and `aud` are checked by the settings of theirs.
    #[arg(long, value_name = "PATH", help_heading = CLIENTS)]
    pub subscription_token_secret: Option<PathBuf>,

    /// Files with public keys of subscription tokens, as token_keys
    #[arg(long, value_name = "PATH", value_delimiter = ',', help_heading = CLIENTS)]
    pub subscription_token_keys: Vec<PathBuf>,

    /// File with the public keys of subscription tokens, as token_jwks
    #[arg(long, value_name = "PATH", help_heading = CLIENTS)]
    pub subscription_token_jwks: Option<PathBuf>,

    /// URL of the public keys of subscription tokens, as token_jwks_url
    #[arg(long, value_name = "URL", value_parser = url, help_heading = CLIENTS)]
    pub subscription_token_jwks_url: Option<Url>,

    /// What the claim `iss` of subscription tokens must be, if they have keys of their own
    #[arg(long, value_name = "TEXT", help_heading = CLIENTS)]
    pub subscription_token_issuer: Option<String>,

    /// What the claim `aud` of subscription tokens must be, or contain, if they have keys of their own
    #[arg(long, value_name = "TEXT", help_heading = CLIENTS)]
    pub subscription_token_audience: Option<String>,

    /// URL to which events are posted: who connects, subscribes and goes, and which rooms are occupied
    ///
    /// Not set, there are no events. It needs events_secret. Redirects are not followed. In the file, all these
    /// settings may also stand in a table `[events]`, without `events_` before their names. See docs/events.md.
    #[arg(long, value_name = "URL", value_parser = endpoint, help_heading = EVENTS)]
    pub events_url: Option<Url>,

    /// File with the secret by which the back end knows who sends: batches are signed with HMAC-SHA256
    ///
    /// At least 32 bytes; white space at the end is no part of it. The file is read again on SIGHUP.
    #[arg(long, value_name = "PATH", help_heading = EVENTS)]
    pub events_secret: Option<PathBuf>,

    /// File with the authorities of the back end's certificate, in PEM; the system's by default
    #[arg(long, value_name = "PATH", help_heading = EVENTS)]
    pub events_ca: Option<PathBuf>,

    /// Kinds of events that are sent
    ///
    /// A list. Namespaces may leave out those of their rooms (events = false).
    #[arg(long, value_name = "KIND", value_delimiter = ',', help_heading = EVENTS)]
    #[arg(default_value = "connected,disconnected,subscribed,unsubscribed,occupied,vacated")]
    pub events_kinds: Vec<EventKind>,

    /// Most events of one batch
    #[arg(long, value_name = "COUNT", value_parser = count(1, 10_000), default_value = "250")]
    #[arg(help_heading = EVENTS)]
    pub events_batch_max: usize,

    /// Time for which a batch waits for further events
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "200ms")]
    #[arg(help_heading = EVENTS)]
    pub events_batch_delay: Period,

    /// Most memory for events that the back end has not taken
    ///
    /// Each counts with some 250 bytes, and the names in it. What happens beyond it is lost; the next batch says how
    /// many events of which kind.
    #[arg(long, value_name = "SIZE", value_parser = size(KIB, GIB), default_value = "16MiB")]
    #[arg(help_heading = EVENTS)]
    pub events_queue_bytes_max: Size,

    /// Time for which a room must have been empty to be vacated
    ///
    /// 0s to 1day. A room that is left and entered again within it says nothing. It is looked at with each sweep,
    /// a few times a second.
    #[arg(long, value_name = "DURATION", value_parser = delay, default_value = "5s")]
    #[arg(help_heading = EVENTS)]
    pub events_debounce: Period,

    /// Time for one request, from the lookup of the name to the status of the answer
    #[arg(long, value_name = "DURATION", value_parser = period, default_value = "5s")]
    #[arg(help_heading = EVENTS)]
    pub events_timeout: Period,

    /// Longest pause before a batch is sent again
    ///
    /// 100ms to 1day. The first pause is a quarter of a second, and each further one twice as long; half of each is up
    /// to chance.
    #[arg(long, value_name = "DURATION", value_parser = pause, default_value = "30s")]
    #[arg(help_heading = EVENTS)]
    pub events_retry_max: Period,

    /// Time for which a shutdown waits for the back end, behind its last connection
    ///
    /// 0s to 1day. What the back end has not taken then is lost. Whatever supervises the server must give it
    /// drain_delay, drain_timeout, close_timeout and this.
    #[arg(long, value_name = "DURATION", value_parser = delay, default_value = "3s")]
    #[arg(help_heading = EVENTS)]
    pub events_drain_timeout: Period,

    /// Time for a whole handshake, from accepting the connection
    ///
    /// After it, the peer is answered 408, or only closed if it has sent nothing.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub handshake_timeout: Period,

    /// Time for a message with all its fragments, from its first byte to its last
    ///
    /// After it, the peer is closed with 1008. The time does not count while the server does not
    /// read.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "10s", help_heading = TIMEOUTS)]
    pub message_timeout: Period,

    /// Time for a TLS handshake, from accepting the connection
    ///
    /// It is part of handshake_timeout. After it, the connection is closed.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = TIMEOUTS)]
    pub tls_handshake_timeout: Period,

    /// Time between two pings to a peer
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "25s", help_heading = TIMEOUTS)]
    pub ping_interval: Period,

    /// Time for a peer to answer a ping
    ///
    /// Anything that arrives from the peer restarts it, because the pong of a peer that uploads
    /// over a slow line arrives only after its upload. After it, the peer counts as lost: it is
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

    /// Time for which sending may make no progress
    ///
    /// A peer that accepts not a single byte for this long is closed with 1013, then reset.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "5s", help_heading = TIMEOUTS)]
    pub write_timeout: Period,

    /// Time for which a connection may stay unread because its room cannot accept more
    ///
    /// After it, the peer is closed with 1013. See publish_window_bytes.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "30s", help_heading = TIMEOUTS)]
    pub pause_timeout: Period,

    /// Age at which a connection is closed
    ///
    /// Its peer is closed with 1001 ("going away") and connects again, perhaps to a server that was
    /// added since. Each connection gets its own age, up to a tenth more or less, so that
    /// connections that were opened together are not closed together. By default, no connection is
    /// closed because of its age.
    #[arg(long, value_name = "DURATION", value_parser = period, help_heading = TIMEOUTS)]
    pub max_connection_age: Option<Period>,

    /// Time between SIGTERM and the shutdown
    ///
    /// 0s to 1day. Meanwhile the server serves and accepts as before, but is no longer ready, so
    /// that a load balancer has time to notice.
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    #[arg(default_value = "0s", help_heading = TIMEOUTS)]
    pub drain_delay: Period,

    /// Time over which a shutdown by SIGTERM spreads its closes
    ///
    /// Peers are closed with 1001 ("going away") at an even pace, each at a random time within its
    /// own slot, so that they do not all return at once; each core closes its first connection at
    /// once. What is queued for a peer is sent first.
    #[arg(long, value_name = "DURATION", value_parser = period)]
    #[arg(default_value = "30s", help_heading = TIMEOUTS)]
    pub drain_timeout: Period,

    /// Time for a whole shutdown by SIGINT, which Ctrl-C sends
    ///
    /// It begins at once, without drain_delay. The closes are spread over half of it, and the other
    /// half is for the peers' answers; connections that are still open at its end are reset.
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
    /// With json, standard output stays empty, and the log says where the server listens. Refused
    /// settings are reported in this form, too, if the form itself could be read.
    #[arg(long, value_name = "NAME", default_value = "text", help_heading = LOGGING)]
    pub log_format: LogFormat,

    /// Most bytes of the log that wait for standard error
    ///
    /// 16KiB to 1GiB. The server never waits for the reader of the log: further lines are dropped
    /// and counted (hubbub_log_lines_dropped_total), and their number is logged once there is room
    /// again.
    #[arg(long, value_name = "SIZE", value_parser = size(16 * KIB, GIB))]
    #[arg(default_value = "1MiB", help_heading = LOGGING)]
    pub log_queue_bytes_max: Size,

    /// The rules of rooms: the tables `[rooms]` and `[namespaces.NAME]`, which only the file can have.
    #[arg(skip)]
    pub namespaces: Declared,

    /// The keys of the API: the tables `[api_keys.NAME]`, which only the file can have.
    #[arg(skip)]
    pub api_keys: ApiKeys,

    /// The hooks: the tables `[hooks]` and `[hooks.NAME]`, which only the file can have.
    #[arg(skip)]
    pub hooks: DeclaredHooks,
}

impl Settings {
    /// The origins that are accepted in addition to the server's own.
    pub fn allow_list(&self) -> AllowList {
        self.allow_origin.iter().cloned().collect()
    }

    /// The address of the API, if there is one: dev has one that need not be asked for.
    pub fn api_address(&self) -> Option<SocketAddr> {
        match self.api_listen {
            Some(Internal::At(address)) => Some(address),
            Some(Internal::Off) => None,
            None => self.dev.is_on().then_some(DEV_API),
        }
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
