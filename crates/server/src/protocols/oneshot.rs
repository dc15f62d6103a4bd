//! `POST /oneshot/{namespace}`: makes a one-shot room, and answers its name and its secret.
//!
//! What a body says is ignored. Who comes to such a room is in `raw/oneshot.rs` and `centrifuge/oneshot.rs`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use runtime::{Answer, Refused, Taken};
use serde::Serialize;
use tracing::error;

use super::{Asked, Begun, Protocol, Refusal, Select, Transport, local};
use crate::{
    oneshot::{Created, Full, NotCreated, RefusedFor},
    world::{Live, Openness},
};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "oneshot",
    select: Select::PathPrefix("/oneshot/"),
    transport: Transport::Answers(&["POST"]),
    open,
};

/// What is answered of a room that was just made.
#[derive(Serialize)]
struct Made<'a> {
    room: &'a str,
    secret: &'a str,
    /// The life of the room, from now on.
    expires_ms: u64,
}

fn open(asked: &Asked<'_>) -> Result<Begun, Refusal> {
    let (world, live, namespace) = (asked.world, asked.live, asked.text);
    if world.settled.openness == Openness::Dev {
        local::check(asked.request)?;
    }
    let life = world.namespaces.one_shot_life(namespace).ok_or_else(|| {
        live.one_shots.refused(RefusedFor::Namespace);
        let sentence = "There is no such namespace, or it has no one-shot rooms: set oneshot in [namespaces.NAME].";
        Refusal::Other(404, sentence.to_owned(), Refused::Path)
    })?;
    let (live, namespace, cors) = (Arc::clone(live), namespace.to_owned(), asked.cors());
    Ok(Begun::BodyFrom(Box::new(move |client, _| {
        let answer = cors.add_to(make(&live, &namespace, life, client));
        Taken::Answer(answer.with("Cache-Control", "no-store"))
    })))
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
        Ok(Created { room, secret }) => told(&Made {
            room: room.as_str(),
            secret: &secret,
            expires_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        }),
        Err(NotCreated::Full(Full { for_now })) => {
            let answer = Answer::text(503, "There are as many such rooms as there may be.");
            let seconds = for_now.as_secs() + 1;
            let answer = answer.refusing(Refused::OneShotsFull);
            answer.with("Retry-After", seconds.to_string())
        }
        Err(error @ NotCreated::NoRandomness(_)) => {
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
