//! Publications: runs, answers, held rooms, lost rooms.

use hub::{Delivery, LossReason, Request, RoomName, Target, Ticket};

use crate::harness::{CORE, Home, OTHER, PUBLICATION_BYTES, at, brief, connection};

#[test]
fn publication_to_a_reaped_room_is_refused() {
    let mut home = Home::new(2);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep(1_000);
    assert_eq!(brief(&home.publish(room)), ["#2:RoomGone"]);
}

#[test]
fn publications_of_a_turn_are_one_run_and_their_acknowledgements_come_behind_it() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    let (other, _) = home.join_from(OTHER, "b").unwrap();
    for (to, core, payload) in [
        (room, CORE, "x"),
        (other, CORE, "o"),
        (room, OTHER, "y"),
        (room, CORE, "z"),
    ] {
        home.say(Target::Room(to), connection(core), payload);
    }
    let own = home.take();
    assert_eq!(brief(&own), ["1+x,y,z", "#3@1", "#6@3", "#4@1"]);
    let theirs = home.rooms.take_outgoing(OTHER);
    assert_eq!(brief(&theirs), ["#5@2", "1+o"]);
    let Delivery::Published { position, .. } = own[2] else {
        panic!("an acknowledgement")
    };
    assert_eq!(position, at(101, 3));
    let Delivery::Messages { stamps, .. } = &own[0] else {
        panic!("a run")
    };
    assert_eq!(stamps[..], [1_003, 1_005, 1_006]);
}

#[test]
fn run_ends_before_a_join_of_its_room_and_not_before_one_of_another() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    let join = |name| Request::Join {
        name: RoomName::new(name).unwrap(),
        subscriber: connection(CORE),
        ticket: Ticket(99),
        terms: None,
    };
    home.say(Target::Room(room), connection(CORE), "x");
    home.rooms.apply(join("a"));
    home.say(Target::Room(room), connection(CORE), "y");
    home.rooms.apply(join("b"));
    home.say(Target::Room(room), connection(CORE), "z");
    let expected = [
        "1+x",
        "#2@1",
        "#99 joined",
        "#99 joined",
        "2+y,z",
        "#3@2",
        "#4@3",
    ];
    assert_eq!(brief(&home.take()), expected);
}

#[test]
fn run_that_is_large_enough_ends_and_the_next_goes_on() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    let large: &'static str = "x".repeat(150 << 10).leak();
    for _ in 0..3 {
        home.say(Target::Room(room), connection(CORE), large);
    }
    let firsts: Vec<_> = home.take().iter().filter_map(run_of).collect();
    assert_eq!(firsts, [(1, 2), (3, 1)]);
}

/// A run's first offset and length.
fn run_of(delivery: &Delivery) -> Option<(u64, usize)> {
    match delivery {
        Delivery::Messages { first, records, .. } => Some((*first, records.len())),
        _ => None,
    }
}

#[test]
fn publication_by_name_makes_the_room_within_the_budget_and_is_acknowledged() {
    let mut home = Home::new(1);
    assert_eq!(brief(&home.publish_by_name("a")), ["#1@1"]);
    assert_eq!(brief(&home.publish_by_name("b")), ["#2:TooManyRooms"]);
    assert_eq!(home.join("a").unwrap().1, at(101, 1));
    assert_eq!(brief(&home.publish_by_name("a")), ["2+hello", "#4@2"]);
}

#[test]
fn held_room_keeps_the_order_of_its_publications_and_other_rooms_go_on() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    let (other, _) = home.join("b").unwrap();
    home.say(Target::Room(room), connection(CORE), "before");
    home.hold(room, CORE);
    home.say(Target::Room(room), connection(CORE), "x");
    home.say(Target::Room(other), connection(CORE), "o");
    home.say(Target::Room(room), connection(CORE), "y");
    let goes_on = ["1+before", "#3@1", "1+o", "#5@1"];
    assert_eq!(brief(&home.take()), goes_on);
    assert_eq!(home.join("a").unwrap(), (room, at(101, 1)));
    home.resume(room, CORE);
    home.say(Target::Room(room), connection(CORE), "z");
    assert!(!home.rooms.order_released());
    let released = ["2+x,y,z", "#4@2", "#6@3", "#8@4"];
    assert_eq!(brief(&home.take()), released);
    assert_eq!(home.rooms.waiting_bytes(), 0);
    assert_eq!(brief(&home.publish(room)), ["5+hello", "#9@5"]);
}

#[test]
fn room_is_held_until_the_last_core_has_resumed_or_has_left() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.join_from(OTHER, "a").unwrap();
    home.hold(room, CORE);
    home.hold(room, OTHER);
    home.resume(room, OTHER);
    assert!(home.publish(room).is_empty());
    home.hold(room, OTHER);
    home.hold(room, OTHER);
    home.resume(room, OTHER);
    home.rooms.order_released();
    assert!(home.take().is_empty());
    home.leave(room);
    home.rooms.order_released();
    assert_eq!(brief(&home.take()), ["#3@1"]);
    assert_eq!(brief(&home.rooms.take_outgoing(OTHER)), ["1+hello"]);
}

#[test]
fn core_without_subscribers_holds_nothing() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.hold(room, OTHER);
    assert_eq!(brief(&home.publish(room)), ["1+hello", "#2@1"]);
}

#[test]
fn held_room_is_not_reaped_while_publications_wait() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.hold(room, CORE);
    home.publish(room);
    home.leave(room);
    home.sweep(1_000);
    home.rooms.order_released();
    assert_eq!(brief(&home.take()), ["#2@1"]);
    home.sweep(1_999);
    assert!(home.rooms.contains("a"));
    home.sweep(2_000);
    assert!(!home.rooms.contains("a"));
}

#[test]
fn publications_wait_for_held_rooms_up_to_the_bound_and_not_a_byte_beyond() {
    for (spare, last) in [(0, None), (1, Some("#5:Busy"))] {
        let mut home = Home::with_waiting(10, 3 * PUBLICATION_BYTES - spare);
        let (room, _) = home.join("a").unwrap();
        let (other, _) = home.join("b").unwrap();
        home.hold(room, CORE);
        home.hold(other, CORE);
        assert!(home.publish(room).is_empty());
        assert!(home.publish(other).is_empty());
        assert_eq!(brief(&home.publish(room)).first().map(String::as_str), last);
        home.resume(room, CORE);
        home.rooms.order_released();
        assert_eq!(home.rooms.waiting_bytes(), PUBLICATION_BYTES);
        home.take();
        assert!(home.publish(other).is_empty(), "there is room again");
    }
}

#[test]
fn released_publications_are_ordered_a_bounded_number_a_turn_in_turns_of_all_rooms() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    let (other, _) = home.join("b").unwrap();
    home.hold(room, CORE);
    home.hold(other, CORE);
    (0..1_500).for_each(|_| drop(home.publish(room)));
    (0..10).for_each(|_| drop(home.publish(other)));
    home.resume(room, CORE);
    home.resume(room, CORE);
    home.resume(other, CORE);
    let runs =
        |deliveries: Vec<Delivery>| -> Vec<_> { deliveries.iter().filter_map(run_of).collect() };
    assert!(home.rooms.order_released());
    assert_eq!(runs(home.take()), [(1, 1_024)]);
    home.hold(room, CORE);
    assert!(!home.rooms.order_released());
    assert_eq!(runs(home.take()), [(1, 10)]);
    home.resume(room, CORE);
    home.publish(room);
    assert!(!home.rooms.order_released());
    assert_eq!(runs(home.take()), [(1_025, 477)]);
}

#[test]
fn lost_room_tells_each_core_once_refuses_what_waits_and_begins_another_epoch() {
    let mut home = Home::new(1);
    let (room, _) = home.join("a").unwrap();
    home.join("a").unwrap();
    home.join_from(OTHER, "a").unwrap();
    home.say(Target::Room(room), connection(CORE), "before");
    home.hold(room, OTHER);
    home.say(Target::Room(room), connection(CORE), "x");
    home.rooms.apply(Request::Lose {
        name: RoomName::new("a").unwrap(),
        reason: LossReason::Gap,
    });
    let own = ["1+before", "#4@1", "lost:Gap", "#5:RoomGone"];
    assert_eq!(brief(&home.take()), own);
    let theirs = home.rooms.take_outgoing(OTHER);
    assert_eq!(brief(&theirs), ["1+before", "lost:Gap"]);
    assert_eq!(home.rooms.waiting_bytes(), 0);

    let (new, position) = home.join("a").unwrap();
    assert_eq!(position, at(102, 0));
    home.leave(room);
    assert_eq!(brief(&home.publish(room)), ["#7:RoomGone"]);
    assert_eq!(brief(&home.publish(new)), ["1+hello", "#8@1"]);
}

#[test]
fn room_that_is_released_more_than_once_has_its_turn_once() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.hold(room, CORE);
    (0..1_024).for_each(|_| drop(home.publish(room)));
    for _ in 0..3 {
        home.hold(room, CORE);
        home.resume(room, CORE);
    }
    assert!(!home.rooms.order_released());
    assert_eq!(home.take().iter().filter_map(run_of).count(), 1);
}
