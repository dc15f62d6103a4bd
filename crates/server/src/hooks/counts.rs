//! What becomes of questions, and how many there are: for the metrics, and for the bounds, which outlive a reload.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use runtime::Timing;
use strum::VariantArray;

use super::{Failed, HookKind, Said};
use crate::backend::Failure;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum Fate {
    /// The answer has a result.
    Answered,
    /// The answer is an error, which the client is told.
    Refused,
    /// The answer ends the connection.
    Disconnected,
    /// There was no answer in time.
    TimedOut,
    /// There was no connection, or it broke.
    Unreachable,
    /// The answer has another status than 200.
    Status,
    /// The answer points elsewhere.
    Redirect,
    /// The answer is too long.
    TooLong,
    /// The answer is not what it must be.
    Malformed,
    /// As many waited as may.
    Crowded,
    /// The client left before the question was put.
    Left,
}

impl Fate {
    /// Its name as the value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "result",
            Self::Refused => "error",
            Self::Disconnected => "disconnect",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Redirect => "redirect",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Crowded => "crowded",
            Self::Left => "left",
        }
    }

    /// That of a question with this outcome.
    pub fn of(outcome: &Result<Said, Failed>) -> Self {
        match outcome {
            Ok(Said::Nothing | Said::Result(_)) => Self::Answered,
            Ok(Said::Error { .. }) => Self::Refused,
            Ok(Said::Disconnect(_)) => Self::Disconnected,
            Err(Failed::Crowded) => Self::Crowded,
            Err(Failed::TimedOut(_) | Failed::Request(Failure::TooSlow(_))) => Self::TimedOut,
            Err(Failed::Request(Failure::Broken(_))) => Self::Unreachable,
            Err(Failed::Request(Failure::Redirect(_))) => Self::Redirect,
            Err(Failed::Request(Failure::Status(_))) => Self::Status,
            Err(Failed::Request(Failure::TooLong(_))) => Self::TooLong,
            Err(Failed::Malformed(_)) => Self::Malformed,
            Err(Failed::Left) => Self::Left,
        }
    }
}

/// The counts of all hooks.
#[derive(Debug, Default)]
pub struct Counts([Arc<Count>; HookKind::VARIANTS.len()]);

/// Those of one hook.
#[derive(Debug, Default)]
pub struct Count {
    fates: [AtomicU64; Fate::VARIANTS.len()],
    /// Questions that are under way or wait.
    asked: AtomicUsize,
    /// The bytes of these.
    bytes: AtomicUsize,
    under_way: AtomicUsize,
    took: Mutex<Timing>,
}

/// A question's place among those that are asked, until this is dropped.
pub struct Place {
    of: Arc<Count>,
    bytes: usize,
}

/// A question is under way, until this is dropped.
pub struct UnderWay(Arc<Count>);

impl Counts {
    /// Those of one hook.
    pub fn of(&self, kind: HookKind) -> &Arc<Count> {
        &self.0[kind as usize]
    }
}

impl Count {
    /// Takes a place, if no more than so many questions are asked then, and so many bytes of them; one is taken however
    /// long it is.
    pub(super) fn enter(
        self: &Arc<Self>,
        bytes: usize,
        asked_max: usize,
        bytes_max: usize,
    ) -> Option<Place> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = Place {
            of: self.clone(),
            bytes,
        };
        let has_space = asked < asked_max && (asked == 0 || before + bytes <= bytes_max);
        has_space.then_some(place)
    }

    /// Counts what became of a question, and how long that took, if it was put to the queue.
    pub(super) fn ended(&self, fate: Fate, took: Option<Duration>) {
        self.fates[fate as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(took) = took {
            let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.lock().record(ns);
        }
    }

    /// How many have had this fate.
    pub fn ended_as(&self, fate: Fate) -> u64 {
        self.fates[fate as usize].load(Ordering::Relaxed)
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        let asked = self.asked.load(Ordering::Relaxed);
        asked.saturating_sub(self.under_way())
    }

    /// How long questions took.
    pub fn took(&self) -> Timing {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Timing> {
        self.took.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The question is under way from now on.
    pub(super) fn begin(&self) -> UnderWay {
        self.of.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.of.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.asked.fetch_sub(1, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_by_number_and_bytes_and_come_back() {
        let count = Arc::new(Count::default());
        let long = count.enter(1_000, 2, 100).expect("however long it is");
        assert!(count.enter(1, 2, 100).is_none(), "by its bytes");
        drop(long);
        let one = count.enter(10, 2, 100).unwrap();
        let other = count.enter(10, 2, 100).unwrap();
        assert!(count.enter(10, 2, 100).is_none(), "by their number");
        let under_way = one.begin();
        assert_eq!((count.under_way(), count.waiting()), (1, 1));
        drop((under_way, one, other));
        assert_eq!((count.under_way(), count.waiting()), (0, 0));
        assert_eq!(count.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn each_fate_has_its_name_and_each_kind_its_count() {
        let names: std::collections::HashSet<_> =
            Fate::VARIANTS.iter().map(|fate| fate.name()).collect();
        assert_eq!(names.len(), Fate::VARIANTS.len());
        let counts = Counts::default();
        counts
            .of(HookKind::Rpc)
            .ended(Fate::TimedOut, Some(Duration::from_secs(1)));
        for kind in HookKind::VARIANTS {
            let expected = u64::from(*kind == HookKind::Rpc);
            assert_eq!(counts.of(*kind).ended_as(Fate::TimedOut), expected);
            assert_eq!(counts.of(*kind).took().count(), expected);
            assert_eq!(HookKind::named(kind.name()), Some(*kind));
        }
    }
}
