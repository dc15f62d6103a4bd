//! Hubbub's process: start, wait for a signal, drain, exit.

use std::{net::SocketAddr, process::ExitCode, thread};

use anyhow::{Context, anyhow, bail};
use runtime::{Drainer, Driver, Server, StartError};
use server::{
    internal::{self, Status},
    logging,
    settings::{Internal, Loaded, Settings, Sources},
    wiring,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::{info, warn};

fn main() -> ExitCode {
    let loaded = match Settings::load(&Sources::of_process()) {
        Ok(loaded) => loaded,
        Err(stop) => return stop.report(),
    };
    match run(&loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(loaded: &Loaded) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    logging::init(settings.log_format, &settings.log_level)?;
    loaded
        .warnings
        .iter()
        .for_each(|warning| warn!("{warning}"));
    loaded.overrides.iter().for_each(|set| info!("{set}"));

    let application = wiring::application(settings)?;
    let status = Status::default();
    let internal = open_internal(settings, &status)?;
    let signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be handled")?;
    let server = Server::start(wiring::config(settings), application).map_err(with_remedy)?;
    status.serving(server.monitor(), driver_name(&server));
    announce(&server, internal);
    let drainer = server.drainer();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || obey(signals, &drainer, &status))?;

    if let Err(cause) = server.wait() {
        bail!("{cause}");
    }
    info!("stopped");
    Ok(())
}

/// Opens the internal listener, unless it is off, and returns its address. It answers from here
/// on, that the server is starting.
fn open_internal(settings: &Settings, status: &Status) -> anyhow::Result<Option<SocketAddr>> {
    let Internal::At(address) = settings.internal_listen else {
        return Ok(None);
    };
    let bound = internal::bind(address).and_then(|listener| {
        let bound = listener.local_addr()?;
        internal::spawn(listener, status.clone(), wiring::configured(settings))?;
        Ok(bound)
    });
    bound.map(Some).with_context(|| {
        format!(
            "the internal listener cannot have {address}; \
             choose another address with --internal-listen, or write --internal-listen off"
        )
    })
}

/// Says what to do about a start that failed.
fn with_remedy(error: StartError) -> anyhow::Error {
    let remedy = match &error {
        StartError::Listen { .. } => "; choose another address with --listen",
        StartError::Driver { .. } => "; --driver auto takes epoll where io_uring is not granted",
        StartError::Io(_) | StartError::Core { .. } => "",
    };
    anyhow!("{:#}{remedy}", anyhow::Error::new(error))
}

/// The first signal begins the drain, the second ends the process at once.
fn obey(mut signals: Signals, drainer: &Drainer, status: &Status) {
    let mut signals = signals.forever();
    if let Some(signal) = signals.next() {
        info!(signal, "draining; a second signal stops at once");
        status.draining();
        drainer.drain();
    }
    if let Some(signal) = signals.next() {
        warn!(signal, "stopped without draining");
        std::process::exit(128 + signal);
    }
}

/// What the cores run on, for people.
fn driver_name(server: &Server) -> String {
    let drivers = server.drivers();
    match drivers.iter().all(|driver| *driver == drivers[0]) {
        true => drivers[0].to_string(),
        false => format!("{} and {}", Driver::IoUring, Driver::Epoll),
    }
}

/// The start lines, for people, and the same in the log.
fn announce(server: &Server, internal: Option<SocketAddr>) {
    let driver = driver_name(server);
    let why = server.fallback().map_or(String::new(), |why| {
        format!("; io_uring is not available: {why}")
    });
    let cores = server.drivers().len();
    for address in server.addresses() {
        println!("Hubbub listens on http://{address} (cores: {cores}, driver: {driver}{why})");
        info!(%address, cores, %driver, max_connections = server.connections_max(), "listening");
    }
    if let Some(address) = internal {
        println!("Metrics and health, for operators, on http://{address}");
        info!(%address, "internal listener");
    }
    if let Some(why) = server.fallback() {
        warn!(why, "io_uring is not available; running on epoll");
    }
}
