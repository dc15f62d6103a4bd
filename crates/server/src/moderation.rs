//! Who is kept out, who is kept silent, and which tokens hold no longer.
//!
//! ```text
//!  back end ─▶ change ─▶ store.rs: on the disk, by a thread of its own ─▶ book.rs: what there is, in order
//!                (or in memory alone)                                       │
//!                                                                           ▼
//!  sessions ─▶ keeps_out, is_muted, is_revoked ◀── view.rs: found without a lock, and at no cost where there is nothing
//! ```
//!
//! A change is answered when it is kept and in force for whoever asks from then on; connections that exist are told
//! to look again ([`Moderated`]). Times are in seconds since 1970.
//!
//! *Bounded:* `blocks_max`, `mutes_max`, `revocations_max`; what is over makes room.

mod book;
mod store;
mod view;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use flume::Sender;
use thiserror::Error;

use crate::{
    settings::{self, Settings},
    state::State,
    world::now_s,
};

use book::Book;
pub use book::{Bounds, Change, FOREVER, Full, Kind, Revocation};
pub use store::Unreadable;
use view::View;

/// Most rooms in which one user is muted, so that a publication is judged among few.
pub const MUTES_PER_USER_MAX: usize = 1_000;

/// How long what is over may still be counted, in seconds.
const SWEPT_EVERY_S: i64 = 60;

/// Most changes that wait for the disk. Whoever makes further ones waits, in order.
const CHANGES_WAITING_MAX: usize = 64;

/// Blocks, mutes and revocations.
pub struct Moderation {
    book: Mutex<Book>,
    /// What is read by sessions: until when each user is blocked.
    blocked: View<i64>,
    /// Until when each user is muted, by room.
    muted: View<Arc<BTreeMap<Arc<str>, i64>>>,
    revoked: View<Revocation>,
    /// What is revoked of all users.
    all_before: AtomicI64,
    all_until: AtomicI64,
    keeping: Keeping,
    bounds: Mutex<Bounds>,
    swept_s: AtomicI64,
    counts: Counts,
}

/// Where changes are kept.
enum Keeping {
    /// Nowhere: there are none.
    Nowhere,
    /// For the life of the process.
    Memory,
    /// In the state directory, by a thread of its own.
    State(Sender<store::Order>),
}

/// Why somebody is kept out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptOut {
    /// The user is blocked.
    Blocked,
    /// The token that was shown is revoked.
    Revoked,
}

/// What somebody has come in with: a token, with the time at which it was issued, or none. In eight bytes, since each
/// subscription has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(i64);

impl Pass {
    /// No token: whoever is here without one is not concerned by revocations, as if it had one from the end of time.
    pub const NONE: Self = Self(i64::MAX);

    /// A token that was issued at this time. One that does not say when counts as older than all others.
    pub fn of_token(issued_at: Option<i64>) -> Self {
        Self(issued_at.unwrap_or(i64::MIN))
    }
}

impl Default for Pass {
    fn default() -> Self {
        Self::NONE
    }
}

/// Tells a connection to look whether it is still to be here.
#[derive(Debug)]
pub struct Moderated;

/// Why a change is not made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum NotChanged {
    /// Nothing would keep it.
    #[error("nothing keeps it: set state_dir, or moderation = \"memory\"")]
    NotKept,
    /// There is no room for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// The disk has not taken it.
    #[error("it could not be written to state_dir")]
    Unwritten,
}

/// What has been counted.
#[derive(Debug, Default)]
struct Counts {
    changed: [AtomicU64; Kind::COUNT],
    blocked: AtomicU64,
    muted: AtomicU64,
    revoked: AtomicU64,
    unwritten: AtomicU64,
}

/// What there is, and what has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Entries of each kind.
    pub entries: [u64; Kind::COUNT],
    /// Changes of each kind.
    pub changed: [u64; Kind::COUNT],
    /// How often somebody was kept out because of a block.
    pub blocked: u64,
    /// How many publications were refused because of a mute.
    pub muted: u64,
    /// How often somebody was kept out because of a revocation.
    pub revoked: u64,
    /// Changes that the disk has not taken.
    pub unwritten: u64,
}

impl Default for Moderation {
    fn default() -> Self {
        Self::kept(Keeping::Nowhere, Bounds::default())
    }
}

impl Moderation {
    /// What there is by these settings: what earlier processes have kept in the state directory, or nothing yet.
    ///
    /// # Errors
    /// When what is kept cannot be read, or the thread that writes cannot be started.
    pub fn open(settings: &Settings, state: Option<&State>) -> anyhow::Result<Arc<Self>> {
        let bounds = Bounds::of(settings);
        let in_memory = settings.moderation == settings::Moderation::Memory;
        let Some(state) = state.filter(|_| !in_memory) else {
            let keeping = match in_memory || settings.dev.is_on() {
                true => Keeping::Memory,
                false => Keeping::Nowhere,
            };
            return Ok(Arc::new(Self::kept(keeping, bounds)));
        };
        let (store, changes) = store::Store::open(state.directory())?;
        let (order, orders) = flume::bounded(CHANGES_WAITING_MAX);
        let moderation = Arc::new(Self::kept(Keeping::State(order), bounds));
        for change in &changes {
            moderation.apply(change);
        }
        store.spawn(orders, Arc::downgrade(&moderation))?;
        Ok(moderation)
    }

    fn kept(keeping: Keeping, bounds: Bounds) -> Self {
        Self {
            book: Mutex::default(),
            blocked: View::default(),
            muted: View::default(),
            revoked: View::default(),
            all_before: AtomicI64::new(i64::MIN),
            all_until: AtomicI64::new(0),
            keeping,
            bounds: Mutex::new(bounds),
            swept_s: AtomicI64::new(0),
            counts: Counts::default(),
        }
    }

    /// Keeps no more than this from now on. What there is stays.
    pub fn allow(&self, bounds: Bounds) {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner) = bounds;
    }

    /// Makes a change. When this returns it is kept, and in force for whoever asks.
    ///
    /// # Errors
    /// Why it is not made.
    pub async fn change(&self, change: Change) -> Result<(), NotChanged> {
        match &self.keeping {
            Keeping::Nowhere => Err(NotChanged::NotKept),
            Keeping::Memory => self.make(change, |_| Ok(())),
            Keeping::State(orders) => {
                let (reply, made) = flume::bounded(1);
                let order = store::Order { change, reply };
                let sent = orders.send_async(order).await;
                sent.map_err(|_| NotChanged::Unwritten)?;
                made.recv_async()
                    .await
                    .unwrap_or(Err(NotChanged::Unwritten))
            }
        }
    }

    /// Makes a change once `keep` has kept it, with the removal of what is over.
    fn make(
        &self,
        change: Change,
        keep: impl FnOnce(&[Change]) -> Result<(), NotChanged>,
    ) -> Result<(), NotChanged> {
        let mut changes = self.over(change.kind());
        self.check(&change, &changes)?;
        changes.push(change);
        keep(&changes).inspect_err(|_| count(&self.counts.unwritten))?;
        changes.iter().for_each(|change| self.apply(change));
        if let Some(change) = changes.last() {
            count(&self.counts.changed[change.kind() as usize]);
        }
        Ok(())
    }

    /// What is over, as changes that remove it, if it is time to look: now and then, and more often where there is
    /// no room.
    fn over(&self, kind: Kind) -> Vec<Change> {
        let now_s = now_s();
        let book = self.book();
        let is_full = book.len(kind) >= self.bounds().of_kind(kind);
        let every_s = if is_full { 1 } else { SWEPT_EVERY_S };
        if now_s - self.swept_s.load(Ordering::Relaxed) < every_s {
            return Vec::new();
        }
        self.swept_s.store(now_s, Ordering::Relaxed);
        book.over(now_s)
    }

    /// Whether there is room for a change, once these others are made.
    fn check(&self, change: &Change, before: &[Change]) -> Result<(), Full> {
        let kind = change.kind();
        let removed = before.iter().filter(|it| it.kind() == kind).count();
        self.book().check(change, self.bounds(), removed)
    }

    /// A change is in force from now on.
    fn apply(&self, change: &Change) {
        let mut book = self.book();
        book.apply(change);
        match change {
            Change::Block { user, until } => self.blocked.set(user, Some(*until)),
            Change::Unblock { user } => self.blocked.set(user, None),
            Change::Mute { user, .. } | Change::Unmute { user, .. } => {
                let rooms = book.mutes_of(user);
                let rooms = (!rooms.is_empty()).then(|| Arc::new(rooms));
                self.muted.set(user, rooms);
            }
            Change::Revoke { user, revocation } if user.is_empty() => {
                self.all_until.store(revocation.until, Ordering::Release);
                self.all_before.store(revocation.before, Ordering::Release);
            }
            Change::Unrevoke { user } if user.is_empty() => {
                self.all_before.store(i64::MIN, Ordering::Release);
            }
            Change::Revoke { user, revocation } => self.revoked.set(user, Some(*revocation)),
            Change::Unrevoke { user } => self.revoked.set(user, None),
        }
    }

    /// Whether this user may not be here.
    pub fn is_blocked(&self, user: &str) -> bool {
        let until = self.blocked.get(user, |until| *until);
        let is_blocked = until.is_some_and(|until| until > now_s());
        if is_blocked {
            count(&self.counts.blocked);
        }
        is_blocked
    }

    /// Whether this user may not publish in this room.
    pub fn is_muted(&self, user: &str, room: &str) -> bool {
        let until = self.muted.get(user, |rooms| rooms.get(room).copied());
        let is_muted = until.flatten().is_some_and(|until| until > now_s());
        if is_muted {
            count(&self.counts.muted);
        }
        is_muted
    }

    /// Whether this token of this user holds no longer.
    pub fn is_revoked(&self, user: &str, Pass(issued_at): Pass) -> bool {
        let is_of_all = issued_at < self.all_before.load(Ordering::Acquire)
            && self.all_until.load(Ordering::Acquire) > now_s();
        let of_user = self.revoked.get(user, |it| *it);
        let is_of_user = of_user.is_some_and(|it| issued_at < it.before && it.until > now_s());
        let is_revoked = is_of_all || is_of_user;
        if is_revoked {
            count(&self.counts.revoked);
        }
        is_revoked
    }

    /// Why somebody is to be kept out who has come in with this.
    pub fn keeps_out(&self, user: &str, pass: Pass) -> Option<KeptOut> {
        if self.is_blocked(user) {
            Some(KeptOut::Blocked)
        } else if pass != Pass::NONE && self.is_revoked(user, pass) {
            Some(KeptOut::Revoked)
        } else {
            None
        }
    }

    /// Some of the blocks, in the order of their users, behind this one.
    pub fn blocks(&self, behind: &str, most: usize) -> Vec<(Arc<str>, i64)> {
        self.book().blocks(behind, most, now_s())
    }

    /// Some of the mutes, in the order of their users and rooms, behind these.
    pub fn mutes(&self, behind: (&str, &str), most: usize) -> Vec<(Arc<str>, Arc<str>, i64)> {
        self.book().mutes(behind, most, now_s())
    }

    /// Some of the revocations, in the order of their users, behind this one; that of all users comes first. `None`
    /// is before all.
    pub fn revocations(&self, behind: Option<&str>, most: usize) -> Vec<(Arc<str>, Revocation)> {
        self.book().revocations(behind, most, now_s())
    }

    /// What there is, and what has been counted.
    pub fn standing(&self) -> Standing {
        let book = self.book();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Standing {
            entries: Kind::ALL.map(|kind| book.len(kind) as u64),
            changed: Kind::ALL.map(|kind| read(&self.counts.changed[kind as usize])),
            blocked: read(&self.counts.blocked),
            muted: read(&self.counts.muted),
            revoked: read(&self.counts.revoked),
            unwritten: read(&self.counts.unwritten),
        }
    }

    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

impl fmt::Debug for Moderation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moderation").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
