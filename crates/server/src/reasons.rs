//! Reasons with which back ends have clients told to go, kept for as long as the process lasts.
//!
//! The reason that ends a connection is recorded in it, and must outlive it; back ends have a handful of them, so
//! that each is kept once. *Bounded:* at most `MOST` are kept, and further ones are not told.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Most reasons that are kept.
const MOST: usize = 1_000;

static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// The same text, which lasts; empty if as many others are kept as may be.
pub fn kept(reason: &str) -> &'static str {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    keep(kept.get_or_insert_default(), reason)
}

fn keep(kept: &mut HashSet<&'static str>, reason: &str) -> &'static str {
    if let Some(known) = kept.get(reason) {
        return known;
    }
    if kept.len() >= MOST {
        return "";
    }
    let reason: &'static str = Box::leak(reason.into());
    kept.insert(reason);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_kept_once_and_only_so_many_are() {
        let mut all = HashSet::new();
        let first = keep(&mut all, "banned");
        assert!(std::ptr::eq(first, keep(&mut all, "banned")));
        for number in 0..2 * MOST {
            keep(&mut all, &number.to_string());
        }
        assert_eq!(all.len(), MOST);
        assert_eq!(keep(&mut all, "banned"), "banned");
        assert_eq!(keep(&mut all, "another"), "");
    }
}
