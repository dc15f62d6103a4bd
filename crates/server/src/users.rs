//! How many connections each user has, on all cores: for the bound on them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

/// The users of all connections. It is touched when a connection has said whose it is and when it ends, and
/// never on the way of a message.
#[derive(Debug, Default)]
pub struct Users(Mutex<HashMap<Arc<str>, usize>>);

/// One connection of a user, counted until this is dropped.
#[derive(Debug)]
pub struct Place {
    users: Arc<Users>,
    user: Arc<str>,
}

impl Users {
    /// How many users have a connection.
    pub fn count(&self) -> usize {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.len()
    }

    /// Counts one more connection of this user; `None` if it would be more than `most`.
    pub fn enter(self: &Arc<Self>, user: &Arc<str>, most: usize) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place {
            users: self.clone(),
            user: user.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = counts.entry(self.user.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_has_as_many_places_as_are_allowed_and_is_forgotten_with_the_last() {
        let users = Arc::new(Users::default());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let first = users.enter(&ann, 2).unwrap();
        let second = users.enter(&ann, 2).unwrap();
        assert!(users.enter(&ann, 2).is_none());
        assert!(users.enter(&bob, 2).is_some());
        drop(first);
        let third = users.enter(&ann, 2).unwrap();
        assert!(users.enter(&ann, 1).is_none());
        assert_eq!(users.count(), 1);
        drop((second, third));
        assert_eq!(users.count(), 0);
    }
}
