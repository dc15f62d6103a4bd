//! The home's loop: turns of a bounded length, which go on until nothing is left to do.

#![allow(clippy::unwrap_used)]

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hub::{
    AnswerLimits, ConnectionId, CoreId, Delivery, Epoch, HomeBounds, NoRules, Record, Request,
    RoomBudget, RoomId, RoomName, Rooms, Target, Ticket,
};

const CORE: CoreId = CoreId(0);
const CONNECTION: ConnectionId = ConnectionId {
    core: CORE,
    token: 1,
};

fn publish(room: RoomId) -> Request {
    Request::Publish {
        to: Target::Room(room),
        publisher: CONNECTION,
        ticket: Ticket(2),
        stamp: 0,
        record: Record {
            tag: 0,
            payload: Bytes::new(),
            details: None,
        },
    }
}

/// A home with one room, which has a subscriber.
fn home() -> (Rooms, RoomId) {
    let budget = RoomBudget::new(1);
    let bounds = HomeBounds {
        waiting_bytes: usize::MAX,
        past_bytes: 0,
        positions: 0,
        answer: AnswerLimits {
            messages: 0,
            bytes: 0,
        },
    };
    let mut rooms = Rooms::new(
        CORE,
        1,
        budget,
        bounds,
        Arc::new(NoRules::default()),
        || Epoch(1),
    );
    rooms.apply(Request::Join {
        name: RoomName::new("a").unwrap(),
        subscriber: CONNECTION,
        ticket: Ticket(1),
        terms: None,
    });
    let Delivery::Joined { room, .. } = rooms.take_outgoing(CORE).remove(0) else {
        panic!("joined")
    };
    (rooms, room)
}

/// Has a home carry out batches; returns what it delivers, by turns, and how often it let others
/// have the core meanwhile.
fn carry_out(rooms: Rooms, batches: Vec<Vec<Request>>) -> (Vec<Vec<Delivery>>, usize) {
    let (requests, from_cores) = flume::unbounded();
    let (to_core, deliveries) = flume::unbounded();
    for batch in batches {
        requests.send(batch).unwrap();
    }
    let turns = Cell::new(0);
    let turn_over = async || turns.set(turns.get() + 1);
    let mut home = pin!(hub::run(
        Rc::new(RefCell::new(rooms)),
        from_cores,
        vec![to_core],
        turn_over
    ));
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(home.as_mut().poll(&mut context), Poll::Pending);
    let delivered = deliveries.drain().collect();
    drop(requests);
    assert_eq!(home.as_mut().poll(&mut context), Poll::Ready(()));
    (delivered, turns.get())
}

/// How many messages each turn delivered.
fn messages(turns: &[Vec<Delivery>]) -> Vec<usize> {
    let of = |delivery: &Delivery| match delivery {
        Delivery::Messages { records, .. } => records.len(),
        _ => 0,
    };
    let of_turn = |turn: &Vec<Delivery>| turn.iter().map(of).sum();
    turns.iter().map(of_turn).collect()
}

#[test]
fn turn_ends_after_a_bounded_number_of_requests_and_the_next_goes_on() {
    let (rooms, room) = home();
    let batches = vec![vec![publish(room); 1_500], vec![publish(room); 700]];
    let (delivered, turns) = carry_out(rooms, batches);
    assert_eq!(messages(&delivered), [1_024, 1_024, 152]);
    assert_eq!(turns, 2);
}

#[test]
fn what_waited_for_a_held_room_is_ordered_over_several_turns_without_another_request() {
    let (rooms, room) = home();
    let mut batch = vec![Request::Hold { room, core: CORE }];
    batch.extend(vec![publish(room); 1_000]);
    let mut batches = vec![batch, vec![publish(room); 1_500]];
    batches.push(vec![Request::Resume { room, core: CORE }]);
    let (delivered, turns) = carry_out(rooms, batches);
    assert_eq!(messages(&delivered), [1_024, 1_024, 452]);
    assert_eq!(turns, 4);
}
