//! All blocks, mutes and revocations in their order: what lists tell, and what is bounded.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use thiserror::Error;

use super::MUTES_PER_USER_MAX;
use crate::settings::Settings;

/// The end of what has none.
pub const FOREVER: i64 = i64::MAX;

/// What a user, or tokens, are kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user from being here.
    Block,
    /// A user from publishing in a room.
    Mute,
    /// Tokens from being believed.
    Revocation,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [Self::Block, Self::Mute, Self::Revocation];

    /// What metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Mute => "mute",
            Self::Revocation => "revocation",
        }
    }
}

/// Which tokens hold no longer, and until when that is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Those that were issued before this time.
    pub before: i64,
    /// When all of them are over by themselves, or [`FOREVER`].
    pub until: i64,
}

/// One entry more, or one less.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Change {
    /// The user may not be here until then.
    Block { user: Arc<str>, until: i64 },
    /// It may again.
    Unblock { user: Arc<str> },
    /// The user may not publish in the room until then.
    Mute {
        user: Arc<str>,
        room: Arc<str>,
        until: i64,
    },
    /// It may again.
    Unmute { user: Arc<str>, room: Arc<str> },
    /// Tokens of the user hold no longer, or of all users, if it is empty.
    Revoke {
        user: Arc<str>,
        revocation: Revocation,
    },
    /// They hold again, as long as they would have.
    Unrevoke { user: Arc<str> },
}

impl Change {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Block { .. } | Self::Unblock { .. } => Kind::Block,
            Self::Mute { .. } | Self::Unmute { .. } => Kind::Mute,
            Self::Revoke { .. } | Self::Unrevoke { .. } => Kind::Revocation,
        }
    }
}

/// How many entries there may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Blocks.
    pub blocks: usize,
    /// Mutes.
    pub mutes: usize,
    /// Revocations.
    pub revocations: usize,
}

impl Bounds {
    /// Those of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self {
            blocks: settings.blocks_max,
            mutes: settings.mutes_max,
            revocations: settings.revocations_max,
        }
    }

    /// The bound of a kind.
    pub fn of_kind(&self, kind: Kind) -> usize {
        match kind {
            Kind::Block => self.blocks,
            Kind::Mute => self.mutes,
            Kind::Revocation => self.revocations,
        }
    }
}

/// There are as many entries as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Full {
    /// Of this kind.
    #[error("there are as many as there may be (blocks_max, mutes_max, revocations_max)")]
    All(Kind),
    /// Of this user.
    #[error("the user is muted in as many rooms as one may be, 1000")]
    OfUser,
}

/// All entries.
#[derive(Debug, Default)]
pub struct Book {
    blocks: BTreeMap<Arc<str>, i64>,
    mutes: BTreeMap<Arc<str>, BTreeMap<Arc<str>, i64>>,
    /// How many there are, over all users.
    mutes_len: usize,
    revocations: BTreeMap<Arc<str>, Revocation>,
}

impl Book {
    /// How many entries of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Block => self.blocks.len(),
            Kind::Mute => self.mutes_len,
            Kind::Revocation => self.revocations.len(),
        }
    }

    /// Whether there is room for a change, once so many entries of its kind are removed.
    pub fn check(&self, change: &Change, bounds: Bounds, removed: usize) -> Result<(), Full> {
        let is_known = match change {
            Change::Block { user, .. } => self.blocks.contains_key(user),
            Change::Revoke { user, .. } => self.revocations.contains_key(user),
            Change::Mute { user, room, .. } => {
                let rooms = self.mutes.get(user);
                let is_known = rooms.is_some_and(|rooms| rooms.contains_key(room));
                if !is_known && rooms.is_some_and(|it| it.len() >= MUTES_PER_USER_MAX) {
                    return Err(Full::OfUser);
                }
                is_known
            }
            Change::Unblock { .. } | Change::Unmute { .. } | Change::Unrevoke { .. } => true,
        };
        let kind = change.kind();
        match is_known || self.len(kind) - removed < bounds.of_kind(kind) {
            true => Ok(()),
            false => Err(Full::All(kind)),
        }
    }

    /// Makes a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Block { user, until } => _ = self.blocks.insert(user.clone(), *until),
            Change::Unblock { user } => _ = self.blocks.remove(user),
            Change::Mute { user, room, until } => {
                let rooms = self.mutes.entry(user.clone()).or_default();
                let before = rooms.insert(room.clone(), *until);
                self.mutes_len += usize::from(before.is_none());
            }
            Change::Unmute { user, room } => self.unmute(user, room),
            Change::Revoke { user, revocation } => {
                self.revocations.insert(user.clone(), *revocation);
            }
            Change::Unrevoke { user } => _ = self.revocations.remove(user),
        }
    }

    fn unmute(&mut self, user: &Arc<str>, room: &str) {
        if let Some(rooms) = self.mutes.get_mut(user) {
            self.mutes_len -= usize::from(rooms.remove(room).is_some());
            if rooms.is_empty() {
                self.mutes.remove(user);
            }
        }
    }

    /// The rooms in which this user is muted, and until when.
    pub fn mutes_of(&self, user: &str) -> BTreeMap<Arc<str>, i64> {
        self.mutes.get(user).cloned().unwrap_or_default()
    }

    /// Everything that is over, as changes that remove it.
    pub fn over(&self, now_s: i64) -> Vec<Change> {
        let blocks = self.blocks.iter().filter(|(_, until)| **until <= now_s);
        let blocks = blocks.map(|(user, _)| Change::Unblock { user: user.clone() });
        let mutes = self.all_mutes().filter(|(.., until)| *until <= now_s);
        let mutes = mutes.map(|(user, room, _)| Change::Unmute {
            user: user.clone(),
            room: room.clone(),
        });
        let revocations = self.revocations.iter();
        let revocations = revocations.filter(|(_, it)| it.until <= now_s);
        let revocations = revocations.map(|(user, _)| Change::Unrevoke { user: user.clone() });
        blocks.chain(mutes).chain(revocations).collect()
    }

    fn all_mutes(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, i64)> {
        let users = self.mutes.iter();
        users.flat_map(|(user, rooms)| rooms.iter().map(move |(room, until)| (user, room, *until)))
    }

    /// Blocks that are not over, behind this user.
    pub fn blocks(&self, behind: &str, most: usize, now_s: i64) -> Vec<(Arc<str>, i64)> {
        let all = self.blocks.range::<str, _>(behind_of(behind));
        let all = all.filter(|(_, until)| **until > now_s);
        all.take(most)
            .map(|(user, until)| (user.clone(), *until))
            .collect()
    }

    /// Mutes that are not over, behind this user and room.
    pub fn mutes(
        &self,
        (user, room): (&str, &str),
        most: usize,
        now_s: i64,
    ) -> Vec<(Arc<str>, Arc<str>, i64)> {
        let from = (Bound::Included(user), Bound::Unbounded);
        let users = self.mutes.range::<str, _>(from);
        let all = users.flat_map(|(of, rooms)| {
            let behind = if **of == *user { room } else { "" };
            let rooms = rooms.range::<str, _>(behind_of(behind));
            rooms.map(move |(room, until)| (of.clone(), room.clone(), *until))
        });
        all.filter(|(.., until)| *until > now_s)
            .take(most)
            .collect()
    }

    /// Revocations that are not over, behind this user.
    pub fn revocations(
        &self,
        behind: Option<&str>,
        most: usize,
        now_s: i64,
    ) -> Vec<(Arc<str>, Revocation)> {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.revocations.range::<str, _>((from, Bound::Unbounded));
        let all = all.filter(|(_, it)| it.until > now_s);
        all.take(most)
            .map(|(user, it)| (user.clone(), *it))
            .collect()
    }
}

fn behind_of(name: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Excluded(name), Bound::Unbounded)
}
