//! `POST /oneshot/{namespace}`: makes a one-shot room, and answers its name and its secret.
//!
//! A page of another origin is refused before anything else is done for it. What a body says is ignored.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use codec::Request;
use runtime::{Answer, Refused, Route};
use serde::Serialize;
use tracing::error;

use super::{Created, Full, NotCreated, RefusedFor};
use crate::{
    origin::AllowList,
    protocols::check_local,
    world::{Live, Openness},
};

/// Below this path one-shot rooms are made; the rest of it is a namespace.
pub const PREFIX: &str = "/oneshot/";

/// The methods that it has.
const METHODS: &str = "POST, OPTIONS";

/// For how long a browser need not ask again whether a page may ask, in seconds.
const PREFLIGHT_S: &str = "600";

/// What is answered of a room that was just made.
#[derive(Serialize)]
struct Made<'a> {
    room: &'a str,
    secret: &'a str,
    /// The life of the room, from now on.
    expires_ms: u64,
}

/// What becomes of a request for a room of this namespace. `permitted` are the origins whose pages may ask; `None`
/// if the request's is none of them.
pub fn route(
    request: &Request<'_>,
    namespace: &str,
    permitted: Option<&AllowList>,
    live: &Arc<Live>,
) -> Route {
    let refuse = |what, answer| {
        live.one_shots.refused(what);
        at_once(answer)
    };
    let Some(list) = permitted else {
        let text = "Pages of this origin may not ask; allow_origin lists those that may.";
        let answer = Answer::text(403, text).refusing(Refused::Origin);
        return refuse(RefusedFor::Origin, answer);
    };
    let fields = fields_of_all(request, list);
    let world = live.now();
    if world.settled.openness == Openness::Dev
        && let Err(refusal) = check_local(request)
    {
        return refuse(RefusedFor::Origin, refusal.answer());
    }
    let Some(life) = world.namespaces.one_shot_life(namespace) else {
        let answer = Answer::text(
            404,
            "There is no such namespace, or it has no one-shot rooms.",
        );
        let answer = answer.refusing(Refused::Path);
        return refuse(RefusedFor::Namespace, with_fields(answer, fields));
    };
    match request.method() {
        "POST" => {
            let (live, namespace) = (Arc::clone(live), namespace.to_owned());
            Route::BodyFrom(Box::new(move |client, _| {
                with_fields(make(&live, &namespace, life, client), fields)
            }))
        }
        "OPTIONS" => at_once(with_fields(preflight(), fields)),
        _ => {
            let answer = Answer::text(405, "A one-shot room is made with POST.");
            let answer = answer.refusing(Refused::Method).with("Allow", METHODS);
            at_once(with_fields(answer, fields))
        }
    }
}

/// Makes the room, and the answer.
fn make(live: &Live, namespace: &str, life: Duration, client: SocketAddr) -> Answer {
    let settled = live.now().settled;
    let (rate, addresses_max) = (settled.one_shot_rate, settled.addresses_max);
    if !live.one_shots.allows(client.ip(), rate, addresses_max) {
        live.one_shots.refused(RefusedFor::Rate);
        let answer = Answer::text(
            429,
            "Your address asks for rooms too fast; try again later.",
        );
        return answer
            .refusing(Refused::OneShotRate)
            .with("Retry-After", "1");
    }
    let most = settled.one_shot_rooms_max;
    match live.one_shots.create(namespace, life, most, Instant::now()) {
        Ok(Created { room, secret }) => {
            let expires_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
            told(&Made {
                room: room.as_str(),
                secret: &secret,
                expires_ms,
            })
        }
        Err(NotCreated::Full(Full { for_now })) => {
            let answer = Answer::text(503, "There are as many such rooms as there may be.");
            let seconds = for_now.as_secs() + 1;
            let answer = answer.refusing(Refused::OneShotsFull);
            answer.with("Retry-After", seconds.to_string())
        }
        Err(error @ NotCreated::NoChance(_)) => {
            error!(%error, "no one-shot room can be made");
            Answer::text(500, "No room can be made.")
        }
    }
}

fn told(made: &Made<'_>) -> Answer {
    let mut body = serde_json::to_vec(made).expect("texts and a number are JSON");
    body.push(b'\n');
    Answer {
        status: 200,
        fields: vec![("Content-Type", "application/json".into())],
        body: Bytes::from(body),
        refused: None,
        keep: false,
    }
}

/// Says what a page of another origin may ask (Fetch Standard, section 3.3.2).
fn preflight() -> Answer {
    Answer {
        status: 204,
        fields: vec![
            ("Access-Control-Allow-Methods", "POST".into()),
            ("Access-Control-Allow-Headers", "content-type".into()),
            ("Access-Control-Max-Age", PREFLIGHT_S.into()),
        ],
        body: Bytes::new(),
        refused: None,
        keep: false,
    }
}

/// The fields of every answer: nobody keeps it, and the page that has asked may read it (Fetch Standard, section
/// 3.3.3). Credentials play no part here, since the server knows no cookies.
fn fields_of_all(request: &Request<'_>, list: &AllowList) -> Vec<(&'static str, String)> {
    let origin = request.origin().and_then(|it| str::from_utf8(it).ok());
    let told = match list.accepts_any() {
        true => origin.map(|_| "*"),
        false => origin,
    };
    let told = told.map(|origin| ("Access-Control-Allow-Origin", origin.to_owned()));
    let others = [
        ("Vary", "Origin".to_owned()),
        ("Cache-Control", "no-store".to_owned()),
    ];
    told.into_iter().chain(others).collect()
}

fn with_fields(mut answer: Answer, fields: Vec<(&'static str, String)>) -> Answer {
    answer.fields.extend(fields);
    answer
}

/// An answer that does not depend on the request's body, which is read all the same.
fn at_once(answer: Answer) -> Route {
    Route::Body(Box::new(move |_| answer))
}
