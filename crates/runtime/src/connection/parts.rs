//! What a core lends a connection while it is attended to: the parts that all its connections share.

use std::{collections::VecDeque, rc::Rc, sync::Arc};

use hub::CoreId;

use super::{Application, users::Users};
use crate::{
    admission::Admission,
    clock::Clock,
    config::Config,
    encoding::Encoder,
    ids::ConnectionKey,
    io::Sealing,
    memory::Ledger,
    observe::{Date, Notices, Tally},
    out::Spare,
    rooms::{Requests, Shards},
    turn::{Attention, Wake},
};

/// The parts of one core. None holds a connection: they name one by its key.
pub(crate) struct Parts {
    pub(crate) id: CoreId,
    pub(crate) config: Arc<Config>,
    pub(crate) application: Arc<dyn Application>,
    /// The names of the application's protocols, in its order.
    pub(crate) protocols: Vec<&'static str>,
    pub(crate) admission: Arc<Admission>,
    /// For measuring durations. Everything else uses the [`Now`](crate::clock::Now) that it is given.
    pub(crate) clock: Clock,
    pub(crate) attention: Attention,
    pub(crate) rooms: RoomSide,
    pub(crate) out: OutSide,
    pub(crate) memory: Ledger,
    pub(crate) counters: Counters,
    pub(crate) users: Users,
    pub(crate) is_draining: bool,
}

/// The core's side of the rooms.
pub(crate) struct RoomSide {
    pub(crate) shards: Shards,
    pub(crate) requests: Requests,
}

/// The way out, towards peers.
pub(crate) struct OutSide {
    pub(crate) encoder: Encoder,
    pub(crate) sealing: Sealing,
    pub(crate) spare: Spare,
    /// Connections with bytes of their own to send. One whose bytes left otherwise may still be listed:
    /// then its turn sends nothing.
    pub(crate) own: VecDeque<ConnectionKey>,
    /// Connections with something of their rooms to send.
    pub(crate) news: VecDeque<ConnectionKey>,
    /// Connections that have sent their part of this turn; they move to `own` at its end.
    pub(crate) later: VecDeque<ConnectionKey>,
    /// Whether something may wait behind full sockets: not if a look at all connections found nothing there,
    /// and nothing has come to wait there since.
    pub(crate) has_laggards: bool,
    /// Raised when something is to leave at the end of the turn: requests or bytes.
    pub(crate) flush: Rc<Wake>,
    /// Raised when something is gathered that leaves when an interval is over.
    pub(crate) batches: Rc<Wake>,
}

/// What the core tells operators.
pub(crate) struct Counters {
    pub(crate) tally: Tally,
    pub(crate) notices: Notices,
    /// The date of answers over HTTP. Each sweep corrects it by the system's clock.
    pub(crate) date: Date,
}

impl OutSide {
    /// A connection has something of its own to send at the end of this turn.
    pub(crate) fn push(&mut self, key: ConnectionKey) {
        self.own.push_back(key);
        self.flush.raise();
    }
}
