//! What a request of the API is for, by its path and method.

use std::{sync::Arc, time::Instant};

use axum::{
    http::{HeaderValue, Method as Verb, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use hub::{NameError, RoomName};
use hyper::{Request, body::Incoming};
use tracing::debug;

use super::{
    Api, Rules, Shared, body,
    call::Call,
    gate,
    keys::Key,
    methods::{Method, PublishRequest},
    openapi,
    refused::Refused,
};
use crate::settings::ErrorMode;

/// Where a request leads.
enum Route {
    /// To a method, by its place in the table.
    Call(usize, &'static Method),
    /// To a room, in which the body is published as it is. The path may name none.
    Room(Result<RoomName, NameError>),
    /// To the description of the API.
    Description,
}

impl Shared {
    /// Nanoseconds since the start.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Api {
    /// Answers a request.
    pub(super) async fn respond(&self, request: Request<Incoming>) -> Response {
        let began = Instant::now();
        let rules = self.rules().clone();
        let (head, body) = request.into_parts();
        let sender = gate::check_sender(&rules, &head.headers, &head.uri);
        let origin = sender.as_ref().ok().copied().flatten().map(<[u8]>::to_vec);
        let answered = match sender {
            Ok(_) if head.method == Verb::OPTIONS => {
                body::let_go(body);
                Ok(preflight())
            }
            Ok(_) => self.admit(&rules, &head, body).await,
            Err(refused) => {
                body::let_go(body);
                Err(refused)
            }
        };
        let mut answer = answered.unwrap_or_else(|refused| {
            self.0.counts.refused(&refused);
            refused.into_response()
        });
        allow(&mut answer, origin);
        self.0.counts.answered(began.elapsed());
        answer
    }

    /// Answers a request whose sender is permitted.
    async fn admit(
        &self,
        rules: &Rules,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response, Refused> {
        let (key, route) = match self.check(rules, head) {
            Ok(Ok(found)) => found,
            Ok(Err(answer)) => {
                body::let_go(body);
                return Ok(answer);
            }
            Err(refused) => {
                body::let_go(body);
                return Err(refused);
            }
        };
        let whole = body::read(body, rules, &self.0.bodies).await?;
        let call = Call::new(self.0.clone(), key);
        let mode = error_mode(rules, head);
        let answer = match route {
            Route::Description => Ok(openapi::answer()),
            Route::Call(at, method) => call.answer((at, method), &whole.bytes, mode).await,
            Route::Room(room) => {
                let room = room.map_err(|error| Refused::Unparsable(error.to_string()))?;
                let body = (whole.bytes.clone(), is_binary(head));
                let key = idempotency_key(head)?;
                let (place, _) = Method::of::<PublishRequest>();
                call.publish_body(place, room.as_str(), body, key, mode)
                    .await
            }
        };
        drop(whole.held);
        answer
    }

    /// Who has sent it, and where it leads; or the answer to one that leads nowhere.
    fn check(
        &self,
        rules: &Rules,
        head: &Parts,
    ) -> Result<Result<(Arc<Key>, Route), Response>, Refused> {
        let key = gate::key_of(rules, &head.headers, &head.uri)?;
        let (route, verb) = route_of(head.uri.path()).ok_or(Refused::Method)?;
        if head.method != verb {
            return Ok(Err(not_allowed(verb)));
        }
        let is_permitted = match &route {
            Route::Description => true,
            Route::Room(_) => key.is_for(Method::of::<PublishRequest>().1),
            Route::Call(_, method) => key.is_for(method),
        };
        if !is_permitted {
            debug!(
                key = key.name(),
                path = head.uri.path(),
                "a key is not for a call"
            );
            return Err(Refused::Right);
        }
        key.charge(1, self.0.now_ns()).map_err(Refused::TooFast)?;
        Ok(Ok((key.clone(), route)))
    }
}

/// Whether a body is said to be no text.
fn is_binary(head: &Parts) -> bool {
    let kind = head.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"))
}

/// The idempotency key. One that cannot be read is not left out, or what is repeated with it would come twice.
fn idempotency_key(head: &Parts) -> Result<&str, Refused> {
    let mut fields = head.headers.get_all("idempotency-key").iter();
    let key = fields.next().map_or(Ok(""), HeaderValue::to_str);
    match (key, fields.next()) {
        (Ok(key), None) => Ok(key),
        _ => Err(Refused::Unparsable(
            "Idempotency-Key is not one key in ASCII".to_owned(),
        )),
    }
}

fn route_of(path: &str) -> Option<(Route, Verb)> {
    if path == openapi::PATH {
        return Some((Route::Description, Verb::GET));
    }
    if let Some(room) = path.strip_prefix("/rooms/") {
        return Some((Route::Room(RoomName::from_path_segment(room)), Verb::POST));
    }
    let (at, method) = Method::named(path.strip_prefix("/api/")?)?;
    Some((Route::Call(at, method), Verb::POST))
}

/// How the caller wants to be told of errors.
fn error_mode(rules: &Rules, head: &Parts) -> ErrorMode {
    let asked = head.headers.get("x-centrifugo-error-mode");
    match asked.map(HeaderValue::as_bytes) {
        Some(b"transport") => ErrorMode::Transport,
        _ => rules.error_mode,
    }
}

fn not_allowed(verb: Verb) -> Response {
    let sentence = format!("405 Method Not Allowed: send it with {verb}.\n");
    let allow = [(header::ALLOW, verb.as_str().to_owned())];
    (StatusCode::METHOD_NOT_ALLOWED, allow, sentence).into_response()
}

/// The answer to a browser that asks on behalf of a page whether it may send a call.
fn preflight() -> Response {
    let fields = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, GET"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, x-api-key, x-centrifugo-error-mode",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "300"),
    ];
    (StatusCode::NO_CONTENT, fields).into_response()
}

/// Lets the page read the answer that has asked for it.
fn allow(answer: &mut Response, origin: Option<Vec<u8>>) {
    let origin = origin.and_then(|origin| HeaderValue::from_bytes(&origin).ok());
    if let Some(origin) = origin {
        let fields = answer.headers_mut();
        fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        fields.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}
