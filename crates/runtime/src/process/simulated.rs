//! A server whose cores are simulated, all in one thread. What `server.rs` does with threads and sockets
//! the simulation does itself; everything else is the core that is shipped.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use flume::{Receiver, Sender};
use hub::{CoreId, LossReason, Member, Position, Record, Request, RoomBudget, RoomName, Rooms};

use super::{
    Configurer, Control, Driver, Monitor,
    core_thread::{CoreSeed, Report, RoomSeed, serve},
    tell,
};
use crate::{
    admission::Admission,
    clock::Clock,
    config::Config,
    connection::Application,
    kernel::{
        RandomState,
        simulated::{Id, Task},
    },
    reactor::{Commanded, Commander, Core, CoreCounts, Desk, Shared, Urgency},
};

thread_local! {
    /// The cores that have begun, in order.
    static CORES: RefCell<Vec<Begun>> = const { RefCell::new(Vec::new()) };
}

/// A core that has begun, and the rooms whose home it is.
struct Begun {
    core: Rc<Core>,
    home: Rc<RefCell<Rooms>>,
}

/// A core has begun.
pub(super) fn note(core: &Rc<Core>, home: &Rc<RefCell<Rooms>>) {
    let (core, home) = (core.clone(), home.clone());
    CORES.with_borrow_mut(|cores| cores.push(Begun { core, home }));
}

/// What a machine is made of.
pub struct Seed {
    /// How many cores it has, their bounds and deadlines.
    pub config: Config,
    /// What it serves.
    pub application: Arc<dyn Application>,
    /// The listener of each core.
    pub listeners: Vec<Id>,
}

/// The cores of a simulated server.
pub struct Machine {
    cores: Vec<Begun>,
    admission: Arc<Admission>,
    controls: Vec<Sender<Control>>,
    configurer: Configurer,
    monitor: Monitor,
    commander: Commander,
    desk: Desk,
    to_homes: Vec<Sender<Vec<Request>>>,
    reports: Receiver<Report>,
}

impl Machine {
    /// A server that has not begun, and the task of each of its cores, to be run on that core.
    pub fn new(seed: Seed) -> (Self, Vec<Task>) {
        CORES.take();
        let Seed {
            config,
            application,
            listeners,
        } = seed;
        let rooms = RoomBudget::new(config.rooms_max);
        let connections_max = config.connections_max.unwrap_or(usize::MAX);
        let batches = config.mailbox_batches;
        let commands_max = config.commands_max;
        let (desk_requests_max, desk_bytes_max) =
            (config.desk_requests_max, config.outbox_bytes_max);
        let shared = Shared {
            config: Arc::new(config),
            application,
            admission: Arc::new(Admission::default()),
            clock: Clock::start(),
        };
        let cores = listeners.len();
        let (to_homes, requests): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| flume::bounded(batches)).unzip();
        let (to_cores, deliveries): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| flume::bounded(batches)).unzip();
        let homes = RandomState::new();
        let (desk, inboxes) = Desk::new(cores, desk_requests_max, desk_bytes_max, homes.clone());
        let room_seed = RoomSeed {
            homes,
            budget: rooms.clone(),
            to_homes: to_homes.clone(),
            to_cores,
        };
        let (report, reports) = flume::unbounded();
        let mut controls = Vec::new();
        let mut commands: Vec<Sender<Commanded>> = Vec::new();
        let mut tasks: Vec<Task> = Vec::new();
        let requests = requests.into_iter();
        let mailboxes = requests.zip(deliveries).zip(listeners).zip(inboxes);
        for (id, (((requests, deliveries), listener), desk)) in (0u16..).map(CoreId).zip(mailboxes)
        {
            let (control, controlled) = flume::unbounded();
            let (command, commanded) = flume::bounded(commands_max);
            controls.push(control);
            commands.push(command);
            let seed = CoreSeed {
                id,
                shared: shared.clone(),
                processor: None,
                listeners: vec![listener],
                rooms: room_seed.clone(),
                requests,
                deliveries,
                commands: commanded,
                desk,
                controls: controlled,
                reports: report.clone(),
            };
            tasks.push(Box::pin(async move {
                let ready = Report::Ready(id, Driver::Epoll, None);
                serve(seed, ready).await.expect("a simulated core begins");
            }));
        }
        let admission = shared.admission;
        admission.open(Some(connections_max), usize::MAX);
        let configurer = Configurer {
            controls: controls.clone(),
            admission: admission.clone(),
            rooms: rooms.clone(),
            connections_possible: usize::MAX,
        };
        let machine = Self {
            cores: Vec::new(),
            monitor: Monitor::new(&controls, rooms, admission.clone()),
            commander: Commander { cores: commands },
            desk,
            admission,
            controls,
            configurer,
            to_homes,
            reports,
        };
        (machine, tasks)
    }

    /// Has all cores accept; to be called when each has run once.
    pub fn open(&mut self) {
        self.cores = CORES.take();
        self.cores.sort_by_key(|it| it.core.id);
        tell(&self.controls, || Control::Open);
    }

    /// Begins a drain, of the hurried kind or the planned one.
    pub fn drain(&self, is_hurried: bool) {
        let urgency = match is_hurried {
            true => Urgency::Interrupted,
            false => Urgency::Planned,
        };
        tell(&self.controls, || Control::Drain(urgency));
    }

    /// A room's log is lost, wherever its home is; a home whose mailbox is full is not told.
    pub fn lose(&self, name: &RoomName) {
        for home in &self.to_homes {
            let name = name.clone();
            let reason = LossReason::Gap;
            let _ = home.try_send(vec![Request::Lose { name, reason }]);
        }
    }

    /// How many cores have drained since this was asked last.
    pub fn drained(&self) -> usize {
        let reports = self.reports.try_iter();
        reports
            .filter(|it| matches!(it, Report::Drained(_)))
            .count()
    }

    /// Gives the server another configuration.
    pub fn configurer(&self) -> &Configurer {
        &self.configurer
    }

    /// Asks the cores how they are.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Gives connections commands.
    pub fn commander(&self) -> &Commander {
        &self.commander
    }

    /// Publishes in rooms and asks about them.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Checks that all parts of all cores agree with each other, and returns the counts of each core.
    ///
    /// # Errors
    ///
    /// Where they do not.
    pub fn audit(&self) -> Result<Vec<CoreCounts>, String> {
        let counts: Vec<_> = self
            .cores
            .iter()
            .map(|it| it.core.audit())
            .collect::<Result<_, _>>()?;
        let mut rooms = 0;
        for (home, it) in self.cores.iter().enumerate() {
            let audited = it.home.borrow().audit();
            rooms += audited.map_err(|error| format!("home {home}: {error}"))?;
        }
        let places = self.monitor.rooms();
        if places != rooms {
            return Err(format!("places of rooms: counted {places}, found {rooms}"));
        }
        let admitted: usize = counts.iter().map(|it| it.admitted).sum();
        let counted = self.admission.connections();
        match counted == admitted {
            true => Ok(counts),
            false => Err(format!(
                "connections admitted: counted {counted}, found {admitted}"
            )),
        }
    }

    /// The position of a room's latest message, wherever its home is; `None` if nothing is known of it.
    pub fn position(&self, name: &RoomName) -> Option<Position> {
        let mut homes = self.cores.iter();
        homes.find_map(|it| it.home.borrow().position(name))
    }

    /// All rooms of all homes, and the number of subscribers of each.
    pub fn rooms(&self) -> BTreeMap<RoomName, u32> {
        let homes = self.cores.iter();
        homes
            .flat_map(|it| it.home.borrow().all().collect::<Vec<_>>())
            .collect()
    }

    /// All messages that a room keeps.
    pub fn kept(&self, name: &RoomName) -> Vec<(u64, Record)> {
        let homes = self.cores.iter();
        homes
            .flat_map(|it| it.home.borrow().kept(name).to_vec())
            .collect()
    }

    /// The members of a room, and whether each of them is really in it.
    pub fn members(&self, name: &RoomName) -> Vec<(Arc<Member>, bool)> {
        let homes = self.cores.iter();
        homes
            .flat_map(|it| it.home.borrow().members_now(name))
            .map(|(id, member)| {
                let core = &self.cores[id.core.index()].core;
                (member, core.is_in(id.token, name))
            })
            .collect()
    }

    /// What nobody would ever do, if nothing is to happen now but timers and what peers do.
    pub fn stuck(&self) -> Option<String> {
        self.cores.iter().find_map(|it| it.core.stuck())
    }

    /// Whether a connection of a core, by the token of its reports, would receive what has arrived for it.
    pub fn receives(&self, core: Id, token: u64) -> bool {
        self.cores[core as usize].core.receives(token)
    }

    /// What is not at rest on some core, although everything has had time enough.
    pub fn unrest(&self) -> Option<String> {
        self.cores.iter().find_map(|it| it.core.unrest())
    }
}
