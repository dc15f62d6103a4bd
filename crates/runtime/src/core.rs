//! One core: what its tasks share. Everything here belongs to one thread.

use std::{cell::RefCell, mem, rc::Rc, sync::Arc, time::Instant};

use codec::Inflater;
use flume::Sender;
use hub::{ConnectionId, CoreId, Delivery, Request};
use slotmap::{Key, KeyData, SlotMap};

use crate::{
    admission::Admission,
    config::Config,
    connection::{Connection, ConnectionKey, Dirty},
    contexts::Contexts,
    cost,
    date::Date,
    encoder::Encoder,
    notices::Notices,
    outbox::Outboxes,
    poller::Poller,
    ration::Ration,
    session::Application,
    shard::Shards,
    signal::Signal,
    socket::{Arrivals, Sealing},
    spare::Spare,
    tally::Tally,
    turnstile::Turnstile,
};

/// What is the same on all cores. Configuration and application can be replaced while they run.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) application: Arc<dyn Application>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) started: Instant,
}

/// A core.
pub(crate) struct Core {
    pub(crate) id: CoreId,
    pub(crate) admission: Arc<Admission>,
    pub(crate) started: Instant,
    pub(crate) turnstile: Turnstile,
    pub(crate) poller: Poller,
    /// TLS handshakes of all connections.
    pub(crate) handshakes: Ration,
    /// Whatever connections with compression receive.
    pub(crate) compression: Ration,
    /// Raised when something is to leave at the end of the turn: requests or bytes.
    pub(crate) flush: Rc<Signal>,
    /// Raised when the flusher takes what has been queued: deliveries may go on.
    pub(crate) flush_begun: Signal,
    /// What every connection receives into, so that an idle one holds no buffer.
    pub(crate) arrivals: RefCell<Arrivals>,
    /// Borrowed for short synchronous work, never across an await.
    pub(crate) state: RefCell<State>,
}

/// A core's connections, rooms and lists.
pub(crate) struct State {
    pub(crate) id: CoreId,
    pub(crate) shared: Shared,
    pub(crate) connections: SlotMap<ConnectionKey, Connection>,
    pub(crate) shards: Shards,
    pub(crate) outboxes: Outboxes,
    pub(crate) encoder: Encoder,
    /// Decompresses what connections receive, one message at a time.
    pub(crate) inflater: Inflater,
    /// What is reserved for the compression of single connections.
    pub(crate) contexts: Contexts,
    /// Of answers over HTTP.
    pub(crate) date: Date,
    pub(crate) dirty: Dirty,
    pub(crate) is_draining: bool,
    /// The application's table.
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) tally: Tally,
    pub(crate) notices: Notices,
    pub(crate) spare: Spare,
    pub(crate) sealing: Sealing,
    pub(crate) depths: Depths,
    /// Bytes that wait for all connections, as of the latest sweep.
    pub(crate) queued_bytes: usize,
    /// Bytes of memory that the queues hold that did not empty in their turn; those of the rooms'
    /// logs are counted there.
    pub(crate) direct_held_bytes: usize,
    /// Bytes of memory for what has arrived and is not whole yet.
    pub(crate) unfinished_bytes: usize,
    /// Bytes that closing connections for the budget's sake has added to what is held.
    pub(crate) courtesy_bytes: usize,
    /// When the turn under way began, in nanoseconds since the process started.
    turn_ns: Option<u64>,
    /// When the core last looked what its sockets have: what is received now came before that.
    pub(crate) received_ns: u64,
    /// When the core was last seen to run, in nanoseconds since the process started: it does at least
    /// with each sweep.
    pub(crate) ran_ns: u64,
    /// When the messages were received that were added to logs since the flusher last looked.
    pub(crate) unsent: Vec<u64>,
    /// Bytes of deliveries since the flusher last took what has been queued.
    pub(crate) unflushed_bytes: usize,
    /// How many connections the latest looks at them have come past.
    pub(crate) looked_at_up_to: usize,
    /// When the age of connections was last configured, in milliseconds since the process started.
    pub(crate) age_set_ms: u64,
}

/// A turn whose sends are leaving.
pub(crate) struct Turn {
    /// When it began, if something woke the core; not if it only looked at deadlines.
    began_ns: Option<u64>,
    /// When the messages were received that it sends to subscribers.
    received_ns: Vec<u64>,
}

/// This core's own mailboxes, from the senders' side, to see how much waits in them.
pub(crate) struct Depths {
    pub(crate) requests: Sender<Vec<Request>>,
    pub(crate) deliveries: Sender<Vec<Delivery>>,
}

impl Depths {
    /// Batches that wait: requests, deliveries.
    pub(crate) fn batches(&self) -> (usize, usize) {
        (self.requests.len(), self.deliveries.len())
    }
}

impl Core {
    pub(crate) fn new(
        id: CoreId,
        shared: Shared,
        outboxes: Outboxes,
        flush: Rc<Signal>,
        turnstile: Turnstile,
        poller: Poller,
        depths: Depths,
    ) -> Rc<Self> {
        let protocols = shared.application.protocols();
        let admission = shared.admission.clone();
        let started = shared.started;
        let config = &shared.config;
        let arrivals = Arrivals::new(config.receive_buffer_bytes, config.tls.is_some());
        let state = State {
            id,
            encoder: Encoder::new(shared.config.compression),
            inflater: Inflater::default(),
            contexts: Contexts::default(),
            date: Date::default(),
            shared,
            connections: SlotMap::with_key(),
            shards: Shards::default(),
            outboxes,
            dirty: Dirty {
                connections: Vec::new(),
                flush: flush.clone(),
            },
            is_draining: false,
            tally: Tally::new(protocols.len()),
            notices: Notices::default(),
            spare: Spare::default(),
            sealing: Sealing::default(),
            protocols,
            depths,
            queued_bytes: 0,
            direct_held_bytes: 0,
            unfinished_bytes: 0,
            courtesy_bytes: 0,
            turn_ns: None,
            received_ns: 0,
            ran_ns: 0,
            unsent: Vec::new(),
            unflushed_bytes: 0,
            looked_at_up_to: 0,
            age_set_ms: 0,
        };
        Rc::new(Self {
            id,
            admission,
            started,
            turnstile,
            poller,
            handshakes: Ration::new(cost::HANDSHAKES_NS, cost::HANDSHAKE_NS_MIN),
            compression: Ration::new(cost::COMPRESSION_NS, 0),
            flush,
            flush_begun: Signal::default(),
            arrivals: RefCell::new(arrivals),
            state: RefCell::new(state),
        })
    }

    /// Milliseconds since the process started.
    pub(crate) fn now_ms(&self) -> u64 {
        ms(self.started.elapsed())
    }
}

impl Shared {
    /// Milliseconds since the process started: the unit of all deadlines.
    pub(crate) fn now_ms(&self) -> u64 {
        ms(self.started.elapsed())
    }

    /// Nanoseconds since the process started: what is measured is measured in them.
    pub(crate) fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

impl State {
    /// Something woke the core: what it does until its sends have left is one turn, which begins
    /// now if none is under way. Whoever says so raises the flusher, too, which ends the turn.
    pub(crate) fn begin_turn(&mut self) {
        self.received_ns = self.shared.now_ns();
        self.runs(self.received_ns);
        self.turn_ns.get_or_insert(self.received_ns);
    }

    /// As [`begin_turn`](Self::begin_turn), unless a turn is under way; and raises the flusher.
    pub(crate) fn need_turn(&mut self) {
        if self.turn_ns.is_none() {
            self.begin_turn();
        }
        self.dirty.flush.raise();
    }

    /// The flusher begins to send: what comes while it does belongs to the next turn.
    pub(crate) fn take_turn(&mut self) -> Turn {
        self.unflushed_bytes = 0;
        Turn {
            began_ns: self.turn_ns.take(),
            received_ns: mem::take(&mut self.unsent),
        }
    }

    /// The turn's sends have left.
    pub(crate) fn end_turn(&mut self, turn: Turn) {
        if turn.began_ns.is_none() && turn.received_ns.is_empty() {
            return;
        }
        let now_ns = self.shared.now_ns();
        if let Some(began_ns) = turn.began_ns {
            self.tally.turns += 1;
            self.tally.turn.record(now_ns.saturating_sub(began_ns));
        }
        for received_ns in turn.received_ns {
            let took_ns = now_ns.saturating_sub(received_ns);
            self.tally.fanout.record(took_ns);
        }
    }

    /// Goes on with another configuration, as far as it can change while a core runs. What has a
    /// deadline already keeps it.
    pub(crate) fn configure(&mut self, config: Arc<Config>, application: Arc<dyn Application>) {
        self.outboxes.allow(config.outbox_bytes_max);
        self.encoder.configure(config.compression);
        if config.timeouts.connection_age != self.shared.config.timeouts.connection_age {
            self.age_set_ms = self.shared.now_ms();
        }
        self.shared.config = config;
        self.shared.application = application;
    }

    /// A connection's name beyond this core.
    pub(crate) fn id_of(&self, key: ConnectionKey) -> ConnectionId {
        ConnectionId {
            core: self.id,
            token: key.data().as_ffi(),
        }
    }
}

/// The slot of one of this core's connections.
pub(crate) fn key_of(id: ConnectionId) -> ConnectionKey {
    KeyData::from_ffi(id.token).into()
}

/// A configured duration in the unit of deadlines.
pub(crate) fn ms(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}
