//! Tests of the end of a turn: nobody waits for a large room.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use codec::Limits;
use hub::RoomId;

use super::*;
use crate::{
    clock::RecentMs,
    config::Config,
    connection::Leftover,
    end::EndReason,
    fixture::{ROOM, act, at, configure, control, enter, on_each_driver, open, say, upgrade},
    ids::ConnectionKey,
    out::{Sending, lag},
};

const OTHER: RoomId = RoomId { token: 2, ..ROOM };

fn members(state: &mut State, room: RoomId, many: usize) -> (Vec<ConnectionKey>, Vec<TcpStream>) {
    let all = (0..many).map(|_| {
        let (key, peer) = open(state);
        enter(state, key, room);
        (key, peer)
    });
    all.collect()
}

/// How many of these have been sent all that there is for them.
fn served(state: &mut State, members: &[ConnectionKey]) -> usize {
    let State {
        connections, parts, ..
    } = state;
    let has_all = |key: &&ConnectionKey| {
        let rooms = &connections.get(**key).unwrap().rooms.subscriptions;
        lag(rooms, &parts.rooms.shards) == 0
    };
    members.iter().filter(has_all).count()
}

#[test]
fn echo_waits_for_no_more_than_a_slice_of_a_large_room() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (members, _peers) = members(state, ROOM, 400);
        let (own, _peer) = open(state);
        say(state, ROOM, 10);
        let now = Now::default();
        // A turn that ends at its first look at the clock.
        let turn = |state: &mut State| {
            let meter = Meter::since(core.clock.ns(), core.clock, 0);
            state.visit_subscribers(&meter, now);
            state.send_own(&meter, now) || state.send_news(&meter, now)
        };
        for _ in 0..3 {
            assert!(turn(state), "there is more");
        }
        let before = served(state, &members);
        assert_eq!(before, 3 * bounds::SENDS_PER_LOOK);
        at(state, own).out.queue.direct().extend([0x82, 0]);
        act(state, own, |actor| actor.queued());
        while at(state, own).out.queue.sending != Sending::Idle {
            turn(state);
        }
        let meanwhile = served(state, &members) - before;
        assert!(meanwhile <= 2 * bounds::SLICE_SUBSCRIBERS, "{meanwhile}");
        while turn(state) {}
        assert_eq!(served(state, &members), 400);
    });
}

/// They may all have to be closed, which takes long.
#[test]
fn subscribers_whose_sockets_are_full_are_visited_a_slice_in_a_turn_too() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (members, _peers) = members(state, ROOM, 200);
        for key in &members {
            at(state, *key).out.queue.sending = Sending::Blocked {
                progress: RecentMs::at(0),
            };
        }
        say(state, ROOM, 10);
        let mut turns = 0;
        while state.parts.rooms.shards.has_news() {
            let meter = Meter::since(core.clock.ns(), core.clock, 0);
            state.flush_until(&meter, Now::default());
            turns += 1;
        }
        // Vacant slots are walked over, too.
        assert!(turns >= 200_usize.div_ceil(bounds::SLICE_SUBSCRIBERS));
    });
}

/// A turn that ends at its first look at the clock serves one list, and the next turn the other.
#[test]
fn room_does_not_wait_for_a_flood_of_echoes() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (members, _peers) = members(state, ROOM, 40);
        say(state, ROOM, 10);
        let mut turns = 0;
        while served(state, &members) < 40 {
            let (echo, _peer) = open(state);
            state.parts.out.own.extend([echo; 100]);
            state.flush_until(
                &Meter::since(core.clock.ns(), core.clock, 0),
                Now::default(),
            );
            turns += 1;
            assert!(turns <= 2 * 40, "the room waits");
        }
        state.parts.out.own.clear();
    });
}

/// A busy core ends each turn before its list is through, and something is said in every turn.
#[test]
fn fanout_is_counted_however_busy_the_core_is() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (_members, _peers) = members(state, ROOM, 40);
        let mut most = 0;
        for _ in 0..500 {
            say(state, ROOM, 1);
            state.flush_until(
                &Meter::since(core.clock.ns(), core.clock, 0),
                Now::default(),
            );
            most = most.max(state.finished.len());
        }
        // Those of one round, which takes some ten turns.
        assert!(most < 50, "{most} wait to be counted");
        assert!(state.parts.counters.tally.fanout.count() > 400);
    });
}

#[test]
fn rooms_with_news_are_sent_to_in_turns_and_each_subscriber_has_all_once() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (large, _peers) = members(state, ROOM, 200);
        let (small, _others) = members(state, OTHER, 100);
        say(state, ROOM, 10);
        say(state, OTHER, 10);
        let mut rooms = Vec::new();
        loop {
            let meter = Meter::since(core.clock.ns(), core.clock, u64::MAX);
            state.visit_subscribers(&meter, Now::default());
            let news = &state.parts.out.news;
            if news.is_empty() {
                break;
            }
            rooms.extend(news.iter().map(|key| large.contains(key)));
            assert!(!state.send_news(&meter, Now::default()));
        }
        assert_eq!(rooms.len(), 300);
        rooms.dedup();
        assert_eq!(rooms[..4], [true, false, true, false]);
        let served = (served(state, &large), served(state, &small));
        assert_eq!(served, (200, 100));
        let frames = 12 * 300;
        assert_eq!(state.parts.counters.tally.sent_bytes, frames);
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

#[test]
fn what_comes_during_a_long_list_does_not_wait_for_its_end() {
    on_each_driver(async |core| {
        let (member, _one) = open(&mut core.state.borrow_mut());
        let (holder, _other) = open(&mut core.state.borrow_mut());
        {
            let state = &mut *core.state.borrow_mut();
            state.parts.out.own = [member].repeat(400_000).into();
            state.begin_turn();
        }
        monoio::spawn(run(core.clone()));
        let rear = core.clone();
        monoio::spawn(async move { rear.rear.run().await });
        core.turnstile.pass().await;
        {
            let state = &mut *core.state.borrow_mut();
            state.parts.rooms.requests.ask_rooms(1, flume::bounded(1).0);
            let config = Config {
                unfinished_bytes_max: 1000,
                limits: Limits {
                    message_bytes_max: 100,
                    ..Limits::default()
                },
                ..Config::default()
            };
            configure(state, config);
            at(state, holder)
                .rare
                .keep_leftover(Leftover::of(&[0; 1001]));
            act(state, holder, |_| ());
        }
        for _ in 0..4 {
            core.turnstile.pass().await;
        }
        let state = &mut *core.state.borrow_mut();
        assert_eq!(state.depths.batches().0, 1);
        let end = at(state, holder).rare.end();
        assert_eq!(end, Some(EndReason::UnfinishedFull));
        assert!(!state.parts.out.own.is_empty(), "the list was too short");
        state.parts.out.own.clear();
    });
}

#[test]
fn pong_that_is_owed_leaves_with_what_another_try_at_a_full_socket_sends() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (key, mut peer) = open(state);
        upgrade(at(state, key));
        *at(state, key).out.queue.direct() = vec![0x82; 16 << 20];
        act(state, key, |actor| actor.transmit());
        assert!(at(state, key).out.queue.sending.is_blocked());
        let mut ping = control(9, b"owed");
        let limits = Limits::default();
        let connection = state.connections.get_mut(key).unwrap();
        let inflater = &mut state.inbound.inflater;
        let step = connection.protocol.receive(&mut ping, &limits, inflater);
        assert!(matches!(step.event, Some(codec::Event::Ping(_))));

        peer.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        let until = Instant::now() + Duration::from_secs(60);
        while at(state, key).out.queue.sending != Sending::Idle {
            assert!(Instant::now() < until, "{} bytes came", received.len());
            let _ = peer.read_to_end(&mut received);
            act(state, key, |actor| actor.retry());
        }
        let _ = peer.read_to_end(&mut received);
        assert!(received.ends_with(b"\x8a\x04owed"));
    });
}
