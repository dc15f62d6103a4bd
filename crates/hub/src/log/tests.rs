//! Tests of proposals and envelopes.

use super::*;

fn records(count: usize) -> Arc<[Record]> {
    let record = Record {
        tag: 0,
        payload: Bytes::new(),
        details: None,
    };
    vec![record; count].into()
}

/// A log that holds two messages.
fn log() -> Log {
    let mut log = Log::new(Epoch(7));
    let envelope = log.propose(records(2), 0);
    assert_eq!(log.apply(&envelope, &RoomRules::default()), Ok(()));
    log
}

#[track_caller]
fn check(epoch: u64, first: u64, expected: Result<(), NotNext>) {
    let mut log = log();
    let envelope = Envelope {
        epoch: Epoch(epoch),
        first,
        at_ms: 0,
        records: records(3),
    };
    assert_eq!(log.apply(&envelope, &RoomRules::default()), expected);
    let offset = if expected.is_ok() { 5 } else { 2 };
    let epoch = Epoch(7);
    assert_eq!(log.top(), Position { epoch, offset });
}

#[test]
fn proposal_changes_nothing_and_names_the_offsets_that_follow() {
    let log = log();
    let envelope = log.propose(records(3), 0);
    assert_eq!((envelope.epoch, envelope.first), (Epoch(7), 3));
    assert_eq!(log.top().offset, 2);
    assert_eq!(log.propose(records(3), 0), envelope);
}

#[test]
fn of_two_proposals_with_the_same_offsets_one_continues_the_log() {
    let mut log = log();
    let (one, other) = (log.propose(records(1), 0), log.propose(records(2), 0));
    assert_eq!(log.apply(&other, &RoomRules::default()), Ok(()));
    assert_eq!(log.apply(&one, &RoomRules::default()), Err(NotNext::Taken));
    assert_eq!(log.top().offset, 4);
}

#[test]
fn envelope_is_applied_only_where_it_continues_the_log() {
    check(7, 3, Ok(()));
    check(7, 2, Err(NotNext::Taken));
    check(7, 0, Err(NotNext::Taken));
    check(7, 4, Err(NotNext::Gap));
    check(7, u64::MAX, Err(NotNext::Gap));
    check(8, 3, Err(NotNext::OtherEpoch));
    check(8, 1, Err(NotNext::OtherEpoch));
}
