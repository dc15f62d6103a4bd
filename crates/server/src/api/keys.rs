//! The keys of the API: who may call which methods, for which rooms, how often.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::{Bucket, Rate};

use super::methods::{Method, Scope};
use crate::{
    faults::Faults,
    secret::Digest,
    settings::{ApiKey, ApiKeys, Secret, namespace_of, read_key_file},
};

/// All keys.
#[derive(Default)]
pub struct Keys(Vec<Arc<Key>>);

/// A key. Of itself only its digest is kept.
pub(super) struct Key {
    name: Box<str>,
    digest: Digest,
    methods: Option<Vec<String>>,
    namespaces: Option<Vec<String>>,
    rate: Option<Rate>,
    bucket: Mutex<Bucket>,
}

impl Keys {
    /// The keys that the file declares, read from their files.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with the option that names the file and a remedy.
    pub fn load(declared: &ApiKeys) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let mut keys = Self::default();
        for (name, key) in declared.iter() {
            let secret = match (&key.key, &key.key_file) {
                (Some(secret), _) => Some(secret.clone()),
                (None, Some(path)) => faults.note(read_key_file(name, path)),
                (None, None) => None,
            };
            let Some(secret) = secret else { continue };
            if let Some(other) = keys.find(secret.text()) {
                let other = &other.name;
                let twice = Err(anyhow::anyhow!(
                    "api_keys.{name} is the same key as api_keys.{other}: give each a key of its own"
                ));
                faults.note::<()>(twice);
                continue;
            }
            keys.0.push(Arc::new(Key::new(name, &secret, key)));
        }
        faults.into_result(Some(keys))
    }

    /// Only this key, which may do everything.
    pub(super) fn only(secret: &Secret) -> Self {
        let key = Key::new("dev", secret, &ApiKey::default());
        Self(vec![Arc::new(key)])
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that somebody shows. It takes as long for one that is known as for any other.
    pub(super) fn find(&self, shown: &str) -> Option<&Arc<Key>> {
        let shown = Digest::of(shown);
        let mut found = None;
        for key in &self.0 {
            if key.digest.is(&shown) {
                found = Some(key);
            }
        }
        found
    }
}

impl Key {
    fn new(name: &str, secret: &Secret, rights: &ApiKey) -> Self {
        Self {
            name: name.into(),
            digest: Digest::of(secret.text()),
            methods: rights.methods.clone(),
            namespaces: rights.namespaces.clone(),
            rate: Rate::new(rights.rate, rights.burst),
            bucket: Mutex::default(),
        }
    }

    /// Its name in the settings.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is for this method. What is not about certain rooms needs a key for all.
    pub(super) fn is_for(&self, method: &Method) -> bool {
        let methods = self.methods.as_ref();
        let has_rooms = method.scope == Scope::Rooms || self.is_for_all_rooms();
        has_rooms && methods.is_none_or(|methods| methods.iter().any(|it| it == method.name))
    }

    /// Whether it is for all rooms.
    pub(super) fn is_for_all_rooms(&self) -> bool {
        self.namespaces.is_none()
    }

    /// Whether it lets name this room.
    pub(super) fn may_name(&self, room: &str) -> bool {
        let namespaces = self.namespaces.as_ref();
        namespaces.is_none_or(|namespaces| namespaces.iter().any(|it| it == namespace_of(room)))
    }

    /// Counts so many calls, if one may be made now.
    ///
    /// # Errors
    /// The nanoseconds until one may be made.
    pub(super) fn charge(&self, calls: u32, now_ns: u64) -> Result<(), u64> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.charge(rate, calls, now_ns)
    }

    /// Counts further calls of a request that was let in.
    pub(super) fn charge_more(&self, calls: u32, now_ns: u64) {
        let Some(rate) = self.rate else {
            return;
        };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.owe(rate, calls, now_ns);
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rights: ApiKey) -> Key {
        Key::new("one", &Secret::new("0123456789abcdef").unwrap(), &rights)
    }

    #[test]
    fn key_is_found_by_its_whole_text_alone() {
        let keys = Keys::only(&Secret::new("0123456789abcdef").unwrap());
        assert!(keys.find("0123456789abcdef").is_some());
        for other in [
            "",
            "0123456789abcde",
            "0123456789abcdefg",
            "0123456789ABCDEF",
        ] {
            assert!(keys.find(other).is_none(), "{other}");
        }
        assert!(!format!("{keys:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn key_opens_what_it_is_for() {
        let all = key(ApiKey::default());
        let method = |name| Method::named(name).unwrap().1;
        assert!(all.is_for(method("info")) && all.may_name("chat:a"));
        let some = key(ApiKey {
            methods: Some(vec!["publish".into(), "info".into()]),
            namespaces: Some(vec!["chat".into(), "".into()]),
            ..ApiKey::default()
        });
        assert!(some.is_for(method("publish")) && !some.is_for(method("broadcast")));
        assert!(!some.is_for(method("info")), "it is about all rooms");
        for (room, may) in [
            ("chat:a", true),
            ("$chat:a", true),
            ("a", true),
            ("news:a", false),
            ("chats:a", false),
        ] {
            assert_eq!(some.may_name(room), may, "{room}");
        }
    }

    #[test]
    fn calls_beyond_the_rate_wait_and_a_batch_is_paid_for_behind_itself() {
        let key = key(ApiKey {
            rate: 10,
            burst: 2,
            ..ApiKey::default()
        });
        const SECOND: u64 = 1_000_000_000;
        assert_eq!(key.charge(1, 0), Ok(()));
        key.charge_more(10, 0);
        assert_eq!(key.charge(1, 0), Err(SECOND));
        assert_eq!(key.charge(1, SECOND), Ok(()));
        assert!(key.charge(1, SECOND).is_err());
    }
}
