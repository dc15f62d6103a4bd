//! A process that goes on in others answers as one that never ended.

use hub::{Details, Idempotency, PageBounds, PublishRefusal, Question, Recover, Recovered};
use proptest::prelude::*;

use crate::{
    asking::ask,
    harness::Home,
    outliving::{back, home, publish, remembering, restore, save_in, since, texts},
};

/// What happens to rooms in a run.
#[derive(Clone, Debug)]
enum Step {
    /// Something is published in this room, with this key if it has one, or not to be kept, or erasing.
    Publish {
        room: u8,
        key: Option<u8>,
        skips: bool,
        erases: Option<u64>,
    },
    /// So much time passes.
    Pass(u64),
    /// The history of this room is forgotten.
    Forget(u8),
    /// Another process goes on, which was given the rooms in pages of so many.
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let publish = (
        0..3u8,
        proptest::option::weighted(0.3, 0..3u8),
        proptest::bool::weighted(0.2),
        proptest::option::weighted(0.2, 1..8u64),
    );
    let publish = publish.prop_map(|(room, key, skips, erases)| Step::Publish {
        room,
        key,
        skips,
        erases,
    });
    prop_oneof![
        8 => publish,
        2 => (1..4_000u64).prop_map(Step::Pass),
        1 => (0..3u8).prop_map(Step::Forget),
        3 => (1..4usize).prop_map(Step::Restart),
    ]
}

/// Messages that somebody is given: offset, payload, meta. `None` if some are missing.
type Given = Option<Vec<(u64, String, String)>>;

/// A process, and the time.
struct Process {
    home: Home,
    now_ms: u64,
}

impl Process {
    fn at(now_ms: u64) -> Self {
        let mut process = Self {
            home: home(remembering()),
            now_ms,
        };
        process.sweep();
        process
    }

    /// Rooms are never reaped: when they are depends on when a process began.
    fn sweep(&mut self) {
        let (now_ms, never) = (self.now_ms, u64::MAX);
        self.home.sweep_keeping(never, never, now_ms);
    }

    /// Takes a step; what was answered, but for epochs.
    fn take(&mut self, number: usize, step: &Step) -> Option<Result<u64, PublishRefusal>> {
        match step {
            Step::Publish {
                room,
                key,
                skips,
                erases,
            } => {
                let idempotency = key.map(|key| Idempotency {
                    key: key.into(),
                    body: 0,
                });
                let details = Details {
                    idempotency,
                    skips_history: *skips,
                    erases: *erases,
                    ..Details::default()
                };
                let (room, text) = (room.to_string(), number.to_string());
                let published = publish(&mut self.home, &room, &text, details);
                Some(published.map(|it| it.offset))
            }
            Step::Pass(ms) => {
                self.now_ms += ms;
                self.sweep();
                None
            }
            Step::Forget(room) => {
                ask(&mut self.home, &room.to_string(), Question::ForgetHistory);
                None
            }
            Step::Restart(_) => None,
        }
    }

    /// Goes on in another process.
    fn restart(&mut self, rooms: usize) {
        let bytes = usize::MAX;
        let saved = save_in(&mut self.home, PageBounds { rooms, bytes });
        *self = Self::at(self.now_ms);
        restore(&mut self.home, saved);
    }

    /// What whoever comes back is given from each position of a room, and the top.
    fn told(&mut self, room: u8) -> (u64, Vec<Given>) {
        let room = room.to_string();
        let (top, _) = back(&mut self.home, &room, Recover::State);
        let from_each =
            (0..=top.offset).map(
                |offset| match back(&mut self.home, &room, since(top, offset)) {
                    (_, Recovered::Impossible(_)) => None,
                    (_, recovered) => Some(texts(&recovered)),
                },
            );
        let from_each = from_each.collect();
        (top.offset, from_each)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn process_that_was_restarted_answers_as_one_that_was_not(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let (mut restarted, mut other) = (Process::at(1), Process::at(1));
        for (number, step) in steps.iter().enumerate() {
            if let Step::Restart(rooms) = step {
                restarted.restart(*rooms);
            }
            let answers = (restarted.take(number, step), other.take(number, step));
            prop_assert_eq!(answers.0, answers.1, "step {}: {:?}", number, step);
        }
        for room in 0..3 {
            prop_assert_eq!(restarted.told(room), other.told(room), "room {}", room);
        }
    }
}
