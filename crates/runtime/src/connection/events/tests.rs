//! Tests of what a connection waits for before it takes another message.

use std::{cell::RefCell, rc::Rc};

use hub::{PublishRefusal, Request, RoomId};

use super::*;
use crate::{
    clock::Now,
    config::Config,
    connection::{Command, Flow, IfReset, Leftover, SessionEvent},
    fixture::{
        ROOM, act, asked, at, attend, configure, enter, lobby, message, on_each_driver, open,
        open_with, position, with_requests,
    },
    ids::ConnectionKey,
    reactor::State,
    rooms::{Ticket, publication_bytes},
};

#[test]
fn connection_waits_from_a_full_window_on() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let config = Config {
            publish_window_bytes: 1000,
            ..Config::default()
        };
        configure(state, config);
        let (key, _peer) = open(state);
        for (bytes, expected) in [
            (999, None),
            (1000, Some(Wait::Window)),
            (1001, Some(Wait::Window)),
        ] {
            at(state, key).rooms.window_bytes = bytes;
            let wait = act(state, key, |actor| actor.must_wait());
            assert_eq!(wait, expected, "{bytes}");
        }
    });
}

fn wait_of(state: &mut State, key: ConnectionKey) -> Option<Wait> {
    at(state, key).pause.map(|pause| pause.wait)
}

/// Fills the home, or empties it again and takes its requests.
fn fill(state: &mut State) {
    state.parts.rooms.requests.allow(1);
    let other = RoomId { token: 9, ..ROOM };
    let subscriber = ConnectionKey::new(9, 0).on(state.parts.id);
    let leave = Request::Leave {
        room: other,
        subscriber,
    };
    state.parts.rooms.requests.push(leave);
}

/// The home takes what waits for it; whoever waited for that has another turn.
fn send(state: &mut State) -> Vec<ConnectionKey> {
    let (resumed, blocked) = state.parts.rooms.requests.send();
    assert!(blocked.is_empty());
    for key in &resumed {
        act(state, *key, |actor| actor.home_has_space());
    }
    resumed
}

#[test]
fn publication_as_large_as_the_window_that_its_home_has_no_room_for_is_sent_later() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open_with(state, |message, outlet| {
            let room = outlet.room().unwrap();
            assert!(
                outlet
                    .publish(room, message.kind, message.payload)
                    .is_some()
            );
        });
        enter(state, key, ROOM);
        fill(state);
        let config = Config {
            publish_window_bytes: 1_000,
            ..Config::default()
        };
        configure(state, config);
        let large = [b'x'; 1_000];
        let both = [message(&large), message(b"behind it")].concat();
        at(state, key).rare.keep_leftover(Leftover::of(&both));
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), Some(Wait::Window));
        let held = at(state, key).rooms.held_bytes();
        assert_eq!(held, publication_bytes(large.len()));
        assert!(at(state, key).rare.counted().unfinished > held, "it counts");
        assert_eq!(send(state), [key]);
        assert_eq!(mailbox.try_iter().flatten().count(), 1);
        // It goes, and the window is full of it.
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), Some(Wait::Window));
        let sent = asked(state, &mailbox);
        let [Request::Publish { ticket, .. }] = &sent[..] else {
            panic!("{sent:?}");
        };
        let (ticket, bytes) = Ticket::of(*ticket);
        assert_eq!(bytes as usize, publication_bytes(large.len()));
        at(state, key).is_listed = false;
        act(state, key, |actor| {
            actor.published(ticket, bytes, Ok(position(1)));
        });
        assert!(at(state, key).is_listed, "it reads on");
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), None);
        assert!(matches!(
            asked(state, &mailbox)[..],
            [Request::Publish { .. }]
        ));
    });
}

#[test]
fn later_messages_stay_unread_until_all_that_was_asked_for_is_answered() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hears = heard.clone();
        let (key, _peer) = open_with(state, move |message, outlet| {
            hears.borrow_mut().push(message.payload.to_vec());
            if message.payload == b"join and wait" {
                outlet.join(lobby()).unwrap();
                outlet.publish_to(lobby(), message.kind, b"hello");
                outlet.wait();
            }
        });
        // No home has space at first: the answers are to deferred requests.
        fill(state);
        let both = [message(b"join and wait"), message(b"behind it")].concat();
        at(state, key).rare.keep_leftover(Leftover::of(&both));
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), Some(Wait::Answers));
        send(state);
        drop(mailbox.drain());
        state.parts.rooms.requests.allow(usize::MAX);
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), Some(Wait::Answers));
        let sent = asked(state, &mailbox);
        let [
            Request::Join { ticket: join, .. },
            Request::Publish {
                ticket: publication,
                ..
            },
        ] = sent[..]
        else {
            panic!("{sent:?}");
        };
        let (join, publication) = (Ticket::of(join), Ticket::of(publication));
        assert_ne!(join.0, publication.0);
        at(state, key).is_listed = false;
        act(state, key, |actor| {
            actor.joined(join.0, ROOM, &lobby(), (position(0), None));
        });
        assert!(!at(state, key).is_listed, "one answer is not all");
        attend(state, key);
        assert_eq!(heard.borrow().len(), 1);
        act(state, key, |actor| {
            actor.published(publication.0, publication.1, Ok(position(1)));
        });
        assert!(at(state, key).is_listed);
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(heard.borrow()[1..], [b"behind it".to_vec()]);
        assert_eq!(wait_of(state, key), None);
    });
}

#[test]
fn who_waits_without_having_asked_for_anything_is_read_on() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let heard = Rc::new(RefCell::new(0));
        let hears = heard.clone();
        let (key, _peer) = open_with(state, move |_, outlet| {
            *hears.borrow_mut() += 1;
            outlet.wait();
        });
        at(state, key)
            .rare
            .keep_leftover(Leftover::of(&[message(b"one"), message(b"two")].concat()));
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!((*heard.borrow(), wait_of(state, key)), (2, None));
    });
}

#[test]
fn what_a_session_asks_for_outside_of_a_message_waits_for_its_home_too() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open_with(state, |_, _| {});
        fill(state);
        act(state, key, |actor| actor.obey(Command::Join(lobby())));
        assert_eq!(wait_of(state, key), Some(Wait::Home));
        assert_eq!(send(state), [key]);
        drop(mailbox.drain());
        state.attend();
        assert_eq!(wait_of(state, key), None);
        let sent = asked(state, &mailbox);
        assert!(matches!(sent[..], [Request::Join { .. }]), "{sent:?}");
    });
}

/// Nothing else would hand it over: a connection that waits for an answer has no turn before it comes, and
/// the answer may be to what was not handed over.
#[test]
fn what_a_session_asks_for_while_it_waits_for_an_answer_waits_for_its_home_too() {
    with_requests(async |core, mailbox| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open_with(state, |_, outlet| {
            outlet.join(lobby()).unwrap();
            outlet.wait();
        });
        state.parts.rooms.requests.allow(usize::MAX);
        let both = [message(b"one"), message(b"two")].concat();
        at(state, key).rare.keep_leftover(Leftover::of(&both));
        assert_eq!(attend(state, key), Flow::Wait);
        assert_eq!(wait_of(state, key), Some(Wait::Answers));
        let sent = asked(state, &mailbox);
        assert!(matches!(sent[..], [Request::Join { .. }]), "{sent:?}");
        fill(state);
        for _ in 0..2 {
            act(state, key, |actor| actor.obey(Command::Join(lobby())));
        }
        assert_eq!(wait_of(state, key), Some(Wait::Answers));
        assert_eq!(send(state), [key], "it has asked for one turn");
        drop(mailbox.drain());
        state.attend();
        let sent = asked(state, &mailbox);
        assert!(matches!(sent[..], [Request::Join { .. }, ..]), "{sent:?}");
        assert_eq!(wait_of(state, key), Some(Wait::Answers));
    });
}

#[test]
fn publication_that_is_refused_gives_its_window_back_and_ends_the_connection() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open_with(state, |_, _| {});
        let ticket = at(state, key).rooms.publication(100);
        at(state, key).rooms.unanswered = 1;
        act(state, key, |actor| {
            actor.published(ticket, 100, Err(PublishRefusal::Busy));
        });
        assert_eq!(at(state, key).rooms.window_bytes, 0);
        assert_eq!(at(state, key).rare.end(), Some(EndReason::RoomBusy));
        assert!(matches!(at(state, key).stage, Stage::Closing { .. }));
        state.remove(key, Now::default());
    });
}

/// Asks an outsider with each message, which it notes, and goes on when a command says that it is answered.
struct Asking(Rc<RefCell<Vec<u8>>>);

impl Session for Asking {
    fn receive(&mut self, message: codec::Message<'_>, outlet: &mut Outlet<'_>) {
        self.0.borrow_mut().extend(message.payload);
        outlet.ask_outsider(IfReset::Waits);
        outlet.wait();
    }

    fn handle(&mut self, event: SessionEvent, outlet: &mut Outlet<'_>) {
        if let SessionEvent::Command(_) = event {
            outlet.outsider_answered();
        }
    }
}

#[test]
fn session_that_asks_an_outsider_is_handed_nothing_more_before_the_answer() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open_with(state, |_, _| {});
        let noted = Rc::default();
        at(state, key).session = Some(Box::new(Asking(Rc::clone(&noted))));
        let messages = [message(b"1"), message(b"2"), message(b"3")].concat();
        at(state, key).rare.keep_leftover(Leftover::of(&messages));
        for expected in [&b"1"[..], b"12", b"123"] {
            attend(state, key);
            assert_eq!(*noted.borrow(), expected);
            assert_eq!(wait_of(state, key), Some(Wait::Answers));
            attend(state, key);
            assert_eq!(*noted.borrow(), expected, "it waits");
            act(state, key, |actor| {
                actor.obey(Command::Hand(std::sync::Arc::new(())));
            });
            assert!(at(state, key).is_listed, "it has a turn again");
        }
        attend(state, key);
        assert_eq!(wait_of(state, key), None);
        state.remove(key, Now::default());
    });
}
