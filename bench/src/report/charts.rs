//! The charts of a workload and of a family of workloads.

use super::class;
use super::scale::{duration, nines, short};
use super::svg::{Axis, Bar, Line, bars, lines};
use crate::model::SIZES;
use crate::results::{Cell, Figure, Results, ServerInfo, Status, WorkloadInfo};
use crate::table::grouped;
use crate::workload::Family;

/// Beyond this a histogram of a short run has too few values.
const NINES_MAX: f64 = 4.0;

/// The charts that compare the workloads of a family.
#[must_use]
pub fn of_family(results: &Results, family: Family, workloads: &[&WorkloadInfo]) -> String {
    match family {
        Family::Room => [1, 32].map(|at_once| sizes(results, at_once)).concat(),
        Family::Idle => {
            // Among the largest workloads the plain one comes first, and of equals `max_by_key`
            // takes the last.
            let most = workloads.iter().rev().max_by_key(|one| one.connections);
            most.map_or(String::new(), |workload| memory(results, workload))
        }
        Family::Stalled => changes(results, &[STALLED]),
        Family::Cores => changes(results, &CORES),
        _ => String::new(),
    }
}

/// A figure of each server in one workload and in another.
struct Change {
    title: &'static str,
    figure: Figure,
    before: &'static str,
    after: &'static str,
    write: fn(f64) -> String,
}

const STALLED: Change = Change {
    title: "p99 of the others with a tenth that does not read, against p99 without",
    figure: Figure::P99Us,
    before: "stall-0pct",
    after: "stall-10pct",
    write: duration,
};

const CORES: [Change; 2] = [
    Change {
        title: "CPU for each delivery on two cores, against one; 1 message in flight",
        figure: Figure::CpuNs,
        before: "room-1000-deep1",
        after: "room-1000-deep1-2cores",
        write: grouped,
    },
    Change {
        title: "CPU for each delivery on two cores, against one; 32 messages in flight",
        figure: Figure::CpuNs,
        before: "room-1000-deep32",
        after: "room-1000-deep32-2cores",
        write: grouped,
    },
];

fn changes(results: &Results, changes: &[Change]) -> String {
    let charts: String = changes
        .iter()
        .map(|change| changed(results, change))
        .collect();
    if charts.is_empty() {
        return charts;
    }
    format!("<div class=\"card\"><div class=\"pair\">{charts}</div></div>")
}

fn changed(results: &Results, change: &Change) -> String {
    let bar = |server: &ServerInfo| {
        let spread = |workload| {
            results
                .cell(workload, &server.name)?
                .summary
                .get(&change.figure)
                .copied()
        };
        let (before, after) = (spread(change.before)?, spread(change.after)?);
        let ratio = after.median / before.median;
        let tie = if before.ties(&after) { " (tie)" } else { "" };
        let (was, is) = ((change.write)(before.median), (change.write)(after.median));
        Some(Bar {
            label: server.name.clone(),
            class: class(Some(server), &server.name),
            value: ratio,
            lighter: 0.0,
            spread: None,
            text: format!("×{ratio:.2}{tie}"),
            title: format!("{}: {was}, then {is}", server.name),
        })
    };
    let all: Vec<Bar> = results.servers.iter().filter_map(bar).collect();
    if all.is_empty() {
        String::new()
    } else {
        bars(change.title, &all)
    }
}

/// The charts of one workload.
#[must_use]
pub fn of_workload(results: &Results, workload: &WorkloadInfo) -> String {
    let cells: Vec<&Cell> = results
        .ranked(workload)
        .into_iter()
        .filter(|cell| matches!(cell.status, Status::Measured))
        .collect();
    let pair = pair(workload);
    let pair = pair.iter().filter_map(|&(title, figure, lighter, write)| {
        let chosen = cells
            .iter()
            .filter_map(|cell| bar(results, cell, figure, lighter, write));
        let chosen: Vec<Bar> = chosen.collect();
        (!chosen.is_empty()).then(|| bars(title, &chosen))
    });
    let pair: String = pair.collect();
    let latency = latency(results, &cells, workload.compares_latency());
    format!("<div class=\"pair\">{pair}</div>{latency}")
}

/// A title, a figure, the part of it that is drawn lighter, and the format of the figure.
type Row = (&'static str, Figure, Option<Figure>, fn(f64) -> String);

const CPU: Row = (
    "Server CPU for each operation, ns (light: user space)",
    Figure::CpuNs,
    Some(Figure::CpuUserNs),
    grouped,
);

/// The two figures that matter.
fn pair(workload: &WorkloadInfo) -> [Row; 2] {
    match workload.family {
        Family::Idle => [
            (
                "Bytes for each idle connection",
                Figure::IdleBytes,
                None,
                grouped,
            ),
            (
                "The same after each has talked once",
                Figure::TalkedBytes,
                None,
                grouped,
            ),
        ],
        Family::Memberships => [
            CPU,
            (
                "Bytes for each room of each connection",
                Figure::MembershipBytes,
                None,
                grouped,
            ),
        ],
        Family::Subscribed => [
            (
                "Bytes for each idle connection with one subscription",
                Figure::SubscribedBytes,
                None,
                grouped,
            ),
            (
                "Server CPU for each connection and second, ns",
                Figure::IdleCpuNs,
                None,
                grouped,
            ),
        ],
        Family::Recovery => [
            (
                "Seconds until all had recovered",
                Figure::RecoverySeconds,
                None,
                grouped,
            ),
            CPU,
        ],
        Family::Tokens => [
            (
                "p99 of the others beside tokens (light: without connects)",
                Figure::P99Us,
                Some(Figure::ProbesAloneP99Us),
                duration,
            ),
            CPU,
        ],
        Family::Broadcast => [CPU, ("p99", Figure::P99Us, None, duration)],
        Family::Ticker => [
            (
                "p99 of the age of values, slow subscribers (light: fast ones)",
                Figure::SlowAgeP99Us,
                Some(Figure::FastAgeP99Us),
                duration,
            ),
            CPU,
        ],
        Family::Hooks => [
            (
                "Median with a back end asked (light: without)",
                Figure::P50Us,
                Some(Figure::WithoutHookP50Us),
                duration,
            ),
            (
                "p99 of ordinary rooms while the back end is silent (light: nobody comes)",
                Figure::OrdinarySilentP99Us,
                Some(Figure::OrdinaryAloneP99Us),
                duration,
            ),
        ],
        Family::Health => [
            (
                "p99 of health beside the flood (light: without it)",
                Figure::HealthP99Us,
                Some(Figure::HealthAloneP99Us),
                duration,
            ),
            (
                "p99 of metrics beside the flood (light: without it)",
                Figure::MetricsP99Us,
                Some(Figure::MetricsAloneP99Us),
                duration,
            ),
        ],
        Family::Mixed => [
            (
                "p99 of small rooms beside the large one (light: without it)",
                Figure::SmallRoomsP99Us,
                Some(Figure::SmallRoomsAloneP99Us),
                duration,
            ),
            (
                "p99 of echoes beside the large room (light: without it)",
                Figure::EchoesP99Us,
                Some(Figure::EchoesAloneP99Us),
                duration,
            ),
        ],
        _ if workload.compares_latency() => [("p99", Figure::P99Us, None, duration), CPU],
        _ => [CPU, ("Operations a second", Figure::PerSecond, None, short)],
    }
}

fn bar(
    results: &Results,
    cell: &Cell,
    figure: Figure,
    lighter: Option<Figure>,
    write: fn(f64) -> String,
) -> Option<Bar> {
    let spread = cell.summary.get(&figure)?;
    let lighter = lighter
        .and_then(|figure| cell.median(figure))
        .unwrap_or(0.0);
    let limit = figure == Figure::PerSecond && cell.load_was_the_limit();
    Some(Bar {
        label: cell.server.clone(),
        class: class(results.server(&cell.server), &cell.server),
        value: spread.median,
        lighter,
        spread: Some(*spread),
        text: format!(
            "{}{}",
            write(spread.median),
            if limit { " (load's limit)" } else { "" }
        ),
        title: format!(
            "{}: {}, quartiles {}–{}, least–most {}–{}",
            cell.server,
            write(spread.median),
            write(spread.lower_quartile),
            write(spread.upper_quartile),
            write(spread.min),
            write(spread.max)
        ),
    })
}

/// The latency curve as HdrHistogram draws it: latency over the share of operations that took no
/// longer.
fn latency(results: &Results, cells: &[&Cell], open: bool) -> String {
    let curve = |cell: &&Cell| {
        let points = cell.percentiles.iter();
        let points = points.map(|&(share, value)| (nines(share), value.max(1.0)));
        let points: Vec<_> = points.filter(|point| point.0 <= NINES_MAX).collect();
        (points.len() > 1).then(|| Line {
            label: cell.server.clone(),
            class: class(results.server(&cell.server), &cell.server),
            points,
            marked: false,
        })
    };
    let curves: Vec<Line> = cells.iter().filter_map(curve).collect();
    if curves.is_empty() {
        return String::new();
    }
    let ticks = [
        (0.0, "0 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
    ];
    let share = Axis {
        ticks: ticks.map(|(nines, text)| (nines, text.to_owned())).into(),
        ..Axis::new("share of operations that took no longer", false)
    };
    let time = Axis {
        write: duration,
        ..Axis::new("latency", true)
    };
    let chart = lines("Latency by percentile", &share, &time, &curves);
    let open = if open { " open" } else { "" };
    format!("<details{open}><summary>Latency</summary>{chart}</details>")
}

fn sizes(results: &Results, at_once: u32) -> String {
    let line = |server: &ServerInfo| {
        let cost = |size: u32| {
            let cell = results.cell(&format!("room-{size}-deep{at_once}"), &server.name)?;
            Some((f64::from(size), cell.median(Figure::CpuNs)?))
        };
        let points: Vec<_> = SIZES.into_iter().filter_map(cost).collect();
        (points.len() > 1).then(|| Line {
            label: server.name.clone(),
            class: class(Some(server), &server.name),
            points,
            marked: true,
        })
    };
    let all: Vec<Line> = results.servers.iter().filter_map(line).collect();
    if all.is_empty() {
        return String::new();
    }
    let ticks = SIZES
        .map(|size| (f64::from(size), grouped_size(size)))
        .into();
    let size = Axis {
        ticks,
        ..Axis::new("subscribers of the room", true)
    };
    let cost = Axis {
        write: |ns| duration(ns / 1e3).replace("0.", "."),
        ..Axis::new("CPU for each delivery", true)
    };
    let plural = if at_once == 1 { "message" } else { "messages" };
    let title = format!("Cost against size of the room, {at_once} {plural} in flight");
    format!(
        "<div class=\"card\">{}</div>",
        lines(&title, &size, &cost, &all)
    )
}

fn grouped_size(size: u32) -> String {
    if size < 1_000 {
        size.to_string()
    } else {
        grouped(f64::from(size))
    }
}

fn memory(results: &Results, workload: &WorkloadInfo) -> String {
    let line = |cell: &&Cell| {
        let curve = cell
            .rounds
            .first()
            .map(|round| &round.memory)
            .filter(|it| it.len() > 1)?;
        let base = curve[0].1;
        let point = |&(count, bytes): &(usize, u64)| {
            (
                count as f64,
                bytes.saturating_sub(base) as f64 / f64::from(1 << 20),
            )
        };
        Some(Line {
            label: cell.server.clone(),
            class: class(results.server(&cell.server), &cell.server),
            points: curve[1..].iter().map(point).collect(),
            marked: true,
        })
    };
    let all: Vec<Line> = results.ranked(workload).iter().filter_map(line).collect();
    if all.is_empty() {
        return String::new();
    }
    let count = Axis::new("idle connections", false);
    let bytes = Axis {
        write: |mebibytes| format!("{} MiB", short(mebibytes)),
        ..Axis::new("resident memory", true)
    };
    let title = "Memory against connections, beyond the process's own";
    format!(
        "<div class=\"card\">{}</div>",
        lines(title, &count, &bytes, &all)
    )
}
