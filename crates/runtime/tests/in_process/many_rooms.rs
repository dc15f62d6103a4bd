//! One connection in many rooms, which it joins and leaves at any time.

use std::{collections::HashMap, time::Duration};

use runtime::DriverChoice;

use crate::{
    harness::{PATIENCE, Running, start, start_with},
    told::{Teller, Told},
};

on_both_drivers![
    connection_hears_all_of_128_rooms_in_order_and_may_have_no_more,
    room_that_is_asked_for_twice_speaks_twice,
    leaving_before_the_answer_is_leaving,
    ticket_of_a_room_that_was_left_stands_for_no_other,
    refused_join_or_publication_names_its_ticket_and_closes_nothing,
    kept_position_outlives_an_empty_room,
    position_that_is_not_kept_is_another_with_the_next_life_of_a_room,
];

/// The default of `rooms_per_connection_max`.
const ROOMS: usize = 128;

/// Messages that each publisher has for each room.
const EACH: usize = 3;

/// Hears so many messages of each of these rooms, in order and without gaps after `from`.
fn hears_all(teller: &mut Teller, rooms: &[usize], from: &HashMap<String, u64>, each: usize) {
    let mut heard = from.clone();
    for _ in 0..rooms.len() * each {
        let said = teller.said();
        let last = heard.get_mut(&said.room).expect("a room that was joined");
        assert_eq!(said.offset, *last + 1, "{said:?}");
        *last += 1;
    }
    for room in rooms {
        let room = format!("r{room}");
        assert_eq!(heard[&room], from[&room] + each as u64, "{room}");
    }
}

fn connection_hears_all_of_128_rooms_in_order_and_may_have_no_more(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let mut publishers: Vec<_> = Teller::on_both_cores(&server, "/", 1)
        .into_iter()
        .flatten()
        .collect();
    let mut member = Teller::connect(&server, "/");
    let names: Vec<_> = (0..ROOMS).map(|room| format!("r{room}")).collect();
    member.join(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut at: HashMap<_, _> = names.iter().map(|name| (name.clone(), 0)).collect();

    let all: Vec<_> = (0..ROOMS).collect();
    publish_in_all(&mut publishers, &all);
    hears_all(&mut member, &all, &at, 2 * EACH);
    at.values_mut()
        .for_each(|offset| *offset += 2 * EACH as u64);

    member.tell("join one-more");
    member.report("full");
    member.tell("leave 77");
    member.report("gone 77");
    member.join(&["r128"]);
    at.insert("r128".into(), 0);
    member.tell("join one-more");
    member.report("full");

    // The number of a room that was joined before stands for the same room still.
    for room in [0, 76, 78, 127, 128] {
        member.tell(&format!("publish {room} from within"));
        member.report("published");
        let said = member.said();
        let last = at.get_mut(&format!("r{room}")).unwrap();
        *last += 1;
        assert_eq!((said.room, said.offset), (format!("r{room}"), *last));
    }
    member.tell("publish 77 from without");
    member.report("absent");

    let others: Vec<_> = (0..=ROOMS).filter(|room| *room != 77).collect();
    publish_in_all(&mut publishers, &[77]);
    publish_in_all(&mut publishers, &others);
    hears_all(&mut member, &others, &at, 2 * EACH);
    member.hears_nothing_more();
}

/// Each publishes in each of these rooms, and waits until that has happened.
fn publish_in_all(publishers: &mut [Teller], rooms: &[usize]) {
    for nth in 0..EACH {
        for room in rooms {
            for publisher in &mut *publishers {
                publisher.tell(&format!("publish-to r{room} {nth}"));
            }
        }
    }
    for publisher in publishers {
        for _ in 0..EACH * rooms.len() {
            publisher.report("published");
        }
    }
}

fn room_that_is_asked_for_twice_speaks_twice(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let mut member = Teller::connect(&server, "/");
    member.join(&["r", "r"]);
    member.tell("publish 0 to both");
    let (one, other) = (member.said(), member.said());
    assert_eq!(one, other);
    assert_eq!((one.offset, &*one.text), (1, "to both"));
    member.report("published 0");
    member.tell("leave 0");
    member.report("gone 0");
    member.tell("publish 1 to one");
    let one = member.said();
    assert_eq!((one.offset, &*one.text), (2, "to one"));
    member.report("published 1");
    member.hears_nothing_more();
}

fn leaving_before_the_answer_is_leaving(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let mut publisher = Teller::connect(&server, "/");
    for mut member in Teller::on_both_cores(&server, "/", 1).into_iter().flatten() {
        // In one write, so that the room cannot have answered between them.
        member.tell_all(&[
            "join r",
            "leave 0",
            "join r",
            "join other",
            "wait",
            "say all is answered",
        ]);
        member.report("gone 0");
        for _ in 0..2 {
            let joined = member.report("joined");
            assert!(!joined.starts_with("0 "), "{joined}");
        }
        member.report("all is answered");
        publisher.tell("publish-to r once");
        publisher.report("published");
        assert_eq!(member.said().text, "once");
        member.hears_nothing_more();
    }
}

fn ticket_of_a_room_that_was_left_stands_for_no_other(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let mut member = Teller::connect(&server, "/");
    member.join(&["a"]);
    member.tell_all(&["leave 0", "join b", "wait", "publish 0 no"]);
    member.report("gone 0");
    member.report("joined 1");
    member.report("absent");
    member.tell("leave 0");
    member.report("gone 0");
    member.tell("publish 1 yes");
    member.report("published 0");
    assert_eq!(member.said().text, "yes");
    member.hears_nothing_more();
}

fn refused_join_or_publication_names_its_ticket_and_closes_nothing(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| config.rooms_max = 2);
    let mut teller = Teller::connect(&server, "/");
    teller.join(&["a", "b"]);
    teller.tell_all(&[
        "publish-to c no",
        "join c",
        "publish 1 yes",
        "publish-to d no",
    ]);
    // The rooms' homes may be on two cores: their answers have no order.
    let mut reports: Vec<_> = (0..4).map(|_| teller.report("")).collect();
    reports.sort();
    assert!(reports[0].starts_with("published 1 "), "{reports:?}");
    assert_eq!(
        reports[1..],
        [
            "refused 2 TooManyRooms",
            "unpublished 0 TooManyRooms",
            "unpublished 2 TooManyRooms"
        ]
    );
    assert_eq!(teller.said().text, "yes");
    // The refused room has no place among those of the connection.
    teller.tell("publish 2 no");
    teller.report("absent");
    teller.hears_nothing_more();
}

/// Publishes three messages in a room, leaves it and waits until it is gone; returns the position of the
/// last, and whoever has done this.
fn life_of_a_room(server: &Running) -> (Teller, hub::Position) {
    let mut teller = Teller::connect(server, "/");
    teller.tell("join r");
    assert_eq!(teller.position("joined 0").offset, 0);
    for _ in 0..3 {
        teller.tell("publish 0 something");
    }
    teller.report("published 0");
    teller.report("published 1");
    let last = teller.position("published 2");
    assert_eq!(last.offset, 3);
    teller.tell("leave 0");
    for _ in 0..3 {
        teller.said();
    }
    teller.report("gone 0");
    let until = std::time::Instant::now() + PATIENCE;
    let rooms = || {
        let monitor = server.server().monitor();
        let of = |core| monitor.rooms_of(core, 1).recv_timeout(PATIENCE).unwrap().of;
        of(0) + of(1)
    };
    while rooms() > 0 {
        assert!(std::time::Instant::now() < until, "the room is not reaped");
        std::thread::sleep(Duration::from_millis(5));
    }
    (teller, last)
}

fn kept_position_outlives_an_empty_room(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        config.timeouts.room_idle = Duration::from_millis(20);
        config.timeouts.position = PATIENCE;
    });
    let (mut teller, last) = life_of_a_room(&server);
    teller.tell("join r");
    assert_eq!(teller.position("joined 1"), last);
    teller.tell("publish 1 something");
    let next = teller.position("published 3");
    assert_eq!((next.epoch, next.offset), (last.epoch, 4));
    assert_eq!(teller.said().offset, 4);
}

fn position_that_is_not_kept_is_another_with_the_next_life_of_a_room(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        config.timeouts.room_idle = Duration::from_millis(20);
        config.timeouts.position = Duration::ZERO;
    });
    let (mut teller, last) = life_of_a_room(&server);
    // By its name, and without a subscriber, which makes a room as well.
    teller.tell("publish-to r something");
    let first = teller.position("published 3");
    assert_eq!(first.offset, 1);
    assert_ne!(first.epoch, last.epoch);
    teller.hears_nothing_more();
}
