//! Rooms that outlive their home: handed out some at a time, and taken by another one.

use std::sync::Arc;

use bytes::Bytes;
use hub::{
    Answer, AnswerRefusal, Delivery, Details, HistoryLimits, HomeBounds, Idempotency, JoinRefusal,
    Keyed, PageBounds, Position, PublishRefusal, Publisher, Question, Record, Recover, Recovered,
    Request, Restored, RoomName, RoomRules, SavedRoom, Since, TableLimits, Target, Terms,
    Unrecoverable, Version,
};

use crate::{
    asking::ask,
    harness::{BOUNDS, CORE, Home, connection, with_positions},
};

const ALL: PageBounds = PageBounds {
    rooms: 1_000,
    bytes: usize::MAX,
};

pub fn remembering() -> RoomRules {
    RoomRules {
        history: Some(HistoryLimits {
            messages: 4,
            bytes: 100_000,
            ttl_ms: 10_000,
        }),
        keeps_position: true,
        ..RoomRules::default()
    }
}

fn with_table() -> RoomRules {
    RoomRules {
        table: Some(TableLimits {
            keys: 10,
            bytes: 100_000,
            ttl_ms: 10_000,
        }),
        keeps_position: true,
        ..RoomRules::default()
    }
}

pub fn home(rules: RoomRules) -> Home {
    Home::with(100, BOUNDS, rules)
}

fn name(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

/// Publishes it, and returns the answer.
pub fn publish(
    home: &mut Home,
    room: &str,
    payload: &str,
    details: Details,
) -> Result<Position, PublishRefusal> {
    let ticket = home.ticket();
    let answers = home.apply(Request::Publish {
        to: Target::Name(name(room)),
        publisher: connection(CORE),
        ticket,
        stamp: 0,
        record: Record {
            tag: 7,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            details: Some(Arc::new(details)),
        },
    });
    match answers.last() {
        Some(Delivery::Published { position, .. }) => Ok(*position),
        Some(Delivery::Unpublished { reason, .. }) => Err(*reason),
        other => panic!("unexpected {other:?}"),
    }
}

fn said(text: &'static str) -> Details {
    Details {
        meta: Bytes::from_static(text.as_bytes()),
        ..Details::default()
    }
}

fn with_key(key: u128, body: u128) -> Details {
    Details {
        idempotency: Some(Idempotency { key, body }),
        ..Details::default()
    }
}

fn of_key(key: &str) -> Details {
    Details {
        keyed: Some(Keyed {
            key: key.into(),
            is_removed: false,
        }),
        publisher: Publisher::Unlimited,
        ..Details::default()
    }
}

/// All that a home hands out, in pages of this size.
pub fn save_in(home: &mut Home, most: PageBounds) -> Vec<SavedRoom> {
    let mut rooms = Vec::new();
    loop {
        let (reply, answer) = flume::bounded(1);
        home.rooms.apply(Request::Save { most, reply });
        let page = answer.try_recv().expect("a page");
        assert!(page.rooms.len() <= most.rooms);
        rooms.extend(page.rooms);
        if page.is_last {
            return rooms;
        }
    }
}

pub fn restore(home: &mut Home, rooms: Vec<SavedRoom>) -> Restored {
    let (reply, answer) = flume::bounded(1);
    home.rooms.apply(Request::Restore { rooms, reply });
    answer.try_recv().expect("an answer")
}

/// What somebody is given that comes back with this position, and the top.
pub fn back(home: &mut Home, room: &str, recover: Recover) -> (Position, Recovered) {
    let ticket = home.ticket();
    let answers = home.apply(Request::Join {
        name: name(room),
        subscriber: connection(CORE),
        ticket,
        terms: Some(Box::new(Terms {
            recover: Some(recover),
            member: None,
        })),
    });
    match answers.into_iter().next_back() {
        Some(Delivery::Joined {
            position,
            recovered: Some(recovered),
            ..
        }) => (position, recovered),
        other => panic!("unexpected {other:?}"),
    }
}

pub fn since(position: Position, offset: u64) -> Recover {
    Recover::Missed(Since {
        epoch: Some(position.epoch),
        offset,
    })
}

pub fn texts(recovered: &Recovered) -> Vec<(u64, String, String)> {
    let (Recovered::Exactly(messages) | Recovered::State(messages)) = recovered else {
        panic!("unexpected {recovered:?}")
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = messages.iter();
    all.map(|(offset, it)| (*offset, text(&it.payload), text(it.meta())))
        .collect()
}

#[test]
fn room_comes_back_with_its_epoch_and_messages_and_goes_on_behind_them() {
    let mut before = home(remembering());
    before.sweep(1_000);
    let mut last = None;
    for payload in ["a", "b", "c", "d", "e"] {
        last = Some(publish(&mut before, "room", payload, said(payload)).unwrap());
    }
    let last = last.unwrap();
    let saved = save_in(&mut before, ALL);
    assert!(before.rooms.is_empty());

    let mut after = home(remembering());
    after.sweep(2_000);
    let restored = restore(&mut after, saved);
    assert_eq!((restored.rooms, restored.positions), (1, 0));
    let (top, recovered) = back(&mut after, "room", since(last, 2));
    assert_eq!(top, last);
    let expected = [(3, "c", "c"), (4, "d", "d"), (5, "e", "e")];
    let expected = expected.map(|(at, text, meta)| (at, text.to_owned(), meta.to_owned()));
    assert_eq!(texts(&recovered), expected);
    // What was given up before is not there, and the cause is known.
    let (_, recovered) = back(&mut after, "room", since(last, 0));
    assert_eq!(recovered, Recovered::Impossible(Unrecoverable::Size));
    let next = publish(&mut after, "room", "f", Details::default()).unwrap();
    assert_eq!((next.epoch, next.offset), (last.epoch, 6));
}

#[test]
fn home_that_hands_out_its_rooms_orders_nothing_any_more() {
    let mut home = home(remembering());
    for room in ["a", "b", "c"] {
        publish(&mut home, room, "hello", Details::default()).unwrap();
    }
    let (reply, answer) = flume::bounded(1);
    let most = PageBounds { rooms: 1, bytes: 1 };
    home.rooms.apply(Request::Save { most, reply });
    assert!(!answer.try_recv().unwrap().is_last);
    for room in ["a", "b", "c", "d"] {
        let refused = publish(&mut home, room, "late", Details::default());
        assert_eq!(refused, Err(PublishRefusal::RoomGone), "{room}");
    }
    assert_eq!(home.join("d"), Err(JoinRefusal::TooManyRooms));
    for room in save_in(&mut home, ALL) {
        assert_eq!(room.position.offset, 1, "{}", room.name);
    }
}

#[test]
fn publications_of_the_turn_are_ordered_before_rooms_are_handed_out() {
    let mut home = home(remembering());
    home.say(Target::Name(name("room")), connection(CORE), "hello");
    let saved = save_in(&mut home, ALL);
    assert_eq!(saved[0].position.offset, 1);
    assert!(matches!(home.take()[..], [Delivery::Published { .. }]));
}

#[test]
fn pages_have_few_rooms_or_few_bytes_and_together_all() {
    let fill = || {
        let mut home = home(remembering());
        for room in 0..10 {
            publish(&mut home, &room.to_string(), "hello", Details::default()).unwrap();
        }
        home
    };
    let bytes = usize::MAX;
    assert_eq!(
        save_in(&mut fill(), PageBounds { rooms: 3, bytes }).len(),
        10
    );
    assert_eq!(
        save_in(&mut fill(), PageBounds { rooms: 9, bytes: 1 }).len(),
        10
    );
}

#[test]
fn position_of_a_reaped_room_comes_back() {
    let mut before = home(with_positions());
    let last = publish(&mut before, "room", "hello", Details::default()).unwrap();
    before.sweep_keeping(60_000, 1_000, 5_000);
    assert!(!before.rooms.contains("room"));
    let saved = save_in(&mut before, ALL);
    let mut after = home(with_positions());
    let restored = restore(&mut after, saved);
    assert_eq!((restored.rooms, restored.positions), (0, 1));
    let (_, position) = after.join("room").unwrap();
    assert_eq!(position, last);
}

#[test]
fn idempotency_key_is_known_after_it() {
    let mut before = home(with_positions());
    before.sweep(1_000);
    let first = publish(&mut before, "room", "hello", with_key(1, 10)).unwrap();
    let saved = save_in(&mut before, ALL);
    let mut after = home(with_positions());
    after.sweep(200_000);
    assert_eq!(restore(&mut after, saved.clone()).rooms, 1);
    assert_eq!(
        publish(&mut after, "room", "hello", with_key(1, 10)),
        Ok(first)
    );
    let conflict = publish(&mut after, "room", "other", with_key(1, 11));
    assert_eq!(conflict, Err(PublishRefusal::Conflict));

    let mut late = home(with_positions());
    late.sweep(400_000);
    assert_eq!(restore(&mut late, saved).positions, 1);
    let again = publish(&mut late, "room", "hello", with_key(1, 10)).unwrap();
    assert_eq!((again.epoch, again.offset), (first.epoch, 2));
}

#[test]
fn table_comes_back_whole() {
    let mut before = home(with_table());
    publish(&mut before, "room", "1", of_key("b")).unwrap();
    publish(&mut before, "room", "2", of_key("a")).unwrap();
    let last = publish(&mut before, "room", "3", of_key("b")).unwrap();
    let saved = save_in(&mut before, ALL);
    let mut after = home(with_table());
    assert_eq!(restore(&mut after, saved).rooms, 1);
    let (top, state) = back(&mut after, "room", Recover::State);
    assert_eq!(top, last);
    let expected = [(2, "2"), (3, "3")].map(|(at, text)| (at, text.to_owned(), String::new()));
    assert_eq!(texts(&state), expected);
}

#[test]
fn room_comes_back_as_far_as_the_rules_of_now_keep_it() {
    let saved = || {
        let mut before = home(remembering());
        publish(&mut before, "room", "hello", Details::default()).unwrap();
        save_in(&mut before, ALL)
    };
    let outcome = |rules| {
        let restored = restore(&mut home(rules), saved());
        (restored.rooms, restored.positions, restored.left_out)
    };
    assert_eq!(outcome(remembering()), (1, 0, 0));
    assert_eq!(outcome(with_positions()), (0, 1, 0));
    assert_eq!(outcome(with_table()), (0, 1, 0));
    assert_eq!(outcome(RoomRules::default()), (0, 0, 1));
    let mut old = home(remembering());
    old.sweep(10_000);
    // It was ordered at 0, and is too old.
    assert_eq!(restore(&mut old, saved()).positions, 1);
}

#[test]
fn room_for_which_there_is_no_place_is_left_out() {
    let mut before = home(remembering());
    for room in ["a", "b", "c"] {
        publish(&mut before, room, "hello", Details::default()).unwrap();
    }
    let saved = save_in(&mut before, ALL);
    let mut small = Home::with(2, BOUNDS, remembering());
    let restored = restore(&mut small, saved.clone());
    assert_eq!((restored.rooms, restored.left_out), (2, 1));
    // Twice the same is no second room.
    let mut twice = home(remembering());
    restore(&mut twice, saved.clone());
    assert_eq!(restore(&mut twice, saved.clone()).left_out, 3);
    let bounds = HomeBounds {
        positions: 1,
        ..BOUNDS
    };
    let mut few = Home::with(100, bounds, with_positions());
    let restored = restore(&mut few, saved);
    assert_eq!((restored.positions, restored.left_out), (1, 2));
}

#[test]
fn room_whose_offset_nobody_can_have_reached_does_not_come_back() {
    let mut before = home(remembering());
    publish(&mut before, "room", "hello", Details::default()).unwrap();
    let mut saved = save_in(&mut before, ALL);
    saved[0].position.offset = u64::MAX;
    let mut after = home(remembering());
    assert_eq!(restore(&mut after, saved).left_out, 1);
    assert_eq!(
        publish(&mut after, "room", "hello", Details::default())
            .unwrap()
            .offset,
        1
    );
}

#[test]
fn room_that_keeps_nothing_is_not_handed_out() {
    let mut home = home(remembering());
    publish(&mut home, "bare", "hello", Details::default()).unwrap();
    home.join("bare too").unwrap();
    assert!(save_in(&mut home, ALL).is_empty());
    // One whose history is over with the room itself is not, either.
    let passing = RoomRules {
        keeps_position: false,
        ..remembering()
    };
    let mut home = Home::with(100, BOUNDS, passing);
    publish(&mut home, "room", "hello", Details::default()).unwrap();
    assert!(save_in(&mut home, ALL).is_empty());
}

#[test]
fn nothing_that_comes_back_is_from_the_future() {
    let mut before = home(remembering());
    before.sweep(1_000_000);
    publish(&mut before, "room", "hello", Details::default()).unwrap();
    let saved = save_in(&mut before, ALL);
    let mut after = home(remembering());
    after.sweep(5_000);
    assert_eq!(restore(&mut after, saved).rooms, 1);
    after.sweep_after(60_000, 15_000);
    let (_, state) = back(&mut after, "room", Recover::State);
    assert_eq!(state, Recovered::State([].into()));
}

#[test]
fn room_that_came_back_is_reaped_like_any_other() {
    let mut before = home(remembering());
    publish(&mut before, "room", "hello", Details::default()).unwrap();
    let saved = save_in(&mut before, ALL);
    let mut after = home(remembering());
    restore(&mut after, saved);
    assert!(after.rooms.contains("room"));
    after.sweep_keeping(60_000, 1_000, 9_000);
    assert!(after.rooms.contains("room"), "its history is kept");
    after.sweep_keeping(60_000, 1_000, 11_000);
    after.sweep_keeping(60_000, 1_000, 13_000);
    assert!(!after.rooms.contains("room"));
}

#[test]
fn version_and_what_was_not_kept_come_back_and_what_is_whole_stays_so() {
    let mut before = home(remembering());
    let version = |version| Details {
        version: Some(Version {
            epoch: "e".into(),
            version,
        }),
        ..Details::default()
    };
    let passing = || Details {
        skips_history: true,
        ..Details::default()
    };
    for room in ["room", "reaped"] {
        publish(&mut before, room, "a", version(2)).unwrap();
        publish(&mut before, room, "typing", passing()).unwrap();
    }
    before.join("room").unwrap();
    before.sweep_keeping(1_000_000, 1_000, 10_000);
    assert!(!before.rooms.contains("reaped"));
    publish(&mut before, "room", "b", said("b")).unwrap();
    let last = publish(&mut before, "room", "typing", passing()).unwrap();
    let erasing = Details {
        erases: Some(3),
        ..passing()
    };
    let last = Position {
        offset: publish(&mut before, "room", "-", erasing).unwrap().offset,
        ..last
    };
    let saved = save_in(&mut before, ALL);
    assert_eq!(saved.len(), 2);

    let mut after = home(remembering());
    after.sweep(11_000);
    let restored = restore(&mut after, saved);
    assert_eq!((restored.rooms, restored.positions), (1, 1));
    let (top, recovered) = back(&mut after, "room", since(last, 1));
    assert_eq!((top, last.offset), (last, 5));
    assert_eq!(texts(&recovered), [(3, "-".to_owned(), String::new())]);
    let (_, recovered) = back(&mut after, "room", since(last, 0));
    assert_eq!(recovered, Recovered::Impossible(Unrecoverable::Time));
    for (room, top) in [("room", 5), ("reaped", 2)] {
        let outdated = publish(&mut after, room, "c", version(2)).unwrap();
        assert_eq!(outdated.offset, top, "{room}");
        let later = publish(&mut after, room, "c", version(3)).unwrap();
        assert_eq!(later.offset, top + 1, "{room}");
    }
}

#[test]
fn messages_that_do_not_lie_where_the_room_has_them_do_not_come_back() {
    let mut before = home(remembering());
    for payload in ["a", "b", "c"] {
        publish(&mut before, "room", payload, Details::default()).unwrap();
    }
    let good = save_in(&mut before, ALL).remove(0);
    let spoil = |spoil: fn(&mut SavedRoom)| {
        let mut room = good.clone();
        spoil(&mut room);
        let mut after = home(remembering());
        let position = room.position;
        restore(&mut after, vec![room]);
        let (top, recovered) = back(&mut after, "room", since(good.position, 1));
        assert_eq!(top, position);
        recovered
    };
    assert_eq!(texts(&spoil(|_| {})).len(), 2);
    for (nth, bad) in [
        |it: &mut SavedRoom| it.messages[2].offset = 9,
        |it: &mut SavedRoom| it.messages[0].offset = 2,
        |it: &mut SavedRoom| it.messages[0].offset = 0,
        |it: &mut SavedRoom| it.whole_from = 2,
        |it: &mut SavedRoom| it.whole_from = u64::MAX,
    ]
    .into_iter()
    .enumerate()
    {
        let recovered = spoil(bad);
        assert!(matches!(recovered, Recovered::Impossible(_)), "{nth}");
    }
}

#[test]
fn home_that_ends_forgets_and_clears_nothing_any_more() {
    let mut home = home(with_table());
    home.sweep(1_000);
    publish(&mut home, "a", "1", of_key("k")).unwrap();
    publish(&mut home, "b", "1", of_key("k")).unwrap();
    let (reply, answer) = flume::bounded(1);
    let most = PageBounds { rooms: 1, bytes: 1 };
    home.rooms.apply(Request::Save { most, reply });
    assert_eq!(answer.try_recv().unwrap().rooms.len(), 1);
    let busy = Answer::Refused(AnswerRefusal::Busy);
    for room in ["a", "b", "c"] {
        for question in [Question::ClearTable, Question::ForgetHistory] {
            assert_eq!(ask(&mut home, room, question), busy);
        }
    }
}
