//! `map_publish`, `map_remove`, `map_read_state`, `map_stats` and `map_clear`: rooms that have the latest message of each
//! key.

use std::{collections::BTreeMap, sync::Arc};

use access::namespace::{KEY_BYTES_MAX, RoomKind};
use bytes::Bytes;
use codec::Kind;
use hub::{Answer, Keyed, Numbered, Position, Question, RoomName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Request, Scope,
    history::Publication,
    publish::{Message, Options},
};
use crate::{
    api::{
        call::Call,
        failure::Failure,
        json::{Json, present, whole},
    },
    protocols::epoch_text,
};

/// Keys in an answer, unless a request wants fewer.
const ENTRIES_MAX: usize = 1_000;

/// A value for a key.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MapPublishRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// The key.
    #[serde(default)]
    key: String,
    /// The value.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    data: Option<Json>,
    /// The value in base64, in place of `data`, if it is not JSON.
    #[serde(default)]
    b64data: String,
    /// What subscribers are told beside it.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Within five minutes the same value with the same key of this kind is set once.
    #[serde(default)]
    idempotency_key: String,
    /// A value whose version is not above the room's latest of the same `version_epoch` is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    version: u64,
    /// What versions are compared within.
    #[serde(default)]
    version_epoch: String,
    /// Not available: a value is set whether or not the key exists.
    #[serde(default)]
    key_mode: String,
}

/// A key to be removed.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MapRemoveRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// The key.
    #[serde(default)]
    key: String,
    /// Within five minutes the same removal with the same key of this kind is done once.
    #[serde(default)]
    idempotency_key: String,
}

/// The place of a change in its room.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MapResult {
    offset: u64,
    epoch: String,
}

/// A request for the keys of a room and their values.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MapReadStateRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// Only this key, unless it is empty.
    #[serde(default)]
    key: String,
    /// Where the list goes on: what the last answer says.
    #[serde(default)]
    cursor: String,
    /// Most keys; 0 for as many as may be.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    limit: u64,
}

/// Keys of a room and their values, in the order of the keys.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MapReadStateResult {
    entries: Vec<Entry>,
    /// The position of the room's latest change.
    offset: u64,
    epoch: String,
    /// Where the list goes on; empty at its end.
    #[serde(skip_serializing_if = "String::is_empty")]
    cursor: String,
}

/// A key and its value.
#[derive(Serialize, ToSchema)]
struct Entry {
    key: String,
    #[serde(flatten)]
    publication: Publication,
}

/// A request for how many keys a room has.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MapStatsRequest {
    /// The room.
    #[serde(default)]
    channel: String,
}

/// How many keys a room has.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MapStatsResult {
    num_keys: usize,
}

/// A request to remove all keys of a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct MapClearRequest {
    /// The room.
    #[serde(default)]
    channel: String,
}

/// Nothing: all keys are removed.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct MapClearResult {}

impl MapResult {
    fn of(position: Position) -> Self {
        Self {
            offset: position.offset,
            epoch: epoch_text(position.epoch),
        }
    }
}

impl Request for MapPublishRequest {
    type Result = MapResult;
    const NAME: &'static str = "map_publish";
    const WORDS: &'static str =
        "Sets the value of a key in a room that has the latest message of each key.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<MapResult, Failure> {
        if !self.key_mode.is_empty() {
            return Err(Failure::not_available("key_mode"));
        }
        let key = checked_key(&self.key)?;
        let options = Options {
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            version: (self.version, self.version_epoch),
            skips_history: false,
        };
        let message = Message::of((self.data, &self.b64data), options)?;
        let (room, kind) = {
            let world = call.live().now();
            let (room, rules) = map_of(&call, &world, &self.channel)?;
            (room, message.kind(rules.form)?)
        };
        let details = message.details(Some(Keyed {
            key: key.into(),
            is_removed: false,
        }));
        let payload = (kind, message.payload.clone());
        let placed = call
            .rooms()
            .publish(room, payload, Arc::new(details))
            .await?;
        Ok(MapResult::of(placed))
    }
}

impl Request for MapRemoveRequest {
    type Result = MapResult;
    const NAME: &'static str = "map_remove";
    const WORDS: &'static str =
        "Removes a key from a room that has the latest message of each key.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<MapResult, Failure> {
        let key = checked_key(&self.key)?;
        let message = Message::removal(&self.idempotency_key)?;
        let room = map(&call, &self.channel)?;
        let details = message.details(Some(Keyed {
            key: key.into(),
            is_removed: true,
        }));
        let payload = (Kind::Text, Bytes::new());
        let placed = call
            .rooms()
            .publish(room, payload, Arc::new(details))
            .await?;
        Ok(MapResult::of(placed))
    }
}

impl Request for MapReadStateRequest {
    type Result = MapReadStateResult;
    const NAME: &'static str = "map_read_state";
    const WORDS: &'static str = "Tells the keys of a room and their values.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<MapReadStateResult, Failure> {
        let room = map(&call, &self.channel)?;
        let (top, messages) = table(&call, room).await?;
        let most = match self.limit {
            0 => ENTRIES_MAX,
            limit => ENTRIES_MAX.min(limit as usize),
        };
        let keyed = messages.iter().filter_map(|(offset, record)| {
            let key = &*record.keyed()?.key;
            // The cursor is the last key that was told.
            let is_wanted = match &*self.key {
                "" => self.cursor.is_empty() || key > &*self.cursor,
                wanted => key == wanted,
            };
            is_wanted.then_some((key, offset, record))
        });
        let mut entries: Vec<_> = keyed
            .take(most + 1)
            .map(|(key, offset, record)| Entry {
                key: key.to_owned(),
                publication: Publication::of(*offset, record),
            })
            .collect();
        let has_more = entries.len() > most;
        entries.truncate(most);
        let last = entries.last().filter(|_| has_more);
        Ok(MapReadStateResult {
            cursor: last.map(|entry| entry.key.clone()).unwrap_or_default(),
            entries,
            offset: top.offset,
            epoch: epoch_text(top.epoch),
        })
    }
}

impl Request for MapStatsRequest {
    type Result = MapStatsResult;
    const NAME: &'static str = "map_stats";
    const WORDS: &'static str = "Tells how many keys a room has.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<MapStatsResult, Failure> {
        let room = map(&call, &self.channel)?;
        let (_, messages) = table(&call, room).await?;
        let num_keys = messages.len();
        Ok(MapStatsResult { num_keys })
    }
}

impl Request for MapClearRequest {
    type Result = MapClearResult;
    const NAME: &'static str = "map_clear";
    const WORDS: &'static str = "Removes all keys of a room. Its subscribers are told each.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<MapClearResult, Failure> {
        let room = map(&call, &self.channel)?;
        call.rooms().answer(room, Question::ClearTable).await?;
        Ok(MapClearResult {})
    }
}

/// The room of this name, if its messages have keys.
fn map(call: &Call, channel: &str) -> Result<RoomName, Failure> {
    let world = call.live().now();
    Ok(map_of(call, &world, channel)?.0)
}

fn map_of<'w>(
    call: &Call,
    world: &'w crate::world::World,
    channel: &str,
) -> Result<(RoomName, &'w access::Namespace), Failure> {
    let (room, rules) = call.room(world, channel)?;
    match rules.rules.kind {
        RoomKind::LatestPerKey => Ok((room, rules.rules)),
        RoomKind::Messages => Err(Failure::not_available("messages of this room have no keys")),
    }
}

async fn table(call: &Call, room: RoomName) -> Result<(Position, Numbered), Failure> {
    match call.rooms().answer(room, Question::Table).await? {
        Answer::History { top, messages } => Ok((top, messages)),
        _ => Err(Failure::INTERNAL),
    }
}

fn checked_key(key: &str) -> Result<&str, Failure> {
    match key.len() {
        0 => Err(Failure::bad("key is missing")),
        1..=KEY_BYTES_MAX => Ok(key),
        _ => Err(Failure::bad("key has more than 255 bytes")),
    }
}
