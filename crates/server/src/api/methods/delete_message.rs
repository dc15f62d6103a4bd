//! `delete_message`: a tombstone in place of one message.

use std::sync::Arc;

use access::namespace::RoomKind;
use bytes::Bytes;
use centrifuge::Publication;
use codec::Kind;
use hub::{Answer, Details, Page, Publisher, Question, RoomName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::{
    api::{call::Call, failure::Failure, json::whole},
    protocols::{epoch_named, epoch_text},
};

/// The tag that says which message is gone.
const TAG: &str = "erased";

/// A message that is to be gone.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct DeleteMessageRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// The number of the message.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    offset: u64,
    /// What the number belongs to; empty for whichever there is.
    #[serde(default)]
    epoch: String,
}

/// The place of the message that tells of it.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct DeleteMessageResult {
    offset: u64,
    epoch: String,
}

impl Request for DeleteMessageRequest {
    type Result = DeleteMessageResult;
    const NAME: &'static str = "delete_message";
    const WORDS: &'static str = "Deletes one message: the history has null in its place, and subscribers are told which by the tag `erased`.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<DeleteMessageResult, Failure> {
        let room = room_of(&call, &self.channel)?;
        self.check(&call, room.clone()).await?;
        let offset = self.offset.to_string();
        let details = Details {
            meta: Publication::meta(None, &[(TAG, &offset)]).into(),
            publisher: Publisher::Unlimited,
            erases: Some(self.offset),
            ..Details::default()
        };
        let message = (Kind::Text, Bytes::from_static(b"null"));
        let told = call.rooms().publish(room, message, Arc::new(details));
        let told = told.await?;
        Ok(DeleteMessageResult {
            offset: told.offset,
            epoch: epoch_text(told.epoch),
        })
    }
}

impl DeleteMessageRequest {
    /// Whether the room has had such a message.
    async fn check(&self, call: &Call, room: RoomName) -> Result<(), Failure> {
        let page = Page {
            since: None,
            limit: 0,
            is_reversed: false,
        };
        let question = Question::History(Box::new(page));
        let Answer::History { top, .. } = call.rooms().answer(room, question).await? else {
            return Err(Failure::INTERNAL);
        };
        if !self.epoch.is_empty() && epoch_named(&self.epoch) != Some(top.epoch) {
            return Err(Failure::other_epoch());
        }
        match self.offset {
            0 => Err(Failure::bad("offset is missing")),
            offset if offset > top.offset => {
                Err(Failure::bad("the room has had no message of this offset"))
            }
            _ => Ok(()),
        }
    }
}

/// The room, if its messages are known by their numbers.
fn room_of(call: &Call, channel: &str) -> Result<RoomName, Failure> {
    let world = call.live().now();
    let (name, room) = call.room(&world, channel)?;
    if room.rules.kind == RoomKind::LatestPerKey {
        return Err(Failure::not_available(
            "the room has keys: publish another value of the key, or remove it",
        ));
    }
    if room.rules.oneshot.is_some() || !world.has_positions(channel) {
        return Err(Failure::not_available(
            "messages of this room have no positions",
        ));
    }
    Ok(name)
}
