//! Which connections of a core belong to which user, so that all of a user can be addressed.
//!
//! *Bounded* by the connections: each has at most one user, and a user without connections is forgotten.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::ids::ConnectionKey;

/// The users of a core's connections.
#[derive(Debug, Default)]
pub(crate) struct Users(HashMap<Arc<str>, SmallVec<[ConnectionKey; 1]>>);

impl Users {
    /// A connection belongs to this user.
    pub(crate) fn enter(&mut self, user: &Arc<str>, key: ConnectionKey) {
        self.0.entry(user.clone()).or_default().push(key);
    }

    /// A connection of this user is over.
    pub(crate) fn leave(&mut self, user: &Arc<str>, key: ConnectionKey) {
        if let Entry::Occupied(mut keys) = self.0.entry(user.clone()) {
            keys.get_mut().retain(|other| *other != key);
            if keys.get().is_empty() {
                keys.remove();
            }
        }
    }

    /// The connections of this user, the oldest first.
    pub(crate) fn connections(&self, user: &str) -> &[ConnectionKey] {
        self.0.get(user).map_or(&[], SmallVec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_known_for_as_long_as_a_connection_is_its_own() {
        let mut users = Users::default();
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        let keys: Vec<_> = (0..3).map(|slot| ConnectionKey::new(1, slot)).collect();
        users.enter(&ann, keys[0]);
        users.enter(&bob, keys[1]);
        users.enter(&ann, keys[2]);
        assert_eq!(users.connections("ann"), [keys[0], keys[2]]);
        users.leave(&ann, keys[0]);
        assert_eq!(users.connections("ann"), [keys[2]]);
        users.leave(&ann, keys[2]);
        assert_eq!(users.connections("ann"), []);
        users.leave(&bob, keys[1]);
        assert!(users.0.is_empty());
    }
}
