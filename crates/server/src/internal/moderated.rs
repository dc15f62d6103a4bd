//! The series of moderation: how many are kept out, and what becomes of it.

use super::{Status, families::Families};
use crate::moderation::Kind;

/// Adds them.
pub(super) fn add(families: &mut Families, status: &Status) {
    let standing = status
        .live
        .get()
        .map(|live| live.now().moderation.standing());
    let standing = standing.unwrap_or_default();
    let each = |counts: [u64; Kind::COUNT]| {
        let series = Kind::ALL.into_iter().zip(counts);
        series.map(|(kind, count)| (vec![("kind", kind.name())], count as f64))
    };
    families.gauges(
        "hubbub_moderation_entries",
        "Blocks of users, mutes of users in rooms, and users whose tokens are revoked.",
        each(standing.entries),
    );
    families.counters(
        "hubbub_moderation_changes_total",
        "Blocks, mutes and revocations that were made, changed or taken back.",
        each(standing.changed),
    );
    families.counter(
        "hubbub_moderation_changes_unwritten_total",
        "Blocks, mutes and revocations that state_dir did not take, so that they are not in force.",
        standing.unwritten,
    );
    families.counters(
        "hubbub_moderation_refused_total",
        "How often somebody was kept out or a publication refused, by reason.",
        [
            ("blocked", standing.blocked),
            ("muted", standing.muted),
            ("revoked", standing.revoked),
        ]
        .map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    );
}
