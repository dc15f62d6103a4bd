//! Starting the cores, telling them what to do, waiting for their end.

use std::{
    hash::RandomState,
    io,
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use flume::{Receiver, Sender};
use hub::{CoreId, Delivery, Request, RoomBudget, Rooms};
use tracing::{info, warn};

use crate::{
    accept::{self, Acceptor},
    admission::{self, Admission},
    affinity,
    config::Config,
    configure::Configurer,
    core::{Core, Depths, Shared},
    deliver,
    drain::{self, Urgency},
    driver::{CoreRuntime, Driver},
    flusher,
    monitor::{Monitor, Question},
    outbox::Outboxes,
    poller::{self, Poller},
    readiness::Readiness,
    session::Application,
    signal::Signal,
    sweep,
    turnstile::Turnstile,
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
    threads: Vec<JoinHandle<()>>,
}

/// Tells a server to drain, from any thread.
#[derive(Clone)]
pub struct Drainer {
    controls: Vec<Sender<Control>>,
    readiness: Readiness,
}

/// To a core.
pub(crate) enum Control {
    /// Accept connections.
    Open,
    /// Go on with these.
    Configure(Arc<Config>, Arc<dyn Application>),
    /// After the drain's delay accept no more, and close everyone.
    Drain(Urgency),
    /// Answer a question.
    Answer(Question),
    /// End.
    Stop,
}

/// From a core.
#[derive(Debug)]
enum Report {
    /// Its runtime is built, on this driver; beside epoll, why it is not io_uring.
    Ready(CoreId, Driver, Option<io::Error>),
    /// Its runtime cannot be built.
    NoDriver(CoreId, io::Error),
    /// It drains no more: its last connection is gone.
    Drained(CoreId),
    /// Its thread is over; with a cause if nobody asked for that.
    Ended(CoreId, Option<String>),
}

/// What a core's thread is given.
struct CoreSeed {
    id: CoreId,
    shared: Shared,
    processor: Option<usize>,
    listeners: Vec<TcpListener>,
    rooms: RoomSeed,
    requests: Receiver<Vec<Request>>,
    deliveries: Receiver<Vec<Delivery>>,
    controls: Receiver<Control>,
    reports: Sender<Report>,
}

/// What all cores need to agree on the rooms.
#[derive(Clone)]
struct RoomSeed {
    homes: RandomState,
    budget: Arc<RoomBudget>,
    to_homes: Vec<Sender<Vec<Request>>>,
    to_cores: Vec<Sender<Vec<Delivery>>>,
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
        let cores = config.cores;
        let connections_max = config.connections_max;
        let rooms = RoomBudget::new(config.rooms_max);
        let (addresses, listeners) = listen_all(&config.listen, cores)?;
        let shared = Shared {
            config: Arc::new(config),
            application,
            admission: Arc::new(Admission::default()),
            started: Instant::now(),
        };
        let (report, reports) = flume::unbounded();
        let (controls, threads) = spawn_cores(&shared, &rooms, listeners, report)?;
        let mut server = Self {
            addresses,
            drivers: Vec::new(),
            fallback: None,
            connections_max: 0,
            readiness,
            reports,
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
        let possible = admission::connections_possible()?;
        let configurer = &mut server.configurer;
        configurer.connections_possible = possible;
        server.connections_max = configurer.admission.open(connections_max, possible);
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
    pub fn wait(mut self) -> Result<(), String> {
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
        // Only now: until its own connections are gone, a core may need any other core's rooms.
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

pub(crate) fn tell(cores: &[Sender<Control>], control: impl Fn() -> Control) {
    for core in cores {
        // An error means that the core has ended, which it reports itself.
        let _ = core.send(control());
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
            core.push(accept::listen(found).map_err(failed)?);
        }
        bound.push(found);
    }
    Ok((bound, listeners))
}

/// A process that was killed leaves its listeners for a moment: the kernel takes a ring of
/// io_uring down only after it has reported the process dead. Its successor waits that long.
fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    for _ in 0..PROBES {
        match accept::probe(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => thread::sleep(PROBE_PAUSE),
            result => return result,
        }
    }
    accept::probe(address)
}

type Cores = (Vec<Sender<Control>>, Vec<JoinHandle<()>>);

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
    let rooms = RoomSeed {
        homes: RandomState::new(),
        budget: budget.clone(),
        to_homes,
        to_cores,
    };
    let processors = affinity::processors().unwrap_or_default();
    let mut controls = Vec::new();
    let mut threads = Vec::new();
    let mailboxes = listeners.into_iter().zip(requests).zip(deliveries);
    for (id, ((listeners, requests), deliveries)) in (0u16..).map(CoreId).zip(mailboxes) {
        let (control, controlled) = flume::unbounded();
        controls.push(control);
        let seed = CoreSeed {
            id,
            shared: shared.clone(),
            processor: processors.iter().cycle().nth(id.index()).copied(),
            listeners,
            rooms: rooms.clone(),
            requests,
            deliveries,
            controls: controlled,
            reports: reports.clone(),
        };
        let thread = thread::Builder::new().name(format!("core-{}", id.0));
        let thread = thread.spawn(move || run_core(seed));
        threads.push(thread.map_err(|source| StartError::Thread { core: id.0, source })?);
    }
    Ok((controls, threads))
}

/// A core's thread.
fn run_core(seed: CoreSeed) {
    let CoreSeed {
        id, ref reports, ..
    } = seed;
    let reports = reports.clone();
    pin(id, seed.processor);
    let (mut runtime, why_not) = match CoreRuntime::build(seed.shared.config.driver) {
        Ok(built) => built,
        Err(error) => {
            let _ = reports.send(Report::NoDriver(id, error));
            return;
        }
    };
    let ready = Report::Ready(id, runtime.driver(), why_not);
    let served = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve(seed, ready))));
    let cause = match served {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it panicked".into()),
    };
    let _ = reports.send(Report::Ended(id, cause));
}

fn pin(id: CoreId, processor: Option<usize>) {
    let Some(processor) = processor else {
        warn!(core = id.0, "processors are not known: not pinned");
        return;
    };
    if let Err(error) = affinity::pin(processor) {
        warn!(core = id.0, processor, %error, "not pinned");
    }
}

/// Starts a core's tasks and does as it is told. All its descriptors are open before it reports
/// that it is ready: once connections come, there may be none left.
async fn serve(seed: CoreSeed, ready: Report) -> io::Result<()> {
    let CoreSeed {
        id,
        shared,
        rooms,
        requests,
        deliveries,
        ..
    } = seed;
    let flush = Rc::new(Signal::default());
    let outbox_bytes_max = shared.config.outbox_bytes_max;
    let cores = rooms.to_cores.len();
    let depths = Depths {
        requests: rooms.to_homes[id.index()].clone(),
        deliveries: rooms.to_cores[id.index()].clone(),
    };
    let outboxes = Outboxes::new(
        id,
        rooms.to_homes,
        rooms.homes,
        outbox_bytes_max,
        flush.clone(),
    );
    let home = Rooms::new(id, cores, rooms.budget, new_epoch);
    let core = Core::new(
        id,
        shared,
        outboxes,
        flush,
        Turnstile::new()?,
        Poller::new()?,
        depths,
    );

    let turnstile = core.clone();
    monoio::spawn(async move { turnstile.turnstile.run().await });
    let yielding = core.clone();
    let turn_over = async move || yielding.turnstile.pass().await;
    monoio::spawn(hub::run(home, requests, rooms.to_cores, turn_over));
    monoio::spawn(deliver::run(core.clone(), deliveries));
    monoio::spawn(flusher::run(core.clone()));
    monoio::spawn(sweep::run(core.clone()));
    monoio::spawn(poller::run(core.clone()));
    let listeners = seed.listeners.into_iter();
    let acceptors = listeners
        .map(|listener| Acceptor::new(core.clone(), listener))
        .collect::<io::Result<Vec<_>>>()?;
    let _ = seed.reports.send(ready);
    obey(&core, acceptors, seed.controls, seed.reports).await;
    Ok(())
}

async fn obey(
    core: &Rc<Core>,
    acceptors: Vec<Rc<Acceptor>>,
    controls: Receiver<Control>,
    reports: Sender<Report>,
) {
    // Taken by the drain, which is so begun at most once.
    let mut acceptors = Some(acceptors);
    while let Ok(control) = controls.recv_async().await {
        match control {
            Control::Open => {
                for acceptor in acceptors.iter().flatten() {
                    monoio::spawn(acceptor.clone().run());
                }
            }
            Control::Configure(config, application) => {
                core.state.borrow_mut().configure(config, application);
            }
            Control::Drain(urgency) => {
                if let Some(acceptors) = acceptors.take() {
                    let (core, reports) = (core.clone(), reports.clone());
                    monoio::spawn(drain_after_delay(core, acceptors, reports, urgency));
                }
            }
            Control::Answer(question) => core.answer(question),
            Control::Stop => break,
        }
    }
}

/// A task of its own, so that the core is told other things meanwhile.
async fn drain_after_delay(
    core: Rc<Core>,
    acceptors: Vec<Rc<Acceptor>>,
    reports: Sender<Report>,
    urgency: Urgency,
) {
    let delay = urgency.delay(&core.state.borrow().shared.config.timeouts);
    if !delay.is_zero() {
        monoio::time::sleep(delay).await;
    }
    acceptors.iter().for_each(|acceptor| acceptor.stop());
    drop(acceptors);
    drain::run(&core, urgency).await;
    let _ = reports.send(Report::Drained(core.id));
}

/// A room's epoch: random, so that no two incarnations of a room share one.
fn new_epoch() -> u64 {
    getrandom::u64().unwrap_or_else(|error| {
        // Without randomness no epoch is safe, and the kernel has it at any time after boot.
        panic!("the kernel gave no random bytes: {error}")
    })
}
