//! The first table: Hubbub beside the best of the others and the floor.

use super::scale::duration;
use super::svg::escape;
use super::tables::quartiles;
use crate::results::{Cell, Figure, Results, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::table::grouped;
use crate::workload::Family;
use std::fmt::Write as _;

/// A row for each workload and important figure.
#[must_use]
pub fn render(results: &Results) -> String {
    let mut text =
        "<h2 id=\"glance\">At a glance</h2><p>The better of Hubbub's two drivers beside \
                    the best of the others. A ratio below 1 means that Hubbub needs less.</p>\
                    <div class=\"card scroll\"><table><tr><th>Workload</th><th>Figure</th>\
                    <th>Hubbub</th><th>best other</th><th></th><th>ratio</th><th>floor</th>\
                    <th>ratio</th></tr>"
            .to_owned();
    for workload in &results.workloads {
        for &(figure, name, write) in figures(workload.family) {
            if let Some(row) = row(results, workload, figure, name, write) {
                text.push_str(&row);
            }
        }
    }
    text + "</table></div>"
}

type Row = (Figure, &'static str, fn(f64) -> String);

fn figures(family: Family) -> &'static [Row] {
    match family {
        Family::Idle => &[
            (Figure::IdleBytes, "bytes/connection", grouped),
            (Figure::TalkedBytes, "after talking", grouped),
        ],
        Family::Memberships => &[
            (Figure::CpuNs, "CPU ns/op", grouped),
            (Figure::MembershipBytes, "bytes/membership", grouped),
        ],
        Family::Mixed => &[
            (Figure::SmallRoomsP99Us, "p99 of small rooms", duration),
            (Figure::EchoesP99Us, "p99 of echoes", duration),
            (Figure::CpuNs, "CPU ns/op of the large room", grouped),
        ],
        Family::Subscribers => &[
            (Figure::CpuNs, "CPU ns/op", grouped),
            (Figure::RawRatio, "ratio to a raw room", grouped),
        ],
        Family::Subscribed => &[
            (Figure::SubscribedBytes, "bytes/connection", grouped),
            (Figure::IdleCpuNs, "CPU ns/connection/s", grouped),
        ],
        Family::Recovery => &[
            (Figure::RecoverySeconds, "seconds", grouped),
            (Figure::RefusedTwice, "refused twice", grouped),
        ],
        Family::Tokens => &[
            (Figure::P99Us, "p99 of the others", duration),
            (Figure::CpuNs, "CPU ns/connect", grouped),
        ],
        Family::Broadcast => &[
            (Figure::CpuNs, "CPU ns/delivery", grouped),
            (Figure::P99Us, "p99", duration),
        ],
        Family::Ticker => &[
            (Figure::SlowAgeP99Us, "p99 of the age, slow", duration),
            (Figure::FastAgeP99Us, "p99 of the age, fast", duration),
        ],
        Family::Stalled => &[(Figure::P99Us, "p99 of the others", duration)],
        Family::Api => &[
            (Figure::CpuNs, "CPU ns/message", grouped),
            (Figure::DeliveredP99Us, "p99 of deliveries", duration),
        ],
        Family::Hooks => &[
            (Figure::AddedP50Us, "added, median", duration),
            (
                Figure::OrdinarySilentP99Us,
                "p99 of others, stopped",
                duration,
            ),
        ],
        Family::Health => &[
            (Figure::HealthP99Us, "p99 of health", duration),
            (Figure::MetricsP99Us, "p99 of metrics", duration),
        ],
        Family::Connects => &[(Figure::CpuNs, "CPU ns/connection", grouped)],
        _ => &[
            (Figure::CpuNs, "CPU ns/op", grouped),
            (Figure::P99Us, "p99", duration),
        ],
    }
}

fn row(
    results: &Results,
    workload: &WorkloadInfo,
    figure: Figure,
    name: &str,
    write: fn(f64) -> String,
) -> Option<String> {
    if figure == Figure::P99Us && !workload.compares_latency() {
        return None;
    }
    let least = |chosen: &dyn Fn(Origin) -> bool| least(results, workload, figure, chosen);
    let own = least(&|origin| origin == Origin::Hubbub)?;
    let other = least(&|origin| matches!(origin, Origin::Peer | Origin::Baseline));
    let floor = least(&|origin| origin == Origin::Floor);
    let value = |cell: Option<&Cell>| {
        let median = |cell: &Cell| {
            let median = cell.median(figure).map(write)?;
            Some(median + &quartiles(cell, figure, write))
        };
        cell.and_then(median).unwrap_or("–".to_owned())
    };
    Some(format!(
        "<tr><td>{}</td><td>{name}</td><td>{}</td><td>{}</td><td class=\"wrap\">{}</td>{}<td>{}</td>{}</tr>",
        escape(&workload.name),
        value(Some(own)),
        value(other),
        other.map_or("", |cell| &cell.server),
        ratio(own, other, figure),
        value(floor),
        ratio(own, floor, figure),
    ))
}

fn least<'a>(
    results: &'a Results,
    workload: &WorkloadInfo,
    figure: Figure,
    chosen: &dyn Fn(Origin) -> bool,
) -> Option<&'a Cell> {
    results
        .cells
        .iter()
        .filter(|cell| cell.workload == workload.name && matches!(cell.status, Status::Measured))
        .filter(|cell| {
            results
                .server(&cell.server)
                .is_some_and(|server| chosen(server.origin))
        })
        .filter(|cell| cell.median(figure).is_some())
        .min_by(|one, other| {
            one.median(figure)
                .unwrap_or(f64::MAX)
                .total_cmp(&other.median(figure).unwrap_or(f64::MAX))
        })
}

fn ratio(own: &Cell, other: Option<&Cell>, figure: Figure) -> String {
    let spreads =
        other.and_then(|other| Some((own.summary.get(&figure)?, other.summary.get(&figure)?)));
    let Some((own, other)) = spreads.filter(|(_, other)| other.median > 0.0) else {
        return "<td>–</td>".to_owned();
    };
    let ratio = own.median / other.median;
    let mut text = String::new();
    if own.ties(other) {
        let _ = write!(text, "<td>{ratio:.2} tie</td>");
    } else {
        let class = if ratio < 1.0 { "good" } else { "bad" };
        let _ = write!(text, "<td class=\"{class}\">{ratio:.2}</td>");
    }
    text
}
