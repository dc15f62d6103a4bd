//! Counts the memory that is held for one connection, behind everything that happens to it.
//!
//! A handshake reserves what compression contexts may take by itself, and a connection's removal gives back
//! what was counted.

use super::{Actor, Connection, GoesOn, Memberships, Parts, Stage};
use crate::{
    memory::{Account, Holding},
    out::Remainder,
    rooms::{Membership, Ticket},
};

impl Actor<'_> {
    /// Brings the ledger up to date. Called behind everything that happens to a connection, so that
    /// nothing else has to remember it.
    pub(crate) fn recount(&mut self) {
        let now = self.connection.holding();
        let rare = &mut self.connection.rare;
        let mut counted = rare.counted();
        self.parts.memory.replace(&mut counted, now);
        rare.set_counted(counted);
        rare.tidy();
    }
}

impl Connection {
    /// Bytes of memory that are held for it now.
    pub(super) fn holding(&self) -> Holding {
        Holding {
            queues: self.waiting_bytes(),
            unfinished: self.protocol.unfinished_bytes()
                + self.rare.leftover_held_bytes()
                + self.socket.partial_record_bytes()
                + self.rooms.held_bytes()
                + self.session_bytes(),
            contexts: self.rare.counted().contexts,
        }
    }

    /// What the session keeps of what it was handed, or what is kept until it is decided.
    fn session_bytes(&self) -> usize {
        if let Stage::Deciding(deciding) = &self.stage {
            return deciding.decision.held_bytes();
        }
        match (self.out.goes_on, &self.session) {
            (GoesOn::Later | GoesOn::Costly, Some(session)) => session.held_bytes(),
            _ => 0,
        }
    }

    /// What waits for the socket. A queue that will be empty at the end of the turn does not count.
    fn waiting_bytes(&self) -> usize {
        let is_closing = matches!(
            self.stage,
            Stage::Finishing { .. } | Stage::Closing { .. } | Stage::Over
        );
        let own = match is_closing || self.out.queue.sending.is_behind() {
            true => self.out.queue.held_bytes(),
            false => 0,
        };
        own + self.socket.unsent_held_bytes()
    }
}

impl Parts {
    /// This core's share of what may wait for peers, in bytes.
    pub(crate) fn queues_bytes_max(&self) -> usize {
        self.config.send_queues_bytes_max / self.config.cores
    }

    /// Bytes that are held for peers now, those of rooms' logs included.
    pub(crate) fn queues_bytes(&self) -> usize {
        self.memory.held(Account::Queues) + self.rooms.shards.held_bytes()
    }

    /// Whether so many bytes more may be held for peers.
    pub(crate) fn may_hold(&self, bytes: usize) -> bool {
        self.queues_bytes() + bytes <= self.queues_bytes_max()
    }

    /// What is kept for a connection that leaves a room: all that it has not had, unless there is no
    /// memory for it: it must be copied out of the shared log, so it counts once more.
    pub(crate) fn remainder_on_leaving(&self, rooms: &Memberships, room: Ticket) -> Remainder {
        match rooms.subscriptions.get(room) {
            Some(Membership::In(subscription))
                if self.may_hold(self.rooms.shards.owed_bytes(subscription)) =>
            {
                Remainder::All
            }
            _ => Remainder::HalfSent,
        }
    }
}
