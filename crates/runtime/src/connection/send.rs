//! Sending what waits for one connection: planned by its queue, sent by its socket, settled by both.

use std::{io, net::SocketAddr, time::Duration};

use smallvec::SmallVec;
use tracing::debug;

use super::{Actor, Lag, Last, LeftReason, Linger, SessionEvent, Stage, Wait};
use crate::{
    clock::ms,
    end::EndReason,
    out::{Plan, Remainder, Sending},
    rooms::{Membership, Subscription, Ticket},
    turn::bounds,
};

/// For how long what a peer sends behind its close frame is discarded. A socket that is closed while
/// something still arrives resets the connection, and the peer may not have read the answer by then.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection's sends came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transmitted {
    /// How many bytes the kernel accepted.
    sent: usize,
    remaining: Remaining,
}

/// What is left to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    /// Nothing.
    Nothing,
    /// A part of an answer's body, for the next turn.
    NextTurn,
    /// Something, and the socket is full.
    Blocked,
}

impl Actor<'_> {
    /// Something was queued for the connection: puts it on its core's list of connections with something
    /// to send, unless it is there or its socket is full.
    pub(crate) fn queued(&mut self) {
        let connection = &mut *self.connection;
        if connection.out.queue.sending.pend() {
            self.parts.out.push(connection.key);
        } else if connection.out.queue.sending.is_blocked() {
            self.parts.out.has_laggards = true;
        }
    }

    /// Sends what waits. If the socket is full, the connection's lag is checked against its bound.
    pub(crate) fn transmit(&mut self) {
        if self.connection.out.queue.sending.is_blocked() {
            return self.fell_behind();
        }
        self.queue_owed();
        let transmitted = match self.send_all() {
            Ok(transmitted) => transmitted,
            Err(error) => return self.sending_failed(&error),
        };
        self.parts.counters.tally.sent_bytes += transmitted.sent as u64;
        let queue = &mut self.connection.out.queue;
        match transmitted.remaining {
            Remaining::Nothing => self.emptied(),
            Remaining::NextTurn => {
                queue.sending = Sending::Pending;
                self.parts.out.later.push_back(self.connection.key);
            }
            Remaining::Blocked => {
                queue.sending.block(transmitted.sent > 0, self.now.ms);
                queue.shrink();
                self.fell_behind();
            }
        }
        self.count_conflation();
    }

    /// Tries a full socket again, because the kernel reports it writable only when a third of its buffer
    /// is free.
    pub(crate) fn retry(&mut self) {
        if self.connection.out.queue.sending.unblock() {
            self.transmit();
        }
    }

    /// Queues what the protocol owes the peer. Its answer to a close frame stays behind all that is
    /// still to be delivered.
    fn queue_owed(&mut self) {
        let connection = &mut *self.connection;
        if !matches!(connection.stage, Stage::Finishing { .. }) {
            let owed = connection.protocol.transmit(connection.out.queue.direct());
            let is_websocket = connection.provenance.entry.is_some();
            self.parts.counters.tally.transmitted(owed, is_websocket);
        }
    }

    /// Sends what waits. If the connection is closing and nothing is left, sends TLS's close_notify too.
    fn send_all(&mut self) -> io::Result<Transmitted> {
        let transmitted = self.send_queue()?;
        let is_last = matches!(
            self.connection.stage,
            Stage::Closing {
                last: Last::Nothing | Last::PeerEnd(_),
                ..
            }
        );
        if transmitted.remaining != Remaining::Nothing || !is_last {
            return Ok(transmitted);
        }
        let last = self.connection.socket.say_last()?;
        Ok(Transmitted {
            sent: transmitted.sent + last.wire,
            remaining: match last.is_full {
                true => Remaining::Blocked,
                false => Remaining::Nothing,
            },
        })
    }

    /// Sends what waits, in as few calls as possible: one, but for very many rooms, or for more than is
    /// encrypted at a time.
    fn send_queue(&mut self) -> io::Result<Transmitted> {
        let connection = &mut *self.connection;
        let queue = &mut connection.out.queue;
        let subscriptions = &mut connection.rooms.subscriptions;
        let shards = &mut self.parts.rooms.shards;
        let (mut all_sent, mut all_taken) = (0, 0);
        queue.refill(subscriptions, shards);
        loop {
            let Plan { runs, offered } = queue.plan(subscriptions, shards);
            let sealing = &mut self.parts.out.sealing;
            let sent = connection.socket.send(&runs, sealing)?;
            drop(runs);
            all_sent += sent.wire;
            all_taken += sent.taken;
            let is_empty = queue.settle(&offered, sent.taken, subscriptions, shards);
            let remaining = match () {
                () if sent.is_full => Remaining::Blocked,
                () if is_empty && !queue.refill(subscriptions, shards) => Remaining::Nothing,
                () if queue.has_body() && all_taken >= bounds::ANSWER_BYTES => Remaining::NextTurn,
                () => continue,
            };
            let sent = all_sent;
            return Ok(Transmitted { sent, remaining });
        }
    }

    fn sending_failed(&mut self, error: &io::Error) {
        debug!(peer = %SocketAddr::from(self.connection.provenance.address), %error, "sending failed");
        let reached = self.connection.reached();
        self.connection.end(EndReason::SocketFailed(reached));
        self.shut();
    }

    /// All that was queued has left.
    fn emptied(&mut self) {
        let connection = &mut *self.connection;
        connection.out.queue.sending = Sending::Idle;
        let direct = connection.out.queue.direct();
        self.parts.out.spare.take_back(direct);
        match connection.stage {
            Stage::Closing { last, .. } => self.sent_all(last),
            Stage::Answering { .. } => {
                self.answer_sent();
                self.resume_if_space();
            }
            _ => self.resume_if_space(),
        }
    }

    /// A closing connection has sent everything: it ends now, or waits for the peer's end of stream.
    fn sent_all(&mut self, last: Last) {
        match last {
            Last::Nothing => self.shut(),
            Last::PeerEnd(linger) => {
                let most = match linger {
                    Linger::Briefly => LINGER,
                    Linger::Fully => Duration::MAX,
                };
                let time = most.min(self.parts.config.timeouts.close);
                let time = self.connection.provenance.admitted.time(time);
                self.connection.stage = Stage::Closing {
                    deadline_ms: self.now.ms + ms(time),
                    last: Last::PeerEndAwaited(linger),
                };
                self.connection.socket.shut_sending();
            }
            Last::PeerClose | Last::PeerEndAwaited(_) => {}
        }
    }

    /// More waits than the socket takes now.
    pub(crate) fn fell_behind(&mut self) {
        self.parts.out.has_laggards = true;
        self.conflate();
        let bytes_max = self.parts.config.send_queue_bytes_max;
        let connection = &*self.connection;
        let is_over = connection.out.queue.is_over(
            bytes_max,
            connection.socket.unsent_bytes(),
            &connection.rooms.subscriptions,
            &self.parts.rooms.shards,
        );
        if !is_over {
            return self.resume_if_space();
        }
        let Some((room, subscription)) = self.slowest_room() else {
            return self.close(EndReason::SendQueueFull);
        };
        let session = self.connection.session.as_ref();
        let of_room = session.and_then(|session| session.lag(room));
        match of_room.unwrap_or(self.connection.out.lag) {
            Lag::Close => self.close(EndReason::SendQueueFull),
            Lag::Leave => self.left(room, LeftReason::Lagging),
            Lag::Skip => self.skip(room, subscription),
        }
    }

    /// Of rooms whose messages have keys, nothing but the latest of each waits for a full socket.
    fn conflate(&mut self) {
        let shards = &mut self.parts.rooms.shards;
        if shards.has_keys() {
            let connection = &mut *self.connection;
            let subscriptions = &mut connection.rooms.subscriptions;
            connection.out.queue.conflate(subscriptions, shards);
            self.leave_lost();
        }
    }

    /// Counts what was passed over, and leaves the rooms of which too much would have to be kept.
    fn count_conflation(&mut self) {
        let shards = &mut self.parts.rooms.shards;
        if shards.has_keys() {
            self.parts.counters.tally.conflated += shards.take_passed_over();
            self.leave_lost();
        }
    }

    fn leave_lost(&mut self) {
        let shards = &self.parts.rooms.shards;
        if shards.conflation().lost == 0 {
            return;
        }
        let subscriptions = &self.connection.rooms.subscriptions;
        let lost = subscriptions.with_news();
        let lost = lost.filter(|(_, room)| shards.is_lost(*room));
        let lost = lost.filter_map(|(slot, _)| subscriptions.ticket_in(slot));
        for room in lost.collect::<SmallVec<[_; 1]>>() {
            self.left(room, LeftReason::Lagging);
        }
    }

    /// The room in which the connection is the furthest behind.
    fn slowest_room(&self) -> Option<(Ticket, Subscription)> {
        let subscriptions = &self.connection.rooms.subscriptions;
        let shards = &self.parts.rooms.shards;
        let rooms = subscriptions.with_news();
        let (slot, slowest) = rooms.max_by_key(|(_, room)| shards.lag(*room))?;
        Some((subscriptions.ticket_in(slot)?, slowest))
    }

    /// Passes over all that the connection has not had of a room, but the rest of a frame of which a part
    /// has left; its session learns of it.
    fn skip(&mut self, room: Ticket, subscription: Subscription) {
        let connection = &mut *self.connection;
        let shards = &mut self.parts.rooms.shards;
        let queue = &mut connection.out.queue;
        queue.detach(subscription, shards, Remainder::HalfSent);
        let messages = shards.skip(subscription);
        self.parts.counters.tally.skipped += messages;
        let subscriptions = &mut connection.rooms.subscriptions;
        subscriptions.settle(room.slot(), false, false);
        self.handle(SessionEvent::Skipped { room, messages });
    }

    /// The connection leaves a room although its session did not ask for it; the session learns of it.
    pub(super) fn left(&mut self, room: Ticket, reason: LeftReason) {
        let connection = &mut *self.connection;
        let membership = connection.rooms.subscriptions.get(room);
        if let Some(Membership::In(_) | Membership::Asked) = membership {
            let subscriber = connection.key.on(self.parts.id);
            let remainder = match reason {
                LeftReason::Commanded => self.parts.remainder_on_leaving(&connection.rooms, room),
                LeftReason::Lagging | LeftReason::Lost(_) => Remainder::HalfSent,
            };
            connection.rooms.leave(
                room,
                remainder,
                &mut connection.out,
                &mut self.parts.rooms,
                subscriber,
            );
            let lost = &mut self.parts.counters.tally.rooms_lost;
            *match reason {
                LeftReason::Commanded => &mut lost.commanded,
                LeftReason::Lagging => &mut lost.lagging,
                LeftReason::Lost(_) => &mut lost.order,
            } += 1;
            self.handle(SessionEvent::Left { room, reason });
        }
    }

    fn resume_if_space(&mut self) {
        let waits = self
            .connection
            .pause
            .is_some_and(|it| it.wait == Wait::Queue);
        if waits && self.has_space() {
            self.raise();
        }
    }
}

#[cfg(test)]
mod tests;
