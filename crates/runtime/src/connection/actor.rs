//! Gives a connection its turn: it processes leftover input first, then receives once, as long as its
//! share of the turn lasts.
//!
//! When it must pause, because its queue is full or its rooms cannot take more, what is left of that one
//! receive is kept, and the socket is not read until the pause is over. What is left is also kept, for the
//! next turn, when processing it costs more than the connection's share of one.

use std::{mem, net::SocketAddr};

use codec::Inflater;
use tracing::debug;

use super::{Arrival, Connection, GoesOn, Last, Leftover, Parts, Stage, Wait};
use crate::{
    admission::Header,
    clock::{Now, ms},
    end::EndReason,
    io::{Arrivals, Arrived, Received},
    out::Sending,
    turn::{Lane, Share, Work},
};

/// One connection, with what its core lends it, at one time.
pub(crate) struct Actor<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) parts: &'a mut Parts,
    pub(crate) now: Now,
}

/// What all connections of a core receive into, one after the other, so that an idle one holds no buffer.
pub(crate) struct Inbound {
    pub(crate) arrivals: Arrivals,
    /// Decompresses what connections receive, one message at a time.
    pub(crate) inflater: Inflater,
}

/// Where a connection stands after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing to do until something asks for attention.
    Wait,
    /// The socket may have more; the other connections have their turns before it is read again.
    More,
    /// The connection has used up its share, and received input is left for its next turn.
    ShareUsedUp,
    /// The connection has ended, and is to be removed.
    End,
}

/// How far one step through the received bytes came.
pub(super) enum Progress {
    /// So many bytes were processed, and the next step may find more in them or behind them.
    Consumed(usize),
    /// All bytes were processed.
    Exhausted,
    /// No step is possible for now.
    Wait(Wait),
    /// The session has costly work to do, for which there is a lane.
    Later,
}

/// How many received bytes were processed, and what follows.
struct Taken {
    bytes: usize,
    flow: Flow,
}

impl Actor<'_> {
    /// What kind of work the connection's next turn is.
    pub(crate) fn lane(&self) -> Lane {
        if self.connection.goes_on() == GoesOn::Costly {
            Lane::Handshake
        } else if !self.connection.has_pending_input() {
            Lane::Plain
        } else if self.connection.socket.is_handshaking() {
            Lane::Handshake
        } else if self.connection.has_compression() {
            Lane::Compression
        } else {
            Lane::Plain
        }
    }

    /// Asks for a turn, unless one is asked for already.
    pub(crate) fn raise(&mut self) {
        if !mem::replace(&mut self.connection.is_listed, true) {
            self.parts.attention.push(self.connection.key, Lane::Plain);
        }
    }

    /// A home has space for the requests that the connection has deferred.
    pub(crate) fn home_has_space(&mut self) {
        self.connection.rooms.home_has_space();
        self.raise();
    }

    /// One turn.
    pub(crate) fn attend(&mut self, inbound: &mut Inbound) -> Flow {
        if self.connection.goes_on() == GoesOn::Costly {
            // This is the lane for that.
            if let Some(wait) = self.must_wait() {
                self.connection.begin_pause(wait, self.now);
                return Flow::Wait;
            }
            self.go_on();
        }
        let goes_on = self.connection.pause.is_some()
            || self.connection.has_leftover_input()
            || self.connection.goes_on() != GoesOn::No;
        let is_measured = self.connection.has_compression();
        let mut share = Share::new(is_measured.then(|| self.parts.clock.ns()));
        if goes_on {
            let mut leftover = self.connection.rare.take_leftover();
            let Taken { bytes, flow } =
                self.take(&mut share, leftover.rest(), &mut inbound.inflater);
            leftover.advance(bytes);
            self.connection.rare.keep_leftover(leftover);
            if flow != Flow::More || share.is_used_up() {
                return flow;
            }
        }
        self.receive(&mut share, inbound)
    }

    fn receive(&mut self, share: &mut Share, inbound: &mut Inbound) -> Flow {
        let connection = &mut *self.connection;
        if matches!(connection.stage, Stage::Over) {
            return Flow::End;
        }
        if !connection.arrival.is_readable {
            return Flow::Wait;
        }
        let Inbound { arrivals, inflater } = inbound;
        let header = connection.rare.header().map(Header::missing_bytes);
        let received = match header {
            None => {
                let peer = connection.arrival.peer_stream();
                connection.socket.receive(arrivals, peer)
            }
            Some(bytes) => connection
                .socket
                .receive_before(&mut arrivals.plain[..bytes]),
        };
        connection.arrival.took(&received);
        self.note(&received);
        match received.arrived {
            Arrived::Plain(bytes) if header.is_some() => {
                self.take_proxy_header(&mut arrivals.plain[..bytes], inflater);
                self.flow()
            }
            Arrived::Plain(bytes) => {
                let received = &mut arrivals.plain[..bytes];
                let Taken { bytes, flow } = self.take(share, received, inflater);
                if bytes < received.len() {
                    let rest = Leftover::of(&received[bytes..]);
                    self.connection.rare.keep_leftover(rest);
                }
                flow
            }
            Arrived::PlainHttp(bytes) => {
                let request = &mut arrivals.plain[..bytes];
                self.answer_as_http(request, inflater, EndReason::PlainHttp);
                self.flow()
            }
            other => self.received_nothing(other),
        }
    }

    /// The receive brought no bytes for the protocol: none have arrived, or no more will.
    fn received_nothing(&mut self, arrived: Arrived) -> Flow {
        let peer = SocketAddr::from(self.connection.provenance.address);
        match arrived {
            Arrived::End => self.peer_ended(),
            Arrived::TlsFailed(error) => {
                let counters = &mut self.parts.counters;
                counters.tell_tls_failed(peer, &error, self.now.ms);
                self.give_up(EndReason::TlsFailed);
                self.flow()
            }
            Arrived::Failed(error) => {
                debug!(%peer, %error, "receiving failed");
                let reached = self.connection.reached();
                self.connection.end(EndReason::SocketFailed(reached));
                Flow::End
            }
            Arrived::Nothing | Arrived::Plain(_) | Arrived::PlainHttp(_) => Flow::Wait,
        }
    }

    /// Processes received bytes until the connection must pause or has used up its share of the turn.
    fn take(&mut self, share: &mut Share, received: &mut [u8], inflater: &mut Inflater) -> Taken {
        let mut bytes = 0;
        let flow = loop {
            let tally = &self.parts.counters.tally;
            let (published, payload) = (tally.published, tally.payload_received.bytes());
            let commands = tally.commands;
            let taken = match self.step(&mut received[bytes..], inflater) {
                Progress::Consumed(taken) => taken,
                Progress::Exhausted => {
                    bytes = received.len();
                    break self.flow();
                }
                Progress::Later => break Flow::ShareUsedUp,
                Progress::Wait(wait) => {
                    self.connection.begin_pause(wait, self.now);
                    break Flow::Wait;
                }
            };
            bytes += taken;
            let tally = &self.parts.counters.tally;
            let is_inflating = self.connection.protocol.is_inflating();
            let work = Work {
                bytes: taken,
                is_inflating,
                published: tally.published - published,
                commands: tally.commands - commands,
                payload_bytes: tally.payload_received.bytes() - payload,
            };
            share.pay(work, || self.parts.clock.ns());
            let goes_on = is_inflating || self.connection.goes_on() != GoesOn::No;
            if share.is_used_up() && (bytes < received.len() || goes_on) {
                break Flow::ShareUsedUp;
            }
        };
        Taken { bytes, flow }
    }

    /// Counts a receive. Any bytes postpone the pong's deadline; if TLS has produced an answer to them,
    /// the connection is listed for sending.
    fn note(&mut self, received: &Received) {
        let tally = &mut self.parts.counters.tally;
        tally.received_bytes += received.wire as u64;
        tally.tls_steps += u64::from(received.did_handshake_step);
        if let Some(secured) = received.secured {
            // A handshake is long beside a turn: its end is measured.
            let took_ns = self.parts.clock.ns() - self.connection.provenance.accepted_ns;
            tally.secured(secured, took_ns);
        }
        if received.wire > 0
            && let Stage::Open { heartbeat } = &mut self.connection.stage
        {
            heartbeat.postpone(self.now.ms + ms(self.parts.config.timeouts.pong));
        }
        if self.connection.socket.unsent_bytes() > 0 {
            self.queued();
        }
    }

    /// Ends a connection whose handshake deadline passed while it waited for its turn, without
    /// processing what it has sent. Returns whether it did.
    pub(crate) fn end_overdue_handshake(&mut self) -> bool {
        let overdue = self
            .connection
            .handshake_overdue(|by_ms| self.now.ms >= by_ms);
        overdue.is_some_and(|reason| {
            self.close(reason);
            true
        })
    }

    /// What follows when all received bytes are processed.
    pub(crate) fn flow(&self) -> Flow {
        match self.connection.stage {
            Stage::Over => Flow::End,
            _ if self.connection.arrival.is_readable => Flow::More,
            _ => Flow::Wait,
        }
    }

    /// A peer that has ended its stream may still read, and under TLS it is told that this is all. If its socket
    /// is full at this moment, that waits until the socket takes it.
    fn say_last(&mut self, reason: EndReason) -> Flow {
        let sent = self.connection.socket.say_last().unwrap_or_default();
        self.parts.counters.tally.sent_bytes += sent.wire as u64;
        if !sent.is_full {
            return Flow::End;
        }
        self.finish(Last::Nothing, reason);
        Flow::Wait
    }

    /// The peer has ended its stream. It may still read, so everything that it sent before is answered.
    fn peer_ended(&mut self) -> Flow {
        let connection = &mut *self.connection;
        let reason = match connection.stage {
            Stage::KeptAlive { .. } => EndReason::Answered,
            _ => EndReason::PeerGone(connection.reached()),
        };
        connection.end(reason);
        connection.arrival = Arrival::default();
        let is_owed = connection.is_owed(&self.parts.rooms.shards);
        match &mut connection.stage {
            Stage::Closing { last, .. } if connection.out.queue.sending != Sending::Idle => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Finishing { last, .. } => {
                *last = Last::Nothing;
                Flow::Wait
            }
            Stage::Open { .. } | Stage::Answering { .. } if is_owed => {
                self.finish(Last::Nothing, reason);
                Flow::Wait
            }
            _ => self.say_last(reason),
        }
    }
}

#[cfg(test)]
mod tests;
