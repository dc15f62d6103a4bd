//! What is wrong: how often for each promise, and the first few in words.

/// In words each promise is said to be broken at most this often.
const TOLD_MAX: usize = 8;

/// What a server promises. The names of the promises are theirs in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P1: one order and the same bytes for everyone.
    Order,
    /// P2: message after message, or the subscriber is told.
    NoGap,
    /// P3: what was acknowledged has its place, once.
    Kept,
    /// P4: who comes back is given exactly what it has missed, or is told.
    Recovery,
    /// P5: who reads is not harmed by who does not.
    Slow,
    /// P6: a place is never used again after a crash.
    Epochs,
    /// Who is said to be in a room is in it, and nobody else.
    Presence,
}

impl Promise {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Order,
        Self::NoGap,
        Self::Kept,
        Self::Recovery,
        Self::Slow,
        Self::Epochs,
        Self::Presence,
    ];

    /// The promise in a line.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Order => "P1 one order, the same bytes for everyone",
            Self::NoGap => "P2 message after message, or told",
            Self::Kept => "P3 acknowledged: in the log, once",
            Self::Recovery => "P4 recovery: exactly what was missed, or told",
            Self::Slow => "P5 the slow harm only themselves",
            Self::Epochs => "P6 no place is used again after a crash",
            Self::Presence => "presence: who is connected, and nobody else",
        }
    }
}

/// The faults of a history.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    counts: [u64; Promise::ALL.len()],
    told: Vec<(Promise, String)>,
}

impl Findings {
    /// Adds a fault.
    pub fn add(&mut self, promise: Promise, text: impl FnOnce() -> String) {
        let count = &mut self.counts[promise as usize];
        *count += 1;
        if *count <= TOLD_MAX as u64 {
            self.told.push((promise, text()));
        }
    }

    /// How often a promise was broken.
    #[must_use]
    pub fn count(&self, promise: Promise) -> u64 {
        self.counts[promise as usize]
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// The first faults of a promise, in words.
    pub fn told(&self, promise: Promise) -> impl Iterator<Item = &str> {
        let of = self.told.iter().filter(move |(it, _)| *it == promise);
        of.map(|(_, text)| text.as_str())
    }
}
