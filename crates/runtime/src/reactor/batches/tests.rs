//! Tests of intervals on a core: deliveries of rooms that gather, in set time.

use std::{io::Read, net::TcpStream, sync::Arc};

use bytes::Bytes;
use codec::Request;
use hub::{CoreId, Delivery, Record, RoomName};

use crate::{
    clock::Now,
    config::Config,
    connection::{Answer, Application, Route, Stage},
    encoding::{BodyEncoder, BodyForm, Packing, WireForm},
    end::EndReason,
    fixture::{Lines, ROOM, at, attend, configure, lobby, on_each_driver, open_with, position},
    ids::ConnectionKey,
    reactor::State,
    rooms::BatchInterval,
    turn::{Meter, Pace},
};

/// Every room gathers for 100 ms, and each message is a line.
struct Gathering;

impl Application for Gathering {
    fn route(&self, _: &Request<'_>) -> Route {
        Route::Answer(Answer::text(404, "nobody"))
    }

    fn protocols(&self) -> Vec<&'static str> {
        Vec::new()
    }

    fn bodies(&self) -> Option<Arc<dyn BodyEncoder>> {
        Some(Arc::new(Lines))
    }

    fn batch_interval(&self, _: &RoomName) -> Option<BatchInterval> {
        BatchInterval::new(std::time::Duration::from_millis(100))
    }
}

const LINES: WireForm = WireForm {
    body: BodyForm(1),
    packing: Packing::Plain,
};

/// Makes the core one whose rooms gather.
fn gathering(state: &mut State) {
    state.configure(Arc::new(Config::default()), Arc::new(Gathering));
}

fn at_ms(ms: u64) -> Now {
    Now {
        ns: ms * 1_000_000,
        ms,
    }
}

fn deliver(state: &mut State, delivery: Delivery, ms: u64) {
    let meter = Meter::since(0, state.parts.clock, u64::MAX);
    let rest = state.deliver(delivery, &mut Pace::new(meter, 1), at_ms(ms));
    assert!(rest.is_none());
}

fn say(state: &mut State, offset: u64, text: &str, ms: u64) {
    let record = Record {
        tag: 0,
        payload: Bytes::copy_from_slice(text.as_bytes()),
        details: None,
    };
    let delivery = Delivery::Messages {
        room: ROOM,
        epoch: hub::Epoch(1),
        first: offset,
        records: [record].into(),
        stamps: [ms].into_iter().collect(),
    };
    deliver(state, delivery, ms);
}

/// A member of the room whose messages have this form, and its peer.
fn member(state: &mut State, form: WireForm, ms: u64) -> (ConnectionKey, TcpStream) {
    let (key, peer) = open_with(state, |_, _| {});
    peer.set_nonblocking(true).unwrap();
    let connection = at(state, key);
    connection.out.form = form;
    let ticket = connection.rooms.room(9).unwrap();
    let joined = Delivery::Joined {
        subscriber: key.on(CoreId(0)),
        ticket: ticket.to_hub(0),
        room: ROOM,
        name: lobby(),
        position: position(0),
        recovered: None,
    };
    deliver(state, joined, ms);
    (key, peer)
}

/// What is over by then becomes news.
fn end_intervals(state: &mut State, ms: u64) {
    let meter = Meter::since(0, state.parts.clock, u64::MAX);
    let is_over = !state.let_batches_go(ms, &mut Pace::new(meter, 1));
    assert!(is_over);
}

/// Sends what there is to send; returns the frames that the peer gets.
fn receive(state: &mut State, peer: &mut TcpStream) -> Vec<String> {
    while state.flush() {}
    let mut received = Vec::new();
    let _ = peer.read_to_end(&mut received);
    let (mut bytes, mut frames) = (&received[..], Vec::new());
    while let [_, length, rest @ ..] = bytes {
        let (payload, behind) = rest.split_at(usize::from(*length));
        frames.push(String::from_utf8_lossy(payload).into_owned());
        bytes = behind;
    }
    frames
}

#[test]
fn frame_leaves_at_the_end_of_its_interval_and_counts_as_one_of_many_messages() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let (_one, mut peer) = member(state, LINES, 0);
        let (_other, mut of_other) = member(state, LINES, 0);
        assert!(!core.batches.take() && state.pause_until_batch().is_none());
        for n in 0..20 {
            say(state, n + 1, &n.to_string(), 1_000 + n);
        }
        assert!(core.batches.take(), "the timer is wanted");
        let pause = state.pause_until_batch().unwrap();
        assert!((super::PAUSE_MIN..=super::PAUSE_MAX).contains(&pause));
        end_intervals(state, 1_099);
        assert_eq!(receive(state, &mut peer), [""; 0]);
        end_intervals(state, 1_100);
        let all: String = (0..20).map(|n| format!("{n}\n")).collect();
        assert_eq!(receive(state, &mut peer), [all.as_str()]);
        assert_eq!(receive(state, &mut of_other), [all]);
        assert_eq!(state.pause_until_batch(), None, "an idle core sleeps");
        let tally = &state.parts.counters.tally;
        assert_eq!((tally.delivered, tally.frames_sent.text), (40, 2));
        assert_eq!(tally.payload_sent.text, 2 * (10 + 20));
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

#[test]
fn who_joins_within_an_interval_gets_what_follows_and_the_others_all_at_once() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let (_one, mut peer) = member(state, LINES, 0);
        say(state, 1, "before", 10);
        let (_late, mut of_late) = member(state, LINES, 20);
        say(state, 2, "behind", 30);
        assert_eq!(receive(state, &mut peer), [""; 0], "nothing is hurried");
        end_intervals(state, 110);
        assert_eq!(receive(state, &mut peer), ["before\n", "behind\n"]);
        assert_eq!(receive(state, &mut of_late), ["behind\n"]);
    });
}

#[test]
fn who_ends_within_an_interval_has_all_that_was_told_before_its_farewell() {
    for reason in [EndReason::Drained, EndReason::Aged, EndReason::Panicked] {
        on_each_driver(async |core| {
            let state = &mut *core.state.borrow_mut();
            gathering(state);
            let (key, mut peer) = member(state, LINES, 0);
            let (_other, mut of_other) = member(state, LINES, 0);
            say(state, 1, "a", 10);
            say(state, 2, "b", 20);
            state.close(key, at_ms(30), reason);
            let frames = receive(state, &mut peer);
            assert_eq!(frames[0], "a\nb\n", "{reason:?}");
            assert_eq!(frames.len(), 2, "and the close frame");
            say(state, 3, "c", 40);
            end_intervals(state, 110);
            assert_eq!(receive(state, &mut of_other), ["a\nb\nc\n"]);
        });
    }
}

#[test]
fn peer_that_ends_its_stream_within_an_interval_is_sent_what_was_told_before() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let (key, mut peer) = member(state, LINES, 0);
        say(state, 1, "a", 10);
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        at(state, key).arrival.is_readable = true;
        attend(state, key);
        assert!(matches!(at(state, key).stage, Stage::Closing { .. }));
        assert_eq!(receive(state, &mut peer), ["a\n"]);
    });
}

#[test]
fn room_that_all_have_left_within_an_interval_leaves_nothing_behind() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let (key, _peer) = member(state, LINES, 0);
        say(state, 1, "a", 10);
        state.remove(key, at_ms(20));
        let shards = &state.parts.rooms.shards;
        assert_eq!((shards.held_bytes(), shards.next_due_ms()), (0, None));
        end_intervals(state, 110);
        assert!(!state.parts.rooms.shards.has_news());
    });
}

#[test]
fn what_is_gathered_leaves_early_when_memory_is_short() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let (_key, mut peer) = member(state, LINES, 0);
        say(state, 1, "a", 10);
        let config = Config {
            send_queues_bytes_max: 0,
            ..Config::default()
        };
        configure(state, config);
        assert_eq!(receive(state, &mut peer), ["a\n"]);
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
    });
}

#[test]
fn batches_beyond_what_a_turn_allows_leave_in_the_next() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        gathering(state);
        let forms: Vec<_> = (1..=5)
            .map(|form| WireForm {
                body: BodyForm(form),
                ..LINES
            })
            .collect();
        let members = forms.into_iter().map(|form| member(state, form, 0));
        let _members: Vec<_> = members.collect();
        say(state, 1, "a", 10);
        let mut turns = 1;
        // The time is used up at each look, of which there is one for each batch.
        while state.let_batches_go(110, &mut Pace::new(Meter::since(0, core.clock, 0), 1)) {
            turns += 1;
        }
        assert_eq!(turns, 5);
    });
}
