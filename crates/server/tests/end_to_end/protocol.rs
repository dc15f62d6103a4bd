//! Peers that break a rule of RFC 6455 get its close code, and other connections notice nothing.

use crate::{
    client::serves,
    harness::{Driver, Server},
    wire::{self, BINARY, CLOSE, Heard, PING, Raw, TEXT},
};

on_both_drivers![
    rule_broken_is_answered_with_its_close_code,
    rule_broken_in_a_room_is_answered_with_its_close_code,
    message_over_the_limit_is_closed_with_1009_before_it_has_come,
    message_before_the_broken_rule_is_still_answered,
];

/// What a peer sends, and the code it is closed with.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let too_big = wire::frame(BINARY, &[0; (64 << 10) + 1]);
    let mut too_big_in_pieces = wire::masked(BINARY, &[0; 64 << 10]);
    too_big_in_pieces.extend(wire::masked(0x80, b"x"));
    let mut too_many_pieces = wire::masked(TEXT, b"");
    for _ in 0..1024 {
        too_many_pieces.extend(wire::masked(0, b""));
    }
    let mut text_cut = wire::masked(TEXT, b"caf\xc3");
    text_cut.extend(wire::masked(0x80, b""));
    let mut interleaved = wire::masked(TEXT, b"one");
    interleaved.extend(wire::frame(TEXT, b"two"));
    vec![
        ("message too big", too_big, 1009),
        ("fragments too big together", too_big_in_pieces, 1009),
        ("too many fragments", too_many_pieces, 1008),
        ("not masked", wire::unmasked(TEXT, b"hello"), 1002),
        ("text not UTF-8", wire::frame(TEXT, b"\xff"), 1007),
        ("text ends inside a character", text_cut, 1007),
        ("reserved bit", wire::masked(0xc0 | TEXT, b""), 1002),
        ("reserved opcode", wire::frame(3, b""), 1002),
        ("nothing to continue", wire::masked(0x80, b""), 1002),
        ("message inside a message", interleaved, 1002),
        ("ping in fragments", wire::masked(PING, b""), 1002),
        ("ping too long", wire::frame(PING, &[0; 126]), 1002),
        ("close of one byte", wire::frame(CLOSE, b"\x03"), 1002),
        ("close with a code that is none", wire::close(1005), 1002),
        (
            "close with a bad reason",
            wire::frame(CLOSE, b"\x03\xe8\xff"),
            1007,
        ),
    ]
}

fn rule_broken_is_answered_with_its_close_code(driver: Driver) {
    check_all(driver, "/echo");
}

fn rule_broken_in_a_room_is_answered_with_its_close_code(driver: Driver) {
    check_all(driver, "/rooms/strict");
}

fn check_all(driver: Driver, path: &str) {
    let server = Server::start(driver, &[]);
    for (rule, bytes, code) in violations() {
        let mut raw = Raw::open(&server, path);
        raw.send(bytes);
        // This is sent too late to matter, and stays unread: the stream must still end without a
        // reset.
        raw.send(wire::frame(TEXT, b"and another"));
        assert_eq!(raw.message().close_code(), code, "{rule}");
        assert_eq!(raw.next(), Heard::End, "{rule}");
    }
    assert!(serves(&server));
}

fn message_over_the_limit_is_closed_with_1009_before_it_has_come(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    let frame = wire::frame(BINARY, &[0; (64 << 10) + 1]);
    raw.send(&frame[..14]);
    assert_eq!(raw.frame().close_code(), 1009);
    assert_eq!(raw.next(), Heard::End);
}

fn message_before_the_broken_rule_is_still_answered(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    let mut bytes = wire::frame(TEXT, b"good");
    bytes.extend(wire::frame(TEXT, b"\xff"));
    raw.send(bytes);
    assert_eq!(raw.frame().payload, b"good");
    assert_eq!(raw.frame().close_code(), 1007);
    assert_eq!(raw.next(), Heard::End);
}
