//! Starting the cores, telling them what to do, waiting for their end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use flume::{Receiver, Sender};
use hub::{CoreId, RoomBudget};
use tracing::info;

use super::{
    Configurer, Control, Homes, Monitor, Readiness, affinity,
    core_thread::{CoreSeed, Report, RoomSeed, run_core},
    driver::Driver,
    tell,
};
use crate::{
    admission::{self, Admission},
    clock::Clock,
    config::Config,
    connection::Application,
    kernel::RandomState,
    reactor::{self, Commanded, Commander, Desk, Shared, Urgency},
};

/// How often a taken address is tried again, and after how long each time: a second in all.
const PROBES: u32 = 10;
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why; most often somebody else listens there.
        source: io::Error,
    },
    /// A core's runtime cannot be built.
    #[error("core {core} cannot run on this driver")]
    Driver {
        /// The core.
        core: u16,
        /// Why.
        source: io::Error,
    },
    /// A core's thread cannot be had.
    #[error("the thread of core {core} cannot be started")]
    Thread {
        /// The core.
        core: u16,
        /// Why; most often a limit on threads.
        source: io::Error,
    },
    /// Something else that every start needs has failed.
    #[error("cannot start")]
    Io(#[from] io::Error),
    /// A core ended before it served.
    #[error("core {core} ended while starting: {cause}")]
    Core {
        /// The core.
        core: u16,
        /// What is known of it.
        cause: String,
    },
    /// Whoever was to give rooms back to their homes could not.
    #[error("{0}")]
    Restore(String),
}

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    drivers: Vec<Driver>,
    fallback: Option<String>,
    connections_max: usize,
    readiness: Readiness,
    reports: Receiver<Report>,
    configurer: Configurer,
    monitor: Monitor,
    commander: Commander,
    desk: Desk,
    homes: Homes,
    threads: Vec<JoinHandle<()>>,
}

/// Tells a server to drain, from any thread.
#[derive(Clone)]
pub struct Drainer {
    controls: Vec<Sender<Control>>,
    readiness: Readiness,
}

impl Server {
    /// Listens and serves. On return connections are being accepted.
    pub fn start(config: Config, application: Arc<dyn Application>) -> Result<Self, StartError> {
        Self::start_telling(config, application, Readiness::default())
    }

    /// As [`start`](Self::start), with a `readiness` that others may ask already.
    pub fn start_telling(
        config: Config,
        application: Arc<dyn Application>,
        readiness: Readiness,
    ) -> Result<Self, StartError> {
        Self::start_restoring(config, application, readiness, |_| Ok(()))
    }

    /// The same, where `restore` gives rooms back to their homes before anybody is let in. Its error says why the
    /// server cannot start.
    pub fn start_restoring(
        config: Config,
        application: Arc<dyn Application>,
        readiness: Readiness,
        restore: impl FnOnce(&Homes) -> Result<(), String>,
    ) -> Result<Self, StartError> {
        let cores = config.cores;
        let (connections_max, kept) = (config.connections_max, config.descriptors_kept);
        let rooms = RoomBudget::new(config.rooms_max);
        let (addresses, listeners) = listen_all(&config.listen, cores)?;
        let shared = Shared {
            config: Arc::new(config),
            application,
            admission: Arc::new(Admission::default()),
            clock: Clock::start(),
        };
        let (report, reports) = flume::unbounded();
        let Cores {
            to_cores,
            desk,
            homes,
            threads,
        } = spawn_cores(&shared, &rooms, listeners, report)?;
        let (controls, commands): (Vec<_>, Vec<_>) = to_cores.into_iter().unzip();
        let mut server = Self {
            addresses,
            drivers: Vec::new(),
            fallback: None,
            connections_max: 0,
            readiness,
            reports,
            commander: Commander { cores: commands },
            desk,
            homes,
            monitor: Monitor::new(&controls, rooms.clone(), shared.admission.clone()),
            configurer: Configurer {
                controls,
                admission: shared.admission,
                rooms,
                connections_possible: 0,
            },
            threads,
        };
        server.await_ready(cores)?;
        let possible = admission::connections_possible(kept)?;
        let configurer = &mut server.configurer;
        configurer.connections_possible = possible;
        server.connections_max = configurer.admission.open(connections_max, possible);
        // Nothing can fail any more: whoever restores may take what it read for used.
        restore(&server.homes).map_err(StartError::Restore)?;
        server.tell(|| Control::Open);
        server.readiness.open();
        Ok(server)
    }

    /// Where it listens, in the configured order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The driver of each core.
    pub fn drivers(&self) -> &[Driver] {
        &self.drivers
    }

    /// Why a core that might have had io_uring runs on epoll.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// How many connections it takes at the same time.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// A handle that asks the cores how they are.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// A handle that gives connections commands.
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// A handle that publishes in rooms and asks about them.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// A handle that begins the drain.
    pub fn drainer(&self) -> Drainer {
        Drainer {
            controls: self.configurer.controls.clone(),
            readiness: self.readiness.clone(),
        }
    }

    /// A handle that changes the configuration.
    pub fn configurer(&self) -> Configurer {
        self.configurer.clone()
    }

    /// Tells whether it is to be sent connections.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Waits until a drain is over and all cores have ended. An error names a core that failed;
    /// the others may still run then.
    pub fn wait(self) -> Result<(), String> {
        self.wait_saving(|_| {})
    }

    /// The same, where `save` may take the rooms from their homes when the last connection is gone.
    pub fn wait_saving(mut self, save: impl FnOnce(&Homes)) -> Result<(), String> {
        let mut serving = self.configurer.controls.len();
        while serving > 0 {
            match self.reports.recv() {
                Ok(Report::Drained(core)) => {
                    info!(core = core.0, "drained");
                    serving -= 1;
                }
                Ok(Report::Ended(core, cause)) => {
                    let cause = cause.unwrap_or_else(|| "it stopped".into());
                    return Err(format!("core {} ended: {cause}", core.0));
                }
                Ok(Report::Ready(..) | Report::NoDriver(..)) => {}
                Err(_) => return Err("all cores ended".into()),
            }
        }
        save(&self.homes);
        // Cores stop only when all have drained, because a connection on one core may be in a room of
        // another.
        self.tell(|| Control::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        Ok(())
    }

    fn await_ready(&mut self, cores: usize) -> Result<(), StartError> {
        self.drivers = vec![Driver::Epoll; cores];
        for _ in 0..cores {
            match self.reports.recv() {
                Ok(Report::Ready(core, driver, why_not)) => {
                    self.drivers[core.index()] = driver;
                    self.fallback = why_not.map(|e| e.to_string()).or(self.fallback.take());
                }
                Ok(Report::NoDriver(CoreId(core), source)) => {
                    return Err(StartError::Driver { core, source });
                }
                Ok(Report::Ended(CoreId(core), cause)) => {
                    let cause = cause.unwrap_or_default();
                    return Err(StartError::Core { core, cause });
                }
                Ok(Report::Drained(_)) => {}
                Err(_) => return Err(io::Error::other("all cores ended").into()),
            }
        }
        Ok(())
    }

    fn tell(&self, control: impl Fn() -> Control) {
        tell(&self.configurer.controls, control);
    }
}

impl Drainer {
    /// Begins the drain: the server is not ready from now on, and after the drain's delay it
    /// closes. Telling it twice changes nothing.
    pub fn drain(&self) {
        self.begin(Urgency::Planned);
    }

    /// The same for somebody who waits: without the delay, and over within
    /// [`Timeouts::interrupt_drain`](crate::Timeouts::interrupt_drain). It does not shorten a drain
    /// that was begun before.
    pub fn hurry(&self) {
        self.begin(Urgency::Interrupted);
    }

    fn begin(&self, urgency: Urgency) {
        self.readiness.drain();
        tell(&self.controls, || Control::Drain(urgency));
    }
}

/// Binds every address for every core before anything runs.
fn listen_all(
    addresses: &[SocketAddr],
    cores: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>), StartError> {
    let mut bound = Vec::new();
    let mut listeners: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    for address in addresses {
        let failed = |source| StartError::Listen {
            address: *address,
            source,
        };
        let found = probe(*address).map_err(failed)?;
        for core in &mut listeners {
            core.push(reactor::listen(found).map_err(failed)?);
        }
        bound.push(found);
    }
    Ok((bound, listeners))
}

/// A process that was killed leaves its listeners for a moment: the kernel takes a ring of
/// io_uring down only after it has reported the process dead. Its successor waits that long.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    for _ in 0..PROBES {
        match reactor::probe(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(PROBE_PAUSE),
            result => return result,
        }
    }
    reactor::probe(address)
}

/// The mailboxes of the cores and of the homes of rooms, and the cores' threads.
struct Cores {
    to_cores: Vec<(Sender<Control>, Sender<Commanded>)>,
    desk: Desk,
    homes: Homes,
    threads: Vec<JoinHandle<()>>,
}

fn spawn_cores(
    shared: &Shared,
    budget: &Arc<RoomBudget>,
    listeners: Vec<Vec<TcpListener>>,
    reports: Sender<Report>,
) -> Result<Cores, StartError> {
    let cores = listeners.len();
    let batches = shared.config.mailbox_batches;
    let (to_homes, requests): (Vec<_>, Vec<_>) =
        (0..cores).map(|_| flume::bounded(batches)).unzip();
    let (to_cores, deliveries): (Vec<_>, Vec<_>) =
        (0..cores).map(|_| flume::bounded(batches)).unzip();
    let homes = RandomState::new();
    let places = (
        shared.config.desk_requests_max,
        shared.config.outbox_bytes_max,
    );
    let (desk, inboxes) = Desk::new(cores, places.0, places.1, homes.clone());
    let rooms = RoomSeed {
        homes,
        budget: budget.clone(),
        to_homes,
        to_cores,
    };
    let processors = affinity::processors().unwrap_or_default();
    let mut to_cores = Vec::new();
    let mut threads = Vec::new();
    let listeners = listeners.into_iter();
    let mailboxes = listeners.zip(requests).zip(deliveries).zip(inboxes);
    for (id, (((listeners, requests), deliveries), desk)) in (0u16..).map(CoreId).zip(mailboxes) {
        let (control, controlled) = flume::unbounded();
        let (command, commands) = flume::bounded(shared.config.commands_max);
        to_cores.push((control, command));
        let seed = CoreSeed {
            id,
            shared: shared.clone(),
            processor: processors.iter().cycle().nth(id.index()).copied(),
            listeners,
            rooms: rooms.clone(),
            requests,
            deliveries,
            commands,
            desk,
            controls: controlled,
            reports: reports.clone(),
        };
        let thread = thread::Builder::new().name(format!("core-{}", id.0));
        let thread = thread.spawn(move || run_core(seed));
        threads.push(thread.map_err(|source| StartError::Thread { core: id.0, source })?);
    }
    let homes = Homes {
        mailboxes: rooms.to_homes,
        hashes: rooms.homes,
    };
    Ok(Cores {
        to_cores,
        desk,
        homes,
        threads,
    })
}
