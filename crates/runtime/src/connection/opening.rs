//! How a session opens: its room is asked to take the connection in, and then the head of the answer leaves.

use std::{mem, net::SocketAddr};

use hub::Request as HubRequest;
use tracing::debug;

use super::{Actor, Command, Joining, OpeningHead, Stage, stage::Heartbeat};
use crate::{clock::ms, encoding::Context, end::EndReason, memory::contexts::Agreement};

impl Actor<'_> {
    /// Asks the session's room to take the connection in; without a room it opens at once.
    pub(super) fn join(&mut self, mut joining: Box<Joining>) {
        let Stage::Handshake { deadline_ms } = self.connection.stage else {
            return;
        };
        self.take_agreement(&joining);
        let room = joining.name.take();
        let connection = &mut *self.connection;
        if room.is_some() {
            joining.room = connection.rooms.room(1);
        }
        let ticket = joining.room;
        let terms = joining.terms.take();
        joining.deadline_ms = deadline_ms;
        connection.stage = Stage::Joining(joining);
        let requests = &mut self.parts.rooms.requests;
        match room.zip(ticket) {
            None => self.open(),
            Some((name, _)) if requests.is_full(requests.home(&name)) => {
                self.close(EndReason::JoinRefused);
            }
            Some((name, ticket)) => {
                connection.rooms.unanswered += 1;
                requests.push(HubRequest::Join {
                    name,
                    subscriber: connection.key.on(self.parts.id),
                    ticket: ticket.to_hub(0),
                    terms,
                });
            }
        }
    }

    /// Takes over what is agreed on the form of messages.
    fn take_agreement(&mut self, joining: &Joining) {
        let agreement = match joining.head {
            OpeningHead::WebSocket { agreement, .. } => agreement,
            OpeningHead::Stream { .. } => None,
        };
        let deflate = agreement.map(|agreement| agreement.deflate);
        let connection = &mut *self.connection;
        connection.out.form = joining.form;
        connection.out.lag = joining.lag;
        connection.out.pings = joining.pings;
        connection.out.set_context(Context::agreed(deflate));
        self.reserve_contexts(agreement);
    }

    /// Takes the memory into account that compression may need.
    pub(super) fn reserve_contexts(&mut self, agreement: Option<Agreement>) {
        let rare = &mut self.connection.rare;
        let mut counted = rare.counted();
        let mut held = counted;
        held.contexts = agreement.map_or(0, |it| it.deflate.contexts_bytes_max());
        self.parts.memory.replace(&mut counted, held);
        rare.set_counted(counted);
    }

    /// The session is in its room: sends the head of the answer, which is the 101 of a WebSocket.
    pub(super) fn open(&mut self) {
        let stage = mem::replace(&mut self.connection.stage, Stage::Over);
        let Stage::Joining(joining) = stage else {
            self.connection.stage = stage;
            return;
        };
        let Joining {
            protocol,
            session,
            head,
            ..
        } = *joining;
        let (heartbeat, agreement) = self.send_head(head);
        let connection = &mut *self.connection;
        connection.stage = Stage::Open { heartbeat };
        connection.session = Some(session);
        let entry = self.parts.protocols.iter().position(|p| *p == protocol);
        connection.provenance.entry = entry.and_then(|entry| u8::try_from(entry).ok());
        debug!(peer = %SocketAddr::from(connection.provenance.address), protocol, "connection opened");
        self.count_opened(entry, agreement);
        self.raise();
        self.queued();
        self.with_session(|session, outlet| session.opened(outlet));
        for command in self.connection.rare.take_early() {
            self.obey(Command::Hand(command));
        }
    }

    /// Queues the head of the answer. Returns how the connection is kept alive from now on, and what was
    /// agreed on with a WebSocket's peer.
    fn send_head(&mut self, head: OpeningHead) -> (Heartbeat, Option<Agreement>) {
        let interval_ms = ms(self.parts.config.timeouts.ping_interval);
        let token = self.connection.key.token();
        let first_ms = Heartbeat::first_ms(self.now.ms, interval_ms, token);
        match head {
            OpeningHead::WebSocket {
                subprotocol,
                accept,
                agreement,
            } => {
                let deflate = agreement.map(|agreement| agreement.deflate);
                let connection = &mut *self.connection;
                let out = connection.out.queue.direct();
                connection
                    .protocol
                    .accept(&accept, subprotocol, deflate, out);
                (Heartbeat::PingAt(first_ms), agreement)
            }
            OpeningHead::Stream {
                status,
                fields,
                keep_alive,
            } => {
                self.respond(status, &fields, None, false);
                (Heartbeat::of_stream(keep_alive, first_ms), None)
            }
        }
    }

    fn count_opened(&mut self, entry: Option<usize>, agreement: Option<Agreement>) {
        let tally = &mut self.parts.counters.tally;
        if let Some(agreement) = agreement {
            tally.deflate_agreed += 1;
            tally.takeovers_declined.add(agreement.declined);
        }
        if let Some(open) = entry.and_then(|entry| tally.open.get_mut(entry)) {
            *open += 1;
        }
        let accepted_ns = self.connection.provenance.accepted_ns;
        tally
            .handshake
            .record(self.now.ns.saturating_sub(accepted_ns));
    }
}
