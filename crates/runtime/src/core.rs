//! One core: what its tasks share. Everything here belongs to one thread.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Instant};

use hub::{ConnectionId, CoreId};
use slotmap::{Key, KeyData, SlotMap};

use crate::{
    admission::Admission,
    config::Config,
    connection::{Connection, ConnectionKey, Dirty},
    outbox::Outboxes,
    poller::Poller,
    session::Application,
    shard::Shards,
    signal::Signal,
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
    /// Raised when something is to leave at the end of the turn: requests or bytes.
    pub(crate) flush: Rc<Signal>,
    /// What every connection receives into, so that an idle one holds no buffer.
    pub(crate) buffer: RefCell<Vec<u8>>,
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
    pub(crate) dirty: Dirty,
    pub(crate) is_draining: bool,
}

impl Core {
    pub(crate) fn new(
        id: CoreId,
        shared: Shared,
        outboxes: Outboxes,
        flush: Rc<Signal>,
        turnstile: Turnstile,
        poller: Poller,
    ) -> Rc<Self> {
        let admission = shared.admission.clone();
        let started = shared.started;
        let buffer = RefCell::new(vec![0; shared.config.receive_buffer_bytes]);
        let state = State {
            id,
            shared,
            connections: SlotMap::with_key(),
            shards: Shards::default(),
            outboxes,
            dirty: Dirty {
                connections: Vec::new(),
                flush: flush.clone(),
            },
            is_draining: false,
        };
        Rc::new(Self {
            id,
            admission,
            started,
            turnstile,
            poller,
            flush,
            buffer,
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
}

impl State {
    /// Goes on with another configuration, as far as it can change while a core runs. What has a
    /// deadline already keeps it.
    pub(crate) fn configure(&mut self, config: Arc<Config>, application: Arc<dyn Application>) {
        self.outboxes.allow(config.outbox_bytes_max);
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
