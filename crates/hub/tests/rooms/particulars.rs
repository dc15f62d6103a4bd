//! What few messages have: a version, the wish not to be kept, and that of which nothing is to be left.

use std::sync::Arc;

use hub::{
    Delivery, Details, HistoryLimits, Idempotency, Newest, Page, Question, Recover, Recovered,
    Request, RoomRules, TableLimits, Unrecoverable, Version,
};

use crate::{
    asking::{
        AMPLE, everything, name, of_key, past, recover, recovered, say, since, with_history,
        with_table,
    },
    harness::{CORE, Home, brief, same},
};

fn version(epoch: &str, version: u64) -> Details {
    Details {
        version: Some(Version {
            epoch: epoch.into(),
            version,
        }),
        ..Details::default()
    }
}

fn passing() -> Details {
    Details {
        skips_history: true,
        ..Details::default()
    }
}

fn erasing(offset: u64, meta: &'static str) -> Details {
    Details {
        meta: meta.into(),
        erases: Some(offset),
        ..Details::default()
    }
}

/// Says all of these in one turn; what the first core is told.
fn say_all(home: &mut Home, said: &[(&'static str, Details)]) -> Vec<String> {
    for (payload, details) in said {
        say(home, "a", payload, details.clone());
    }
    brief(&home.take())
}

/// What is given to whoever has missed it: `offset payload`, or the cause.
fn given(recovered: Recovered) -> Result<Vec<String>, Unrecoverable> {
    match recovered {
        Recovered::Exactly(messages)
        | Recovered::State(messages)
        | Recovered::Newest { messages, .. } => Ok(messages
            .iter()
            .map(|(offset, it)| format!("{offset} {}", str::from_utf8(&it.payload).unwrap()))
            .collect()),
        Recovered::Impossible(cause) => Err(cause),
    }
}

#[track_caller]
fn check(home: &mut Home, wish: Recover, expected: &[&str]) {
    let given = given(recover(home, "a", wish)).unwrap();
    assert_eq!(given, expected);
}

#[test]
fn outdated_version_is_not_ordered_and_is_answered_with_the_position() {
    let mut home = with_history();
    home.join("a").unwrap();
    let told = say_all(
        &mut home,
        &[
            ("2", version("e", 2)),
            ("1", version("e", 1)),
            ("2 again", version("e", 2)),
            ("3", version("e", 3)),
            ("plain", Details::default()),
            ("3 again", version("e", 3)),
        ],
    );
    // The ticket of the join is 1.
    let expected = [
        "1+2", "#2@1", "#3@1", "#4@1", "2+3", "#5@2", "3+plain", "#6@3", "#7@3",
    ];
    assert_eq!(told, expected);
    let told = say_all(
        &mut home,
        &[
            ("first of another", version("f", 1)),
            ("late", version("f", 1)),
            ("of the first again", version("e", 1)),
        ],
    );
    let expected = [
        "4+first of another",
        "#8@4",
        "#9@4",
        "5+of the first again",
        "#10@5",
    ];
    assert_eq!(told, expected);
}

#[test]
fn versions_count_in_rooms_that_keep_nothing_and_in_each_room_by_itself() {
    let mut home = Home::with(10, AMPLE, RoomRules::default());
    let told = say_all(&mut home, &[("2", version("", 2)), ("1", version("", 1))]);
    assert_eq!(told, ["#1@1", "#2@1"]);
    say(&mut home, "b", "1", version("", 1));
    assert_eq!(brief(&home.take()), ["#3@1"]);
    say(&mut home, "b", "0", version("", 0));
    assert_eq!(brief(&home.take()), ["#4@1"]);
}

#[test]
fn repetition_is_known_before_its_version_is_judged() {
    let mut home = with_history();
    let once = |body| Details {
        idempotency: Some(Idempotency { key: 1, body }),
        ..version("e", 1)
    };
    let told = say_all(
        &mut home,
        &[
            ("1", once(1)),
            ("2", version("e", 2)),
            ("1", once(1)),
            ("1", once(2)),
        ],
    );
    assert_eq!(told, ["#1@1", "#2@2", "#3@1", "#4:Conflict"]);
}

#[test]
fn held_room_takes_no_version_it_might_have_to_judge_later() {
    let mut home = with_history();
    let (room, _) = home.join("a").unwrap();
    say_all(&mut home, &[("2", version("e", 2))]);
    home.hold(room, CORE);
    let told = say_all(
        &mut home,
        &[
            ("plain", Details::default()),
            ("3", version("e", 3)),
            ("2", version("e", 2)),
        ],
    );
    assert_eq!(told, ["#4:Busy", "#5@1"]);
    home.resume(room, CORE);
    assert!(!home.rooms.order_released());
    let told = say_all(&mut home, &[("3", version("e", 3))]);
    assert_eq!(told, ["2+plain", "#3@2", "3+3", "#6@3"]);
}

#[test]
fn version_is_known_for_as_long_as_the_position_is() {
    let mut home = with_history();
    say_all(&mut home, &[("5", version("e", 5))]);
    let bytes = home.rooms.past_bytes();
    home.sweep_keeping(10_000, 2_000, 1_000);
    assert!(home.rooms.past_bytes() < bytes);
    assert!(home.rooms.past_bytes() > 0, "the version counts");
    home.sweep_keeping(10_000, 2_000, 2_000);
    assert!(!home.rooms.contains("a"));
    assert_eq!(home.rooms.past_bytes(), 0);
    assert_eq!(say_all(&mut home, &[("4", version("e", 4))]), ["#2@1"]);
    assert!(home.rooms.past_bytes() > 0, "it has come back");
    assert_eq!(say_all(&mut home, &[("6", version("e", 6))]), ["#3@2"]);
    home.sweep_keeping(1_000, 2_000, 4_000);
    assert!(!home.rooms.contains("a"));
    home.sweep_keeping(1_000, 2_000, 5_000);
    assert_eq!(say_all(&mut home, &[("1", version("e", 1))]), ["#4@1"]);
}

#[test]
fn message_that_is_not_kept_has_its_place_and_takes_that_of_no_other() {
    let mut home = with_history();
    let (room, _) = home.join("a").unwrap();
    let said = |n: usize| ("kept", [Details::default(), passing()][n % 2].clone());
    let told = say_all(&mut home, &[said(0), said(1), said(0), said(1)]);
    assert_eq!(
        told,
        ["1+kept,kept,kept,kept", "#2@1", "#3@2", "#4@3", "#5@4"]
    );
    for _ in 0..10 {
        say_all(&mut home, &[("typing", passing())]);
    }
    home.leave(room);
    let kept = "14: 1 kept, 3 kept";
    assert_eq!(past(&mut home, "a", everything()), kept);
    for (offset, expected) in [
        (0, &["1 kept", "3 kept"][..]),
        (1, &["3 kept"]),
        (2, &["3 kept"]),
        (3, &[]),
        (9, &[]),
        (14, &[]),
    ] {
        check(&mut home, Recover::Missed(since(offset)), expected);
    }
    let beyond = recovered(&mut home, "a", 15);
    assert_eq!(given(beyond), Err(Unrecoverable::Epoch));
    let page = |offset, is_reversed| {
        Question::History(Box::new(Page {
            since: Some(since(offset)),
            limit: 9,
            is_reversed,
        }))
    };
    assert_eq!(past(&mut home, "a", page(2, false)), "14: 3 kept");
    assert_eq!(past(&mut home, "a", page(4, false)), "14: ");
    assert_eq!(past(&mut home, "a", page(14, true)), "14: 3 kept, 1 kept");
    assert_eq!(past(&mut home, "a", page(3, true)), "14: 1 kept");
}

#[test]
fn latest_message_is_the_latest_that_is_kept() {
    let mut home = with_history();
    let latest = |offset| Recover::Latest(since(offset));
    say_all(&mut home, &[("typing", passing())]);
    check(&mut home, latest(0), &[]);
    check(&mut home, Recover::State, &[]);
    say_all(
        &mut home,
        &[
            ("one", Details::default()),
            ("two", Details::default()),
            ("typing", passing()),
        ],
    );
    check(&mut home, latest(1), &["3 two"]);
    check(&mut home, latest(2), &["3 two"]);
    check(&mut home, latest(3), &[]);
    check(&mut home, latest(4), &[]);
    check(&mut home, latest(9), &["3 two"]);
    check(&mut home, Recover::State, &["3 two"]);
    let newest = Newest {
        messages: 9,
        age_ms: 1_000,
    };
    check(
        &mut home,
        Recover::Newest(None, newest),
        &["2 one", "3 two"],
    );
    check(
        &mut home,
        Recover::Newest(Some(since(2)), newest),
        &["3 two"],
    );
}

#[test]
fn what_expires_beside_messages_that_were_not_kept_is_missed_by_whoever_lacks_it() {
    let mut home = with_history();
    say_all(
        &mut home,
        &[("old", Details::default()), ("typing", passing())],
    );
    home.sweep(500);
    say_all(
        &mut home,
        &[("typing", passing()), ("new", Details::default())],
    );
    check(&mut home, Recover::Missed(since(0)), &["1 old", "4 new"]);
    home.sweep(1_000);
    let missed = given(recovered(&mut home, "a", 0));
    assert_eq!(missed, Err(Unrecoverable::Time));
    check(&mut home, Recover::Missed(since(1)), &["4 new"]);
    home.sweep(1_500);
    assert_eq!(
        given(recovered(&mut home, "a", 3)),
        Err(Unrecoverable::Time)
    );
    check(&mut home, Recover::Missed(since(4)), &[]);
}

#[test]
fn room_that_begins_to_keep_knows_nothing_of_before() {
    let mut home = Home::with(10, AMPLE, RoomRules::default());
    say_all(&mut home, &[("1", version("e", 1)), ("2", passing())]);
    let rules = RoomRules {
        history: Some(HistoryLimits {
            messages: 9,
            bytes: usize::MAX,
            ttl_ms: 1_000,
        }),
        ..RoomRules::default()
    };
    let follow = |home: &mut Home, rules| {
        home.rooms.apply(Request::Configure { rules: same(rules) });
        home.sweep(10);
    };
    follow(&mut home, rules.clone());
    say_all(&mut home, &[("3", passing()), ("4", Details::default())]);
    assert!(given(recovered(&mut home, "a", 1)).is_err());
    check(&mut home, Recover::Missed(since(2)), &["4 4"]);
    follow(&mut home, RoomRules::default());
    assert_eq!(
        given(recovered(&mut home, "a", 3)),
        Err(Unrecoverable::Size)
    );
    say_all(&mut home, &[("5", passing())]);
    follow(&mut home, rules);
    assert!(given(recovered(&mut home, "a", 4)).is_err());
    say_all(&mut home, &[("6", passing())]);
    check(&mut home, Recover::Missed(since(5)), &[]);
    assert!(given(recovered(&mut home, "a", 4)).is_err());
}

#[test]
fn erased_message_is_replaced_by_its_tombstone_where_it_is_kept() {
    let mut home = with_history();
    home.join("a").unwrap();
    let told = say_all(
        &mut home,
        &[
            ("hello", Details::default()),
            ("a long insult", Details::default()),
            ("bye", Details::default()),
        ],
    );
    assert_eq!(told[0], "1+hello,a long insult,bye");
    let told = say_all(&mut home, &[("-", erasing(2, "gone"))]);
    assert_eq!(told, ["4+-", "#5@4"], "everybody is told");
    let bytes = home.rooms.past_bytes();
    assert_eq!(
        past(&mut home, "a", everything()),
        "4: 1 hello, 2 -, 3 bye, 4 -"
    );
    let Recovered::Exactly(missed) = recovered(&mut home, "a", 1) else {
        panic!("all are kept");
    };
    let shown: Vec<_> = missed.iter().map(|(at, it)| (*at, it.meta())).collect();
    let gone = &b"gone"[..];
    assert_eq!(shown, [(2, gone), (3, b""), (4, gone)]);
    // Of those that are not kept, not yet, or are the tombstone itself, nothing can be erased.
    for offset in [0, 1, 5, 6, 7, u64::MAX] {
        home.rooms.take_outgoing(CORE);
        say_all(&mut home, &[("+", erasing(offset, ""))]);
    }
    let all = past(&mut home, "a", everything());
    assert_eq!(all, "10: 7 +, 8 +, 9 +, 10 +");
    assert!(home.rooms.past_bytes() < bytes);
    // What is said together was not known yet.
    say_all(&mut home, &[("x", erasing(9, "m")), ("y", erasing(9, ""))]);
    say_all(
        &mut home,
        &[("z", Details::default()), ("z", erasing(13, ""))],
    );
    let all = past(&mut home, "a", everything());
    assert_eq!(all, "14: 11 x, 12 y, 13 z, 14 z");
    assert_eq!(
        home.apply(Request::Lose {
            name: name("a"),
            reason: hub::LossReason::Cut,
        })
        .len(),
        1
    );
    assert_eq!(home.rooms.past_bytes(), 0);
}

#[test]
fn tombstone_that_is_not_kept_erases_all_the_same_and_keeps_the_time_of_its_message() {
    let mut home = with_history();
    say_all(&mut home, &[("insult", Details::default())]);
    home.sweep(600);
    let tombstone = Details {
        skips_history: true,
        ..erasing(1, "")
    };
    say_all(&mut home, &[("-", tombstone)]);
    assert_eq!(past(&mut home, "a", everything()), "2: 1 -");
    home.sweep(1_000);
    assert_eq!(past(&mut home, "a", everything()), "2: ");
}

#[test]
fn tombstone_longer_than_its_message_keeps_the_history_within_its_bytes() {
    let history = HistoryLimits {
        messages: 9,
        bytes: 400,
        ttl_ms: 1_000,
    };
    let rules = RoomRules {
        history: Some(history),
        ..RoomRules::default()
    };
    let mut home = Home::with(10, AMPLE, rules);
    say_all(
        &mut home,
        &[("1", Details::default()), ("2", Details::default())],
    );
    let long = "x".repeat(150);
    say(&mut home, "a", &long, erasing(1, ""));
    home.take();
    assert!(home.rooms.past_bytes() <= 400);
    let all = past(&mut home, "a", everything());
    assert_eq!(all, format!("3: 2 2, 3 {long}"));
}

#[test]
fn latest_message_of_a_key_is_erased_and_the_key_stays() {
    let mut home = with_table();
    say_all(&mut home, &[("1", of_key("a")), ("2", of_key("b"))]);
    say_all(&mut home, &[("-", erasing(1, "gone"))]);
    assert_eq!(past(&mut home, "a", Question::Table), "3: 1 -, 2 2");
    let Recovered::State(all) = recover(&mut home, "a", Recover::State) else {
        panic!("the table");
    };
    assert_eq!(
        (&*all[0].1.keyed().unwrap().key, all[0].1.meta()),
        ("a", &b"gone"[..])
    );
    // It is not the latest of its key any more.
    say_all(&mut home, &[("3", of_key("b")), ("-", erasing(2, ""))]);
    assert_eq!(past(&mut home, "a", Question::Table), "5: 1 -, 4 3");
    let both = Details {
        erases: Some(4),
        ..of_key("c")
    };
    say_all(&mut home, &[("c", both)]);
    assert_eq!(past(&mut home, "a", Question::Table), "6: 1 -, 4 3, 6 c");
}

#[test]
fn tombstone_has_to_have_space_in_a_table() {
    let one = {
        let mut home = with_table();
        say_all(&mut home, &[("12345", of_key("a"))]);
        home.rooms.past_bytes()
    };
    let table = TableLimits {
        keys: 9,
        bytes: one + 3,
        ttl_ms: 1_000,
    };
    let rules = RoomRules {
        table: Some(table),
        ..RoomRules::default()
    };
    let mut home = Home::with(10, AMPLE, rules);
    say_all(&mut home, &[("12345", of_key("a"))]);
    let told = say_all(
        &mut home,
        &[
            ("123456789", erasing(1, "")),
            ("1234", erasing(1, "")),
            ("12345678", erasing(1, "")),
            ("123456789", erasing(1, "")),
            ("x", of_key("b")),
            ("123456789", erasing(7, "")),
        ],
    );
    let expected = [
        "#2:TableFull",
        "#5:TableFull",
        "#6:TableFull",
        "#3@2",
        "#4@3",
        "#7@4",
    ];
    assert_eq!(told, expected);
    assert_eq!(home.rooms.past_bytes(), one + 3);
    assert_eq!(past(&mut home, "a", Question::Table), "4: 1 12345678");
}

#[test]
fn details_of_all_kinds_together_are_one_message() {
    let mut home = with_history();
    let all = |number| Details {
        skips_history: true,
        idempotency: Some(Idempotency {
            key: number,
            body: 1,
        }),
        ..Details {
            version: version("e", number as u64).version,
            ..erasing(1, "")
        }
    };
    say_all(&mut home, &[("insult", Details::default())]);
    let told = say_all(
        &mut home,
        &[("-", all(2)), ("-", all(2)), ("=", all(1)), ("+", all(3))],
    );
    assert_eq!(told, ["#2@2", "#3@2", "#4@2", "#5@3"]);
    assert_eq!(past(&mut home, "a", everything()), "3: 1 +");
}

/// A message whose details are shared by all of its publisher's is as it was.
#[test]
fn erasing_changes_no_other_message_with_the_same_details() {
    let mut home = with_history();
    home.join("a").unwrap();
    let shared = Arc::new(Details {
        meta: "ann".into(),
        ..Details::default()
    });
    for payload in ["1", "2"] {
        let ticket = home.ticket();
        home.rooms.apply(Request::Publish {
            to: hub::Target::Name(name("a")),
            publisher: crate::harness::connection(CORE),
            ticket,
            stamp: 1_000 + ticket.0,
            record: hub::Record {
                tag: 1,
                payload: payload.into(),
                details: Some(shared.clone()),
            },
        });
    }
    let told = home.take();
    say_all(&mut home, &[("-", erasing(1, "gone"))]);
    let Recovered::Exactly(all) = recovered(&mut home, "a", 0) else {
        panic!("all are kept");
    };
    let shown: Vec<_> = all.iter().map(|(_, it)| (it.tag, it.meta())).collect();
    let (gone, ann) = (&b"gone"[..], &b"ann"[..]);
    assert_eq!(shown, [(0, gone), (1, ann), (0, gone)]);
    let Delivery::Messages { records, .. } = &told[0] else {
        panic!("both messages");
    };
    assert!(records.iter().all(|it| it.meta() == ann));
}

#[test]
fn version_of_a_key_is_compared_with_that_of_its_own_value() {
    let mut home = with_table();
    let set = |key: &'static str, number| Details {
        version: version("e", number).version,
        ..of_key(key)
    };
    let told = say_all(
        &mut home,
        &[
            ("a5", set("a", 5)),
            ("b3", set("b", 3)),
            ("a4", set("a", 4)),
            ("b2", set("b", 2)),
            ("room", version("e", 1)),
            ("b4", set("b", 4)),
        ],
    );
    assert_eq!(told, ["#1@1", "#2@2", "#3@2", "#4@2", "#5@3", "#6@4"]);
    // With its value, a key's version is gone.
    let gone = Details {
        keyed: of_key("a").keyed.map(|keyed| hub::Keyed {
            is_removed: true,
            ..keyed
        }),
        ..Details::default()
    };
    let told = say_all(&mut home, &[("", gone), ("a1", set("a", 1))]);
    assert_eq!(told, ["#7@5", "#8@6"]);
}
