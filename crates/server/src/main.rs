//! Hubbub's process: start, obey signals, drain, exit; or print or check settings.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    thread,
};

use anyhow::{Context, bail};
use runtime::{Drainer, Driver, Server};
use server::{
    descriptors,
    internal::{self, Status},
    logging,
    reload::Reloader,
    remedy,
    settings::{Internal, Loaded, Settings, Sources, Stop, Task},
    tls::Listeners,
    wiring::{self, Files},
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
        Task::Serve => {
            let loaded = Settings::load(&sources);
            serve(loaded.map_err(|stop| stop.beside_files(Files::faults))?)
        }
        Task::Print(args) => {
            let file = Settings::print(&Sources { args, ..sources })?;
            io::stdout().write_all(file.as_bytes()).map_err(Into::into)
        }
        Task::Check(file) => {
            let loaded = Settings::check(&file, sources);
            let loaded = loaded.map_err(|stop| stop.beside_files(Files::faults))?;
            check(&file, loaded)
        }
    })
}

/// Reads what a start would read, and goes no further.
fn check(file: &Path, loaded: Loaded) -> anyhow::Result<()> {
    let warnings = loaded.warnings.iter();
    warnings.for_each(|warning| eprintln!("warning: {warning}"));
    let files = Files::read(&loaded.settings)?;
    files
        .skipped()
        .for_each(|skipped| eprintln!("warning: {skipped}"));
    for listener in files.tls.expired() {
        eprintln!("warning: the certificate of the {listener} listener has expired");
    }
    println!("{} is good", file.display());
    Ok(())
}

fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let settings = loaded.settings;
    let log = logging::init(settings.log_format, &settings.log_level)?;
    let warnings = loaded.warnings.iter();
    warnings.for_each(|warning| warn!("{warning}"));
    loaded.overrides.iter().for_each(|set| info!("{set}"));

    descriptors::raise();
    let files = Files::read(&settings)?;
    files.skipped().for_each(|skipped| warn!("{skipped}"));
    let Files { site, tickets, tls } = files;
    let application = wiring::application(&settings, site);
    tls.announce();
    let status = Status::new(wiring::configured(&settings, &tls));
    status.secured(tls.internal.as_ref());
    let internal = open_internal(&settings, &status)?;
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be handled")?;
    let config = wiring::config(&settings, &tls);
    let cores = config.cores;
    let server = Server::start_telling(config, application.clone(), status.readiness())
        .map_err(|error| remedy::of_start(error, cores))?;
    status.serving(server.monitor(), driver_name(&server));
    announce(&server, internal, &tls);
    let drainer = server.drainer();
    let reloader = Reloader {
        settings,
        application,
        server: server.configurer(),
        log,
        tickets,
        status,
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || obey(signals, &drainer, reloader))
        .map_err(|error| remedy::of_other_thread("signals", &error, cores))?;

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
    let listener =
        internal::bind(address).map_err(|error| remedy::of_internal_listener(address, &error))?;
    let bound = listener.local_addr()?;
    internal::spawn(listener, status.clone()).map_err(|error| {
        let cores = wiring::cores(settings);
        remedy::of_other_thread("control", &error, cores)
    })?;
    Ok(Some(bound))
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

/// What the cores run on, for people.
fn driver_name(server: &Server) -> String {
    let drivers = server.drivers();
    match drivers.iter().all(|driver| *driver == drivers[0]) {
        true => drivers[0].to_string(),
        false => format!("{} and {}", Driver::IoUring, Driver::Epoll),
    }
}

/// The start lines, for people, and the same in the log.
fn announce(server: &Server, internal: Option<SocketAddr>, tls: &Listeners) {
    let scheme = |has_tls| if has_tls { "https" } else { "http" };
    let (public, operators) = (scheme(tls.public.is_some()), scheme(tls.internal.is_some()));
    let driver = driver_name(server);
    let why = server.fallback().map_or(String::new(), |why| {
        format!("; io_uring is not available: {why}")
    });
    let cores = server.drivers().len();
    for address in server.addresses() {
        println!("Hubbub listens on {public}://{address} (cores: {cores}, driver: {driver}{why})");
        info!(%address, cores, %driver, max_connections = server.connections_max(), "listening");
    }
    if let Some(address) = internal {
        println!("Metrics and health, for operators, on {operators}://{address}");
        info!(%address, "internal listener");
    }
    if let Some(why) = server.fallback() {
        warn!(why, "io_uring is not available; running on epoll");
    }
}
