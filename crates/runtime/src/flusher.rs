//! The end of a turn: requests leave in one batch for each home, bytes in one send for each socket.
//!
//! The flusher is woken by the first who has something to send and runs after everyone who was
//! ready in the same turn, so that all they queued leaves together. A list that is too long for one
//! turn, of a large room most often, is sent to over several; who got something of its own meanwhile,
//! an echo or a pong, does not wait for the end of that list, nor do requests to rooms.

use std::{io, mem, rc::Rc, time::Duration};

use tracing::debug;

use crate::{
    connection::{Connection, ConnectionKey, Last, Linger, Stage, Wait},
    core::{Core, State, Turn, ms},
    end::EndReason,
    outbox::Blocked,
    send_queue::{Rest, Sending, Transmitted},
    shard::Shards,
    socket::Sealing,
};

/// Sockets that are sent to before others get the core: at some 5 µs a send about a millisecond.
const SENDS_PER_TURN: usize = 256;

/// Bytes that are sent before others get the core: to copy them takes the kernel about a millisecond,
/// and to encrypt them a few.
const BYTES_PER_TURN: u64 = 4 << 20;

/// For how long what a peer sends behind its close frame is discarded. A socket that is closed while
/// something still arrives resets the connection, and the peer may not have read the answer by then.
const LINGER: Duration = Duration::from_secs(1);

/// Flushes at the end of every turn in which somebody asked for it.
pub(crate) async fn run(core: Rc<Core>) {
    let mut dirty = Vec::new();
    loop {
        core.flush.wait().await;
        core.send_requests();
        core.take_dirty(&mut dirty);
        let sending = core.state.borrow_mut().take_turn();
        core.flush_begun.raise();
        let mut rest = &dirty[..];
        while !rest.is_empty() {
            rest = &rest[core.send_bytes(rest)..];
            if !rest.is_empty() {
                core.turnstile.pass().await;
                core.send_requests();
                core.state.borrow_mut().keep_unfinished_within_bound();
                if core.send_own() > 0 {
                    core.turnstile.pass().await;
                }
            }
        }
        if core.end_turn(sending) {
            core.turnstile.pass().await;
            core.state.borrow_mut().need_turn();
        }
    }
}

impl Core {
    fn send_requests(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let (resumed, blocked) = state.outboxes.send();
        for key in resumed {
            if let Some(connection) = state.connections.get(key) {
                connection.attention.raise();
            }
        }
        for batch in blocked {
            monoio::spawn(send_blocked(self.clone(), batch));
        }
    }

    /// Takes the list of connections with something to send.
    fn take_dirty(&self, dirty: &mut Vec<ConnectionKey>) {
        let mut state = self.state.borrow_mut();
        dirty.clear();
        mem::swap(&mut state.dirty.connections, dirty);
        state.shards.subscribers_with_news(dirty);
    }

    /// Returns whether there is more to send or to close at once, which is another turn's.
    fn end_turn(&self, sending: Turn) -> bool {
        let mut state = self.state.borrow_mut();
        state.shards.trim();
        let has_more = state.keep_unfinished_within_bound() | state.keep_within_budget();
        state.end_turn(sending);
        has_more || !state.dirty.connections.is_empty()
    }

    /// Sends what connections got of their own since the list was taken, as much as one turn may;
    /// returns to how many.
    fn send_own(&self) -> usize {
        let own = mem::take(&mut self.state.borrow_mut().dirty.connections);
        let sends = self.send_bytes(&own);
        let later = own.into_iter().skip(sends);
        let mut state = self.state.borrow_mut();
        state.dirty.connections.splice(..0, later);
        sends
    }

    /// Sends to the first of these, as much as one turn may; returns to how many, at least one if
    /// there is one.
    fn send_bytes(&self, dirty: &[ConnectionKey]) -> usize {
        let mut state = self.state.borrow_mut();
        let enough_bytes = state.tally.sent_bytes + BYTES_PER_TURN;
        let mut sends = 0;
        for key in dirty.iter().take(SENDS_PER_TURN) {
            state.transmit(*key);
            sends += 1;
            if state.tally.sent_bytes >= enough_bytes {
                break;
            }
        }
        sends
    }
}

/// Waits for a home's mailbox with the batch that it had no room for.
async fn send_blocked(core: Rc<Core>, blocked: Blocked) {
    // An error means that the home has stopped: nobody is left to ask.
    let _ = blocked.mailbox.send_async(blocked.batch).await;
    core.state.borrow_mut().outboxes.unblocked(blocked.home);
}

impl State {
    /// Sends what waits for one connection. If its socket is full it has fallen further behind:
    /// here is where it is found too far.
    pub(crate) fn transmit(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let before = connection.queue.sending;
        if before.is_blocked() {
            self.count_held(key);
            return self.fell_behind(key);
        }
        let owed = connection.queue_owed();
        self.tally.transmitted(owed, connection.entry.is_some());
        let sealing = &mut self.sealing;
        let transmitted = connection.send(&mut self.shards, sealing);
        let Some(Transmitted { sent, rest }) = transmitted else {
            return;
        };
        self.tally.sent_bytes += sent as u64;
        match rest {
            Rest::Nothing => return self.emptied(key),
            Rest::NextTurn => return self.send_on(key),
            Rest::Blocked => {}
        }
        let progress_ms = match before {
            Sending::Unblocked { progress_ms } if sent == 0 => progress_ms,
            _ => self.shared.now_ms(),
        };
        connection.queue.sending = Sending::Blocked { progress_ms };
        connection.queue.shrink();
        self.count_held(key);
        self.fell_behind(key);
    }

    /// Tries a full socket again, which may take a little long before it calls itself writable.
    pub(crate) fn nudge(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Sending::Blocked { progress_ms } = connection.queue.sending
        {
            connection.queue.sending = Sending::Unblocked { progress_ms };
            self.transmit(key);
        }
    }

    /// Its socket takes more, but others have their turn first.
    fn send_on(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.queue.sending = Sending::Dirty;
            self.dirty.push(key);
        }
        self.count_held(key);
    }

    /// All that was queued for a connection has left.
    fn emptied(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.queue.sending = Sending::Idle;
        self.spare.take_back(&mut connection.queue.direct);
        self.direct_held_bytes -= std::mem::take(&mut connection.held_bytes);
        if let Stage::Closing { deadline_ms, last } = &mut connection.stage {
            match last {
                Last::Nothing => connection.shut(),
                Last::PeerEnd(linger) => {
                    let most = match linger {
                        Linger::Briefly => LINGER,
                        Linger::Fully => Duration::MAX,
                    };
                    let time = most.min(self.shared.config.timeouts.close);
                    let time = connection.admitted.time(time);
                    *deadline_ms = self.shared.now_ms() + ms(time);
                    *last = Last::PeerEndAwaited(*linger);
                    connection.socket.shut_sending();
                }
                Last::PeerClose | Last::PeerEndAwaited(_) => {}
            }
            // Under TLS nothing is listened to any more where the last has been said.
            return self.count_unfinished(key);
        }
        if connection.pause.is_some() {
            self.resume_if_room(key);
        }
    }

    /// More waits for a connection than its socket takes now.
    fn fell_behind(&mut self, key: ConnectionKey) {
        let bytes_max = self.shared.config.send_queue_bytes_max;
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let subscriptions = &connection.subscriptions;
        if connection.queue.is_over(
            bytes_max,
            connection.socket.unsent_bytes(),
            subscriptions,
            &self.shards,
        ) {
            self.close(key, EndReason::SendQueueFull);
        } else {
            self.resume_if_room(key);
        }
    }

    fn resume_if_room(&self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get(key)
            && connection.pause.is_some_and(|p| p.wait == Wait::Queue)
            && self.has_room(key)
        {
            connection.attention.raise();
        }
    }
}

impl Connection {
    /// Sends what waits; a socket that fails ends the connection.
    fn send(&mut self, shards: &mut Shards, sealing: &mut Sealing) -> Option<Transmitted> {
        match self.try_send(shards, sealing) {
            Ok(transmitted) => {
                shards.note_progress(&self.subscriptions);
                Some(transmitted)
            }
            Err(error) => {
                debug!(peer = %self.peer, %error, "sending failed");
                self.end(EndReason::SocketFailed(self.reached()));
                self.shut();
                None
            }
        }
    }

    /// Sends what waits, and behind the last of it that it was the last.
    fn try_send(&mut self, shards: &mut Shards, sealing: &mut Sealing) -> io::Result<Transmitted> {
        let Self {
            queue,
            socket,
            subscriptions,
            ..
        } = self;
        let transmitted = queue.transmit(socket, sealing, subscriptions, shards)?;
        let is_last = matches!(
            self.stage,
            Stage::Closing {
                last: Last::Nothing | Last::PeerEnd(_),
                ..
            }
        );
        if transmitted.rest != Rest::Nothing || !is_last {
            return Ok(transmitted);
        }
        let last = self.socket.say_last()?;
        let rest = match last.is_full {
            true => Rest::Blocked,
            false => Rest::Nothing,
        };
        let sent = transmitted.sent + last.wire;
        Ok(Transmitted { sent, rest })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        sync::Arc,
        time::{Duration, Instant},
    };

    use codec::Limits;
    use hub::Request;

    use super::*;
    use crate::{
        config::Config,
        connection::Unread,
        fixture::{control, on_each_driver, open, upgrade},
    };

    #[test]
    fn what_comes_during_a_long_list_does_not_wait_for_its_end() {
        on_each_driver(async |core| {
            let (member, _one) = open(&mut core.state.borrow_mut());
            let (own, _other) = open(&mut core.state.borrow_mut());
            let (holder, _third) = open(&mut core.state.borrow_mut());
            core.state.borrow_mut().dirty.connections = vec![member; 8 * SENDS_PER_TURN];
            core.state.borrow_mut().need_turn();
            monoio::spawn(run(core.clone()));
            core.turnstile.pass().await;
            {
                let state = &mut *core.state.borrow_mut();
                let connection = &mut state.connections[own];
                connection.queue.direct = vec![0x82, 0];
                connection.mark_dirty(own, &mut state.dirty);
                let (now_ms, idle_ms) = (0, 0);
                state.outboxes.push(Request::Sweep { now_ms, idle_ms });
                state.shared.config = Arc::new(Config {
                    unfinished_bytes_max: 1000,
                    limits: Limits {
                        message_bytes_max: 100,
                        ..Limits::default()
                    },
                    ..Config::default()
                });
                state.connections[holder].kept = Unread::of(&[0; 1001]);
                state.count_unfinished(holder);
            }
            for _ in 0..4 {
                core.turnstile.pass().await;
            }
            let state = core.state.borrow();
            assert_eq!(state.connections[own].queue.sending, Sending::Idle);
            assert_eq!(state.depths.batches().0, 1);
            let held = &state.connections[holder];
            assert_eq!(held.end, Some(EndReason::UnfinishedFull));
            assert_eq!(state.tally.turns, 0, "the list has come to its end before");
        });
    }

    #[test]
    fn pong_that_is_owed_leaves_with_what_another_try_at_a_full_socket_sends() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let (key, mut peer) = open(state);
            let connection = &mut state.connections[key];
            upgrade(connection);
            connection.queue.direct = vec![0x82; 16 << 20];
            state.transmit(key);
            let connection = &mut state.connections[key];
            assert!(connection.queue.sending.is_blocked());
            let mut ping = control(9, b"owed");
            let limits = Limits::default();
            let step = connection
                .protocol
                .receive(&mut ping, &limits, &mut state.inflater);
            assert!(matches!(step.event, Some(codec::Event::Ping(_))));

            peer.set_nonblocking(true).unwrap();
            let mut received = Vec::new();
            let until = Instant::now() + Duration::from_secs(60);
            while state.connections[key].queue.sending != Sending::Idle {
                assert!(Instant::now() < until, "{} bytes came", received.len());
                let _ = peer.read_to_end(&mut received);
                state.nudge(key);
            }
            let _ = peer.read_to_end(&mut received);
            assert!(received.ends_with(b"\x8a\x04owed"));
        });
    }

    #[test]
    fn turn_ends_when_enough_bytes_were_sent_and_goes_on_where_it_was() {
        const MESSAGE: usize = 256 << 10;
        on_each_driver(async |core| {
            let (dirty, _peers): (Vec<_>, Vec<_>) = (0..64)
                .map(|_| {
                    let state = &mut *core.state.borrow_mut();
                    let (key, peer) = open(state);
                    state.connections[key].queue.direct = vec![0x82; MESSAGE];
                    (key, peer)
                })
                .unzip();
            let sent = || core.state.borrow().tally.sent_bytes;
            let mut rest = &dirty[..];
            let mut turns = 0;
            while !rest.is_empty() {
                let before = sent();
                rest = &rest[core.send_bytes(rest)..];
                assert!(sent() - before < BYTES_PER_TURN + MESSAGE as u64);
                turns += 1;
            }
            assert!(
                sent() > BYTES_PER_TURN,
                "{}: the sockets took too little",
                sent()
            );
            assert!(turns > 1, "{turns}");
        });
    }
}
