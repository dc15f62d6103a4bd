//! The memory that a core holds for peers that do not read as fast as they are sent to, and its bound.
//!
//! Counted are the queues that did not empty in their turn and the rooms' logs, each log once
//! however many lag in it, by what they have allocated. Each core has an even share of the budget,
//! so that nothing on a message's path is shared. At the end of a turn that exceeds it the
//! connections with the most waiting are closed, until the core is below it again.

use std::cmp::Reverse;

use crate::{
    connection::{Connection, ConnectionKey, Stage},
    core::State,
    end::EndReason,
};

/// Between two looks at what closing has freed, one of so many of the candidates is closed. A look
/// at a room's log goes through its subscribers: after each close it would take a square of them.
const LOOKS: usize = 64;

impl State {
    /// What is held now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.direct_held_bytes + self.shards.held_bytes()
    }

    /// Counts what a connection's queue holds after it has changed.
    pub(crate) fn count_held(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            let held_bytes = connection.held_bytes_now();
            self.direct_held_bytes -= connection.held_bytes;
            self.direct_held_bytes += held_bytes;
            connection.held_bytes = held_bytes;
        }
    }

    /// Closes those with the most waiting while more is held than is allowed; then, if what they
    /// may still be sent is too much, resets those that are closing.
    pub(crate) fn keep_within_budget(&mut self) {
        if !self.is_over_budget(0) {
            return;
        }
        let is_open = |connection: &Connection| matches!(connection.stage, Stage::Open { .. });
        let is_closing =
            |connection: &Connection| matches!(connection.stage, Stage::Closing { .. });
        // What has been encrypted is not given up by closing: if it counted here, all would be
        // closed, one after the other, and too much be held all the same.
        let closing = self.connections.values().filter(|it| is_closing(it));
        let mut sealed = closing.map(sealed_bytes).sum();
        let mut slow = self.waiting(is_open);
        while self.is_over_budget(sealed) && !slow.is_empty() {
            let rest = slow.split_off((slow.len() / LOOKS).max(1));
            for key in std::mem::replace(&mut slow, rest) {
                self.close(key, EndReason::QueuesFull);
                sealed += self.connections.get(key).map_or(0, sealed_bytes);
            }
            self.shards.trim();
        }
        for key in self.waiting(is_closing) {
            if !self.is_over_budget(0) {
                return;
            }
            self.abort(key, EndReason::QueuesFull);
            if let Some(connection) = self.connections.get_mut(key) {
                connection.queue.clear();
                connection.socket.forget_unsent();
            }
            self.count_held(key);
        }
    }

    /// Whether too much is held, even without so many bytes of it.
    fn is_over_budget(&self, sealed_bytes: usize) -> bool {
        let config = &self.shared.config;
        self.held_bytes() - sealed_bytes > config.send_queues_bytes_max / config.cores
    }

    /// The connections of a kind for which something waits, those with the most first.
    fn waiting(&self, is_of_kind: impl Fn(&Connection) -> bool) -> Vec<ConnectionKey> {
        let connections = self.connections.iter().filter(|(_, it)| is_of_kind(it));
        let sizes = connections.map(|(key, it)| {
            let bytes = it.queued_bytes(&self.shards);
            (bytes.max(it.held_bytes), key)
        });
        let mut waiting: Vec<_> = sizes.filter(|(bytes, _)| *bytes > 0).collect();
        waiting.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        waiting.into_iter().map(|(_, key)| key).collect()
    }
}

/// Memory of what has been encrypted, as far as it is counted.
fn sealed_bytes(connection: &Connection) -> usize {
    let held_bytes = connection.socket.unsent_held_bytes();
    held_bytes.min(connection.held_bytes)
}
