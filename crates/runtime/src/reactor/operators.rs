//! Answers operators' questions about a core, between two turns.

use std::{net::SocketAddr, time::Duration};

use flume::Sender;
use hub::{ConnectionId, RoomView};

use super::{Core, State};
use crate::{clock::Now, connection::Connection, memory::Account, observe::Tally, out::Sending};

/// How many connections one question looks at on a core at most, so that the answer takes a core
/// about a millisecond. The next question looks at those behind them.
const LOOKED_AT_MAX: usize = 10_000;

/// What a core can be asked.
pub(crate) enum Question {
    /// Whether it answers at all.
    Alive(Sender<()>),
    /// What it has counted, and how it stands.
    Snapshot(Sender<Box<Snapshot>>),
    /// Its connections that stand out, `top` of each kind.
    Connections {
        top: usize,
        reply: Sender<ConnectionsView>,
    },
    /// The rooms whose home it is that stand out.
    Rooms { top: usize, reply: Sender<RoomView> },
}

/// How a core stood when it was asked.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number.
    pub core: u16,
    /// What it has counted.
    pub tally: Tally,
    /// Connections, those included that are not open yet or not any more.
    pub connections: usize,
    /// Subscribers of rooms.
    pub subscriptions: usize,
    /// Bytes that wait for its connections, at the latest sweep.
    pub send_queue_bytes: usize,
    /// Bytes of memory that are held for peers that do not read as fast as they are sent to.
    pub held_bytes: usize,
    /// Bytes of memory for what has arrived and is not whole yet.
    pub unfinished_bytes: usize,
    /// Bytes of memory that are reserved for compression with context takeover.
    pub contexts_bytes: usize,
    /// Batches that wait in its mailbox of requests.
    pub requests_waiting: usize,
    /// Batches that wait in its mailbox of deliveries.
    pub deliveries_waiting: usize,
    /// Commands that wait for its connections.
    pub commands_waiting: usize,
    /// Requests of desks that wait there or are under way.
    pub desk_requests: usize,
    /// Bytes of the publications among them.
    pub desk_bytes: usize,
    /// Rooms of which deliveries are parked there: too much was delivered that their subscribers on this
    /// core have not been visited for.
    pub rooms_parked: usize,
    /// Bytes of these deliveries.
    pub parked_bytes: usize,
    /// Subscribers who are given the latest of each key, because they read more slowly than their rooms speak.
    pub conflated: usize,
    /// Processor time of its thread.
    pub busy: Duration,
}

/// Connections of one core that stand out.
#[derive(Clone, Debug, Default)]
pub struct ConnectionsView {
    /// How many the core has.
    pub of: usize,
    /// How many of them were looked at: 10,000 at most, each time those behind the last.
    pub looked_at: usize,
    /// Those with the most bytes waiting, the most first.
    pub largest: Vec<ConnectionView>,
    /// Those that are there the longest, the oldest first.
    pub oldest: Vec<ConnectionView>,
    /// Those whose socket has taken nothing for the longest time, the slowest first.
    pub slowest: Vec<ConnectionView>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// Its core.
    pub core: u16,
    /// Its number on that core, as in the log.
    pub connection: u64,
    /// Whose it is.
    pub peer: SocketAddr,
    /// Its entry in the application's table, once it is open.
    pub protocol: Option<&'static str>,
    /// Since it was accepted.
    pub age: Duration,
    /// Bytes that wait for it.
    pub queued_bytes: usize,
    /// For how long its socket has taken nothing.
    pub blocked: Duration,
}

impl Core {
    /// Answers a question. Whoever asked may have given up waiting.
    pub(crate) fn answer(&self, question: Question) {
        let mut state = self.state.borrow_mut();
        match question {
            Question::Alive(reply) => drop(reply.send(())),
            Question::Snapshot(reply) => drop(reply.send(Box::new(state.snapshot()))),
            Question::Connections { top, reply } => {
                drop(reply.send(state.look_at_connections(LOOKED_AT_MAX, top)));
            }
            Question::Rooms { top, reply } => state.parts.rooms.requests.ask_rooms(top, reply),
        }
    }
}

impl State {
    fn snapshot(&self) -> Snapshot {
        let parts = &self.parts;
        let mut tally = parts.counters.tally.clone();
        tally.requests = parts.rooms.requests.sent();
        tally.compressed = parts.out.encoder.compressed();
        let (requests_waiting, deliveries_waiting) = self.depths.batches();
        let (desk_requests, desk_bytes) = self.depths.errands();
        let parked = parts.rooms.shards.parked();
        Snapshot {
            core: parts.id.0,
            tally,
            connections: self.connections.len(),
            subscriptions: parts.rooms.shards.subscriptions(),
            send_queue_bytes: self.queued_bytes,
            held_bytes: parts.queues_bytes(),
            unfinished_bytes: parts.memory.held(Account::Unfinished),
            contexts_bytes: parts.memory.held(Account::Contexts),
            requests_waiting,
            deliveries_waiting,
            commands_waiting: self.depths.commands(),
            desk_requests,
            desk_bytes,
            rooms_parked: parked.rooms,
            parked_bytes: parked.bytes,
            conflated: parts.rooms.shards.conflation().laggards,
            busy: thread_time(),
        }
    }

    /// Those that stand out among the next `most`, `top` of each kind.
    fn look_at_connections(&mut self, most: usize, top: usize) -> ConnectionsView {
        let now = self.now();
        let of = self.connections.len();
        // Where the look before ended, as far as nobody has come or gone since.
        let from = self.looked_at_up_to.checked_rem(of).unwrap_or(0);
        self.looked_at_up_to = from + most.min(of);
        let all = self.connections.iter().chain(self.connections.iter());
        let views: Vec<_> = all
            .skip(from)
            .take(most.min(of))
            .map(|connection| {
                let id = connection.key.on(self.parts.id);
                let queued_bytes = connection.queued_bytes(&self.parts.rooms.shards);
                let view = connection.view(id, queued_bytes, now);
                let entry = connection.provenance.entry.map(usize::from);
                let protocol = entry.and_then(|entry| self.parts.protocols.get(entry).copied());
                ConnectionView { protocol, ..view }
            })
            .collect();
        let queued = views.iter().filter(|view| view.queued_bytes > 0);
        let blocked = views.iter().filter(|view| !view.blocked.is_zero());
        ConnectionsView {
            of,
            looked_at: views.len(),
            largest: topmost(queued, top, |view| view.queued_bytes),
            oldest: topmost(views.iter(), top, |view| view.age),
            slowest: topmost(blocked, top, |view| view.blocked),
        }
    }
}

impl Connection {
    fn view(&self, id: ConnectionId, queued_bytes: usize, now: Now) -> ConnectionView {
        let blocked = match self.out.queue.sending {
            Sending::Blocked { progress } | Sending::Unblocked { progress } => {
                Duration::from_millis(progress.ago_ms(now.ms))
            }
            Sending::Idle | Sending::Pending => Duration::ZERO,
        };
        ConnectionView {
            core: id.core.0,
            connection: id.token,
            peer: self.provenance.address.into(),
            protocol: None,
            age: Duration::from_nanos(now.ns.saturating_sub(self.provenance.accepted_ns)),
            queued_bytes,
            blocked,
        }
    }
}

/// The `top` views of the largest measure, the largest first.
fn topmost<'a, M: Ord>(
    views: impl Iterator<Item = &'a ConnectionView>,
    top: usize,
    measure: impl Fn(&ConnectionView) -> M,
) -> Vec<ConnectionView> {
    let mut views: Vec<_> = views.collect();
    views.sort_unstable_by_key(|view| std::cmp::Reverse(measure(view)));
    views.into_iter().take(top).cloned().collect()
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hub::{Delivery, LossReason};

    use crate::{
        connection::{Command, Recipient},
        fixture::{ROOM, enter, lobby, on_each_driver, open},
    };

    #[test]
    fn snapshot_tells_what_waits_in_each_mailbox_and_is_parked() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let (sender, receiver) = flume::unbounded();
            state.depths.commands = receiver;
            let (member, _peer) = open(state);
            enter(state, member, ROOM);
            let empty = state.snapshot();
            assert_eq!((empty.commands_waiting, empty.deliveries_waiting), (0, 0));
            assert_eq!((empty.rooms_parked, empty.parked_bytes), (0, 0));
            for _ in 0..3 {
                let somebody = Recipient::User("ann".into());
                let leave = Command::Leave(lobby());
                sender.send((somebody, leave)).unwrap();
            }
            let lost = || Delivery::Lost {
                room: ROOM,
                reason: LossReason::Gap,
            };
            let shards = &mut state.parts.rooms.shards;
            shards.park(ROOM, lost(), 10);
            shards.park(ROOM, lost(), 20);
            let full = state.snapshot();
            assert_eq!(full.commands_waiting, 3);
            assert_eq!((full.rooms_parked, full.parked_bytes), (1, 30));
        });
    }

    #[test]
    fn connections_beyond_what_one_look_takes_in_are_seen_by_the_next() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            assert_eq!(state.look_at_connections(2, 9).looked_at, 0);
            let peers: Vec<_> = (0..5).map(|_| open(state).1).collect();
            let mut look = |most| {
                let view = state.look_at_connections(most, 9);
                assert_eq!((view.of, view.looked_at), (5, most.min(5)));
                view.oldest.into_iter().map(|view| view.connection)
            };
            let seen: HashSet<_> = (0..3).flat_map(|_| look(2)).collect();
            assert_eq!(seen.len(), 5);
            let seen: HashSet<_> = look(9).collect();
            assert_eq!(seen.len(), 5);
            drop(peers);
        });
    }
}
