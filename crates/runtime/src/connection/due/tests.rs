//! Tests of the deadlines of a connection, in set time.

use std::time::Duration;

use super::*;
use crate::{
    clock::RecentMs,
    connection::{Arrival, Leftover},
    fixture::{on_each_driver, open},
};

#[test]
fn peer_that_always_sends_more_is_spared_once() {
    let time = SweepTime {
        now_ms: 100,
        before_ms: 90,
        now_ns: 100_000_000,
        age_set_ms: 0,
    };
    for (deadline_ms, is_silent, has_more) in [
        (101, false, false),
        (100, true, false),
        (91, true, false),
        (90, true, true),
    ] {
        let judged = [false, true]
            .map(|has_pending_input| time.was_silent_until(deadline_ms, has_pending_input));
        assert_eq!(judged, [is_silent, has_more], "{deadline_ms}");
    }
}

/// A thousand connections, and the age of ten seconds.
fn thousand_of_ten_seconds() -> (Vec<ConnectionKey>, Timeouts) {
    let timeouts = Timeouts {
        connection_age: Some(Duration::from_secs(10)),
        ..Timeouts::default()
    };
    let keys = (0..1_000).map(|slot| ConnectionKey::new(slot as u64 + 1, slot));
    (keys.collect(), timeouts)
}

fn at(now_ms: u64, age_set_ms: u64) -> SweepTime {
    SweepTime {
        now_ms,
        before_ms: now_ms,
        now_ns: now_ms.saturating_mul(1_000_000),
        age_set_ms,
    }
}

#[test]
fn age_is_reached_from_nine_to_eleven_tenths_spread_over_connections() {
    let (keys, timeouts) = thousand_of_ten_seconds();
    let aged = |accepted_ms: u64, age_ms: u64| {
        let time = at(accepted_ms + age_ms, 0);
        let aged = |key: &&_| is_aged(**key, accepted_ms, &timeouts, time);
        keys.iter().filter(aged).count()
    };
    for accepted_ms in [0, 12_345] {
        assert_eq!(aged(accepted_ms, 8_999), 0);
        for (age_ms, expected) in [(9_500, 250), (10_000, 500), (10_500, 750)] {
            let count = aged(accepted_ms, age_ms);
            assert!(count.abs_diff(expected) < 100, "{count} after {age_ms} ms");
        }
        assert_eq!(aged(accepted_ms, 11_000), 1_000);
    }
}

#[test]
fn age_that_is_set_late_is_spread_from_then_on() {
    let (keys, timeouts) = thousand_of_ten_seconds();
    let aged = |now_ms| {
        let time = at(now_ms, 60_000);
        let aged = |key: &&_| is_aged(**key, 0, &timeouts, time);
        keys.iter().filter(aged).count()
    };
    assert!(aged(60_010) < 50, "{} at once", aged(60_010));
    assert!(aged(61_000).abs_diff(500) < 100);
    assert_eq!(aged(62_000), 1_000);
}

#[test]
fn age_is_no_reason_unless_it_is_configured() {
    let key = ConnectionKey::new(1, 0);
    assert!(!is_aged(key, 0, &Timeouts::default(), at(u64::MAX, 0)));
}

/// Deadlines of a second each, those of other things included.
fn seconds() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts {
        pong: second,
        write: second,
        message: second,
        pause: second,
        ..Timeouts::default()
    }
}

fn blocked() -> Sending {
    Sending::Blocked {
        progress: RecentMs::at(0),
    }
}

fn paused(wait: Wait) -> Option<Pause> {
    Some(Pause {
        wait,
        since: RecentMs::at(0),
    })
}

/// What a connection's time has come for at these milliseconds, if it is made so.
fn dues(make: impl Fn(&mut Connection), times_ms: [u64; 2]) -> [Option<Due>; 2] {
    let dues = std::cell::Cell::new([None; 2]);
    on_each_driver(async |core| {
        let (key, _peer) = open(&mut core.state.borrow_mut());
        let state = &mut *core.state.borrow_mut();
        let connection = state.connections.get_mut(key).unwrap();
        make(connection);
        dues.set(times_ms.map(|now_ms| connection.due(&seconds(), at(now_ms, 0))));
    });
    dues.get()
}

/// It is time for this at the millisecond that ends the second, and for something else before.
fn comes_from(before: Option<Due>, then: Due, make: impl Fn(&mut Connection)) {
    assert_eq!(dues(make, [999, 1_000]), [before, Some(then)]);
}

#[test]
fn deadline_of_each_stage_has_come_at_its_millisecond_and_not_before() {
    let deadline_ms = 1_000;
    comes_from(None, Due::Close(EndReason::SilentTimeout), |it| {
        it.stage = Stage::Handshake { deadline_ms };
    });
    comes_from(None, Due::Ping, |it| {
        let heartbeat = Heartbeat::PingAt(deadline_ms);
        it.stage = Stage::Open { heartbeat };
    });
    comes_from(None, Due::Close(EndReason::PongTimeout), |it| {
        let payload = [0; 4];
        let heartbeat = Heartbeat::PongBy {
            deadline_ms,
            payload,
        };
        it.stage = Stage::Open { heartbeat };
    });
    let last = Last::PeerClose;
    comes_from(None, Due::Close(EndReason::RoomBusy), |it| {
        it.stage = Stage::Finishing { deadline_ms, last };
    });
    comes_from(None, Due::Abort, |it| {
        it.stage = Stage::Closing { deadline_ms, last };
    });
    comes_from(None, Due::Abort, |it| {
        let last = Last::PeerEndAwaited(Linger::Fully);
        it.stage = Stage::Closing { deadline_ms, last };
    });
    comes_from(None, Due::Shut, |it| {
        let last = Last::PeerEndAwaited(Linger::Briefly);
        it.stage = Stage::Closing { deadline_ms, last };
    });
    let over = |it: &mut Connection| it.stage = Stage::Over;
    assert_eq!(dues(over, [0, u64::MAX]), [None, None]);
}

#[test]
fn message_is_due_whole_and_what_has_arrived_by_then_is_read_first() {
    let late = Due::Close(EndReason::MessageTimeout);
    comes_from(None, late, |it| it.rare.set_message_by_ms(Some(1_000)));
    let unread = |it: &mut Connection| {
        it.rare.set_message_by_ms(Some(1_000));
        it.rare.keep_leftover(Leftover::of(b"x"));
    };
    // The sweep before was at the same time here, so that it was spared once already.
    assert_eq!(dues(unread, [999, 1_000]), [None, Some(late)]);
}

#[test]
fn pause_for_rooms_has_an_end_and_one_for_the_own_queue_has_none() {
    for wait in [Wait::Window, Wait::Home, Wait::Answers] {
        let busy = Due::Close(EndReason::RoomBusy);
        comes_from(None, busy, |it| it.pause = paused(wait));
    }
    let queue = |it: &mut Connection| it.pause = paused(Wait::Queue);
    assert_eq!(dues(queue, [999, 1_000_000]), [None, None]);
}

#[test]
fn full_socket_is_tried_again_until_it_has_taken_nothing_for_too_long() {
    let stalled = Due::Close(EndReason::WriteStalled);
    comes_from(Some(Due::Retry), stalled, |it| {
        it.out.queue.sending = blocked();
    });
    let retried = |it: &mut Connection| {
        it.out.queue.sending = Sending::Unblocked {
            progress: RecentMs::at(0),
        };
    };
    assert_eq!(dues(retried, [999, 1_000]), [None, None]);
    // A peer that was closed for being slow has its whole time to read why.
    let closing = |last| {
        move |it: &mut Connection| {
            it.out.queue.sending = blocked();
            let deadline_ms = 9_000;
            it.stage = Stage::Closing { deadline_ms, last };
        }
    };
    let retry = Some(Due::Retry);
    assert_eq!(dues(closing(Last::PeerClose), [999, 1_000]), [retry; 2]);
    comes_from(retry, Due::Abort, closing(Last::Nothing));
}

#[test]
fn deadlines_stand_still_while_a_peer_is_not_read_or_cannot_be_sent_to() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let now = Now { ns: 0, ms: 5_000 };
        for (is_paused, is_blocked) in [(false, false), (true, false), (false, true)] {
            let (key, _peer) = open(state);
            let connection = state.connections.get_mut(key).unwrap();
            let heartbeat = Heartbeat::PongBy {
                deadline_ms: 5_000,
                payload: [0; 4],
            };
            connection.stage = Stage::Open { heartbeat };
            connection.rare.set_message_by_ms(Some(5_000));
            connection.pause = paused(Wait::Queue).filter(|_| is_paused);
            if is_blocked {
                connection.out.queue.sending = blocked();
            }
            connection.postpone_deadlines(&seconds(), now);
            let Stage::Open {
                heartbeat: Heartbeat::PongBy { deadline_ms, .. },
            } = connection.stage
            else {
                panic!("it went on");
            };
            let held_ms = |is_held| if is_held { 6_000 } else { 5_000 };
            assert_eq!(deadline_ms, held_ms(is_paused || is_blocked));
            assert_eq!(connection.rare.message_by_ms(), Some(held_ms(is_paused)));
        }
    });
}

#[test]
fn peer_whose_pong_has_arrived_is_not_silent_at_the_first_sweep_after_its_deadline() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let (key, _peer) = open(state);
        let connection = state.connections.get_mut(key).unwrap();
        let heartbeat = Heartbeat::PongBy {
            deadline_ms: 1_000,
            payload: [0; 4],
        };
        connection.stage = Stage::Open { heartbeat };
        connection.arrival = Arrival {
            is_readable: true,
            ..Arrival::default()
        };
        let mut dues = [(1_000, 900), (1_100, 1_000)].map(|(now_ms, before_ms)| {
            let time = SweepTime {
                now_ms,
                before_ms,
                now_ns: now_ms * 1_000_000,
                age_set_ms: 0,
            };
            connection.due(&seconds(), time)
        });
        assert_eq!(dues[0].take(), None);
        assert_eq!(dues[1], Some(Due::Close(EndReason::PongTimeout)));
    });
}
