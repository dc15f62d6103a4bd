//! The ways in which a connection ends, and what is undone behind it.
//!
//! | Way | For | The peer sees | Stage |
//! |---|---|---|---|
//! | [`answer`](Actor::answer), [`refuse`](Actor::refuse) | a request | an HTTP answer | `Closing`, or `Answering` if the codec keeps the connection |
//! | [`close`](Actor::close) | any reason of the server's own | what its stage allows, by one of the ways below | |
//! | [`close_session`](Actor::close_session) | a WebSocket | what is queued, then a close frame | `Closing` |
//! | [`close_stream`](Actor::close_stream) | a stream | the last chunk, or its absence, or a reset | `Closing` |
//! | [`finish`](Actor::finish) | a peer that has said its last, or broke a rule | its own publications, what is queued, the answer to its close frame | `Finishing`, then `Closing` |
//! | [`give_up`](Actor::give_up) | TLS that cannot go on | TLS's alert, if there is one | `Closing` |
//! | [`abort`](Actor::abort), [`cut_off`](Actor::cut_off) | an end at once | a reset | `Over` |
//! | [`shut`](Actor::shut) | a connection for which nothing is left to do | the end of the stream | `Over` |

use std::{fmt::Display, net::SocketAddr};

use codec::{BodyFraming, CloseCode, HandshakeError, Inflater, Phase, ResponseHead};
use hub::PublishRefusal;
use tracing::{debug, info};

use super::{Actor, Answer, Client, Connection, Last, Linger, Parts, Stage, shown::Shown};
use crate::{
    admission::Network,
    clock::{Now, ms},
    end::{EndReason, Reached, Said},
    memory::Holding,
    out::Remainder,
    rooms::Membership,
};

/// The slowest pace at which a peer may read an answer.
const ANSWER_BYTES_PER_SECOND_MIN: u64 = 8 << 10;

impl Actor<'_> {
    /// Answers a request over HTTP; the connection closes when the answer has left, unless it is kept.
    pub(super) fn answer(&mut self, answer: Answer, reason: EndReason) {
        let mut deadline_ms = self.close_deadline_ms();
        let body = answer.body;
        let keep =
            answer.keep && !self.parts.is_draining && !self.parts.config.proxies.tell_in_requests();
        let framing = self.respond(answer.status, &answer.fields, Some(body.len()), keep);
        let connection = &mut *self.connection;
        if framing != BodyFraming::None {
            deadline_ms += body.len() as u64 * 1000 / ANSWER_BYTES_PER_SECOND_MIN;
            connection.out.queue.push_body(body);
        }
        if connection.protocol.phase() == Phase::Closed {
            return self.end_answered(deadline_ms, reason);
        }
        connection.stage = Stage::Answering { deadline_ms };
        self.queued();
    }

    /// Queues the head of an answer.
    pub(super) fn respond(
        &mut self,
        status: u16,
        fields: &[(&'static str, String)],
        content_length: Option<usize>,
        keep: bool,
    ) -> BodyFraming {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let head = ResponseHead {
            status,
            date: Some(self.parts.counters.date.at(self.now.ns)),
            fields: &fields,
            content_length,
            keep,
        };
        let connection = &mut *self.connection;
        let out = connection.out.queue.direct();
        connection.protocol.respond(&head, out)
    }

    /// Answers a request that broke a rule.
    pub(super) fn refuse_handshake(&mut self, error: HandshakeError, shown: Option<&Shown>) {
        let reason = EndReason::Protocol(error.into());
        self.tell_refused(reason, error.status(), shown);
        let connection = &mut *self.connection;
        let date = self.parts.counters.date.at(self.now.ns);
        let out = connection.out.queue.direct();
        connection.protocol.refuse(error, Some(date), out);
        let last = Last::PeerEnd(Linger::Fully);
        self.finish(last, reason);
    }

    /// Ends the connection as its stage allows: a WebSocket gets a close frame, a stream its last chunk, an
    /// unanswered request a 503 or 408, and one that has asked for nothing its end. A connection in
    /// `Finishing` stops waiting for its publications, except for a drain or its age. One in `Closing` is
    /// left alone.
    pub(crate) fn close(&mut self, reason: EndReason) {
        match self.connection.stage {
            Stage::Handshake { .. } if self.connection.socket.is_handshaking() => {
                self.give_up(reason);
            }
            // A peer that asked for nothing gets no answer, because it would match it to the first
            // request that it sends later.
            Stage::Handshake { .. } if self.connection.reached() == Reached::Nothing => {
                self.finish(Last::PeerEnd(Linger::Fully), reason);
            }
            Stage::Handshake { .. }
            | Stage::Deciding(_)
            | Stage::Receiving(_)
            | Stage::Joining(_) => {
                self.refuse(reason);
            }
            Stage::Answering { deadline_ms } => self.end_answered(deadline_ms, reason),
            Stage::KeptAlive { .. } => self.finish(Last::PeerEnd(Linger::Fully), reason),
            Stage::Open { .. } if self.connection.is_stream() => self.close_stream(reason),
            Stage::Open { .. } => self.close_session(reason),
            Stage::Finishing { .. } if matches!(reason, EndReason::Drained | EndReason::Aged) => {}
            Stage::Finishing { last, .. } => self.finish_now(last, reason),
            Stage::Closing { .. } | Stage::Over => {}
        }
    }

    /// Answers a request that cannot be served, or what was sent in its place.
    fn refuse(&mut self, reason: EndReason) {
        self.answer(refusal(&reason), reason);
    }

    /// Answers a peer that speaks HTTP where something else must come before it. Its request is looked
    /// at for the sake of its method alone.
    pub(super) fn answer_as_http(
        &mut self,
        request: &mut [u8],
        inflater: &mut Inflater,
        reason: EndReason,
    ) {
        let connection = &mut *self.connection;
        connection.socket.leave_tls();
        let limits = &self.parts.config.limits;
        connection.protocol.receive(request, limits, inflater);
        self.refuse(reason);
    }

    fn close_session(&mut self, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        self.leave_rooms(&reason);
        let connection = &mut *self.connection;
        let explained = reason.explained();
        let session = connection.session.as_ref();
        let own = session.and_then(|session| session.close_code(&reason));
        if let Some((code, text)) = own.or(explained.code.map(|code| (code, explained.text))) {
            let out = connection.out.queue.direct();
            let is_sent = connection.protocol.close(code, text, out);
            self.parts.counters.tally.frames_sent.close += u64::from(is_sent);
        }
        connection.end(reason);
        let last = Last::PeerClose;
        connection.stage = Stage::Closing { deadline_ms, last };
        self.raise();
        self.queued();
    }

    /// Leaves all rooms. Messages that are on this core already are still sent, unless slowness is the reason for
    /// the end, TLS has failed, or the copies would exceed the memory bound.
    pub(super) fn leave_rooms(&mut self, reason: &EndReason) {
        let keeps_lag = !matches!(
            reason,
            EndReason::SendQueueFull | EndReason::WriteStalled | EndReason::TlsFailed
        );
        let subscriptions = &self.connection.rooms.subscriptions;
        let joined: Vec<_> = subscriptions
            .tickets()
            .filter_map(|ticket| match subscriptions.get(ticket)? {
                Membership::In(subscription) => Some(subscription),
                Membership::Asked | Membership::GivenUp => None,
            })
            .collect();
        let shards = &self.parts.rooms.shards;
        let owed = joined.iter().map(|room| shards.owed_bytes(*room)).sum();
        let remainder = match keeps_lag && self.parts.may_hold(owed) {
            true => Remainder::All,
            false => Remainder::HalfSent,
        };
        let connection = &mut *self.connection;
        let rooms = &mut self.parts.rooms;
        for room in joined {
            connection.out.queue.detach(room, &rooms.shards, remainder);
        }
        connection
            .rooms
            .leave_all(rooms, connection.key.on(self.parts.id));
    }

    /// The peer has said its last, or broke a rule: once its publications have been delivered, what
    /// is owed to it is queued, and the end comes when that has left.
    pub(super) fn finish(&mut self, last: Last, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        let connection = &mut *self.connection;
        if connection.rooms.window_bytes == 0 || matches!(connection.stage, Stage::Closing { .. }) {
            return self.finish_now(last, reason);
        }
        connection.end(reason);
        connection.stage = Stage::Finishing { deadline_ms, last };
    }

    /// As [`finish`](Self::finish), but without waiting for the connection's publications.
    pub(super) fn finish_now(&mut self, last: Last, reason: EndReason) {
        let deadline_ms = self.close_deadline_ms();
        self.leave_rooms(&reason);
        let connection = &mut *self.connection;
        let owed = connection.protocol.transmit(connection.out.queue.direct());
        let is_websocket = connection.provenance.entry.is_some();
        self.parts.counters.tally.transmitted(owed, is_websocket);
        connection.end(reason);
        connection.stage = Stage::Closing { deadline_ms, last };
        self.queued();
    }

    /// Ends a connection whose TLS cannot go on, or is not far enough to say anything over it: what
    /// TLS itself has to say leaves, and nothing else does. If TLS has nothing to say, the connection
    /// ends at once; waiting for the peer would keep a late handshake as long again.
    pub(super) fn give_up(&mut self, reason: EndReason) {
        let socket = &mut self.connection.socket;
        socket.give_up_tls();
        let last = match socket.unsent_bytes() {
            0 => Last::Nothing,
            _ => Last::PeerEnd(Linger::Fully),
        };
        self.finish_now(last, reason);
    }

    /// Ends the connection at once, with a reset.
    pub(crate) fn abort(&mut self, reason: EndReason) {
        self.connection.end(reason);
        self.connection.socket.reset_on_close();
        self.shut();
    }

    /// Ends the connection at once, with a reset, and frees everything that waits for it.
    pub(crate) fn cut_off(&mut self, reason: EndReason) {
        self.abort(reason);
        let connection = &mut *self.connection;
        let subscriber = connection.key.on(self.parts.id);
        connection
            .rooms
            .leave_all(&mut self.parts.rooms, subscriber);
        connection.out.queue.clear();
        connection.socket.forget_unsent();
    }

    /// The connection is over: its next turn removes it.
    pub(crate) fn shut(&mut self) {
        self.connection.stage = Stage::Over;
        self.raise();
    }

    /// Counts an upgrade that gets another answer than 101.
    pub(super) fn count_rejected(&mut self, reason: EndReason) {
        self.parts.counters.count_rejected(reason);
    }

    /// When a connection that closes now must be over.
    pub(super) fn close_deadline_ms(&self) -> u64 {
        self.now.ms + ms(self.parts.config.timeouts.close)
    }
}

impl Connection {
    /// Undoes everything that the connection has done to its core. What is left of it is the caller's to
    /// drop: its socket closes with it, and its session is the application's code.
    pub(crate) fn undo(&mut self, parts: &mut Parts, now: Now) -> EndReason {
        self.rooms
            .leave_all(&mut parts.rooms, self.key.on(parts.id));
        let beyond_bytes = parts.config.unfinished_bytes_max / parts.config.cores;
        for owed in self.rooms.take_owed() {
            if !parts.rooms.requests.push_owed(owed, beyond_bytes) {
                parts.counters.tally.unpublished.count(PublishRefusal::Busy);
            }
        }
        let mut counted = self.rare.counted();
        parts.memory.replace(&mut counted, Holding::default());
        if let Some(user) = self.rooms.user() {
            parts.users.leave(user, self.key);
        }
        parts.admission.leave(self.provenance.admitted);
        let peer = SocketAddr::from(self.provenance.address);
        if (self.provenance.client == Client::Known { is_counted: true })
            && let Some(network) = Network::of(peer.ip())
        {
            parts.admission.addresses.leave(network, now.ns);
        }
        let gone = EndReason::PeerGone(self.reached());
        let reason = self.rare.end().unwrap_or(gone);
        parts.counters.count_end(self, reason);
        debug!(%peer, reason = reason.name(), "connection ended");
        parts.counters.tell_end(self, reason, now.ms);
        reason
    }
}

impl super::Counters {
    /// Tells the operator of an end that was the server's doing, with what its peer was told.
    fn tell_end(&mut self, connection: &Connection, reason: EndReason, now_ms: u64) {
        let name = reason.name();
        if !reason.is_told_of() || !self.notices.admit(name, now_ms) {
            return;
        }
        let peer = SocketAddr::from(connection.provenance.address);
        let phase = connection.protocol.phase();
        let explained = reason.explained();
        if connection.provenance.entry.is_none() {
            let answer = explained.answer.filter(|_| phase == Phase::Closed);
            let status = answer.map(|said| said.status);
            info!(%peer, reason = name, status, "handshake refused");
        } else {
            let is_told = phase > Phase::Open && !connection.is_stream();
            let code = explained.code.filter(|_| is_told).map(CloseCode::get);
            info!(%peer, reason = name, code, "connection closed");
        }
    }

    /// Tells the operator why TLS with a peer failed, which the peer's own side may not show.
    pub(super) fn tell_tls_failed(&mut self, peer: SocketAddr, error: &dyn Display, now_ms: u64) {
        let reason = EndReason::TlsFailed.name();
        match self.notices.admit(reason, now_ms) {
            true => info!(%peer, reason, %error, "TLS failed"),
            false => debug!(%peer, reason, %error, "TLS failed"),
        }
    }

    fn count_end(&mut self, connection: &Connection, reason: EndReason) {
        // A WebSocket that is reset at once gets no close code, nor does a stream at all.
        let phase = connection.protocol.phase();
        let is_websocket = connection.provenance.entry.is_some() && !connection.is_stream();
        let has_code = is_websocket && phase > Phase::Open;
        let session = connection.session.as_ref().filter(|_| has_code);
        let ending = match session.and_then(|session| session.close_code(&reason)) {
            Some(_) => reason.ending_of_session(),
            None => reason.ending(has_code),
        };
        *self.tally.ended.entry(ending).or_default() += 1;
        match connection.provenance.entry {
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

    fn count_rejected(&mut self, reason: EndReason) {
        *self.tally.rejected.entry(reason.name()).or_default() += 1;
    }
}

/// The answer to a request that cannot be served. If it may be served later, the answer says so.
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
