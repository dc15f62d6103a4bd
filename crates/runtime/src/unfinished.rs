//! The memory of what has arrived and is not whole yet, and its bound.
//!
//! Counted are unfinished requests, messages and TLS records, and what a connection that is not read
//! keeps, by what they have allocated. Each core has an even share, or room for one message if that is
//! more. At the end of a turn that exceeds it the connections that hold the most are closed: one message
//! is within its own bound, but of thousands each may lack its last byte.

use std::cmp::Reverse;

use crate::{
    config::Config,
    connection::{Connection, ConnectionKey, Last, Linger, Stage},
    core::State,
    end::EndReason,
};

/// Connections that are closed in one turn.
const CLOSES_PER_TURN: usize = 128;

impl State {
    /// Counts what a connection holds after it has taken what arrived, or has ended.
    pub(crate) fn count_unfinished(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            let bytes = connection.unfinished_bytes_now();
            self.unfinished_bytes -= connection.unfinished_bytes;
            self.unfinished_bytes += bytes;
            connection.unfinished_bytes = bytes;
        }
    }

    /// While more is held than is allowed, closes those that hold the most. Returns whether to go on
    /// in the next turn: what some of them hold is only free when they have had one.
    pub(crate) fn keep_unfinished_within_bound(&mut self) -> bool {
        let share = share(&self.shared.config);
        if self.unfinished_bytes <= share {
            return false;
        }
        self.count_all_unfinished();
        let excess = self.unfinished_bytes.saturating_sub(share);
        let mut freed = 0;
        for (bytes, key) in self.releasable().into_iter().take(CLOSES_PER_TURN) {
            if freed >= excess {
                break;
            }
            freed += bytes;
            self.release(key);
        }
        freed > 0
    }

    /// Closes a connection. Under TLS it is told so at once, while rustls has what it may need of an
    /// unfinished record; then what was kept of that is freed, and nothing more is listened to.
    fn release(&mut self, key: ConnectionKey) {
        self.close(key, EndReason::UnfinishedFull);
        if let Some(connection) = self.connections.get_mut(key)
            && connection.socket.kept_held_bytes() > 0
        {
            if let Stage::Closing { last, .. } = &mut connection.stage
                && *last == Last::PeerClose
            {
                *last = Last::PeerEnd(Linger::Fully);
            }
            self.transmit(key);
        }
        if let Some(connection) = self.connections.get_mut(key)
            && connection.socket.kept_held_bytes() > 0
        {
            // Its socket is full: what could not be encrypted is not said.
            connection.socket.give_up_tls();
        }
        self.count_unfinished(key);
    }

    /// What is freed outside of a connection's turn may not have been counted.
    fn count_all_unfinished(&mut self) {
        let holders = self.connections.iter();
        let holders = holders.filter(|(_, it)| it.unfinished_bytes > 0);
        let holders: Vec<_> = holders.map(|(key, _)| key).collect();
        holders
            .into_iter()
            .for_each(|key| self.count_unfinished(key));
    }

    /// Connections that closing makes free something, and how much, those with the most first.
    fn releasable(&self) -> Vec<(usize, ConnectionKey)> {
        let connections = self.connections.iter();
        let sizes = connections.map(|(key, it)| (releasable_bytes(it), key));
        let mut releasable: Vec<_> = sizes.filter(|(bytes, _)| *bytes > 0).collect();
        releasable.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        releasable
    }
}

/// What one core may hold. A message of the most bytes must be able to arrive: one that came compressed
/// is a quarter longer at most, and its buffer grows by doubling.
fn share(config: &Config) -> usize {
    let share = config.unfinished_bytes_max / config.cores;
    share.max(3 * config.limits.message_bytes_max)
}

/// One that is closing already only awaits the end: a record of TLS that does not come to its own.
fn releasable_bytes(connection: &Connection) -> usize {
    match connection.stage {
        Stage::Handshake { .. } | Stage::Joining { .. } | Stage::Open { .. } => {
            connection.unfinished_bytes
        }
        Stage::Finishing { .. } | Stage::Closing { .. } => connection.socket.kept_held_bytes(),
        Stage::Over => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use codec::Limits;

    use super::*;
    use crate::{
        connection::Unread,
        fixture::{on_each_driver, open},
    };

    /// Connections that keep so many bytes each of a share of 100,000.
    fn keep(state: &mut State, sizes: &[usize]) -> Vec<ConnectionKey> {
        state.shared.config = Arc::new(config(100_000, 10_000));
        let keep = |bytes: &usize| {
            let (key, _peer) = open(state);
            state.connections[key].kept = Unread::of(&vec![0; *bytes]);
            state.count_unfinished(key);
            key
        };
        sizes.iter().map(keep).collect()
    }

    fn config(unfinished_bytes_max: usize, message_bytes_max: usize) -> Config {
        let limits = Limits {
            message_bytes_max,
            ..Limits::default()
        };
        Config {
            cores: 1,
            limits,
            unfinished_bytes_max,
            ..Config::default()
        }
    }

    #[test]
    fn share_has_room_for_a_message_of_the_most_bytes() {
        assert_eq!(share(&config(100_000, 10_000)), 100_000);
        assert_eq!(share(&config(100_000, 40_000)), 120_000);
        let of_many = Config {
            cores: 4,
            ..config(100_000, 10_000)
        };
        assert_eq!(share(&of_many), 30_000);
    }

    #[test]
    fn what_was_freed_since_it_was_counted_closes_nobody() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let keys = keep(state, &[90_000, 20_000]);
            state.connections[keys[0]].kept = Unread::default();
            assert!(!state.keep_unfinished_within_bound());
            assert_eq!(open_of(state, &keys), [true, true]);
            assert_eq!(state.unfinished_bytes, 20_000);
        });
    }

    fn open_of(state: &State, keys: &[ConnectionKey]) -> Vec<bool> {
        let is_open = |key| matches!(state.connections[key].stage, Stage::Open { .. });
        keys.iter().map(|key| is_open(*key)).collect()
    }

    #[test]
    fn holders_of_the_most_are_closed_from_the_first_byte_beyond_the_share() {
        on_each_driver(async |core| {
            for (sizes, expected, has_more) in [
                ([30_000, 39_999, 30_000], [true, true, true], false),
                ([30_000, 40_000, 30_000], [true, true, true], false),
                ([30_000, 40_001, 30_000], [true, false, true], true),
                ([60_000, 0, 90_000], [true, true, false], true),
                ([60_000, 50_001, 50_000], [false, false, true], true),
            ] {
                let state = &mut *core.state.borrow_mut();
                let keys = keep(state, &sizes);
                assert_eq!(state.unfinished_bytes, sizes.iter().sum::<usize>());
                assert_eq!(state.keep_unfinished_within_bound(), has_more, "{sizes:?}");
                assert_eq!(open_of(state, &keys), expected, "{sizes:?}");
                // Who is closing takes what is kept in its next turn, and ignores it.
                for (key, _) in keys.iter().zip(expected).filter(|(_, is_open)| !is_open) {
                    state.connections[*key].kept = Unread::default();
                    state.count_unfinished(*key);
                }
                assert!(!state.keep_unfinished_within_bound());
                assert_eq!(open_of(state, &keys), expected, "{sizes:?}");
                keys.iter().for_each(|key| drop(state.remove(*key)));
                assert_eq!(state.unfinished_bytes, 0);
            }
        });
    }

    #[test]
    fn no_more_are_closed_in_one_turn_than_are_allowed() {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            let keys = keep(state, &[10_000; 2 * CLOSES_PER_TURN]);
            assert!(state.keep_unfinished_within_bound());
            let open = open_of(state, &keys);
            let count = open.iter().filter(|is_open| **is_open).count();
            assert_eq!(count, CLOSES_PER_TURN);
        });
    }
}
