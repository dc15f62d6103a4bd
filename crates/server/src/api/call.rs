//! One call: what it is carried out with, and how it is answered.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use access::{NoRoom, Room};
use axum::{
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hub::RoomName;
use serde::Serialize;
use tokio::time;

use super::{
    Shared,
    bodies::Held,
    failure::Failure,
    json::{self, Json},
    keys::Key,
    methods::{self, Method},
    refused::Refused,
    rooms::Rooms,
};
use crate::{
    internal::Status,
    settings::ErrorMode,
    world::{Live, World},
};

/// What a call is carried out with.
#[derive(Clone)]
pub(super) struct Call {
    shared: Arc<Shared>,
    key: Arc<Key>,
    /// Counts its answer.
    held: Arc<Mutex<Held>>,
}

/// The bytes of an answer, counted until they have left.
struct Leaving {
    bytes: Vec<u8>,
    _held: Arc<Mutex<Held>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    result: &'a Json,
}

#[derive(Serialize)]
struct Failed {
    error: super::failure::Error,
}

impl Call {
    pub(super) fn new(shared: Arc<Shared>, key: Arc<Key>) -> Self {
        let held = Arc::new(Mutex::new(shared.answers.begin()));
        Self { shared, key, held }
    }

    /// Whether another part of the answer may be asked for, beside what all answers have.
    ///
    /// # Errors
    /// That there is no space. Nothing has happened then.
    pub(super) fn check_space(&self) -> Result<(), Failure> {
        let most = self.shared.rules.load().bodies_bytes_max;
        match self.held().has_space(most) {
            true => Ok(()),
            false => Err(Failure::limit(
                "answers take as many bytes as they may (api_bodies_bytes_max)",
            )),
        }
    }

    /// Counts a part of the answer.
    pub(super) fn has_part(&self, part: &Json) {
        self.held().add(part.text().len(), usize::MAX);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.shared.live
    }

    pub(super) fn status(&self) -> &Status {
        &self.shared.status
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// The way to the homes of rooms.
    pub(super) fn rooms(&self) -> &Rooms {
        &self.shared.rooms
    }

    /// Whether the key is for all rooms.
    pub(super) fn is_for_all_rooms(&self) -> bool {
        self.key.is_for_all_rooms()
    }

    /// Whether the key lets name this room.
    pub(super) fn may_name(&self, room: &str) -> bool {
        self.key.may_name(room)
    }

    /// The room that a request names, and its rules, if the key is for it.
    pub(super) fn room<'w, 'r>(
        &self,
        world: &'w World,
        channel: &'r str,
    ) -> Result<(RoomName, Room<'w, 'r>), Failure> {
        if channel.is_empty() {
            return Err(Failure::bad("channel is missing"));
        }
        let room = world.namespaces.of(channel).map_err(|error| match error {
            NoRoom::BadName(_) => Failure::bad("channel is no name of a room"),
            NoRoom::UnknownNamespace => Failure::UNKNOWN_ROOM,
        })?;
        let name =
            RoomName::new(channel).map_err(|_| Failure::bad("channel is no name of a room"))?;
        match self.may_name(channel) {
            true => Ok((name, room)),
            false => Err(Failure::denied("the key is not for this room")),
        }
    }

    /// Counts further calls that a request turns out to be.
    pub(super) fn charge_more(&self, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.key.charge_more(calls, self.shared.now_ns());
    }

    /// Whether the key lets call this method.
    pub(super) fn check_method(&self, method: &Method) -> Result<(), Failure> {
        match self.key.is_for(method) {
            true => Ok(()),
            false => Err(Failure::denied("the key is not for this method")),
        }
    }

    /// Carries out one method.
    ///
    /// # Errors
    /// What is wrong with the request's form.
    pub(super) async fn carry_out(
        &self,
        (place, method): (usize, &Method),
        request: &[u8],
    ) -> Result<Result<Json, Failure>, String> {
        let done = method.begin(self.clone(), request)?.await;
        self.shared.counts.called(place, done.as_ref().err());
        Ok(done)
    }

    /// Publishes a body as it is, and answers that.
    pub(super) async fn publish_body(
        &self,
        place: usize,
        room: &str,
        body: (Bytes, bool),
        idempotency_key: &str,
        mode: ErrorMode,
    ) -> Result<Response, Refused> {
        let patience = self.shared.rules.load().timeout;
        let published = methods::publish_body(self, room, body, idempotency_key);
        let published = time::timeout(patience, published).await;
        let published = published.unwrap_or(Err(Failure::TIMED_OUT));
        self.shared.counts.called(place, published.as_ref().err());
        let result = published.and_then(|it| Json::made(&it).ok_or(Failure::INTERNAL));
        self.answer_of(result, false, mode)
    }

    /// Carries out a request that is one call, and answers it.
    pub(super) async fn answer(
        &self,
        method: (usize, &Method),
        request: &[u8],
        mode: ErrorMode,
    ) -> Result<Response, Refused> {
        if !json::is_flat_enough(request) {
            return Err(Refused::Unparsable("it nests too deep".to_owned()));
        }
        let patience = self.shared.rules.load().timeout;
        let done = time::timeout(patience, self.carry_out(method, request)).await;
        let done = done.unwrap_or(Ok(Err(Failure::TIMED_OUT)));
        let is_bare = method.1.is_bare;
        self.answer_of(done.map_err(Refused::Unparsable)?, is_bare, mode)
    }

    /// The answer to a call that has come to this; `is_bare` says whether a result is all of it.
    fn answer_of(
        &self,
        done: Result<Json, Failure>,
        is_bare: bool,
        mode: ErrorMode,
    ) -> Result<Response, Refused> {
        match (done, mode) {
            (Ok(result), _) if is_bare => Ok(self.written(StatusCode::OK, &result)),
            (Ok(result), _) => Ok(self.written(StatusCode::OK, &Answered { result: &result })),
            (Err(failure), _) if failure.is_overload().is_some() => {
                Err(failure.is_overload().unwrap_or(Refused::Full))
            }
            (Err(failure), ErrorMode::Result) => {
                let error = failure.error();
                Ok(self.written(StatusCode::OK, &Failed { error }))
            }
            (Err(failure), ErrorMode::Transport) => {
                Ok(self.written(failure.status(), &failure.error()))
            }
        }
    }

    fn written(&self, status: StatusCode, body: &impl Serialize) -> Response {
        let Ok(bytes) = serde_json::to_vec(body) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        self.held().set(bytes.len());
        let _held = self.held.clone();
        let body = Bytes::from_owner(Leaving { bytes, _held });
        (status, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl AsRef<[u8]> for Leaving {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
