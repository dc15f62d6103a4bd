//! `history` and `history_remove`: what a room keeps of its messages.

use std::{borrow::Cow, collections::BTreeMap};

use centrifuge::{Encoding, Meta};
use hub::{Answer, Page, Question, Record, RoomName, Since};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope, presence::Client};
use crate::{
    api::{
        call::Call,
        failure::Failure,
        json::{Json, object, whole},
    },
    protocols::{data_of, epoch_named, epoch_text},
};

/// A request for a part of a room's past.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct HistoryRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// Most messages: none with 0, and as many as there may be in an answer with -1.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -2147483648, maximum = 2147483647)]
    limit: i32,
    /// The position beside which the messages begin.
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = PositionOf)]
    since: Option<PositionOf>,
    /// Whether newer messages come first.
    #[serde(default)]
    reverse: bool,
}

/// A position in a room.
#[derive(Deserialize, ToSchema)]
pub(super) struct PositionOf {
    /// The number of a message.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    pub(super) offset: u64,
    /// What it belongs to; empty for whichever there is.
    #[serde(default)]
    pub(super) epoch: String,
}

/// A part of a room's past.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct HistoryResult {
    publications: Vec<Publication>,
    /// The position of the room's latest message.
    offset: u64,
    epoch: String,
}

/// A message that is kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Publication {
    data: Json,
    /// Who has published it, unless a back end has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Client)]
    info: Option<Client>,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

/// A request to forget the messages of a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct HistoryRemoveRequest {
    /// The room.
    #[serde(default)]
    channel: String,
}

/// Nothing.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct HistoryRemoveResult {}

impl Publication {
    /// A message at this offset.
    pub(super) fn of(offset: u64, record: &Record) -> Self {
        let meta = Meta::read(record.meta()).unwrap_or_default();
        let data = data_of(Encoding::Json, runtime::kind_of(record), &record.payload);
        let text = |it: Cow<'_, str>| it.into_owned();
        let tags = meta.tags.into_iter();
        Self {
            data: Json::of(&data).unwrap_or_else(Json::null),
            info: meta.info.as_ref().map(Client::of),
            offset,
            tags: tags.map(|(key, value)| (text(key), text(value))).collect(),
        }
    }
}

impl Request for HistoryRequest {
    type Result = HistoryResult;
    const NAME: &'static str = "history";
    const WORDS: &'static str =
        "Tells what a room keeps of its messages, and the position of the latest.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<HistoryResult, Failure> {
        let room = room_with_history(&call, &self.channel)?;
        let since = self.since.as_ref();
        if self.reverse && since.is_some_and(|since| since.offset == 0) {
            return Err(Failure::bad("there is nothing before offset 0"));
        }
        let page = Page {
            since: since.map(|since| Since {
                epoch: epoch_named(&since.epoch),
                offset: since.offset,
            }),
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
            is_reversed: self.reverse,
        };
        let question = Question::History(Box::new(page));
        match call.rooms().answer(room, question).await? {
            Answer::History { top, messages } => Ok(HistoryResult {
                publications: messages
                    .iter()
                    .map(|(offset, record)| Publication::of(*offset, record))
                    .collect(),
                offset: top.offset,
                epoch: epoch_text(top.epoch),
            }),
            _ => Err(Failure::INTERNAL),
        }
    }
}

impl Request for HistoryRemoveRequest {
    type Result = HistoryRemoveResult;
    const NAME: &'static str = "history_remove";
    const WORDS: &'static str = "Has a room forget its messages. Positions stay.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<HistoryRemoveResult, Failure> {
        let room = room_with_history(&call, &self.channel)?;
        call.rooms().answer(room, Question::ForgetHistory).await?;
        Ok(HistoryRemoveResult {})
    }
}

fn room_with_history(call: &Call, channel: &str) -> Result<RoomName, Failure> {
    let world = call.live().now();
    let (room, rules) = call.room(&world, channel)?;
    match rules.rules.history.is_kept() {
        true => Ok(room),
        false => Err(Failure::not_available(
            "rooms of this namespace keep no history",
        )),
    }
}
