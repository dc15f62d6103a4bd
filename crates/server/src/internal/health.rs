//! Answers whether the process is alive, and whether it accepts connections.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Phase, Status};

/// Answers 200 if every core answered within a second, else 503 with the names of those that did not.
/// The process is also alive before the cores run and while they drain.
pub(super) async fn healthz(State(status): State<Status>) -> Response {
    let silent = match status.cores() {
        Some(cores) => cores.silent().await,
        None => Vec::new(),
    };
    if silent.is_empty() {
        return "ok\n".into_response();
    }
    let names: Vec<_> = silent.iter().map(|core| format!("core-{core}")).collect();
    let text = format!("no answer within a second: {}\n", names.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Answers 200 only while connections are accepted, else 503 with the reason.
pub(super) async fn readyz(State(status): State<Status>) -> Response {
    match unready(&status) {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

fn unready(status: &Status) -> Option<String> {
    let cores = match (status.phase(), status.cores()) {
        (Phase::Starting, _) | (_, None) => return Some("starting".to_owned()),
        (Phase::Draining { .. }, _) => return Some("draining".to_owned()),
        (Phase::Ready, Some(cores)) => cores,
    };
    let (connections, most) = cores.monitor().connections_and_most();
    if connections >= most {
        return Some(format!("full: {connections} connections of at most {most}"));
    }
    let configured = status.configured();
    let mut remotes = configured.remotes.iter();
    // Other servers may have them. Once they have come they hold, and a URL that is gone does not matter here.
    let without = remotes.find(|remote| remote.keys().is_none())?;
    Some(format!(
        "no keys of tokens yet: {} has not answered",
        without.setting()
    ))
}
