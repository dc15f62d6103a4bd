//! Which keys tokens have named that are not known, and whether these have been looked for.
//!
//! A key that is named for the first time may be newer than the set, so the set is fetched again. Once it has been
//! looked for in a set that was fetched later, the key does not exist, for [`MISSING_FOR`]: it may be made after that.
//!
//! *Bounded:* it remembers [`MOST`] keys. Beyond that a key is looked for all the same, and only not known to be
//! missing, so that who names many keys keeps nobody from a key that exists.

use std::time::{Duration, Instant};

/// Most keys that are remembered of one fetch.
const MOST: usize = 64;

/// How long a key that was looked for in vain counts as missing. It is longer than SDKs wait between two attempts,
/// so that one whose key does not exist is told so in the end.
const MISSING_FOR: Duration = Duration::from_secs(60);

/// What follows for a token that names an unknown key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next set may have the key.
    ToCome,
    /// The key was looked for, and there is none.
    Missing,
}

/// The keys that tokens have named, each as a hash.
#[derive(Debug, Default)]
pub struct Sought {
    /// Whether the set is to be fetched again.
    is_wanted: bool,
    /// For the next fetch.
    wanted: Vec<u64>,
    /// For the fetch that is under way.
    under_way: Vec<u64>,
    /// In vain, in the last set that came.
    missing: Vec<u64>,
    /// When that came.
    found_at: Option<Instant>,
}

impl Sought {
    /// A token names a key that is not in the set.
    pub fn seek(&mut self, key: u64, now: Instant) -> Seek {
        if !self.under_way.contains(&key) {
            self.is_wanted = true;
            if self.wanted.len() < MOST && !self.wanted.contains(&key) {
                self.wanted.push(key);
            }
        }
        let is_recent = |at: Instant| now.duration_since(at) < MISSING_FOR;
        match self.found_at.is_some_and(is_recent) && self.missing.contains(&key) {
            true => Seek::Missing,
            false => Seek::ToCome,
        }
    }

    /// Whether the set is to be fetched again.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// A fetch begins.
    pub fn begin(&mut self) {
        self.is_wanted = false;
        self.under_way = std::mem::take(&mut self.wanted);
    }

    /// A set has come: a key that is still sought is not in it.
    pub fn found(&mut self, now: Instant) {
        self.missing = std::mem::take(&mut self.under_way);
        self.found_at = Some(now);
    }

    /// No set has come: what is known to be missing stays so, and the rest is sought again by who asks again.
    pub fn failed(&mut self) {
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_missing_only_when_it_was_looked_for_after_it_was_named() {
        let (mut sought, now) = (Sought::default(), Instant::now());
        assert!(!sought.is_wanted());
        sought.begin();
        assert_eq!(sought.seek(1, now), Seek::ToCome);
        sought.found(now);
        // The set that came was asked for before.
        assert_eq!(sought.seek(1, now), Seek::ToCome);
        assert!(sought.is_wanted());
        sought.begin();
        assert!(!sought.is_wanted());
        assert_eq!(sought.seek(1, now), Seek::ToCome);
        assert!(!sought.is_wanted(), "it is being looked for");
        sought.found(now);
        assert_eq!(sought.seek(1, now), Seek::Missing);
        assert_eq!(sought.seek(2, now), Seek::ToCome);
        let later = now + MISSING_FOR;
        assert_eq!(
            sought.seek(1, later),
            Seek::ToCome,
            "it may be there by now"
        );
    }

    #[test]
    fn failed_fetch_decides_nothing() {
        let (mut sought, now) = (Sought::default(), Instant::now());
        sought.seek(1, now);
        sought.begin();
        sought.failed();
        assert_eq!(sought.seek(1, now), Seek::ToCome);
        assert!(sought.is_wanted());
        sought.begin();
        sought.found(now);
        sought.seek(2, now);
        sought.begin();
        sought.failed();
        assert_eq!(sought.seek(1, now), Seek::Missing);
    }

    #[test]
    fn many_keys_are_sought_and_keep_nobody_from_a_key_that_exists() {
        let (mut sought, now) = (Sought::default(), Instant::now());
        for key in 0..1_000 {
            assert_eq!(sought.seek(key, now), Seek::ToCome);
        }
        assert_eq!(sought.wanted.len(), MOST);
        sought.begin();
        sought.found(now);
        assert_eq!(sought.seek(0, now), Seek::Missing);
        assert_eq!(sought.seek(999, now), Seek::ToCome);
        assert!(sought.is_wanted());
    }
}
