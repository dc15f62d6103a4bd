//! Hubbub's process: start, serve until it is stopped, exit; print or check settings, or do what another subcommand says.

// `println!` panics on a closed pipe and blocks on a full one, so it is forbidden here.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::{
    fmt::Display,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::ExitCode,
    sync::Arc,
    thread,
};

use anyhow::{Context, bail};
use runtime::{Driver, Homes, Server};
use server::{
    api::{self, Api, DevKey},
    backend::Backend,
    commands::Done,
    descriptors,
    events::{self, Events},
    internal::{self, Status},
    logging::{self, LogFormat},
    moderation::Moderation,
    reload::{Reloader, Reloads},
    remedy,
    settings::{Internal, Loaded, Settings, Sources, Stop, Task},
    signals::Signals,
    state::{self, State},
    threads,
    tls::{Listeners, Tickets},
    wiring::{self, Files},
    world::Live,
};
use tracing::{info, warn};

fn main() -> ExitCode {
    let sources = Sources::of_process();
    match Task::of(&sources.args) {
        Ok(Task::Serve) => run(&sources),
        Ok(Task::Print(args)) => conclude(print(Sources { args, ..sources })),
        Ok(Task::Check(file)) => conclude(check(&file, sources)),
        Ok(Task::Import(import)) => end(import.run(&sources)),
        Ok(Task::Do(word)) => end(word.run(&sources)),
        Err(stop) => stop.report(),
    }
}

/// Serves. Signals are set up first: until then SIGHUP would end the process, and the kernel does not
/// deliver SIGTERM to process 1. If that fails, `serve` reports it, because only the settings say in
/// which form to report it and how many threads are needed.
fn run(sources: &Sources<'_>) -> ExitCode {
    let signals = Signals::receive();
    let loaded = match Settings::load(sources) {
        Ok(loaded) => loaded,
        Err(stop) => return stop.beside_files(Files::faults).report_in_log(),
    };
    let format = loaded.settings.log_format;
    let served = serve(loaded, signals);
    if let Err(error) = &served {
        logging::fail(format, error);
    }
    logging::flush();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn conclude(done: Result<anyhow::Result<()>, Stop>) -> ExitCode {
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
        Err(stop) => stop.report(),
    }
}

fn end(done: Done) -> ExitCode {
    done.unwrap_or_else(|failed| failed.report())
}

/// Writes a line to standard error, if possible.
fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn print(sources: Sources<'_>) -> Result<anyhow::Result<()>, Stop> {
    let file = Settings::print(&sources)?;
    Ok(say(&file))
}

/// Reads everything that a start would read, and stops there.
fn check(file: &Path, sources: Sources<'_>) -> Result<anyhow::Result<()>, Stop> {
    let loaded = Settings::check(file, sources);
    let loaded = loaded.map_err(|stop| stop.beside_files(Files::faults))?;
    let warn = |warning: &dyn Display| complain(format_args!("warning: {warning}"));
    loaded.warnings.iter().for_each(|warning| warn(warning));
    if let Some(shortage) = descriptors::shortage(loaded.settings.max_connections) {
        warn(&shortage);
    }
    Ok(check_files(&loaded.settings, warn)
        .and_then(|()| say(&format!("{} is good\n", file.display()))))
}

fn check_files(settings: &Settings, warn: impl Fn(&dyn Display)) -> anyhow::Result<()> {
    state::check(settings)?;
    let files = Files::read(settings, &Tickets::new()?)?;
    files.skipped().iter().for_each(|skipped| warn(skipped));
    for expired in files.tls.expired() {
        warn(&expired);
    }
    Ok(())
}

fn say(text: &str) -> anyhow::Result<()> {
    logging::write_all(&mut io::stdout(), text.as_bytes())
        .context("cannot write to standard output")
}

fn serve(loaded: Loaded, signals: io::Result<Signals>) -> anyhow::Result<()> {
    let loaded = loaded.or_dev();
    let settings = loaded.settings;
    let cores = wiring::cores(&settings);
    // The remedy says how many threads are needed, which is known only now.
    let signals = signals.map_err(|error| remedy::of_other_thread("signals", &error, cores))?;
    let queue_bytes_max = settings.log_queue_bytes_max.bytes();
    let log = logging::init(settings.log_format, &settings.log_level, queue_bytes_max);
    let log = log.map_err(|error| match error.downcast() {
        Ok(error) => remedy::of_other_thread("log", &error, cores),
        Err(error) => error,
    })?;
    let warnings = loaded.warnings.iter();
    warnings.for_each(|warning| warn!("{warning}"));
    loaded.overrides.iter().for_each(|set| info!("{set}"));

    descriptors::raise();
    // Of connections that are asked for, the runtime tells how many are possible.
    if settings.max_connections.is_none()
        && let Some(shortage) = descriptors::shortage(None)
    {
        warn!("{shortage}");
    }
    let tickets = Tickets::new()?;
    let files = Files::read(&settings, &tickets)?;
    let state = State::open(&settings)?;
    let moderation = Moderation::open(&settings, state.as_ref())?;
    wiring::tell_skipped(files.skipped());
    let Files {
        site,
        tls,
        tokens,
        events,
        api_keys,
        hooks,
    } = files;
    tls.announce();
    wiring::announce_world(&settings, &tokens);
    let status = Status::new(wiring::configured(&settings, &tls, &tokens));
    status.secured(tls.internal.as_ref());
    let internal = open_internal(&settings, &status)?;
    let api_socket = open_api(&settings)?;
    let config = wiring::config(&settings, &tls);
    let backend = Backend::default();
    tokens
        .fetch(&backend, None)
        .map_err(|error| remedy::of_other_thread("backend", &error, cores + threads::BACKEND))?;
    let hooks = hooks
        .begin(&backend, None)
        .map_err(|error| remedy::of_other_thread("backend", &error, cores + threads::BACKEND))?;
    let live = Live::new(wiring::world(&settings, tokens, hooks).moderated(moderation));
    let events = begin_events(events, &live, &backend)
        .map_err(|error| remedy::of_other_thread("backend", &error, cores + threads::BACKEND))?;
    let events_drain = settings.events_drain_timeout.duration();
    let api = api(&settings, api_keys, api_socket.as_ref(), (&live, &status))?;
    api.secured(tls.api.as_ref());
    let application = wiring::application(&settings, site, &live);
    let restore = |homes: &Homes| restore(state.as_ref(), homes, &status);
    let server = Server::start_restoring(config, application, status.readiness(), restore)
        .map_err(|error| remedy::of_start(error, cores))?;
    live.serving(server.commander(), server.desk());
    status.shows(live.clone());
    status.serving(server.monitor(), driver_name(&server));
    let api_at = api_socket
        .as_ref()
        .map(TcpListener::local_addr)
        .transpose()?;
    let serving = api_socket.map(|socket| api.serve(socket, &backend));
    let _serving = serving
        .transpose()
        .map_err(|error| remedy::of_other_thread("backend", &error, cores + threads::BACKEND))?;
    let format = settings.log_format;
    let reloader = Reloader {
        settings,
        server: server.configurer(),
        log,
        tickets,
        live,
        backend,
        api: api.clone(),
        status: status.clone(),
    };
    let reloads = Reloads::spawn(reloader)
        .map_err(|error| remedy::of_other_thread("reload", &error, cores))?;
    signals.serving(server.drainer(), reloads, status);
    announce(&server, (internal, api_at), &tls, api.dev_key(), format);

    let save = |homes: &Homes| {
        if let Some(state) = &state {
            state.save(homes);
        }
    };
    let ended = server.wait_saving(save);
    if let Some(key) = api.dev_key() {
        key.forget();
    }
    if let Err(cause) = ended {
        bail!("{cause}");
    }
    if let Some(events) = events {
        events.finish(events_drain);
    }
    info!("stopped");
    Ok(())
}

/// Gives rooms back to their homes that a process before this one has left.
fn restore(state: Option<&State>, homes: &Homes, status: &Status) -> Result<(), String> {
    if let Some(state) = state {
        let outcome = state.restore(homes).map_err(|error| error.to_string())?;
        status.restored(outcome);
    }
    Ok(())
}

/// Has the back end told of events, if it wants to be.
fn begin_events(
    wanted: Option<events::Wanted>,
    live: &Arc<Live>,
    backend: &Backend,
) -> io::Result<Option<Events>> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let events = Events::begin(wanted, live.node(), backend)?;
    live.tells(events.sink().clone());
    Ok(Some(events))
}

/// Opens the internal listener, unless it is off, and returns its address. From here on it answers
/// that the server is starting.
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

/// Listens for back ends, if there is an API. The address that dev has of itself may be in use, by another server in
/// dev perhaps; one that is asked for may not.
fn open_api(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = settings.api_address() else {
        return Ok(None);
    };
    match api::bind(address) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if settings.api_listen.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            warn!(
                %address,
                "dev: there is no API, because its address is in use; name another one by api_listen"
            );
            Ok(None)
        }
        Err(error) => Err(remedy::of_api_listener(address, &error)),
    }
}

/// The API, with a key if it has none in dev.
fn api(
    settings: &Settings,
    keys: api::Keys,
    socket: Option<&TcpListener>,
    (live, status): (&Arc<Live>, &Status),
) -> anyhow::Result<Api> {
    let dev_key = match socket {
        Some(socket) if settings.dev.is_on() && keys.is_empty() => {
            Some(DevKey::make(socket.local_addr()?)?)
        }
        _ => None,
    };
    let (live, status) = (live.clone(), status.clone());
    Ok(Api::new(settings, keys, dev_key, live, status))
}

/// The drivers of the cores, for people.
fn driver_name(server: &Server) -> String {
    let drivers = server.drivers();
    match drivers.iter().all(|driver| *driver == drivers[0]) {
        true => drivers[0].to_string(),
        false => format!("{} and {}", Driver::IoUring, Driver::Epoll),
    }
}

/// Reports where the server listens: in the log, and in lines for people unless the log is JSON.
fn announce(
    server: &Server,
    (internal, api): (Option<SocketAddr>, Option<SocketAddr>),
    tls: &Listeners,
    dev_key: Option<&DevKey>,
    format: LogFormat,
) {
    let (driver, cores) = (driver_name(server), server.drivers().len());
    let (public, operators) = (tls.public.is_some(), tls.internal.is_some());
    let back_ends = tls.api.is_some();
    for address in server.addresses() {
        let max_connections = server.connections_max();
        info!(%address, tls = public, cores, %driver, max_connections, "listening");
    }
    if let Some(address) = internal {
        info!(%address, tls = operators, "internal listener");
    }
    if let Some(address) = api {
        info!(%address, tls = back_ends, "API of back ends");
    }
    if let Some(file) = dev_key.and_then(DevKey::file) {
        info!(file = %file.display(), "dev: the key of the API is in a file that only this user can read");
    }
    if let Some(why) = server.fallback() {
        info!(why, "io_uring is not available; running on epoll");
    }
    if format == LogFormat::Text {
        let scheme = |has_tls| if has_tls { "https" } else { "http" };
        let mut lines = start_lines(server, internal, scheme(public), scheme(operators));
        if let Some(address) = api {
            let scheme = scheme(back_ends);
            lines += &format!("The API, for back ends, on {scheme}://{address}\n");
        }
        if let Some(key) = dev_key.and_then(DevKey::for_terminal) {
            lines += &format!("Its key until the next start is {key}\n");
        }
        say_start(lines);
    }
}

fn start_lines(
    server: &Server,
    internal: Option<SocketAddr>,
    public: &str,
    operators: &str,
) -> String {
    let (driver, cores) = (driver_name(server), server.drivers().len());
    let why = server.fallback().map_or(String::new(), |why| {
        format!("; io_uring is not available: {why}")
    });
    let listening = server.addresses().iter().map(|address| {
        format!("Hubbub listens on {public}://{address} (cores: {cores}, driver: {driver}{why})\n")
    });
    let internal = internal
        .map(|address| format!("Metrics and health, for operators, on {operators}://{address}\n"));
    listening.chain(internal).collect()
}

/// Prints the start lines on a thread of their own, because nobody may ever read them.
fn say_start(lines: String) {
    let said = thread::Builder::new()
        .name("start-lines".into())
        .spawn(move || {
            if let Err(error) = say(&lines) {
                warn!("the start lines are lost: {error:#}");
            }
        });
    if let Err(error) = said {
        warn!(%error, "the start lines are lost: the thread that prints them cannot be started");
    }
}
