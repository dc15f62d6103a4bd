//! What the simulation checks of a core between any two of its steps, and when everything is to be at rest.

use hub::RoomName;

use super::{Core, State};
use crate::{
    admission::Admitted,
    ids::ConnectionKey,
    memory::{Account, Holding},
    rooms::Membership,
    turn::Lane,
};

/// What the counts of several cores are summed up from.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreCounts {
    /// Connections of the core.
    pub connections: usize,
    /// Those of them that count against the bound on connections.
    pub admitted: usize,
    /// Connections that it has had.
    pub opened: u64,
    /// Ends that it has recorded.
    pub ended: u64,
    /// Panics that it has caught.
    pub panics: u64,
    /// Memory that its connections and rooms hold, in bytes.
    pub held_bytes: usize,
    /// Its share of what may be held for peers that do not read, in bytes.
    pub queues_bytes_max: usize,
    /// What is held for such peers, in bytes.
    pub queues_bytes: usize,
    /// What has arrived and is not whole yet, and what is kept of what is not read, in bytes.
    pub unfinished_bytes: usize,
    /// How much of that may be there when nothing is to be done.
    pub unfinished_bytes_max: usize,
    /// The most that waits for one connection, in bytes.
    pub queue_bytes: usize,
    /// Publications that it has handed to rooms.
    pub published: u64,
    /// Messages that it has queued for subscribers.
    pub delivered: u64,
}

impl Core {
    /// Checks that the core's parts agree with each other; an error says where they do not.
    pub(crate) fn audit(&self) -> Result<CoreCounts, String> {
        let core = self.id.0;
        let audited = self.state.borrow().audit();
        audited.map_err(|error| format!("core {core}: {error}"))
    }

    /// What nobody would ever do, if nothing is to happen now but timers and what peers do.
    pub(crate) fn stuck(&self) -> Option<String> {
        let core = self.id.0;
        let state = self.state.borrow();
        let of_connections = state.connections.iter().find_map(|it| it.stuck());
        let stuck = of_connections.or_else(|| state.waiting_work());
        stuck.map(|found| format!("core {core}: {found}"))
    }

    /// Whether a connection that is there would receive what has arrived for it.
    pub(crate) fn receives(&self, token: u64) -> bool {
        let state = self.state.borrow();
        let key = ConnectionKey::of_token(token);
        let connection = key.and_then(|key| state.connections.get(key));
        connection.is_some_and(|it| it.pause.is_none())
    }

    /// Whether a connection is there and in the room of this name.
    pub(crate) fn is_in(&self, token: u64, name: &RoomName) -> bool {
        let state = self.state.borrow();
        let key = ConnectionKey::of_token(token);
        let connection = key.and_then(|key| state.connections.get(key));
        connection.is_some_and(|it| {
            let tickets = it.rooms.in_room_named(name, &state.parts.rooms);
            !tickets.is_empty()
        })
    }

    /// What is not at rest, although everything has had time enough; nothing if all is.
    pub(crate) fn unrest(&self) -> Option<String> {
        let core = self.id.0;
        let unrest = self.state.borrow().unrest();
        unrest.map(|found| format!("core {core}: {found}"))
    }
}

impl State {
    fn audit(&self) -> Result<CoreCounts, String> {
        let parts = &self.parts;
        let shards = &parts.rooms.shards;
        let mut sum = Holding::default();
        let mut counts = CoreCounts::default();
        let (mut open, mut subscriptions) = (0, 0);
        for connection in self.connections.iter() {
            let held = connection.audit()?;
            sum.queues += held.queues;
            sum.unfinished += held.unfinished;
            sum.contexts += held.contexts;
            open += u64::from(connection.provenance.entry.is_some());
            counts.admitted += usize::from(connection.provenance.admitted == Admitted::Yes);
            let queued_bytes = connection.queued_bytes(shards);
            counts.queue_bytes = counts.queue_bytes.max(queued_bytes);
            let rooms = &connection.rooms.subscriptions;
            subscriptions += rooms
                .tickets()
                .filter(|ticket| matches!(rooms.get(*ticket), Some(Membership::In(_))))
                .count();
        }
        let tally = &parts.counters.tally;
        counts.connections = self.connections.len();
        counts.opened = tally.opened;
        counts.ended = tally.ended.values().sum();
        counts.panics = tally.panics;
        counts.published = tally.published;
        counts.delivered = tally.delivered;
        counts.queues_bytes_max = parts.queues_bytes_max();
        counts.queues_bytes = parts.queues_bytes();
        counts.unfinished_bytes = parts.memory.held(Account::Unfinished);
        counts.unfinished_bytes_max = super::evict::unfinished_share(&parts.config);
        counts.held_bytes = sum.queues + sum.unfinished + sum.contexts + shards.held_bytes();
        for (name, counted, found) in [
            ("queues", parts.memory.held(Account::Queues), sum.queues),
            (
                "unfinished",
                parts.memory.held(Account::Unfinished),
                sum.unfinished,
            ),
            (
                "contexts",
                parts.memory.held(Account::Contexts),
                sum.contexts,
            ),
            ("subscriptions", shards.subscriptions(), subscriptions),
        ] {
            if counted != found {
                return Err(format!("{name}: counted {counted}, found {found}"));
            }
        }
        let (errands, _) = self.depths.errands();
        if self.errands.len() > errands {
            let open = self.errands.len();
            return Err(format!(
                "requests of desks: counted {errands}, found {open}"
            ));
        }
        let counted: u64 = tally.open.iter().sum();
        if counted != open {
            return Err(format!("open connections: counted {counted}, found {open}"));
        }
        let gone = counts.opened - counts.connections as u64;
        if counts.ended != gone {
            let ended = counts.ended;
            return Err(format!(
                "{gone} connections are gone, {ended} ends are recorded"
            ));
        }
        Ok(counts)
    }

    fn unrest(&self) -> Option<String> {
        let parts = &self.parts;
        let shards = &parts.rooms.shards;
        let of_connections = self.connections.iter().find_map(|it| it.unrest(shards));
        let gathered = shards
            .next_due_ms()
            .map(|_| "messages that are gathered and do not leave".to_owned());
        of_connections.or_else(|| self.waiting_work()).or(gathered)
    }

    /// Work in lists and mailboxes.
    fn waiting_work(&self) -> Option<String> {
        let parts = &self.parts;
        let shards = &parts.rooms.shards;
        let lists = [Lane::Plain, Lane::Handshake, Lane::Compression];
        let listed: usize = lists
            .into_iter()
            .map(|lane| parts.attention.len(lane))
            .sum();
        let own = parts.out.own.len() + parts.out.news.len() + parts.out.later.len();
        let (requests, deliveries) = self.depths.batches();
        let all = [
            ("connections on the attention list", listed),
            ("connections on the lists of sends", own),
            ("rooms with news", usize::from(shards.has_news())),
            ("rooms with parked deliveries", shards.parked().rooms),
            ("bytes of parked deliveries", shards.parked().bytes),
            (
                "requests that have not left",
                parts.rooms.requests.pending(),
            ),
            ("batches of requests in the mailbox", requests),
            ("batches of deliveries in the mailbox", deliveries),
            ("commands in the mailbox", self.depths.commands()),
            ("requests of desks", self.depths.errands().0),
        ];
        let found = all.into_iter().find(|(_, count)| *count > 0);
        found.map(|(what, count)| format!("{count} {what}"))
    }
}
