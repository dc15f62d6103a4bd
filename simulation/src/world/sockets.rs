//! Connections between peers and cores: bounded buffers, marks of urgent data, ends and resets, and
//! reports as an edge-triggered epoll set makes them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::IoSlice,
    net::SocketAddr,
    task::Waker,
};

use runtime::simulation::{Errno, EventFlags, Id};

use super::Reports;

/// All connections, listeners and sets.
pub struct Sockets {
    all: Vec<Connection>,
    listeners: Vec<Listener>,
    sets: Vec<Set>,
    /// Whether the next accept finds no descriptor.
    is_short: bool,
    shortages: u32,
}

/// A peer's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(Id);

impl Peer {
    /// The number of the connection, which no other of the run has.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a peer finds when it reads.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// These bytes; none if there is nothing now.
    Bytes(Vec<u8>),
    /// The server has ended its stream.
    End,
    /// The connection was reset.
    Reset,
}

struct Connection {
    to_server: VecDeque<u8>,
    to_server_max: usize,
    to_peer: VecDeque<u8>,
    to_peer_max: usize,
    /// So many bytes of `to_server` lie before the mark of urgent data.
    mark: Option<usize>,
    /// Whether the peer has ended its stream.
    peer_ended: bool,
    /// Whether the peer has closed its socket: whatever reaches it resets the connection.
    peer_closed: bool,
    /// Whether the server has ended its stream.
    server_ended: bool,
    server_closed: bool,
    resets_on_close: bool,
    is_reset: bool,
    /// Whether the server was told of the reset.
    reset_is_told: bool,
    /// Whether a send found no space, so that space is reported.
    wants_space: bool,
    watched: Option<(Id, u64)>,
}

#[derive(Default)]
struct Listener {
    backlog: VecDeque<(Id, SocketAddr)>,
    waiting: Option<Waker>,
    is_shut: bool,
}

#[derive(Default)]
struct Set {
    /// Sockets of which something changed, and when that is reported.
    reports: BTreeMap<Id, u64>,
    watched: BTreeSet<Id>,
    waiting: Option<Waker>,
}

impl Sockets {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            all: Vec::new(),
            listeners: (0..cores).map(|_| Listener::default()).collect(),
            sets: (0..cores).map(|_| Set::default()).collect(),
            is_short: false,
            shortages: 0,
        }
    }

    pub(super) fn connect(
        &mut self,
        listener: Id,
        address: SocketAddr,
        to_server_max: usize,
        to_peer_max: usize,
    ) -> Peer {
        let id = self.all.len() as Id;
        let listener = &mut self.listeners[listener as usize];
        self.all.push(Connection {
            to_server: VecDeque::new(),
            to_server_max,
            to_peer: VecDeque::new(),
            to_peer_max,
            mark: None,
            peer_ended: false,
            peer_closed: false,
            server_ended: false,
            server_closed: false,
            resets_on_close: false,
            // Nobody listens any more.
            is_reset: listener.is_shut,
            reset_is_told: false,
            wants_space: false,
            watched: None,
        });
        if !listener.is_shut {
            listener.backlog.push_back((id, address));
            if let Some(waker) = listener.waiting.take() {
                waker.wake();
            }
        }
        Peer(id)
    }

    /// The next so many accepts find no descriptor.
    pub fn run_short(&mut self, accepts: u32) {
        self.shortages = accepts;
    }

    // What peers do.

    /// Writes as much as there is space for; returns how much.
    pub fn write(&mut self, peer: Peer, bytes: &[u8], reports: &mut Reports<'_>) -> usize {
        let it = &mut self.all[peer.0 as usize];
        if it.is_reset || it.peer_ended || it.peer_closed {
            return bytes.len();
        }
        if it.server_closed {
            it.is_reset = true;
            return bytes.len();
        }
        let taken = bytes.len().min(it.to_server_max - it.to_server.len());
        it.to_server.extend(&bytes[..taken]);
        if taken > 0 {
            self.report(peer.0, reports.at_ns());
        }
        taken
    }

    /// Marks urgent data behind what was written, whose byte the server's kernel takes out of the stream.
    pub fn mark(&mut self, peer: Peer, reports: &mut Reports<'_>) {
        let it = &mut self.all[peer.0 as usize];
        if !it.is_reset && !it.peer_ended && !it.server_closed {
            it.mark = Some(it.to_server.len());
            self.report(peer.0, reports.at_ns());
        }
    }

    /// Reads at most `most` bytes.
    pub fn read(&mut self, peer: Peer, most: usize, reports: &mut Reports<'_>) -> Read {
        let it = &mut self.all[peer.0 as usize];
        let bytes: Vec<u8> = it.to_peer.drain(..most.min(it.to_peer.len())).collect();
        if bytes.is_empty() {
            return match () {
                () if it.is_reset => Read::Reset,
                () if it.server_ended && it.to_peer.is_empty() => Read::End,
                () => Read::Bytes(bytes),
            };
        }
        let space = it.to_peer_max - it.to_peer.len();
        // The kernel reports space only when a third of the buffer is free.
        if it.wants_space && 3 * space >= it.to_peer_max {
            it.wants_space = false;
            self.report(peer.0, reports.at_ns());
        }
        Read::Bytes(bytes)
    }

    /// Ends the peer's stream.
    pub fn end(&mut self, peer: Peer, reports: &mut Reports<'_>) {
        self.all[peer.0 as usize].peer_ended = true;
        self.report(peer.0, reports.at_ns());
    }

    /// Closes the peer's socket: its stream ends, and whatever reaches it later resets the connection.
    pub fn hang_up(&mut self, peer: Peer, reports: &mut Reports<'_>) {
        let it = &mut self.all[peer.0 as usize];
        it.peer_ended = true;
        it.peer_closed = true;
        it.is_reset |= !it.to_peer.is_empty();
        it.to_peer.clear();
        self.report(peer.0, reports.at_ns());
    }

    /// Resets the connection.
    pub fn reset(&mut self, peer: Peer, reports: &mut Reports<'_>) {
        let it = &mut self.all[peer.0 as usize];
        it.is_reset = true;
        it.to_peer.clear();
        it.to_server.clear();
        self.report(peer.0, reports.at_ns());
    }

    /// The sockets for which something has arrived that no report is to come of, by core and token.
    pub fn unread(&self) -> Vec<(Id, u64)> {
        let is_reported =
            |socket: Id, set: Id| self.sets[set as usize].reports.contains_key(&socket);
        let watched = (0..).zip(&self.all).filter_map(|(socket, it)| {
            let (set, token) = it.watched?;
            let has_more = !it.to_server.is_empty();
            (has_more && !is_reported(socket, set)).then_some((set, token))
        });
        watched.collect()
    }

    // What cores do.

    fn report(&mut self, socket: Id, at_ns: u64) {
        let Some((set, _)) = self.all[socket as usize].watched else {
            return;
        };
        let set = &mut self.sets[set as usize];
        set.reports
            .entry(socket)
            .and_modify(|at| *at = at_ns.min(*at))
            .or_insert(at_ns);
    }

    pub(super) fn watch(&mut self, set: Id, socket: Id, token: u64, at_ns: u64) {
        self.all[socket as usize].watched = Some((set, token));
        self.sets[set as usize].watched.insert(socket);
        self.report(socket, at_ns);
    }

    pub(super) fn has_report(&self, set: Id, now_ns: u64) -> bool {
        let set = &self.sets[set as usize];
        set.waiting.is_some() && set.has_due(now_ns)
    }

    pub(super) fn next_report_ns(&self) -> Option<u64> {
        let waiting = self.sets.iter().filter(|set| set.waiting.is_some());
        waiting.flat_map(|set| set.reports.values()).min().copied()
    }

    pub(super) fn take_waiting(&mut self, set: Id, now_ns: u64) -> Option<Waker> {
        let set = &mut self.sets[set as usize];
        set.has_due(now_ns).then(|| set.waiting.take()).flatten()
    }

    pub(super) fn poll_set(&mut self, set: Id, waker: &Waker, now_ns: u64) -> bool {
        let set = &mut self.sets[set as usize];
        let is_ready = set.has_due(now_ns);
        set.waiting = (!is_ready).then(|| waker.clone());
        is_ready
    }

    pub(super) fn take_reports(
        &mut self,
        set: Id,
        most: usize,
        now_ns: u64,
        idle: Option<u64>,
    ) -> Vec<(EventFlags, u64)> {
        let set = &mut self.sets[set as usize];
        let due = set.reports.iter().filter(|(_, at)| **at <= now_ns);
        let mut due: Vec<_> = due.map(|(socket, _)| *socket).take(most).collect();
        for socket in &due {
            set.reports.remove(socket);
        }
        if let Some(pick) = idle
            && due.len() < most
            && !set.watched.is_empty()
        {
            due.extend(set.watched.iter().nth(pick as usize % set.watched.len()));
        }
        let reported = due.into_iter().filter_map(|socket| {
            let it = &self.all[socket as usize];
            let (_, token) = it.watched?;
            Some((it.flags(), token)).filter(|(flags, _)| !flags.is_empty())
        });
        reported.collect()
    }

    pub(super) fn receive(&mut self, socket: Id, buffer: &mut [u8]) -> Result<usize, Errno> {
        let it = &mut self.all[socket as usize];
        if it.is_reset && !std::mem::replace(&mut it.reset_is_told, true) {
            return Err(Errno::CONNRESET);
        }
        // A receive that begins at the mark passes it.
        if it.mark == Some(0) && !it.to_server.is_empty() {
            it.mark = None;
        }
        let until = it.mark.unwrap_or(usize::MAX);
        let bytes = buffer.len().min(it.to_server.len()).min(until);
        if bytes == 0 {
            return match it.peer_ended || it.is_reset {
                true => Ok(0),
                false => Err(Errno::WOULDBLOCK),
            };
        }
        for (to, from) in buffer.iter_mut().zip(it.to_server.drain(..bytes)) {
            *to = from;
        }
        it.mark = it.mark.map(|mark| mark - bytes);
        Ok(bytes)
    }

    pub(super) fn send(
        &mut self,
        socket: Id,
        runs: &[IoSlice<'_>],
        at_ns: u64,
    ) -> Result<usize, Errno> {
        let it = &mut self.all[socket as usize];
        if it.is_reset || it.server_ended {
            return Err(Errno::PIPE);
        }
        let offered: usize = runs.iter().map(|run| run.len()).sum();
        if it.peer_closed {
            it.is_reset = true;
            self.report(socket, at_ns);
            return Ok(offered);
        }
        let mut space = it.to_peer_max - it.to_peer.len();
        let mut taken = 0;
        for run in runs {
            let some = run.len().min(space);
            it.to_peer.extend(&run[..some]);
            taken += some;
            space -= some;
        }
        it.wants_space |= taken < offered;
        match taken {
            0 if offered > 0 => Err(Errno::WOULDBLOCK),
            _ => Ok(taken),
        }
    }

    pub(super) fn shut_sending(&mut self, socket: Id) {
        self.all[socket as usize].server_ended = true;
    }

    pub(super) fn reset_on_close(&mut self, socket: Id) {
        self.all[socket as usize].resets_on_close = true;
    }

    pub(super) fn close(&mut self, socket: Id) {
        let it = &mut self.all[socket as usize];
        it.server_closed = true;
        it.server_ended = true;
        // A socket that is closed before everything was read resets its connection.
        if it.resets_on_close || !it.to_server.is_empty() {
            it.is_reset = true;
            it.to_peer.clear();
        }
        if let Some((set, _)) = it.watched.take() {
            let set = &mut self.sets[set as usize];
            set.watched.remove(&socket);
            set.reports.remove(&socket);
        }
    }

    pub(super) fn accept(&mut self, listener: Id) -> Result<(Id, SocketAddr), Errno> {
        let listener = &mut self.listeners[listener as usize];
        if listener.backlog.is_empty() {
            return Err(Errno::WOULDBLOCK);
        }
        // The descriptor that is kept for this moment lets the next one in.
        if self.shortages > 0 && !std::mem::replace(&mut self.is_short, true) {
            self.shortages -= 1;
            return Err(Errno::MFILE);
        }
        self.is_short = false;
        listener.backlog.pop_front().ok_or(Errno::WOULDBLOCK)
    }

    pub(super) fn poll_listener(&mut self, listener: Id, waker: &Waker) -> bool {
        let listener = &mut self.listeners[listener as usize];
        let is_ready = listener.is_shut || !listener.backlog.is_empty();
        listener.waiting = (!is_ready).then(|| waker.clone());
        is_ready
    }

    pub(super) fn shut_listener(&mut self, listener: Id) {
        let listener = &mut self.listeners[listener as usize];
        listener.is_shut = true;
        let left = std::mem::take(&mut listener.backlog);
        if let Some(waker) = listener.waiting.take() {
            waker.wake();
        }
        for (socket, _) in left {
            self.all[socket as usize].is_reset = true;
        }
    }
}

impl Set {
    fn has_due(&self, now_ns: u64) -> bool {
        self.reports.values().any(|at| *at <= now_ns)
    }
}

impl Connection {
    /// What an epoll set says of the socket when something of it has changed.
    fn flags(&self) -> EventFlags {
        let mut flags = EventFlags::empty();
        let has_ended = self.peer_ended || self.is_reset;
        flags.set(EventFlags::IN, !self.to_server.is_empty() || has_ended);
        flags.set(EventFlags::PRI, self.mark.is_some());
        let space = self.to_peer_max - self.to_peer.len();
        let has_space = 3 * space >= self.to_peer_max;
        flags.set(EventFlags::OUT, has_space || self.is_reset);
        flags.set(EventFlags::RDHUP, has_ended);
        flags.set(
            EventFlags::HUP,
            self.is_reset || (self.peer_ended && self.server_ended),
        );
        flags.set(EventFlags::ERR, self.is_reset && !self.reset_is_told);
        flags
    }
}
