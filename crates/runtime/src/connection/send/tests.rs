//! Tests of peers that do not read as fast as their room speaks.

use std::{cell::RefCell, io::Read, net::TcpStream, rc::Rc, time::Instant};

use codec::Message;
use hub::Request;

use super::*;
use crate::{
    clock::Now,
    config::Config,
    connection::{Outlet, Session},
    fixture::{
        ROOM, act, asked, at, configure, enter, on_each_driver, open, say, upgrade, with_requests,
    },
    ids::ConnectionKey,
    reactor::State,
    rooms::Visit,
};

/// The room in this slot has news.
fn news(state: &mut State, connection: ConnectionKey, slot: u8) {
    state.visit(Visit { connection, slot }, Now::default());
}

/// Far more than a socket takes whose peer does not read.
const LARGE: usize = 16 << 20;

/// Notes what becomes of the room it is in.
struct Notes(Rc<RefCell<Vec<SessionEvent>>>);

impl Session for Notes {
    fn receive(&mut self, _: Message<'_>, _: &mut Outlet<'_>) {}

    fn handle(&mut self, event: SessionEvent, _: &mut Outlet<'_>) {
        self.0.borrow_mut().push(event);
    }
}

/// A member of a room of whose large message a part has left; what happens to it; and its peer.
struct Laggard {
    key: ConnectionKey,
    room: Ticket,
    peer: TcpStream,
    events: Rc<RefCell<Vec<SessionEvent>>>,
}

impl Laggard {
    fn new(state: &mut State, lag: Lag) -> Self {
        let config = Config {
            send_queue_bytes_max: 1_000,
            send_queues_bytes_max: 1 << 30,
            ..Config::default()
        };
        configure(state, config);
        let (key, peer) = open(state);
        let room = enter(state, key, ROOM);
        let events = Rc::default();
        let connection = at(state, key);
        upgrade(connection);
        connection.session = Some(Box::new(Notes(Rc::clone(&events))));
        connection.out.lag = lag;
        say(state, ROOM, LARGE);
        news(state, key, room.slot());
        act(state, key, |actor| actor.transmit());
        let connection = at(state, key);
        assert!(connection.out.queue.sending.is_blocked());
        // A single message may be longer than the bound.
        assert!(matches!(connection.stage, Stage::Open { .. }));
        Self {
            key,
            room,
            peer,
            events,
        }
    }

    /// The room says something else: that is too much.
    fn fall_behind(&self, state: &mut State) {
        say(state, ROOM, 100);
        let slot = self.room.slot();
        news(state, self.key, slot);
    }

    /// All that is still sent to the peer, behind the first message, which must be whole.
    fn read_all(&mut self, state: &mut State) -> Vec<u8> {
        self.peer.set_nonblocking(true).unwrap();
        let mut received = Vec::new();
        let until = Instant::now() + Duration::from_secs(60);
        while at(state, self.key).out.queue.sending != Sending::Idle {
            assert!(Instant::now() < until, "{} bytes came", received.len());
            let _ = self.peer.read_to_end(&mut received);
            act(state, self.key, |actor| actor.retry());
            act(state, self.key, |actor| actor.transmit());
        }
        let _ = self.peer.read_to_end(&mut received);
        let (message, rest) = received.split_at(10 + LARGE);
        assert_eq!(message[..2], [0x82, 127]);
        assert!(message[10..] == vec![7; LARGE]);
        rest.to_vec()
    }
}

#[test]
fn laggard_that_may_skip_misses_messages_and_not_a_part_of_one() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let mut laggard = Laggard::new(state, Lag::Skip);
        laggard.fall_behind(state);
        let [SessionEvent::Skipped { room, messages }] = laggard.events.borrow()[..] else {
            panic!("one event");
        };
        assert_eq!((room, messages), (laggard.room, 1));
        assert_eq!(state.parts.rooms.shards.held_bytes(), 0);
        assert_eq!(laggard.read_all(state), b"");
        // It is in the room still.
        say(state, ROOM, 3);
        let slot = room.slot();
        news(state, laggard.key, slot);
        assert_eq!(at(state, laggard.key).out.queue.sending, Sending::Pending);
        act(state, laggard.key, |actor| actor.transmit());
        let mut received = [0; 5];
        laggard.peer.set_nonblocking(false).unwrap();
        laggard.peer.read_exact(&mut received).unwrap();
        assert_eq!(received, [0x82, 3, 7, 7, 7]);
    });
}

#[test]
fn laggard_that_may_leave_is_in_the_room_no_longer_and_open_still() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let mut laggard = Laggard::new(state, Lag::Leave);
        laggard.fall_behind(state);
        let [SessionEvent::Left { room, reason }] = laggard.events.borrow()[..] else {
            panic!("one event");
        };
        assert_eq!((room, reason), (laggard.room, LeftReason::Lagging));
        let sent = asked(state, &mailbox);
        assert!(
            matches!(sent[..], [Request::Leave { room: ROOM, .. }]),
            "{sent:?}"
        );
        assert_eq!(at(state, laggard.key).rooms.subscriptions.len(), 0);
        assert_eq!(laggard.read_all(state), b"");
        assert_eq!(at(state, laggard.key).rare.end(), None);
    });
}

#[test]
fn laggard_that_may_do_neither_is_closed_behind_the_message_that_has_begun() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let mut laggard = Laggard::new(state, Lag::Close);
        laggard.fall_behind(state);
        assert_eq!(
            at(state, laggard.key).rare.end(),
            Some(EndReason::SendQueueFull)
        );
        let rest = laggard.read_all(state);
        assert_eq!((rest[0], &rest[2..4]), (0x88, &1013_u16.to_be_bytes()[..]));
        assert_eq!(laggard.events.borrow().len(), 0);
        state.remove(laggard.key, Now::default());
        assert_eq!(state.parts.queues_bytes(), 0);
    });
}

#[test]
fn what_a_room_has_told_before_is_sent_on_leaving_it_if_there_is_memory_for_it() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        for (free_bytes, is_sent) in [(1 << 30, true), (0, false)] {
            let mut laggard = Laggard::new(state, Lag::Close);
            say(state, ROOM, 3);
            act(state, laggard.key, |actor| {
                let held = actor.parts.queues_bytes();
                let config = Config {
                    send_queues_bytes_max: held + free_bytes,
                    ..Config::default()
                };
                actor.parts.config = config.into();
                let room = laggard.room;
                actor.with_session(|_, outlet| outlet.leave(room));
            });
            let expected: &[u8] = if is_sent { &[0x82, 3, 7, 7, 7] } else { b"" };
            assert_eq!(laggard.read_all(state), expected);
            state.remove(laggard.key, Now::default());
        }
    });
}
