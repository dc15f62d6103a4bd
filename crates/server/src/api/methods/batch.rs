//! `batch`: several commands in one call, one after the other or at once.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::task;
use utoipa::ToSchema;

use super::{Method, Request, Scope};
use crate::api::{
    call::Call,
    failure::{Error, Failure},
    json::Json,
};

/// Most commands of a batch.
const COMMANDS_MAX: usize = 10_000;

/// Commands of one batch that are carried out at once, if they may be.
const AT_ONCE: usize = 64;

/// Several commands.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct BatchRequest {
    /// Each command is an object with the name of its method, and its request under it.
    #[serde(default)]
    commands: Vec<Command>,
    /// Whether they may be carried out at once.
    #[serde(default)]
    parallel: bool,
}

/// The name of a method, and a request to it.
#[derive(Deserialize, ToSchema)]
#[serde(try_from = "BTreeMap<String, Json>")]
#[schema(value_type = BTreeMap<String, Object>)]
struct Command(BTreeMap<String, Json>);

/// What has become of each command, in their order: its result under the name of its method, or its `error`.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct BatchResult {
    #[schema(value_type = Vec<BTreeMap<String, Json>>)]
    replies: Vec<Reply>,
}

/// The result of a command under the name of its method, or its error.
#[derive(Serialize)]
#[serde(untagged)]
enum Reply {
    Done(BTreeMap<&'static str, Json>),
    Failed { error: Error },
}

impl TryFrom<BTreeMap<String, Json>> for Command {
    type Error = &'static str;

    fn try_from(named: BTreeMap<String, Json>) -> Result<Self, Self::Error> {
        match named.values().all(Json::is_object) {
            true => Ok(Self(named)),
            false => Err("a request within a batch is no JSON object"),
        }
    }
}

impl Request for BatchRequest {
    type Result = BatchResult;
    const NAME: &'static str = "batch";
    const WORDS: &'static str = "Carries out several commands, one after the other or at once.";
    const SCOPE: Scope = Scope::Rooms;
    // So it is in Centrifugo, and its clients look for `replies` nowhere else.
    const IS_BARE: bool = true;

    async fn carry_out(self, call: Call) -> Result<BatchResult, Failure> {
        if self.commands.len() > COMMANDS_MAX {
            return Err(Failure::bad("commands has more than 10000 of them"));
        }
        call.charge_more(self.commands.len().saturating_sub(1));
        let at_once = if self.parallel { AT_ONCE } else { 1 };
        let replies = stream::iter(self.commands)
            .map(|command| reply(call.clone(), command))
            .buffered(at_once);
        let replies = replies.collect().await;
        Ok(BatchResult { replies })
    }
}

async fn reply(call: Call, command: Command) -> Reply {
    match carry_out(&call, &command).await {
        Ok((method, result)) => Reply::Done(BTreeMap::from([(method, result)])),
        Err(failure) => Reply::Failed {
            error: failure.error(),
        },
    }
}

async fn carry_out(call: &Call, command: &Command) -> Result<(&'static str, Json), Failure> {
    let mut parts = command.0.iter();
    let (Some((name, request)), None) = (parts.next(), parts.next()) else {
        return Err(Failure::bad("a command has the name of one method"));
    };
    let (at, method) = Method::named(name).ok_or(Failure::NO_METHOD)?;
    if method.name == BatchRequest::NAME {
        return Err(Failure::bad("a batch has no batch in it"));
    }
    call.check_method(method)?;
    call.check_space()?;
    let done = call
        .carry_out((at, method), request.text().as_bytes())
        .await;
    let result = done.map_err(|_| Failure::bad("the request is not what its method takes"))??;
    call.has_part(&result);
    // Most answers come from elsewhere; those that do not would keep hooks and all other calls waiting.
    task::yield_now().await;
    Ok((method.name, result))
}
