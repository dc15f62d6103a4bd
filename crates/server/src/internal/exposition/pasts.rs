//! The series of what rooms keep, and of those who were away or are slow.

use runtime::Tally;

use super::{Families, Status};

/// What rooms keep, and what becomes of those who were away or are slow.
pub(super) fn pasts(families: &mut Families, status: &Status, total: &Tally) {
    let kept = status.cores().map(|cores| cores.monitor().kept());
    let kept = kept.unwrap_or_default();
    families.gauge(
        "hubbub_history_bytes",
        "Bytes of memory for the histories and tables of all rooms.",
        kept.past_bytes as f64,
    );
    families.counter(
        "hubbub_history_messages_given_up_total",
        "Messages that histories gave up because all together needed more memory than they may take.",
        kept.messages_given_up,
    );
    families.gauge(
        "hubbub_positions",
        "Former rooms whose position is kept, so that a new room of that name goes on from there.",
        kept.positions as f64,
    );
    families.counter(
        "hubbub_positions_given_up_total",
        "Positions that were forgotten before their time because others needed their places.",
        kept.positions_given_up,
    );
    let outcome = status.restored.get().copied().unwrap_or_default();
    families.gauges(
        "hubbub_state_rooms",
        "What became of the rooms that the process before this one had left in state_dir.",
        [
            ("restored", outcome.restored.rooms),
            ("position", outcome.restored.positions),
            ("left_out", outcome.restored.left_out),
            ("unreadable", outcome.unreadable),
        ]
        .map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    );
    families.gauge(
        "hubbub_state_refused",
        "1 if this process found rooms in state_dir that it did not use, or not all of them.",
        f64::from(u8::from(outcome.is_refused)),
    );
    let recoveries = &total.recoveries;
    families.counters(
        "hubbub_recoveries_total",
        "Subscribers who came back with a position: exact if they got what they had missed, otherwise why they did not.",
        [
            ("exact", recoveries.exact),
            ("epoch", recoveries.epoch),
            ("size", recoveries.size),
            ("time", recoveries.time),
            ("cap", recoveries.cap),
            ("memory", recoveries.memory),
            ("forgotten", recoveries.forgotten),
        ]
        .map(|(outcome, count)| (vec![("outcome", outcome)], count as f64)),
    );
    families.counter(
        "hubbub_messages_skipped_total",
        "Messages that slow subscribers were not sent, in rooms with overflow = \"drop_oldest\".",
        total.skipped,
    );
    families.counter(
        "hubbub_updates_passed_over_total",
        "Updates that slow subscribers were not sent, since there were later ones of the same key, in rooms with kind = \"latest_per_key\".",
        total.conflated,
    );
    families.counters(
        "hubbub_subscriptions_lost_total",
        "Rooms that connections lost without having asked for it, by reason.",
        [
            ("commanded", total.rooms_lost.commanded),
            ("lagging", total.rooms_lost.lagging),
            ("order", total.rooms_lost.order),
        ]
        .map(|(reason, count)| (vec![("reason", reason)], count as f64)),
    );
    families.counter(
        "hubbub_commands_total",
        "Commands of the Centrifuge protocol.",
        total.commands,
    );
}
