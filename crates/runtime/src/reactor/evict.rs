//! Keeps the memory that a core holds for its connections within its bounds.
//!
//! For slow peers: the queues that did not empty in their turn and the rooms' logs are counted, each log
//! once however many connections lag in it. Connections with the most waiting are reset, which frees it at
//! once.
//!
//! For requests, messages and TLS records of which a part has arrived: the connections that hold the most are
//! closed. One message is within its own bound, but each of thousands may lack its last byte.
//!
//! Each core has an even share of a bound, so that nothing on a message's path is shared. A share that is
//! exceeded is freed down to seven eighths of it, so that one overshoot is one look at all connections.

use std::cmp::Reverse;

use super::State;
use crate::{
    clock::Now,
    config::Config,
    connection::{Actor, Connection, Last, Linger, Stage},
    end::EndReason,
    ids::ConnectionKey,
    memory::{Account, low_water},
    out::kept_bytes,
    turn::bounds,
};

/// Candidates that one look takes in.
const CANDIDATES_MAX: usize = 1_024;

/// Resets for want of memory.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    /// Those that are to be reset until enough is free, the one with the most waiting last.
    keys: Vec<ConnectionKey>,
}

impl State {
    /// While more is held for peers than is allowed, resets those with the most waiting. Returns
    /// whether to go on in the next turn.
    pub(crate) fn keep_queues_within_bound(&mut self, now: Now) -> bool {
        let max = self.parts.queues_bytes_max();
        let mut has_batches = false;
        if self.evictions.keys.is_empty() {
            // If nobody is behind, what exceeds the bound is the rooms' news, which the next turns send.
            if self.parts.queues_bytes() <= max {
                return false;
            }
            // What rooms have gathered is held for nobody's slowness: it leaves before its time.
            let mut pace = self.delivery_pace(now);
            has_batches = self.let_batches_go(u64::MAX, &mut pace);
            if !self.parts.out.has_laggards {
                return has_batches;
            }
            self.evictions.keys = self.slowest();
            self.parts.out.has_laggards = !self.evictions.keys.is_empty();
        }
        for _ in 0..bounds::EVICTIONS {
            if self.parts.queues_bytes() <= low_water(max) {
                self.evictions.keys.clear();
            }
            let Some(key) = self.evictions.keys.pop() else {
                break;
            };
            self.act(key, now, |actor, _| actor.cut_off(EndReason::QueuesFull));
        }
        has_batches || !self.evictions.keys.is_empty()
    }

    /// The connections for which the most is kept, the largest last. Connections whose sockets are not full
    /// are left out, though their rooms may have news; the body of an answer does not count.
    fn slowest(&self) -> Vec<ConnectionKey> {
        let behind = self
            .connections
            .iter()
            .filter(|it| it.out.queue.sending.is_behind() && !matches!(it.stage, Stage::Over));
        let shards = &self.parts.rooms.shards;
        let sizes = behind.map(|it| {
            (
                it.rare.counted().queues + kept_bytes(&it.rooms.subscriptions, shards),
                it.key,
            )
        });
        let mut slowest = largest(sizes.collect());
        slowest.reverse();
        slowest.into_iter().map(|(_, key)| key).collect()
    }

    /// While more has come in part than may be held, closes those that hold the most. Returns whether to
    /// go on in the next turn: what some of them hold is only free when they have had one.
    pub(crate) fn keep_unfinished_within_bound(&mut self, now: Now) -> bool {
        let share = unfinished_share(&self.parts.config);
        let held = self.parts.memory.held(Account::Unfinished);
        if held <= share {
            return false;
        }
        let excess = held - low_water(share);
        let holders = self.connections.iter();
        let sizes = holders.map(|it| (releasable_bytes(it), it.key));
        let mut freed = 0;
        for (bytes, key) in largest(sizes.collect()).into_iter().take(bounds::EVICTIONS) {
            if freed >= excess {
                break;
            }
            freed += bytes;
            self.act(key, now, |actor, _| actor.release());
        }
        freed > 0
    }
}

impl Actor<'_> {
    /// Closes a connection for its unfinished input. Under TLS the close frame is encrypted first, because
    /// rustls needs the partial record for that; then the record is freed, and further input is ignored.
    fn release(&mut self) {
        self.close(EndReason::UnfinishedFull);
        if self.connection.socket.partial_record_bytes() > 0 {
            if let Stage::Closing { last, .. } = &mut self.connection.stage
                && *last == Last::PeerClose
            {
                *last = Last::PeerEnd(Linger::Fully);
            }
            self.transmit();
        }
        if self.connection.socket.partial_record_bytes() > 0 {
            // The socket is full, so the close frame cannot be encrypted and is dropped.
            self.connection.socket.give_up_tls();
        }
    }
}

/// The largest of these that are not empty, the largest first.
fn largest(mut sizes: Vec<(usize, ConnectionKey)>) -> Vec<(usize, ConnectionKey)> {
    sizes.retain(|(bytes, _)| *bytes > 0);
    let size = |one: &(usize, ConnectionKey)| Reverse(one.0);
    if sizes.len() > CANDIDATES_MAX {
        sizes.select_nth_unstable_by_key(CANDIDATES_MAX, size);
        sizes.truncate(CANDIDATES_MAX);
    }
    sizes.sort_unstable_by_key(size);
    sizes
}

/// What one core may hold of what has come in part. A message of the most bytes must be able to arrive:
/// one that came compressed is a quarter longer at most, and its buffer grows by doubling.
pub(super) fn unfinished_share(config: &Config) -> usize {
    let share = config.unfinished_bytes_max / config.cores;
    share.max(3 * config.limits.message_bytes_max)
}

/// What closing a connection frees. One that is closing already only awaits the end: what it holds is an
/// incomplete TLS record.
fn releasable_bytes(connection: &Connection) -> usize {
    match connection.stage {
        Stage::Handshake { .. }
        | Stage::Receiving(_)
        | Stage::Answering { .. }
        | Stage::KeptAlive { .. }
        | Stage::Deciding(_)
        | Stage::Joining(_)
        | Stage::Open { .. } => connection.rare.counted().unfinished,
        Stage::Finishing { .. } | Stage::Closing { .. } => connection.socket.partial_record_bytes(),
        Stage::Over => 0,
    }
}

#[cfg(test)]
mod tests;
