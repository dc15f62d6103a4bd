//! The series of the API: calls, errors, what was refused, and how long it took.

use super::{Status, families::Families};
use crate::api::Counted;

/// Adds them.
pub(super) fn add(families: &mut Families, status: &Status) {
    let api = status.api.get();
    let counted = api.map_or_else(Counted::none, |api| api.counted());
    families.gauge(
        "hubbub_api_connections",
        "Connections of the API.",
        counted.connections as f64,
    );
    families.gauge(
        "hubbub_api_body_bytes",
        "Bytes of the bodies of calls that are being read or carried out.",
        counted.body_bytes as f64,
    );
    families.gauge(
        "hubbub_api_answer_bytes",
        "Bytes of answers that are being made or have not left.",
        counted.answer_bytes as f64,
    );
    families.counter(
        "hubbub_api_connections_crowded_out_total",
        "Connections of the API that were ended to make room for others.",
        counted.crowded_out,
    );
    calls(families, &counted);
    families.counters(
        "hubbub_api_refused_total",
        "Requests of the API that were no calls, by reason.",
        counted
            .refused
            .iter()
            .map(|(reason, count)| (vec![("reason", *reason)], *count as f64)),
    );
    families.timing(
        "hubbub_api_request_seconds",
        "Time from the head of a request of the API to its answer.",
        &counted.timing,
    );
}

fn calls(families: &mut Families, counted: &Counted) {
    let calls = counted.calls.iter().flat_map(|(method, [done, failed])| {
        let outcomes = [("done", *done), ("failed", *failed)];
        outcomes.map(|(outcome, count)| {
            let labels = vec![("method", *method), ("outcome", outcome)];
            (labels, count as f64)
        })
    });
    families.counters(
        "hubbub_api_calls_total",
        "Calls of the API by method, those within batches included.",
        calls,
    );
    let errors = counted.errors.iter();
    let codes: Vec<_> = errors
        .map(|(code, count)| (code.to_string(), *count))
        .collect();
    families.counters(
        "hubbub_api_errors_total",
        "Calls of the API that have failed, by the code of their error.",
        codes
            .iter()
            .map(|(code, count)| (vec![("code", &**code)], *count as f64)),
    );
}
