//! What a run has shown, for people.

use super::promises::{Checker, Promise};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

/// The counts of a history, and a verdict for each promise.
#[must_use]
pub fn text(name: &str, checker: &Checker) -> String {
    let counts = &checker.counts;
    let waits = &counts.waits;
    let told = counts.told_epoch + counts.told_cap + counts.told_past;
    let lines = [
        format!(
            "publications  {}: {} acknowledged, {} refused, {} gone with a killed server",
            counts.publications, counts.acknowledged, counts.refused, counts.lost_with_server
        ),
        format!(
            "deliveries    {} live, {} recovered, {} to raw clients; {} places that nobody saw",
            counts.deliveries, counts.recovered, counts.raw_deliveries, counts.unseen
        ),
        format!(
            "recoveries    {} exact; {told} told: {} another epoch, {} beyond 300 messages, {} not kept",
            counts.exact, counts.told_epoch, counts.told_cap, counts.told_past
        ),
        format!(
            "disturbances  {} cuts, {} clients stopped reading, {} kills",
            counts.cuts, counts.stalls, counts.kills
        ),
        format!(
            "told          ends of subscriptions {}; of connections {}",
            by_code(&counts.lost),
            by_code(&counts.ended)
        ),
        format!(
            "waits         ms p50/p99/max: acknowledgement {}; delivery {}, while some do not read {}",
            quantiles(&waits.acknowledgements),
            quantiles(&waits.otherwise),
            quantiles(&waits.beside_stalled)
        ),
    ];
    let mut text = format!("{name}\n");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text.push_str(&verdicts(checker));
    text
}

fn verdicts(checker: &Checker) -> String {
    let mut text = String::new();
    for promise in Promise::ALL {
        let broken = checker.findings.count(promise);
        let verdict = match (broken, was_tried(promise, checker)) {
            (0, true) => "kept".to_owned(),
            (0, false) => "not tried".to_owned(),
            (broken, _) => format!("BROKEN {broken} times"),
        };
        let _ = writeln!(text, "  {:<48} {verdict}", promise.text());
        for fault in checker.findings.told(promise) {
            let _ = writeln!(text, "      {fault}");
        }
    }
    text
}

/// Whether there was something that could have broken a promise.
fn was_tried(promise: Promise, checker: &Checker) -> bool {
    let counts = &checker.counts;
    match promise {
        Promise::Order | Promise::NoGap => counts.deliveries > 0,
        Promise::Kept => counts.acknowledged > 0,
        Promise::Recovery => counts.exact > 0,
        Promise::Slow => counts.stalls > 0,
        Promise::Epochs => counts.kills > 0 && counts.told_epoch > 0,
        Promise::Presence => counts.presences > 0,
    }
}

fn by_code<T: Display>(counts: &BTreeMap<T, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let each = counts
        .iter()
        .map(|(code, count)| format!("{count} × {code}"));
    each.collect::<Vec<_>>().join(", ")
}

fn quantiles(us: &Histogram<u64>) -> String {
    let ms = |us: u64| us as f64 / 1e3;
    let [p50, p99] = [0.5, 0.99].map(|it| ms(us.value_at_quantile(it)));
    format!("{p50:.1}/{p99:.1}/{:.1}", ms(us.max()))
}
