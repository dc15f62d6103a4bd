//! The tables of the report.

use super::scale::duration;
use super::svg::escape;
use crate::results::{Cell, Figure, Results, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::table::{best_of, goal, grouped, place};
use crate::workload::Family;
use std::fmt::Write as _;

type Column = (&'static str, Figure, fn(f64) -> String);

const COLUMNS: [Column; 11] = [
    ("ops/s", Figure::PerSecond, grouped),
    ("CPU ns/op", Figure::CpuNs, grouped),
    ("user", Figure::CpuUserNs, grouped),
    ("system", Figure::CpuSystemNs, grouped),
    ("softirq", Figure::CpuSoftirqNs, grouped),
    ("p50", Figure::P50Us, duration),
    ("p99", Figure::P99Us, duration),
    ("p99.9", Figure::P999Us, duration),
    ("max", Figure::MaxUs, duration),
    ("RSS MiB", Figure::RssBytes, mebibytes),
    ("load", Figure::LoadShare, percent),
];

const IDLE_COLUMNS: [Column; 3] = [
    ("B/connection", Figure::IdleBytes, grouped),
    ("after talking", Figure::TalkedBytes, grouped),
    ("process MiB", Figure::RssBytes, mebibytes),
];

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

const MEMBERSHIPS: [Column; 3] = [
    ("B/connection", Figure::IdleBytes, grouped),
    ("B/membership", Figure::MembershipBytes, grouped),
    ("while rooms speak", Figure::MembershipSpokenBytes, grouped),
];

const RAW_ROOM: [Column; 4] = [
    ("CPU ns/op", Figure::RawCpuNs, grouped),
    ("ratio to it", Figure::RawRatio, grouped),
    ("with messages as long", Figure::LongRawCpuNs, grouped),
    ("ratio to it", Figure::LongRawRatio, grouped),
];

const SUBSCRIBED: [Column; 4] = [
    ("B/connection", Figure::IdleBytes, grouped),
    ("subscribed", Figure::SubscribedBytes, grouped),
    ("CPU ns/connection/s", Figure::IdleCpuNs, grouped),
    ("process MiB", Figure::RssBytes, mebibytes),
];

const RECOVERY: [Column; 9] = [
    ("seconds", Figure::RecoverySeconds, grouped),
    ("refused", Figure::RefusedOnce, grouped),
    ("twice", Figure::RefusedTwice, grouped),
    ("CPU ns/op", Figure::CpuNs, grouped),
    ("p50", Figure::P50Us, duration),
    ("MiB at first", Figure::RssBaseBytes, mebibytes),
    ("before", Figure::RssBeforeBytes, mebibytes),
    ("at most", Figure::RssMostBytes, mebibytes),
    ("load", Figure::LoadShare, percent),
];

const BROADCAST: [Column; 9] = [
    ("deliveries/s", Figure::PerSecond, grouped),
    ("CPU ns/delivery", Figure::CpuNs, grouped),
    ("bytes/delivery", Figure::BytesEach, grouped),
    ("deliveries/frame", Figure::PerFrame, grouped),
    ("p50", Figure::P50Us, duration),
    ("p99", Figure::P99Us, duration),
    ("dropped", Figure::DroppedShare, percent),
    ("closed", Figure::Closed, grouped),
    ("load", Figure::LoadShare, percent),
];

const TICKER: [Column; 9] = [
    ("updates/s", Figure::PerSecond, grouped),
    ("CPU ns/update", Figure::CpuNs, grouped),
    ("fast: p50", Figure::FastAgeP50Us, duration),
    ("p99", Figure::FastAgeP99Us, duration),
    ("slow: p50", Figure::SlowAgeP50Us, duration),
    ("p99", Figure::SlowAgeP99Us, duration),
    ("not told", Figure::DroppedShare, percent),
    ("closed", Figure::Closed, grouped),
    ("load", Figure::LoadShare, percent),
];

const GROWTH: [Column; 3] = [
    ("MiB at first", Figure::RssBaseBytes, mebibytes),
    ("with all subscribers", Figure::RssBeforeBytes, mebibytes),
    ("at most", Figure::RssMostBytes, mebibytes),
];

const TOKENS: [Column; 9] = [
    ("alone: p50", Figure::ProbesAloneP50Us, duration),
    ("p99", Figure::ProbesAloneP99Us, duration),
    ("no tokens: p50", Figure::ProbesPlainP50Us, duration),
    ("p99", Figure::ProbesPlainP99Us, duration),
    ("tokens: p50", Figure::P50Us, duration),
    ("p99", Figure::P99Us, duration),
    ("connects/s", Figure::PerSecond, grouped),
    ("CPU ns/connect", Figure::CpuNs, grouped),
    ("without token", Figure::PlainCpuNs, grouped),
];

const SMALL_ROOMS: [Column; 7] = [
    ("p50", Figure::SmallRoomsP50Us, duration),
    ("p99", Figure::SmallRoomsP99Us, duration),
    ("max", Figure::SmallRoomsMaxUs, duration),
    ("alone: p50", Figure::SmallRoomsAloneP50Us, duration),
    ("p99", Figure::SmallRoomsAloneP99Us, duration),
    ("max", Figure::SmallRoomsAloneMaxUs, duration),
    ("p99 ratio", Figure::SmallRoomsRatio, grouped),
];

const ECHOES: [Column; 7] = [
    ("p50", Figure::EchoesP50Us, duration),
    ("p99", Figure::EchoesP99Us, duration),
    ("max", Figure::EchoesMaxUs, duration),
    ("alone: p50", Figure::EchoesAloneP50Us, duration),
    ("p99", Figure::EchoesAloneP99Us, duration),
    ("max", Figure::EchoesAloneMaxUs, duration),
    ("p99 ratio", Figure::EchoesRatio, grouped),
];

const PROBER: [Column; 4] = [
    ("sent late: p99", Figure::SentLateP99Us, duration),
    ("max", Figure::SentLateMaxUs, duration),
    ("read late: p99", Figure::ReadLateP99Us, duration),
    ("max", Figure::ReadLateMaxUs, duration),
];

const DELIVERED: [Column; 2] = [
    ("p50", Figure::DeliveredP50Us, duration),
    ("p99", Figure::DeliveredP99Us, duration),
];

const HEALTH: [Column; 6] = [
    ("p50", Figure::HealthP50Us, duration),
    ("p99", Figure::HealthP99Us, duration),
    ("max", Figure::HealthMaxUs, duration),
    ("alone: p50", Figure::HealthAloneP50Us, duration),
    ("p99", Figure::HealthAloneP99Us, duration),
    ("max", Figure::HealthAloneMaxUs, duration),
];

const READY: [Column; 6] = [
    ("p50", Figure::ReadyP50Us, duration),
    ("p99", Figure::ReadyP99Us, duration),
    ("max", Figure::ReadyMaxUs, duration),
    ("alone: p50", Figure::ReadyAloneP50Us, duration),
    ("p99", Figure::ReadyAloneP99Us, duration),
    ("max", Figure::ReadyAloneMaxUs, duration),
];

const METRICS: [Column; 6] = [
    ("p50", Figure::MetricsP50Us, duration),
    ("p99", Figure::MetricsP99Us, duration),
    ("max", Figure::MetricsMaxUs, duration),
    ("alone: p50", Figure::MetricsAloneP50Us, duration),
    ("p99", Figure::MetricsAloneP99Us, duration),
    ("max", Figure::MetricsAloneMaxUs, duration),
];

const HOOKS: [Column; 10] = [
    ("added: p50", Figure::AddedP50Us, duration),
    ("p99", Figure::AddedP99Us, duration),
    ("with: p50", Figure::P50Us, duration),
    ("p99", Figure::P99Us, duration),
    ("without: p50", Figure::WithoutHookP50Us, duration),
    ("p99", Figure::WithoutHookP99Us, duration),
    ("clients/s", Figure::PerSecond, grouped),
    ("CPU ns/client", Figure::CpuNs, grouped),
    ("without", Figure::WithoutHookCpuNs, grouped),
    ("load", Figure::LoadShare, percent),
];

const REFUSED: [Column; 4] = [
    ("silent: p50", Figure::SilentRefusedP50Us, duration),
    ("max", Figure::SilentRefusedMaxUs, duration),
    ("gone: p50", Figure::GoneRefusedP50Us, duration),
    ("max", Figure::GoneRefusedMaxUs, duration),
];

const ORDINARY: [Column; 6] = [
    ("nobody comes: p50", Figure::OrdinaryAloneP50Us, duration),
    ("p99", Figure::OrdinaryAloneP99Us, duration),
    ("silent: p50", Figure::OrdinarySilentP50Us, duration),
    ("p99", Figure::OrdinarySilentP99Us, duration),
    ("gone: p50", Figure::OrdinaryGoneP50Us, duration),
    ("p99", Figure::OrdinaryGoneP99Us, duration),
];

/// A table of all figures of a workload.
#[must_use]
pub fn of_workload(results: &Results, workload: &WorkloadInfo) -> String {
    let mut text = "<details><summary>Figures</summary>".to_owned();
    let tables: &[(&str, &[Column])] = match workload.family {
        Family::Idle => &[("Server", &IDLE_COLUMNS)],
        Family::Memberships => &[("Server", &COLUMNS), ("Memory", &MEMBERSHIPS)],
        Family::Subscribers => &[("Server", &COLUMNS), ("A raw room", &RAW_ROOM)],
        Family::Subscribed => &[("Server", &SUBSCRIBED)],
        Family::Recovery => &[("Server", &RECOVERY)],
        Family::Tokens => &[("Probes", &TOKENS)],
        Family::Broadcast => &[("Server", &BROADCAST), ("Memory", &GROWTH)],
        Family::Ticker => &[("Ages", &TICKER), ("Memory", &GROWTH)],
        Family::Api => &[("Server", &COLUMNS), ("Delivered after", &DELIVERED)],
        Family::Hooks => &[
            ("A back end asked", &HOOKS),
            ("Refused after", &REFUSED),
            ("Ordinary rooms", &ORDINARY),
        ],
        Family::Health => &[
            ("Alive?", &HEALTH),
            ("Ready?", &READY),
            ("Metrics", &METRICS),
            ("The flood", &COLUMNS),
        ],
        Family::Mixed => &[
            ("Small rooms", &SMALL_ROOMS),
            ("Echoes", &ECHOES),
            ("The large room", &COLUMNS),
            ("The prober", &PROBER),
        ],
        _ => &[("Server", &COLUMNS)],
    };
    for (title, columns) in tables {
        text.push_str(&table(results, workload, title, columns));
    }
    text.push_str("</details>");
    for (reason, servers) in results.unable(workload) {
        let servers = servers.join(", ");
        let _ = write!(text, "<p class=\"soft\">{reason}: {}</p>", escape(&servers));
    }
    text
}

fn table(results: &Results, workload: &WorkloadInfo, title: &str, columns: &[Column]) -> String {
    let mut text = format!("<div class=\"scroll\"><table><tr><th>{title}</th>");
    for (name, ..) in columns {
        let _ = write!(text, "<th>{name}</th>");
    }
    text.push_str("<th></th></tr>");
    let best = best_of(results, workload);
    for cell in results.ranked(workload) {
        text.push_str(&row(results, workload, cell, best, columns));
    }
    text + "</table></div>"
}

fn row(
    results: &Results,
    workload: &WorkloadInfo,
    cell: &Cell,
    best: Option<&Cell>,
    columns: &[Column],
) -> String {
    let class = match results.server(&cell.server).map(|server| server.origin) {
        Some(Origin::Hubbub) => "own",
        Some(Origin::Floor) => "floor",
        _ => "",
    };
    let mut text = format!("<tr class=\"{class}\"><td>{}</td>", escape(&cell.server));
    match &cell.status {
        Status::Unable { .. } | Status::Skipped { .. } => return String::new(),
        Status::Failed { reason } => {
            let columns = columns.len() + 1;
            let reason = escape(reason);
            let _ = write!(
                text,
                "<td class=\"wrap bad\" colspan=\"{columns}\">failed: {reason}</td>"
            );
        }
        Status::Measured => {
            for (_, figure, write) in columns {
                text.push_str(&figure_of(cell, *figure, *write));
            }
            let ranking = workload.ranking();
            let is_ranked = columns.iter().any(|(_, figure, _)| *figure == ranking);
            let mut parts = Vec::new();
            if is_ranked {
                parts.push(place(results, cell, best, ranking));
                parts.extend(cell.meets_mixed_goal().map(|met| goal(met).to_owned()));
                parts.extend(cell.notes());
            }
            let _ = write!(
                text,
                "<td class=\"wrap\">{}</td>",
                escape(&parts.join("; "))
            );
        }
    }
    text + "</tr>"
}

/// The median with the quartiles below it; the least and the most are shown when the pointer is
/// over it.
fn figure_of(cell: &Cell, figure: Figure, write: fn(f64) -> String) -> String {
    let Some(spread) = cell.summary.get(&figure) else {
        return "<td>–</td>".to_owned();
    };
    let mark = match figure == Figure::CpuNs && cell.lacks_softirqs() {
        true => "*",
        false => "",
    };
    let range = format!("least–most {}–{}", write(spread.min), write(spread.max));
    format!(
        "<td title=\"{range}\">{}{mark}{}</td>",
        write(spread.median),
        quartiles(cell, figure, write)
    )
}

/// The quartiles in small print, if there was more than one round.
#[must_use]
pub fn quartiles(cell: &Cell, figure: Figure, write: fn(f64) -> String) -> String {
    match cell.summary.get(&figure) {
        Some(spread) if cell.rounds.len() > 1 => format!(
            "<small>{}–{}</small>",
            write(spread.lower_quartile),
            write(spread.upper_quartile)
        ),
        _ => String::new(),
    }
}
