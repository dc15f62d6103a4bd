//! The table in set time, and what is shared of it.

use std::{collections::BTreeSet, thread};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hub::CoreId;

use super::*;

const LIFE: Duration = Duration::from_secs(60);

/// Nobody sits there who would have to be told.
fn nobody(_: ConnectionId, _: u64) -> bool {
    panic!("nobody is to be told")
}

fn connection(token: u64) -> ConnectionId {
    ConnectionId {
        core: CoreId(0),
        token,
    }
}

fn name(text: &str) -> RoomName {
    RoomName::new(text).unwrap()
}

/// A table with the rooms of these names, whose secrets are their names, and when they were made.
fn with_rooms(names: &[&str]) -> (Table, Instant) {
    let (mut table, now) = (Table::default(), Instant::now());
    for text in names {
        create(&mut table, text, LIFE, now).unwrap();
    }
    (table, now)
}

fn create(table: &mut Table, text: &str, life: Duration, now: Instant) -> Result<(), Full> {
    let newcomer = Newcomer {
        name: name(text),
        secret: Digest::of(text),
        over: now + life,
    };
    table.create(newcomer, 100, now)
}

fn refused(table: &Table, what: &str) -> u64 {
    let counts = table.counts();
    let mut refused = counts.refused();
    refused.find(|(reason, _)| *reason == what).unwrap().1
}

#[test]
fn room_is_opened_by_its_own_secret_alone_and_while_it_lives() {
    let (mut table, now) = with_rooms(&["a", "b"]);
    let late = now + LIFE;
    for (room, secret, now) in [
        ("a", "b", now),
        ("a", "", now),
        ("c", "c", now),
        ("c", "", now),
        ("a", "a", late),
    ] {
        let secret = Digest::of(secret);
        let entered = table.enter_as_page(&name(room), &secret, connection(1), now, nobody);
        assert_eq!(entered, Err(NoEntry::Closed), "{room}");
        assert_eq!(table.check(&name(room), &secret, now), Err(NoEntry::Closed));
    }
    assert_eq!(refused(&table, "entry"), 10);
    assert_eq!(
        table.enter_as_publisher(&name("c"), now),
        Err(NoEntry::Closed)
    );
    assert_eq!(
        table.enter_as_publisher(&name("a"), late),
        Err(NoEntry::Closed)
    );
    let secret = Digest::of("a");
    let just = late - Duration::from_nanos(1);
    assert_eq!(table.check(&name("a"), &secret, just), Ok(()));
    let seat = table.enter_as_page(&name("a"), &secret, connection(1), just, nobody);
    assert_eq!(seat.unwrap().over, late);
    let publisher = table.enter_as_publisher(&name("a"), just);
    assert_eq!(publisher.unwrap().number, None);
    assert_eq!(refused(&table, "entry"), 12);
}

#[test]
fn nobody_has_the_secret_of_a_room_that_does_not_exist() {
    for secret in ["", "a", "\0"] {
        assert!(!Digest::of(secret).is(&Digest::OF_NOTHING));
    }
}

#[test]
fn second_who_comes_with_the_secret_replaces_the_first_if_that_can_be_told() {
    let (mut table, now) = with_rooms(&["a", "b"]);
    let (room, secret) = (name("a"), Digest::of("a"));
    let first = table.enter_as_page(&room, &secret, connection(1), now, nobody);
    let first = first.unwrap().number.unwrap();
    let other = Digest::of("b");
    table
        .enter_as_page(&name("b"), &other, connection(9), now, nobody)
        .unwrap();
    let told = |expected: (ConnectionId, u64), can_be| {
        move |who, seat| {
            assert_eq!((who, seat), expected);
            can_be
        }
    };
    let busy = table.enter_as_page(
        &room,
        &secret,
        connection(2),
        now,
        told((connection(1), first), false),
    );
    assert_eq!(busy, Err(NoEntry::Busy));
    let second = table.enter_as_page(
        &room,
        &secret,
        connection(2),
        now,
        told((connection(1), first), true),
    );
    let second = second.unwrap().number.unwrap();
    assert!(second > first);
    let third = table.enter_as_page(
        &room,
        &secret,
        connection(1),
        now,
        told((connection(2), second), true),
    );
    assert!(third.unwrap().number > Some(second));
    // Who comes to publish takes nobody's seat.
    table.enter_as_publisher(&room, now).unwrap();
}

#[test]
fn room_has_one_message_and_gives_its_place_back_only_if_the_home_refuses_it() {
    let (mut table, now) = with_rooms(&["a"]);
    let room = name("a");
    table.give_back(&room);
    assert_eq!(table.take(&room, now), Ok(()));
    assert_eq!(table.take(&room, now), Err(NoPublication::Taken));
    table.give_back(&room);
    assert_eq!(table.take(&room, now), Ok(()));
    table.answered(&room);
    table.give_back(&room);
    assert_eq!(table.take(&room, now), Err(NoPublication::Taken));
    assert_eq!(table.take(&room, now + LIFE), Err(NoPublication::Over));
    assert_eq!(table.take(&name("b"), now), Err(NoPublication::Over));
    assert_eq!(refused(&table, "message"), 4);
    assert_eq!(table.counts().answered, 1);
}

#[test]
fn rooms_that_are_over_are_forgotten_and_counted_by_their_message() {
    let (mut table, now) = with_rooms(&["answered", "under-way", "unanswered"]);
    table.take(&name("answered"), now).unwrap();
    table.answered(&name("answered"));
    table.take(&name("under-way"), now).unwrap();
    create(&mut table, "later", 2 * LIFE, now).unwrap();
    table.forget_over(now + LIFE - Duration::from_nanos(1));
    assert_eq!(table.counts().rooms, 4);
    table.forget_over(now + LIFE);
    assert!(table.has("later") && !table.has("unanswered"));
    let Counts {
        rooms,
        created,
        answered,
        unanswered,
        ..
    } = table.counts();
    assert_eq!((rooms, created, answered, unanswered), (1, 4, 2, 1));
    // What comes too late of a room that is forgotten changes nothing.
    table.answered(&name("unanswered"));
    table.give_back(&name("unanswered"));
    assert_eq!(table.counts().answered, 2);
}

#[test]
fn rooms_are_no_more_than_there_may_be_and_one_that_is_over_makes_place() {
    let (mut table, now) = with_rooms(&[]);
    for number in 0..100 {
        let life = LIFE + Duration::from_secs(number);
        create(&mut table, &number.to_string(), life, now).unwrap();
    }
    let later = now + Duration::from_secs(1);
    let full = create(&mut table, "more", LIFE, later).unwrap_err();
    assert_eq!(full.for_now, LIFE - Duration::from_secs(1));
    assert_eq!((table.counts().rooms, refused(&table, "full")), (100, 1));
    create(&mut table, "more", LIFE, now + LIFE).unwrap();
    assert_eq!(table.counts().rooms, 100);
    // However many are over, a call forgets a few of them, and all are forgotten in the end.
    let end = now + 4 * LIFE;
    create(&mut table, "last", LIFE, end).unwrap();
    assert_eq!(table.counts().rooms, 100 - 64 + 1);
    table.forget_over(end);
    assert_eq!(table.counts().rooms, 1);
}

#[test]
fn place_of_the_message_has_one_of_many_publishers_at_once() {
    let (one_shots, now) = (OneShots::new(), Instant::now());
    for _ in 0..100 {
        let room = one_shots.create("login", LIFE, 1_000, now).unwrap().room;
        let taken = thread::scope(|scope| {
            let publishers = [(); 4].map(|()| scope.spawn(|| one_shots.take(&room, now).is_ok()));
            let taken = publishers.map(|it| it.join().unwrap());
            taken.iter().filter(|it| **it).count()
        });
        assert_eq!(taken, 1);
    }
}

#[test]
fn names_and_secrets_are_128_random_bits_each_and_are_not_shown() {
    let (one_shots, now) = (OneShots::new(), Instant::now());
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let Created { room, secret } = one_shots.create("login", LIFE, 1_000, now).unwrap();
        let (namespace, own) = room.as_str().split_once(':').unwrap();
        assert_eq!(namespace, "login");
        for text in [own, &secret] {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
            assert_eq!((text.len(), bytes.len()), (22, 16));
            assert!(seen.insert(text.to_owned()), "{text} came twice");
        }
        assert_eq!(one_shots.check(&room, &secret, now), Ok(()));
        assert_eq!(one_shots.check(&room, own, now), Err(NoEntry::Closed));
        assert!(!format!("{one_shots:?}").contains(own));
    }
}
