//! Rooms come and go: reaping, retired logs, the budget; and what an operator sees.

use hub::{Delivery, Epoch, JoinRefusal, LossReason, Request, RoomBudget, RoomName, Rooms, Ticket};

use crate::harness::{BOUNDS, CORE, Home, at, brief, connection, same, with_positions};

#[test]
fn empty_room_is_reaped_after_its_idle_time_and_not_before() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.sweep(5_000);
    home.leave(room);
    home.sweep(5_999);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(6_000);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn room_with_a_subscriber_is_never_reaped() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    let (again, _) = home.join("a").unwrap();
    assert_eq!(room, again);
    home.sweep(10_000);
    assert_eq!(home.rooms.len(), 1);
}

#[test]
fn room_that_empties_again_waits_its_whole_idle_time_again() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.join("a").unwrap();
    home.sweep(900);
    home.leave(room);
    home.sweep(1_000);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(1_899);
    assert_eq!(home.rooms.len(), 1);
    home.sweep(1_900);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn room_that_is_empty_already_is_reaped_by_the_idle_time_of_the_sweep() {
    let mut home = Home::new(10);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep_after(1_000, 500);
    assert_eq!(home.rooms.len(), 1);
    home.sweep_after(2_000, 1_500);
    assert_eq!(home.rooms.len(), 1);
    home.sweep_after(100, 1_501);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn reaped_room_comes_back_with_another_epoch_and_from_the_start() {
    let mut home = Home::new(10);
    let (old, position) = home.join("a").unwrap();
    assert_eq!(position, at(101, 0));
    home.publish(old);
    assert_eq!(home.join("a").unwrap(), (old, at(101, 1)));
    home.leave(old);
    home.leave(old);
    home.sweep(1_000);
    let (new, position) = home.join("a").unwrap();
    assert_ne!(new, old);
    assert_eq!(position, at(102, 0));
}

#[test]
fn rooms_over_the_bound_are_refused_until_one_is_reaped() {
    let mut home = Home::new(2);
    let (a, _) = home.join("a").unwrap();
    home.join("b").unwrap();
    assert_eq!(home.join("c"), Err(JoinRefusal::TooManyRooms));
    assert!(
        home.join("b").is_ok(),
        "a room that is there is not one more"
    );
    home.leave(a);
    home.sweep(1_000);
    assert!(home.join("c").is_ok());
}

#[test]
fn rooms_that_are_allowed_later_are_made_and_those_over_a_lower_bound_stay() {
    let budget = RoomBudget::new(1);
    let mut rooms = Rooms::new(
        CORE,
        1,
        budget.clone(),
        BOUNDS,
        same(with_positions()),
        || Epoch(1),
    );
    let mut is_joined = |name| {
        rooms.apply(Request::Join {
            name: RoomName::new(name).unwrap(),
            subscriber: connection(CORE),
            ticket: Ticket(1),
            terms: None,
        });
        matches!(rooms.take_outgoing(CORE)[..], [Delivery::Joined { .. }])
    };
    assert!(is_joined("a") && !is_joined("b"));
    budget.allow(2);
    assert!(is_joined("b"));
    budget.allow(1);
    assert!(is_joined("a") && is_joined("b") && !is_joined("c"));
}

#[test]
fn leave_without_a_subscriber_changes_nothing() {
    let mut home = Home::new(2);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.leave(room);
    home.join("a").unwrap();
    assert_eq!(brief(&home.publish(room)), ["1+hello", "#3@1"]);
}

#[test]
fn rooms_that_are_dropped_give_their_budget_back() {
    let budget = RoomBudget::new(1);
    let mut rooms = Rooms::new(
        CORE,
        1,
        budget.clone(),
        BOUNDS,
        same(with_positions()),
        || Epoch(1),
    );
    rooms.apply(Request::Join {
        name: RoomName::new("a").unwrap(),
        subscriber: connection(CORE),
        ticket: Ticket(1),
        terms: None,
    });
    assert_eq!(budget.rooms(), 1);
    drop(rooms);
    assert_eq!(budget.rooms(), 0);
}

#[test]
fn look_tells_the_largest_rooms_and_those_with_news_since_the_look_before() {
    let mut home = Home::new(10);
    let (large, _) = home.join("large").unwrap();
    home.join("large").unwrap();
    let (busy, _) = home.join("busy").unwrap();
    home.join("quiet").unwrap();
    for _ in 0..3 {
        home.publish(busy);
    }
    home.publish(large);
    home.sweep(2_000);
    let mut look = |now_ms| {
        home.sweep(now_ms);
        let (reply, answer) = flume::bounded(1);
        assert!(home.apply(Request::Look { top: 2, reply }).is_empty());
        answer.recv().unwrap()
    };
    let view = look(2_000);
    assert_eq!((view.of, view.looked_at, view.window_ms), (3, 3, 2_000));
    let names = |rooms: &[hub::Seen]| -> Vec<_> {
        rooms.iter().map(|room| room.name.to_string()).collect()
    };
    assert_eq!(view.largest[0].name.as_str(), "large");
    assert_eq!((view.largest[0].subscribers, view.largest.len()), (2, 2));
    assert_eq!(names(&view.busiest), ["busy", "large"]);
    assert_eq!(
        (view.busiest[0].messages, view.busiest[0].messages_new),
        (3, 3)
    );
    let again = look(2_500);
    assert_eq!((again.window_ms, again.busiest.len()), (500, 0));
}

#[test]
fn room_without_subscribers_is_idle_from_its_latest_publication_on() {
    let mut home = Home::new(1);
    home.publish_by_name("a");
    home.sweep(900);
    home.publish_by_name("a");
    home.sweep(1_899);
    assert!(home.rooms.contains("a"));
    home.sweep(1_900);
    assert!(!home.rooms.contains("a"));
}

#[test]
fn epoch_and_offsets_are_kept_for_their_time_and_not_longer() {
    for (rejoined_ms, expected) in [(5_999, at(101, 2)), (6_000, at(102, 0))] {
        let mut home = Home::new(1);
        let (old, _) = home.join("a").unwrap();
        home.publish(old);
        home.publish(old);
        home.leave(old);
        home.sweep_keeping(5_000, 1_000, 1_000);
        assert!(!home.rooms.contains("a"));
        home.sweep_keeping(5_000, 1_000, rejoined_ms);
        let (new, position) = home.join("a").unwrap();
        assert_ne!(new, old);
        assert_eq!(position, expected);
    }
}

#[test]
fn kept_epoch_is_kept_again_from_its_next_reaping_on() {
    let mut home = Home::new(1);
    for now_ms in [1_000, 5_000, 9_000] {
        let (room, position) = home.join("a").unwrap();
        assert_eq!(position, at(101, 0));
        home.leave(room);
        home.sweep_keeping(5_000, 0, now_ms);
    }
    home.sweep_keeping(5_000, 0, 13_999);
    home.publish_by_name("a");
    assert_eq!(home.join("a").unwrap().1, at(101, 1));
}

#[test]
fn lost_log_is_not_kept() {
    let mut home = Home::new(1);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep_keeping(5_000, 1_000, 1_000);
    home.apply(Request::Lose {
        name: RoomName::new("a").unwrap(),
        reason: LossReason::Cut,
    });
    assert_eq!(home.join("a").unwrap().1, at(102, 0));
}

#[test]
fn kept_log_takes_a_place_until_a_new_room_needs_it() {
    let budget = RoomBudget::new(2);
    let mut next = 0;
    let epochs = move || {
        next += 1;
        Epoch(next)
    };
    let rooms = Rooms::new(
        CORE,
        2,
        budget.clone(),
        BOUNDS,
        same(with_positions()),
        epochs,
    );
    let mut home = Home { rooms, tickets: 0 };
    for (name, now_ms) in [("a", 10), ("b", 20)] {
        let (room, _) = home.join(name).unwrap();
        home.leave(room);
        home.sweep_keeping(5_000, 0, now_ms);
    }
    assert_eq!((home.rooms.len(), budget.rooms()), (0, 2));
    assert_eq!(home.join("c").unwrap().1, at(3, 0));
    assert_eq!(home.join("b").unwrap().1, at(2, 0));
    assert_eq!(home.join("a"), Err(JoinRefusal::TooManyRooms));
    assert_eq!(budget.rooms(), 2);
    drop(home);
    assert_eq!(budget.rooms(), 0);
}

#[test]
fn sweep_reaps_and_forgets_a_bounded_number_at_once() {
    let budget = RoomBudget::new(5_000);
    let rooms = Rooms::new(
        CORE,
        2,
        budget.clone(),
        BOUNDS,
        same(with_positions()),
        || Epoch(1),
    );
    let mut home = Home { rooms, tickets: 0 };
    for number in 0..3_000 {
        let (room, _) = home.join(&number.to_string()).unwrap();
        home.leave(room);
    }
    for left in [1_976, 952, 0] {
        home.sweep_keeping(5_000, 0, 10);
        assert_eq!((home.rooms.len(), budget.rooms()), (left, 3_000));
    }
    for left in [1_976, 952, 0] {
        home.sweep_keeping(5_000, 0, 5_010);
        assert_eq!(budget.rooms(), left);
    }
}
