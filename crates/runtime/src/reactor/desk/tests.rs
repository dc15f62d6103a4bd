//! Tests of desks: places, answers, and cores that end.

use std::{hash::RandomState, thread};

use flume::TryRecvError;
use hub::RoomId;

use super::*;
use crate::{
    clock::Now,
    fixture::{ROOM, asked, lobby, on_each_driver, position, with_requests},
    turn::{Meter, Pace},
};

fn desk(taken_max: usize, bytes_max: usize) -> (Desk, Inbox) {
    let (desk, mut inboxes) = Desk::new(1, taken_max, bytes_max, RandomState::new());
    (desk, inboxes.remove(0))
}

fn say(desk: &Desk, payload: &'static str) -> Result<Receiver<Fate>, DeskFull> {
    desk.publish(
        lobby(),
        Kind::Text,
        Bytes::from_static(payload.as_bytes()),
        None,
    )
}

fn deliver(state: &mut State, delivery: hub::Delivery) {
    let meter = Meter::since(0, state.parts.clock, u64::MAX);
    let rest = state.deliver(delivery, &mut Pace::new(meter, 1), Now::default());
    assert!(rest.is_none());
}

/// What the home answers to a request of a desk.
fn answer(request: &Request) -> hub::Delivery {
    match request {
        Request::Publish {
            publisher,
            ticket,
            stamp,
            record,
            ..
        } => match &record.payload[..] {
            b"refused" => hub::Delivery::Unpublished {
                publisher: *publisher,
                ticket: *ticket,
                reason: PublishRefusal::Busy,
            },
            _ => hub::Delivery::Published {
                publisher: *publisher,
                ticket: *ticket,
                room: RoomId { token: 9, ..ROOM },
                position: position(7),
                stamp: *stamp,
            },
        },
        Request::Ask { asker, ticket, .. } => hub::Delivery::Answered {
            asker: *asker,
            ticket: *ticket,
            answer: Answer::Done,
        },
        Request::List {
            asker,
            ticket,
            from,
        } => hub::Delivery::Listed {
            asker: *asker,
            ticket: *ticket,
            listing: Listing {
                rooms: vec![(lobby(), 3)],
                next: Some(from + 1),
            },
        },
        other => panic!("{other:?} is not of a desk"),
    }
}

/// Has the loops run until the errands that wait are with the core.
async fn taken_in(core: &Rc<Core>, inbox: &Inbox) {
    while !inbox.mailbox.is_empty() {
        core.turnstile.pass().await;
    }
    core.turnstile.pass().await;
}

#[test]
fn each_request_gets_its_own_answer_in_whichever_order_they_come() {
    with_requests(async |core, mailbox| {
        let (desk, inbox) = desk(9, 1 << 20);
        monoio::spawn(run(core.clone(), inbox.clone()));
        let (one, other) = (say(&desk, "hello").unwrap(), say(&desk, "refused").unwrap());
        let done = desk.ask(lobby(), Question::ForgetHistory).unwrap();
        let listed = desk.list(0, 4).unwrap();
        assert_eq!(desk.list(1, 0).err(), Some(DeskFull), "there is one core");
        taken_in(&core, &inbox).await;
        let state = &mut *core.state.borrow_mut();
        let requests = asked(state, &mailbox);
        assert_eq!((requests.len(), state.errands.len()), (4, 4));
        assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
        for request in requests.iter().rev() {
            deliver(state, answer(request));
        }
        assert_eq!(one.try_recv(), Ok(Ok(position(7))));
        assert_eq!(other.try_recv(), Ok(Err(PublishRefusal::Busy)));
        assert_eq!(done.try_recv(), Ok(Answer::Done));
        assert_eq!(listed.try_recv().unwrap().next, Some(5));
        assert_eq!((state.errands.len(), inbox.taken()), (0, (0, 0)));
        // Answers that nobody waits for change nothing.
        for request in &requests {
            deliver(state, answer(request));
        }
    });
}

#[test]
fn place_is_taken_until_the_answer_even_if_nobody_waits_for_it() {
    with_requests(async |core, mailbox| {
        let (desk, inbox) = desk(2, 1 << 20);
        monoio::spawn(run(core.clone(), inbox.clone()));
        drop(say(&desk, "one").unwrap());
        drop(desk.ask(lobby(), Question::Members).unwrap());
        assert_eq!(say(&desk, "three").err(), Some(DeskFull));
        taken_in(&core, &inbox).await;
        assert_eq!(
            say(&desk, "three").err(),
            Some(DeskFull),
            "they are under way"
        );
        let state = &mut *core.state.borrow_mut();
        let requests = asked(state, &mailbox);
        deliver(state, answer(&requests[0]));
        let three = say(&desk, "three");
        assert!(three.is_ok());
        assert_eq!(say(&desk, "four").err(), Some(DeskFull));
    });
}

#[test]
fn bytes_are_bounded_and_one_publication_has_room_however_long_it_is() {
    let of = |text: &str| publication_bytes(text.len());
    let (desk, inbox) = desk(9, of("12345") + of("123"));
    let five = say(&desk, "12345");
    assert_eq!(say(&desk, "1234").err(), Some(DeskFull));
    let three = say(&desk, "123");
    assert_eq!(inbox.taken(), (2, of("12345") + of("123")));
    assert_eq!(say(&desk, "").err(), Some(DeskFull));
    assert!(
        desk.ask(lobby(), Question::Members).is_ok(),
        "it has no bytes"
    );
    assert!(five.is_ok() && three.is_ok());
    drop(inbox.mailbox.drain());
    assert_eq!(inbox.taken(), (0, 0));
    let long = "a publication that is far longer than the bound on all of them is, and has its place: \
                otherwise nobody could ever publish it, as long as messages may be longer than that \
                bound, which is two messages and what carries them here, so that this text has to go on";
    assert!(of(long) > of("12345") + of("123"));
    assert!(say(&desk, long).is_ok());
    assert_eq!(say(&desk, "").err(), Some(DeskFull));
}

#[test]
fn core_takes_a_bounded_number_of_requests_a_turn() {
    with_requests(async |core, mailbox| {
        let (desk, inbox) = desk(3 * bounds::ERRANDS, usize::MAX);
        for _ in 0..2 * bounds::ERRANDS + 1 {
            drop(say(&desk, "hello").unwrap());
        }
        monoio::spawn(run(core.clone(), inbox.clone()));
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 2 * bounds::ERRANDS + 1 {
            core.turnstile.pass().await;
            sizes.push(asked(&mut core.state.borrow_mut(), &mailbox).len());
        }
        sizes.retain(|size| *size > 0);
        assert_eq!(sizes, [bounds::ERRANDS, bounds::ERRANDS, 1]);
    });
}

#[test]
fn core_that_ends_leaves_no_asker_waiting_and_takes_no_request_any_more() {
    on_each_driver(async |core| {
        let (desk, inbox) = desk(9, 1 << 20);
        core.state.borrow_mut().depths.desk = inbox.clone();
        let closing = Closing(core.clone());
        monoio::spawn(run(core.clone(), inbox.clone()));
        let under_way = say(&desk, "hello").unwrap();
        taken_in(&core, &inbox).await;
        let waits = desk.ask(lobby(), Question::Members).unwrap();
        drop(closing);
        assert_eq!(under_way.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(waits.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(say(&desk, "hello").err(), Some(DeskFull));
        assert_eq!(inbox.taken(), (0, 0));
    });
}

/// Whoever asks while the core ends is refused, or sees that no answer comes.
#[test]
fn requests_that_cross_the_end_of_their_core_are_all_told() {
    for _ in 0..200 {
        let (desk, inbox) = desk(1_000, usize::MAX);
        let asking = thread::spawn(move || {
            let asked: Vec<_> = std::iter::from_fn(|| say(&desk, "hello").ok()).collect();
            let open = |it: &&Receiver<_>| it.try_recv() == Err(TryRecvError::Empty);
            (asked, desk, open)
        });
        while inbox.mailbox.is_empty() {
            std::hint::spin_loop();
        }
        inbox.close();
        let (asked, desk, open) = asking.join().unwrap();
        assert_eq!(asked.iter().filter(open).count(), 0);
        assert_eq!(say(&desk, "hello").err(), Some(DeskFull));
    }
}
