//! A join takes effect at one moment, between its request and its 101.

use crate::{
    client::Client,
    harness::{Driver, Server},
    wire::{self, Raw, TEXT},
};

const JOINS: usize = 150;

on_both_drivers![
    member_hears_all_that_is_published_after_its_101_and_nothing_before,
    member_hears_its_own_message_sent_with_the_request,
    member_of_a_busy_room_hears_a_part_without_gaps,
];

fn member_hears_all_that_is_published_after_its_101_and_nothing_before(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut publishers: Vec<_> = (0..4).map(|_| Client::join(&server, "joined")).collect();
    for n in 0..JOINS {
        let by = n % publishers.len();
        publishers[by].send(format!("before {n}"));
        assert_eq!(publishers[by].text(), format!("before {n}"));

        // This may go through another core, at the moment when the 101 is read.
        let mut member = Client::join(&server, "joined");
        publishers[by].send(format!("after {n}"));
        assert_eq!(member.text(), format!("after {n}"));

        assert_eq!(publishers[by].text(), format!("after {n}"));
        for other in (0..publishers.len()).filter(|other| *other != by) {
            assert_eq!(publishers[other].text(), format!("before {n}"));
            assert_eq!(publishers[other].text(), format!("after {n}"));
        }
        member.leave();
    }
}

fn member_hears_its_own_message_sent_with_the_request(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    for n in 0..JOINS {
        let mut bytes = wire::upgrade(&format!("/rooms/new-{n}")).into_bytes();
        bytes.extend(wire::frame(TEXT, b"too early?"));
        let mut member = Raw::over(wire::connect(server.address()), bytes);
        assert_eq!(member.frame().payload, b"too early?");
    }
}

/// A member that joins while others publish receives every message from some message on.
fn member_of_a_busy_room_hears_a_part_without_gaps(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let mut publisher = Client::join(&server, "busy");
    let mut next = 0;
    for _ in 0..JOINS / 3 {
        for _ in 0..20 {
            publisher.write(format!("{next}"));
            next += 1;
        }
        publisher.flush();
        let mut member = Client::join(&server, "busy");
        let last_before = next;
        for _ in 0..20 {
            publisher.write(format!("{next}"));
            next += 1;
        }
        publisher.flush();
        let first = member.text().parse::<usize>().unwrap();
        assert!(first <= last_before, "{first} after {last_before}");
        for number in first + 1..next {
            assert_eq!(member.text(), format!("{number}"));
        }
        for number in next - 40..next {
            assert_eq!(publisher.text(), format!("{number}"));
        }
    }
}
