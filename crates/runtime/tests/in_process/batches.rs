//! Rooms whose messages leave together.

use std::time::{Duration, Instant};

use hub::RoomName;
use runtime::{Command, DriverChoice};

use crate::{
    harness::start,
    told::{Heard, Teller, Told},
};

on_both_drivers![
    messages_come_together_on_both_cores_and_not_before_their_interval_is_over,
    who_joins_gets_exactly_what_follows_its_position,
    who_leaves_or_is_drained_has_what_was_told_before,
];

fn messages_come_together_on_both_cores_and_not_before_their_interval_is_over(
    driver: DriverChoice,
) {
    const MESSAGES: usize = 20;
    let server = start(driver, Told::default());
    let mut publisher = Teller::connect(&server, "/");
    let mut members: Vec<_> = Teller::on_both_cores(&server, "/", 2)
        .into_iter()
        .flatten()
        .collect();
    for member in &mut members {
        member.join(&["gathers", "plain"]);
    }
    for room in ["gathers", "plain"] {
        let commands: Vec<_> = (0..MESSAGES)
            .map(|n| format!("publish-to {room} {n}"))
            .collect();
        let commands: Vec<_> = commands.iter().map(String::as_str).collect();
        let begun = Instant::now();
        publisher.tell_all(&commands);
        for member in &mut members {
            member.frames = 0;
            for n in 0..MESSAGES {
                let said = member.said();
                assert_eq!(
                    (&*said.room, said.offset, said.text),
                    (room, n as u64 + 1, n.to_string())
                );
            }
            match room {
                "plain" => assert_eq!(member.frames, MESSAGES),
                _ => {
                    assert!(begun.elapsed() >= Duration::from_millis(100));
                    assert!(member.frames < MESSAGES, "{}", member.frames);
                }
            }
        }
    }
    let tally = crate::pages::tally(&server);
    assert_eq!(tally.delivered, (2 * MESSAGES * members.len()) as u64);
}

/// More joins than there are messages in an interval, so that some come in the middle of a frame.
fn who_joins_gets_exactly_what_follows_its_position(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let mut publisher = Teller::connect(&server, "/");
    publisher.join(&["gathers"]);
    let mut members = Vec::new();
    for n in 0..40 {
        publisher.tell(&format!("publish 0 {n}"));
        publisher.report("published");
        let mut member = Teller::connect(&server, "/");
        member.tell("join gathers");
        let position = member.position("joined 0");
        members.push((member, position.offset));
    }
    publisher.tell("publish 0 last");
    for (mut member, position) in members {
        for offset in position + 1..=41 {
            assert_eq!(member.said().offset, offset);
        }
    }
}

fn who_leaves_or_is_drained_has_what_was_told_before(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let [mut leaves, mut stays] = ["/", "/"].map(|path| Teller::connect(&server, path));
    for member in [&mut leaves, &mut stays] {
        member.join(&["gathers-long"]);
    }
    // What is its own has come to its core before it leaves.
    leaves.tell_all(&["publish 0 one", "publish 0 two", "wait", "leave 0"]);
    for text in ["one", "two"] {
        assert_eq!(leaves.said().text, text);
    }
    leaves.report("published 0");
    leaves.report("published 1");
    assert_eq!(leaves.report("gone"), "0");
    stays.tell_all(&["publish 0 three", "wait", "say now"]);
    stays.report("published 0");
    stays.report("now");
    let commander = server.server().commander();
    let leave = Command::Leave(RoomName::new("gathers-long").unwrap());
    commander.connection(stays.id, leave).unwrap();
    for text in ["one", "two", "three"] {
        assert_eq!(stays.said().text, text);
    }
    assert_eq!(stays.report("left 0"), "Commanded");
    stays.join(&["gathers-long"]);
    stays.tell_all(&["publish 1 four", "wait", "say now"]);
    stays.report("published 1");
    stays.report("now");
    server.server().drainer().drain();
    assert_eq!(stays.said().text, "four");
    assert_eq!(stays.closed(), 1001);
    assert_eq!(leaves.hear(), Heard::Close(1001));
}
