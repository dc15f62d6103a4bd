//! `/rooms/{room}`: which members receive what, valid names, and the bound on rooms.

use std::{thread, time::Duration};

use tungstenite::Message;

use crate::{
    client::{Client, binary, get},
    harness::{Driver, Server, eventually},
    wire,
};

on_both_drivers![
    message_reaches_everyone_with_its_type_and_the_sender,
    message_of_one_room_is_not_heard_in_another,
    message_larger_than_the_send_queue_reaches_everyone,
    name_is_percent_decoded_once,
    name_does_not_include_the_query,
    name_of_255_bytes_is_good_and_of_256_is_404,
    name_that_is_bad_is_answered_404,
    member_that_leaves_is_missed_by_nobody,
    member_that_closes_still_gets_what_was_said_before,
    room_beyond_the_most_is_answered_503,
    room_that_stayed_empty_makes_place_for_another,
    room_with_a_member_is_kept,
];

fn message_reaches_everyone_with_its_type_and_the_sender(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut members: Vec<_> = (0..6).map(|_| Client::join(&server, "all")).collect();
    let messages = [
        Message::text(""),
        Message::text("žluťoučký"),
        binary(vec![]),
        binary(vec![0xff; 200]),
        binary(vec![7; 64 << 10]),
    ];
    for (at, message) in messages.iter().enumerate() {
        members[at].send(message.clone());
        for member in &mut members {
            assert_eq!(member.receive(), *message);
        }
    }
}

fn message_of_one_room_is_not_heard_in_another(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut rooms: Vec<_> = (0..8)
        .map(|n| Client::join(&server, &format!("room-{n}")))
        .collect();
    for (n, member) in rooms.iter_mut().enumerate() {
        member.send(format!("only in {n}"));
    }
    for (n, member) in rooms.iter_mut().enumerate() {
        assert_eq!(member.text(), format!("only in {n}"));
        // If another room's message had arrived too, it would be next.
        member.send("last");
        assert_eq!(member.text(), "last");
    }
}

fn message_larger_than_the_send_queue_reaches_everyone(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2", "--message-bytes-max", "8MiB"]);
    let mut publisher = Client::join(&server, "large");
    let mut member = Client::join(&server, "large");
    let content: Vec<_> = (0..8 << 20).map(|n: u32| (n >> 3) as u8).collect();
    publisher.send(binary(content.clone()));
    assert!(publisher.receive() == binary(content.clone()));
    assert!(member.receive() == binary(content));
}

/// Whether two paths lead to the same room.
fn same_room(server: &Server, one: &str, other: &str) -> bool {
    let mut one = Client::connect(server, one);
    let mut other = Client::connect(server, other);
    one.send("from one");
    assert_eq!(one.text(), "from one");
    other.send("from the other");
    let is_same = other.text() == "from one";
    if is_same {
        // All of it is read, so that no later member of this room receives it.
        assert_eq!(other.text(), "from the other");
    }
    is_same
}

fn name_is_percent_decoded_once(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    assert!(same_room(&server, "/rooms/caf%C3%A9", "/rooms/caf%c3%a9"));
    assert!(same_room(&server, "/rooms/%41", "/rooms/A"));
    assert!(same_room(&server, "/rooms/%7Ea-b.c_d", "/rooms/~a-b.c_d"));
    assert!(!same_room(&server, "/rooms/%2541", "/rooms/A"));
    assert!(!same_room(&server, "/rooms/a", "/rooms/A"));
    assert!(!same_room(&server, "/rooms/a+b", "/rooms/a%20b"));
}

fn name_does_not_include_the_query(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    assert!(same_room(&server, "/rooms/a?token=1", "/rooms/a?token=2/3"));
    assert!(same_room(&server, "/rooms/a?", "/rooms/a"));
    assert!(!same_room(&server, "/rooms/a%3Fb", "/rooms/a"));
}

fn name_of_255_bytes_is_good_and_of_256_is_404(driver: Driver) {
    let server = Server::start(driver, &[]);
    Client::join(&server, &"x".repeat(254)).leave();
    let mut member = Client::join(&server, &"x".repeat(255));
    member.send("heard");
    assert_eq!(member.text(), "heard");
    Client::join(&server, &"%C3%A9".repeat(127)).leave();
    assert_eq!(status(&server, &"x".repeat(256)), 404);
    assert_eq!(status(&server, &"%C3%A9".repeat(128)), 404);
}

fn name_that_is_bad_is_answered_404(driver: Driver) {
    let server = Server::start(driver, &[]);
    let bad = [
        "",
        "?x",
        "a/b",
        "a/",
        "%",
        "a%4",
        "%zz",
        "%2F",
        "a%2fb",
        "%00",
        "a%0Ab",
        "%7F",
        "%FF",
        "%C0%AF",
        "%ED%A0%80",
    ];
    for name in bad {
        assert_eq!(status(&server, name), 404, "{name:?}");
    }
    let answer = get(&server, "/rooms/%zz");
    assert_eq!(answer.status, 404);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("room's name"), "{text}");
}

/// The answer to a handshake for this room.
fn status(server: &Server, room: &str) -> u16 {
    crate::client::ask(server, wire::upgrade(&format!("/rooms/{room}"))).status
}

fn member_that_leaves_is_missed_by_nobody(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut stays: Vec<_> = (0..4).map(|_| Client::join(&server, "r")).collect();
    for n in 0..20 {
        let leaves = Client::join(&server, "r");
        match n % 3 {
            0 => leaves.leave(),
            1 => drop(leaves),
            _ => leaves.vanish(),
        }
        stays[n % 4].send(format!("after {n}"));
        for member in &mut stays {
            assert_eq!(member.text(), format!("after {n}"));
        }
    }
}

/// There is one core, because two may learn of a message one after the other.
fn member_that_closes_still_gets_what_was_said_before(driver: Driver) {
    let server = Server::start(driver, &["--cores", "1"]);
    let mut publisher = Client::join(&server, "r");
    for n in 0..20 {
        let mut leaves = wire::Raw::open(&server, "/rooms/r");
        publisher.send(format!("{n}"));
        // A member that receives its own message knows that it was ordered before the close.
        assert_eq!(publisher.text(), format!("{n}"));
        leaves.send(wire::close(1000));
        assert_eq!(leaves.frame().payload, format!("{n}").as_bytes());
        assert_eq!(leaves.frame().close_code(), 1000);
    }
}

fn room_beyond_the_most_is_answered_503(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2", "--rooms-max", "2"]);
    let _first = Client::join(&server, "first");
    let mut second = Client::join(&server, "second");
    let refused = crate::client::ask(&server, wire::upgrade("/rooms/third"));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("Retry-After"), Some("1"));

    // Existing rooms can still be joined, and an echo needs no room.
    let mut other = Client::join(&server, "second");
    second.send("we are two");
    assert_eq!(other.text(), "we are two");
    Client::connect(&server, "/echo").leave();
}

fn room_that_stayed_empty_makes_place_for_another(driver: Driver) {
    let most = ["--cores", "2", "--rooms-max", "1"];
    let idle = ["--room-idle-timeout", "100ms"];
    let server = Server::start(driver, &[&most[..], &idle].concat());
    for n in 0..5 {
        let mut member = None;
        eventually("there is place for a new room", || {
            let path = format!("/rooms/room-{n}");
            member = Client::with_fields(&server, &path, &[]).ok();
            member.is_some()
        });
        let mut member = member.unwrap();
        member.send("new here");
        assert_eq!(member.text(), "new here");
        match n % 2 {
            0 => member.leave(),
            _ => member.vanish(),
        }
    }
}

fn room_with_a_member_is_kept(driver: Driver) {
    let flags = ["--rooms-max", "1", "--room-idle-timeout", "100ms"];
    let server = Server::start(driver, &flags);
    for n in 0..3 {
        // The room is empty for less than its idle time, and then has members for longer than that.
        Client::join(&server, "kept").leave();
        let mut stays = Client::join(&server, "kept");
        thread::sleep(Duration::from_millis(300));
        assert_eq!(status(&server, "another"), 503);
        stays.send(format!("{n}"));
        assert_eq!(stays.text(), format!("{n}"));
        let mut comes = Client::join(&server, "kept");
        comes.send("the same room");
        assert_eq!(stays.text(), "the same room");
        stays.leave();
        comes.leave();
    }
}
