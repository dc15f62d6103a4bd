//! Desks: who publishes in rooms and asks about them without a connection.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use codec::Kind;
use hub::{
    Answer, AnswerRefusal, Details, Keyed, Page, Position, PublishRefusal, Question, RoomName,
};
use runtime::{Desk, DeskFull, DriverChoice};

use crate::{
    harness::{PATIENCE, Running, start, start_with},
    publications::room_at_each_home,
    told::{Said, Standing, Teller, Told},
};

on_both_drivers![
    publications_have_their_place_among_those_of_connections_on_every_core,
    rooms_are_asked_and_obey,
    list_has_each_room_of_every_core_once,
    one_place_is_taken_again_as_soon_as_it_is_free,
    askers_on_many_threads_have_their_answers_through_mailboxes_of_one_place,
    request_is_refused_while_a_core_has_no_place_for_it,
    requests_that_are_open_when_the_cores_end_are_told_so,
];

fn name(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

fn publish(desk: &Desk, room: &str, text: &str) -> Result<Position, PublishRefusal> {
    publish_with(desk, room, text, None)
}

fn publish_with(
    desk: &Desk,
    room: &str,
    text: &str,
    details: Option<Details>,
) -> Result<Position, PublishRefusal> {
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let details = details.map(Arc::new);
    let answer = desk.publish(name(room), Kind::Text, payload, details);
    answer.unwrap().recv_timeout(PATIENCE).unwrap()
}

fn ask(desk: &Desk, room: &str, question: Question) -> Answer {
    let answer = desk.ask(name(room), question).unwrap();
    answer.recv_timeout(PATIENCE).unwrap()
}

fn of_key(key: &str) -> Option<Details> {
    Some(Details {
        keyed: Some(Keyed {
            key: key.into(),
            is_removed: false,
        }),
        ..Details::default()
    })
}

fn said(room: &str, offset: u64, text: &str) -> Said {
    Said {
        room: room.into(),
        offset,
        text: text.into(),
    }
}

/// What a room keeps: each offset, and its payload.
fn texts(answer: Answer) -> (u64, Vec<String>) {
    let Answer::History { top, messages } = answer else {
        panic!("{answer:?} is no past");
    };
    let texts = messages.iter().map(|(offset, it)| {
        let text = str::from_utf8(&it.payload).unwrap();
        format!("{offset} {text}")
    });
    (top.offset, texts.collect())
}

fn publications_have_their_place_among_those_of_connections_on_every_core(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let rooms = room_at_each_home(&server);
    let desk = server.server().desk();
    assert_eq!(desk.cores(), 2);
    for mut teller in Teller::on_both_cores(&server, "/", 1).into_iter().flatten() {
        for room in &rooms {
            teller.tell(&format!("join {room}"));
            teller.report("joined");
            let at = publish(&desk, room, "from nobody").unwrap();
            teller.tell(&format!("publish {room} mine"));
            let mine = teller.position("published").offset;
            assert_eq!(mine, at.offset + 1);
            assert_eq!(teller.said(), said(room, at.offset, "from nobody"));
            assert_eq!(teller.said(), said(room, mine, "mine"));
            teller.tell(&format!("leave {room}"));
            teller.report("gone");
        }
        teller.hears_nothing_more();
    }
}

fn rooms_are_asked_and_obey(driver: DriverChoice) {
    let server = start(driver, Told::default());
    let desk = server.server().desk();
    let mut teller = Teller::connect(&server, "/");
    teller.join(&["keyed", "kept"]);
    for (key, text) in [("b", "1"), ("a", "2"), ("b", "3")] {
        publish_with(&desk, "keyed", text, of_key(key)).unwrap();
    }
    let table = texts(ask(&desk, "keyed", Question::Table));
    assert_eq!(table, (3, vec!["2 2".into(), "3 3".into()]));
    let full = publish_with(&desk, "keyed", "4", of_key("c"));
    assert_eq!(full, Err(PublishRefusal::TableFull));
    assert_eq!(ask(&desk, "keyed", Question::ClearTable), Answer::Done);
    let table = texts(ask(&desk, "keyed", Question::Table));
    assert_eq!(table, (5, vec![]));
    for (offset, text) in (1..).zip(["1", "2", "3", "", ""]) {
        assert_eq!(teller.said(), said("keyed", offset, text));
    }

    let everything = || {
        Question::History(Box::new(Page {
            since: None,
            limit: 10,
            is_reversed: false,
        }))
    };
    publish(&desk, "kept", "one").unwrap();
    let past = texts(ask(&desk, "kept", everything()));
    assert_eq!(past, (1, vec!["1 one".into()]));
    assert_eq!(ask(&desk, "kept", Question::ForgetHistory), Answer::Done);
    assert_eq!(texts(ask(&desk, "kept", everything())), (1, vec![]));
    publish(&desk, "kept", "two").unwrap();
    let past = texts(ask(&desk, "kept", everything()));
    assert_eq!(past, (2, vec!["2 two".into()]));
    let other = Page {
        since: Some(hub::Since {
            epoch: Some(hub::Epoch(1)),
            offset: 0,
        }),
        limit: 10,
        is_reversed: false,
    };
    let refused = ask(&desk, "kept", Question::History(Box::new(other)));
    assert_eq!(refused, Answer::Refused(AnswerRefusal::OtherEpoch));
    assert_eq!(teller.said(), said("kept", 1, "one"));
    assert_eq!(teller.said(), said("kept", 2, "two"));
    teller.hears_nothing_more();
}

fn list_has_each_room_of_every_core_once(driver: DriverChoice) {
    const ROOMS: usize = 3_000;
    let server = start_with(driver, Told::default(), |config| {
        config.desk_requests_max = ROOMS;
    });
    let desk = server.server().desk();
    let mut teller = Teller::connect(&server, "/");
    teller.join(&["listened-to"]);
    let names: BTreeSet<_> = (0..ROOMS).map(|n| format!("room-{n}")).collect();
    let answers: Vec<_> = names
        .iter()
        .map(|it| desk.publish(name(it), Kind::Text, Bytes::new(), None))
        .collect();
    for answer in answers {
        answer.unwrap().recv_timeout(PATIENCE).unwrap().unwrap();
    }
    let mut listed = Vec::new();
    for core in 0..2 {
        let mut from = Some(0);
        let mut answers = 0;
        while let Some(at) = from {
            let listing = desk.list(core, at).unwrap().recv_timeout(PATIENCE).unwrap();
            assert!(listing.rooms.len() <= 1_024);
            answers += 1;
            listed.extend(listing.rooms);
            from = listing.next;
        }
        assert!(answers > 1, "not all at once");
    }
    assert_eq!(listed.len(), ROOMS + 1);
    let (ours, others): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|(name, _)| name.as_str() == "listened-to");
    assert_eq!(ours, [(name("listened-to"), 1)]);
    assert!(others.iter().all(|(_, subscribers)| *subscribers == 0));
    let others: BTreeSet<_> = others.iter().map(|(it, _)| it.as_str().into()).collect();
    assert_eq!(others, names);
}

fn one_place_is_taken_again_as_soon_as_it_is_free(driver: DriverChoice) {
    let server = start_with(driver, Told::default(), |config| {
        config.desk_requests_max = 1;
        config.mailbox_batches = 1;
    });
    let desk = server.server().desk();
    for n in 1..=200 {
        let at = publish(&desk, "r", "hello").unwrap();
        assert_eq!(at.offset, n);
    }
}

/// Whoever asks again and again while a core has no place.
fn until_taken<T>(give: impl Fn() -> Result<T, DeskFull>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match give() {
            Ok(given) => return given,
            Err(DeskFull) => assert!(Instant::now() < until, "no place ever"),
        }
        thread::yield_now();
    }
}

fn askers_on_many_threads_have_their_answers_through_mailboxes_of_one_place(driver: DriverChoice) {
    const ASKERS: usize = 4;
    const EACH: usize = 200;
    let server = start_with(driver, Told::default(), |config| {
        config.desk_requests_max = 3;
        config.mailbox_batches = 1;
        config.outbox_bytes_max = 2_000;
    });
    let rooms = room_at_each_home(&server);
    let mut hearers: Vec<_> = Teller::on_both_cores(&server, "/", 1)
        .into_iter()
        .flatten()
        .collect();
    for hearer in &mut hearers {
        hearer.join(&[&rooms[0], &rooms[1]]);
    }
    let desk = server.server().desk();
    let ask = |asker: usize| {
        let mut last = [0, 0];
        let mut said = Vec::new();
        for n in 0..EACH {
            let at = (n + asker) % 2;
            let room = &rooms[at];
            if n % 7 == 0 {
                let counts = until_taken(|| desk.ask(name(room), Question::MemberCounts));
                counts.recv_timeout(PATIENCE).unwrap();
                until_taken(|| desk.list(at, 0))
                    .recv_timeout(PATIENCE)
                    .unwrap();
            }
            let text = format!("{asker} {n}");
            let answer =
                until_taken(|| desk.publish(name(room), Kind::Text, text.clone().into(), None));
            let position = answer.recv_timeout(PATIENCE).unwrap().unwrap();
            // Whatever is acknowledged lies before what is published then.
            assert!(position.offset > last[at]);
            last[at] = position.offset;
            said.push((at, position.offset, text));
        }
        said
    };
    let mut said: Vec<_> = thread::scope(|scope| {
        let ask = &ask;
        let askers: Vec<_> = (0..ASKERS)
            .map(|asker| scope.spawn(move || ask(asker)))
            .collect();
        askers
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    said.sort();
    for hearer in &mut hearers {
        let mut heard: Vec<_> = (0..ASKERS * EACH)
            .map(|_| {
                let Said { room, offset, text } = hearer.said();
                (usize::from(room == rooms[1]), offset, text)
            })
            .collect();
        heard.sort();
        assert_eq!(heard, said);
        hearer.hears_nothing_more();
    }
}

fn request_is_refused_while_a_core_has_no_place_for_it(driver: DriverChoice) {
    let (app, gate) = Told::with_gate();
    let server = start_with(driver, app, |config| config.desk_requests_max = 2);
    let [here, there] = room_at_each_home(&server);
    let desk = server.server().desk();
    let [_, mut on_the_other] = Teller::on_both_cores(&server, "/", 1);
    let standing = Standing::of(&gate, &mut on_the_other[0]);
    let say = |room: &str| desk.publish(name(room), Kind::Text, Bytes::from("x"), None);
    let (one, other) = (say(&there).unwrap(), say(&there).unwrap());
    assert_eq!(say(&there).err(), Some(DeskFull));
    assert_eq!(desk.list(1, 0).err(), Some(DeskFull));
    // The other core has places of its own.
    publish(&desk, &here, "x").unwrap();
    assert!(one.try_recv().is_err());
    drop(standing);
    let offsets = [one, other].map(|it| it.recv_timeout(PATIENCE).unwrap().unwrap().offset);
    assert_eq!(offsets[1], offsets[0] + 1);
    assert!(say(&there).is_ok());
}

fn requests_that_are_open_when_the_cores_end_are_told_so(driver: DriverChoice) {
    let server: Running = start(driver, Told::default());
    let desk = server.server().desk();
    let asking = {
        let desk = desk.clone();
        thread::spawn(move || {
            let mut answers = Vec::new();
            let mut refused = 0;
            // Full is for a moment, and ended for ever.
            while refused < 100 {
                match desk.publish(name("r"), Kind::Text, Bytes::new(), None) {
                    Ok(answer) => {
                        answers.push(answer);
                        refused = 0;
                    }
                    Err(DeskFull) => {
                        refused += 1;
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            }
            answers
        })
    };
    thread::sleep(Duration::from_millis(20));
    server.stop().unwrap();
    let answers = asking.join().unwrap();
    let until = Instant::now() + PATIENCE;
    let told = answers.iter().map(|it| it.recv_deadline(until));
    let (answered, ended): (Vec<_>, Vec<_>) = told.partition(Result::is_ok);
    assert!(!answered.is_empty());
    assert!(
        ended
            .iter()
            .all(|it| *it == Err(flume::RecvTimeoutError::Disconnected))
    );
    assert_eq!(desk.ask(name("r"), Question::Members).err(), Some(DeskFull));
}
