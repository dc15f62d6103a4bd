//! The debug pages, as JSON for people: conspicuous connections and rooms, and latencies.

use std::cmp::Reverse;

use axum::{
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse},
};
use runtime::{ConnectionView, ConnectionsView, RoomView, Seen, Timing};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Status, exposition};
use crate::protocols::shown_name;

/// The most rows of each kind.
const TOP_MAX: usize = 1000;
const TOP_DEFAULT: usize = 20;

const SHARES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// The number of rows to show.
#[derive(Deserialize)]
pub(super) struct Top {
    top: Option<usize>,
}

impl Top {
    fn rows(&self) -> usize {
        self.top.unwrap_or(TOP_DEFAULT).min(TOP_MAX)
    }
}

/// JSON in lines, for people at a terminal.
fn page(shown: &Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{shown:#}\n"))
}

/// Names the pages to somebody at a terminal who asked for another.
pub(super) async fn nowhere() -> (StatusCode, &'static str) {
    let pages = "404 Not Found. The pages are /metrics, /healthz, /readyz, /debug/connections, \
                 /debug/rooms and /debug/latency.\n";
    (StatusCode::NOT_FOUND, pages)
}

/// Lists the pages of the internal listener.
pub(super) async fn index() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><title>Hubbub, internal</title><ul>",
        "<li><a href=/metrics>/metrics</a> for Prometheus",
        "<li><a href=/healthz>/healthz</a> whether every core answers",
        "<li><a href=/readyz>/readyz</a> whether connections are accepted",
        "<li><a href='/debug/connections?top=20'>/debug/connections?top=20</a> ",
        "the connections with the largest queues, the oldest and the slowest",
        "<li><a href='/debug/rooms?top=20'>/debug/rooms?top=20</a> the largest and the busiest rooms",
        "<li><a href=/debug/latency>/debug/latency</a> percentiles since the start",
        "</ul>\n"
    ))
}

/// The connections with the largest queues, the oldest, and those that have been stuck the longest.
pub(super) async fn connections(
    State(status): State<Status>,
    Query(top): Query<Top>,
) -> impl IntoResponse {
    let top = top.rows();
    let views = match status.cores() {
        Some(cores) => cores.connections(top).await,
        None => Vec::new(),
    };
    let rows = |of: fn(&ConnectionsView) -> &[ConnectionView],
                largest: fn(&ConnectionView) -> u64| {
        let mut rows: Vec<_> = views.iter().flat_map(&of).collect();
        rows.sort_by_key(|row| Reverse(largest(row)));
        rows.truncate(top);
        rows.into_iter().map(connection).collect::<Vec<_>>()
    };
    page(&json!({
        "connections": views.iter().map(|view| view.of).sum::<usize>(),
        "looked_at": views.iter().map(|view| view.looked_at).sum::<usize>(),
        "cores_answered": views.len(),
        "largest": rows(|view| &view.largest, |row| row.queued_bytes as u64),
        "oldest": rows(|view| &view.oldest, |row| row.age.as_nanos() as u64),
        "slowest": rows(|view| &view.slowest, |row| row.blocked.as_nanos() as u64),
    }))
}

fn connection(view: &ConnectionView) -> Value {
    json!({
        "core": view.core,
        "connection": view.connection,
        "peer": view.peer.to_string(),
        "protocol": view.protocol,
        "age_seconds": view.age.as_secs_f64(),
        "queued_bytes": view.queued_bytes,
        "blocked_seconds": view.blocked.as_secs_f64(),
    })
}

/// The rooms with the most subscribers, and those with the most messages since the last request.
pub(super) async fn rooms(
    State(status): State<Status>,
    Query(top): Query<Top>,
) -> impl IntoResponse {
    let top = top.rows();
    let views = match status.cores() {
        Some(cores) => cores.rooms(top).await,
        None => Vec::new(),
    };
    let rows = |of: fn(&RoomView) -> &[Seen], largest: fn(&Seen) -> u64| {
        let mut rows: Vec<_> = views.iter().flat_map(&of).collect();
        rows.sort_by_key(|row| Reverse(largest(row)));
        rows.truncate(top);
        rows.into_iter()
            .map(|seen| room(&status, seen))
            .collect::<Vec<_>>()
    };
    let window_ms = views.iter().map(|view| view.window_ms).max();
    page(&json!({
        "rooms": views.iter().map(|view| view.of).sum::<usize>(),
        "looked_at": views.iter().map(|view| view.looked_at).sum::<usize>(),
        "cores_answered": views.len(),
        "seconds_since_last_look": window_ms.map(|ms| ms as f64 / 1e3),
        "largest": rows(|view| &view.largest, |row| row.subscribers.into()),
        "busiest": rows(|view| &view.busiest, |row| row.messages_new),
    }))
}

fn room(status: &Status, seen: &Seen) -> Value {
    let name = seen.name.as_str();
    // The name of a one-shot room is a part of what opens it.
    let is_secret = status.live.get().is_some_and(|live| live.is_one_shot(name));
    let name = match is_secret {
        true => shown_name(name),
        false => name.into(),
    };
    json!({
        "room": name,
        "home": seen.home,
        "subscribers": seen.subscribers,
        "cores": seen.cores,
        "messages": seen.messages,
        "messages_since_last_look": seen.messages_new,
    })
}

/// Percentiles of all times since the start, exact to 1 %, in seconds.
pub(super) async fn latency(State(status): State<Status>) -> impl IntoResponse {
    let standings = match status.cores() {
        Some(cores) => cores.standings().await,
        None => Vec::new(),
    };
    let total = exposition::total(&standings);
    page(&json!({
        "fanout_seconds": percentiles(&total.fanout),
        "publish_seconds": percentiles(&total.publish),
        "handshake_seconds": percentiles(&total.handshake),
        "ping_seconds": percentiles(&total.ping),
        "loop_turn_seconds": percentiles(&total.turn),
    }))
}

fn percentiles(timing: &Timing) -> Value {
    let mut row = serde_json::Map::new();
    row.insert("count".into(), timing.count().into());
    for (name, share) in SHARES {
        row.insert(name.into(), timing.quantile(share).into());
    }
    row.insert("max".into(), timing.max().into());
    row.into()
}
