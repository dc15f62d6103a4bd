//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: orders for a user's connections.

use std::sync::Arc;

use access::{
    namespace::RoomKind,
    token::{Overrides, Payload, ServerSubscription},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use centrifuge::Disconnect;
use codec::CloseCode;
use hub::Since;
use runtime::Command;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope, history::PositionOf};
use crate::{
    api::{
        call::Call,
        failure::Failure,
        json::{Json, object, present, whole},
        orders::{Order, Refreshing, Subscribing, What, Whom},
    },
    protocols::epoch_named,
    reasons,
};

/// Most connections that an order may leave out.
const EXCEPT_MAX: usize = 1_000;

/// The longest reason that a close frame has room for.
const REASON_BYTES_MAX: usize = 123;

/// Nothing: the order is given.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct OrderResult {}

/// An order to go into a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct SubscribeRequest {
    /// Whose connections; those without a name, if it is empty.
    #[serde(default)]
    user: String,
    /// The room.
    #[serde(default)]
    channel: String,
    /// Only the connection with this id.
    #[serde(default)]
    client: String,
    /// Only the one with this session.
    #[serde(default)]
    session: String,
    /// What others see of the connection in this room.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    info: Option<Json>,
    /// The same as bytes in base64.
    #[serde(default)]
    b64info: String,
    /// What the connection is handed.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    data: Option<Json>,
    /// The same as bytes in base64.
    #[serde(default)]
    b64data: String,
    /// When the subscription is over, in seconds since 1970; 0 for never.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    expire_at: i64,
    /// From where on it is given what it has missed, if the room recovers that.
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = PositionOf)]
    recover_since: Option<PositionOf>,
    /// What it has beyond the rules of the room.
    #[serde(default, rename = "override", deserialize_with = "object")]
    #[schema(value_type = Override)]
    overrides: Option<Override>,
}

/// Options of a namespace that are others for one subscription.
#[derive(Deserialize, ToSchema)]
struct Override {
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = BoolValue)]
    presence: Option<BoolValue>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = BoolValue)]
    join_leave: Option<BoolValue>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = BoolValue)]
    force_push_join_leave: Option<BoolValue>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = BoolValue)]
    force_positioning: Option<BoolValue>,
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = BoolValue)]
    force_recovery: Option<BoolValue>,
}

/// Whether an option is on.
#[derive(Deserialize, ToSchema)]
struct BoolValue {
    #[serde(default)]
    value: bool,
}

/// An order to leave a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct UnsubscribeRequest {
    /// Whose connections; those without a name, if it is empty.
    #[serde(default)]
    user: String,
    /// The room; all, if it is empty.
    #[serde(default)]
    channel: String,
    /// Only the connection with this id.
    #[serde(default)]
    client: String,
    /// Only the one with this session.
    #[serde(default)]
    session: String,
}

/// An order to end.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct DisconnectRequest {
    /// Whose connections; those without a name, if it is empty.
    #[serde(default)]
    user: String,
    /// Only the connection with this id.
    #[serde(default)]
    client: String,
    /// Only the one with this session.
    #[serde(default)]
    session: String,
    /// The ids of connections that stay.
    #[serde(default)]
    whitelist: Vec<String>,
    /// How they are told.
    #[serde(default, deserialize_with = "object")]
    #[schema(value_type = DisconnectReason)]
    disconnect: Option<DisconnectReason>,
}

/// How a connection is told that it has to end.
#[derive(Deserialize, ToSchema)]
struct DisconnectReason {
    /// 3000 to 4999. SDKs connect again unless it is 3500 to 3999 or 4500 to 4999.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9223372036854775807_i64)]
    code: u64,
    /// For people.
    #[serde(default)]
    reason: String,
}

/// An order to have another time to live.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RefreshRequest {
    /// Whose connections; those without a name, if it is empty.
    #[serde(default)]
    user: String,
    /// Only the connection with this id.
    #[serde(default)]
    client: String,
    /// Only the one with this session.
    #[serde(default)]
    session: String,
    /// Whether their time is over.
    #[serde(default)]
    expired: bool,
    /// When it is, in seconds since 1970; 0 for never.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = -9223372036854775808_i64, maximum = 9223372036854775807_i64)]
    expire_at: i64,
    /// What others see of the connection from now on.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Json)]
    info: Option<Json>,
}

impl Override {
    fn overrides(self) -> Overrides {
        let value = |option: Option<BoolValue>| option.map(|it| it.value);
        Overrides {
            presence: value(self.presence),
            join_leave: value(self.join_leave),
            force_push_join_leave: value(self.force_push_join_leave),
            force_positioning: value(self.force_positioning),
            force_recovery: value(self.force_recovery),
        }
    }
}

/// What a request attaches, as JSON or as bytes.
fn attached(json: Option<Json>, base64: &str) -> Result<Option<Payload>, Failure> {
    if !base64.is_empty() {
        let bytes = BASE64_STANDARD.decode(base64);
        let bytes = bytes.map_err(|_| Failure::bad("b64info or b64data is no base64"))?;
        return Ok(Some(Payload::Bytes(bytes.into())));
    }
    match json {
        Some(json) if !json.is_flat_enough() => Err(Failure::bad("info or data nests too deep")),
        json => Ok(json.map(|json| Payload::Json(json.text().into()))),
    }
}

fn whom(user: String, client: String, session: String) -> Whom {
    Whom {
        user: user.into(),
        client: client.into(),
        session: session.into(),
        except: Vec::new(),
    }
}

/// A time in seconds since 1970, of which 0 means never.
fn at(seconds: i64) -> Option<i64> {
    (seconds != 0).then_some(seconds)
}

/// Gives an order to all connections that it may mean.
fn give(call: &Call, whom: Whom, what: What) -> Result<OrderResult, Failure> {
    let commander = call.live().commander().ok_or(Failure::INTERNAL)?;
    let user = whom.user.clone();
    let command = Command::Hand(Arc::new(Order { whom, what }));
    let given = match &*user {
        // Those without a name are in no list.
        "" => commander.everyone(&command),
        user => commander.user(user, command),
    };
    match given {
        Ok(()) => Ok(OrderResult {}),
        Err(_) => Err(Failure::FULL),
    }
}

impl Request for SubscribeRequest {
    type Result = OrderResult;
    const NAME: &'static str = "subscribe";
    const WORDS: &'static str =
        "Has a user's connections go into a room, whatever its rules say of who may.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<OrderResult, Failure> {
        let room = {
            let world = call.live().now();
            let (room, rules) = call.room(&world, &self.channel)?;
            if rules.rules.kind == RoomKind::LatestPerKey || rules.rules.oneshot.is_some() {
                return Err(Failure::not_available(
                    "clients go into this room by themselves",
                ));
            }
            room
        };
        let subscribing = Subscribing {
            room,
            granted: ServerSubscription {
                info: attached(self.info, &self.b64info)?,
                data: attached(self.data, &self.b64data)?,
                overrides: self
                    .overrides
                    .map_or_else(Overrides::default, Override::overrides),
            },
            expires_at: at(self.expire_at),
            since: self.recover_since.map(|since| Since {
                epoch: epoch_named(&since.epoch),
                offset: since.offset,
            }),
        };
        let whom = whom(self.user, self.client, self.session);
        give(&call, whom, What::Subscribe(Box::new(subscribing)))
    }
}

impl Request for UnsubscribeRequest {
    type Result = OrderResult;
    const NAME: &'static str = "unsubscribe";
    const WORDS: &'static str = "Has a user's connections leave a room, or all rooms.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<OrderResult, Failure> {
        let room = match &*self.channel {
            "" if !call.is_for_all_rooms() => {
                return Err(Failure::denied("the key is not for all rooms"));
            }
            "" => None,
            channel => {
                let world = call.live().now();
                Some(call.room(&world, channel)?.0)
            }
        };
        let whom = whom(self.user, self.client, self.session);
        give(&call, whom, What::Unsubscribe(room))
    }
}

impl Request for DisconnectRequest {
    type Result = OrderResult;
    const NAME: &'static str = "disconnect";
    const WORDS: &'static str = "Ends a user's connections.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<OrderResult, Failure> {
        if self.whitelist.len() > EXCEPT_MAX {
            return Err(Failure::bad("whitelist has more than 1000 connections"));
        }
        let what = said(self.disconnect.as_ref())?;
        let except = self.whitelist.into_iter().map(Into::into).collect();
        let whom = Whom {
            except,
            ..whom(self.user, self.client, self.session)
        };
        give(&call, whom, what)
    }
}

/// How connections are told that they have to end.
fn said(reason: Option<&DisconnectReason>) -> Result<What, Failure> {
    let otherwise = Disconnect::ForceDisconnect;
    let (code, text) = match reason {
        None => (otherwise.code().into(), otherwise.reason()),
        Some(DisconnectReason { code: 0, reason }) if reason.is_empty() => {
            (otherwise.code().into(), otherwise.reason())
        }
        Some(reason) => (reason.code, reason.reason.as_str()),
    };
    if text.len() > REASON_BYTES_MAX {
        return Err(Failure::bad("disconnect.reason has more than 123 bytes"));
    }
    let is_permitted = (3000..5000).contains(&code);
    let code = u16::try_from(code).ok().filter(|_| is_permitted);
    let code = code.and_then(CloseCode::from_wire);
    Ok(What::Disconnect {
        code: code.ok_or(Failure::bad("disconnect.code is not 3000 to 4999"))?,
        reason: reasons::kept(text),
    })
}

impl Request for RefreshRequest {
    type Result = OrderResult;
    const NAME: &'static str = "refresh";
    const WORDS: &'static str =
        "Has a user's connections have another time to live, or be over at once.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, call: Call) -> Result<OrderResult, Failure> {
        let refreshing = Refreshing {
            is_expired: self.expired,
            expires_at: at(self.expire_at),
            info: attached(self.info, "")?,
        };
        let whom = whom(self.user, self.client, self.session);
        give(&call, whom, What::Refresh(refreshing))
    }
}
