//! Blocks of users, mutes of users in rooms, and revocations of tokens: made, taken back and listed.
//!
//! A change is answered when it is kept and in force; connections that exist have been told then.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time;
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::{
    api::{call::Call, failure::Failure, json::whole},
    moderation::{Change, FOREVER, Full, NotChanged, Revocation},
    world::now_s,
};

/// The longest name of a user that tokens can have has its place.
const USER_BYTES_MAX: usize = 4_096;

/// Entries in an answer.
const LISTED_MAX: usize = 1_000;

/// How far in the future a revocation may reach, in seconds: as far as clocks differ.
const AHEAD_MAX_S: i64 = 300;

/// How often a core that has no space is told again, and after how long each time.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A user that is to be kept out.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct BlockUserRequest {
    /// What tokens have as `sub`.
    #[serde(default)]
    user: String,
    /// When the block is over, in seconds since 1970; 0: never.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    expire_at: i64,
}

/// A user that may come in again.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct UnblockUserRequest {
    /// What tokens have as `sub`.
    #[serde(default)]
    user: String,
}

/// A user that is to be silent in a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MuteUserRequest {
    /// What tokens have as `sub`.
    #[serde(default)]
    user: String,
    /// The room.
    #[serde(default)]
    channel: String,
    /// When the mute is over, in seconds since 1970; 0: never.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    expire_at: i64,
}

/// A user that may publish in a room again.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct UnmuteUserRequest {
    /// What tokens have as `sub`.
    #[serde(default)]
    user: String,
    /// The room.
    #[serde(default)]
    channel: String,
}

/// Tokens that are to hold no longer: of a user, or of all.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RevokeTokensRequest {
    /// What tokens have as `sub`.
    #[serde(default)]
    user: String,
    /// Whether tokens of all users are meant.
    #[serde(default)]
    all: bool,
    /// Those that were issued before this time (`iat`), in seconds since 1970: now, if it is left out. 0 takes the
    /// revocation back.
    #[serde(default, deserialize_with = "time")]
    #[schema(value_type = i64, minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    issued_before: Option<i64>,
    /// When all of them are over by themselves, in seconds since 1970, so that the revocation can be forgotten; 0:
    /// never.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    expire_at: i64,
}

/// Nothing.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ModerationResult {}

/// A request for users that are blocked.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct ListBlocksRequest {
    #[serde(flatten)]
    part: Part,
}

/// A request for mutes.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct ListMutesRequest {
    #[serde(flatten)]
    part: Part,
}

/// A request for revocations.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct ListRevocationsRequest {
    #[serde(flatten)]
    part: Part,
}

/// Which part of a list.
#[derive(Deserialize, ToSchema)]
struct Part {
    /// Most entries; 0 for as many as may be, which are 1000.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    limit: u64,
    /// Where the list goes on: what the last answer says.
    #[serde(default)]
    cursor: String,
}

/// Users that are blocked, in their order.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ListBlocksResult {
    blocks: Vec<Block>,
    /// Where the list goes on; left out at its end.
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

/// A user that is blocked.
#[derive(Serialize, ToSchema)]
struct Block {
    user: String,
    /// Left out if it never is over.
    #[serde(skip_serializing_if = "is_never")]
    expire_at: i64,
}

/// Mutes, in the order of their users and rooms.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ListMutesResult {
    mutes: Vec<Mute>,
    /// Where the list goes on; left out at its end.
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

/// A user that is muted in a room.
#[derive(Serialize, ToSchema)]
struct Mute {
    user: String,
    channel: String,
    /// Left out if it never is over.
    #[serde(skip_serializing_if = "is_never")]
    expire_at: i64,
}

/// Revocations, in the order of their users, that of all users first.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ListRevocationsResult {
    revocations: Vec<Revoked>,
    /// Where the list goes on; left out at its end.
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

/// Whose tokens hold no longer, and which.
#[derive(Serialize, ToSchema)]
struct Revoked {
    /// Left out if it is all users.
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    /// Whether it is all users.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    issued_before: i64,
    /// Left out if it is never forgotten.
    #[serde(skip_serializing_if = "is_never")]
    expire_at: i64,
}

/// A time that is there and no `null`.
fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    whole(from).map(Some)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it on so")]
fn is_never(until: &i64) -> bool {
    *until == FOREVER
}

/// The end that a request means.
fn until_of(expire_at: i64) -> Result<i64, Failure> {
    match expire_at {
        0 => Ok(FOREVER),
        at if at <= now_s() => Err(Failure::bad(
            "expire_at has passed: it is in seconds since 1970",
        )),
        at => Ok(at),
    }
}

/// The user that a request means.
fn user_of(user: String) -> Result<Arc<str>, Failure> {
    match user.len() {
        0 => Err(Failure::bad("user is missing")),
        1..=USER_BYTES_MAX => Ok(user.into()),
        _ => Err(Failure::bad("user has more than 4096 bytes")),
    }
}

/// The room that a request means, if the key is for it.
fn room_of(call: &Call, channel: &str) -> Result<Arc<str>, Failure> {
    let world = call.live().now();
    let (room, _) = call.room(&world, channel)?;
    Ok(room.as_str().into())
}

async fn change(call: &Call, change: Change) -> Result<ModerationResult, Failure> {
    let moderation = call.live().now().moderation.clone();
    let changed = moderation.change(change).await;
    changed.map_err(|why| match why {
        NotChanged::NotKept => Failure::not_available(
            "nothing would keep it: set state_dir, or moderation = \"memory\"",
        ),
        NotChanged::Full(Full::All(_)) => Failure::limit(
            "there are as many as there may be (blocks_max, mutes_max, revocations_max)",
        ),
        NotChanged::Full(Full::OfUser) => {
            Failure::limit("the user is muted in as many rooms as one may be")
        }
        NotChanged::Unwritten => Failure::INTERNAL,
    })?;
    Ok(ModerationResult {})
}

/// Has connections look whether they are still to be here. A core that has no space for that is told again.
async fn tell(call: &Call, user: Option<&str>) -> Result<(), Failure> {
    for _ in 0..TRIES {
        if call.live().moderate(user).is_ok() {
            return Ok(());
        }
        time::sleep(PAUSE).await;
    }
    Err(Failure::FULL)
}

impl Request for BlockUserRequest {
    type Result = ModerationResult;
    const NAME: &'static str = "block_user";
    const WORDS: &'static str =
        "Keeps a user out: closes its connections, and lets in no others until the block is over.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ModerationResult, Failure> {
        let (user, until) = (user_of(self.user)?, until_of(self.expire_at)?);
        let block = Change::Block {
            user: user.clone(),
            until,
        };
        let changed = change(&call, block).await?;
        tell(&call, Some(&user)).await?;
        Ok(changed)
    }
}

impl Request for UnblockUserRequest {
    type Result = ModerationResult;
    const NAME: &'static str = "unblock_user";
    const WORDS: &'static str = "Lets a user in again.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ModerationResult, Failure> {
        let user = user_of(self.user)?;
        change(&call, Change::Unblock { user }).await
    }
}

impl Request for MuteUserRequest {
    type Result = ModerationResult;
    const NAME: &'static str = "mute_user";
    const WORDS: &'static str =
        "Keeps a user from publishing in a room, where it still hears everything.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<ModerationResult, Failure> {
        let (user, until) = (user_of(self.user)?, until_of(self.expire_at)?);
        let room = room_of(&call, &self.channel)?;
        change(&call, Change::Mute { user, room, until }).await
    }
}

impl Request for UnmuteUserRequest {
    type Result = ModerationResult;
    const NAME: &'static str = "unmute_user";
    const WORDS: &'static str =
        "Lets a user publish in a room again, as far as the room's rules do.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<ModerationResult, Failure> {
        let user = user_of(self.user)?;
        let room = room_of(&call, &self.channel)?;
        change(&call, Change::Unmute { user, room }).await
    }
}

impl Request for RevokeTokensRequest {
    type Result = ModerationResult;
    const NAME: &'static str = "revoke_tokens";
    const WORDS: &'static str = "Has tokens of a user, or of all users, hold no longer that were issued before a time, and closes connections that came with one.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ModerationResult, Failure> {
        let user = match (self.all, &*self.user) {
            (true, "") => "".into(),
            (true, _) => return Err(Failure::bad("user and all contradict each other")),
            (false, _) => user_of(self.user)?,
        };
        let now_s = now_s();
        let before = self.issued_before.unwrap_or(now_s);
        match before {
            0 => return change(&call, Change::Unrevoke { user }).await,
            _ if before > now_s + AHEAD_MAX_S => {
                return Err(Failure::bad(
                    "issued_before is more than five minutes ahead: it is in seconds since 1970",
                ));
            }
            _ => {}
        }
        let until = until_of(self.expire_at)?;
        let revocation = Revocation { before, until };
        let revoke = Change::Revoke {
            user: user.clone(),
            revocation,
        };
        let changed = change(&call, revoke).await?;
        tell(&call, Some(&*user).filter(|user| !user.is_empty())).await?;
        Ok(changed)
    }
}

impl Part {
    fn most(&self) -> usize {
        match self.limit {
            0 => LISTED_MAX,
            limit => LISTED_MAX.min(limit as usize),
        }
    }
}

/// As many entries as are wanted, of one more, and where the list goes on behind them.
fn part_of<T>(
    mut entries: Vec<T>,
    most: usize,
    cursor: impl FnOnce(&T) -> String,
) -> (Vec<T>, String) {
    let is_cut = entries.len() > most;
    entries.truncate(most);
    let last = entries.last().filter(|_| is_cut);
    let cursor = last.map(cursor).unwrap_or_default();
    (entries, cursor)
}

impl Request for ListBlocksRequest {
    type Result = ListBlocksResult;
    const NAME: &'static str = "list_blocks";
    const WORDS: &'static str = "Lists the users that are blocked.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ListBlocksResult, Failure> {
        let most = self.part.most();
        let moderation = &call.live().now().moderation;
        let blocks = moderation.blocks(&self.part.cursor, most + 1);
        let (blocks, cursor) = part_of(blocks, most, |(user, _)| user.to_string());
        let blocks = blocks.into_iter();
        let blocks = blocks.map(|(user, expire_at)| Block {
            user: user.to_string(),
            expire_at,
        });
        Ok(ListBlocksResult {
            blocks: blocks.collect(),
            cursor,
        })
    }
}

impl Request for ListMutesRequest {
    type Result = ListMutesResult;
    const NAME: &'static str = "list_mutes";
    const WORDS: &'static str = "Lists the users that are muted, and in which rooms.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ListMutesResult, Failure> {
        let most = self.part.most();
        let moderation = &call.live().now().moderation;
        // No name of a room has a slash.
        let (room, user) = self.part.cursor.split_once('/').unwrap_or_default();
        let mutes = moderation.mutes((user, room), most + 1);
        let (mutes, cursor) = part_of(mutes, most, |(user, room, _)| format!("{room}/{user}"));
        let mutes = mutes.into_iter().map(|(user, channel, expire_at)| Mute {
            user: user.to_string(),
            channel: channel.to_string(),
            expire_at,
        });
        Ok(ListMutesResult {
            mutes: mutes.collect(),
            cursor,
        })
    }
}

impl Request for ListRevocationsRequest {
    type Result = ListRevocationsResult;
    const NAME: &'static str = "list_revocations";
    const WORDS: &'static str = "Lists whose tokens hold no longer, and which.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<ListRevocationsResult, Failure> {
        let most = self.part.most();
        let moderation = &call.live().now().moderation;
        // All users have the empty name, and come first.
        let behind = self.part.cursor.strip_prefix('/');
        let revocations = moderation.revocations(behind, most + 1);
        let (revocations, cursor) = part_of(revocations, most, |(user, _)| format!("/{user}"));
        let revocations = revocations.into_iter().map(|(user, it)| Revoked {
            all: user.is_empty(),
            user: user.to_string(),
            issued_before: it.before,
            expire_at: it.until,
        });
        Ok(ListRevocationsResult {
            revocations: revocations.collect(),
            cursor,
        })
    }
}
