//! The series of events to the back end: what was told, what waits, what is lost, and what becomes of batches.

use super::{Status, families::Families};
use crate::events::{Counts, EventKind, OUTCOMES};

/// Adds them. Without events they are zero.
pub(super) fn add(families: &mut Families, status: &Status) {
    let sink = status.live.get().and_then(|live| live.events());
    let counts = sink.map(|sink| sink.counts()).unwrap_or_default();
    let by_kind = |counts: [u64; EventKind::ALL.len()]| {
        let kinds = EventKind::ALL.into_iter().zip(counts);
        kinds.map(|(kind, count)| (vec![("kind", kind.name())], count as f64))
    };
    families.counters(
        "hubbub_events_told_total",
        "Events for the back end that came into the queue, by kind.",
        by_kind(counts.told),
    );
    families.counters(
        "hubbub_events_lost_total",
        "Events for the back end that the queue had no space for, by kind.",
        by_kind(counts.lost),
    );
    waiting(families, &counts);
    families.counter(
        "hubbub_events_taken_total",
        "Events that the back end has taken.",
        counts.taken,
    );
    families.counters(
        "hubbub_events_requests_total",
        "Requests with batches of events, by outcome: taken, or why the batch is sent again.",
        OUTCOMES
            .iter()
            .zip(counts.outcomes)
            .map(|(outcome, count)| (vec![("outcome", *outcome)], count as f64)),
    );
    families.counter(
        "hubbub_events_retries_total",
        "Requests that repeated a batch of events.",
        counts.retries,
    );
    families.timing(
        "hubbub_events_request_duration_seconds",
        "Time from a request with a batch of events to the status of its answer, or to its failure.",
        &counts.duration,
    );
}

fn waiting(families: &mut Families, counts: &Counts) {
    families.gauge(
        "hubbub_events_waiting",
        "Events that the back end has not taken.",
        counts.waiting as f64,
    );
    families.gauge(
        "hubbub_events_waiting_bytes",
        "Memory of events that the back end has not taken.",
        counts.waiting_bytes as f64,
    );
    families.gauge(
        "hubbub_events_behind_seconds",
        "How long ago the first event of the batch happened that is being sent; 0 if none is.",
        counts.behind_s,
    );
}
