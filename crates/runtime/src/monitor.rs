//! Asking the cores how they are: questions through their control mailboxes, answers as copies.
//!
//! A core answers between two turns, so that asking costs it nothing while nobody asks and no
//! atomic ever. Whoever asks must bound the answers that it waits for: a core that stands still
//! answers late.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flume::{Receiver, Sender};
use hub::{ConnectionId, RoomBudget, RoomView};

use crate::{
    admission::Admission,
    connection::Connection,
    core::{Core, State},
    send_queue::Sending,
    server::Control,
    tally::Tally,
};

/// How many connections one question looks at on a core at most, so that the answer takes a core
/// about a millisecond. The next question looks at those behind them.
const LOOKED_AT_MAX: usize = 10_000;

/// Asks the cores of a server; from any thread.
#[derive(Clone)]
pub struct Monitor {
    cores: Arc<[Sender<Control>]>,
    rooms: Arc<RoomBudget>,
    admission: Arc<Admission>,
}

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

impl Monitor {
    pub(crate) fn new(
        cores: &[Sender<Control>],
        rooms: Arc<RoomBudget>,
        admission: Arc<Admission>,
    ) -> Self {
        Self {
            cores: cores.into(),
            rooms,
            admission,
        }
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// How many rooms there are, over all cores.
    pub fn rooms(&self) -> usize {
        self.rooms.rooms()
    }

    /// How many addresses connections are counted for, over all cores.
    pub fn addresses(&self) -> usize {
        self.admission.addresses.len()
    }

    /// How many connections there are, over all cores, and how many there may be.
    pub fn connections_and_most(&self) -> (usize, usize) {
        (
            self.admission.connections(),
            self.admission.connections_max(),
        )
    }

    /// Asks whether a core (from 0) answers. The answer never comes if the core has ended.
    pub fn alive(&self, core: usize) -> Receiver<()> {
        self.ask(core, Question::Alive)
    }

    /// Asks how a core stands.
    pub fn snapshot(&self, core: usize) -> Receiver<Box<Snapshot>> {
        self.ask(core, Question::Snapshot)
    }

    /// Asks for the connections of a core that stand out, `top` of each kind.
    pub fn connections(&self, core: usize, top: usize) -> Receiver<ConnectionsView> {
        self.ask(core, |reply| Question::Connections { top, reply })
    }

    /// Asks for the rooms of a home core that stand out, `top` of each kind.
    pub fn rooms_of(&self, core: usize, top: usize) -> Receiver<RoomView> {
        self.ask(core, |reply| Question::Rooms { top, reply })
    }

    fn ask<T>(&self, core: usize, question: impl FnOnce(Sender<T>) -> Question) -> Receiver<T> {
        let (reply, answer) = flume::bounded(1);
        // An error means that the core has ended: then the answer's sender is gone with it.
        let _ = self.cores[core].send(Control::Answer(question(reply)));
        answer
    }
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
            Question::Rooms { top, reply } => state.outboxes.ask_rooms(top, reply),
        }
    }
}

impl State {
    fn snapshot(&self) -> Snapshot {
        let mut tally = self.tally.clone();
        tally.requests = self.outboxes.sent();
        tally.compressed = self.encoder.compressed();
        let (requests_waiting, deliveries_waiting) = self.depths.batches();
        Snapshot {
            core: self.id.0,
            tally,
            connections: self.connections.len(),
            subscriptions: self.shards.subscriptions(),
            send_queue_bytes: self.queued_bytes,
            held_bytes: self.held_bytes(),
            unfinished_bytes: self.unfinished_bytes,
            contexts_bytes: self.contexts.reserved_bytes(),
            requests_waiting,
            deliveries_waiting,
            busy: thread_time(),
        }
    }

    /// Those that stand out among the next `most`, `top` of each kind.
    fn look_at_connections(&mut self, most: usize, top: usize) -> ConnectionsView {
        let now_ns = self.shared.now_ns();
        let of = self.connections.len();
        // Where the look before ended, as far as nobody has come or gone since.
        let from = self.looked_at_up_to.checked_rem(of).unwrap_or(0);
        self.looked_at_up_to = from + most.min(of);
        let all = self.connections.iter().chain(self.connections.iter());
        let views: Vec<_> = all
            .skip(from)
            .take(most.min(of))
            .map(|(key, connection)| {
                let id = self.id_of(key);
                let queued_bytes = connection.queued_bytes(&self.shards);
                let view = connection.view(id, queued_bytes, now_ns);
                let entry = connection.entry.map(usize::from);
                let protocol = entry.and_then(|entry| self.protocols.get(entry).copied());
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
    fn view(&self, id: ConnectionId, queued_bytes: usize, now_ns: u64) -> ConnectionView {
        let blocked = match self.queue.sending {
            Sending::Blocked { progress_ms } | Sending::Unblocked { progress_ms } => {
                Duration::from_nanos(now_ns).saturating_sub(Duration::from_millis(progress_ms))
            }
            Sending::Idle | Sending::Dirty => Duration::ZERO,
        };
        ConnectionView {
            core: id.core.0,
            connection: id.token,
            peer: self.peer,
            protocol: None,
            age: Duration::from_nanos(now_ns.saturating_sub(self.accepted_ns)),
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

    use crate::fixture::{on_each_driver, open};

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
