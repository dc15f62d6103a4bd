//! The command line.

use crate::floor::Mode;
use crate::load::backend::{API_KEY, Beside};
use crate::load::meter::Window;
use crate::verify::VerifyArguments;
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

/// Measures what WebSocket servers cost, side by side on this machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  cargo run --release -p bench -- compare --quick
  cargo run --release -p bench -- compare --servers hubbub,epoll --workloads 'echo-*,room-1000-*'
  cargo run --release -p bench -- run --server ws://127.0.0.1:8000 --pid $(pgrep server) --workload echo-100x20B"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start each server, drive it, stop it; write table, results.json, histograms and a report.
    Compare(CompareArguments),
    /// Drive a server that runs already.
    Run(RunArguments),
    /// What an echo waits beside a hundred peers that flood, of each kind; Hubbub alone.
    Floods(FloodsArguments),
    /// Cut, stall and kill, and verify from what many clients saw that the server keeps its promises.
    Verify(VerifyArguments),
    /// Name the servers and the workloads.
    List,
    /// Draw the report again from the results of an earlier run.
    Report {
        /// Its results.json.
        results: PathBuf,
    },
    /// Be the floor; the comparison starts this.
    #[command(hide = true)]
    Floor {
        /// What to do with received bytes.
        #[arg(long)]
        mode: Mode,
        /// Where.
        #[arg(long)]
        listen: SocketAddrV4,
    },
    /// Be the prober of mixed workloads; the comparison starts this.
    #[command(hide = true)]
    Probes,
    /// Become another program on given processors; the comparison starts this.
    #[command(hide = true)]
    ExecPinned {
        /// Which.
        #[arg(long, value_delimiter = ',')]
        processors: Vec<usize>,
        /// The program and its arguments.
        #[arg(last = true)]
        command: Vec<String>,
    },
}

/// Less than the three minutes within which --quick promises to end.
const QUICK_SECONDS: f64 = 135.0;

/// The extent of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chosen {
    /// Everything.
    Full,
    /// An impression within three minutes.
    Quick,
    /// Correctness only, within a minute or two.
    Tiny,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// The main workloads in one short round: ends within three minutes.
    #[arg(long)]
    quick: bool,
    /// A smoke run: our servers, the epoll versions and Centrifugo, if it is installed, with few
    /// connections. Checks every reply, measures nothing that counts.
    #[arg(long, conflicts_with = "quick")]
    tiny: bool,
    /// Rounds of each server and workload; 3 without this, 1 with --quick or --tiny.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds to measure in each run.
    #[arg(long)]
    seconds: Option<f64>,
    /// Servers, parted by commas; `*` stands for anything.
    #[arg(long)]
    pub servers: Option<String>,
    /// Workloads, parted by commas; `*` stands for anything.
    #[arg(long)]
    pub workloads: Option<String>,
    /// Directory of the results; target/bench/results without this.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Hubbub's binary, in place of the one that is built.
    #[arg(long)]
    pub server_bin: Option<PathBuf>,
    /// An earlier build of Hubbub, which takes part as hubbub-before and hubbub-epoll-before: its
    /// program, or the directory with a program `hubbub` or, as it was once called, `server`.
    #[arg(long, value_name = "SERVER_BIN")]
    pub before: Option<PathBuf>,
    /// The epoll version's binary, in place of the one that is built.
    #[arg(long)]
    pub epoll_bin: Option<PathBuf>,
    /// The binary of the server whose connections are in many rooms, in place of the one that is built.
    #[arg(long)]
    pub rooms_bin: Option<PathBuf>,
    /// Take the binaries in target/release as they are; only epoll-c, which takes a second, is built.
    #[arg(long)]
    pub no_build: bool,
}

impl CompareArguments {
    /// The extent of the comparison.
    #[must_use]
    pub fn chosen(&self) -> Chosen {
        match (self.quick, self.tiny) {
            (true, _) => Chosen::Quick,
            (_, true) => Chosen::Tiny,
            _ => Chosen::Full,
        }
    }

    /// The name of the extent, for the report.
    #[must_use]
    pub fn extent(&self) -> &'static str {
        match self.chosen() {
            Chosen::Full => "full",
            Chosen::Quick => "quick",
            Chosen::Tiny => "tiny",
        }
    }

    /// The number of rounds.
    #[must_use]
    pub fn rounds(&self) -> usize {
        let default = if self.chosen() == Chosen::Full { 3 } else { 1 };
        self.rounds.unwrap_or(default).max(1)
    }

    /// The measured time of each of `runs` runs.
    #[must_use]
    pub fn window(&self, runs: usize) -> Window {
        // Starting, connecting and stopping together take at most half a second.
        let quick = (QUICK_SECONDS / runs.max(1) as f64 - 0.5).clamp(0.25, 1.0);
        let (warm_up, measured) = match self.chosen() {
            Chosen::Full => (0.5, 2.0),
            Chosen::Quick => (0.15, quick),
            Chosen::Tiny => (0.05, 0.15),
        };
        Window {
            warm_up: Duration::from_secs_f64(warm_up),
            measured: Duration::from_secs_f64(self.seconds.unwrap_or(measured).max(0.05)),
            stays_awake: false,
        }
    }
}

/// Arguments of `floods`.
#[derive(Debug, Args)]
pub struct FloodsArguments {
    /// Rounds of each kind and server.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Seconds to measure in each run.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Servers, parted by commas; `*` stands for anything.
    #[arg(long, default_value = "hubbub,hubbub-before")]
    pub servers: String,
    /// Kinds of floods, parted by commas; `*` stands for anything.
    #[arg(long, default_value = "*")]
    pub kinds: String,
    /// Hubbub's binary, in place of the one that was built.
    #[arg(long)]
    pub server_bin: Option<PathBuf>,
    /// An earlier build of Hubbub, which takes part as hubbub-before and hubbub-epoll-before: its
    /// program, or the directory with a program `hubbub` or, as it was once called, `server`.
    #[arg(long, value_name = "SERVER_BIN")]
    pub before: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Where the server listens: ws://HOST:PORT or wss://HOST:PORT. It must have /echo and
    /// /rooms/NAME, or for 1000x50-rooms the commands of bench-many-rooms, or for sdk-* the Centrifuge
    /// protocol, with a namespace `bench` in which everybody may subscribe, publish and recover.
    #[arg(long)]
    server: String,
    /// Its process, for processor time and memory.
    #[arg(long)]
    pub pid: Option<u32>,
    /// Who issued its certificate, which must be for `localhost`: PEM. For workloads over TLS.
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    /// Where back ends call it: HOST:PORT. For workloads api-* and health-*.
    #[arg(long, value_name = "ADDRESS")]
    pub api: Option<SocketAddrV4>,
    /// The key of that, which may publish in the namespace `bench`.
    #[arg(long, default_value = API_KEY, hide_default_value = true)]
    pub api_key: String,
    /// Its internal listener, with /healthz, /readyz and /metrics: HOST:PORT. For workloads health-*.
    #[arg(long, value_name = "ADDRESS")]
    pub internal: Option<SocketAddrV4>,
    /// Workloads, parted by commas; `*` stands for anything. TLS and compression are the workload's.
    #[arg(long)]
    pub workload: String,
    /// Seconds to measure.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
}

impl RunArguments {
    /// What it has beside its public listener.
    #[must_use]
    pub fn beside(&self) -> Beside {
        Beside {
            api: self.api,
            internal: self.internal,
            hook: None,
        }
    }

    /// The address that the URL names.
    pub fn address(&self) -> Result<SocketAddrV4> {
        let schemes = ["ws://", "wss://"];
        let host = schemes.iter().find_map(|it| self.server.strip_prefix(it));
        let host = host.unwrap_or(&self.server);
        let host = host.trim_end_matches('/');
        let addresses = host
            .to_socket_addrs()
            .with_context(|| format!("{} is not of the form ws://HOST:PORT", self.server))?;
        let v4 = |address| match address {
            SocketAddr::V4(address) => Some(address),
            SocketAddr::V6(_) => None,
        };
        let first = addresses.into_iter().find_map(v4);
        first.with_context(|| format!("{host} has no IPv4 address"))
    }
}
