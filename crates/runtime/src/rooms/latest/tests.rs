//! Tests of what laggards are given: against a naive model, in fairness, and in memory.

use std::collections::BTreeMap;

use super::*;
use crate::fixture::Random;

/// A room whose messages have keys, and the number of the latest message of each.
#[derive(Default)]
struct Room {
    log: RoomLog,
    latest: Latest,
    numbers: BTreeMap<u8, u32>,
    said: u32,
}

const FRAME_BYTES: usize = 5;

fn key(number: u8) -> Arc<str> {
    format!("key {number}").into()
}

/// A frame of the tests: its key, and its number in the room.
fn frame(key: u8, number: u32) -> [u8; FRAME_BYTES] {
    let mut frame = [key; FRAME_BYTES];
    frame[1..].copy_from_slice(&number.to_le_bytes());
    frame
}

fn read(frame: &[u8]) -> (u8, u32) {
    let number = frame[1..FRAME_BYTES].try_into().unwrap();
    (frame[0], u32::from_le_bytes(number))
}

impl Room {
    fn say(&mut self, of: u8) -> Result<(), TooMany> {
        self.said += 1;
        self.numbers.insert(of, self.said);
        self.log.append([&frame(of, self.said), &[]]);
        self.latest.note(Some(&key(of)), &self.log)
    }

    fn say_without_key(&mut self) {
        self.said += 1;
        self.log.append([&frame(u8::MAX, self.said), &[]]);
        self.latest.note(None, &self.log).unwrap();
    }

    /// Has the log forget all but so many frames.
    fn trim(&mut self, frames: usize) {
        let bytes = frames.min(self.log.frames()) * FRAME_BYTES;
        self.log.trim(self.log.head() - bytes as u64);
        self.latest.trim(&self.log);
    }

    fn give(&mut self, laggard: usize, frames: usize) -> (Vec<(u8, u32)>, Given) {
        let mut out = Vec::new();
        let given = self.latest.give(laggard, frames * FRAME_BYTES, &mut out);
        (out.chunks(FRAME_BYTES).map(read).collect(), given)
    }
}

/// One who has left the log: by key, the number of the message up to which it has had them; and how many of
/// the later ones there are.
struct Slow {
    laggard: usize,
    had: BTreeMap<u8, u32>,
    lacks: BTreeMap<u8, u64>,
}

impl Slow {
    fn enter(room: &mut Room, lacks: usize) -> Self {
        let laggard = room.latest.enter(&room.log, lacks);
        let first = room.said + 1 - lacks as u32;
        let mut missed = BTreeMap::new();
        let frames = room.log.frames();
        for at in frames - lacks..frames {
            let (key, _) = read(&room.log.frame(at).concat());
            if key != u8::MAX {
                *missed.entry(key).or_default() += 1;
            }
        }
        let had = room.numbers.iter().map(|(key, number)| {
            let number = *number;
            (*key, if number < first { number } else { first - 1 })
        });
        Self {
            laggard,
            had: had.collect(),
            lacks: missed,
        }
    }

    /// What it is given is the latest of each key, something that it lacks, and no key twice.
    fn take(&mut self, room: &mut Room, frames: usize) -> bool {
        let (
            given,
            Given {
                passed_over,
                is_all,
            },
        ) = room.give(self.laggard, frames);
        let mut passed = 0;
        for (key, number) in given {
            assert_eq!(number, room.numbers[&key], "the latest");
            assert!(number > self.had.insert(key, number).unwrap_or(0), "once");
            passed += self.lacks.remove(&key).unwrap() - 1;
        }
        assert_eq!(passed_over, passed);
        assert!(!is_all || self.lacks.is_empty(), "{:?}", self.lacks);
        is_all
    }
}

#[test]
fn laggards_are_given_the_latest_of_each_key_that_they_lack_whatever_happens() {
    let mut random = Random::default();
    for keys in [1, 3, 40] {
        let mut room = Room::default();
        let mut all: Vec<Slow> = Vec::new();
        for _ in 0..30_000 {
            match random.below(12) {
                0 if all.len() < 6 => {
                    let lacks = random.below(room.log.frames() + 1);
                    all.push(Slow::enter(&mut room, lacks));
                }
                1 if !all.is_empty() => {
                    let slow = all.swap_remove(random.below(all.len()));
                    room.latest.leave(slow.laggard);
                }
                2..5 if !all.is_empty() => {
                    let at = random.below(all.len());
                    if all[at].take(&mut room, 1 + random.below(2 * keys)) {
                        let slow = all.swap_remove(at);
                        room.latest.leave(slow.laggard);
                    }
                }
                5 => room.trim(random.below(20)),
                6 => room.say_without_key(),
                _ => {
                    let key = random.below(keys) as u8;
                    room.say(key).unwrap();
                    for slow in &mut all {
                        *slow.lacks.entry(key).or_default() += 1;
                    }
                }
            }
            room.latest.audit();
        }
        for slow in all {
            room.latest.leave(slow.laggard);
        }
        room.trim(0);
        assert_eq!(room.latest.held_bytes(), 0);
    }
}

#[test]
fn key_that_changes_all_the_time_starves_no_other_and_is_not_starved() {
    const KEYS: u8 = 100;
    const TURNS: usize = 1_000;
    const FRAMES: usize = 10;
    let mut room = Room::default();
    let laggard = room.latest.enter(&room.log, 0);
    let mut counts = [0; KEYS as usize];
    for turn in 0..TURNS {
        // Key 0 changes before each of the others, and all change more often than they can be sent.
        for key in 1..KEYS {
            room.say(0).unwrap();
            room.say(key).unwrap();
        }
        room.trim(0);
        let (given, _) = room.give(laggard, FRAMES);
        assert_eq!(given.len(), FRAMES, "turn {turn}");
        given
            .iter()
            .for_each(|(key, _)| counts[usize::from(*key)] += 1);
    }
    let each = TURNS * FRAMES / usize::from(KEYS);
    assert_eq!(counts, [each; KEYS as usize]);
}

#[test]
fn memory_of_a_laggard_follows_the_keys_and_not_the_updates() {
    let mut room = Room::default();
    let laggard = room.latest.enter(&room.log, 0);
    let mut held = Vec::new();
    for _ in 0..1_000 {
        (0..50).for_each(|key| room.say(key).unwrap());
        room.trim(0);
        held.push(room.latest.held_bytes());
    }
    assert!(held.iter().all(|bytes| *bytes == held[0]));
    assert!(held[0] < 50 * 200, "{}", held[0]);
    assert_eq!(room.give(laggard, usize::MAX >> 8).0.len(), 50);
    room.latest.leave(laggard);
    assert_eq!(room.latest.held_bytes(), 0);
}

#[test]
fn keys_that_somebody_lacks_have_a_bound_and_those_that_were_read_do_not_count() {
    let mut room = Room::default();
    let note = |room: &mut Room, number: usize| {
        room.log.append([&[1], &[2]]);
        let key: Arc<str> = number.to_string().into();
        let noted = room.latest.note(Some(&key), &room.log);
        room.log.trim(room.log.head());
        room.latest.trim(&room.log);
        noted
    };
    let laggard = room.latest.enter(&room.log, 0);
    for number in 0..2 * LACKED_KEYS_MAX {
        assert_eq!(note(&mut room, number), Ok(()));
        room.latest.give(laggard, 1, &mut Vec::new());
    }
    for number in 0..LACKED_KEYS_MAX {
        assert_eq!(note(&mut room, number), Ok(()), "{number}");
    }
    assert_eq!(note(&mut room, LACKED_KEYS_MAX), Err(TooMany));
    room.latest.forget();
    assert!(!room.latest.has_laggards());
    assert_eq!(room.latest.held_bytes(), 0);
}
