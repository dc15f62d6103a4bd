//! The end of a turn: requests leave in one batch for each home, bytes in one send for each socket.
//!
//! The flusher is woken by the first who has something to send and runs after everyone who was
//! ready in the same turn, so that all they queued leaves together.

use std::rc::Rc;

use tracing::debug;

use crate::{
    connection::{Connection, ConnectionKey, Last, Stage, Wait},
    core::{Core, State, ms},
    end::EndReason,
    outbox::Blocked,
    send_queue::{Sending, Transmitted},
    shard::ShardKey,
    socket::Socket,
};

/// Flushes at the end of every turn in which somebody asked for it.
pub(crate) async fn run(core: Rc<Core>) {
    loop {
        core.flush.wait().await;
        core.send_requests();
        core.send_bytes();
    }
}

impl Core {
    fn send_requests(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let (resumed, blocked) = state.outboxes.send();
        for key in resumed {
            if let Some(connection) = state.connections.get(key) {
                connection.resume.raise();
            }
        }
        for batch in blocked {
            monoio::spawn(send_blocked(self.clone(), batch));
        }
    }

    fn send_bytes(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let news = state.shards.take_news();
        state.mark_subscribers(&news);
        let dirty = std::mem::take(&mut state.dirty.connections);
        for key in dirty {
            state.transmit(key);
        }
        state.shards.trim();
        for (key, socket) in std::mem::take(&mut state.blocked) {
            monoio::spawn(await_writable(self.clone(), key, socket));
        }
    }
}

/// Waits for a home's mailbox with the batch that it had no room for.
async fn send_blocked(core: Rc<Core>, blocked: Blocked) {
    // An error means that the home has stopped: nobody is left to ask.
    let _ = blocked.mailbox.send_async(blocked.batch).await;
    core.state.borrow_mut().outboxes.unblocked(blocked.home);
}

/// Waits until a full socket takes bytes again, and puts its connection back on the list. There
/// is one such task for a connection that is [`Sending::Blocked`], and none otherwise.
async fn await_writable(core: Rc<Core>, key: ConnectionKey, socket: Rc<Socket>) {
    // An error shows again, and is dealt with, when sending.
    let _ = socket.writable().await;
    let mut state = core.state.borrow_mut();
    let State {
        connections, dirty, ..
    } = &mut *state;
    if let Some(connection) = connections.get_mut(key) {
        connection.queue.sending = Sending::Idle;
        connection.mark_dirty(key, dirty);
    }
}

impl State {
    /// Puts the subscribers of rooms with news on the list. Those whose socket is full fall
    /// further behind: here is where one of them is found too far.
    fn mark_subscribers(&mut self, news: &[ShardKey]) {
        let bytes_max = self.shared.config.send_queue_bytes_max;
        let mut too_slow = Vec::new();
        for shard in news.iter().filter_map(|key| self.shards.get(*key)) {
            for subscriber in shard.subscribers.values() {
                let key = subscriber.connection;
                let Some(connection) = self.connections.get_mut(key) else {
                    continue;
                };
                let Connection {
                    queue,
                    subscriptions,
                    ..
                } = connection;
                if !matches!(queue.sending, Sending::Blocked { .. }) {
                    connection.mark_dirty(key, &mut self.dirty);
                } else if queue.is_over(bytes_max, subscriptions, &self.shards) {
                    too_slow.push(key);
                }
            }
        }
        for key in too_slow {
            self.close(key, EndReason::SendQueueFull);
        }
    }

    /// Sends what waits for one connection, unless its socket is full.
    pub(crate) fn transmit(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !matches!(connection.queue.sending, Sending::Blocked { .. }) {
            connection.protocol.transmit(&mut connection.queue.direct);
            match self.send(key) {
                Some(Transmitted::All) => self.sent_all(key),
                Some(Transmitted::Blocked { .. }) => self.block(key),
                None => {}
            }
        }
    }

    /// Tries a full socket again, which may take a little long before it calls itself writable.
    /// Its task goes on waiting.
    pub(crate) fn nudge(&mut self, key: ConnectionKey) {
        let has_progress = match self.send(key) {
            Some(Transmitted::All) => true,
            Some(Transmitted::Blocked { progress }) => progress,
            None => false,
        };
        if has_progress && let Some(connection) = self.connections.get_mut(key) {
            let progress_ms = self.shared.now_ms();
            connection.queue.sending = Sending::Blocked { progress_ms };
            self.shards.note_progress(&connection.subscriptions);
            self.resume_if_room(key);
        }
    }

    /// Sends; a socket that fails ends its connection.
    fn send(&mut self, key: ConnectionKey) -> Option<Transmitted> {
        let connection = self.connections.get_mut(key)?;
        let Connection {
            queue,
            socket,
            subscriptions,
            ..
        } = connection;
        match queue.transmit(socket, subscriptions, &mut self.shards) {
            Ok(transmitted) => Some(transmitted),
            Err(error) => {
                debug!(peer = %connection.peer, %error, "sending failed");
                connection.end(EndReason::SocketFailed);
                connection.shut();
                None
            }
        }
    }

    fn sent_all(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.queue.sending = Sending::Idle;
        self.shards.note_progress(&connection.subscriptions);
        if let Stage::Closing { deadline_ms, last } = &mut connection.stage {
            match last {
                Last::Nothing => connection.shut(),
                Last::PeerEnd => {
                    *last = Last::PeerEndAwaited;
                    let time = connection.admitted.time(self.shared.config.timeouts.close);
                    *deadline_ms = self.shared.now_ms() + ms(time);
                    connection.socket.shut_sending();
                }
                Last::PeerClose | Last::PeerEndAwaited => {}
            }
        }
        self.resume_if_room(key);
    }

    /// The socket is full: a task will wait for it.
    fn block(&mut self, key: ConnectionKey) {
        let progress_ms = self.shared.now_ms();
        let bytes_max = self.shared.config.send_queue_bytes_max;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Connection {
            queue,
            subscriptions,
            socket,
            ..
        } = connection;
        queue.sending = Sending::Blocked { progress_ms };
        self.shards.note_progress(subscriptions);
        self.blocked.push((key, socket.clone()));
        self.dirty.flush.raise();
        if queue.is_over(bytes_max, subscriptions, &self.shards) {
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
            connection.resume.raise();
        }
    }
}
