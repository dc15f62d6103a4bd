//! Tests that the checkers find each kind of wrong reply.

use super::*;
use crate::load::wire::Framing;
use codec::Kind;

fn template() -> Template {
    Template::new(Framing::WebSocket, Kind::Text, 20)
}

fn frames(template: &mut Template, names: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(sender, number) in names {
        bytes.extend_from_slice(template.expected(sender, number));
    }
    bytes
}

#[track_caller]
fn check_echo(names: &[(u32, u32)], sent: u32, expected: Result<u32, Fault>) {
    let mut template = template();
    let bytes = frames(&mut template, names);
    let got = EchoCheck::new(5).receive(&mut template, sent, &bytes);
    assert_eq!(got, expected);
}

#[test]
fn echo_right_replies_are_counted() {
    check_echo(&[(5, 0), (5, 1), (5, 2)], 3, Ok(3));
}

#[test]
fn echo_repeated_reply_is_found() {
    check_echo(
        &[(5, 0), (5, 0)],
        3,
        Err(Fault::Repeated { due: 1, came: 0 }),
    );
}

#[test]
fn echo_lost_reply_is_found() {
    check_echo(
        &[(5, 0), (5, 2)],
        3,
        Err(Fault::Skipped { due: 1, came: 2 }),
    );
}

#[test]
fn echo_reply_of_another_is_found() {
    check_echo(&[(6, 0)], 3, Err(Fault::Stranger(6)));
}

#[test]
fn echo_reply_too_many_is_found() {
    check_echo(&[(5, 0), (5, 1)], 1, Err(Fault::Unsent));
}

#[test]
fn echo_other_type_is_found() {
    let mut template = template();
    let mut bytes = template.expected(5, 0).to_vec();
    bytes[0] = 0x82;
    let got = EchoCheck::new(5).receive(&mut template, 1, &bytes);
    assert_eq!(got, Err(Fault::Content));
}

#[test]
fn echo_any_wrong_byte_at_any_cut_is_found() {
    let mut template = template();
    let good = frames(&mut template, &[(5, 0), (5, 1)]);
    for cut in 0..=good.len() {
        let mut check = EchoCheck::new(5);
        let first = check.receive(&mut template, 2, &good[..cut]).unwrap();
        let second = check.receive(&mut template, 2, &good[cut..]).unwrap();
        assert_eq!(first + second, 2);
        for wrong in 0..good.len() {
            let mut bad = good.clone();
            bad[wrong] ^= 0x20;
            let mut check = EchoCheck::new(5);
            let result = check
                .receive(&mut template, 2, &bad[..cut])
                .and_then(|_| check.receive(&mut template, 2, &bad[cut..]));
            assert!(result.is_err(), "byte {wrong}, cut at {cut}");
        }
    }
}

/// A room in which the clients 5 and 6 have sent two messages each.
fn room(template: &Template) -> RoomLog {
    let mut log = RoomLog::new(template, 5, 2);
    let now = Instant::now();
    for index in [0, 1, 0, 1] {
        log.sender(index).sends(now);
    }
    log
}

#[track_caller]
fn check_room(names: &[(u32, u32)], expected: Option<Fault>) {
    let mut template = template();
    let bytes = frames(&mut template, names);
    let got = room(&template).receive(&template, 0, &bytes, |_, _| {});
    assert_eq!(got.err(), expected);
}

#[test]
fn room_any_mixture_of_senders_is_right() {
    check_room(&[(5, 0), (6, 0), (6, 1), (5, 1)], None);
}

#[test]
fn room_lost_message_of_one_is_found() {
    check_room(&[(5, 0), (6, 1)], Some(Fault::Skipped { due: 0, came: 1 }));
}

#[test]
fn room_repeated_message_is_found() {
    check_room(&[(5, 0), (5, 0)], Some(Fault::Repeated { due: 1, came: 0 }));
}

#[test]
fn room_unsent_message_is_found() {
    check_room(&[(5, 0), (5, 1), (5, 2)], Some(Fault::Unsent));
}

#[test]
fn room_stranger_is_found() {
    check_room(&[(4, 0)], Some(Fault::Stranger(4)));
    check_room(&[(7, 0)], Some(Fault::Stranger(7)));
}

#[test]
fn room_subscribers_that_disagree_are_found() {
    let mut template = template();
    let mut log = room(&template);
    let one = frames(&mut template, &[(5, 0), (6, 0)]);
    let other = frames(&mut template, &[(6, 0), (5, 0)]);
    assert!(log.receive(&template, 0, &one, |_, _| {}).is_ok());
    assert_eq!(
        log.receive(&template, 0, &other, |_, _| {}),
        Err(Fault::Disagreement)
    );
}

#[test]
fn room_cut_anywhere_completes_every_message_once() {
    let mut template = template();
    let bytes = frames(&mut template, &[(5, 0), (6, 0), (5, 1)]);
    for cut in 0..=bytes.len() {
        let mut log = room(&template);
        let mut count = 0;
        let at = log
            .receive(&template, 0, &bytes[..cut], |_, n| count += n)
            .unwrap();
        let at = log
            .receive(&template, at, &bytes[cut..], |_, n| count += n)
            .unwrap();
        assert_eq!((at, count), (bytes.len() as u64, 3));
    }
}

#[test]
fn room_forgotten_bytes_are_not_missed() {
    let mut template = template();
    let bytes = frames(&mut template, &[(5, 0), (6, 0), (5, 1), (6, 1)]);
    let mut log = room(&template);
    let half = bytes.len() / 2 + 3;
    let at = log
        .receive(&template, 0, &bytes[..half], |_, _| {})
        .unwrap();
    log.forget(at);
    assert_eq!(
        log.receive(&template, at, &bytes[half..], |_, _| {}),
        Ok(bytes.len() as u64)
    );
}
