//! `publish` and `broadcast`: a message for one room, or the same for several.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use access::{
    Namespace,
    namespace::{Form, RoomKind},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use centrifuge::{Publication, is_json, is_json_object};
use codec::Kind;
use futures_util::{StreamExt as _, stream};
use hub::{Details, Keyed, Position, Publisher, RoomName, Version};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::{
    api::{
        call::Call,
        failure::{Error, Failure},
        json::{Json, present, whole},
    },
    idempotency,
    oneshot::NoPublication,
    protocols::epoch_text,
};

/// Most rooms of a broadcast.
const ROOMS_MAX: usize = 10_000;

/// Messages of one broadcast that are on their way at once.
const AT_ONCE: usize = 128;

/// A message for a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct PublishRequest {
    /// The room.
    #[serde(default)]
    channel: String,
    /// The message.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    data: Option<Json>,
    /// The message in base64, in place of `data`, if it is not JSON.
    #[serde(default)]
    b64data: String,
    /// What subscribers are told beside it.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Within five minutes the same message with the same key has one place in the room.
    #[serde(default)]
    idempotency_key: String,
    /// Whether the history does not keep it.
    #[serde(default)]
    skip_history: bool,
    /// A message whose version is not above the room's latest of the same `version_epoch` is left out, and answered
    /// with the position of the latest message: the last writer wins.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    version: u64,
    /// What versions are compared within.
    #[serde(default)]
    version_epoch: String,
}

/// The same message for several rooms.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct BroadcastRequest {
    /// The rooms.
    #[serde(default)]
    channels: Vec<String>,
    /// The message.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    data: Option<Json>,
    /// The message in base64, in place of `data`, if it is not JSON.
    #[serde(default)]
    b64data: String,
    /// What subscribers are told beside it.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Within five minutes the same message with the same key has one place in each room.
    #[serde(default)]
    idempotency_key: String,
    /// Whether the history does not keep it.
    #[serde(default)]
    skip_history: bool,
    /// A message whose version is not above the room's latest of the same `version_epoch` is left out, and answered
    /// with the position of the latest message: the last writer wins.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    version: u64,
    /// What versions are compared within.
    #[serde(default)]
    version_epoch: String,
}

/// The place of a message in its room.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct PublishResult {
    /// Its number, where messages of the room have positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// What the number belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
}

/// What has become of the message in each room, in their order.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct BroadcastResult {
    responses: Vec<Outcome>,
}

/// The place of a message, or why it has none.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(PublishResult),
    Error(Error),
}

/// A message, whichever rooms it is for.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) payload: Bytes,
    is_json: bool,
    kind: Kind,
    options: Arc<Options>,
}

/// What stands beside a message.
#[derive(Default)]
pub(super) struct Options {
    pub(super) tags: BTreeMap<String, String>,
    pub(super) idempotency_key: String,
    /// The version and its epoch; no version, if both are as they are by default.
    pub(super) version: (u64, String),
    pub(super) skips_history: bool,
}

impl Options {
    /// # Errors
    /// What is too long.
    fn checked(self) -> Result<Arc<Self>, Failure> {
        if self.idempotency_key.len() > idempotency::KEY_BYTES_MAX {
            return Err(Failure::bad("the idempotency key has more than 255 bytes"));
        }
        match self.version.1.len() {
            0..=Version::EPOCH_BYTES_MAX => Ok(Arc::new(self)),
            _ => Err(Failure::bad("version_epoch has more than 255 bytes")),
        }
    }
}

impl Message {
    /// The message of these parts of a request.
    pub(super) fn of(
        (data, b64data): (Option<Json>, &str),
        options: Options,
    ) -> Result<Self, Failure> {
        let options = options.checked()?;
        let (payload, is_json) =
            payload_of(data, b64data)?.ok_or(Failure::bad("data is missing"))?;
        Ok(Self {
            payload,
            is_json,
            kind: if is_json { Kind::Text } else { Kind::Binary },
            options,
        })
    }

    /// A message that is a body as it came: text, unless it is said or seen to be none.
    fn plain(payload: Bytes, is_binary: bool, idempotency_key: &str) -> Result<Self, Failure> {
        if payload.is_empty() {
            return Err(Failure::bad("the body is empty"));
        }
        let is_text = !is_binary && std::str::from_utf8(&payload).is_ok();
        Ok(Self {
            is_json: is_text && is_json(&payload),
            kind: if is_text { Kind::Text } else { Kind::Binary },
            payload,
            ..Self::removal(idempotency_key)?
        })
    }

    /// A message without a payload.
    pub(super) fn removal(idempotency_key: &str) -> Result<Self, Failure> {
        let options = Options {
            idempotency_key: idempotency_key.to_owned(),
            ..Options::default()
        };
        Ok(Self {
            payload: Bytes::new(),
            is_json: false,
            kind: Kind::Text,
            options: options.checked()?,
        })
    }

    /// Whether it is text or binary, if it has the form of the room's messages.
    pub(super) fn kind(&self, form: Form) -> Result<Kind, Failure> {
        let is_permitted = match form {
            Form::Any | Form::Binary => true,
            Form::Json => self.is_json,
            Form::JsonObject => self.is_json && is_json_object(&self.payload),
        };
        match is_permitted {
            false => Err(Failure::bad("data has not the form of the room's messages")),
            true => Ok(self.kind),
        }
    }

    /// What stands beside it, if it sets or removes this key.
    pub(super) fn details(&self, keyed: Option<Keyed>) -> Details {
        let options = &*self.options;
        let tags = options.tags.iter();
        let tags: Vec<_> = tags.map(|(key, value)| (&**key, &**value)).collect();
        let meta = Publication::meta(None, &tags);
        let key = &options.idempotency_key;
        let of = || idempotency::of(key, &self.payload, &meta, keyed.as_ref());
        let idempotency = (!key.is_empty()).then(of);
        let (version, epoch) = &options.version;
        let has_version = *version > 0 || !epoch.is_empty();
        Details {
            meta: meta.into(),
            idempotency,
            publisher: Publisher::Unlimited,
            version: has_version.then(|| Version {
                epoch: epoch.as_str().into(),
                version: *version,
            }),
            skips_history: options.skips_history,
            keyed,
            ..Details::default()
        }
    }
}

/// The bytes of a payload, and whether they are JSON; `None` if there are none.
pub(super) fn payload_of(
    data: Option<Json>,
    b64data: &str,
) -> Result<Option<(Bytes, bool)>, Failure> {
    if !b64data.is_empty() {
        let bytes = BASE64_STANDARD.decode(b64data);
        let bytes = bytes.map_err(|_| Failure::bad("b64data is no base64"))?;
        let is_json = is_json(&bytes);
        return Ok(Some((bytes.into(), is_json)));
    }
    let Some(data) = data else { return Ok(None) };
    match data.is_flat_enough() {
        true => Ok(Some((data.text().to_owned().into(), true))),
        false => Err(Failure::bad("data nests too deep")),
    }
}

impl Request for PublishRequest {
    type Result = PublishResult;
    const NAME: &'static str = "publish";
    const WORDS: &'static str =
        "Publishes a message in a room. It is answered once the message has its place there.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<PublishResult, Failure> {
        let options = Options {
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            version: (self.version, self.version_epoch),
            skips_history: self.skip_history,
        };
        let message = Message::of((self.data, &self.b64data), options)?;
        publish(&call, &self.channel, &message).await
    }
}

impl Request for BroadcastRequest {
    type Result = BroadcastResult;
    const NAME: &'static str = "broadcast";
    const WORDS: &'static str = "Publishes the same message in several rooms. It is answered once it has its place in each.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<BroadcastResult, Failure> {
        match self.channels.len() {
            0 => return Err(Failure::bad("channels is missing")),
            1..=ROOMS_MAX => call.charge_more(self.channels.len() - 1),
            _ => return Err(Failure::bad("channels has more than 10000 rooms")),
        }
        let options = Options {
            tags: self.tags,
            idempotency_key: self.idempotency_key,
            version: (self.version, self.version_epoch),
            skips_history: self.skip_history,
        };
        let message = Message::of((self.data, &self.b64data), options)?;
        let published = stream::iter(self.channels)
            .map(|channel| {
                let (call, message) = (call.clone(), message.clone());
                async move { publish(&call, &channel, &message).await }
            })
            .buffered(AT_ONCE);
        let outcomes = published.map(|published| match published {
            Ok(result) => Outcome::Result(result),
            Err(failure) => Outcome::Error(failure.error()),
        });
        let responses = outcomes.collect().await;
        Ok(BroadcastResult { responses })
    }
}

/// Publishes a body as it is. Its type may say that it is no text.
pub(in crate::api) async fn publish_body(
    call: &Call,
    channel: &str,
    (body, is_binary): (Bytes, bool),
    idempotency_key: &str,
) -> Result<PublishResult, Failure> {
    let message = Message::plain(body, is_binary, idempotency_key)?;
    publish(call, channel, &message).await
}

/// Publishes a message in the room of this name.
pub(super) async fn publish(
    call: &Call,
    channel: &str,
    message: &Message,
) -> Result<PublishResult, Failure> {
    let (room, kind, is_one_shot, has_positions) = {
        let world = call.live().now();
        let (room, rules) = call.room(&world, channel)?;
        let kind = checked(rules.rules, message)?;
        let is_one_shot = rules.rules.oneshot.is_some();
        (room, kind, is_one_shot, world.has_positions(channel))
    };
    let published = match is_one_shot {
        true => publish_once(call, room, (kind, message)).await?,
        false => {
            let details = Arc::new(message.details(None));
            let payload = (kind, message.payload.clone());
            call.rooms().publish(room, payload, details).await?
        }
    };
    Ok(PublishResult::of(published, has_positions))
}

fn checked(rules: &Namespace, message: &Message) -> Result<Kind, Failure> {
    match rules.kind {
        RoomKind::Messages => message.kind(rules.form),
        RoomKind::LatestPerKey => Err(Failure::not_available("messages of this room have keys")),
    }
}

/// Publishes the one message of a one-shot room, if its place is free.
async fn publish_once(
    call: &Call,
    room: RoomName,
    (kind, message): (Kind, &Message),
) -> Result<Position, Failure> {
    let one_shots = call.live().one_shots.clone();
    let mut is_taken = false;
    let take = || {
        one_shots.take(&room, Instant::now()).map_err(no_place)?;
        is_taken = true;
        Ok(())
    };
    let details = Arc::new(message.details(None));
    let payload = (kind, message.payload.clone());
    let published = call
        .rooms()
        .publish_if(take, room.clone(), payload, details)
        .await;
    match &published {
        Ok(_) => one_shots.answered(&room),
        Err(failure) if is_taken && failure.is_certain() => one_shots.give_back(&room),
        // It may still come.
        Err(_) => {}
    }
    published
}

fn no_place(refusal: NoPublication) -> Failure {
    match refusal {
        NoPublication::Over => Failure::not_available("there is no such one-shot room any more"),
        NoPublication::Taken => Failure::conflict("the room has its message"),
    }
}

impl PublishResult {
    pub(super) fn of(position: Position, is_told: bool) -> Self {
        Self {
            offset: is_told.then_some(position.offset),
            epoch: is_told.then(|| epoch_text(position.epoch)),
        }
    }
}
