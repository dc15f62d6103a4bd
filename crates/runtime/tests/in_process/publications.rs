//! Publications by ticket and by name, waiting for their answers, and homes that have no room for them.

use std::sync::Arc;

use codec::{CloseCode, Kind};
use hub::RoomName;
use runtime::{Command, Config, DriverChoice};

use crate::{
    harness::{App, PATIENCE, Running, start, start_with},
    told::{Heard, Standing, Teller, Told, position},
};

on_both_drivers![
    publication_by_name_from_no_room_has_its_place_among_the_others,
    messages_behind_a_wait_are_handed_over_after_the_answers,
    default_session_closes_when_it_is_refused_a_room_or_a_publication,
    full_home_holds_up_what_is_for_it_and_nothing_else,
    connection_that_ends_while_its_publications_wait_has_them_delivered,
    connection_that_is_closed_while_its_publications_wait_has_them_delivered,
];

/// A name for each core of a room that has its home there.
pub fn room_at_each_home(server: &Running) -> [String; 2] {
    let mut maker = Teller::connect(server, "/");
    let mut rooms = [None, None];
    for n in 0.. {
        let name = format!("at-home-{n}");
        maker.tell(&format!("publish-to {name} here"));
        maker.report("published");
        let monitor = server.server().monitor();
        let seen = [0, 1].map(|core| {
            monitor
                .rooms_of(core, 1_000)
                .recv_timeout(PATIENCE)
                .unwrap()
        });
        for (home, view) in seen.iter().enumerate() {
            if view.largest.iter().any(|room| room.name.as_str() == name) {
                rooms[home].get_or_insert(name.clone());
            }
        }
        if rooms.iter().all(Option::is_some) {
            break;
        }
    }
    rooms.map(Option::unwrap)
}

fn publication_by_name_from_no_room_has_its_place_among_the_others(driver: DriverChoice) {
    const EACH: u64 = 50;
    let server = start(driver, Told::default());
    let [here, there] = Teller::on_both_cores(&server, "/", 2);
    let mut all: Vec<_> = here.into_iter().chain(there).collect();
    let [outside, inside, another_outside, another_inside] = &mut all[..] else {
        unreachable!("two on each core");
    };
    inside.join(&["r"]);
    another_inside.join(&["r"]);
    for n in 0..EACH {
        outside.tell(&format!("publish-to r outside {n}"));
        inside.tell(&format!("publish 0 inside {n}"));
        another_outside.tell(&format!("publish-to r another {n}"));
    }
    // Where each publication is, as its publisher was told.
    let mut order = vec![None; 3 * EACH as usize];
    for (publisher, name) in [
        (outside, "outside"),
        (&mut *inside, "inside"),
        (another_outside, "another"),
    ] {
        let mut last = 0;
        for n in 0..EACH {
            let at = publisher.position(&format!("published {n} "));
            assert!(at.offset > last, "one after the other");
            last = at.offset;
            let place = &mut order[at.offset as usize - 1];
            assert_eq!(place.replace(format!("{name} {n}")), None);
        }
    }
    for subscriber in [inside, another_inside] {
        for (offset, text) in (1..).zip(&order) {
            let said = subscriber.said();
            assert_eq!((said.offset, Some(&said.text)), (offset, text.as_ref()));
        }
        subscriber.hears_nothing_more();
    }
}

fn messages_behind_a_wait_are_handed_over_after_the_answers(driver: DriverChoice) {
    let server = start(driver, Told::default());
    for mut teller in Teller::on_both_cores(&server, "/", 1).into_iter().flatten() {
        let core = teller.id.core.0;
        for round in 0..20 {
            let (room, publication) = (2 * round, 2 * round);
            teller.tell_all(&[
                &format!("join a{core}-{round}"),
                &format!("publish-to b{core}-{round} x"),
                &format!("join c{core}-{round}"),
                "wait",
                &format!("publish {room} y"),
                "say between",
                "wait",
                "say behind",
                "wait",
                "say at once",
            ]);
            let mut first: Vec<_> = (0..3).map(|_| teller.report("")).collect();
            first.sort();
            assert!(
                first[0].starts_with(&format!("joined {room} ")),
                "{first:?}"
            );
            assert!(
                first[1].starts_with(&format!("joined {} ", room + 1)),
                "{first:?}"
            );
            assert!(
                first[2].starts_with(&format!("published {publication} ")),
                "{first:?}"
            );
            teller.report("between");
            let at = position(&teller.report(&format!("published {} ", publication + 1)));
            assert_eq!(at.offset, 1);
            teller.report("behind");
            teller.report("at once");
            assert_eq!(teller.said().text, "y");
        }
    }
}

fn default_session_closes_when_it_is_refused_a_room_or_a_publication(driver: DriverChoice) {
    let app = App::new(|text, outlet| {
        let name = RoomName::new("one-more").unwrap();
        match text {
            "join" => drop(outlet.join(name)),
            _ => drop(outlet.publish_to(name, Kind::Text, b"x")),
        }
    });
    let server = start_with(driver, app, |config| config.rooms_max = 1);
    let _only = server.connect("/rooms/r");
    for command in ["join", "publish"] {
        let mut client = server.connect("/");
        client.send(command);
        assert_eq!(
            client.closed(),
            (1013, "the room cannot take more for now".into())
        );
    }
}

/// The least that a core may ask of another before it must wait.
pub fn narrow(config: &mut Config) {
    config.mailbox_batches = 1;
    config.outbox_bytes_max = 1;
}

/// Far more than fits between two cores then.
const PUBLICATIONS: u64 = 40;

/// So many publications of one connection, in one write.
fn publish_many(publisher: &mut Teller, room: &str) {
    let commands: Vec<_> = (1..=PUBLICATIONS)
        .map(|n| format!("publish-to {room} {n}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    publisher.tell_all(&commands);
}

/// Hears them all, in order.
fn hears_many(subscriber: &mut Teller, room: &str, from: u64) {
    for n in 1..=PUBLICATIONS {
        let said = subscriber.said();
        let expected = (room, from + n, n.to_string());
        assert_eq!((&*said.room, said.offset, said.text), expected);
    }
}

fn full_home_holds_up_what_is_for_it_and_nothing_else(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, narrow);
    let [running, still] = room_at_each_home(&server);
    let [here, there] = Teller::on_both_cores(&server, "/", 3);
    let [mut held_up, mut goes_on, mut listener] = <[_; 3]>::try_from(here).ok().unwrap();
    let [mut stander, mut there, _] = <[_; 3]>::try_from(there).ok().unwrap();
    listener.join(&[&running, &still]);
    there.join(&[&still]);

    let standing = Standing::of(&gate, &mut stander);
    publish_many(&mut held_up, &still);
    for round in 0..3 {
        publish_many(&mut goes_on, &running);
        for n in 0..PUBLICATIONS {
            goes_on.report(&format!("published {} ", round * PUBLICATIONS + n));
        }
        hears_many(&mut listener, &running, 1 + round * PUBLICATIONS);
    }
    drop(standing);

    for n in 0..PUBLICATIONS {
        held_up.report(&format!("published {n} "));
    }
    for listener in [&mut listener, &mut there] {
        hears_many(listener, &still, 1);
        listener.hears_nothing_more();
    }
}

fn connection_that_ends_while_its_publications_wait_has_them_delivered(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, |config| {
        narrow(config);
        // A machine with much to do is no reason to end the wait.
        config.timeouts.close = PATIENCE;
    });
    let [_, still] = room_at_each_home(&server);
    let [here, there] = Teller::on_both_cores(&server, "/", 4);
    let [mut closes, mut ends, mut waits, mut listener] = <[_; 4]>::try_from(here).ok().unwrap();
    let mut stander = there.into_iter().next().unwrap();
    listener.join(&[&still]);

    let standing = Standing::of(&gate, &mut stander);
    for teller in [&mut closes, &mut ends, &mut waits] {
        publish_many(teller, &still);
    }
    closes.begin_close();
    ends.end_stream();
    waits.tell_all(&["wait", "say behind all answers"]);
    waits.end_stream();
    drop(standing);

    let mut heard = [0; PUBLICATIONS as usize];
    for offset in 2..=3 * PUBLICATIONS + 1 {
        let said = listener.said();
        assert_eq!(said.offset, offset);
        heard[said.text.parse::<usize>().unwrap() - 1] += 1;
    }
    assert_eq!(heard, [3; PUBLICATIONS as usize]);
    // They are told so as well, before the end.
    for teller in [&mut closes, &mut ends, &mut waits] {
        for n in 0..PUBLICATIONS {
            teller.report(&format!("published {n} "));
        }
    }
    waits.report("behind all answers");
    assert_eq!(closes.hear(), Heard::End);
    assert_eq!(ends.hear(), Heard::End);
    assert_eq!(waits.hear(), Heard::End);
}

fn connection_that_is_closed_while_its_publications_wait_has_them_delivered(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, |config| {
        narrow(config);
        config.timeouts.close = PATIENCE;
    });
    let [_, still] = room_at_each_home(&server);
    let [here, there] = Teller::on_both_cores(&server, "/", 2);
    let [mut closed, mut listener] = <[_; 2]>::try_from(here).ok().unwrap();
    let mut stander = there.into_iter().next().unwrap();
    listener.join(&[&still]);
    let standing = Standing::of(&gate, &mut stander);
    let commander = server.server().commander();
    for n in 0..PUBLICATIONS {
        let publish = Arc::new(format!("publish-to {still} {n}"));
        commander
            .connection(closed.id, Command::Hand(publish))
            .unwrap();
        closed.report("command");
    }
    let code = CloseCode::NORMAL;
    commander
        .connection(closed.id, Command::Close(code, ""))
        .unwrap();
    assert_eq!(closed.closed(), 1000);
    drop(standing);
    for n in 0..PUBLICATIONS {
        assert_eq!(listener.said().text, n.to_string());
    }
}
