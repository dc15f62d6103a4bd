//! Tests of what a connection asks of its rooms and awaits.

use std::{collections::HashSet, hash::RandomState, rc::Rc};

use flume::Receiver;
use hub::ConnectionId;

use super::*;

/// Two homes that have space for one request in a turn each, and their mailboxes.
fn homes() -> (Requests, [Receiver<Vec<Request>>; 2]) {
    let (one, of_one) = flume::unbounded();
    let (other, of_other) = flume::unbounded();
    let own = CoreId(0);
    let mailboxes = vec![one, other];
    let requests = Requests::new(own, mailboxes, RandomState::new(), 1, Rc::default());
    (requests, [of_one, of_other])
}

/// A name whose room lives there.
fn name_at(home: u16, requests: &Requests) -> RoomName {
    (0..)
        .map(|number| RoomName::new(&format!("room {number}")).unwrap())
        .find(|name| requests.home(name) == CoreId(home))
        .unwrap()
}

/// A join that can be told from others.
fn join(name: &RoomName, number: u32) -> Request {
    Request::Join {
        name: name.clone(),
        subscriber: ConnectionId {
            core: CoreId(0),
            token: 1,
        },
        ticket: Ticket::new(number, 0).to_hub(0),
        terms: None,
    }
}

/// The numbers of the joins that have come.
fn come(mailbox: &Receiver<Vec<Request>>) -> Vec<u32> {
    let numbers = mailbox.try_iter().flatten().map(|request| match request {
        Request::Join { ticket, .. } => (ticket.0 >> 40) as u32,
        other => panic!("{other:?}"),
    });
    numbers.collect()
}

#[test]
fn requests_behind_a_full_home_keep_their_order_and_hold_up_no_other_connection() {
    let (mut requests, [one, other]) = homes();
    let names = [0, 1].map(|home| name_at(home, &requests));
    let (mut held_up, mut another) = (Memberships::default(), Memberships::default());
    held_up.ask(join(&names[0], 1), &mut requests);
    assert!(!held_up.has_deferred(), "there was room");
    for (name, number) in [
        (&names[0], 2),
        (&names[1], 3),
        (&names[0], 4),
        (&names[1], 5),
    ] {
        held_up.ask(join(name, number), &mut requests);
    }
    assert_eq!(held_up.held_bytes(), 4 * publication_bytes(0));
    // The other home has space for others.
    another.ask(join(&names[1], 9), &mut requests);
    assert!(!another.has_deferred());
    assert_eq!(held_up.hand_over(&mut requests), Some(CoreId(0)));
    let mut turn = |held_up: &mut Memberships| {
        requests.send();
        let home = held_up.hand_over(&mut requests);
        (home, come(&one), come(&other))
    };
    let home = |number| Some(CoreId(number));
    assert_eq!(turn(&mut held_up), (home(0), vec![1], vec![9]));
    assert_eq!(turn(&mut held_up), (None, vec![2], vec![3]));
    assert!(!held_up.has_deferred());
    assert_eq!(turn(&mut held_up), (None, vec![4], vec![5]));
    assert_eq!(held_up.held_bytes(), 0);
}

#[test]
fn no_two_tickets_of_a_connection_are_the_same() {
    let mut rooms = Memberships::default();
    let mut tickets = HashSet::new();
    for step in 0..1_000 {
        let joined = rooms.room(3);
        assert_eq!(joined.is_some(), step % 4 < 3);
        for ticket in joined.into_iter().chain([rooms.publication(0)]) {
            assert!(tickets.insert(ticket), "{ticket:?} in step {step}");
        }
        if step % 4 == 3 {
            let all: Vec<_> = rooms.subscriptions.tickets().collect();
            for ticket in all {
                rooms.subscriptions.remove(ticket);
            }
        }
    }
}

#[test]
fn answers_are_awaited_until_the_last_and_give_the_window_back() {
    let mut rooms = Memberships::default();
    rooms.publication(100);
    rooms.publication(50);
    rooms.unanswered = 2;
    rooms.waits_for_answers = true;
    rooms.replied(100);
    assert_eq!((rooms.window_bytes, rooms.waits_for_answers), (50, true));
    rooms.replied(50);
    assert_eq!((rooms.window_bytes, rooms.waits_for_answers), (0, false));
}

#[test]
fn user_stays_known_when_the_last_kept_request_has_gone() {
    let (mut requests, _mailboxes) = homes();
    let name = name_at(0, &requests);
    let mut rooms = Memberships::default();
    rooms.set_user("ann".into());
    rooms.ask(join(&name, 1), &mut requests);
    rooms.ask(join(&name, 2), &mut requests);
    requests.send();
    assert_eq!(rooms.hand_over(&mut requests), None);
    assert_eq!(rooms.user().map(|user| &**user), Some("ann"));
}
