//! Rooms with a table: the latest message of each key, for who comes; what has no space in it, and how long it
//! stays.

use std::sync::Arc;

use bytes::Bytes;
use hub::{
    AnswerLimits, Delivery, Details, HistoryLimits, HomeBounds, Keyed, Record, Recover, Recovered,
    Request, RoomName, RoomRules, TableLimits, Target, Terms,
};

use crate::harness::{BOUNDS, CORE, Home, OTHER, PUBLICATION_BYTES, brief, connection, same};

const LIMITS: TableLimits = TableLimits {
    keys: 3,
    bytes: usize::MAX,
    ttl_ms: 5_000,
};

const AMPLE: HomeBounds = HomeBounds {
    answer: AnswerLimits {
        messages: 1,
        bytes: usize::MAX,
    },
    ..BOUNDS
};

fn rules(table: TableLimits) -> RoomRules {
    RoomRules {
        table: Some(table),
        ..RoomRules::default()
    }
}

fn home() -> Home {
    Home::with(10, AMPLE, rules(LIMITS))
}

/// A publication, `key=payload`, or a removal, `-key`.
fn record(text: &'static str) -> Record {
    let (key, payload) = match text.strip_prefix('-') {
        Some(key) => (key, None),
        None => text
            .split_once('=')
            .map(|(key, it)| (key, Some(it)))
            .unwrap(),
    };
    Record {
        tag: 0,
        payload: Bytes::from_static(payload.unwrap_or_default().as_bytes()),
        details: Some(Arc::new(Details {
            keyed: Some(Keyed {
                key: key.into(),
                is_removed: payload.is_none(),
            }),
            ..Details::default()
        })),
    }
}

/// Publishes all of these in one turn; what the first core is told.
fn set(home: &mut Home, name: &str, texts: &[&'static str]) -> Vec<String> {
    for text in texts {
        let ticket = home.ticket();
        home.rooms.apply(Request::Publish {
            to: Target::Name(RoomName::new(name).unwrap()),
            publisher: connection(CORE),
            ticket,
            stamp: 1_000 + ticket.0,
            record: record(text),
        });
    }
    brief(&home.take())
}

/// What one who comes is given: `offset key=payload`; the room is left again.
fn table(home: &mut Home, name: &str) -> Vec<String> {
    let ticket = home.ticket();
    let answers = home.apply(Request::Join {
        name: RoomName::new(name).unwrap(),
        subscriber: connection(CORE),
        ticket,
        terms: Some(Box::new(Terms {
            recover: Some(Recover::State),
            member: None,
        })),
    });
    let Some(Delivery::Joined {
        room,
        recovered: Some(Recovered::State(all)),
        ..
    }) = answers.into_iter().next_back()
    else {
        panic!("a join's answer")
    };
    home.leave(room);
    let shown = all.iter().map(|(offset, record)| {
        let payload = str::from_utf8(&record.payload).unwrap();
        format!("{offset} {}={payload}", record.keyed().unwrap().key)
    });
    shown.collect()
}

#[test]
fn who_comes_is_given_the_latest_message_of_each_key() {
    let mut home = home();
    assert_eq!(table(&mut home, "a"), [""; 0]);
    set(&mut home, "a", &["eur=1", "usd=1", "gbp=1"]);
    set(&mut home, "a", &["eur=2", "-gbp", "eur=3"]);
    assert_eq!(table(&mut home, "a"), ["6 eur=3", "2 usd=1"]);
    assert_eq!(table(&mut home, "b"), [""; 0]);
}

#[test]
fn update_of_a_turn_is_in_the_table_of_who_comes_or_behind_its_answer() {
    let mut home = home();
    home.join("a").unwrap();
    let say = |home: &mut Home, text| {
        let ticket = home.ticket();
        home.rooms.apply(Request::Publish {
            to: Target::Name(RoomName::new("a").unwrap()),
            publisher: connection(OTHER),
            ticket,
            stamp: 1_000 + ticket.0,
            record: record(text),
        });
    };
    say(&mut home, "eur=1");
    let ticket = home.ticket();
    home.rooms.apply(Request::Join {
        name: RoomName::new("a").unwrap(),
        subscriber: connection(CORE),
        ticket,
        terms: Some(Box::new(Terms {
            recover: Some(Recover::State),
            member: None,
        })),
    });
    say(&mut home, "eur=2");
    let told = home.take();
    assert_eq!(brief(&told), ["1+1", "#3 joined", "2+2"]);
    let Delivery::Joined { recovered, .. } = &told[1] else {
        panic!("a join's answer")
    };
    let Some(Recovered::State(all)) = recovered else {
        panic!("a table")
    };
    assert_eq!((all.len(), &all[0].1.payload[..]), (1, &b"1"[..]));
}

#[test]
fn key_beyond_the_most_is_refused_and_nobody_is_told_of_it() {
    let mut home = home();
    home.join("a").unwrap();
    let told = set(&mut home, "a", &["a=1", "b=1", "c=1", "d=1", "a=2"]);
    assert_eq!(
        told,
        ["#5:TableFull", "1+1,1,1,2", "#2@1", "#3@2", "#4@3", "#6@4"]
    );
    assert_eq!(
        set(&mut home, "a", &["-b", "d=1"]),
        ["5+,1", "#7@5", "#8@6"]
    );
    assert_eq!(table(&mut home, "a"), ["4 a=2", "3 c=1", "6 d=1"]);
}

#[test]
fn removal_of_what_is_not_there_is_answered_and_told_to_nobody() {
    let mut home = home();
    home.join("a").unwrap();
    assert_eq!(set(&mut home, "a", &["-a"]), ["#2@0"]);
    assert_eq!(
        set(&mut home, "a", &["a=1", "-a", "-a"]),
        ["#5@2", "1+1,", "#3@1", "#4@2"]
    );
}

#[test]
fn table_never_has_more_bytes_than_its_rules_an_answer_or_half_of_the_memory_permit() {
    let one = {
        let mut home = home();
        set(&mut home, "a", &["a=1"]);
        home.rooms.past_bytes()
    };
    let ample = usize::MAX;
    for (of_rules, of_answer, of_memory) in [
        (2 * one, ample, ample),
        (ample, 2 * one, ample),
        (ample, ample, 4 * one),
    ] {
        let bounds = HomeBounds {
            past_bytes: of_memory,
            answer: AnswerLimits {
                messages: 1,
                bytes: of_answer,
            },
            ..BOUNDS
        };
        let limits = TableLimits {
            bytes: of_rules,
            ..LIMITS
        };
        let mut home = Home::with(10, bounds, rules(limits));
        let told = set(&mut home, "a", &["a=1", "b=1", "c=1", "b=2", "b=22"]);
        assert_eq!(
            told,
            ["#3:TableFull", "#5:TableFull", "#1@1", "#2@2", "#4@3"]
        );
        let is_for_all = of_memory != ample;
        let told = set(&mut home, "b", &["a=1"]);
        assert_eq!(told == ["#6:TableFull"], is_for_all, "{told:?}");
        assert_eq!(set(&mut home, "a", &["-a"]), ["#7@4"]);
        assert_eq!(set(&mut home, "a", &["a=1"]), ["#8@5"]);
    }
}

#[test]
fn table_of_a_room_that_nobody_uses_goes_with_it_after_its_time() {
    let mut home = home();
    let (room, _) = home.join("a").unwrap();
    set(&mut home, "a", &["a=1"]);
    home.sweep(20_000);
    assert_eq!(table_bytes(&home), 1, "somebody is there");
    home.leave(room);
    home.sweep(21_000);
    home.sweep(24_999);
    assert_eq!(table(&mut home, "a"), ["1 a=1"]);
    // Whoever comes, and whoever publishes, begins its time anew.
    home.sweep(29_998);
    set(&mut home, "a", &["b=1"]);
    home.sweep(34_997);
    assert_eq!(table_bytes(&home), 1);
    home.sweep(35_998);
    assert_eq!((table_bytes(&home), home.rooms.contains("a")), (0, false));
    assert_eq!(table(&mut home, "a"), [""; 0]);
}

/// Whether anything is kept.
fn table_bytes(home: &Home) -> usize {
    usize::from(home.rooms.past_bytes() > 0)
}

#[test]
fn table_is_dropped_when_rooms_have_none_any_more_and_a_history_when_they_get_one() {
    let mut home = home();
    set(&mut home, "a", &["a=1"]);
    let history = RoomRules {
        history: Some(HistoryLimits {
            messages: 9,
            bytes: usize::MAX,
            ttl_ms: u64::MAX,
        }),
        ..RoomRules::default()
    };
    let configure = |home: &mut Home, rules: RoomRules| {
        let rules = same(rules);
        home.rooms.apply(Request::Configure { rules });
        home.sweep(1);
    };
    configure(&mut home, history);
    assert_eq!(table_bytes(&home), 0);
    // A late publication with a key is a message like any other.
    set(&mut home, "a", &["a=2"]);
    assert_eq!(table(&mut home, "a"), ["2 a=2"]);
    configure(&mut home, rules(LIMITS));
    assert_eq!(table(&mut home, "a"), [""; 0]);
}

#[test]
fn update_that_waits_for_a_held_room_counts_its_key_and_is_judged_when_it_is_ordered() {
    const KEY: &str = "hello";
    let bounds = HomeBounds {
        waiting_bytes: 3 * PUBLICATION_BYTES,
        ..AMPLE
    };
    let limits = TableLimits { keys: 1, ..LIMITS };
    let mut home = Home::with(10, bounds, rules(limits));
    let (room, _) = home.join("a").unwrap();
    home.hold(room, CORE);
    assert_eq!(
        set(&mut home, "a", &["hello=", "other=", "again=1"]),
        ["#4:Busy"]
    );
    assert_eq!(home.rooms.waiting_bytes(), 2 * PUBLICATION_BYTES);
    home.resume(room, CORE);
    assert!(!home.rooms.order_released());
    assert_eq!(brief(&home.take()), ["#3:TableFull", "1+", "#2@1"]);
    assert_eq!(home.rooms.waiting_bytes(), 0);
    assert_eq!(table(&mut home, "a"), [format!("1 {KEY}=")]);
}
