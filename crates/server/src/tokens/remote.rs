//! The keys of a URL: fetched on the thread `backend`, and again from time to time, so that they can be rotated.
//!
//! The last set that could be used holds until the next one, however old it is: a URL that is gone must not lock
//! out everybody. A metric and the log tell how old it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use access::token::{KeyError, Keys};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tracing::{info, warn};

use super::sought::{Seek, Sought};
use crate::{
    backend::{Backend, Bounds, Client, Task},
    settings::Url,
    world::now_s,
};

/// What is asked for (RFC 7517 section 8.5).
const ACCEPT: &str = "application/jwk-set+json, application/json";

/// Where keys come from, and how often.
#[derive(Debug)]
pub struct Source {
    /// The setting that names the URL.
    pub setting: &'static str,
    pub url: Url,
    pub client: Client,
    /// What an answer may take.
    pub bounds: Bounds,
    /// The most keys that are used.
    pub keys_max: usize,
    /// The time from one fetch to the next.
    pub refresh: Duration,
    /// The least time from one fetch to the next.
    pub pause: Duration,
}

/// The keys of a URL.
#[derive(Debug)]
pub struct Remote {
    shared: Arc<Shared>,
    task: OnceLock<Task>,
}

/// What sessions and the task that fetches share.
#[derive(Debug)]
struct Shared {
    source: Source,
    set: ArcSwapOption<Set>,
    sought: Mutex<Sought>,
    wanted: Notify,
    /// Hashes what names a key, so that nobody can choose two that count as one.
    hasher: RandomState,
    counts: OnceLock<Arc<Counts>>,
}

/// The keys that are in force.
#[derive(Debug)]
struct Set {
    keys: Arc<Keys>,
    /// When it came, in seconds since 1970.
    fetched_s: i64,
}

/// How often keys were fetched and not; they outlive a reload.
#[derive(Debug, Default)]
struct Counts {
    good: AtomicU64,
    failed: AtomicU64,
}

/// What the metrics show.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyStanding {
    /// The number of keys in force.
    pub keys: usize,
    /// When they came, in seconds since 1970; 0 if they have not.
    pub fetched_s: i64,
    /// How often they were fetched.
    pub good: u64,
    /// How often they could not be.
    pub failed: u64,
}

impl Remote {
    pub(super) fn new(source: Source) -> Self {
        let shared = Shared {
            source,
            set: ArcSwapOption::empty(),
            sought: Mutex::default(),
            wanted: Notify::new(),
            hasher: RandomState::new(),
            counts: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            task: OnceLock::new(),
        }
    }

    /// The setting that names the URL.
    pub fn setting(&self) -> &'static str {
        self.shared.source.setting
    }

    /// The keys that are in force; `None` if none have come yet.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.shared.set.load().as_ref().map(|set| set.keys.clone())
    }

    /// What the metrics show.
    pub fn standing(&self) -> KeyStanding {
        let set = self.shared.set.load();
        let count = |of: fn(&Counts) -> &AtomicU64| {
            let counts = self.shared.counts.get();
            counts.map_or(0, |counts| of(counts).load(Ordering::Relaxed))
        };
        KeyStanding {
            keys: set.as_ref().map_or(0, |set| set.keys.len()),
            fetched_s: set.as_ref().map_or(0, |set| set.fetched_s),
            good: count(|it| &it.good),
            failed: count(|it| &it.failed),
        }
    }

    /// A token has this header, and its key is not in the set.
    pub(super) fn seek(&self, header: &str) -> Seek {
        let key = self.shared.hasher.hash_one(header);
        let seek = self.shared.sought().seek(key, Instant::now().into_std());
        self.shared.wanted.notify_one();
        seek
    }

    /// Begins to fetch. What the remote of the settings before has counted goes on, and its keys hold until
    /// others come if its URL is the same.
    ///
    /// # Errors
    /// When the thread for it cannot be started.
    pub(super) fn begin(&self, backend: &Backend, before: Option<&Self>) -> io::Result<()> {
        let shared = &self.shared;
        let counts = before.and_then(|before| before.shared.counts.get().cloned());
        let _ = shared.counts.set(counts.unwrap_or_default());
        if let Some(before) = before.filter(|it| it.shared.source.url == shared.source.url) {
            shared.set.store(before.shared.set.load_full());
        }
        let task = backend.spawn(keep(shared.clone()))?;
        let _ = self.task.set(task);
        Ok(())
    }
}

/// Fetches the keys again and again.
async fn keep(shared: Arc<Shared>) {
    let Source { refresh, pause, .. } = shared.source;
    let mut document = None;
    let mut failures = 0;
    loop {
        shared.sought().begin();
        let began = Instant::now();
        let next = match shared.fetch(&mut document).await {
            Ok(()) => {
                failures = 0;
                shared.sought().found(began.into_std());
                refresh
            }
            Err(why) => {
                failures += 1;
                shared.sought().failed();
                shared.tell_failed(&why, failures);
                backoff(pause, failures).min(refresh)
            }
        };
        time::sleep_until(began + least(pause, failures)).await;
        while !shared.sought().is_wanted() {
            let wanted = shared.wanted.notified();
            if time::timeout_at(began + next, wanted).await.is_err() {
                break;
            }
        }
    }
}

/// The least time from one fetch to the next, however many tokens name unknown keys. After failures it grows, so
/// that a server that is in trouble is not asked ever again, but not beyond [`FAILED_MAX`], because clients wait.
fn least(pause: Duration, failures: u32) -> Duration {
    match failures {
        0 => pause,
        _ => backoff(pause, failures).min(pause.max(FAILED_MAX)),
    }
}

const FAILED_MAX: Duration = Duration::from_secs(60);

/// The time from a failed fetch to the next one: twice as long after each further failure.
fn backoff(pause: Duration, failures: u32) -> Duration {
    pause.saturating_mul(1 << (failures - 1).min(16))
}

impl Shared {
    fn sought(&self) -> MutexGuard<'_, Sought> {
        self.sought.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches the keys once, and puts them in force.
    async fn fetch(&self, document: &mut Option<Bytes>) -> Result<(), String> {
        let Source {
            url,
            client,
            bounds,
            ..
        } = &self.source;
        let fetched = client.get(url.uri(), ACCEPT, *bounds).await;
        let fetched = fetched.map_err(|failure| failure.to_string())?;
        let keys = match (self.set.load_full(), &*document) {
            (Some(set), Some(before)) if *before == fetched => set.keys.clone(),
            _ => self.read(&fetched)?,
        };
        *document = Some(fetched);
        self.set.store(Some(Arc::new(Set {
            keys,
            fetched_s: now_s(),
        })));
        self.count(|counts| &counts.good);
        Ok(())
    }

    /// Reads a document that is another one than before.
    fn read(&self, document: &[u8]) -> Result<Arc<Keys>, String> {
        let Source {
            setting, keys_max, ..
        } = self.source;
        let text = str::from_utf8(document).map_err(|_| "the answer is not UTF-8")?;
        let (keys, left_out) =
            Keys::from_jwks(setting, text, keys_max).map_err(|errors| in_one(&errors))?;
        for error in left_out {
            warn!("{error}");
        }
        info!(setting, keys = keys.len(), "keys of tokens were fetched");
        Ok(Arc::new(keys))
    }

    fn tell_failed(&self, why: &str, failures: u32) {
        let setting = self.source.setting;
        self.count(|counts| &counts.failed);
        match &*self.set.load() {
            Some(set) => {
                let age_s = now_s() - set.fetched_s;
                warn!(
                    setting,
                    failures,
                    age_s,
                    why,
                    "keys of tokens cannot be fetched; those that came last stay in force"
                );
            }
            None => warn!(
                setting,
                failures,
                why,
                "keys of tokens cannot be fetched, and until they are every token is refused"
            ),
        }
    }

    fn count(&self, of: fn(&Counts) -> &AtomicU64) {
        if let Some(counts) = self.counts.get() {
            of(counts).fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The first errors of a document, which may have many.
fn in_one(errors: &[KeyError]) -> String {
    const SHOWN: usize = 3;
    // The last one says what is wrong with the whole.
    let (last, others) = errors
        .split_last()
        .map_or((None, errors), |(last, others)| (Some(last), others));
    let shown = others.iter().take(SHOWN - 1).chain(last);
    let shown: Vec<_> = shown.map(ToString::to_string).collect();
    shown.join("; ")
}

#[cfg(test)]
mod tests {
    use access::token::{Rules, TokenError, Verifier};

    use super::*;
    use crate::{
        settings::url_of,
        tokens::{Unverified, Verification},
    };

    #[test]
    fn pause_doubles_with_each_failure_within_bounds() {
        let pause = Duration::from_secs(10);
        let seconds = |failures| backoff(pause, failures).as_secs();
        assert_eq!([1, 2, 3, 4].map(seconds), [10, 20, 40, 80]);
        assert_eq!(seconds(100), 655_360);
    }

    #[test]
    fn tokens_cause_a_fetch_after_a_minute_of_failures_and_never_within_the_pause() {
        let seconds = |pause, failures| least(Duration::from_secs(pause), failures).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 4, 100].map(|it| seconds(10, it)),
            [10, 10, 20, 40, 60, 60]
        );
        assert_eq!([0, 1, 2, 100].map(|it| seconds(300, it)), [300; 4]);
    }

    fn remote() -> Remote {
        Remote::new(Source {
            setting: "token_jwks_url",
            url: url_of("http://localhost:1/").unwrap(),
            client: Client::new(rustls::RootCertStore::empty()).unwrap(),
            bounds: Bounds {
                bytes_max: 1,
                time: Duration::from_secs(1),
            },
            keys_max: 1,
            refresh: Duration::from_secs(1),
            pause: Duration::from_secs(1),
        })
    }

    fn come(remote: &Remote) {
        let set = Set {
            keys: Arc::default(),
            fetched_s: 0,
        };
        remote.shared.set.store(Some(Arc::new(set)));
        remote.shared.sought().found(Instant::now().into_std());
    }

    /// The key comes between the look at the set and the question for it.
    #[test]
    fn key_that_comes_while_a_token_is_verified_is_not_taken_for_missing() {
        for comes_meanwhile in [false, true] {
            let remote = Arc::new(remote());
            let verification = Verification {
                verifier: Verifier::new(Keys::default(), Rules::default()).unwrap(),
                remote: Some(remote.clone()),
            };
            come(&remote);
            remote.seek("header");
            remote.shared.sought().begin();
            if !comes_meanwhile {
                come(&remote);
            }
            let verified: Result<(), _> = verification.verify("header.claims.signature", |_| {
                if comes_meanwhile {
                    come(&remote);
                }
                Err(TokenError::UnknownKey)
            });
            let expected = match comes_meanwhile {
                false => TokenError::UnknownKey.into(),
                true => Unverified::KeyToCome,
            };
            assert_eq!(verified, Err(expected));
        }
    }
}
