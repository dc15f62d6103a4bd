//! What connections are told from other threads: one of them, or all of a user.

use std::sync::Arc;

use bytes::Bytes;
use codec::{CloseCode, Kind};
use hub::{ConnectionId, RoomName};
use runtime::{Command, CommandRefused, DriverChoice};

use crate::{
    harness::{PATIENCE, Running, start, start_with},
    publications::{narrow, room_at_each_home},
    told::{Heard, Standing, Teller, Told},
};

on_both_drivers![
    each_command_reaches_the_connection_that_it_is_for,
    each_command_reaches_all_connections_of_a_user_on_all_cores,
    command_to_join_is_passed_over_by_a_connection_in_as_many_rooms_as_it_may,
    command_for_a_connection_that_is_gone_reaches_nobody,
    command_is_refused_by_a_core_that_has_no_room_for_it,
    command_to_join_waits_for_a_home_that_has_no_room,
    command_to_leave_overtakes_no_command_to_join,
    peer_that_does_not_read_what_it_is_told_is_closed_with_1013,
    panic_over_a_command_closes_that_connection_alone_with_1011,
];

fn name(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn say(text: &str) -> Command {
    Command::Say(Kind::Text, Bytes::from(format!("!{text}")))
}

fn hand(text: &str) -> Command {
    Command::Hand(Arc::new(text.to_string()))
}

fn close() -> Command {
    let code = CloseCode::from_wire(4001).unwrap();
    Command::Close(code, "as you are told")
}

/// Tells these connections everything that there is by `tell`, and sees it happen.
fn obey_all(server: &Running, tellers: &mut [Teller], tell: impl Fn(Command)) {
    let mut publisher = Teller::connect(server, "/");
    tell(say("this"));
    tell(hand("of the application"));
    tell(Command::Join(name("r")));
    for teller in &mut *tellers {
        assert_eq!(teller.hear(), Heard::Report("this".into()));
        assert_eq!(
            teller.hear(),
            Heard::Report("command of the application".into())
        );
        assert_eq!(teller.hear(), Heard::Report("joining 0 r".into()));
        assert_eq!(teller.position("joined 0").offset, 0);
    }
    publisher.tell("publish-to r heard");
    publisher.report("published");
    for teller in &mut *tellers {
        assert_eq!(teller.said().text, "heard");
    }
    tell(Command::Leave(name("another")));
    tell(Command::Leave(name("r")));
    for teller in &mut *tellers {
        assert_eq!(teller.report("left 0"), "Commanded");
    }
    publisher.tell("publish-to r unheard");
    publisher.report("published");
    for teller in &mut *tellers {
        teller.hears_nothing_more();
    }
    tell(close());
    for teller in tellers {
        assert_eq!(teller.closed(), 4001);
    }
}

fn each_command_reaches_the_connection_that_it_is_for(driver: DriverChoice) {
    for core in [0, 1] {
        let server = start(driver, Told::default());
        let mut all = Teller::on_both_cores(&server, "/", 3);
        let mut teller = all[core].remove(1);
        let (commander, id) = (server.server().commander(), teller.id);
        obey_all(&server, std::slice::from_mut(&mut teller), |command| {
            commander.connection(id, command).unwrap();
        });
        for other in all.iter_mut().flatten() {
            other.hears_nothing_more();
        }
    }
}

fn each_command_reaches_all_connections_of_a_user_on_all_cores(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let [mut here, mut there] = Teller::on_both_cores(&server, "/", 5);
    let mut others = [
        here.remove(0),
        there.remove(0),
        here.remove(0),
        there.remove(0),
    ];
    others[0].tell("user bob");
    others[1].tell("user bob");
    others.iter_mut().for_each(Teller::hears_nothing_more);
    here.append(&mut there);
    for teller in &mut here {
        // The first name counts.
        teller.tell("user ann");
        teller.tell("user bob");
        teller.hears_nothing_more();
    }
    let commander = server.server().commander();
    obey_all(&server, &mut here, |command| {
        commander.user("ann", command).unwrap();
    });
    commander.user("nobody", close()).unwrap();
    others.iter_mut().for_each(Teller::hears_nothing_more);
}

fn command_to_join_is_passed_over_by_a_connection_in_as_many_rooms_as_it_may(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        config.rooms_per_connection_max = 2;
    });
    let mut teller = Teller::connect(&server, "/");
    teller.join(&["a", "b"]);
    let commander = server.server().commander();
    commander
        .connection(teller.id, Command::Join(name("c")))
        .unwrap();
    commander.connection(teller.id, say("after that")).unwrap();
    assert_eq!(teller.hear(), Heard::Report("after that".into()));
    commander
        .connection(teller.id, Command::Leave(name("a")))
        .unwrap();
    commander
        .connection(teller.id, Command::Join(name("c")))
        .unwrap();
    assert_eq!(teller.report("left 0"), "Commanded");
    teller.report("joining 2 c");
    teller.report("joined 2");
}

fn command_for_a_connection_that_is_gone_reaches_nobody(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let commander = server.server().commander();
    let mut gone = Vec::new();
    for mut teller in Teller::on_both_cores(&server, "/", 2).into_iter().flatten() {
        teller.tell("user ann");
        teller.join(&["r"]);
        gone.push(teller.id);
        commander.connection(teller.id, close()).unwrap();
        assert_eq!(teller.closed(), 4001);
    }
    // In the slots of those that are gone, most likely.
    let mut next: Vec<_> = Teller::on_both_cores(&server, "/", 4)
        .into_iter()
        .flatten()
        .collect();
    for id in gone {
        for command in [
            say("no"),
            hand("panic"),
            Command::Join(name("r")),
            Command::Leave(name("r")),
            close(),
        ] {
            commander.connection(id, command.clone()).unwrap();
            commander.user("ann", command).unwrap();
        }
    }
    let nowhere = ConnectionId {
        token: 0,
        ..next[0].id
    };
    commander.connection(nowhere, close()).unwrap();
    next.iter_mut().for_each(Teller::hears_nothing_more);
}

fn command_is_refused_by_a_core_that_has_no_room_for_it(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, |config| config.commands_max = 1);
    let [here, there] = Teller::on_both_cores(&server, "/", 2);
    let [mut one, mut other] = <[_; 2]>::try_from(here).ok().unwrap();
    let [mut stander, mut still] = <[_; 2]>::try_from(there).ok().unwrap();
    for teller in [&mut other, &mut still] {
        teller.tell("user ann");
        teller.hears_nothing_more();
    }
    let commander = server.server().commander();
    let standing = Standing::of(&gate, &mut stander);
    assert_eq!(commander.connection(still.id, say("taken")), Ok(()));
    for _ in 0..3 {
        assert_eq!(
            commander.connection(still.id, say("refused")),
            Err(CommandRefused)
        );
    }
    // The user's connection on the other core is told all the same, and that core goes on.
    assert_eq!(
        commander.user("ann", say("to one of two")),
        Err(CommandRefused)
    );
    assert_eq!(other.hear(), Heard::Report("to one of two".into()));
    for n in 0..20 {
        assert_eq!(commander.connection(one.id, say(&format!("{n}"))), Ok(()));
        assert_eq!(one.hear(), Heard::Report(format!("{n}")));
    }
    drop(standing);
    assert_eq!(still.hear(), Heard::Report("taken".into()));
    still.hears_nothing_more();
    assert_eq!(commander.connection(still.id, say("taken again")), Ok(()));
    assert_eq!(still.hear(), Heard::Report("taken again".into()));
}

fn panic_over_a_command_closes_that_connection_alone_with_1011(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let commander = server.server().commander();
    let mut others: Vec<_> = Teller::on_both_cores(&server, "/", 2)
        .into_iter()
        .flatten()
        .collect();
    others.iter_mut().for_each(|other| other.join(&["r"]));
    for n in 1..=4 {
        let mut panics = Teller::connect(&server, "/");
        panics.join(&["r", "s"]);
        commander.connection(panics.id, hand("panic")).unwrap();
        assert_eq!(panics.closed(), 1011);
        others[n % 4].tell(&format!("publish 0 after {n}"));
        for other in &mut others {
            let said = other.said();
            assert_eq!((said.offset, said.text), (n as u64, format!("after {n}")));
        }
    }
    server.stop().unwrap();
}

/// Nobody but the commander says anything to these connections while they wait.
fn command_to_join_waits_for_a_home_that_has_no_room(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, narrow);
    let [_, still] = room_at_each_home(&server);
    let [mut members, there] = Teller::on_both_cores(&server, "/", 4);
    let mut stander = there.into_iter().next().unwrap();
    let commander = server.server().commander();
    let standing = Standing::of(&gate, &mut stander);
    let join = |member: &Teller, room: &str| {
        let command = Command::Join(name(room));
        commander.connection(member.id, command).unwrap();
    };
    for member in &mut members {
        for n in 0..3 {
            join(member, &still);
            member.report(&format!("joining {n}"));
        }
    }
    drop(standing);
    for member in &mut members {
        for n in 0..3 {
            member.report(&format!("joined {n} "));
        }
        member.tell("publish 2 here");
        member.report("published 0 ");
    }
}

/// Tells a connection that does not read more than it may have waiting, until it is told no more.
fn flood(server: &Running, path: &str, command: impl Fn(&str) -> Command) -> Teller {
    let commander = server.server().commander();
    let teller = Teller::that_reads_slowly(server, path);
    let text = "x".repeat(32 << 10);
    for _ in 0..FLOOD {
        while commander.connection(teller.id, command(&text)).is_err() {
            std::thread::yield_now();
        }
    }
    teller
}

/// More messages of 32 KiB than the sockets of both sides hold.
const FLOOD: usize = 512;

fn peer_that_does_not_read_what_it_is_told_is_closed_with_1013(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        config.send_queue_bytes_max = 256 << 10;
        config.timeouts.write = PATIENCE;
        config.timeouts.close = PATIENCE;
    });
    let commands: [fn(&str) -> Command; 2] = [say, hand];
    for command in commands {
        // Whatever becomes of those who lag in their rooms.
        for path in ["/", "/leave"] {
            let mut teller = flood(&server, path, command);
            let mut heard = 0;
            let code = loop {
                match teller.hear() {
                    Heard::Report(_) => heard += 1,
                    Heard::Close(code) => break code,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(code, 1013);
            assert!((1..FLOOD).contains(&heard), "{heard}");
        }
    }
}

fn command_to_leave_overtakes_no_command_to_join(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let commander = server.server().commander();
    let mut publisher = Teller::connect(&server, "/");
    for mut teller in Teller::on_both_cores(&server, "/", 1).into_iter().flatten() {
        for command in [Command::Join(name("r")), Command::Leave(name("r"))] {
            commander.connection(teller.id, command).unwrap();
        }
        teller.report("joining 0 r");
        // The room's answer may come before the second command, or behind it.
        loop {
            match teller.hear() {
                Heard::Report(report) if report == "left 0 Commanded" => break,
                Heard::Report(report) => assert!(report.starts_with("joined 0"), "{report}"),
                other => panic!("{other:?}"),
            }
        }
        publisher.tell("publish-to r unheard");
        publisher.report("published");
        teller.tell("say end");
        loop {
            match teller.hear() {
                Heard::Message(said) => panic!("{said:?}"),
                Heard::Report(report) if report == "end" => break,
                _ => {}
            }
        }
    }
}
