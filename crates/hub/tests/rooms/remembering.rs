//! Rooms that remember: their past, who comes back, who is in them, and publications that are repeated.

use std::sync::Arc;

use bytes::Bytes;
use hub::{
    Answer, AnswerRefusal, ConnectionId, CoreId, Delivery, Details, Epoch, HistoryLimits,
    HomeBounds, Idempotency, Member, Newest, Pace, Page, PublishRefusal, Publisher, Question,
    Record, Recover, Recovered, Request, RoomName, RoomRules, Since, Target, Terms, Unrecoverable,
};

use crate::harness::{BOUNDS, CORE, Home, OTHER, brief, connection, record, same, with_positions};

const LIMITS: HistoryLimits = HistoryLimits {
    messages: 6,
    bytes: 100_000,
    ttl_ms: 1_000,
};

fn rules(history: HistoryLimits) -> RoomRules {
    RoomRules {
        history: Some(history),
        keeps_position: true,
        has_presence: true,
        announced_members_max: 3,
        ..RoomRules::default()
    }
}

fn home() -> Home {
    Home::with(10, BOUNDS, rules(LIMITS))
}

fn say_all(home: &mut Home, name: &str, payloads: &[&'static str]) {
    for payload in payloads {
        let to = Target::Name(RoomName::new(name).unwrap());
        home.say(to, connection(CORE), payload);
    }
    home.take();
}

fn since(epoch: Option<u64>, offset: u64) -> Since {
    Since {
        epoch: epoch.map(Epoch),
        offset,
    }
}

/// What a join that recovers is given: `offset payload`, or the cause.
fn recovered(home: &mut Home, name: &str, recover: Recover) -> Result<Vec<String>, Unrecoverable> {
    let ticket = home.ticket();
    let answers = home.apply(Request::Join {
        name: RoomName::new(name).unwrap(),
        subscriber: connection(CORE),
        ticket,
        terms: Some(Box::new(Terms {
            recover: Some(recover),
            member: None,
        })),
    });
    let Some(Delivery::Joined { recovered, .. }) = answers.into_iter().next_back() else {
        panic!("a join's answer")
    };
    match recovered.unwrap() {
        Recovered::Exactly(messages) | Recovered::State(messages) => {
            Ok(messages.iter().map(numbered).collect())
        }
        Recovered::Impossible(cause) => Err(cause),
        Recovered::Newest { messages, instead } => {
            let messages = messages.iter().map(numbered);
            let instead = instead.map(|cause| format!("instead: {cause}"));
            Ok(instead.into_iter().chain(messages).collect())
        }
    }
}

fn numbered((offset, record): &(u64, Record)) -> String {
    format!("{offset} {}", str::from_utf8(&record.payload).unwrap())
}

fn ask(home: &mut Home, name: &str, question: Question) -> Answer {
    let ticket = home.ticket();
    let answers = home.apply(Request::Ask {
        name: RoomName::new(name).unwrap(),
        asker: connection(CORE),
        ticket,
        stamp: 0,
        question,
    });
    match answers.into_iter().next_back() {
        Some(Delivery::Answered { answer, .. }) => answer,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn subscriber_that_comes_back_is_given_exactly_what_it_has_missed_or_the_cause() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2", "3", "4", "5", "6", "7", "8"]);
    let missed = |epoch, offset| Recover::Missed(since(epoch, offset));
    for (epoch, offset, expected) in [
        (Some(101), 8, Ok(vec![])),
        (Some(101), 7, Ok(vec!["8 8".to_owned()])),
        (None, 6, Ok(vec!["7 7".to_owned(), "8 8".to_owned()])),
        // Four are the most that an answer may have here.
        (Some(101), 3, Err(Unrecoverable::Cap)),
        (Some(101), 1, Err(Unrecoverable::Size)),
        (Some(101), 9, Err(Unrecoverable::Epoch)),
        (Some(102), 8, Err(Unrecoverable::Epoch)),
    ] {
        let given = recovered(&mut home, "a", missed(epoch, offset));
        assert_eq!(given, expected, "{epoch:?} {offset}");
    }
    home.sweep(1_000);
    let given = recovered(&mut home, "a", missed(Some(101), 7));
    assert_eq!(given, Err(Unrecoverable::Time));
}

#[test]
fn subscriber_that_has_nothing_is_given_the_latest_message_if_one_is_kept() {
    let mut home = home();
    assert_eq!(recovered(&mut home, "a", Recover::State), Ok(vec![]));
    say_all(&mut home, "a", &["1", "2"]);
    let latest = Ok(vec!["2 2".to_owned()]);
    assert_eq!(recovered(&mut home, "a", Recover::State), latest);
    home.sweep(1_000);
    assert_eq!(recovered(&mut home, "a", Recover::State), Ok(vec![]));
}

#[test]
fn answer_is_bounded_in_bytes_and_recovery_is_whole_or_nothing() {
    let mut home = home();
    const LONG: &str = match str::from_utf8(&[b'x'; 600]) {
        Ok(text) => text,
        Err(_) => "",
    };
    say_all(&mut home, "a", &[LONG, LONG]);
    let missed = |offset| Recover::Missed(since(None, offset));
    assert_eq!(recovered(&mut home, "a", missed(1)).unwrap().len(), 1);
    assert_eq!(
        recovered(&mut home, "a", missed(0)),
        Err(Unrecoverable::Cap)
    );
    let page = Page {
        since: None,
        limit: 10,
        is_reversed: false,
    };
    let Answer::History { messages, .. } = ask(&mut home, "a", Question::History(page.into()))
    else {
        panic!("a page")
    };
    assert_eq!(messages.len(), 1, "a page is cut");
}

#[test]
fn latest_message_is_given_to_whoever_does_not_have_it() {
    let mut home = home();
    let latest = |epoch, offset| Recover::Latest(since(epoch, offset));
    let nothing = recovered(&mut home, "a", latest(None, 0));
    assert_eq!(nothing, Err(Unrecoverable::Time));
    say_all(&mut home, "a", &["1", "2", "3"]);
    for (epoch, offset, expected) in [
        (None, 0, Ok(vec!["3 3".to_owned()])),
        (Some(9), 7, Ok(vec!["3 3".to_owned()])),
        (Some(101), 2, Ok(vec!["3 3".to_owned()])),
        (Some(101), 3, Ok(vec![])),
    ] {
        assert_eq!(recovered(&mut home, "a", latest(epoch, offset)), expected);
    }
}

#[test]
fn newest_messages_are_those_within_count_age_and_bytes_in_order() {
    let mut home = home();
    let newest = |messages, age_ms| Recover::Newest(None, Newest { messages, age_ms });
    assert_eq!(recovered(&mut home, "a", newest(9, 9)), Ok(vec![]));
    say_all(&mut home, "a", &["1", "2", "3", "4", "5", "6", "7"]);
    home.sweep(400);
    say_all(&mut home, "a", &["8"]);
    home.sweep(500);
    for (messages, age_ms, expected) in [
        (0, u64::MAX, &[][..]),
        (1, u64::MAX, &["8 8"]),
        (3, u64::MAX, &["6 6", "7 7", "8 8"]),
        // Four are the most that an answer may have here.
        (usize::MAX, u64::MAX, &["5 5", "6 6", "7 7", "8 8"]),
        (3, 500, &["8 8"]),
        (3, 501, &["6 6", "7 7", "8 8"]),
        (3, 101, &["8 8"]),
        (3, 100, &[]),
    ] {
        let given = recovered(&mut home, "a", newest(messages, age_ms)).unwrap();
        assert_eq!(given, expected, "{messages} {age_ms}");
    }
    const LONG: &str = match str::from_utf8(&[b'x'; 600]) {
        Ok(text) => text,
        Err(_) => "",
    };
    say_all(&mut home, "a", &[LONG, LONG]);
    let given = recovered(&mut home, "a", newest(4, u64::MAX)).unwrap();
    assert_eq!(given.len(), 1, "the bytes of an answer are bounded, too");
    assert!(given[0].starts_with("10 x"));
}

#[test]
fn newest_messages_are_given_in_place_of_what_cannot_be_recovered() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2", "3", "4", "5", "6", "7", "8"]);
    let back = |epoch, offset| {
        let newest = Newest {
            messages: 1,
            age_ms: 1_000,
        };
        Recover::Newest(Some(since(epoch, offset)), newest)
    };
    let given = recovered(&mut home, "a", back(Some(101), 5)).unwrap();
    assert_eq!(given, ["6 6", "7 7", "8 8"]);
    for (epoch, offset, cause) in [
        (Some(101), 3, Unrecoverable::Cap),
        (Some(101), 1, Unrecoverable::Size),
        (Some(7), 8, Unrecoverable::Epoch),
    ] {
        let given = recovered(&mut home, "a", back(epoch, offset)).unwrap();
        assert_eq!(given, [format!("instead: {cause}"), "8 8".to_owned()]);
    }
}

#[test]
fn page_goes_forward_or_back_from_a_position() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2", "3", "4", "5", "6", "7"]);
    let mut page = |since, limit, is_reversed| {
        let page = Page {
            since,
            limit,
            is_reversed,
        };
        match ask(&mut home, "a", Question::History(page.into())) {
            Answer::History { top, messages } => {
                assert_eq!((top.epoch, top.offset), (Epoch(101), 7));
                let offsets = messages.iter().map(|(offset, _)| *offset);
                Ok(offsets.collect::<Vec<_>>())
            }
            Answer::Refused(reason) => Err(reason),
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(page(None, 0, false), Ok(vec![]));
    assert_eq!(page(None, 2, false), Ok(vec![2, 3]));
    assert_eq!(page(None, 9, false), Ok(vec![2, 3, 4, 5]), "the cap");
    assert_eq!(page(None, 2, true), Ok(vec![7, 6]));
    assert_eq!(page(Some(since(Some(101), 5)), 9, false), Ok(vec![6, 7]));
    assert_eq!(page(Some(since(None, 5)), 2, true), Ok(vec![4, 3]));
    assert_eq!(page(Some(since(None, 2)), 2, true), Ok(vec![]));
    assert_eq!(page(Some(since(None, u64::MAX)), 1, true), Ok(vec![7]));
    assert_eq!(page(Some(since(None, u64::MAX)), 1, false), Ok(vec![]));
    let other = page(Some(since(Some(9), 5)), 9, false);
    assert_eq!(other, Err(AnswerRefusal::OtherEpoch));
}

#[test]
fn position_outlives_the_room_where_the_rules_say_so_and_its_past_goes_first() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2"]);
    say_all(&mut home, "bare", &["1"]);
    home.sweep_keeping(10_000, 100, 200);
    assert!(home.rooms.contains("a"), "it still keeps messages");
    assert!(!home.rooms.contains("bare"));
    home.sweep_keeping(10_000, 100, 1_000);
    home.sweep_keeping(10_000, 100, 1_100);
    assert!(!home.rooms.contains("a"));
    let (_, position) = home.join("a").unwrap();
    assert_eq!((position.epoch, position.offset), (Epoch(101), 2));
    let (_, position) = home.join("bare").unwrap();
    assert_eq!((position.epoch, position.offset), (Epoch(103), 0));
    let back = recovered(&mut home, "a", Recover::Missed(since(Some(101), 1)));
    assert_eq!(back, Err(Unrecoverable::Time));
}

#[test]
fn oldest_position_gives_way_beyond_the_most() {
    let bounds = HomeBounds {
        positions: 2,
        ..BOUNDS
    };
    let mut home = Home::with(10, bounds, with_positions());
    for (name, epoch) in [("a", 101), ("b", 102), ("c", 103)] {
        let (room, position) = home.join(name).unwrap();
        assert_eq!(position.epoch, Epoch(epoch));
        home.leave(room);
    }
    home.sweep_keeping(10_000, 100, 1_000);
    assert_eq!(home.rooms.len(), 0);
    for (name, epoch) in [("a", 104), ("b", 102), ("c", 103)] {
        let (_, position) = home.join(name).unwrap();
        assert_eq!(position.epoch, Epoch(epoch), "{name}");
    }
}

#[test]
fn longest_untouched_room_gives_when_all_together_keep_too_much() {
    let mut home = Home::with(10, BOUNDS, rules(LIMITS));
    say_all(&mut home, "a", &["1"]);
    let one = home.rooms.past_bytes();
    assert!(one > 1);
    let bounds = HomeBounds {
        past_bytes: 3 * one,
        ..BOUNDS
    };
    let mut home = Home::with(10, bounds, rules(LIMITS));
    say_all(&mut home, "a", &["1", "2"]);
    home.sweep(10);
    say_all(&mut home, "b", &["1"]);
    assert_eq!(home.rooms.past_bytes(), 3 * one);
    home.sweep(20);
    say_all(&mut home, "c", &["1"]);
    assert_eq!(home.rooms.past_bytes(), 3 * one);
    let missed = |offset| Recover::Missed(since(None, offset));
    let gone = recovered(&mut home, "a", missed(0));
    assert_eq!(gone, Err(Unrecoverable::Memory));
    assert_eq!(recovered(&mut home, "a", missed(1)).unwrap().len(), 1);
    assert_eq!(recovered(&mut home, "b", missed(0)).unwrap().len(), 1);
}

#[test]
fn memory_of_expired_messages_is_given_back_though_nobody_asks() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2"]);
    say_all(&mut home, "b", &["1"]);
    home.sweep(999);
    assert!(home.rooms.past_bytes() > 0);
    home.sweep(1_000);
    home.sweep(1_001);
    assert_eq!(home.rooms.past_bytes(), 0);
}

fn member(user: &str) -> Option<Box<Terms>> {
    let member = Arc::new(Member {
        user: user.into(),
        info: Bytes::from(format!("info of {user}")),
    });
    Some(Box::new(Terms {
        recover: None,
        member: Some(member),
    }))
}

fn enter(home: &mut Home, core: CoreId, token: u64, user: &str) {
    let ticket = home.ticket();
    home.rooms.apply(Request::Join {
        name: RoomName::new("a").unwrap(),
        subscriber: ConnectionId { core, token },
        ticket,
        terms: member(user),
    });
}

#[test]
fn members_are_known_and_announced_once_a_turn_to_every_core() {
    let mut home = home();
    enter(&mut home, CORE, 1, "ann");
    enter(&mut home, OTHER, 2, "ann");
    assert_eq!(brief(&home.take()), ["#1 joined", "+ann+ann"]);
    let of_other = home.rooms.take_outgoing(OTHER);
    assert_eq!(brief(&of_other), ["#2 joined", "+ann+ann"]);
    let Delivery::Joined { room, .. } = of_other[0] else {
        panic!("a join's answer")
    };
    let counts = ask(&mut home, "a", Question::MemberCounts);
    let (members, users) = (2, 1);
    assert_eq!(counts, Answer::MemberCounts { members, users });
    let Answer::Members(all) = ask(&mut home, "a", Question::Members) else {
        panic!("members")
    };
    assert_eq!(all.len(), 2);
    // What somebody says comes between that it has come and that it has gone.
    enter(&mut home, CORE, 3, "bob");
    home.say(Target::Room(room), connection(CORE), "hello");
    home.rooms.apply(Request::Leave {
        room,
        subscriber: ConnectionId {
            core: CORE,
            token: 3,
        },
    });
    let told = brief(&home.rooms.take_outgoing(OTHER));
    assert_eq!(told, ["+bob", "1+hello", "-bob"]);
    home.take();
    enter(&mut home, CORE, 4, "cid");
    enter(&mut home, CORE, 5, "dan");
    home.take();
    assert!(
        home.rooms.take_outgoing(OTHER).is_empty(),
        "four are too many"
    );
}

#[test]
fn answer_with_too_many_members_is_refused_and_their_number_is_not() {
    let mut home = home();
    for token in 0..40 {
        enter(&mut home, CORE, token, "ann");
    }
    let refused = Answer::Refused(AnswerRefusal::TooLarge);
    assert_eq!(ask(&mut home, "a", Question::Members), refused);
    let (members, users) = (40, 1);
    let counts = ask(&mut home, "a", Question::MemberCounts);
    assert_eq!(counts, Answer::MemberCounts { members, users });
    let (members, users) = (0, 0);
    let counts = ask(&mut home, "nobody", Question::MemberCounts);
    assert_eq!(counts, Answer::MemberCounts { members, users });
    assert!(!home.rooms.contains("nobody"), "asking makes no room");
}

fn known(payload: &'static str, key: u128, body: u128) -> Record {
    Record {
        details: Some(Arc::new(Details {
            idempotency: Some(Idempotency { key, body }),
            ..Details::default()
        })),
        ..record(payload)
    }
}

fn publish_known(home: &mut Home, key: u128, body: u128) {
    let ticket = home.ticket();
    home.rooms.apply(Request::Publish {
        to: Target::Name(RoomName::new("a").unwrap()),
        publisher: connection(CORE),
        ticket,
        stamp: 1_000 + ticket.0,
        record: known("k", key, body),
    });
}

#[test]
fn publication_that_is_repeated_has_one_place() {
    let mut home = home();
    say_all(&mut home, "a", &["1"]);
    for (key, body) in [(7, 1), (7, 1), (7, 2), (8, 2), (7, 1)] {
        publish_known(&mut home, key, body);
    }
    let answers = brief(&home.take());
    assert_eq!(answers, ["#2@2", "#3@2", "#4:Conflict", "#5@3", "#6@2"]);
    home.sweep_after(1_000_000, 300_000);
    publish_known(&mut home, 7, 2);
    assert_eq!(brief(&home.take()), ["#7@4"]);
}

#[test]
fn publication_with_a_key_is_not_kept_waiting_for_a_held_room() {
    let mut home = home();
    let (room, _) = home.join("a").unwrap();
    publish_known(&mut home, 7, 1);
    home.take();
    home.hold(room, CORE);
    publish_known(&mut home, 7, 1);
    publish_known(&mut home, 8, 1);
    let busy = format!("#4:{:?}", PublishRefusal::Busy);
    assert_eq!(brief(&home.take()), ["#3@1".to_owned(), busy]);
}

#[test]
fn rooms_that_exist_follow_other_rules_after_a_sweep() {
    let mut home = home();
    say_all(&mut home, "a", &["1", "2", "3"]);
    enter(&mut home, CORE, 1, "ann");
    home.take();
    let history = HistoryLimits {
        messages: 1,
        ..LIMITS
    };
    let rules = same(RoomRules {
        has_presence: false,
        ..rules(history)
    });
    home.rooms.apply(Request::Configure { rules });
    home.sweep(1);
    let missed = |offset| Recover::Missed(since(None, offset));
    assert_eq!(recovered(&mut home, "a", missed(2)).unwrap(), ["3 3"]);
    assert_eq!(
        recovered(&mut home, "a", missed(1)),
        Err(Unrecoverable::Size)
    );
    let (members, users) = (0, 0);
    let counts = ask(&mut home, "a", Question::MemberCounts);
    assert_eq!(counts, Answer::MemberCounts { members, users });
}

#[test]
fn whoever_joins_after_a_change_of_rules_joins_by_the_new_ones() {
    let mut home = Home::with(10, BOUNDS, with_positions());
    say_all(&mut home, "a", &["1"]);
    let rules = same(rules(LIMITS));
    home.rooms.apply(Request::Configure { rules });
    // No sweep has come.
    enter(&mut home, CORE, 1, "ann");
    say_all(&mut home, "a", &["2"]);
    let counts = ask(&mut home, "a", Question::MemberCounts);
    let (members, users) = (1, 1);
    assert_eq!(counts, Answer::MemberCounts { members, users });
    let missed = Recover::Missed(since(None, 1));
    assert_eq!(recovered(&mut home, "a", missed).unwrap(), ["2 2"]);
}

#[test]
fn messages_that_come_faster_than_the_rules_permit_are_refused() {
    let slow = Pace {
        per_second: 10,
        burst: 2,
    };
    let mut home = Home::with(
        10,
        BOUNDS,
        RoomRules {
            publisher_pace: Some(slow),
            ..with_positions()
        },
    );
    let say = |home: &mut Home, at_ms: u64, token: u64, publisher: Publisher| {
        let ticket = home.ticket();
        home.rooms.apply(Request::Publish {
            to: Target::Name(RoomName::new("a").unwrap()),
            publisher: ConnectionId { core: CORE, token },
            ticket,
            stamp: at_ms * 1_000_000 + 1_000 + ticket.0,
            record: Record {
                details: Some(Arc::new(Details {
                    publisher,
                    ..Details::default()
                })),
                ..record("x")
            },
        });
        brief(&home.take()).remove(0)
    };
    let is_refused = |answer: String| answer.ends_with(":TooFast");
    // Two connections of one user count together, those of nobody each by itself.
    let user = || Publisher::User("ann".into());
    for (token, publisher, refused) in [
        (1, user(), false),
        (2, user(), false),
        (3, user(), true),
        (1, Publisher::Connection, false),
        (1, Publisher::Connection, false),
        (1, Publisher::Connection, true),
        (2, Publisher::Connection, false),
        (1, Publisher::Unlimited, false),
    ] {
        let answer = say(&mut home, 1_000, token, publisher.clone());
        assert_eq!(is_refused(answer), refused, "{token} {publisher:?}");
    }
    assert!(!is_refused(say(&mut home, 1_100, 1, user())));
    assert!(is_refused(say(&mut home, 1_150, 1, user())));
    // Without a sweep in between: time is that of the messages.
    for at_ms in (1_200..2_000).step_by(100) {
        assert!(!is_refused(say(&mut home, at_ms, 1, user())), "{at_ms}");
    }
}

#[test]
fn message_from_before_the_first_sweep_is_as_old_as_it_is() {
    const STARTED_MS: u64 = 1_700_000_000_000;
    let mut home = home();
    home.rooms = home.rooms.at(STARTED_MS);
    say_all(&mut home, "r", &["a"]);
    let sweep = |home: &mut Home, wall_ms| {
        home.apply(Request::Sweep {
            now_ms: 0,
            wall_ms,
            idle_ms: 1_000_000,
            position_ttl_ms: 1_000_000,
        });
    };
    let missed = Recover::Missed(since(None, 0));
    sweep(&mut home, STARTED_MS + LIMITS.ttl_ms - 1);
    assert_eq!(recovered(&mut home, "r", missed), Ok(vec!["1 a".into()]));
    sweep(&mut home, STARTED_MS + LIMITS.ttl_ms);
    let too_old = Err(Unrecoverable::Time);
    assert_eq!(recovered(&mut home, "r", missed), too_old);
}
