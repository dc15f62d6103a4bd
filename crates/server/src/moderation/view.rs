//! Entries by user, read without a lock by all cores while one thread changes them.
//!
//! A change copies the part of the entries in which its user is. Reading costs one load where there are none, and a
//! look-up otherwise.

use std::{
    array,
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

/// In how many parts the entries are: of 100,000 a change copies some 1,600.
const PARTS: usize = 64;

/// Entries by user.
pub struct View<V> {
    len: AtomicUsize,
    parts: [ArcSwap<HashMap<Arc<str>, V>>; PARTS],
    hashes: RandomState,
}

impl<V> Default for View<V> {
    fn default() -> Self {
        Self {
            len: AtomicUsize::new(0),
            parts: array::from_fn(|_| ArcSwap::default()),
            hashes: RandomState::new(),
        }
    }
}

impl<V: Clone> View<V> {
    /// Looks at the entry of this user, if there is one.
    pub fn get<R>(&self, user: &str, look: impl FnOnce(&V) -> R) -> Option<R> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.part(user).load().get(user).map(look)
    }

    /// Replaces the entry of this user. Nobody else may change anything meanwhile.
    pub fn set(&self, user: &Arc<str>, value: Option<V>) {
        let part = self.part(user);
        let before = part.load();
        let mut entries = HashMap::clone(&before);
        let len = entries.len();
        match value {
            Some(value) => _ = entries.insert(user.clone(), value),
            None => _ = entries.remove(user),
        }
        let (added, removed) = (entries.len() > len, entries.len() < len);
        part.store(Arc::new(entries));
        if added {
            self.len.fetch_add(1, Ordering::Release);
        } else if removed {
            self.len.fetch_sub(1, Ordering::Release);
        }
    }

    fn part(&self, user: &str) -> &ArcSwap<HashMap<Arc<str>, V>> {
        &self.parts[(self.hashes.hash_one(user) % PARTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let view = View::default();
        let users: Vec<Arc<str>> = (0..1_000).map(|n| n.to_string().into()).collect();
        for (value, user) in users.iter().enumerate() {
            assert_eq!(view.get(user, |it| *it), None);
            view.set(user, Some(0));
            view.set(user, Some(value));
        }
        for (value, user) in users.iter().enumerate() {
            assert_eq!(view.get(user, |it| *it), Some(value));
        }
        assert_eq!(view.len.load(Ordering::Relaxed), users.len());
        for user in &users {
            view.set(user, None);
            view.set(user, None);
            assert_eq!(view.get(user, |it| *it), None);
        }
        assert_eq!(view.len.load(Ordering::Relaxed), 0);
    }
}
