//! What each event of the protocol makes of a connection: route, join, open, hand over, pong.

use std::mem;

use codec::{CloseCode, Error, Event, HandshakeError, Request};
use hub::Request as HubRequest;
use slotmap::Key;
use tracing::{debug, info};

use crate::{
    admission::Admitted,
    config::Compression,
    connection::{ConnectionKey, Heartbeat, Joining, Last, Linger, Stage, Wait},
    contexts::{self, Agreement},
    core::{State, ms},
    encoder::{Context, WireForm},
    end::EndReason,
    notices::Shown,
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
        if !connection.protocol.is_within_message() {
            connection.message_by_ms = None;
        }
        let config = &self.shared.config;
        let input_bytes = input.len();
        let step = connection
            .protocol
            .receive(input, &config.limits, &mut self.inflater);
        let consumed = step.consumed;
        if let Some(event) = &step.event {
            self.tally.took(event);
            if let Some(reason) = connection.allowance.take(event, config, self.received_ns) {
                self.close(key, reason);
                return Progress::Consumed(consumed);
            }
        }
        match step.event {
            // The codec stops after so many fragments without an event, so that they can be charged
            // for; the rest of the input follows in the next step.
            None if consumed > 0 && consumed < input_bytes => {}
            None => {
                if connection.protocol.is_inflating() {
                    // All of the message has come: what it takes now is not its peer's doing.
                    connection.message_by_ms = None;
                    return Progress::Consumed(consumed);
                }
                let now_ms = self.received_ns / 1_000_000;
                connection.note_unfinished(now_ms + ms(config.timeouts.message));
                return Progress::Exhausted;
            }
            Some(Event::Request(request)) => {
                let told = connection
                    .client
                    .told(connection.peer, &request, &config.proxies);
                let terms = Terms {
                    compression: config.compression.as_ref(),
                    free_bytes: self.contexts.free_bytes(config),
                };
                let routed = route(&request, &*self.shared.application, terms);
                if told.is_none_or(|client| self.identify(key, client)) {
                    self.follow(key, routed);
                }
            }
            Some(Event::Message(message)) => {
                self.spare.lend(&mut connection.queue.direct);
                let mut outlet = Outlet {
                    publisher,
                    direct: &mut connection.queue.direct,
                    encoder: &mut self.encoder,
                    form: connection.form,
                    context: &mut connection.context,
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
                let last = Last::PeerEnd(Linger::Briefly);
                self.finish(key, last, EndReason::PeerClosed(code));
            }
            Some(Event::Failed(Error::Handshake(error))) => self.refuse_handshake(key, error),
            Some(Event::Failed(error @ Error::Frame(_))) => {
                let last = Last::PeerEnd(Linger::Fully);
                self.finish(key, last, EndReason::Protocol(error));
            }
        }
        Progress::Consumed(consumed)
    }

    /// What keeps this connection from taking another message now.
    fn must_wait(&mut self, key: ConnectionKey) -> Option<Wait> {
        match self.connections.get(key)?.stage {
            Stage::Joining { .. } => return Some(Wait::Joins),
            Stage::Open { .. } => {}
            Stage::Handshake { .. }
            | Stage::Finishing { .. }
            | Stage::Closing { .. }
            | Stage::Over => return None,
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
        if !matches!(connection.stage, Stage::Handshake { .. }) {
            // It was silent for so long that its end has been said before it asked.
            return;
        }
        if let Admitted::ToRefuse(refusal) = connection.admitted {
            return self.close(key, refusal.reason());
        }
        match routed {
            Routed::Page(answer) => {
                let reason = reason_of(&answer);
                self.answer(key, answer, reason);
            }
            Routed::NoUpgrade(answer, shown) => {
                let reason = reason_of(&answer);
                self.tell_refused(key, reason, answer.status, &shown);
                self.count_rejected(reason);
                self.answer(key, answer, reason);
            }
            Routed::Refuse(error, shown) => {
                let reason = EndReason::Protocol(error.into());
                self.tell_refused(key, reason, error.status(), &shown);
                self.refuse_handshake(key, error);
            }
            Routed::Open(..) if self.is_draining => self.close(key, EndReason::Drained),
            Routed::Open(joining, unanswered) => {
                if let Some(shown) = unanswered {
                    self.tally.subprotocols_unanswered += 1;
                    self.tell_unanswered(key, &shown);
                }
                self.join(key, joining);
            }
        }
    }

    fn tell_refused(&mut self, key: ConnectionKey, reason: EndReason, status: u16, shown: &Shown) {
        let reason = reason.name();
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if self.notices.admit(reason, self.received_ns / 1_000_000) {
            let Shown { origin, path } = shown;
            let peer = connection.peer;
            info!(%peer, reason, status, origin, path, "handshake refused");
        }
    }

    /// Browsers fail a connection that is opened without any of the subprotocols that they asked for,
    /// and tell their page no more than 1006 (RFC 6455 section 4.1 leaves it to the client).
    fn tell_unanswered(&mut self, key: ConnectionKey, shown: &Shown) {
        let reason = "subprotocol_unanswered";
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if self.notices.admit(reason, self.received_ns / 1_000_000) {
            let Shown { origin, path } = shown;
            let peer = connection.peer;
            info!(%peer, reason, origin, path, "a WebSocket was opened without a subprotocol: none of those asked for is spoken here, and \
                 browsers end it with 1006");
        }
    }

    /// Asks the session's room to take the connection in; without a room it opens at once.
    fn join(&mut self, key: ConnectionKey, joining: Box<Joining>) {
        let subscriber = self.id_of(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Stage::Handshake { deadline_ms } = connection.stage else {
            return;
        };
        let room = joining.opening.room.clone();
        let deflate = joining.agreement.map(|agreement| agreement.deflate);
        connection.form = WireForm::agreed(deflate);
        connection.context = Context::agreed(deflate);
        connection.contexts_bytes = self.contexts.reserve(deflate);
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
        let Joining {
            opening,
            accept,
            agreement,
        } = *joining;
        let deflate = agreement.map(|agreement| agreement.deflate);
        let out = &mut connection.queue.direct;
        connection
            .protocol
            .accept(&accept, opening.subprotocol, deflate, out);
        if let Some(agreement) = agreement {
            self.tally.deflate_agreed += 1;
            self.tally.takeovers_declined.add(agreement.declined);
        }
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
            let is_blocked = connection.queue.sending.is_blocked();
            connection.mark_dirty(key, &mut self.dirty);
            if is_blocked {
                self.count_held(key);
            }
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

/// On which terms compression is agreed on.
#[derive(Clone, Copy)]
struct Terms<'a> {
    compression: Option<&'a Compression>,
    /// What is left for contexts.
    free_bytes: usize,
}

/// A route whose upgrade was checked, and what the log shows of a request that did not get what it
/// asked for.
enum Routed {
    /// And whether it has to do without a subprotocol.
    Open(Box<Joining>, Option<Shown>),
    /// No upgrade was asked for.
    Page(Answer),
    /// An upgrade was asked for, and the application answers otherwise.
    NoUpgrade(Answer, Shown),
    Refuse(HandshakeError, Shown),
}

fn route(request: &Request<'_>, application: &dyn Application, terms: Terms<'_>) -> Routed {
    let shown = || Shown::of(request, application);
    match application.route(request) {
        Route::Answer(answer) if request.wants_upgrade() => Routed::NoUpgrade(answer, shown()),
        Route::Answer(answer) => Routed::Page(answer),
        Route::Open(opening) => match request.upgrade() {
            Ok(upgrade) => {
                let is_unanswered =
                    opening.subprotocol.is_none() && request.subprotocols().next().is_some();
                let joining = Joining {
                    agreement: agree(request, &opening, terms),
                    accept: upgrade.accept,
                    opening,
                };
                Routed::Open(Box::new(joining), is_unanswered.then(shown))
            }
            Err(error) => Routed::Refuse(error, shown()),
        },
    }
}

/// What a connection ends for that is answered so.
fn reason_of(answer: &Answer) -> EndReason {
    answer
        .refused
        .map_or(EndReason::Answered, EndReason::Refused)
}

/// What is agreed on compression. A connection in a room keeps no context for what is sent to it:
/// what a room is told is compressed once for all who take it, and would not be in that context.
fn agree(request: &Request<'_>, opening: &Opening, terms: Terms<'_>) -> Option<Agreement> {
    let mut policy = terms.compression?.policy;
    policy.server_takeover &= opening.room.is_none();
    contexts::agree(request, policy, terms.free_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::Config,
        fixture::{on_each_driver, open},
    };

    #[test]
    fn connection_waits_from_a_full_window_on() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            state.shared.config = Arc::new(Config {
                publish_window_bytes: 1000,
                ..Config::default()
            });
            let (key, _peer) = open(state);
            for (bytes, expected) in [
                (999, None),
                (1000, Some(Wait::Window)),
                (1001, Some(Wait::Window)),
            ] {
                state.connections[key].window_bytes = bytes;
                assert_eq!(state.must_wait(key), expected, "{bytes}");
            }
        });
    }
}
