//! Tests of sweeps: many whose time has come, and what arrives just before.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use codec::{Event, Limits};

use super::*;
use crate::{
    config::Config,
    connection::{Heartbeat, Last, Stage},
    end::EndReason,
    fixture::{ROOM, act, at, configure, control, enter, on_each_driver, open, say, upgrade},
    reactor::{attend, flush},
};

#[test]
fn many_whose_time_has_come_are_reset_over_several_turns() {
    const MANY: usize = 2 * bounds::DUE + 1;
    on_each_driver(async |core| {
        for _ in 0..MANY {
            let state = &mut *core.state.borrow_mut();
            let (key, _) = open(state);
            at(state, key).stage = Stage::Closing {
                deadline_ms: 0,
                last: Last::PeerClose,
            };
        }
        let sweeping = core.clone();
        let now = Now { ns: 0, ms: 1 };
        monoio::spawn(async move { sweeping.sweep(now, 0).await });
        let over = || {
            let state = core.state.borrow();
            let all = state.connections.iter();
            all.filter(|it| matches!(it.stage, Stage::Over)).count()
        };
        let mut before = 0;
        for _ in 0..MANY {
            core.turnstile.pass().await;
            let in_turn = over() - before;
            assert!(in_turn <= bounds::DUE, "{in_turn} in one turn");
            before += in_turn;
        }
        assert_eq!(before, MANY);
    });
}

#[test]
fn subscriber_that_a_crowd_has_left_alone_is_still_sent_its_room() {
    on_each_driver(async |core| {
        let mut crowd = Vec::new();
        for _ in 0..400 {
            let state = &mut *core.state.borrow_mut();
            let (key, peer) = open(state);
            enter(state, key, ROOM);
            crowd.push((key, peer));
        }
        let (_, mut peer) = crowd.swap_remove(300);
        for (key, _) in crowd {
            core.state.borrow_mut().remove(key, Now::default());
        }
        core.sweep(Now::default(), 0).await;
        let state = &mut *core.state.borrow_mut();
        assert!(state.parts.rooms.shards.compact_next().is_none());
        say(state, ROOM, 10);
        while state.flush() {}
        peer.read_exact(&mut [0; 10]).unwrap();
    });
}

/// Sweeps when the time of a pong has come that has arrived, or not, and was not read yet.
async fn sweep_at_the_deadline(core: &Rc<Core>, has_arrived: bool) -> Option<EndReason> {
    let payload = *b"ping";
    let (key, mut peer) = open(&mut core.state.borrow_mut());
    {
        let state = &mut *core.state.borrow_mut();
        let connection = at(state, key);
        upgrade(connection);
        let deadline_ms = 1000;
        connection.stage = Stage::Open {
            heartbeat: Heartbeat::PongBy {
                deadline_ms,
                payload,
            },
        };
        core.poller.watch(&connection.socket, key).unwrap();
    }
    if has_arrived {
        peer.write_all(&control(10, &payload)).unwrap();
    }
    let now = Now { ns: 0, ms: 1000 };
    core.sweep(now, 999).await;
    let state = core.state.borrow();
    state.connections.get(key).and_then(|it| it.rare.end())
}

#[test]
fn what_has_arrived_is_read_before_a_deadline_is_acted_on() {
    on_each_driver(async |core| {
        // Waits for attention.
        monoio::spawn(attend::run(core.clone()));
        core.turnstile.pass().await;
        assert_eq!(sweep_at_the_deadline(&core, true).await, None);
        let end = sweep_at_the_deadline(&core, false).await;
        assert_eq!(end, Some(EndReason::PongTimeout));
    });
}

#[test]
fn connection_whose_time_was_put_off_since_the_look_stays() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open(state);
        at(state, key).stage = Stage::Handshake { deadline_ms: 0 };
        let now = Now { ns: 0, ms: 1 };
        let mut sweep = state.begin_sweep(now, 1);
        assert!(!state.look(&mut sweep, now));
        assert_eq!(sweep.due, [key]);
        let heartbeat = Heartbeat::PingAt(u64::MAX);
        at(state, key).stage = Stage::Open { heartbeat };
        state.carry_out(&sweep.due, sweep.time);
        assert!(matches!(at(state, key).stage, Stage::Open { .. }));
        assert_eq!(at(state, key).rare.end(), None);
    });
}

/// A connection whose socket is full, with no capacity left for what its protocol owes: a pong.
fn clog(state: &mut State) -> (ConnectionKey, TcpStream) {
    let (key, peer) = open(state);
    upgrade(at(state, key));
    *at(state, key).out.queue.direct() = vec![0x82; 16 << 20];
    act(state, key, |actor| actor.transmit());
    assert!(at(state, key).out.queue.sending.is_blocked());
    at(state, key).out.queue.direct().shrink_to_fit();
    act(state, key, |_| ());
    let limits = Limits::default();
    let connection = state.connections.get_mut(key).unwrap();
    let inflater = &mut state.inbound.inflater;
    let mut ping = control(9, b"owed");
    let step = connection.protocol.receive(&mut ping, &limits, inflater);
    assert!(matches!(step.event, Some(Event::Ping(_))));
    (key, peer)
}

#[test]
fn sweep_that_exceeds_the_bound_on_queues_is_followed_by_a_look_at_it() {
    on_each_driver(async |core| {
        monoio::spawn(flush::run(core.clone()));
        core.turnstile.pass().await;
        let (key, _peer) = clog(&mut core.state.borrow_mut());
        {
            let state = &mut *core.state.borrow_mut();
            let config = Config {
                send_queues_bytes_max: state.parts.queues_bytes(),
                ..Config::default()
            };
            configure(state, config);
            assert!(state.parts.may_hold(0) && !state.parts.may_hold(1));
        }
        core.sweep(Now::default(), 0).await;
        core.turnstile.pass().await;
        let state = &mut *core.state.borrow_mut();
        assert_eq!(at(state, key).rare.end(), Some(EndReason::QueuesFull));
        assert!(state.parts.may_hold(0));
    });
}
