//! Tests of who goes when memory is short, and how many of them.

use std::{net::TcpStream, sync::Arc};

use codec::Limits;
use hub::Details;

use super::*;
use crate::{
    clock::RecentMs,
    connection::Leftover,
    fixture::{ROOM, act, at, configure, enter, keyed, on_each_driver, open, say},
    out::Sending,
    rooms::Membership,
};

fn is_open(state: &State, key: ConnectionKey) -> bool {
    let connection = state.connections.get(key);
    connection.is_some_and(|it| matches!(it.stage, Stage::Open { .. }))
}

fn open_of(state: &State, keys: &[ConnectionKey]) -> Vec<bool> {
    keys.iter().map(|key| is_open(state, *key)).collect()
}

fn count_open(state: &State) -> usize {
    let all = state.connections.iter();
    all.filter(|it| matches!(it.stage, Stage::Open { .. }))
        .count()
}

/// So much waits for a peer that does not read.
fn wait_for_peer(state: &mut State, key: ConnectionKey, bytes: usize) {
    let queue = &mut at(state, key).out.queue;
    *queue.direct() = vec![0x82; bytes];
    queue.sending = Sending::Blocked {
        progress: RecentMs::at(0),
    };
    act(state, key, |_| ());
}

fn slow(state: &mut State, bytes: usize) -> (ConnectionKey, TcpStream) {
    let (key, peer) = open(state);
    wait_for_peer(state, key, bytes);
    (key, peer)
}

fn allow_queues(state: &mut State, send_queues_bytes_max: usize) {
    let config = Config {
        send_queues_bytes_max,
        ..Config::default()
    };
    configure(state, config);
}

#[test]
fn who_keeps_up_is_not_closed_for_news_that_were_not_sent_yet() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        allow_queues(state, 250_000);
        let (member, _one) = open(state);
        enter(state, member, ROOM);
        let (slow, _other) = slow(state, 100_000);
        say(state, ROOM, 130_000);
        assert!(!state.keep_queues_within_bound(now));
        assert!(is_open(state, slow), "it is not too much yet");
        say(state, ROOM, 60_000);
        assert!(!state.parts.may_hold(0));
        assert!(!state.keep_queues_within_bound(now));
        assert!(is_open(state, member) && !is_open(state, slow));
        assert_eq!(at(state, slow).rare.end(), Some(EndReason::QueuesFull));
    });
}

/// Its own messages count little against its bound, or publishers that are slow to read could not publish much. But
/// the log keeps them for it.
#[test]
fn who_has_a_log_keep_its_own_messages_goes_before_those_who_have_less_waiting() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        allow_queues(state, 250_000);
        let (publisher, _one) = slow(state, 1);
        let ticket = enter(state, publisher, ROOM);
        let Some(Membership::In(subscription)) =
            at(state, publisher).rooms.subscriptions.get(ticket)
        else {
            panic!("it is in the room");
        };
        let own = Arc::<Details>::default();
        let shards = &mut state.parts.rooms.shards;
        shards.pass_over(subscription, own.clone());
        say(state, ROOM, 10);
        let (other, _two) = slow(state, 100_000);
        for _ in 0..20 {
            let shards = &mut state.parts.rooms.shards;
            shards.offer(ROOM, 0, Some(&own), |_, _, log| log.append([&[7; 10_000]]));
        }
        assert!(state.parts.rooms.shards.lag(subscription) < 100);
        state.keep_queues_within_bound(Now::default());
        assert!(is_open(state, other) && !is_open(state, publisher));
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

/// A look is a walk over all connections, which a core that is over its bound must not make in each turn.
#[test]
fn look_that_found_nobody_is_repeated_only_when_somebody_falls_behind() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        allow_queues(state, 50_000);
        let (member, _one) = open(state);
        enter(state, member, ROOM);
        say(state, ROOM, 60_000);
        let now = Now::default();
        assert!(!state.keep_queues_within_bound(now));
        let (slow, _other) = slow(state, 1_000);
        assert!(!state.keep_queues_within_bound(now));
        assert!(is_open(state, slow));
        act(state, slow, |actor| actor.fell_behind());
        state.keep_queues_within_bound(now);
        assert!(!is_open(state, slow));
    });
}

/// Its session may have left the room in which it lagged. What it says later waits behind the full socket.
#[test]
fn one_that_held_nothing_behind_a_full_socket_is_looked_at_once_something_waits_there() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        allow_queues(state, 50_000);
        let (member, _one) = open(state);
        enter(state, member, ROOM);
        say(state, ROOM, 60_000);
        let (slow, _other) = slow(state, 0);
        let now = Now::default();
        assert!(!state.keep_queues_within_bound(now));
        act(state, slow, |actor| {
            actor.connection.out.queue.direct().push(0x82);
            actor.queued();
        });
        state.keep_queues_within_bound(now);
        assert!(!is_open(state, slow) && is_open(state, member));
    });
}

#[test]
fn many_who_must_go_are_closed_over_several_turns_down_to_the_low_water_mark() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        let max = 50 * 10_000;
        allow_queues(state, max);
        let (keys, _peers): (Vec<_>, Vec<_>) = (0..400)
            .map(|number| slow(state, 10_000 + number))
            .collect();
        let mut left = vec![count_open(state)];
        while state.keep_queues_within_bound(now) {
            if left.len() == 1 {
                // Who are to go was decided in one look: the order stays, whatever becomes of them.
                wait_for_peer(state, keys[0], 20_000);
            }
            left.push(count_open(state));
        }
        left.push(count_open(state));
        let each = bounds::EVICTIONS;
        assert_eq!(left[..3], [400, 400 - each, 400 - 2 * each]);
        let held = state.parts.queues_bytes();
        let low = low_water(max);
        assert!((low - 20_000..=low).contains(&held), "{held} of {low}");
        // The least went last, so that they stay.
        let stay = *left.last().unwrap();
        let open = open_of(state, &keys);
        assert!(open[..stay].iter().all(|is_open| *is_open), "{left:?}");
        // What comes up to the bound closes nobody.
        let rest = max - held;
        let (filler, _peer) = slow(state, rest);
        assert!(!state.keep_queues_within_bound(now));
        assert_eq!(count_open(state), stay + 1);
        wait_for_peer(state, filler, rest + 1);
        state.keep_queues_within_bound(now);
        assert!(!is_open(state, filler));
    });
}

#[test]
fn laggard_counts_with_its_lag_and_frees_the_log() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        allow_queues(state, 100_000);
        let (lags, _one) = open(state);
        enter(state, lags, ROOM);
        at(state, lags).out.queue.sending = Sending::Blocked {
            progress: RecentMs::at(0),
        };
        let (slow, _other) = slow(state, 20_000);
        say(state, ROOM, 90_000);
        state.keep_queues_within_bound(Now::default());
        assert!(is_open(state, slow) && !is_open(state, lags));
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

#[test]
fn laggards_that_have_left_the_log_go_when_what_is_kept_for_them_is_too_much() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        allow_queues(state, 100_000);
        let set = |state: &mut State, key: usize| {
            let (details, value) = (keyed(&key.to_string()), [0x82; 2_000]);
            let shards = &mut state.parts.rooms.shards;
            shards.offer(ROOM, 0, Some(&details), |_, _, log| log.append([&value]));
        };
        let (lags, _peers): (Vec<_>, Vec<_>) = (0..3).map(|_| open(state)).collect();
        for key in &lags {
            enter(state, *key, ROOM);
        }
        for nth in 0..2 {
            set(state, nth);
        }
        for key in &lags {
            at(state, *key).out.queue.sending = Sending::Blocked {
                progress: RecentMs::at(0),
            };
            act(state, *key, |actor| actor.fell_behind());
        }
        assert_eq!(state.parts.rooms.shards.conflation().laggards, 3);
        for nth in 0..2_000 {
            set(state, nth % 40);
            assert!(!state.keep_queues_within_bound(now));
        }
        assert_eq!(
            count_open(state),
            3,
            "updates of the same keys take no more"
        );
        for nth in 40..80 {
            set(state, nth);
            while state.keep_queues_within_bound(now) {}
            assert!(state.parts.queues_bytes() <= 100_000);
        }
        assert_eq!(count_open(state), 0);
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

/// Connections that keep so many bytes each of a share of 100,000.
fn keep(state: &mut State, sizes: &[usize]) -> Vec<ConnectionKey> {
    configure(state, config(100_000, 10_000));
    let keep = |bytes: &usize| {
        let (key, _peer) = open(state);
        set_kept(state, key, *bytes);
        key
    };
    sizes.iter().map(keep).collect()
}

fn set_kept(state: &mut State, key: ConnectionKey, bytes: usize) {
    act(state, key, |actor| {
        drop(actor.connection.rare.take_leftover());
        let leftover = Leftover::of(&vec![0; bytes]);
        actor.connection.rare.keep_leftover(leftover);
    });
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
    assert_eq!(unfinished_share(&config(100_000, 10_000)), 100_000);
    assert_eq!(unfinished_share(&config(100_000, 40_000)), 120_000);
    let of_many = Config {
        cores: 4,
        ..config(100_000, 10_000)
    };
    assert_eq!(unfinished_share(&of_many), 30_000);
}

#[test]
fn what_was_freed_since_it_was_counted_closes_nobody() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let keys = keep(state, &[90_000, 20_000]);
        set_kept(state, keys[0], 0);
        assert!(!state.keep_unfinished_within_bound(Now::default()));
        assert_eq!(open_of(state, &keys), [true, true]);
        assert_eq!(state.parts.memory.held(Account::Unfinished), 20_000);
    });
}

#[test]
fn holders_of_the_most_are_closed_from_the_first_byte_beyond_the_share() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        for (sizes, expected, has_more) in [
            ([30_000, 39_999, 30_000], [true, true, true], false),
            ([30_000, 40_000, 30_000], [true, true, true], false),
            ([30_000, 40_001, 30_000], [true, false, true], true),
            ([60_000, 0, 90_000], [true, true, false], true),
            ([60_000, 50_001, 50_000], [false, false, true], true),
            // Down to seven eighths, so that the next byte is not the next look: one would be enough here.
            ([50_000, 50_001, 49_999], [false, false, true], true),
        ] {
            let keys = keep(state, &sizes);
            let held = |state: &State| state.parts.memory.held(Account::Unfinished);
            assert_eq!(held(state), sizes.iter().sum::<usize>());
            let goes_on = state.keep_unfinished_within_bound(now);
            assert_eq!(goes_on, has_more, "{sizes:?}");
            assert_eq!(open_of(state, &keys), expected, "{sizes:?}");
            // Who is closing takes what is kept in its next turn, and ignores it.
            for (key, _) in keys.iter().zip(expected).filter(|(_, is_open)| !is_open) {
                set_kept(state, *key, 0);
            }
            assert!(!state.keep_unfinished_within_bound(now));
            assert_eq!(open_of(state, &keys), expected, "{sizes:?}");
            keys.iter().for_each(|key| state.remove(*key, now));
            assert_eq!(held(state), 0);
        }
    });
}

#[test]
fn no_more_are_closed_in_one_turn_than_are_allowed() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        keep(state, &[10_000; 2 * bounds::EVICTIONS]);
        assert!(state.keep_unfinished_within_bound(Now::default()));
        assert_eq!(count_open(state), bounds::EVICTIONS);
    });
}
