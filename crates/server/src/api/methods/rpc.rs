//! `rpc`: a call of the application's own, of which a server has none.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Request, Scope};
use crate::api::{
    call::Call,
    failure::Failure,
    json::{Json, present},
};

/// A call of the application's own.
#[derive(Deserialize, ToSchema)]
pub(in crate::api) struct RpcRequest {
    /// Its name.
    #[serde(default)]
    method: String,
    /// What it is given.
    #[serde(default, rename = "params", deserialize_with = "present")]
    #[schema(value_type = Json)]
    _params: Option<Json>,
}

/// What it has come to.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct RpcResult {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Json)]
    data: Option<Json>,
}

impl Request for RpcRequest {
    type Result = RpcResult;
    const NAME: &'static str = "rpc";
    const WORDS: &'static str = "Calls a method of the application's own. There are none, so that each is answered with error 104.";
    const SCOPE: Scope = Scope::Server;

    async fn carry_out(self, _: Call) -> Result<RpcResult, Failure> {
        match &*self.method {
            "" => Err(Failure::bad("method is missing")),
            _ => Err(Failure::NO_METHOD),
        }
    }
}
