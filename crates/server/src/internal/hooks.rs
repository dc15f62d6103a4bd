//! The series of hooks: what back ends are asked, what becomes of it, and how long that takes.

use std::sync::Arc;

use strum::VariantArray;

use super::{Status, families::Families};
use crate::hooks::{Count, Counts, Fate, HookKind};

/// Adds them.
pub(super) fn add(families: &mut Families, status: &Status) {
    let none = Counts::default();
    let world = status.live.get().map(|live| live.now());
    let counts = world.as_ref().map_or(&none, |world| world.hooks.counts());
    let all: Vec<(&str, &Arc<Count>)> = HookKind::VARIANTS
        .iter()
        .map(|kind| (kind.name(), counts.of(*kind)))
        .collect();
    families.counters(
        "hubbub_hook_requests_total",
        "Questions to back ends, each with what became of it.",
        all.iter().flat_map(|(hook, count)| {
            Fate::VARIANTS.iter().map(move |fate| {
                let labels = vec![("hook", *hook), ("outcome", fate.name())];
                (labels, count.ended_as(*fate) as f64)
            })
        }),
    );
    let each = |of: fn(&Count) -> usize| {
        let all = all.iter();
        all.map(move |(hook, count)| (vec![("hook", *hook)], of(count) as f64))
    };
    families.gauges(
        "hubbub_hook_requests_under_way",
        "Requests to back ends that are not answered yet.",
        each(Count::under_way),
    );
    families.gauges(
        "hubbub_hook_requests_waiting",
        "Questions that wait until others are answered.",
        each(Count::waiting),
    );
    families.timings(
        "hubbub_hook_duration_seconds",
        "Time from a question to its answer, or until there was none.",
        all.iter()
            .map(|(hook, count)| (vec![("hook", *hook)], count.took())),
    );
}
