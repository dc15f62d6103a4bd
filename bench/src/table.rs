//! The results as a table for the terminal.

use crate::results::{Cell, Figure, Results, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::workload::Family;
use std::fmt::Write as _;

/// One workload.
#[must_use]
pub fn render(results: &Results, workload: &WorkloadInfo) -> String {
    let mut text = format!("\n{}: {}\n", workload.name, workload.about);
    let idle = workload.family == Family::Idle;
    let _ = writeln!(text, "{}", if idle { IDLE_HEAD } else { HEAD });
    let cells = results.ranked(workload);
    let best = best(results, &cells);
    for cell in cells {
        let place = place(results, cell, best, workload.ranking());
        let line = match &cell.status {
            Status::Measured if idle => idle_line(cell, &place),
            Status::Measured => line(cell, &place),
            Status::Unable { .. } | Status::Skipped { .. } => continue,
            Status::Failed { reason } => format!("  {:<18} FAILED: {reason}", cell.server),
        };
        let _ = writeln!(text, "{}", line.trim_end());
        for note in cell.notes() {
            let _ = writeln!(text, "  {:<18}   note: {note}", "");
        }
    }
    for (reason, servers) in results.unable(workload) {
        let _ = writeln!(text, "  {reason}: {}", servers.join(", "));
    }
    text
}

const HEAD: &str = "  server                per s    ns/op (min–max)         user  system      p50      p99    p99.9      max µs  RSS MiB  load";
const IDLE_HEAD: &str = "  server             B/connection (min–max)   after talking   process MiB";

/// The first that is not the floor.
fn best<'a>(results: &Results, cells: &[&'a Cell]) -> Option<&'a Cell> {
    cells.iter().copied().find(|cell| {
        let origin = results.server(&cell.server).map(|server| server.origin);
        origin != Some(Origin::Floor) && matches!(cell.status, Status::Measured)
    })
}

/// `best`, `tie` with it, or how many times its figure.
#[must_use]
pub fn place(results: &Results, cell: &Cell, best: Option<&Cell>, figure: Figure) -> String {
    let origin = results.server(&cell.server).map(|server| server.origin);
    let spread = |cell: &Cell| cell.summary.get(&figure).copied();
    match (best, best.and_then(spread), spread(cell)) {
        _ if origin == Some(Origin::Floor) => "floor".to_owned(),
        (Some(best), _, _) if best.server == cell.server => "best".to_owned(),
        (_, Some(best), Some(own)) if own.ties(&best) => "tie".to_owned(),
        (_, Some(best), Some(own)) if best.median > 0.0 => {
            format!("×{:.2}", own.median / best.median)
        }
        _ => String::new(),
    }
}

/// The best of a workload's cells, for [`place`].
#[must_use]
pub fn best_of<'a>(results: &'a Results, workload: &WorkloadInfo) -> Option<&'a Cell> {
    best(results, &results.ranked(workload))
}

fn line(cell: &Cell, place: &str) -> String {
    let value = |figure| cell.median(figure);
    let range = cell
        .summary
        .get(&Figure::CpuNs)
        .map_or(String::new(), |spread| {
            format!("({}–{})", grouped(spread.min), grouped(spread.max))
        });
    format!(
        "  {:<18} {:>9} {:>8} {:<17} {:>6} {:>7} {:>8} {:>8} {:>8} {:>11} {:>8} {:>4}% {place}{}",
        cell.server,
        number(value(Figure::PerSecond)),
        number(value(Figure::CpuNs)),
        range,
        number(value(Figure::CpuUserNs)),
        number(value(Figure::CpuSystemNs)),
        number(value(Figure::P50Us)),
        number(value(Figure::P99Us)),
        number(value(Figure::P999Us)),
        number(value(Figure::MaxUs)),
        value(Figure::RssBytes)
            .map_or("–".to_owned(), |bytes| format!("{:.1}", mebibytes(bytes))),
        value(Figure::LoadShare)
            .map_or(0.0, |share| share * 100.0)
            .round(),
        if cell.load_was_the_limit() {
            " (load was the limit)"
        } else {
            ""
        },
    )
}

fn idle_line(cell: &Cell, place: &str) -> String {
    let spread = |figure| {
        cell.summary.get(&figure).map_or("–".to_owned(), |spread| {
            format!(
                "{} ({}–{})",
                grouped(spread.median),
                grouped(spread.min),
                grouped(spread.max)
            )
        })
    };
    format!(
        "  {:<18} {:<24} {:<24} {:>6} {place}",
        cell.server,
        spread(Figure::IdleBytes),
        spread(Figure::TalkedBytes),
        cell.median(Figure::RssBytes)
            .map_or("–".to_owned(), |bytes| format!("{:.1}", mebibytes(bytes))),
    )
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), grouped)
}

/// Three digits at least, thousands parted.
#[must_use]
pub fn grouped(value: f64) -> String {
    let whole = (value - value.round()).abs() < 1e-9;
    if value.abs() < 10.0 && !whole {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 && !whole {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 {
        "-".to_owned()
    } else {
        String::new()
    };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(123.4), "123");
        assert_eq!(grouped(12.34), "12.3");
        assert_eq!(grouped(0.5), "0.50");
        assert_eq!(grouped(-1500.0), "-1,500");
    }
}
