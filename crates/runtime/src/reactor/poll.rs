//! Readiness of all of a core's sockets: one epoll set, awaited through the core's driver.
//!
//! The driver (io_uring or epoll) waits for a single descriptor, the set, whatever the number of
//! connections. So an idle connection costs no pending operation, and a turn in which many sockets
//! became ready costs one wait and one look, not one of each for every socket. Sockets are watched
//! edge-triggered: what was reported once is remembered in the connection until it is used up.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use rustix::event::epoll::{Event, EventFlags};
use tracing::warn;

use super::{Core, State};
use crate::{
    clock::Now,
    connection::Actor,
    end::EndReason,
    ids::ConnectionKey,
    io::Socket,
    kernel::{ReadySet, sleep},
    turn::{Turnstile, bounds::EVENTS},
};

/// What an edge-triggered report of a socket can say.
const INTEREST: EventFlags = EventFlags::IN
    .union(EventFlags::PRI)
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// The socket is broken, by a reset most often.
const BROKEN: EventFlags = EventFlags::HUP.union(EventFlags::ERR);

/// The peer has ended its stream, or the socket is broken: no further report may come.
const ENDED: EventFlags = EventFlags::RDHUP.union(BROKEN);

/// For how long a core waits before it tries again to wait for its sockets.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Waits for a core's sockets.
pub(crate) struct Poller(ReadySet);

impl Poller {
    /// Needs a running core.
    pub(crate) fn new() -> io::Result<Self> {
        ReadySet::new().map(Self)
    }

    /// Watches a connection's socket until it is closed.
    pub(crate) fn watch(&self, socket: &Socket, key: ConnectionKey) -> io::Result<()> {
        self.0.add(socket.connected(), key.token(), INTEREST)
    }

    /// Waits until a socket has something to report. If one has already, the driver has its turn
    /// all the same, so that busy sockets keep neither timers nor other cores waiting.
    async fn ready(&self, turnstile: &Turnstile) -> io::Result<()> {
        let mut readable = pin!(self.0.readable());
        match poll_fn(|context| Poll::Ready(readable.as_mut().poll(context))).await {
            Poll::Ready(result) => {
                turnstile.pass().await;
                result
            }
            Poll::Pending => readable.await,
        }
    }
}

/// Tells connections what their sockets report, for as long as the core runs.
pub(crate) async fn run(core: Rc<Core>) {
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let ready = core.poller.ready(&core.turnstile).await;
        if let Err(error) = ready.and_then(|()| Ok(core.poller.0.take(&mut events)?)) {
            warn!(%error, "waiting for sockets failed");
            // An error that stays must neither take the whole core nor fill the log.
            sleep(RETRY_AFTER).await;
            continue;
        }
        core.state.borrow_mut().serve(&events);
    }
}

impl Core {
    /// Tells connections what their sockets report by now, without waiting for anything.
    pub(crate) fn look_at_sockets(&self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        let sockets = self.state.borrow().connections.len();
        for _ in 0..=sockets / EVENTS {
            self.poller.0.take(&mut events)?;
            let mut state = self.state.borrow_mut();
            let now = state.begin_turn();
            state.report(&events, now);
            if events.len() < EVENTS {
                break;
            }
        }
        Ok(())
    }
}

impl State {
    /// Tells connections what their sockets report, and attends to them in the same turn. The attend loop is
    /// not woken for them, because a longer chain of tasks makes the driver enter the kernel once more for
    /// each message. If that loop already has work, the connections only join its list.
    fn serve(&mut self, events: &[Event]) {
        let now = self.begin_turn();
        if !self.parts.attention.is_empty() {
            return self.report(events, now);
        }
        self.parts.attention.suppress_wakes();
        self.report(events, now);
        self.attend_from(now);
        self.parts.attention.resume_wakes();
    }

    fn report(&mut self, events: &[Event], now: Now) {
        for event in events {
            // Copied out: the event is packed.
            let (flags, data) = (event.flags, event.data);
            if let Some(key) = ConnectionKey::of_token(data.u64()) {
                self.act(key, now, |actor, _| actor.reported(flags));
            }
        }
    }
}

impl Actor<'_> {
    /// The socket has reported something.
    fn reported(&mut self, flags: EventFlags) {
        let connection = &mut *self.connection;
        if flags.intersects(EventFlags::IN.union(EventFlags::PRI).union(ENDED)) {
            connection.arrival.is_readable = true;
            connection.arrival.has_ended |= flags.intersects(ENDED);
            connection.arrival.has_mark |= flags.contains(EventFlags::PRI);
            connection.arrival.has_broken |= flags.intersects(BROKEN);
            // A paused connection is not listed: whatever it waits for lists it.
            if connection.pause.is_none() {
                self.raise();
            } else if connection.arrival.has_broken && connection.rooms.ends_if_reset {
                let reached = connection.reached();
                return self.abort(EndReason::SocketFailed(reached));
            }
        }
        let queue = &mut self.connection.out.queue;
        if flags.intersects(EventFlags::OUT.union(ENDED)) && queue.sending.unblock() {
            self.parts.out.push(self.connection.key);
        }
    }
}
