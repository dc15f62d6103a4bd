//! Idempotency keys of a room's latest publications: a publication that is repeated has one place.

use std::collections::{HashMap, VecDeque};

use crate::{bound::bound, saved::SavedKey};

/// For how long a key is known, in milliseconds: what peers of the same kind promise.
const KNOWN_MS: u64 = 300_000;

/// Most keys of one room. With more publications than that in five minutes, the oldest are forgotten early.
const KEYS_MAX: usize = bound(16_384, 4);

/// What makes a publication the repetition of another: hashes that its publisher has made, which nobody can
/// choose to collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    /// Of the key.
    pub key: u128,
    /// Of everything that is published: the same key with another body is a conflict.
    pub body: u128,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: the publication is new.
    New,
    /// The same was published, at this offset.
    Repeated { offset: u64 },
    /// Something else was published with the key.
    Conflict,
}

/// The keys of one room's latest publications.
#[derive(Debug, Default)]
pub(crate) struct RecentKeys {
    offsets: HashMap<u128, (u128, u64)>,
    /// The same keys, oldest first, and when each was used.
    oldest: VecDeque<(u64, u128)>,
}

impl RecentKeys {
    /// The keys of a room that comes back, oldest first. None was used later than now.
    pub(crate) fn restored(saved: &[SavedKey], now_ms: u64) -> Self {
        let mut keys = Self::default();
        for saved in saved {
            let of = Idempotency {
                key: saved.key,
                body: saved.body,
            };
            keys.note(&of, saved.offset, saved.at_ms.min(now_ms));
        }
        keys
    }

    /// All keys, oldest first.
    pub(crate) fn save(self) -> Vec<SavedKey> {
        let saved = |(at_ms, key): (u64, u128)| {
            let (body, offset) = *self.offsets.get(&key)?;
            Some(SavedKey {
                key,
                body,
                offset,
                at_ms,
            })
        };
        self.oldest.iter().copied().filter_map(saved).collect()
    }

    /// Whether no key is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.oldest.is_empty()
    }

    /// Bytes of memory that the keys take.
    pub(crate) fn bytes(&self) -> usize {
        self.oldest.len() * (size_of::<(u64, u128)>() + size_of::<(u128, u128, u64)>())
    }

    /// Checks that each key is known once, and no more of them than may be.
    #[cfg(feature = "audit")]
    pub(crate) fn audit(&self) -> Result<(), String> {
        crate::rooms::audit::agree("keys", self.oldest.len(), self.offsets.len())?;
        match self.oldest.len() > KEYS_MAX {
            true => Err(format!("{} keys are known", self.oldest.len())),
            false => Ok(()),
        }
    }

    /// What is known of a publication's key at `now_ms`.
    pub(crate) fn find(&mut self, of: &Idempotency, now_ms: u64) -> Known {
        self.trim(now_ms);
        match self.offsets.get(&of.key) {
            Some((body, offset)) if *body == of.body => Known::Repeated { offset: *offset },
            Some(_) => Known::Conflict,
            None => Known::New,
        }
    }

    /// A publication with this key has its offset.
    pub(crate) fn note(&mut self, of: &Idempotency, offset: u64, now_ms: u64) {
        let before = self.offsets.insert(of.key, (of.body, offset));
        if before.is_none() {
            self.oldest.push_back((now_ms, of.key));
        }
        if self.oldest.len() > KEYS_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets the keys that have expired.
    pub(crate) fn trim(&mut self, now_ms: u64) {
        while let Some((at_ms, _)) = self.oldest.front()
            && now_ms.saturating_sub(*at_ms) >= KNOWN_MS
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.oldest.pop_front() {
            self.offsets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: u128, body: u128) -> Idempotency {
        Idempotency { key, body }
    }

    #[test]
    fn publication_is_repeated_by_key_and_body_for_five_minutes() {
        let mut keys = RecentKeys::default();
        assert_eq!(keys.find(&of(1, 10), 0), Known::New);
        keys.note(&of(1, 10), 7, 1_000);
        for (key, body, now_ms, expected) in [
            (1, 10, 1_000, Known::Repeated { offset: 7 }),
            (1, 10, 300_999, Known::Repeated { offset: 7 }),
            (1, 11, 300_999, Known::Conflict),
            (2, 10, 1_000, Known::New),
            (1, 10, 301_000, Known::New),
        ] {
            assert_eq!(
                keys.find(&of(key, body), now_ms),
                expected,
                "{key} {body} {now_ms}"
            );
        }
        assert!(keys.is_empty());
    }

    #[test]
    fn oldest_key_gives_way_when_there_are_too_many() {
        let mut keys = RecentKeys::default();
        for key in 0..=KEYS_MAX as u128 {
            keys.note(&of(key, 0), key as u64 + 1, 0);
        }
        assert_eq!(keys.oldest.len(), KEYS_MAX);
        assert_eq!(keys.offsets.len(), KEYS_MAX);
        assert_eq!(keys.find(&of(0, 0), 0), Known::New);
        assert_eq!(keys.find(&of(1, 0), 0), Known::Repeated { offset: 2 });
    }
}
