//! One core's reactor: its loops, and what they share. Everything here belongs to one thread.
//!
//! ```text
//!  poll ─▶ attend ─▶ (actors) ─▶ flush ─▶ sockets, homes
//!            ▲                     ▲
//!  accept, sweep, drain,        deliver ◀── homes
//!  commands, desk, batches
//! ```
//!
//! Each loop is a task that borrows [`State`] for synchronous work and never across an await. A loop
//! that has more to do than a turn allows (`turn/bounds.rs`) passes the turnstile before it goes on.

mod accept;
mod attend;
#[cfg(feature = "simulation")]
mod audit;
mod batches;
mod command;
mod connections;
mod deliver;
mod desk;
mod drain;
mod evict;
mod flush;
mod operators;
mod poll;
mod sweep;

use std::{
    cell::RefCell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
};

use codec::Inflater;
use flume::{Receiver, Sender};
use hub::{CoreId, Delivery, Request};
use tracing::{error, warn};

#[cfg(feature = "simulation")]
pub use self::audit::CoreCounts;
pub(crate) use self::{
    accept::{Acceptor, listen, probe},
    command::Commanded,
    desk::{Closing, Inbox},
    drain::{Urgency, run as drain},
    operators::Question,
    poll::Poller,
};
pub use self::{
    command::{CommandRefused, Commander},
    desk::{Desk, DeskFull},
    operators::{ConnectionView, ConnectionsView, Snapshot},
};
use self::{connections::Connections, desk::Errands, evict::Evictions};
use crate::{
    admission::Admission,
    clock::{Clock, Now, RunningTime},
    config::Config,
    connection::{Actor, Application, Counters, Inbound, OutSide, Parts, RoomSide, Users},
    encoding::Encoder,
    end::EndReason,
    ids::ConnectionKey,
    io::{Arrivals, Sealing},
    kernel::{self, SystemTime},
    memory::Ledger,
    observe::{Date, Notices, Tally},
    out::Spare,
    rooms::{Requests, Shards, Visit},
    turn::{Attention, Rear, Turnstile, Wake},
};

/// What is the same on all cores. Configuration and application can be replaced while they run.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) application: Arc<dyn Application>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) clock: Clock,
}

/// A core: what its loops share.
pub(crate) struct Core {
    pub(crate) id: CoreId,
    pub(crate) clock: Clock,
    pub(crate) turnstile: Turnstile,
    /// For the flush, which sends behind everything that a turn brings.
    rear: Rear,
    pub(crate) poller: Poller,
    /// Raised when a connection asks for attention.
    attention: Rc<Wake>,
    /// Raised when something is to leave at the end of the turn: requests or bytes.
    flush: Rc<Wake>,
    /// Raised when something is gathered that leaves when an interval is over.
    batches: Rc<Wake>,
    /// Borrowed for short synchronous work, never across an await.
    pub(crate) state: RefCell<State>,
}

/// A core's connections, and the parts that they share.
pub(crate) struct State {
    pub(crate) connections: Connections,
    pub(crate) parts: Parts,
    pub(crate) inbound: Inbound,
    time: RunningTime,
    /// When the turn under way began, if something woke the core, in nanoseconds since the process
    /// started.
    turn_ns: Option<u64>,
    /// The receipt times of messages whose last subscribers are on the list of sends with news. Their
    /// latency is recorded when that list is empty.
    finished: Vec<u64>,
    /// Subscribers of a slice, empty between two of them: at most as many as a slice has.
    visits: Vec<Visit>,
    /// Whether the next turn's sends begin with rooms' news, or with connections' own bytes.
    begins_with_news: bool,
    evictions: Evictions,
    depths: Depths,
    errands: Errands,
    /// Bytes that wait for all connections, as of the latest sweep.
    queued_bytes: usize,
    /// The index at which an operator's next request for connections continues.
    looked_at_up_to: usize,
    /// When the age of connections was last configured.
    age_set_ms: u64,
}

/// This core's own mailboxes, to see how much waits in them.
pub(crate) struct Depths {
    pub(crate) requests: Sender<Vec<Request>>,
    pub(crate) deliveries: Sender<Vec<Delivery>>,
    pub(crate) commands: Receiver<Commanded>,
    pub(crate) desk: Inbox,
}

/// What wakes a core's loops.
#[derive(Clone, Default)]
pub(crate) struct Wakes {
    pub(crate) attention: Rc<Wake>,
    pub(crate) flush: Rc<Wake>,
    pub(crate) batches: Rc<Wake>,
}

impl Core {
    pub(crate) fn new(
        id: CoreId,
        shared: Shared,
        requests: Requests,
        wakes: Wakes,
        turnstile: Turnstile,
        poller: Poller,
        depths: Depths,
    ) -> Rc<Self> {
        let config = &shared.config;
        let arrivals = Arrivals::new(config.receive_buffer_bytes, config.tls.is_some());
        let clock = shared.clock;
        let state = State {
            connections: Connections::default(),
            parts: parts(id, shared, requests, &wakes),
            inbound: Inbound {
                arrivals,
                inflater: Inflater::default(),
            },
            time: RunningTime::default(),
            turn_ns: None,
            finished: Vec::new(),
            visits: Vec::new(),
            begins_with_news: false,
            evictions: Evictions::default(),
            depths,
            errands: Errands::default(),
            queued_bytes: 0,
            looked_at_up_to: 0,
            age_set_ms: 0,
        };
        Rc::new(Self {
            id,
            clock,
            turnstile,
            rear: Rear::default(),
            poller,
            attention: wakes.attention,
            flush: wakes.flush,
            batches: wakes.batches,
            state: RefCell::new(state),
        })
    }
}

fn parts(id: CoreId, shared: Shared, requests: Requests, wakes: &Wakes) -> Parts {
    let Shared {
        config,
        application,
        admission,
        clock,
    } = shared;
    let protocols = application.protocols();
    Parts {
        id,
        admission,
        clock,
        attention: Attention::new(wakes.attention.clone()),
        rooms: RoomSide {
            shards: Shards::default(),
            requests,
        },
        out: OutSide {
            encoder: Encoder::new(config.compression, application.bodies()),
            sealing: Sealing::default(),
            spare: Spare::default(),
            own: VecDeque::new(),
            news: VecDeque::new(),
            later: VecDeque::new(),
            has_laggards: true,
            flush: wakes.flush.clone(),
            batches: wakes.batches.clone(),
        },
        memory: Ledger::default(),
        counters: Counters {
            tally: Tally::new(protocols.len()),
            notices: Notices::default(),
            date: Date::new(SystemTime::now(), clock.ns()),
        },
        users: Users::default(),
        is_draining: false,
        protocols,
        config,
        application,
    }
}

/// Spawns a core's loops, which go on for as long as it runs.
pub(crate) fn spawn(
    core: &Rc<Core>,
    deliveries: Receiver<Vec<Delivery>>,
    commands: Receiver<Commanded>,
) {
    kernel::spawn(deliver::run(core.clone(), deliveries));
    kernel::spawn(command::run(core.clone(), commands));
    let inbox = core.state.borrow().depths.desk.clone();
    kernel::spawn(desk::run(core.clone(), inbox));
    kernel::spawn(attend::run(core.clone()));
    kernel::spawn(flush::run(core.clone()));
    let rear = core.clone();
    kernel::spawn(async move { rear.rear.run().await });
    kernel::spawn(batches::run(core.clone()));
    kernel::spawn(sweep::run(core.clone()));
    kernel::spawn(poll::run(core.clone()));
}

impl State {
    /// The core runs: this is the time of what it does now.
    pub(crate) fn now(&mut self) -> Now {
        let (now, stood_still) = self.time.run_at(self.parts.clock.ns());
        if let Some(by_ms) = stood_still {
            warn!(
                core = self.parts.id.0,
                by_ms,
                "this core did not run for a while (a suspended machine, a stopped process, or no \
                 processor time): all its deadlines move by as much"
            );
        }
        now
    }

    /// Something woke the core: what it does until its sends have left is one turn, which begins now if
    /// none is under way.
    pub(crate) fn begin_turn(&mut self) -> Now {
        let now = self.now();
        self.turn_ns.get_or_insert(now.ns);
        self.parts.out.flush.raise();
        now
    }

    /// Has a connection do something, if it is there. A panic of its session, or of what decodes its
    /// bytes, closes it with 1011 and does nothing else. Returns `None` if it is not there or panicked.
    pub(crate) fn act<T>(
        &mut self,
        key: ConnectionKey,
        now: Now,
        work: impl FnOnce(&mut Actor<'_>, &mut Inbound) -> T,
    ) -> Option<T> {
        let connection = self.connections.get_mut(key)?;
        let inbound = &mut self.inbound;
        let mut actor = Actor {
            connection,
            parts: &mut self.parts,
            now,
        };
        // Unwind safety: what the work leaves half done belongs to this connection, which is closed.
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut actor, inbound)));
        let done = done.inspect_err(|_| {
            let connection = key.token();
            error!(connection, "a connection's code panicked");
            actor.parts.counters.tally.panics += 1;
            actor.close(EndReason::Panicked);
            actor.raise();
        });
        actor.recount();
        done.ok()
    }

    /// Closes a connection as its stage allows.
    pub(crate) fn close(&mut self, key: ConnectionKey, now: Now, reason: EndReason) {
        self.act(key, now, |actor, _| actor.close(reason));
    }

    /// Removes a connection that is over. Calling `closed` and dropping the session run the application's
    /// code, and so does dropping a `TakeBody` that was not used, so each is guarded against panics.
    pub(crate) fn remove(&mut self, key: ConnectionKey, now: Now) {
        let Some(mut connection) = self.connections.remove(key) else {
            return;
        };
        let reason = connection.undo(&mut self.parts, now);
        if let Some(mut session) = connection.session.take() {
            self.guard(key, AssertUnwindSafe(|| session.closed(&reason)));
            self.guard(key, AssertUnwindSafe(|| drop(session)));
        }
        self.guard(key, AssertUnwindSafe(|| drop(connection)));
    }

    fn guard(&mut self, key: ConnectionKey, work: impl FnOnce() + std::panic::UnwindSafe) {
        if catch_unwind(work).is_err() {
            let connection = key.token();
            error!(connection, "a connection's code panicked");
            self.parts.counters.tally.panics += 1;
        }
    }

    /// Goes on with another configuration, as far as it can change while a core runs. What has a
    /// deadline already keeps it.
    pub(crate) fn configure(&mut self, config: Arc<Config>, application: Arc<dyn Application>) {
        let parts = &mut self.parts;
        parts.rooms.requests.allow(config.outbox_bytes_max);
        let bodies = application.bodies();
        parts.out.encoder.configure(config.compression, bodies);
        parts.rooms.requests.follow(application.rules());
        parts.rooms.shards.forget_intervals();
        let has_new_age = config.timeouts.connection_age != parts.config.timeouts.connection_age;
        parts.config = config;
        parts.application = application;
        // A flush keeps the bounds on memory, which may be lower now.
        parts.out.flush.raise();
        if has_new_age {
            self.age_set_ms = self.now().ns / 1_000_000;
        }
    }
}

impl Depths {
    /// Batches that wait: requests, deliveries.
    pub(crate) fn batches(&self) -> (usize, usize) {
        (self.requests.len(), self.deliveries.len())
    }

    /// Commands that wait.
    pub(crate) fn commands(&self) -> usize {
        self.commands.len()
    }

    /// Requests of desks that wait or are under way, and bytes of the publications among them.
    pub(crate) fn errands(&self) -> (usize, usize) {
        self.desk.taken()
    }
}
