//! `bench verify`: whether a server keeps its promises, from what many clients saw.
//!
//! ```text
//!  client (swarm) ◀──▶ server, which is killed now and then
//!    │ events
//!    ▼
//!  history ─▶ promises ─▶ report            faults: planted into histories, and all must be found
//! ```
//!
//! A round is at most ten minutes, with rooms of its own, so that what is kept in memory has a bound.

mod chance;
mod client;
mod faults;
mod history;
#[cfg(test)]
mod model;
mod payload;
mod promises;
mod report;
mod server;

use crate::centrifuge::{Command, Encoding, Stream, Transport};
use crate::load::dial::{Target, prepare};
use crate::load::link::{Buffers, Received};
use crate::load::transport::Compression;
use crate::load::wire::Framing;
use crate::pin;
use crate::servers::{Binaries, Named};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use client::{Names, Plan, Sabotage, Swarm};
use history::{Event, History};
use indicatif::{ProgressBar, ProgressStyle};
use promises::{Checker, Promise};
use server::OwnServer;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, SocketAddrV4, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ROUND_MAX: Duration = Duration::from_secs(600);
const DRIVERS: [&str; 2] = ["io_uring", "epoll"];
/// A server of the checker's own is killed about this often.
const KILL_EVERY: Duration = Duration::from_secs(12);
/// For how long clients publish in a round with a fault in a stream.
const SABOTAGED: Duration = Duration::from_secs(3);

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// A server that runs already: ws://HOST:PORT, or with the path where it speaks the Centrifuge protocol.
    /// Its rooms must allow everybody to subscribe, publish, recover and read the presence. Without this
    /// Hubbub is started, on each driver for half of the time.
    #[arg(long)]
    url: Option<String>,
    /// The server has no raw rooms (/rooms/NAME), or they are other rooms than those of the protocol.
    #[arg(long)]
    no_raw: bool,
    /// How clients of the protocol are connected, parted by commas; they take turns. Without this over everything that
    /// the server has. Those whose encoding none of them carries use a WebSocket.
    #[arg(long, value_delimiter = ',', value_name = "TRANSPORTS")]
    transports: Vec<Transport>,
    /// What the names of rooms begin with, such as a namespace: `chat:`.
    #[arg(long, default_value = "verify-")]
    room_prefix: String,
    /// For how many seconds clients publish and are disturbed.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// The same in hours.
    #[arg(long, conflicts_with = "seconds")]
    hours: Option<f64>,
    /// How many clients.
    #[arg(long, default_value_t = 300)]
    clients: u32,
    /// How many rooms; each has a client that nobody disturbs.
    #[arg(long, default_value_t = 24)]
    rooms: u32,
    /// Messages published in a second, in all rooms together.
    #[arg(long, default_value_t = 1500.0)]
    rate: f64,
    /// Decides who is disturbed, when and how; without this the time does.
    #[arg(long)]
    seed: Option<u64>,
    /// Write each round's history to a file in this directory: JSONL, about 150 bytes for each delivery.
    #[arg(long, value_name = "DIRECTORY")]
    record: Option<PathBuf>,
    /// Verify a recorded history instead of a server.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "self_test"])]
    history: Option<PathBuf>,
    /// Verify the checker: record a short history, plant ten kinds of faults into it, then two into streams,
    /// and find all.
    #[arg(long)]
    self_test: bool,
    /// Never kill the server.
    #[arg(long)]
    no_kill: bool,
    /// Hubbub's binary, in place of target/release/hubbub.
    #[arg(long)]
    server_bin: Option<PathBuf>,
}

/// Runs, prints what was found, and succeeds if no promise is broken.
pub fn run(arguments: &VerifyArguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.history {
        let checker = verify_file(file)?;
        return told(&file.display().to_string(), &checker);
    }
    pin::raise_open_files();
    ensure!(
        arguments.clients > arguments.rooms && arguments.rooms > 0,
        "there must be more clients than rooms, and one room at least"
    );
    let seed = arguments.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |it| it.as_micros() as u64)
    });
    println!("seed {seed}");
    let in_all = arguments.hours.map_or(arguments.seconds, |it| it * 3_600.0);
    let in_all = Duration::try_from_secs_f64(in_all).context("the time to run")?;
    match &arguments.url {
        Some(url) => verify_url(arguments, url, in_all, seed),
        None => verify_own(arguments, in_all, seed),
    }
}

fn verify_url(
    arguments: &VerifyArguments,
    url: &str,
    in_all: Duration,
    seed: u64,
) -> Result<ExitCode> {
    let (address, path) = address_of(url)?;
    let mut plan = Plan {
        path,
        kills: 0,
        ..plan_of(arguments, address, seed)
    };
    if arguments.transports.is_empty() {
        let mut has = vec![Transport::Websocket];
        for transport in [Transport::HttpStream, Transport::Sse] {
            match serves(&plan, transport) {
                Ok(()) => has.push(transport),
                Err(why) => println!("{transport:?} is left out: {why:#}"),
            }
        }
        plan.transports = has;
    }
    rounds(arguments, url, in_all, &plan, |plan, history, bar| {
        Swarm::new(plan, history, bar)?.run(None)
    })
}

/// Succeeds if the server opens a stream.
fn serves(plan: &Plan, transport: Transport) -> Result<()> {
    let mut first = Vec::new();
    Encoding::Json.append(1, Command::Connect(None), &mut first);
    let host = plan.target.address.to_string();
    let request = transport.request(Encoding::Json, &host, plan.base(), &first);
    let request = request.context("a WebSocket is no stream")?;
    let mut link = plan.target.open_with(&request, 0)?;
    prepare(link.socket())?;
    let (mut stream, mut buffers) = (Stream::new(transport, Encoding::Json), Buffers::new());
    loop {
        match link.receive(&mut buffers)? {
            Received::Bytes(bytes) => stream.push(bytes),
            Received::Nothing => bail!("no answer"),
            Received::End => bail!("the server ended the connection"),
        }
        if stream.opens()? {
            return Ok(());
        }
    }
}

fn verify_own(arguments: &VerifyArguments, in_all: Duration, seed: u64) -> Result<ExitCode> {
    let binaries = Binaries::find(Named {
        server: arguments.server_bin.clone(),
        ..Named::default()
    })?;
    let directory = binaries.target.join("bench/verify");
    let mut code = ExitCode::SUCCESS;
    for driver in DRIVERS {
        let mut server = OwnServer::new(&binaries.server, driver, &directory)?;
        let name = format!("hubbub on {driver}");
        let plan = plan_of(arguments, server.address, seed);
        let in_all = in_all / DRIVERS.len() as u32;
        let of_driver = rounds(arguments, &name, in_all, &plan, |plan, history, bar| {
            let history = Swarm::new(plan, history, bar)?.run(Some(&mut server))?;
            server.must_live()?;
            Ok(history)
        })?;
        if of_driver != ExitCode::SUCCESS {
            code = of_driver;
        }
    }
    Ok(code)
}

/// Plays rounds until the time is over, each with rooms of its own.
fn rounds(
    arguments: &VerifyArguments,
    name: &str,
    in_all: Duration,
    plan: &Plan,
    mut play: impl FnMut(&Plan, History, &ProgressBar) -> Result<History>,
) -> Result<ExitCode> {
    let count = in_all.as_secs().div_ceil(ROUND_MAX.as_secs()).max(1);
    let busy = in_all.div_f64(count as f64);
    let mut code = ExitCode::SUCCESS;
    for round in 0..count {
        let seed = plan.seed.wrapping_add(round);
        let plan = Plan {
            names: Names(format!("{}{seed:x}-", arguments.room_prefix)),
            seed,
            busy,
            kills: plan.kills * kills_within(busy),
            ..plan.clone()
        };
        let mut history = History::new(Checker::default());
        if arguments.self_test {
            history = history.keeping();
        }
        if let Some(directory) = &arguments.record {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
            let file = format!("{}-{round}.jsonl", name.replace(['/', ':', ' '], "_"));
            history = history.recording(&directory.join(file))?;
        }
        let bar = progress_bar(busy);
        let played = play(&plan, history, &bar);
        bar.finish_and_clear();
        let (checker, kept) = played.with_context(|| name.to_owned())?.end()?;
        if told(&format!("{name}, round {}", round + 1), &checker)? != ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        } else if arguments.self_test {
            let planted = faults::find_all(&kept, seed)?;
            println!("  {planted} faults of ten kinds were planted, one at a time, and all found");
            sabotage(&plan, &mut play)?;
        }
    }
    Ok(code)
}

/// Plays a short round with each fault of streams, and fails unless it is found.
fn sabotage(
    plan: &Plan,
    play: &mut impl FnMut(&Plan, History, &ProgressBar) -> Result<History>,
) -> Result<()> {
    if plan.transports == [Transport::Websocket] {
        println!("  there is no stream into which faults could be planted");
        return Ok(());
    }
    for sabotage in Sabotage::ALL {
        let plan = Plan {
            names: Names(format!("{}{sabotage:?}-", plan.names.0)),
            sabotage: Some(sabotage),
            busy: SABOTAGED,
            kills: 0,
            ..plan.clone()
        };
        let bar = progress_bar(plan.busy);
        let played = play(&plan, History::new(Checker::default()), &bar);
        bar.finish_and_clear();
        let (checker, _) = played?.end()?;
        ensure!(
            checker.findings.count(Promise::NoGap) > 0,
            "a fault planted into a stream was not found: {sabotage:?}"
        );
        println!("  a fault was planted into a stream, and found: {sabotage:?}");
    }
    Ok(())
}

fn kills_within(busy: Duration) -> u32 {
    (busy.as_secs() / KILL_EVERY.as_secs()).max(1) as u32
}

/// What is the same in all rounds; `kills` says whether there are any.
fn plan_of(arguments: &VerifyArguments, address: SocketAddrV4, seed: u64) -> Plan {
    let transports = match &arguments.transports[..] {
        [] => Transport::ALL.to_vec(),
        some => some.to_vec(),
    };
    Plan {
        target: Target {
            address,
            framing: Framing::WebSocket,
            tls: None,
            compression: Compression::Off,
        },
        path: "/connection/websocket".to_owned(),
        transports,
        sabotage: None,
        raw: !arguments.no_raw,
        names: Names(String::new()),
        rooms: arguments.rooms,
        clients: arguments.clients,
        rate: arguments.rate,
        seed,
        busy: Duration::ZERO,
        kills: u32::from(!arguments.no_kill),
    }
}

fn told(name: &str, checker: &Checker) -> Result<ExitCode> {
    std::io::stdout().write_all(report::text(name, checker).as_bytes())?;
    Ok(match checker.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn verify_file(file: &Path) -> Result<Checker> {
    let lines = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut checker = Checker::default();
    for (number, line) in (1..).zip(BufReader::new(lines).lines()) {
        let event: Event = serde_json::from_str(&line?)
            .with_context(|| format!("{}, line {number}", file.display()))?;
        checker.see(&event);
    }
    checker.finish();
    Ok(checker)
}

fn progress_bar(busy: Duration) -> ProgressBar {
    let bar = ProgressBar::new(busy.as_millis() as u64);
    let style = "{bar:30} {elapsed_precise}, {eta} to go: {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn address_of(url: &str) -> Result<(SocketAddrV4, String)> {
    let host = url
        .strip_prefix("ws://")
        .context("only ws:// is spoken here")?;
    let (host, path) = match host.split_once('/') {
        Some((host, path)) if !path.is_empty() => (host, format!("/{path}")),
        _ => (
            host.trim_end_matches('/'),
            "/connection/websocket".to_owned(),
        ),
    };
    let addresses = host
        .to_socket_addrs()
        .with_context(|| format!("{url} is not of the form ws://HOST:PORT/PATH"))?;
    let v4 = |address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    };
    let first = addresses.into_iter().find_map(v4);
    Ok((
        first.with_context(|| format!("{host} has no IPv4 address"))?,
        path,
    ))
}
