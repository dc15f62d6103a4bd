//! A core's thread: its runtime, its loops, and doing as it is told.

use std::{
    cell::RefCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use flume::{Receiver, Sender};
use hub::{AnswerLimits, CoreId, Delivery, Epoch, HomeBounds, Request, RoomBudget, Rooms};
use tracing::warn;

use super::{
    Control, affinity,
    driver::{CoreRuntime, Driver},
};
use crate::{
    clock::wall_ms,
    config::Config,
    kernel::{Listening, RandomState, SystemTime, random, sleep, spawn},
    reactor::{
        self, Acceptor, Closing, Commanded, Core, Depths, Inbox, Poller, Shared, Urgency, Wakes,
    },
    rooms::Requests,
    turn::Turnstile,
};

/// What a core reports.
#[derive(Debug)]
pub(super) enum Report {
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
pub(super) struct CoreSeed {
    pub(super) id: CoreId,
    pub(super) shared: Shared,
    pub(super) processor: Option<usize>,
    pub(super) listeners: Vec<Listening>,
    pub(super) rooms: RoomSeed,
    pub(super) requests: Receiver<Vec<Request>>,
    pub(super) deliveries: Receiver<Vec<Delivery>>,
    pub(super) commands: Receiver<Commanded>,
    pub(super) desk: Inbox,
    pub(super) controls: Receiver<Control>,
    pub(super) reports: Sender<Report>,
}

/// What all cores need to agree on the rooms.
#[derive(Clone)]
pub(super) struct RoomSeed {
    pub(super) homes: RandomState,
    pub(super) budget: Arc<RoomBudget>,
    pub(super) to_homes: Vec<Sender<Vec<Request>>>,
    pub(super) to_cores: Vec<Sender<Vec<Delivery>>>,
}

/// Runs a core until it is told to stop.
pub(super) fn run_core(seed: CoreSeed) {
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
pub(super) async fn serve(seed: CoreSeed, ready: Report) -> io::Result<()> {
    let CoreSeed {
        id,
        shared,
        rooms,
        requests,
        deliveries,
        ..
    } = seed;
    let wakes = Wakes::default();
    let cores = rooms.to_cores.len();
    let depths = Depths {
        requests: rooms.to_homes[id.index()].clone(),
        deliveries: rooms.to_cores[id.index()].clone(),
        commands: seed.commands.clone(),
        desk: seed.desk,
    };
    let bounds = bounds_of_home(&shared.config);
    let rules = shared.application.rules();
    let requests_to_homes = Requests::new(
        id,
        rooms.to_homes,
        rooms.homes,
        shared.config.outbox_bytes_max,
        wakes.flush.clone(),
    );
    let occupancy = shared.application.occupancy();
    let home = Rooms::new(id, cores, rooms.budget, bounds, rules, new_epoch)
        .at(wall_ms(SystemTime::now()))
        .watched_by(occupancy);
    let home = Rc::new(RefCell::new(home));
    let core = Core::new(
        id,
        shared,
        requests_to_homes,
        wakes,
        Turnstile::new()?,
        Poller::new()?,
        depths,
    );
    let _closing = Closing(core.clone());

    #[cfg(feature = "simulation")]
    super::simulated::note(&core, &home);
    let turnstile = core.clone();
    spawn(async move { turnstile.turnstile.run().await });
    let yielding = core.clone();
    let turn_over = async move || yielding.turnstile.pass().await;
    spawn(hub::run(home.clone(), requests, rooms.to_cores, turn_over));
    reactor::spawn(&core, deliveries, seed.commands);
    let listeners = seed.listeners.into_iter();
    let acceptors = listeners
        .map(|listener| Acceptor::new(core.clone(), listener))
        .collect::<io::Result<Vec<_>>>()?;
    let _ = seed.reports.send(ready);
    obey(&core, acceptors, seed.controls, seed.reports).await;
    home.borrow_mut().vacate_all();
    Ok(())
}

/// Each home has an even share of what all of them may keep.
fn bounds_of_home(config: &Config) -> HomeBounds {
    HomeBounds {
        waiting_bytes: config.outbox_bytes_max,
        past_bytes: config.history_bytes_max / config.cores,
        positions: config.positions_max / config.cores,
        answer: AnswerLimits {
            messages: config.recovered_messages_max,
            bytes: config.recovered_bytes_max,
        },
    }
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
                    spawn(acceptor.clone().run());
                }
            }
            Control::Configure(config, application) => {
                core.state.borrow_mut().configure(config, application);
            }
            Control::Drain(urgency) => {
                if let Some(acceptors) = acceptors.take() {
                    let (core, reports) = (core.clone(), reports.clone());
                    spawn(drain_after_delay(core, acceptors, reports, urgency));
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
    let delay = urgency.delay(&core.state.borrow().parts.config.timeouts);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    acceptors.iter().for_each(|acceptor| acceptor.stop());
    drop(acceptors);
    reactor::drain(&core, urgency).await;
    let _ = reports.send(Report::Drained(core.id));
}

/// A room's epoch: random, so that no two incarnations of a room share one.
fn new_epoch() -> Epoch {
    // Without randomness no epoch is safe, and the kernel has it at any time after boot.
    random().map(Epoch).expect("the kernel gives random bytes")
}
