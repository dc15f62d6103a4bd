//! The connection actor: one task per socket, from its first byte to its removal.
//!
//! When its socket reports something, the actor receives once into the core's buffer and takes
//! what came as far as the connection may go now. When it may not go on, because its queue is
//! full or its rooms cannot take more, the rest of that one receive is kept and the socket is
//! not read until the wait is over. It is kept for a turn, too, when what came is compressed and
//! makes much more than was received.

use std::{
    future::poll_fn,
    io, mem,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
};

use slotmap::Key;
use tracing::{debug, error};

use crate::{
    admission::Admitted,
    connection::{Arrival, Connection, ConnectionKey, Last, Stage, Wait},
    core::{Core, State, ms},
    end::EndReason,
    send_queue::Sending,
    socket::{Arrived, Received, Socket},
    steps::Progress,
};

/// Payload of messages that one connection may bring in a turn before others get the core, or as much
/// as was received if that is more. Only what came compressed makes more: a thousand times as much.
const PAYLOAD_BYTES_PER_TURN: usize = 128 << 10;

/// Where an actor stands after a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Nothing to do until somebody asks for attention.
    Wait,
    /// There may be more to receive; others have their turn first.
    More,
    /// More was received than one turn may make of it; others have their turn first.
    Rest,
    /// Over.
    End,
}

/// Runs a connection until it is over.
pub(crate) async fn run(core: Rc<Core>, key: ConnectionKey) {
    let mut flow = Flow::Wait;
    while flow != Flow::End {
        match flow {
            Flow::More | Flow::Rest => core.turnstile.pass().await,
            _ => core.attention(key).await,
        }
        core.handshake_turn(key).await;
        flow = core.guard(key, || core.attend(key));
        core.state.borrow_mut().count_unfinished(key);
    }
    let connection = core.state.borrow_mut().remove(key);
    core.end_session(key, connection);
}

impl Core {
    /// A panic in here closes this connection with 1011 and nothing else.
    fn guard(&self, key: ConnectionKey, work: impl FnOnce() -> Flow) -> Flow {
        // Unwind safety: `work` changes shared state only through `RefCell`s that it releases,
        // and what it leaves half done belongs to this connection, which is over.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            let connection = key.data().as_ffi();
            error!(connection, "a connection's code panicked");
            let mut state = self.state.borrow_mut();
            state.tally.panics += 1;
            state.close(key, EndReason::Panicked);
            Flow::More
        })
    }

    /// Tells the session that it is over, and drops it: its code twice more, so guarded twice more.
    fn end_session(&self, key: ConnectionKey, connection: Option<Connection>) {
        let Some(mut session) = connection.and_then(|connection| connection.session) else {
            return;
        };
        self.guard(key, || {
            session.closed();
            Flow::End
        });
        self.guard(key, || {
            drop(session);
            Flow::End
        });
    }

    /// Takes a connection in, whose actor the caller starts.
    pub(crate) fn admit(
        &self,
        socket: Socket,
        peer: SocketAddr,
        admitted: Admitted,
    ) -> io::Result<ConnectionKey> {
        let mut state = self.state.borrow_mut();
        let time = admitted.time(state.shared.config.timeouts.handshake);
        let now_ns = state.shared.now_ns();
        let connection = Connection::new(socket, peer, admitted, now_ns, ms(time));
        let State {
            connections, tally, ..
        } = &mut *state;
        let key = connections.insert(connection);
        self.poller
            .watch(&connections[key].socket, key)
            .inspect_err(|_| drop(connections.remove(key)))?;
        // From here on it has an end that is counted.
        tally.opened += 1;
        state.meet(key);
        Ok(key)
    }

    /// Waits until somebody asks for the connection's attention.
    async fn attention(&self, key: ConnectionKey) {
        poll_fn(|context| match self.state.borrow().connections.get(key) {
            Some(connection) => connection.attention.poll(context),
            None => Poll::Ready(()),
        })
        .await;
    }

    /// A TLS handshake is costly: a few go on in one turn, the others wait for the next.
    async fn handshake_turn(&self, key: ConnectionKey) {
        let is_handshaking = || {
            let state = self.state.borrow();
            let connection = state.connections.get(key);
            connection.is_some_and(|it| it.socket.is_handshaking() && it.arrival.is_readable)
        };
        while is_handshaking() && !self.handshakes.take(self.turnstile.turns()) {
            self.turnstile.pass().await;
        }
    }

    /// Goes on with what was kept, then receives once.
    fn attend(&self, key: ConnectionKey) -> Flow {
        let mut state = self.state.borrow_mut();
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        let has_kept = connection.pause.is_some() || !connection.kept.is_empty();
        let mut kept = mem::take(&mut connection.kept);
        if has_kept {
            state.need_turn();
        }
        drop(state);
        let flow = match has_kept {
            true => self.take(key, &mut kept),
            false => Flow::More,
        };
        match flow {
            Flow::More => self.receive(key),
            Flow::Rest | Flow::Wait | Flow::End => flow,
        }
    }

    fn receive(&self, key: ConnectionKey) -> Flow {
        let mut state = self.state.borrow_mut();
        state.need_turn();
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        if matches!(connection.stage, Stage::Over) {
            return Flow::End;
        }
        if !connection.arrival.is_readable {
            return Flow::Wait;
        }
        let mut arrivals = self.arrivals.borrow_mut();
        let header = connection.client.header_bytes();
        let received = match header {
            None => connection.socket.receive(&mut arrivals),
            Some(bytes) => connection
                .socket
                .receive_before(&mut arrivals.plain[..bytes]),
        };
        connection.arrival.took(&received);
        state.note(key, &received);
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        match received.arrived {
            Arrived::Nothing => Flow::Wait,
            Arrived::End => state.peer_ended(key),
            Arrived::Plain(bytes) if header.is_some() => {
                state.take_proxy_header(key, &mut arrivals.plain[..bytes]);
                state.flow(key)
            }
            Arrived::Plain(bytes) => {
                drop(state);
                self.take(key, &mut arrivals.plain[..bytes])
            }
            Arrived::PlainHttp(bytes) => {
                let request = &mut arrivals.plain[..bytes];
                state.answer_as_http(key, request, EndReason::PlainHttp);
                state.flow(key)
            }
            Arrived::TlsFailed(error) => {
                debug!(peer = %connection.peer, %error, "TLS failed");
                state.give_up(key, EndReason::TlsFailed);
                state.flow(key)
            }
            Arrived::Failed(error) => {
                debug!(peer = %connection.peer, %error, "receiving failed");
                connection.end(EndReason::SocketFailed(connection.reached()));
                Flow::End
            }
        }
    }

    /// Takes received bytes as far as the connection may go now; keeps the rest.
    fn take(&self, key: ConnectionKey, received: &mut [u8]) -> Flow {
        let mut taken = 0;
        let payload_most = PAYLOAD_BYTES_PER_TURN.max(received.len()) as u64;
        let before = self.state.borrow().tally.payload_received.bytes();
        loop {
            let mut state = self.state.borrow_mut();
            match state.step(key, &mut received[taken..]) {
                Progress::Consumed(bytes) => taken += bytes,
                Progress::Exhausted => return state.flow(key),
                Progress::Wait(wait) => {
                    state.keep(key, &received[taken..]);
                    state.pause(key, wait);
                    return Flow::Wait;
                }
            }
            if state.tally.payload_received.bytes() - before >= payload_most {
                state.keep(key, &received[taken..]);
                return Flow::Rest;
            }
        }
    }
}

impl State {
    /// Counts what a receive brought, which is a sign of life. TLS may have something to say to it.
    fn note(&mut self, key: ConnectionKey, received: &Received) {
        self.tally.received_bytes += received.wire as u64;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if received.wire > 0
            && let Stage::Open { heartbeat } = &mut connection.stage
        {
            let now_ms = self.received_ns / 1_000_000;
            heartbeat.hold(now_ms + ms(self.shared.config.timeouts.pong));
        }
        if connection.socket.unsent_bytes() > 0 {
            connection.mark_dirty(key, &mut self.dirty);
        }
        if let Some(secured) = received.secured {
            let took_ns = self.shared.now_ns().saturating_sub(connection.accepted_ns);
            self.tally.secured(secured, took_ns);
        }
    }

    /// Where a connection stands that has taken all that was received.
    fn flow(&self, key: ConnectionKey) -> Flow {
        match self.connections.get(key) {
            Some(connection) if matches!(connection.stage, Stage::Over) => Flow::End,
            Some(connection) if connection.arrival.is_readable => Flow::More,
            Some(_) => Flow::Wait,
            None => Flow::End,
        }
    }

    /// The peer's stream has ended. What came before is still answered in full: it may read on.
    fn peer_ended(&mut self, key: ConnectionKey) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::End;
        };
        let reason = EndReason::PeerGone(connection.reached());
        connection.end(reason);
        connection.arrival = Arrival::default();
        let is_owed = connection.window_bytes > 0 || connection.queued_bytes(&self.shards) > 0;
        match &mut connection.stage {
            Stage::Closing { last, .. } if connection.queue.sending != Sending::Idle => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Finishing { last, .. } => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Open { .. } if is_owed => {
                self.finish(key, Last::Nothing, reason);
                Flow::Wait
            }
            _ => {
                // Best effort: a peer that has ended its stream may still read.
                let sent = connection.socket.say_last().unwrap_or_default();
                self.tally.sent_bytes += sent.wire as u64;
                Flow::End
            }
        }
    }

    /// Keeps what a connection may not take now.
    fn keep(&mut self, key: ConnectionKey, rest: &[u8]) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.kept = rest.to_vec();
        }
    }

    fn pause(&mut self, key: ConnectionKey, wait: Wait) {
        let now_ms = self.shared.now_ms();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.begin_pause(wait, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::on_each_driver;

    #[test]
    fn connection_that_cannot_be_watched_is_not_counted() {
        on_each_driver(async |core| {
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let admitted = core.admit(Socket::unwatchable(), peer, Admitted::Yes);
            assert!(admitted.is_err());
            let state = core.state.borrow();
            assert_eq!((state.tally.opened, state.connections.len()), (0, 0));
        });
    }
}
