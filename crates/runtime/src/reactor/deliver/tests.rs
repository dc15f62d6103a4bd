//! Tests of deliveries: into logs, parked, and to whom they answer.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hub::{LossReason, RoomName};

use super::*;
use crate::{
    connection::{Leftover, Stage},
    end::EndReason,
    fixture::{
        ROOM, act, asked, at, enter, lobby, on_each_driver, open, open_with, position,
        with_requests,
    },
    out::{Sending, lag},
};

const OTHER: RoomId = RoomId { token: 2, ..ROOM };

/// Four of them fill a room.
const LARGE: usize = 64 << 10;

/// Messages of a room that are filled with their offsets.
fn messages(room: RoomId, first: u64, many: u64, bytes: usize) -> Delivery {
    let record = |offset: u64| Record {
        tag: 1,
        payload: Bytes::from(vec![offset as u8; bytes]),
        details: None,
    };
    Delivery::Messages {
        room,
        epoch: hub::Epoch(1),
        first,
        records: (first..first + many).map(record).collect(),
        stamps: (0..many).collect(),
    }
}

/// Makes a delivery however long it takes.
fn deliver(state: &mut State, delivery: Delivery) {
    let meter = Meter::since(0, state.parts.clock, u64::MAX);
    let rest = state.deliver(delivery, &mut Pace::new(meter, 1), Now::default());
    assert!(rest.is_none());
}

fn lag_of(state: &mut State, key: ConnectionKey) -> usize {
    let subscriptions = &state.connections.get(key).unwrap().rooms.subscriptions;
    lag(subscriptions, &state.parts.rooms.shards)
}

/// Sends all that there is; returns the offsets of the large messages that the peer has received.
fn receive_all(state: &mut State, key: ConnectionKey, peer: &mut TcpStream) -> Vec<u8> {
    peer.set_nonblocking(true).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let mut received = Vec::new();
    loop {
        let has_more = state.flush();
        let _ = peer.read_to_end(&mut received);
        if !has_more && at(state, key).out.queue.sending == Sending::Idle {
            break;
        }
        assert!(Instant::now() < until, "{} bytes came", received.len());
        act(state, key, |actor| actor.retry());
    }
    let mut frames = received.chunks_exact(10 + LARGE);
    let offsets = frames
        .by_ref()
        .map(|frame| {
            assert_eq!(frame[..2], [0x82, 127]);
            assert!(frame[10..] == vec![frame[10]; LARGE]);
            frame[10]
        })
        .collect();
    assert!(frames.remainder().is_empty());
    offsets
}

fn holds(requests: &[Request]) -> Vec<(RoomId, bool)> {
    let holds = requests.iter().filter_map(|request| match request {
        Request::Hold { room, .. } => Some((*room, true)),
        Request::Resume { room, .. } => Some((*room, false)),
        _ => None,
    });
    holds.collect()
}

#[test]
fn room_beyond_its_bound_is_parked_and_held_and_all_others_go_on() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (member, _peer) = open_with(state, |_, _| {});
        let ticket = enter(state, member, ROOM);
        let (other, _other) = open(state);
        enter(state, other, OTHER);
        for offset in 1..=7 {
            deliver(state, messages(ROOM, offset, 1, LARGE));
        }
        assert_eq!(lag_of(state, member), 4 * (10 + LARGE));
        assert_eq!(holds(&asked(state, &mailbox)), [(ROOM, true)], "once");
        assert!(state.parts.rooms.shards.held_bytes() > 7 * LARGE);
        let parked = state.parts.rooms.shards.parked();
        assert_eq!(parked.rooms, 1);
        assert_eq!(parked.bytes, 3 * publication_bytes(LARGE));
        // Another room, its acknowledgements, and refusals of any room.
        deliver(state, messages(OTHER, 1, 1, 10));
        assert_eq!(lag_of(state, other), 12);
        let publication = at(state, other).rooms.publication(100);
        let published = |room| Delivery::Published {
            publisher: other.on(core.id),
            ticket: publication.to_hub(50),
            room,
            position: position(1),
            stamp: 0,
        };
        deliver(state, published(OTHER));
        assert_eq!(at(state, other).rooms.window_bytes, 50);
        // An acknowledgement stays behind the message itself.
        deliver(state, published(ROOM));
        assert_eq!(at(state, other).rooms.window_bytes, 50);
        let refused = Delivery::Unpublished {
            publisher: member.on(core.id),
            ticket: ticket.to_hub(0),
            reason: hub::PublishRefusal::Busy,
        };
        at(state, member).rooms.window_bytes = 1;
        deliver(state, refused);
        assert_eq!(at(state, member).rare.end(), Some(EndReason::RoomBusy));
        assert_eq!(state.parts.counters.tally.unpublished.busy, 1);
        // That has closed the member, which is sent all that its room had told before.
        assert_eq!(lag_of(state, member), 0);
        while state.flush() {}
        assert_eq!(holds(&asked(state, &mailbox)), [(ROOM, false)]);
        assert_eq!(at(state, other).rooms.window_bytes, 0);
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
        assert_eq!(state.parts.rooms.shards.parked().bytes, 0);
    });
}

#[test]
fn what_was_parked_is_sent_in_order_when_its_room_was_visited_and_its_home_goes_on() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (member, mut peer) = open(state);
        enter(state, member, ROOM);
        // A queue for all of it: nobody is too far behind.
        let mut config = (*state.parts.config).clone();
        config.send_queue_bytes_max = usize::MAX;
        crate::fixture::configure(state, config);
        for offset in 1..=20 {
            deliver(state, messages(ROOM, offset, 1, LARGE));
        }
        let offsets = receive_all(state, member, &mut peer);
        assert_eq!(offsets, (1..=20).collect::<Vec<u8>>());
        let holds = holds(&asked(state, &mailbox));
        assert_eq!(holds.first(), Some(&(ROOM, true)));
        assert_eq!(holds.last(), Some(&(ROOM, false)));
        assert!(!state.parts.rooms.shards.has_parked(ROOM));
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

/// A turn's time is used up at each look, of which there is one for each message.
fn in_a_hurry(state: &State) -> Pace {
    Pace::new(Meter::since(0, state.parts.clock, 0), 300)
}

#[test]
fn run_for_which_the_time_is_used_up_goes_on_in_the_next_turn() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (member, _peer) = open(state);
        enter(state, member, ROOM);
        let mut rest = Some(messages(ROOM, 1, 5, 100));
        let mut lags = Vec::new();
        while let Some(delivery) = rest {
            let mut pace = in_a_hurry(state);
            rest = state.deliver(delivery, &mut pace, Now::default());
            assert!(pace.is_used_up());
            lags.push(lag_of(state, member) / 102);
        }
        assert_eq!(lags, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn parked_run_for_which_the_time_is_used_up_goes_on_in_the_next_turn() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        let (member, _peer) = open_with(state, |_, _| {});
        enter(state, member, ROOM);
        deliver(state, messages(ROOM, 1, 4, LARGE));
        deliver(state, messages(ROOM, 5, 3, 100));
        assert_eq!(holds(&asked(state, &mailbox)), [(ROOM, true)]);
        let meter = Meter::since(0, core.clock, u64::MAX);
        state.visit_subscribers(&meter, now);
        let before = lag_of(state, member);
        let mut lags = Vec::new();
        while state.parts.rooms.shards.has_parked(ROOM) {
            let mut pace = in_a_hurry(state);
            state.unpark(&mut pace, now);
            lags.push((lag_of(state, member) - before) / 102);
        }
        assert_eq!(lags, [1, 2, 3]);
        assert_eq!(holds(&asked(state, &mailbox)).last(), Some(&(ROOM, false)));
        assert_eq!(state.parts.rooms.shards.parked().bytes, 0);
    });
}

#[test]
fn batches_that_wait_are_delivered_in_order_in_one_turn() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (member, _peer) = open(state);
        enter(state, member, ROOM);
        let (home, mailbox) = flume::unbounded();
        for offset in 1..=3 {
            home.send(vec![messages(ROOM, offset, 1, 100)]).unwrap();
        }
        let mut batch = VecDeque::new();
        while state.deliver_some(&mut batch, &mailbox) {}
        assert_eq!(lag_of(state, member), 3 * 102);
        assert_eq!(state.parts.counters.tally.deliveries.batches, 3);
    });
}

#[test]
fn run_that_is_larger_than_its_room_is_split() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (member, mut peer) = open(state);
        enter(state, member, ROOM);
        let mut config = (*state.parts.config).clone();
        config.send_queue_bytes_max = usize::MAX;
        crate::fixture::configure(state, config);
        deliver(state, messages(ROOM, 1, 10, LARGE));
        deliver(state, messages(ROOM, 11, 2, LARGE));
        assert_eq!(lag_of(state, member), 4 * (10 + LARGE));
        assert_eq!(state.parts.counters.tally.delivered, 4);
        assert_eq!(holds(&asked(state, &mailbox)), [(ROOM, true)]);
        let offsets = receive_all(state, member, &mut peer);
        assert_eq!(offsets, (1..=12).collect::<Vec<u8>>());
        assert_eq!(state.parts.counters.tally.delivered, 12);
        let holds = holds(&asked(state, &mailbox));
        assert_eq!(holds.last(), Some(&(ROOM, false)));
    });
}

#[test]
fn full_room_keeps_the_mailbox_of_deliveries_from_nothing() {
    on_each_driver(async |core| {
        let (mailbox, deliveries) = flume::bounded(4);
        let (member, _peer) = open(&mut core.state.borrow_mut());
        enter(&mut core.state.borrow_mut(), member, ROOM);
        monoio::spawn(run(core.clone(), deliveries));
        for offset in 1..=100 {
            let batch = vec![messages(ROOM, offset, 1, LARGE)];
            mailbox.send_async(batch).await.unwrap();
        }
        while !mailbox.is_empty() {
            core.turnstile.pass().await;
        }
        core.turnstile.pass().await;
        let state = &mut *core.state.borrow_mut();
        assert_eq!(lag_of(state, member), 4 * (10 + LARGE));
        assert!(state.parts.rooms.shards.has_parked(ROOM));
    });
}

fn joined(key: ConnectionKey, ticket: Ticket, room: RoomId, name: RoomName) -> Delivery {
    Delivery::Joined {
        subscriber: key.on(hub::CoreId(0)),
        ticket: ticket.to_hub(0),
        room,
        name,
        position: position(0),
        recovered: None,
    }
}

#[test]
fn join_of_a_connection_that_is_gone_or_has_given_up_leaves_again() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let now = Now::default();
        let (gone, _one) = open(state);
        let of_gone = at(state, gone).rooms.room(9).unwrap();
        state.remove(gone, now);
        let (fickle, _other) = open_with(state, |_, outlet| {
            let ticket = outlet.join(lobby()).unwrap();
            outlet.leave(ticket);
        });
        at(state, fickle)
            .rare
            .keep_leftover(Leftover::of(&crate::fixture::message(b"x")));
        state.parts.rooms.requests.allow(usize::MAX);
        crate::fixture::attend(state, fickle);
        let sent = asked(state, &mailbox);
        let [Request::Join { ticket, .. }] = &sent[..] else {
            panic!("{sent:?}");
        };
        let (of_fickle, _) = Ticket::of(*ticket);
        for (key, ticket) in [(gone, of_gone), (fickle, of_fickle)] {
            deliver(state, joined(key, ticket, ROOM, lobby()));
            let sent = asked(state, &mailbox);
            assert!(
                matches!(sent[..], [Request::Leave { room: ROOM, .. }]),
                "{sent:?}"
            );
        }
        assert_eq!(state.parts.rooms.shards.subscriptions(), 0);
        assert_eq!(at(state, fickle).rooms.subscriptions.len(), 0);
    });
}

#[test]
fn room_that_is_lost_ends_all_who_are_in_it_and_nobody_else() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let all: Vec<_> = [ROOM, OTHER, ROOM]
            .map(|room| {
                let (key, peer) = open_with(state, |_, _| {});
                enter(state, key, room);
                (key, peer)
            })
            .into();
        let lost = Delivery::Lost {
            room: ROOM,
            reason: LossReason::Gap,
        };
        deliver(state, lost);
        let is_open = |(key, _): &(ConnectionKey, TcpStream)| {
            let stage = &state.connections.get(*key).unwrap().stage;
            matches!(stage, Stage::Open { .. })
        };
        let open: Vec<_> = all.iter().map(is_open).collect();
        assert_eq!(open, [false, true, false]);
        assert_eq!(at(state, all[0].0).rare.end(), Some(EndReason::RoomLost));
        assert_eq!(state.parts.rooms.shards.subscriptions(), 1);
    });
}
