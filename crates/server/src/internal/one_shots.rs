//! The series of one-shot rooms: how many there are, and what becomes of them.

use std::time::Instant;

use super::{Status, families::Families};

/// Adds them.
pub(super) fn add(families: &mut Families, status: &Status) {
    let counts = status.live.get().map(|live| {
        live.one_shots.forget_over(Instant::now());
        live.one_shots.counts()
    });
    let counts = counts.unwrap_or_default();
    families.gauge(
        "hubbub_oneshot_rooms",
        "One-shot rooms whose life is not over.",
        counts.rooms as f64,
    );
    families.counter(
        "hubbub_oneshot_rooms_created_total",
        "One-shot rooms made.",
        counts.created,
    );
    families.counters(
        "hubbub_oneshot_rooms_ended_total",
        "One-shot rooms whose message was published, and those whose life was over before that.",
        [
            ("answered", counts.answered),
            ("unanswered", counts.unanswered),
        ]
        .map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    );
    families.counters(
        "hubbub_oneshot_refused_total",
        "What was refused of one-shot rooms, by reason.",
        counts
            .refused()
            .map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    );
}
