//! The connection actor: one task per socket, from its first byte to its removal.
//!
//! It waits until there is something to receive, receives it into the core's buffer, and takes
//! what came as far as the connection may go now. When it may not go on, because its queue is
//! full or its rooms cannot take more, the rest of that one receive is kept and the socket is
//! not read until the wait is over.

use std::{
    future::poll_fn,
    mem,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
};

use slotmap::Key;
use tracing::{debug, error};

use crate::{
    admission::Admitted,
    connection::{Connection, ConnectionKey, Last, Stage, Wait},
    core::{Core, State, ms},
    end::EndReason,
    send_queue::Sending,
    socket::{Moved, Socket},
    steps::Progress,
};

/// Where an actor stands after a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// Everything received was taken: wait for more.
    Receive,
    /// Not read until its signal is raised.
    Wait,
    /// Over.
    End,
}

/// Runs a connection until it is over.
pub(crate) async fn run(core: Rc<Core>, socket: Rc<Socket>, peer: SocketAddr, admitted: Admitted) {
    let key = core
        .state
        .borrow_mut()
        .admit(socket.clone(), peer, admitted);
    let mut flow = Flow::Receive;
    while flow != Flow::End {
        flow = if flow == Flow::Wait {
            core.resumed(key).await;
            core.guard(key, || core.resume(key))
        } else if socket.readable(&core.turnstile).await.is_ok() {
            core.guard(key, || core.receive(key, &socket))
        } else {
            Flow::End
        };
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
            self.state.borrow_mut().close(key, EndReason::Panicked);
            Flow::Receive
        })
    }

    /// Tells the session that it is over, and drops it: its code once more, so guarded once more.
    fn end_session(&self, key: ConnectionKey, connection: Option<Connection>) {
        self.guard(key, || {
            if let Some(mut session) = connection.and_then(|connection| connection.session) {
                session.closed();
            }
            Flow::End
        });
    }

    /// Waits until the connection's signal is raised.
    async fn resumed(&self, key: ConnectionKey) {
        poll_fn(|context| match self.state.borrow().connections.get(key) {
            Some(connection) => connection.resume.poll(context),
            None => Poll::Ready(()),
        })
        .await;
    }

    fn receive(&self, key: ConnectionKey, socket: &Socket) -> Flow {
        let mut buffer = self.buffer.borrow_mut();
        match socket.receive(&mut buffer) {
            Ok(Moved::WouldBlock) => self.state.borrow_mut().flow(key),
            Ok(Moved::Bytes(0)) => self.state.borrow_mut().peer_ended(key),
            Ok(Moved::Bytes(received)) => self.take(key, &mut buffer[..received]),
            Err(error) => {
                debug!(%error, "receiving failed");
                self.state.borrow_mut().socket_failed(key)
            }
        }
    }

    /// Goes on with what was kept when the connection was paused.
    fn resume(&self, key: ConnectionKey) -> Flow {
        let mut state = self.state.borrow_mut();
        let Some(connection) = state.connections.get_mut(key) else {
            return Flow::End;
        };
        let mut kept = mem::take(&mut connection.kept);
        drop(state);
        self.take(key, &mut kept)
    }

    /// Takes received bytes as far as the connection may go now; keeps the rest.
    fn take(&self, key: ConnectionKey, received: &mut [u8]) -> Flow {
        let mut taken = 0;
        loop {
            let mut state = self.state.borrow_mut();
            match state.step(key, &mut received[taken..]) {
                Progress::Consumed(bytes) => taken += bytes,
                Progress::Exhausted => return state.flow(key),
                Progress::Wait(wait) => {
                    state.keep(key, &received[taken..], wait);
                    return Flow::Wait;
                }
            }
        }
    }
}

impl State {
    fn admit(&mut self, socket: Rc<Socket>, peer: SocketAddr, admitted: Admitted) -> ConnectionKey {
        let time = admitted.time(self.shared.config.timeouts.handshake);
        let deadline_ms = self.shared.now_ms() + ms(time);
        let connection = Connection::new(socket, peer, admitted, deadline_ms);
        self.connections.insert(connection)
    }

    fn flow(&self, key: ConnectionKey) -> Flow {
        match self.connections.get(key) {
            Some(connection) if !matches!(connection.stage, Stage::Over) => Flow::Receive,
            _ => Flow::End,
        }
    }

    /// The peer's stream has ended. A request that came before it is still answered in full; a
    /// WebSocket without a close frame is gone.
    fn peer_ended(&mut self, key: ConnectionKey) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::End;
        };
        connection.end(EndReason::PeerGone);
        match &mut connection.stage {
            Stage::Closing { last, .. } if connection.queue.sending != Sending::Idle => {
                *last = Last::Nothing;
                Flow::Wait
            }
            _ => Flow::End,
        }
    }

    fn socket_failed(&mut self, key: ConnectionKey) -> Flow {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.end(EndReason::SocketFailed);
        }
        Flow::End
    }

    /// Keeps what a connection may not take now.
    fn keep(&mut self, key: ConnectionKey, rest: &[u8], wait: Wait) {
        let now_ms = self.shared.now_ms();
        if let Some(connection) = self.connections.get_mut(key) {
            connection.kept = rest.to_vec();
            connection.begin_pause(wait, now_ms);
        }
    }
}
