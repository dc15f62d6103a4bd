//! Who is told that rooms are occupied and vacated, and when.

use std::{
    mem,
    sync::{Arc, Mutex},
};

use hub::{LossReason, Occupancy, Request, RoomBudget, RoomId, RoomName, RoomRules, Rooms, Target};

use crate::harness::{BOUNDS, CORE, Home, OTHER, connection, same};

const DEBOUNCE_MS: u64 = 5_000;

/// Writes down what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn note(&self, sign: char, room: &RoomName) {
        self.0.lock().unwrap().push(format!("{sign}{room}"));
    }

    fn take(&self) -> Vec<String> {
        mem::take(&mut self.0.lock().unwrap())
    }
}

impl Occupancy for Told {
    fn occupied(&self, room: &RoomName) {
        self.note('+', room);
    }

    fn vacated(&self, room: &RoomName) {
        self.note('-', room);
    }

    fn debounce_ms(&self) -> u64 {
        DEBOUNCE_MS
    }
}

fn telling() -> RoomRules {
    RoomRules {
        tells_occupancy: true,
        ..RoomRules::default()
    }
}

/// A home that tells of its rooms, but of those called `bare...`.
fn watched(rules: RoomRules) -> (Home, Arc<Told>) {
    let told: Arc<Told> = Arc::default();
    let mut home = Home::with(10, BOUNDS, rules);
    home.rooms = home.rooms.watched_by(Some(told.clone()));
    (home, told)
}

fn leave_from(home: &mut Home, core: hub::CoreId, room: RoomId) {
    home.rooms.apply(Request::Leave {
        room,
        subscriber: connection(core),
    });
}

#[test]
fn room_is_occupied_by_its_first_subscriber_and_vacated_when_the_last_has_been_gone_for_a_while() {
    let (mut home, told) = watched(telling());
    let (room, _) = home.join("a").unwrap();
    assert_eq!(told.take(), ["+a"]);
    home.join_from(OTHER, "a").unwrap();
    home.leave(room);
    home.sweep_after(60_000, 10_000);
    assert_eq!(told.take(), [""; 0]);
    leave_from(&mut home, OTHER, room);
    home.sweep_after(60_000, 14_999);
    assert_eq!(told.take(), [""; 0]);
    home.sweep_after(60_000, 15_000);
    assert_eq!(told.take(), ["-a"]);
    let (again, _) = home.join("a").unwrap();
    assert_eq!((again, told.take()), (room, vec!["+a".to_owned()]));
    home.leave(room);
    home.sweep_after(60_000, 20_000);
    assert_eq!(told.take(), ["-a"]);
}

#[test]
fn room_that_empties_and_fills_within_the_debounce_says_nothing() {
    let (mut home, told) = watched(telling());
    home.join("a").unwrap();
    assert_eq!(told.take(), ["+a"]);
    for round in 1..20 {
        let (room, _) = home.join("a").unwrap();
        home.leave(room);
        home.leave(room);
        home.sweep_after(60_000, round * (DEBOUNCE_MS - 1));
        home.join("a").unwrap();
    }
    assert_eq!(told.take(), [""; 0]);
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.leave(room);
    // The sweep finds an older entry of the room first, and then waits its whole time.
    home.sweep_after(600_000, 94_981);
    home.sweep_after(600_000, 99_980);
    assert_eq!(told.take(), [""; 0]);
    home.sweep_after(600_000, 99_981);
    assert_eq!(told.take(), ["-a"]);
}

#[test]
fn room_is_kept_until_it_has_been_said_to_be_vacated() {
    let (mut home, told) = watched(telling());
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep_after(10, 1_000);
    home.join("a").unwrap();
    home.leave(room);
    home.sweep_after(10, 5_999);
    assert_eq!(told.take(), ["+a"]);
    assert_eq!(home.rooms.len(), 1);
    home.sweep_after(10, 6_000);
    home.sweep_after(10, 6_020);
    assert_eq!(told.take(), ["-a"]);
    assert_eq!(home.rooms.len(), 0);
}

#[test]
fn lost_room_is_vacated_at_once_and_occupied_anew() {
    let (mut home, told) = watched(telling());
    home.join("a").unwrap();
    home.apply(Request::Lose {
        name: RoomName::new("a").unwrap(),
        reason: LossReason::Gap,
    });
    home.join("a").unwrap();
    assert_eq!(told.take(), ["+a", "-a", "+a"]);
    home.sweep_after(1_000, 20_000);
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn publications_and_rooms_whose_rules_say_nothing_are_not_told_of() {
    let (mut home, told) = watched(telling());
    home.publish_by_name("a");
    let (room, _) = home.join("bare").unwrap();
    home.leave(room);
    home.say(
        Target::Name(RoomName::new("bare").unwrap()),
        connection(CORE),
        "x",
    );
    home.take();
    home.sweep_after(1_000, 20_000);
    home.rooms.vacate_all();
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn room_is_told_of_by_new_rules_and_vacated_by_whichever_hold_then() {
    let (mut home, told) = watched(RoomRules::default());
    let (room, _) = home.join("a").unwrap();
    home.sweep(0);
    assert_eq!(told.take(), [""; 0]);
    home.apply(Request::Configure {
        rules: same(telling()),
    });
    home.sweep(1);
    assert_eq!(told.take(), ["+a"]);
    home.apply(Request::Configure {
        rules: same(RoomRules::default()),
    });
    home.sweep(2);
    home.leave(room);
    home.sweep(10_000);
    assert_eq!(told.take(), ["-a"]);
}

#[test]
fn end_vacates_all_rooms_that_are_said_to_be_occupied() {
    let (mut home, told) = watched(telling());
    home.join("a").unwrap();
    let (b, _) = home.join("b").unwrap();
    home.leave(b);
    let (c, _) = home.join("c").unwrap();
    home.leave(c);
    home.sweep_after(60_000, 5_000);
    home.join("bare").unwrap();
    assert_eq!(told.take(), ["+a", "+b", "+c", "-b", "-c"]);
    home.join("b").unwrap();
    home.leave(b);
    home.rooms.vacate_all();
    assert_eq!(told.take(), ["+b", "-a", "-b"]);
}

#[test]
fn home_without_anybody_to_tell_tells_nothing() {
    let mut home = Home::with(10, BOUNDS, telling());
    let (room, _) = home.join("a").unwrap();
    home.leave(room);
    home.sweep_after(10, 1_000);
    assert_eq!(home.rooms.len(), 0);
    let rooms = Rooms::new(CORE, 2, RoomBudget::new(1), BOUNDS, same(telling()), || {
        hub::Epoch(1)
    });
    let mut rooms = rooms.watched_by(None);
    rooms.vacate_all();
}
