//! What the ten planted kinds of faults do not have: the other ways to break a promise.

use super::super::history::{Event, Message, What};
use super::super::model;
use super::{Checker, Promise};

/// Where the server was started again: what lies before may be gone with it.
fn behind(history: &[Event]) -> usize {
    let restarted = history.iter().rposition(|it| it.what == What::Restarted);
    restarted.expect("the server is restarted")
}

/// Fails unless this change of a clean history breaks this promise, and no other.
#[track_caller]
fn check(expected: Promise, change: impl Fn(&mut Vec<Event>)) {
    for seed in 0..4 {
        let mut history = model::history(seed);
        change(&mut history);
        let findings = Checker::of(&history).findings;
        for promise in Promise::ALL {
            let is_broken = findings.count(promise) > 0;
            assert_eq!(is_broken, promise == expected, "seed {seed}: {findings:?}");
        }
    }
}

/// Two messages of one room, one directly behind the other: the second was sent when the first was acknowledged
/// and nobody had been given it.
fn successive(history: &[Event]) -> (Message, Message) {
    let (mut before, mut is_acknowledged) = (None, false);
    for event in &history[behind(history)..] {
        match event.what {
            What::Sent {
                room: 0, message, ..
            } => match before.replace(message) {
                Some(first) if is_acknowledged && first.from != message.from => {
                    return (first, message);
                }
                _ => is_acknowledged = false,
            },
            What::Acknowledged { message } => is_acknowledged |= before == Some(message),
            What::Delivered { message, .. } if before == Some(message) => before = None,
            _ => {}
        }
    }
    panic!("two messages lie between any two deliveries of their room");
}

/// The message and the bytes of all deliveries.
fn contents(history: &mut [Event]) -> impl Iterator<Item = (&mut Message, &mut u64)> {
    history.iter_mut().filter_map(|it| match &mut it.what {
        What::Delivered {
            message, digest, ..
        } => Some((message, digest)),
        _ => None,
    })
}

fn digest_of(history: &[Event], wanted: Message) -> u64 {
    let sent = history.iter().find_map(|it| match it.what {
        What::Sent {
            message, digest, ..
        } if message == wanted => Some(digest),
        _ => None,
    });
    sent.expect("it was sent")
}

#[test]
fn order_that_is_the_same_for_all_and_not_that_of_time_is_found() {
    check(Promise::Order, |history| {
        let (first, second) = successive(history);
        let digests = (digest_of(history, first), digest_of(history, second));
        for (message, digest) in contents(history) {
            if *message == first {
                (*message, *digest) = (second, digests.1);
            } else if *message == second {
                (*message, *digest) = (first, digests.0);
            }
        }
    });
}

#[test]
fn message_at_two_places_is_found() {
    check(Promise::Kept, |history| {
        let (first, second) = successive(history);
        let digest_of_first = digest_of(history, first);
        // The second one, whose place is taken, must not be missing.
        history.retain(|it| it.what != (What::Acknowledged { message: second }));
        // A raw client, which knows no places, could not say which of the two it was given.
        history.retain(|it| {
            !matches!(
                it.what,
                What::Entered { .. } | What::Present { .. } | What::Delivered { offset: None, .. }
            )
        });
        for (message, digest) in contents(history) {
            if *message == second {
                (*message, *digest) = (first, digest_of_first);
            }
        }
    });
}

#[test]
fn refused_message_in_the_log_is_found() {
    check(Promise::Kept, |history| {
        let (message, _) = successive(history);
        let answer = history
            .iter_mut()
            .find(|it| it.what == (What::Acknowledged { message }));
        answer.expect("it was acknowledged").what = What::Refused { message, code: 111 };
    });
}

#[test]
fn gap_of_a_raw_client_is_found() {
    check(Promise::NoGap, |history| {
        let raw = |it: &Event| matches!(it.what, What::Delivered { offset: None, .. });
        let second_half = behind(history)..history.len();
        let given: Vec<usize> = second_half.filter(|at| raw(&history[*at])).collect();
        let run = given.windows(3).find(|it| {
            let between = &history[it[0]..it[2]];
            !between.iter().any(|event| {
                let is_own = event.client == history[it[0]].client;
                is_own && matches!(event.what, What::Ended { .. } | What::Entered { .. })
            })
        });
        history.remove(run.expect("a raw client was given several messages")[1]);
    });
}

#[test]
fn reader_that_is_told_to_be_slow_is_found() {
    check(Promise::Slow, |history| {
        let ended = history
            .iter()
            .position(|it| matches!(it.what, What::Ended { .. }));
        let at = ended.expect("connections are cut");
        let lost = Event {
            what: What::Lost {
                room: 0,
                code: 2500,
            },
            ..history[at].clone()
        };
        history.insert(at, lost);
    });
}

#[test]
fn reader_that_waits_too_long_is_found() {
    check(Promise::Slow, |history| {
        let (message, _) = successive(history);
        let sent = history
            .iter()
            .position(|it| matches!(it.what, What::Sent { message: it, .. } if it == message));
        let later = &mut history[sent.expect("it was sent") + 1..];
        later.iter_mut().for_each(|it| it.at_us += 11_000_000);
    });
}

#[test]
fn reader_that_has_stopped_reading_may_wait_and_be_told() {
    let mut history = model::history(1);
    let (message, _) = successive(&history);
    let sent = history
        .iter()
        .position(|it| matches!(it.what, What::Sent { message: it, .. } if it == message));
    let at = sent.expect("it was sent");
    history[at + 1..]
        .iter_mut()
        .for_each(|it| it.at_us += 11_000_000);
    for client in 0..8 {
        let stalled = Event {
            at_us: history[at].at_us,
            client,
            what: What::Stalled,
        };
        history.insert(at, stalled);
    }
    let findings = Checker::of(&history).findings;
    assert!(findings.is_empty(), "{findings:?}");
}
