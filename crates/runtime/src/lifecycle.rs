//! The ways out: answering over HTTP, closing with a code, resetting, and what is undone at the end.

use std::time::SystemTime;

use codec::{HandshakeError, Phase, ResponseHead};
use hub::Request;
use tracing::debug;

use crate::{
    connection::{Client, Connection, ConnectionKey, Last, Linger, Stage},
    core::{State, ms},
    end::{EndReason, Reached, Said},
    send_queue::Kept,
    session::Answer,
};

/// The slowest pace at which a peer may read an answer.
const ANSWER_BYTES_PER_SECOND_MIN: u64 = 8 << 10;

impl State {
    /// Answers a request over HTTP; the connection closes when the answer has left.
    pub(crate) fn answer(&mut self, key: ConnectionKey, answer: Answer, reason: EndReason) {
        let mut deadline_ms = self.close_deadline_ms();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let fields: Vec<_> = answer
            .fields
            .iter()
            .map(|(n, v)| (*n, v.as_str()))
            .collect();
        let head = ResponseHead {
            status: answer.status,
            date: Some(self.date.at(SystemTime::now())),
            fields: &fields,
            content_length: answer.body.len(),
        };
        let queue = &mut connection.queue;
        if connection.protocol.respond(&head, &mut queue.direct) {
            deadline_ms += answer.body.len() as u64 * 1000 / ANSWER_BYTES_PER_SECOND_MIN;
            queue.push_body(answer.body);
        }
        connection.end(reason);
        let last = Last::PeerEnd(Linger::Fully);
        connection.stage = Stage::Closing { deadline_ms, last };
        connection.attention.raise();
        connection.mark_dirty(key, &mut self.dirty);
    }

    /// Answers a request that broke a rule.
    pub(crate) fn refuse_handshake(&mut self, key: ConnectionKey, error: HandshakeError) {
        if let Some(connection) = self.connections.get_mut(key) {
            let date = self.date.at(SystemTime::now());
            let out = &mut connection.queue.direct;
            connection.protocol.refuse(error, Some(date), out);
        }
        let last = Last::PeerEnd(Linger::Fully);
        self.finish(key, last, EndReason::Protocol(error.into()));
    }

    /// Ends a connection as its stage allows: a WebSocket gets a close frame, an unanswered
    /// request a 503 or 408, and one that has asked for nothing its end. One that is finishing waits no
    /// longer for its publications, unless the reason leaves it time; one that is closing already only
    /// keeps to its deadline.
    pub(crate) fn close(&mut self, key: ConnectionKey, reason: EndReason) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        match connection.stage {
            Stage::Handshake { .. } if connection.socket.is_handshaking() => {
                self.give_up(key, reason);
            }
            // A peer that asked for nothing gets no answer, because it would take one for the answer
            // to its next request.
            Stage::Handshake { .. } if connection.reached() == Reached::Nothing => {
                self.finish(key, Last::PeerEnd(Linger::Fully), reason);
            }
            Stage::Handshake { .. } | Stage::Joining { .. } => self.refuse(key, reason),
            Stage::Open { .. } => self.close_session(key, reason),
            Stage::Finishing { .. } if matches!(reason, EndReason::Drained | EndReason::Aged) => {}
            Stage::Finishing { last, .. } => self.finish_now(key, last, reason),
            Stage::Closing { .. } | Stage::Over => {}
        }
    }

    /// Answers a request that cannot be served, or what was sent in its place.
    pub(crate) fn refuse(&mut self, key: ConnectionKey, reason: EndReason) {
        self.answer(key, refusal(&reason), reason);
    }

    /// Answers a peer that speaks HTTP where something else must come before it. Its request is looked
    /// at for the sake of its method alone.
    pub(crate) fn answer_as_http(
        &mut self,
        key: ConnectionKey,
        request: &mut [u8],
        reason: EndReason,
    ) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.socket.leave_tls();
            let limits = &self.shared.config.limits;
            let protocol = &mut connection.protocol;
            protocol.receive(request, limits, &mut self.inflater);
        }
        self.refuse(key, reason);
    }

    fn close_session(&mut self, key: ConnectionKey, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        self.keep_lag(key, &reason);
        self.leave_rooms(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let explained = reason.explained();
        if let Some(code) = explained.code {
            let out = &mut connection.queue.direct;
            let is_sent = connection.protocol.close(code, explained.text, out);
            self.tally.frames_sent.close += u64::from(is_sent);
        }
        connection.end(reason);
        let last = Last::PeerClose;
        connection.stage = Stage::Closing { deadline_ms, last };
        connection.attention.raise();
        connection.mark_dirty(key, &mut self.dirty);
        self.count_held(key);
    }

    /// What a leaving subscriber has not had yet is still sent, unless that is the very reason, or
    /// it can no longer be understood, or there is no memory for it: it was one log for all who lag,
    /// and now each needs its own.
    fn keep_lag(&mut self, key: ConnectionKey, reason: &EndReason) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let lags = connection.subscriptions.iter().map(|s| self.shards.lag(*s));
        let lag = lags.sum();
        let kept = match reason {
            EndReason::QueuesFull => Kept::Begun,
            EndReason::SendQueueFull | EndReason::WriteStalled | EndReason::TlsFailed => Kept::Own,
            _ if self.may_hold(lag) => Kept::All,
            _ => Kept::Own,
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Connection {
            queue,
            subscriptions,
            ..
        } = connection;
        queue.detach(subscriptions, &self.shards, kept);
    }

    /// The peer has said its last, or broke a rule: once its publications have been delivered, what
    /// is owed to it is queued, and the end comes when that has left.
    pub(crate) fn finish(&mut self, key: ConnectionKey, last: Last, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.window_bytes == 0 || matches!(connection.stage, Stage::Closing { .. }) {
            return self.finish_now(key, last, reason);
        }
        connection.end(reason);
        connection.stage = Stage::Finishing { deadline_ms, last };
    }

    /// The same, without waiting for publications.
    pub(crate) fn finish_now(&mut self, key: ConnectionKey, last: Last, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        self.keep_lag(key, &reason);
        self.leave_rooms(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let owed = connection.protocol.transmit(&mut connection.queue.direct);
        self.tally.transmitted(owed, connection.entry.is_some());
        connection.end(reason);
        connection.stage = Stage::Closing { deadline_ms, last };
        connection.mark_dirty(key, &mut self.dirty);
        self.count_held(key);
    }

    /// Ends a connection whose TLS cannot go on, or is not far enough to say anything over it: what
    /// TLS itself has to say leaves, and nothing else does. If TLS has nothing to say, the connection
    /// ends at once; waiting for the peer would keep a late handshake as long again.
    pub(crate) fn give_up(&mut self, key: ConnectionKey, reason: EndReason) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.socket.give_up_tls();
            let last = match connection.socket.unsent_bytes() {
                0 => Last::Nothing,
                _ => Last::PeerEnd(Linger::Fully),
            };
            self.finish_now(key, last, reason);
        }
    }

    /// Ends a connection at once, with a reset.
    pub(crate) fn abort(&mut self, key: ConnectionKey, reason: EndReason) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.end(reason);
            connection.socket.reset_on_close();
            connection.shut();
        }
    }

    /// Undoes everything. What is left of the connection is the caller's to drop: its socket
    /// closes with it, and its session is somebody else's code.
    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.leave_rooms(key);
        let connection = self.connections.remove(key)?;
        self.direct_held_bytes -= connection.held_bytes;
        self.unfinished_bytes -= connection.unfinished_bytes;
        self.contexts.release(connection.contexts_bytes);
        self.shared.admission.leave(connection.admitted);
        if let Client::Known(Some(network)) = connection.client {
            let now_ns = self.shared.now_ns();
            self.shared.admission.addresses.leave(network, now_ns);
        }
        let gone = EndReason::PeerGone(connection.reached());
        let reason = connection.end.unwrap_or(gone);
        self.count_end(&connection, reason);
        debug!(peer = %connection.peer, reason = reason.name(), "connection ended");
        Some(connection)
    }

    fn count_end(&mut self, connection: &Connection, reason: EndReason) {
        // A WebSocket that is reset at once is told no code.
        let phase = connection.protocol.phase();
        let is_told = connection.entry.is_some() && phase > Phase::Open;
        let ending = reason.ending(is_told);
        *self.tally.ended.entry(ending).or_default() += 1;
        match connection.entry {
            Some(entry) => self.tally.open[usize::from(entry)] -= 1,
            // The application's answers are no refusals unless an upgrade was asked for: they were
            // counted when that was known.
            None if matches!(reason, EndReason::Answered | EndReason::Refused(_)) => {}
            None if reason.explained().answer.is_some() && phase == Phase::Closed => {
                self.count_rejected(reason);
            }
            None => {}
        }
    }

    /// An upgrade gets another answer than 101.
    pub(crate) fn count_rejected(&mut self, reason: EndReason) {
        *self.tally.rejected.entry(reason.name()).or_default() += 1;
    }

    pub(crate) fn leave_rooms(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        for subscription in connection.subscriptions.drain(..) {
            let room = self.shards.unsubscribe(subscription);
            let core = self.id;
            self.outboxes.push(Request::Leave { room, core });
        }
    }

    /// When a connection that closes now must be over.
    pub(crate) fn close_deadline_ms(&self) -> u64 {
        self.shared.now_ms() + ms(self.shared.config.timeouts.close)
    }
}

impl Connection {
    /// Wakes the actor, which finds the connection over.
    pub(crate) fn shut(&mut self) {
        self.stage = Stage::Over;
        self.attention.raise();
    }
}

/// What a request is told that cannot be served. Whoever may come again is told so.
fn refusal(reason: &EndReason) -> Answer {
    let unexplained = Said {
        status: 503,
        sentence: "The request cannot be served.",
    };
    let Said { status, sentence } = reason.explained().answer.unwrap_or(unexplained);
    let answer = Answer::text(status, sentence);
    match status {
        429 | 503 => answer.with("Retry-After", "1"),
        _ => answer,
    }
}
