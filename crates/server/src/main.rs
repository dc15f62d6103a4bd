//! Hubbub's process: start, obey signals, drain, exit; or print or check settings.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
};

use anyhow::{Context, anyhow, bail};
use runtime::{Drainer, Driver, Server, StartError};
use server::{
    logging,
    reload::Reloader,
    settings::{Loaded, Settings, Sources, Stop, Task},
    wiring,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tracing::{info, warn};

fn main() -> ExitCode {
    match carry_out(Sources::of_process()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(stop) => stop.report(),
    }
}

fn carry_out(sources: Sources<'_>) -> Result<anyhow::Result<()>, Stop> {
    Ok(match Task::of(&sources.args)? {
        Task::Serve => serve(Settings::load(&sources)?),
        Task::Print(args) => {
            let file = Settings::print(&Sources { args, ..sources })?;
            io::stdout().write_all(file.as_bytes()).map_err(Into::into)
        }
        Task::Check(file) => {
            for warning in Settings::check(&file, sources)? {
                eprintln!("warning: {warning}");
            }
            println!("{} is good", file.display());
            Ok(())
        }
    })
}

fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let settings = loaded.settings;
    let log = logging::init(settings.log_format, &settings.log_level)?;
    let warnings = loaded.warnings.iter();
    warnings.for_each(|warning| warn!("{warning}"));
    loaded.overrides.iter().for_each(|set| info!("{set}"));

    let application = wiring::application(&settings)?;
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be handled")?;
    let config = wiring::config(&settings);
    let server = Server::start(config, application.clone()).map_err(with_remedy)?;
    announce(&server);
    let drainer = server.drainer();
    let reloader = Reloader {
        settings,
        application,
        server: server.configurer(),
        log,
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || obey(signals, &drainer, reloader))?;

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

/// SIGHUP reloads the settings. Of the others, the first begins the drain and the second ends the
/// process at once.
fn obey(mut signals: Signals, drainer: &Drainer, mut reloader: Reloader) {
    let mut is_draining = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reloader.reload(&Sources::of_process()),
            _ if is_draining => {
                warn!(signal, "stopped without draining");
                std::process::exit(128 + signal);
            }
            _ => {
                is_draining = true;
                info!(signal, "draining; a second signal stops at once");
                drainer.drain();
            }
        }
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
