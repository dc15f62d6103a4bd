//! What each event of the protocol makes of a connection: route, join, open, hand over, pong.

use std::mem;

use codec::{AcceptKey, CloseCode, Event, HandshakeError, Request};
use hub::Request as HubRequest;
use slotmap::Key;
use tracing::debug;

use crate::{
    admission::Admitted,
    connection::{ConnectionKey, Heartbeat, Joining, Last, Stage, Wait},
    core::{State, ms},
    end::EndReason,
    session::{Answer, Application, Opening, Outlet, Route},
};

/// How far one step through the received bytes came.
pub(crate) enum Progress {
    /// So many bytes were taken, and there may be more to them.
    Consumed(usize),
    /// All bytes were taken.
    Exhausted,
    /// No step is possible for now.
    Wait(Wait),
}

impl State {
    /// One event's worth of received bytes.
    pub(crate) fn step(&mut self, key: ConnectionKey, input: &mut [u8]) -> Progress {
        if let Some(wait) = self.must_wait(key) {
            return Progress::Wait(wait);
        }
        let publisher = self.id_of(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return Progress::Exhausted;
        };
        if matches!(connection.stage, Stage::Over) {
            return Progress::Exhausted;
        }
        connection.pause = None;
        let limits = &self.shared.config.limits;
        let step = connection.protocol.receive(input, limits);
        let consumed = step.consumed;
        if let Some(event) = &step.event {
            self.tally.took(event);
        }
        match step.event {
            None => return Progress::Exhausted,
            Some(Event::Request(request)) => {
                let routed = route(&request, &*self.shared.application);
                self.follow(key, routed);
            }
            Some(Event::Message(message)) => {
                self.spare.lend(&mut connection.queue.direct);
                let mut outlet = Outlet {
                    publisher,
                    direct: &mut connection.queue.direct,
                    subscriptions: &connection.subscriptions,
                    shards: &self.shards,
                    outboxes: &mut self.outboxes,
                    window_bytes: &mut connection.window_bytes,
                    tally: &mut self.tally,
                    received_ns: self.received_ns,
                    close: None,
                };
                if let Some(session) = &mut connection.session {
                    session.receive(message, &mut outlet);
                }
                let close = outlet.close;
                self.spare.take_back(&mut connection.queue.direct);
                self.after_message(key, close);
            }
            Some(Event::Ping(_)) => self.owe_pong(key),
            Some(Event::Pong(payload)) => {
                let next_ms = self.shared.now_ms() + ms(self.shared.config.timeouts.ping_interval);
                if let Some(us) = connection.stage.pong(payload, self.received_ns, next_ms) {
                    self.tally.ping.record(u64::from(us) * 1000);
                }
            }
            Some(Event::Close(code)) => {
                // Under TLS the peer has more to send, close_notify: closing the socket before it has
                // come would reset the connection.
                let last = match connection.socket.has_tls() {
                    true => Last::PeerEnd,
                    false => Last::Nothing,
                };
                self.finish(key, last, EndReason::PeerClosed(code));
            }
            Some(Event::Failed(error)) => {
                self.finish(key, Last::PeerEnd, EndReason::Protocol(error));
            }
        }
        Progress::Consumed(consumed)
    }

    /// What keeps this connection from taking another message now.
    fn must_wait(&mut self, key: ConnectionKey) -> Option<Wait> {
        match self.connections.get(key)?.stage {
            Stage::Joining { .. } => return Some(Wait::Joins),
            Stage::Open { .. } => {}
            Stage::Handshake { .. } | Stage::Closing { .. } | Stage::Over => return None,
        }
        if !self.has_room(key) {
            // Perhaps only because this turn has not sent yet.
            self.transmit(key);
            if !self.has_room(key) {
                return Some(Wait::Queue);
            }
        }
        let connection = self.connections.get(key)?;
        if connection.window_bytes >= self.shared.config.publish_window_bytes {
            return Some(Wait::Window);
        }
        for subscription in &connection.subscriptions {
            let home = self.shards.room(*subscription).home;
            if self.outboxes.is_full(home) {
                self.outboxes.wait(home, key);
                return Some(Wait::Outbox);
            }
        }
        None
    }

    /// Whether the queue could take the largest answer that a message may have: itself.
    pub(crate) fn has_room(&self, key: ConnectionKey) -> bool {
        let config = &self.shared.config;
        self.connections.get(key).is_none_or(|connection| {
            let queued = connection.queue.direct_bytes();
            queued == 0 || queued + config.limits.message_bytes_max <= config.send_queue_bytes_max
        })
    }

    fn follow(&mut self, key: ConnectionKey, routed: Routed) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.admitted != Admitted::Yes {
            return self.close(key, EndReason::TooManyConnections);
        }
        match routed {
            Routed::Answer(answer, wanted) => {
                if wanted == Wanted::Upgrade {
                    let name = EndReason::Answered.name();
                    *self.tally.rejected.entry(name).or_default() += 1;
                }
                self.answer(key, answer, EndReason::Answered);
            }
            Routed::Refuse(error) => {
                connection
                    .protocol
                    .refuse(error, &mut connection.queue.direct);
                self.finish(key, Last::PeerEnd, EndReason::Protocol(error.into()));
            }
            Routed::Open(_, _) if self.is_draining => self.close(key, EndReason::Drained),
            Routed::Open(opening, accept) => self.join(key, opening, accept),
        }
    }

    /// Asks the session's room to take the connection in; without a room it opens at once.
    fn join(&mut self, key: ConnectionKey, opening: Opening, accept: AcceptKey) {
        let subscriber = self.id_of(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Stage::Handshake { deadline_ms } = connection.stage else {
            return;
        };
        let room = opening.room.clone();
        let joining = Box::new(Joining { opening, accept });
        connection.stage = Stage::Joining {
            deadline_ms,
            joining,
        };
        match room {
            None => self.open(key),
            Some(name) if self.outboxes.is_full(self.outboxes.home(&name)) => {
                self.close(key, EndReason::JoinRefused);
            }
            Some(name) => self.outboxes.push(HubRequest::Join { name, subscriber }),
        }
    }

    /// The handshake is complete: sends the 101.
    pub(crate) fn open(&mut self, key: ConnectionKey) {
        let now_ms = self.shared.now_ms();
        let interval_ms = ms(self.shared.config.timeouts.ping_interval);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let heartbeat = Heartbeat::first(now_ms, interval_ms, key.data().as_ffi());
        let stage = mem::replace(&mut connection.stage, Stage::Open { heartbeat });
        let Stage::Joining { joining, .. } = stage else {
            connection.stage = stage;
            return;
        };
        let Joining { opening, accept } = *joining;
        let out = &mut connection.queue.direct;
        connection
            .protocol
            .accept(&accept, opening.subprotocol, out);
        connection.session = Some(opening.session);
        let entry = self.protocols.iter().position(|p| *p == opening.protocol);
        connection.entry = entry.and_then(|entry| u8::try_from(entry).ok());
        if let Some(open) = entry.and_then(|entry| self.tally.open.get_mut(entry)) {
            *open += 1;
        }
        let took_ns = self.shared.now_ns().saturating_sub(connection.accepted_ns);
        self.tally.handshake.record(took_ns);
        connection.attention.raise();
        connection.mark_dirty(key, &mut self.dirty);
        debug!(peer = %connection.peer, protocol = opening.protocol, "connection opened");
    }

    fn after_message(&mut self, key: ConnectionKey, close: Option<(CloseCode, &'static str)>) {
        if let Some((code, text)) = close {
            self.close(key, EndReason::SessionClosed(code, text));
        } else if let Some(connection) = self.connections.get_mut(key)
            && connection.queue.direct_bytes() > 0
        {
            connection.mark_dirty(key, &mut self.dirty);
        }
    }

    /// While the socket takes what is sent each ping gets its pong; behind a full one only the
    /// latest is owed (RFC 6455 section 5.5.3).
    fn owe_pong(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.queue.sending.is_blocked()
        {
            let owed = connection.protocol.transmit(&mut connection.queue.direct);
            self.tally.transmitted(owed, true);
            connection.mark_dirty(key, &mut self.dirty);
        }
    }
}

/// What the peer asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Upgrade,
    Answer,
}

/// A route whose upgrade was checked.
enum Routed {
    Open(Opening, AcceptKey),
    Answer(Answer, Wanted),
    Refuse(HandshakeError),
}

fn route(request: &Request<'_>, application: &dyn Application) -> Routed {
    match application.route(request) {
        Route::Answer(answer) => {
            let wanted = match request.wants_upgrade() {
                true => Wanted::Upgrade,
                false => Wanted::Answer,
            };
            Routed::Answer(answer, wanted)
        }
        Route::Open(opening) => match request.upgrade() {
            Ok(upgrade) => Routed::Open(opening, upgrade.accept),
            Err(error) => Routed::Refuse(error),
        },
    }
}
