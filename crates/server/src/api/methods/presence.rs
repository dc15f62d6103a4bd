//! `presence` and `presence_stats`: who is in a room, and how many.

use std::collections::BTreeMap;

use centrifuge::ClientInfo;
use hub::{Answer, Question};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::api::{call::Call, failure::Failure, json::Json};

/// A request for who is in a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct PresenceRequest {
    /// The room.
    #[serde(default)]
    channel: String,
}

/// Who is in a room, by the ids of their connections.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct PresenceResult {
    presence: BTreeMap<String, Client>,
}

/// A connection, as others see it.
#[derive(Serialize, ToSchema)]
pub(super) struct Client {
    user: String,
    client: String,
    /// What its token says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Json)]
    conn_info: Option<Json>,
    /// What its subscription token says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Json)]
    chan_info: Option<Json>,
}

/// A request for how many are in a room.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct PresenceStatsRequest {
    /// The room.
    #[serde(default)]
    channel: String,
}

/// How many are in a room.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct PresenceStatsResult {
    /// Connections.
    num_clients: usize,
    /// Different users.
    num_users: usize,
}

impl Client {
    pub(super) fn of(info: &ClientInfo<'_>) -> Self {
        Self {
            user: info.user.to_string(),
            client: info.client.to_string(),
            conn_info: info.conn_info.and_then(Json::of),
            chan_info: info.chan_info.and_then(Json::of),
        }
    }
}

impl Request for PresenceRequest {
    type Result = PresenceResult;
    const NAME: &'static str = "presence";
    const WORDS: &'static str = "Tells who is in a room.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<PresenceResult, Failure> {
        let Answer::Members(members) = ask(&call, &self.channel, Question::Members).await? else {
            return Err(Failure::INTERNAL);
        };
        let clients = members.iter().map(|member| {
            let info = ClientInfo::from_protobuf(&member.info).unwrap_or_default();
            (info.client.to_string(), Client::of(&info))
        });
        let presence = clients.collect();
        Ok(PresenceResult { presence })
    }
}

impl Request for PresenceStatsRequest {
    type Result = PresenceStatsResult;
    const NAME: &'static str = "presence_stats";
    const WORDS: &'static str = "Tells how many are in a room.";
    const SCOPE: Scope = Scope::Rooms;

    async fn carry_out(self, call: Call) -> Result<PresenceStatsResult, Failure> {
        match ask(&call, &self.channel, Question::MemberCounts).await? {
            Answer::MemberCounts { members, users } => Ok(PresenceStatsResult {
                num_clients: members,
                num_users: users,
            }),
            _ => Err(Failure::INTERNAL),
        }
    }
}

async fn ask(call: &Call, channel: &str, question: Question) -> Result<Answer, Failure> {
    let room = {
        let world = call.live().now();
        let (room, rules) = call.room(&world, channel)?;
        if !rules.rules.presence {
            return Err(Failure::not_available(
                "presence is off in the room's namespace",
            ));
        }
        room
    };
    call.rooms().answer(room, question).await
}
