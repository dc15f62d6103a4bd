//! Tests of who is attended to, and in which order.

use std::{
    cell::RefCell,
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use codec::Kind;

use super::*;
use crate::{
    connection::{Answer, Application, AtCost, Leftover, Route, Stage},
    end::EndReason,
    fixture::{act, at, message, on_each_driver, open, open_with},
};

type Heard = Rc<RefCell<Vec<usize>>>;

/// Connections whose messages are noted by their numbers; each has received so many.
fn hearing(
    state: &mut State,
    connections: usize,
    messages: usize,
) -> (Vec<ConnectionKey>, Vec<TcpStream>, Heard) {
    let heard = Heard::default();
    let all = (0..connections).map(|number| {
        let hears = heard.clone();
        let (key, peer) = open_with(state, move |_, _| hears.borrow_mut().push(number));
        at(state, key)
            .rare
            .keep_leftover(Leftover::of(&message(b"x").repeat(messages)));
        act(state, key, |actor| actor.raise());
        (key, peer)
    });
    let (keys, peers) = all.collect();
    (keys, peers, heard)
}

/// The same without what a connection has after its own.
fn turns_of(heard: &Heard) -> Vec<usize> {
    let mut turns = heard.borrow().clone();
    turns.dedup();
    turns
}

#[test]
fn who_has_more_than_its_share_comes_back_behind_all_others() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        // A share is 127 messages of a byte.
        let (_, _peers, heard) = hearing(state, 3, 300);
        while state.attend() {}
        assert_eq!(heard.borrow().len(), 3 * 300);
        assert_eq!(turns_of(&heard), [0, 1, 2].repeat(3));
    });
}

#[test]
fn connection_is_on_the_list_at_most_once() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (keys, _peers, heard) = hearing(state, 1, 1);
        for _ in 0..3 {
            act(state, keys[0], |actor| actor.raise());
        }
        assert_eq!(state.parts.attention.len(Lane::Plain), 1);
        assert!(!state.attend());
        assert_eq!(heard.borrow().len(), 1);
        act(state, keys[0], |actor| actor.raise());
        assert_eq!(state.parts.attention.len(Lane::Plain), 1);
    });
}

#[test]
fn session_that_panics_closes_its_connection_and_everybody_else_goes_on() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (panics, _peer) = open_with(state, |_, outlet| {
            outlet.send(Kind::Text, b"this is half of it");
            panic!("as the test wants it");
        });
        at(state, panics)
            .rare
            .keep_leftover(Leftover::of(&message(b"x").repeat(2)));
        act(state, panics, |actor| actor.raise());
        let (keys, _peers, heard) = hearing(state, 2, 300);
        while state.attend() {}
        assert_eq!(heard.borrow().len(), 600);
        assert_eq!(at(state, panics).rare.end(), Some(EndReason::Panicked));
        assert!(matches!(at(state, panics).stage, Stage::Closing { .. }));
        assert_eq!(state.parts.counters.tally.panics, 1);
        let out = at(state, panics).out.queue.direct().clone();
        assert!(out.ends_with(b"\x88\x10\x03\xf3internal error"), "{out:?}");
        assert!(keys.iter().all(|key| at(state, *key).rare.end().is_none()));
    });
}

#[test]
fn connection_that_is_over_is_removed_in_its_next_turn() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (keys, _peers, heard) = hearing(state, 2, 1);
        act(state, keys[0], |actor| actor.abort(EndReason::QueuesFull));
        let held = |state: &State| state.connections.get(keys[0]).is_some();
        assert!(held(state));
        // A machine that is busy may cut a turn short.
        while state.attend() {}
        assert!(!held(state));
        assert_eq!(*heard.borrow(), [1], "what it had received is nobody's");
        // A late call for it meets nobody.
        state.attend_to(keys[0], Now::default(), false);
        assert_eq!(state.connections.len(), 1);
    });
}

#[test]
fn lane_of_costly_work_serves_one_at_least_and_goes_on_behind_it() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (keys, _peers, heard) = hearing(state, 3, 300);
        while state.parts.attention.pop(Lane::Plain).is_some() {}
        for key in &keys {
            state.parts.attention.push(*key, Lane::Compression);
        }
        state.attend_lane(Lane::Compression, 0, 0);
        assert_eq!(heard.borrow().len(), 0, "there is no time at all");
        // The first exceeds what there is, and is served all the same.
        for expected in [0, 1, 2] {
            heard.borrow_mut().clear();
            state.attend_lane(Lane::Compression, 0, 1);
            assert_eq!(turns_of(&heard), [expected]);
        }
        assert_eq!(state.parts.attention.len(Lane::Compression), 0);
        assert_eq!(state.parts.attention.len(Lane::Plain), 3, "they have more");
    });
}

#[test]
fn steps_that_come_to_nothing_are_bounded_in_number() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let peers: Vec<_> = (0..100)
            .map(|_| {
                let (key, peer) = open(state);
                state.parts.attention.push(key, Lane::Handshake);
                peer
            })
            .collect();
        state.attend_lane(Lane::Handshake, 0, bounds::HANDSHAKES_NS);
        let served = peers.len() - state.parts.attention.len(Lane::Handshake);
        assert!((1..=64).contains(&served), "{served}");
    });
}

#[test]
fn handshake_that_has_waited_beyond_its_time_ends_unread() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        for (now_ms, has_waited, ends) in
            [(999, true, false), (1000, false, false), (1000, true, true)]
        {
            let (key, _peer) = open(state);
            at(state, key).stage = Stage::Handshake { deadline_ms: 1000 };
            let now = Now {
                ns: now_ms * 1_000_000,
                ms: now_ms,
            };
            state.attend_to(key, now, has_waited);
            assert_eq!(
                at(state, key).rare.end().is_some(),
                ends,
                "{now_ms} {has_waited}"
            );
        }
    });
}

/// An application for which every request is costly to decide: it refuses them all, and counts them.
struct Costly(Arc<AtomicUsize>);

impl Application for Costly {
    fn protocols(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn route(&self, request: &codec::Request<'_>) -> Route {
        match request.wants_upgrade() {
            true => Route::OpenAtCost(self.at_cost()),
            false => Route::StreamAtCost(self.at_cost()),
        }
    }
}

impl Costly {
    fn at_cost<T>(&self) -> AtCost<T> {
        let decided = self.0.clone();
        AtCost {
            decide: Box::new(move || {
                decided.fetch_add(1, Ordering::Relaxed);
                Err(Answer::text(403, "no"))
            }),
            held_bytes: 1000,
        }
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn requests_that_are_costly_to_decide_wait_for_the_lane_of_that_or_until_their_time_is_over() {
    for request in [UPGRADE, GET] {
        on_each_driver(async |core| decide_at_cost(&mut core.state.borrow_mut(), request));
    }
}

/// Of three who ask, the first is decided, the second too late, and the third not yet.
fn decide_at_cost(state: &mut State, request: &[u8]) {
    let decided = Arc::new(AtomicUsize::new(0));
    state.parts.application = Arc::new(Costly(decided.clone()));
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let (key, peer) = open(state);
            let connection = at(state, key);
            connection.stage = Stage::Handshake { deadline_ms: 1000 };
            connection.rare.keep_leftover(Leftover::of(request));
            state.attend_to(key, Now::default(), false);
            assert!(matches!(at(state, key).stage, Stage::Deciding(_)));
            (key, peer)
        })
        .collect();
    assert_eq!(decided.load(Ordering::Relaxed), 0);
    let held = at(state, asked[0].0).rare.counted().unfinished;
    assert!(held >= 1000, "what is kept counts: {held}");
    let lane = |state: &mut State, at: usize| act(state, asked[at].0, |actor| actor.lane());
    assert_eq!(lane(state, 0), Lane::Handshake);
    for (key, _) in &asked {
        state.parts.attention.pop(Lane::Plain);
        state.parts.attention.push(*key, Lane::Handshake);
    }
    // The first exceeds what there is, and is served all the same.
    state.attend_lane(Lane::Handshake, 0, 1);
    assert_eq!(decided.load(Ordering::Relaxed), 1);
    let refused = EndReason::Answered;
    assert_eq!(at(state, asked[0].0).rare.end(), Some(refused));
    let late = Now {
        ns: 1_000_000_000,
        ms: 1000,
    };
    state.attend_to(asked[1].0, late, true);
    assert_eq!(decided.load(Ordering::Relaxed), 1, "its time was over");
    let overdue = EndReason::HandshakeTimeout;
    assert_eq!(at(state, asked[1].0).rare.end(), Some(overdue));
}
