//! Requests on their way from this core to the rooms' homes: one batch for each home and turn.

use std::{hash::BuildHasher, mem, rc::Rc};

use flume::{Sender, TrySendError};
use hub::{CoreId, Request, RoomName, RoomView};

use crate::{
    connection::ConnectionKey, session::publication_bytes, signal::Signal, tally::Batches,
};

/// One outbox for each core that rooms can have their home on, this one included.
pub(crate) struct Outboxes {
    own: CoreId,
    outboxes: Vec<Outbox>,
    /// The same on all cores, so that they agree on a room's home; random, so that nobody outside
    /// can choose names that all fall to one core.
    homes: std::hash::RandomState,
    bytes_max: usize,
    sent: Batches,
    /// Raised when there is something to send: at the end of the turn it is.
    flush: Rc<Signal>,
}

struct Outbox {
    mailbox: Sender<Vec<Request>>,
    pending: Vec<Request>,
    pending_bytes: usize,
    /// A task holds an earlier batch and waits for the mailbox to take it.
    is_blocked: bool,
    /// Connections that wait until pending requests have been taken, first come first.
    waiting: Vec<ConnectionKey>,
}

/// A batch that its home's mailbox has no room for.
pub(crate) struct Blocked {
    pub(crate) home: CoreId,
    pub(crate) mailbox: Sender<Vec<Request>>,
    pub(crate) batch: Vec<Request>,
}

impl Outboxes {
    pub(crate) fn new(
        own: CoreId,
        mailboxes: Vec<Sender<Vec<Request>>>,
        homes: std::hash::RandomState,
        bytes_max: usize,
        flush: Rc<Signal>,
    ) -> Self {
        let outbox = |mailbox| Outbox {
            mailbox,
            pending: Vec::new(),
            pending_bytes: 0,
            is_blocked: false,
            waiting: Vec::new(),
        };
        Self {
            own,
            outboxes: mailboxes.into_iter().map(outbox).collect(),
            homes,
            bytes_max,
            sent: Batches::default(),
            flush,
        }
    }

    /// What has been sent to all homes.
    pub(crate) fn sent(&self) -> Batches {
        self.sent
    }

    /// Has the home on this core tell which of its rooms stand out.
    pub(crate) fn ask_rooms(&mut self, top: usize, reply: Sender<RoomView>) {
        self.push(Request::Look { top, reply });
    }

    /// The core on which a room of this name lives.
    pub(crate) fn home(&self, name: &RoomName) -> CoreId {
        let hash = self.homes.hash_one(name);
        CoreId((hash % self.outboxes.len() as u64) as u16)
    }

    /// Bounds each outbox so from now on.
    pub(crate) fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whether what waits for this home has reached its bound. Publications and joins must ask
    /// before they push; leaving is always possible, since there are no more leaves than joins.
    pub(crate) fn is_full(&self, home: CoreId) -> bool {
        self.outboxes[home.index()].pending_bytes >= self.bytes_max
    }

    /// Adds a request to the turn's batch for its room's home.
    pub(crate) fn push(&mut self, request: Request) {
        let home = match &request {
            Request::Join { name, .. } => self.home(name),
            Request::Leave { room, .. } | Request::Publish { room, .. } => room.home,
            Request::Sweep { .. } | Request::Look { .. } => self.own,
        };
        let outbox = &mut self.outboxes[home.index()];
        outbox.pending_bytes += match &request {
            Request::Publish { publication, .. } => publication_bytes(publication.payload.len()),
            _ => publication_bytes(0),
        };
        outbox.pending.push(request);
        self.flush.raise();
    }

    /// Remembers a connection that waits for this home's outbox to empty.
    pub(crate) fn wait(&mut self, home: CoreId, connection: ConnectionKey) {
        self.outboxes[home.index()].waiting.push(connection);
    }

    /// Hands every pending batch to its mailbox. Returns the connections that need wait no
    /// longer, and the batches for which there is no room: the caller sees to it that they are
    /// sent, and says [`unblocked`](Self::unblocked).
    pub(crate) fn send(&mut self) -> (Vec<ConnectionKey>, Vec<Blocked>) {
        let mut resumed = Vec::new();
        let mut blocked = Vec::new();
        for (outbox, home) in self.outboxes.iter_mut().zip((0u16..).map(CoreId)) {
            if outbox.is_blocked || outbox.pending.is_empty() {
                continue;
            }
            outbox.pending_bytes = 0;
            resumed.append(&mut outbox.waiting);
            let batch = mem::take(&mut outbox.pending);
            self.sent.count(batch.len());
            if let Err(TrySendError::Full(batch)) = outbox.mailbox.try_send(batch) {
                outbox.is_blocked = true;
                let mailbox = outbox.mailbox.clone();
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
        self.outboxes[home.index()].is_blocked = false;
        self.flush.raise();
    }
}

#[cfg(test)]
mod tests {
    use hub::RoomId;

    use super::*;

    #[test]
    fn outbox_is_full_at_the_bound_that_is_allowed_last() {
        let (mailbox, _requests) = flume::bounded(1);
        let homes = std::hash::RandomState::new();
        let flush = Rc::new(Signal::default());
        let home = CoreId(0);
        let one = publication_bytes(0);
        let mut outboxes = Outboxes::new(home, vec![mailbox], homes, 2 * one, flush);
        let room = RoomId { home, token: 1 };
        outboxes.push(Request::Leave { room, core: home });
        assert!(!outboxes.is_full(home));
        outboxes.allow(one);
        assert!(outboxes.is_full(home));
        outboxes.allow(3 * one);
        outboxes.push(Request::Leave { room, core: home });
        assert!(!outboxes.is_full(home));
    }
}
