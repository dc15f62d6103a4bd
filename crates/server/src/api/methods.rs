//! The table of methods: the name of each, what its key must be for, and the function that carries it out.
//!
//! A method is a request that says how it is carried out; its row makes it known to callers, keys, metrics and the
//! description of the API.

mod batch;
mod channels;
mod connections;
mod delete_message;
mod history;
mod info;
mod maps;
mod moderation;
mod presence;
mod publish;
mod rpc;

use std::{future::Future, pin::Pin};

use serde::{Serialize, de::DeserializeOwned};
use utoipa::{
    ToSchema,
    openapi::{Ref, RefOr, Schema},
};

use super::{
    call::Call,
    failure::Failure,
    json::{Json, read_object},
};

pub(super) use publish::{PublishRequest, publish_body};

/// All methods, in the order in which they are described.
pub(super) static METHODS: &[Method] = &[
    row::<publish::PublishRequest>(),
    row::<publish::BroadcastRequest>(),
    row::<connections::SubscribeRequest>(),
    row::<connections::UnsubscribeRequest>(),
    row::<connections::DisconnectRequest>(),
    row::<connections::RefreshRequest>(),
    row::<presence::PresenceRequest>(),
    row::<presence::PresenceStatsRequest>(),
    row::<history::HistoryRequest>(),
    row::<history::HistoryRemoveRequest>(),
    row::<channels::ChannelsRequest>(),
    row::<info::InfoRequest>(),
    row::<batch::BatchRequest>(),
    row::<rpc::RpcRequest>(),
    row::<moderation::BlockUserRequest>(),
    row::<moderation::UnblockUserRequest>(),
    row::<moderation::ListBlocksRequest>(),
    row::<moderation::MuteUserRequest>(),
    row::<moderation::UnmuteUserRequest>(),
    row::<moderation::ListMutesRequest>(),
    row::<moderation::RevokeTokensRequest>(),
    row::<moderation::ListRevocationsRequest>(),
    row::<delete_message::DeleteMessageRequest>(),
    row::<maps::MapPublishRequest>(),
    row::<maps::MapRemoveRequest>(),
    row::<maps::MapReadStateRequest>(),
    row::<maps::MapStatsRequest>(),
    row::<maps::MapClearRequest>(),
];

/// What a key must be for, beside the method itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// For the rooms that the request names, which the method checks by [`Call::room`].
    Rooms,
    /// For all rooms: it is about the whole server, or about connections in all their rooms.
    Server,
}

/// A request to a method.
pub(super) trait Request: DeserializeOwned + ToSchema + Send + 'static {
    /// What it is answered with.
    type Result: Serialize + ToSchema;
    /// The name of the method.
    const NAME: &'static str;
    /// What it does, in a sentence.
    const WORDS: &'static str;
    /// What a key must be for.
    const SCOPE: Scope;
    /// Whether the whole answer is the result, rather than an object that has it as `result`.
    const IS_BARE: bool = false;

    /// Carries it out.
    fn carry_out(self, call: Call) -> impl Future<Output = Result<Self::Result, Failure>> + Send;
}

/// A method, as the table has it.
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// What it does, in a sentence.
    pub(super) words: &'static str,
    /// What a key must be for.
    pub(super) scope: Scope,
    /// Whether the whole answer is the result.
    pub(super) is_bare: bool,
    run: fn(Call, &[u8]) -> Result<Running, String>,
    /// Adds the schemas of its request and its result, and says what they are called.
    pub(super) describe: fn(&mut Schemas) -> [RefOr<Schema>; 2],
}

/// Schemas with their names.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// A call that is being carried out, to its result as JSON.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send + 'static>>;

impl Method {
    /// The method of this name, and its place in the table.
    pub(super) fn named(name: &str) -> Option<(usize, &'static Self)> {
        METHODS.iter().enumerate().find(|(_, it)| it.name == name)
    }

    /// The method of these requests, and its place in the table.
    pub(super) fn of<Q: Request>() -> (usize, &'static Self) {
        Self::named(Q::NAME).expect("the table has all methods")
    }

    /// Begins a call with this request.
    ///
    /// # Errors
    /// What is wrong with the request's form.
    pub(super) fn begin(&self, call: Call, request: &[u8]) -> Result<Running, String> {
        (self.run)(call, request)
    }
}

const fn row<Q: Request>() -> Method {
    Method {
        name: Q::NAME,
        words: Q::WORDS,
        scope: Q::SCOPE,
        is_bare: Q::IS_BARE,
        run: run::<Q>,
        describe: describe::<Q>,
    }
}

fn run<Q: Request>(call: Call, request: &[u8]) -> Result<Running, String> {
    let request: Q = read_object(request)?;
    Ok(Box::pin(async move {
        let result = request.carry_out(call).await?;
        Json::made(&result).ok_or(Failure::INTERNAL)
    }))
}

fn describe<Q: Request>(schemas: &mut Schemas) -> [RefOr<Schema>; 2] {
    [named::<Q>(schemas), named::<Q::Result>(schemas)]
}

/// Adds a schema with those that it refers to; returns the reference to it.
pub(super) fn named<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    T::schemas(schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    Ref::from_schema_name(T::name()).into()
}
