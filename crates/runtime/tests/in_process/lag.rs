//! What becomes of those who do not read as fast as their rooms speak.

use runtime::DriverChoice;

use crate::{
    harness::{PATIENCE, Running, start_with},
    told::{Heard, Teller, Told},
};

on_both_drivers![
    laggard_leaves_the_room_in_which_it_is_the_furthest_behind_and_keeps_the_others,
    laggard_skips_what_it_has_missed_of_the_loudest_room_and_is_told,
    laggard_in_one_room_alone_leaves_or_skips_it_and_is_told,
    laggard_is_closed_with_1013,
];

/// What one message of the loud room takes.
const LOUD_BYTES: usize = 32 << 10;

/// More of them than the sockets of both sides hold.
const LOUD: usize = 512;

/// What there is to join.
const ROOMS: [&str; 3] = ["quiet", "loud", "silent"];

/// Messages of the quiet room meanwhile.
const QUIET: u64 = 64;

fn serve(driver: DriverChoice) -> Running {
    start_with(driver, Told::default(), |config| {
        config.send_queue_bytes_max = 256 << 10;
        // A machine with much to do is no reason to end anything.
        config.timeouts.write = PATIENCE;
        config.timeouts.close = PATIENCE;
    })
}

/// A text by which every byte of a message is known.
fn loud(n: usize) -> String {
    format!("{n:08}").repeat(LOUD_BYTES / 8)
}

/// Has a client that does not read join these rooms, of which one speaks far too much.
fn flood(server: &Running, path: &str, rooms: &[&str]) -> (Teller, Teller) {
    let mut laggard = Teller::that_reads_slowly(server, path);
    laggard.join(rooms);
    let mut publisher = Teller::connect(server, "/");
    for n in 0..LOUD {
        if n % (LOUD / QUIET as usize) == 0 {
            publisher.tell(&format!("publish-to quiet {n}"));
            publisher.report("published");
        }
        publisher.tell(&format!("publish-to loud {}", loud(n)));
        publisher.report("published");
    }
    (laggard, publisher)
}

/// What a laggard has heard of its rooms.
#[derive(Default)]
struct Account {
    quiet: u64,
    loud: u64,
    /// What it was told since the latest message of the loud room.
    told: Vec<String>,
    gaps: usize,
}

impl Account {
    /// Hears on until the quiet room has said so much.
    fn hear_until(&mut self, laggard: &mut Teller, quiet: u64) {
        while self.quiet < quiet {
            match laggard.hear() {
                Heard::Message(said) if said.room == "quiet" => {
                    assert_eq!(said.offset, self.quiet + 1, "the quiet room misses nothing");
                    self.quiet += 1;
                }
                Heard::Message(said) => {
                    assert_eq!(said.room, "loud");
                    assert_eq!(
                        said.text,
                        loud(said.offset as usize - 1),
                        "a message is whole"
                    );
                    if said.offset != self.loud + 1 {
                        assert!(said.offset > self.loud);
                        assert!(!self.told.is_empty(), "a gap that nobody told of");
                        self.gaps += 1;
                    }
                    self.loud = said.offset;
                    self.told.clear();
                }
                Heard::Report(report) => self.told.push(report),
                end => panic!("{end:?}"),
            }
        }
    }
}

fn laggard_leaves_the_room_in_which_it_is_the_furthest_behind_and_keeps_the_others(
    driver: DriverChoice,
) {
    let server = serve(driver);
    let (mut laggard, mut publisher) = flood(&server, "/leave", &ROOMS);
    let mut account = Account::default();
    account.hear_until(&mut laggard, QUIET);
    assert_eq!(account.gaps, 0);
    assert!((1..LOUD as u64).contains(&account.loud), "{}", account.loud);
    assert_eq!(account.told, ["left 1 Lagging"]);
    laggard.tell("publish 1 no");
    laggard.report("absent");
    // It may come back, and is where the room is now.
    laggard.tell("join loud");
    assert_eq!(laggard.position("joined 3").offset, LOUD as u64);
    for room in ["quiet", "silent", "loud"] {
        publisher.tell(&format!("publish-to {room} afterwards"));
        publisher.report("published");
        let said = laggard.said();
        assert_eq!((&*said.room, &*said.text), (room, "afterwards"));
    }
    laggard.hears_nothing_more();
}

fn laggard_skips_what_it_has_missed_of_the_loudest_room_and_is_told(driver: DriverChoice) {
    let server = serve(driver);
    let (mut laggard, mut publisher) = flood(&server, "/skip", &ROOMS);
    let mut account = Account::default();
    account.hear_until(&mut laggard, QUIET);
    publisher.tell(&format!("publish-to loud {}", loud(LOUD)));
    publisher.tell("publish-to quiet afterwards");
    // What waited when the flood was over is not skipped any more.
    account.hear_until(&mut laggard, QUIET + 1);
    while account.loud <= LOUD as u64 {
        let Heard::Message(said) = laggard.hear() else {
            panic!("the loud room is not over");
        };
        assert!(said.offset > account.loud);
        account.loud = said.offset;
    }
    assert!(account.gaps > 0);
    assert!(
        account.told.iter().all(|told| told == "skipped 1"),
        "{:?}",
        account.told
    );
    laggard.tell("publish 2 still here");
    assert_eq!(laggard.said().text, "still here");
}

fn laggard_in_one_room_alone_leaves_or_skips_it_and_is_told(driver: DriverChoice) {
    let server = serve(driver);
    for (path, told) in [("/leave", "left 0 Lagging"), ("/skip", "skipped 0")] {
        let (mut laggard, _) = flood(&server, path, &["loud"]);
        let mut last = 0;
        loop {
            match laggard.hear() {
                Heard::Report(report) => break assert_eq!(report, told),
                Heard::Message(said) => {
                    assert!(last == 0 || said.offset == last + 1);
                    last = said.offset;
                }
                end => panic!("{end:?}"),
            }
        }
    }
}

fn laggard_is_closed_with_1013(driver: DriverChoice) {
    let server = serve(driver);
    let (mut laggard, _) = flood(&server, "/", &ROOMS);
    let (mut quiet, mut loud_heard) = (0, 0);
    let code = loop {
        match laggard.hear() {
            Heard::Message(said) if said.room == "quiet" => {
                quiet += 1;
                assert_eq!(said.offset, quiet);
            }
            Heard::Message(said) => {
                loud_heard += 1;
                assert_eq!(said.offset, loud_heard);
                assert_eq!(said.text, loud(loud_heard as usize - 1));
            }
            Heard::Close(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1013);
    assert!((1..LOUD as u64).contains(&loud_heard), "{loud_heard}");
}
