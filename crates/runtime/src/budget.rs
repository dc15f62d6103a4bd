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

/// Connections that are closed in one turn, and those that are reset: to take down a socket and all
/// that the kernel holds for it takes some hundred microseconds, which others should not wait for.
const CLOSES_PER_TURN: usize = 128;

/// What closing may add until the core is below its budget again, as a part of that: who is in the middle of a room's frame
/// needs the rest of it, which was the room's before, so that the close frame can be understood.
const COURTESY: usize = 16;

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

    /// Whether so much more may be held.
    pub(crate) fn may_hold(&self, bytes: usize) -> bool {
        self.held_bytes() + bytes <= self.budget()
    }

    /// While more is held than is allowed, closes those with the most waiting; then, if what they may
    /// still be sent is too much, resets those that are closing. Returns whether to go on in the next
    /// turn, as there are more of them than this one has time for.
    pub(crate) fn keep_within_budget(&mut self) -> bool {
        if !self.is_over_budget(0) {
            self.courtesy_bytes = 0;
            return false;
        }
        self.close_slowest() || self.reset_closing()
    }

    /// Closes those with the most waiting, or resets them where closing would take more than it
    /// frees. What has been encrypted is not given up by closing: if it counted here, all would be
    /// closed, one after the other, and too much be held all the same. Returns whether there are more.
    fn close_slowest(&mut self) -> bool {
        let closing = self.connections.values().filter(|it| is_closing(it));
        let mut sealed = closing.map(sealed_bytes).sum();
        let mut slow = self.waiting(|it| matches!(it.stage, Stage::Open { .. }));
        let has_more = slow.len() > CLOSES_PER_TURN;
        slow.truncate(CLOSES_PER_TURN);
        while self.is_over_budget(sealed) && !slow.is_empty() {
            let rest = slow.split_off((slow.len() / LOOKS).max(1));
            for key in std::mem::replace(&mut slow, rest) {
                // What a queue alone held is free at once.
                if !self.is_over_budget(sealed) {
                    break;
                }
                let courtesy_bytes = self.courtesy_bytes + self.half_sent_bytes(key);
                if courtesy_bytes > self.budget() / COURTESY {
                    self.cut_off(key);
                } else {
                    self.courtesy_bytes = courtesy_bytes;
                    self.close(key, EndReason::QueuesFull);
                    sealed += self.connections.get(key).map_or(0, sealed_bytes);
                }
            }
            self.shards.trim();
        }
        has_more && self.is_over_budget(sealed)
    }

    fn reset_closing(&mut self) -> bool {
        let mut closing = self.waiting(is_closing).into_iter();
        for key in closing.by_ref().take(CLOSES_PER_TURN) {
            if !self.is_over_budget(0) {
                return false;
            }
            self.cut_off(key);
        }
        closing.len() > 0 && self.is_over_budget(0)
    }

    /// Resets a connection, and frees at once all that is held for it.
    fn cut_off(&mut self, key: ConnectionKey) {
        self.abort(key, EndReason::QueuesFull);
        self.leave_rooms(key);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.queue.clear();
            connection.socket.forget_unsent();
        }
        self.count_held(key);
    }

    fn half_sent_bytes(&self, key: ConnectionKey) -> usize {
        let connection = &self.connections[key];
        let subscriptions = &connection.subscriptions;
        connection
            .queue
            .half_sent_bytes(subscriptions, &self.shards)
    }

    /// Whether too much is held, even without so many bytes of it.
    fn is_over_budget(&self, without_bytes: usize) -> bool {
        self.held_bytes() - without_bytes > self.budget()
    }

    /// This core's share.
    fn budget(&self) -> usize {
        let config = &self.shared.config;
        config.send_queues_bytes_max / config.cores
    }

    /// The connections of a kind for whose sockets something waits that counts, those with the most
    /// first. Who keeps up is none of them, though its room may have news since it was last sent to;
    /// and the body of an answer is no reason.
    fn waiting(&self, is_of_kind: impl Fn(&Connection) -> bool) -> Vec<ConnectionKey> {
        let connections = self.connections.iter();
        let behind = connections.filter(|(_, it)| it.queue.sending.is_behind() && is_of_kind(it));
        let sizes = behind.map(|(key, it)| {
            let lags = it.subscriptions.iter().map(|s| self.shards.lag(*s));
            (it.held_bytes + lags.sum::<usize>(), key)
        });
        let mut waiting: Vec<_> = sizes.filter(|(bytes, _)| *bytes > 0).collect();
        waiting.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        waiting.into_iter().map(|(_, key)| key).collect()
    }
}

fn is_closing(connection: &Connection) -> bool {
    matches!(
        connection.stage,
        Stage::Finishing { .. } | Stage::Closing { .. }
    )
}

/// Memory of what has been encrypted, as far as it is counted.
fn sealed_bytes(connection: &Connection) -> usize {
    let held_bytes = connection.socket.unsent_held_bytes();
    held_bytes.min(connection.held_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hub::{CoreId, RoomId};

    use super::*;
    use crate::{
        config::Config,
        encoder::WireForm,
        fixture::{on_each_driver, open},
        send_queue::Sending,
    };

    const ROOM: RoomId = RoomId {
        home: CoreId(0),
        token: 1,
    };

    #[test]
    fn who_keeps_up_is_not_closed_for_news_that_were_not_sent_yet() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            state.shared.config = Arc::new(Config {
                send_queues_bytes_max: 250_000,
                ..Config::default()
            });
            let (member, _one) = open(state);
            let subscription = state.shards.subscribe(ROOM, WireForm::Plain, member);
            state.connections[member].subscriptions.push(subscription);
            let (slow, _other) = open(state);
            let queue = &mut state.connections[slow].queue;
            queue.direct = vec![0x82; 100_000];
            queue.sending = Sending::Blocked { progress_ms: 0 };
            state.count_held(slow);
            let is_open =
                |state: &State, key| matches!(state.connections[key].stage, Stage::Open { .. });
            let frame = vec![0; 130_000];
            state
                .shards
                .append(ROOM, |_, log| log.append([&frame, &[]]));
            state.keep_within_budget();
            assert!(is_open(state, slow), "it is not too much yet");
            state
                .shards
                .append(ROOM, |_, log| log.append([&frame[..60_000], &[]]));
            assert!(state.is_over_budget(0));
            state.keep_within_budget();
            assert!(is_open(state, member) && !is_open(state, slow));
        });
    }

    #[test]
    fn many_who_must_go_are_closed_over_several_turns() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            state.shared.config = Arc::new(Config {
                send_queues_bytes_max: 50 * 10_000,
                ..Config::default()
            });
            let peers: Vec<_> = (0..400)
                .map(|_| {
                    let (slow, peer) = open(state);
                    let queue = &mut state.connections[slow].queue;
                    queue.direct = vec![0x82; 10_000];
                    queue.sending = Sending::Blocked { progress_ms: 0 };
                    state.count_held(slow);
                    peer
                })
                .collect();
            let open = |state: &State| {
                let all = state.connections.values();
                all.filter(|it| matches!(it.stage, Stage::Open { .. }))
                    .count()
            };
            let mut left = vec![open(state)];
            while state.keep_within_budget() {
                left.push(open(state));
            }
            left.push(open(state));
            assert_eq!(left[..3], [400, 272, 144]);
            assert!((1..=50).contains(left.last().unwrap()), "{left:?}");
            assert!(!state.is_over_budget(0));
            drop(peers);
        });
    }
}
