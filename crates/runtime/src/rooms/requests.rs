//! Requests on their way from this core to the rooms' homes: one batch for each home and turn.

use std::{hash::BuildHasher, mem, rc::Rc, sync::Arc};

use flume::{Sender, TrySendError};
use hub::{CoreId, Request, RoomName, RoomView, RuleBook, Target};

use super::publication_bytes;
use crate::{ids::ConnectionKey, kernel::RandomState, observe::Batches, turn::Wake};

/// The requests for each core that rooms can have their home on, this one included.
pub(crate) struct Requests {
    own: CoreId,
    homes: Vec<ToHome>,
    /// The same on all cores, so that they agree on a room's home; random, so that nobody outside
    /// can choose names that all fall to one core.
    hashes: RandomState,
    bytes_max: usize,
    sent: Batches,
    /// Wakes the flush loop, which sends these batches at the end of the turn.
    flush: Rc<Wake>,
}

/// The requests for one home.
struct ToHome {
    mailbox: Sender<Vec<Request>>,
    pending: Vec<Request>,
    pending_bytes: usize,
    /// A task holds an earlier batch and waits for the mailbox to take it.
    is_blocked: bool,
    /// Connections that are paused until this batch leaves, in order.
    waiting: Vec<ConnectionKey>,
}

/// A batch that did not fit into its home's mailbox.
pub(crate) struct Blocked {
    pub(crate) home: CoreId,
    pub(crate) mailbox: Sender<Vec<Request>>,
    pub(crate) batch: Vec<Request>,
}

impl Requests {
    pub(crate) fn new(
        own: CoreId,
        mailboxes: Vec<Sender<Vec<Request>>>,
        hashes: RandomState,
        bytes_max: usize,
        flush: Rc<Wake>,
    ) -> Self {
        let to_home = |mailbox| ToHome {
            mailbox,
            pending: Vec::new(),
            pending_bytes: 0,
            is_blocked: false,
            waiting: Vec::new(),
        };
        Self {
            own,
            homes: mailboxes.into_iter().map(to_home).collect(),
            hashes,
            bytes_max,
            sent: Batches::default(),
            flush,
        }
    }

    /// What has been sent to all homes.
    pub(crate) fn sent(&self) -> Batches {
        self.sent
    }

    /// Requests that have not left yet, and homes whose mailboxes have no space for the latest batch.
    #[cfg(feature = "simulation")]
    pub(crate) fn pending(&self) -> usize {
        let homes = self.homes.iter();
        homes
            .map(|home| home.pending.len() + usize::from(home.is_blocked) + home.waiting.len())
            .sum()
    }

    /// Has the home on this core tell which of its rooms stand out.
    pub(crate) fn ask_rooms(&mut self, top: usize, reply: Sender<RoomView>) {
        self.push(Request::Look { top, reply });
    }

    /// Has the home on this core follow other rules.
    pub(crate) fn follow(&mut self, rules: Arc<dyn RuleBook>) {
        self.push(Request::Configure { rules });
    }

    /// The core on which a room of this name lives.
    pub(crate) fn home(&self, name: &RoomName) -> CoreId {
        home_of_name(&self.hashes, self.homes.len(), name)
    }

    /// Bounds what waits for each home, from now on.
    pub(crate) fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whether what waits for this home has reached its bound. Publications and joins must ask
    /// before they push. Leaving, holding and resuming are always possible: there are no more of them
    /// than joins and deliveries.
    pub(crate) fn is_full(&self, home: CoreId) -> bool {
        self.homes[home.index()].pending_bytes >= self.bytes_max
    }

    /// The home that a request is for.
    pub(crate) fn home_of(&self, request: &Request) -> CoreId {
        match request {
            Request::Join { name, .. }
            | Request::Ask { name, .. }
            | Request::Lose { name, .. }
            | Request::Publish {
                to: Target::Name(name),
                ..
            } => self.home(name),
            Request::Publish {
                to: Target::Room(room),
                ..
            }
            | Request::Leave { room, .. }
            | Request::Hold { room, .. }
            | Request::Resume { room, .. } => room.home,
            Request::Sweep { .. }
            | Request::Look { .. }
            | Request::List { .. }
            | Request::Configure { .. }
            | Request::Save { .. }
            | Request::Restore { .. } => self.own,
        }
    }

    /// Adds a request to the turn's batch for its home.
    pub(crate) fn push(&mut self, request: Request) {
        let home = self.home_of(&request);
        let to_home = &mut self.homes[home.index()];
        to_home.pending_bytes += match &request {
            Request::Publish { record, .. } => publication_bytes(record.sent_bytes()),
            _ => publication_bytes(0),
        };
        to_home.pending.push(request);
        self.flush.raise();
    }

    /// Adds a publication of a connection that is gone, for which there was no room while it was there.
    /// It may exceed the bound by so many bytes, which is what such connections could hold; beyond that
    /// it is lost, and `false` is returned.
    pub(crate) fn push_owed(&mut self, request: Request, beyond_bytes: usize) -> bool {
        let home = self.home_of(&request);
        let has_room = self.homes[home.index()].pending_bytes < self.bytes_max + beyond_bytes;
        if has_room {
            self.push(request);
        }
        has_room
    }

    /// Remembers a connection that waits until this home's requests have left.
    pub(crate) fn wait(&mut self, home: CoreId, connection: ConnectionKey) {
        self.homes[home.index()].waiting.push(connection);
    }

    /// Hands every pending batch to its mailbox. Returns the connections that need wait no
    /// longer, and the batches for which there is no room: the caller sees to it that they are
    /// sent, and says [`unblocked`](Self::unblocked).
    pub(crate) fn send(&mut self) -> (Vec<ConnectionKey>, Vec<Blocked>) {
        let mut resumed = Vec::new();
        let mut blocked = Vec::new();
        for (to_home, home) in self.homes.iter_mut().zip((0u16..).map(CoreId)) {
            if to_home.is_blocked || to_home.pending.is_empty() {
                continue;
            }
            to_home.pending_bytes = 0;
            resumed.append(&mut to_home.waiting);
            let batch = mem::take(&mut to_home.pending);
            self.sent.count(batch.len());
            if let Err(TrySendError::Full(batch)) = to_home.mailbox.try_send(batch) {
                to_home.is_blocked = true;
                let mailbox = to_home.mailbox.clone();
                blocked.push(Blocked {
                    home,
                    mailbox,
                    batch,
                });
            }
        }
        (resumed, blocked)
    }

    /// The mailbox of this home has taken the batch that it had no room for.
    pub(crate) fn unblocked(&mut self, home: CoreId) {
        self.homes[home.index()].is_blocked = false;
        self.flush.raise();
    }
}

/// On which of so many cores a room of this name lives, by hashes that are the same for all who ask.
pub(crate) fn home_of_name(hashes: &RandomState, cores: usize, name: &RoomName) -> CoreId {
    let hash = hashes.hash_one(name);
    CoreId((hash % cores as u64) as u16)
}

#[cfg(test)]
mod tests {
    use hub::{ConnectionId, RoomId};

    use super::*;

    #[test]
    fn requests_are_full_at_the_bound_that_is_allowed_last() {
        let (mailbox, _taken) = flume::bounded(1);
        let homes = RandomState::new();
        let flush = Rc::new(Wake::default());
        let home = CoreId(0);
        let one = publication_bytes(0);
        let mut requests = Requests::new(home, vec![mailbox], homes, 2 * one, flush);
        let room = RoomId { home, token: 1 };
        let subscriber = ConnectionId {
            core: home,
            token: 1,
        };
        requests.push(Request::Leave { room, subscriber });
        assert!(!requests.is_full(home));
        requests.allow(one);
        assert!(requests.is_full(home));
        requests.allow(3 * one);
        requests.push(Request::Leave { room, subscriber });
        assert!(!requests.is_full(home));
    }
}
