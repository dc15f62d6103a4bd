//! Hubbub's process: start, wait for a signal, drain, exit.

use std::{process::ExitCode, thread};

use anyhow::{Context, anyhow, bail};
use runtime::{Drainer, Driver, Server, StartError};
use server::{
    logging,
    settings::{Loaded, Settings, Sources},
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
    let signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be handled")?;
    let server = Server::start(wiring::config(settings), application).map_err(with_remedy)?;
    announce(&server);
    let drainer = server.drainer();
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || obey(signals, &drainer))?;

    if let Err(cause) = server.wait() {
        bail!("{cause}");
    }
    info!("stopped");
    Ok(())
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
fn obey(mut signals: Signals, drainer: &Drainer) {
    let mut signals = signals.forever();
    if let Some(signal) = signals.next() {
        info!(signal, "draining; a second signal stops at once");
        drainer.drain();
    }
    if let Some(signal) = signals.next() {
        warn!(signal, "stopped without draining");
        std::process::exit(128 + signal);
    }
}

/// The start line, for people, and the same in the log.
fn announce(server: &Server) {
    let drivers = server.drivers();
    let driver = match drivers.iter().all(|driver| *driver == drivers[0]) {
        true => drivers[0].to_string(),
        false => format!("{} and {}", Driver::IoUring, Driver::Epoll),
    };
    let why = server.fallback().map_or(String::new(), |why| {
        format!("; io_uring is not available: {why}")
    });
    let cores = drivers.len();
    for address in server.addresses() {
        println!("Hubbub listens on http://{address} (cores: {cores}, driver: {driver}{why})");
        info!(%address, cores, driver, max_connections = server.connections_max(), "listening");
    }
    if let Some(why) = server.fallback() {
        warn!(why, "io_uring is not available; running on epoll");
    }
}
