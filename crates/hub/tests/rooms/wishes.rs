//! What rooms do for whoever has a right to it: forget their history, tell and clear their table; and the list of all
//! rooms.

use std::collections::BTreeSet;

use hub::{
    Answer, AnswerRefusal, Delivery, Details, Idempotency, Listing, Question, Recovered, Request,
    RoomRules, Unrecoverable,
};

use crate::{
    asking::{
        AMPLE, ask, everything, of_key, past, recovered, request, say, with_history, with_table,
    },
    harness::{CORE, Home, OTHER, brief, connection, same},
};

#[test]
fn forgotten_history_keeps_positions_and_who_missed_it_is_told() {
    let mut home = with_history();
    for payload in ["1", "2", "3"] {
        say(&mut home, "a", payload, Details::default());
    }
    // In the same turn: what was said before is forgotten, too.
    let forget = request(&mut home, "a", Question::ForgetHistory);
    let told = home.apply(forget);
    assert_eq!(brief(&told), ["#1@1", "#2@2", "#3@3", "#4 answered"]);
    assert_eq!(home.rooms.past_bytes(), 0);
    assert_eq!(past(&mut home, "a", everything()), "3: ");
    let lost = Recovered::Impossible(Unrecoverable::Forgotten);
    assert_eq!(recovered(&mut home, "a", 1), lost);
    assert_eq!(recovered(&mut home, "a", 3), Recovered::Exactly([].into()));
    say(&mut home, "a", "4", Details::default());
    assert_eq!(past(&mut home, "a", everything()), "4: 4 4");
    assert_eq!(recovered(&mut home, "a", 2), lost);
    let Recovered::Exactly(since_then) = recovered(&mut home, "a", 3) else {
        panic!("it is kept");
    };
    assert_eq!(since_then.len(), 1);
}

#[test]
fn forgetting_leaves_the_keys_of_publications_and_makes_no_room() {
    let mut home = with_history();
    let once = || Details {
        idempotency: Some(Idempotency { key: 1, body: 2 }),
        ..Details::default()
    };
    say(&mut home, "a", "1", once());
    assert_eq!(ask(&mut home, "a", Question::ForgetHistory), Answer::Done);
    say(&mut home, "a", "1", once());
    assert_eq!(brief(&home.take()), ["#3@1"]);
    assert_eq!(ask(&mut home, "b", Question::ForgetHistory), Answer::Done);
    assert_eq!(ask(&mut home, "b", Question::ClearTable), Answer::Done);
    assert!(!home.rooms.contains("b"));
}

#[test]
fn table_is_told_in_the_order_of_its_keys_and_cleared_with_a_removal_of_each() {
    let mut home = with_table();
    home.join("a").unwrap();
    home.join_from(OTHER, "a").unwrap();
    for (key, payload) in [("b", "1"), ("a", "2"), ("b", "3")] {
        say(&mut home, "a", payload, of_key(key));
    }
    home.take();
    home.rooms.take_outgoing(OTHER);
    assert_eq!(past(&mut home, "a", Question::Table), "3: 2 2, 3 3");
    // What was said in this turn comes before.
    say(&mut home, "a", "4", of_key("c"));
    let clear = request(&mut home, "a", Question::ClearTable);
    let told = home.apply(clear);
    assert_eq!(brief(&told), ["4+4", "#7@4", "5+,,", "#8 answered"]);
    let Delivery::Messages {
        records, stamps, ..
    } = &told[2]
    else {
        panic!("removals");
    };
    let removed = records.iter().map(|it| it.keyed().unwrap());
    let removed: Vec<_> = removed.map(|it| (&*it.key, it.is_removed)).collect();
    assert_eq!(removed, [("a", true), ("b", true), ("c", true)]);
    assert_eq!(stamps[..], [77; 3]);
    assert_eq!(brief(&home.rooms.take_outgoing(OTHER)), ["4+4", "5+,,"]);
    assert_eq!(past(&mut home, "a", Question::Table), "7: ");
    assert_eq!(home.rooms.past_bytes(), 0);
    assert_eq!(ask(&mut home, "a", Question::ClearTable), Answer::Done);
    say(&mut home, "a", "5", of_key("a"));
    assert_eq!(past(&mut home, "a", Question::Table), "8: 8 5");
}

#[test]
fn large_table_is_cleared_by_several_deliveries_in_order() {
    let mut home = with_table();
    home.join("a").unwrap();
    for n in 0..1_100 {
        say(&mut home, "a", "x", of_key(&format!("{n:04}")));
    }
    home.take();
    let clear = request(&mut home, "a", Question::ClearTable);
    let mut next = 1_101;
    let mut keys = Vec::new();
    for delivery in home.apply(clear) {
        if let Delivery::Messages { first, records, .. } = delivery {
            assert_eq!(first, next);
            assert!(records.len() <= 512);
            next += records.len() as u64;
            keys.extend(records.iter().map(|it| it.keyed().unwrap().key.clone()));
        }
    }
    assert_eq!(keys.len(), 1_100);
    assert!(keys.is_sorted());
    assert_eq!(past(&mut home, "a", Question::Table), "2200: ");
}

#[test]
fn table_of_a_held_room_is_not_cleared_past_those_that_wait() {
    let mut home = with_table();
    let (room, _) = home.join("a").unwrap();
    say(&mut home, "a", "1", of_key("a"));
    home.take();
    home.hold(room, CORE);
    say(&mut home, "a", "2", of_key("a"));
    let busy = Answer::Refused(AnswerRefusal::Busy);
    assert_eq!(ask(&mut home, "a", Question::ClearTable), busy);
    home.resume(room, CORE);
    assert_eq!(ask(&mut home, "a", Question::ClearTable), busy);
    assert!(!home.rooms.order_released());
    assert_eq!(ask(&mut home, "a", Question::ClearTable), Answer::Done);
    assert_eq!(past(&mut home, "a", Question::Table), "3: ");
}

#[test]
fn question_about_a_table_makes_its_room_if_there_is_a_place() {
    let mut home = Home::with(1, AMPLE, RoomRules::default());
    assert_eq!(past(&mut home, "a", Question::Table), "0: ");
    let refused = Answer::Refused(AnswerRefusal::TooManyRooms);
    assert_eq!(ask(&mut home, "b", Question::Table), refused);
    home.sweep(1_000);
    assert!(!home.rooms.contains("a"), "and is reaped like any other");
}

fn list(home: &mut Home, from: u32) -> Listing {
    let ticket = home.ticket();
    let asker = connection(CORE);
    let listed = home.apply(Request::List {
        from,
        asker,
        ticket,
    });
    match listed.into_iter().next_back() {
        Some(Delivery::Listed { listing, .. }) => listing,
        other => panic!("unexpected {other:?}"),
    }
}

/// All of it, in as many requests as it takes; between them something else happens.
fn list_all(home: &mut Home, mut between: impl FnMut(&mut Home)) -> Vec<(String, u32)> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let Listing { rooms, next } = list(home, at);
        assert!(rooms.len() <= 1_024);
        all.extend(rooms.into_iter().map(|(it, n)| (it.as_str().to_owned(), n)));
        assert!(next.is_none_or(|next| next > at), "it ends");
        from = next;
        between(home);
    }
    all
}

#[test]
fn list_has_all_rooms_once_with_their_subscribers() {
    let mut home = with_history();
    assert_eq!(list_all(&mut home, |_| {}), []);
    for n in 0..2_500 {
        home.join(&format!("{n}")).unwrap();
    }
    home.join_from(OTHER, "7").unwrap();
    home.join_from(OTHER, "7").unwrap();
    let all = list_all(&mut home, |_| {});
    let names: BTreeSet<_> = all.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!((all.len(), names.len()), (2_500, 2_500));
    assert!(all.contains(&("7".into(), 3)));
    let others = all.iter().filter(|(name, _)| name != "7");
    assert!(others.clone().all(|(_, subscribers)| *subscribers == 1));
    let beyond = list(&mut home, u32::MAX);
    assert_eq!((beyond.rooms, beyond.next), (vec![], None));
}

#[test]
fn rooms_that_stay_are_listed_once_while_others_come_and_go() {
    let mut home = with_history();
    home.rooms.apply(Request::Configure {
        rules: same(RoomRules::default()),
    });
    let go: Vec<_> = (0..3_000)
        .map(|n| home.join(&format!("{n}")).unwrap().0)
        .collect();
    let mut go = go.into_iter().enumerate().filter(|(n, _)| n % 3 == 0);
    let (mut now_ms, mut new) = (0, 0);
    let all = list_all(&mut home, |home| {
        for (_, room) in go.by_ref().take(300) {
            home.leave(room);
        }
        now_ms += 2_000;
        home.sweep(now_ms);
        for _ in 0..200 {
            new += 1;
            home.join(&format!("new {new}")).unwrap();
        }
    });
    assert!(!home.rooms.contains("0"), "some are reaped meanwhile");
    let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
    let once: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names.len(), once.len());
    for n in (0..3_000).filter(|n| n % 3 != 0) {
        assert!(once.contains(&*format!("{n}")), "{n}");
    }
}
