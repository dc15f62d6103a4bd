//! Which keys tokens have named that are not known, and whether these have been looked for.
//!
//! A key that is named for the first time may be newer than the set, so the set is fetched again. Once it has been
//! looked for in a set that was fetched later, the key does not exist.
//!
//! *Bounded:* it remembers [`MOST`] keys. Beyond that a key is looked for all the same, and only not known to be
//! missing, so that who names many keys keeps nobody from a key that exists.

/// Most keys that are remembered of one fetch.
const MOST: usize = 64;

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
}

impl Sought {
    /// A token names a key that is not in the set.
    pub fn seek(&mut self, key: u64) -> Seek {
        if !self.under_way.contains(&key) {
            self.is_wanted = true;
            if self.wanted.len() < MOST && !self.wanted.contains(&key) {
                self.wanted.push(key);
            }
        }
        match self.missing.contains(&key) {
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
    pub fn found(&mut self) {
        self.missing = std::mem::take(&mut self.under_way);
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
        let mut sought = Sought::default();
        assert!(!sought.is_wanted());
        sought.begin();
        assert_eq!(sought.seek(1), Seek::ToCome);
        sought.found();
        // The set that came was asked for before.
        assert_eq!(sought.seek(1), Seek::ToCome);
        assert!(sought.is_wanted());
        sought.begin();
        assert!(!sought.is_wanted());
        assert_eq!(sought.seek(1), Seek::ToCome);
        assert!(!sought.is_wanted(), "it is being looked for");
        sought.found();
        assert_eq!(sought.seek(1), Seek::Missing);
        assert_eq!(sought.seek(2), Seek::ToCome);
    }

    #[test]
    fn failed_fetch_decides_nothing() {
        let mut sought = Sought::default();
        sought.seek(1);
        sought.begin();
        sought.failed();
        assert_eq!(sought.seek(1), Seek::ToCome);
        assert!(sought.is_wanted());
        sought.begin();
        sought.found();
        sought.seek(2);
        sought.begin();
        sought.failed();
        assert_eq!(sought.seek(1), Seek::Missing);
    }

    #[test]
    fn many_keys_are_sought_and_keep_nobody_from_a_key_that_exists() {
        let mut sought = Sought::default();
        for key in 0..1_000 {
            assert_eq!(sought.seek(key), Seek::ToCome);
        }
        assert_eq!(sought.wanted.len(), MOST);
        sought.begin();
        sought.found();
        assert_eq!(sought.seek(0), Seek::Missing);
        assert_eq!(sought.seek(999), Seek::ToCome);
        assert!(sought.is_wanted());
    }
}
