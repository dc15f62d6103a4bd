//! The results as a table for the terminal.

use crate::results::{Cell, Figure, Results, Spread, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::workload::Family;
use std::fmt::Write as _;

/// One workload.
#[must_use]
pub fn render(results: &Results, workload: &WorkloadInfo) -> String {
    let mut text = format!("\n{}: {}\n", workload.name, workload.about);
    let columns: &[Column] = match workload.family {
        Family::Idle => &IDLE_COLUMNS,
        _ => &COLUMNS,
    };
    text.push_str(&head(columns, workload.ranking()));
    let cells = results.ranked(workload);
    let best = best(results, &cells);
    for cell in cells {
        let place = place(results, cell, best, workload.ranking());
        match &cell.status {
            Status::Measured => text.push_str(&lines(cell, columns, workload.ranking(), &place)),
            Status::Unable { .. } | Status::Skipped { .. } => continue,
            Status::Failed { reason } => {
                let _ = writeln!(text, "  {:<18} FAILED: {reason}", cell.server);
            }
        }
        for note in cell.notes() {
            let _ = writeln!(text, "  {:<18}   note: {note}", "");
        }
    }
    for (reason, servers) in results.unable(workload) {
        let _ = writeln!(text, "  {reason}: {}", servers.join(", "));
    }
    text
}

/// A figure's name, how wide it is and how it is written.
struct Column {
    name: &'static str,
    figure: Figure,
    width: usize,
    write: fn(f64) -> String,
}

const fn column(
    name: &'static str,
    figure: Figure,
    width: usize,
    write: fn(f64) -> String,
) -> Column {
    Column {
        name,
        figure,
        width,
        write,
    }
}

const COLUMNS: [Column; 11] = [
    column("per s", Figure::PerSecond, 9, grouped),
    column("ns/op", Figure::CpuNs, 9, grouped),
    column("user", Figure::CpuUserNs, 7, grouped),
    column("system", Figure::CpuSystemNs, 7, grouped),
    column("softirq", Figure::CpuSoftirqNs, 8, grouped),
    column("p50", Figure::P50Us, 8, grouped),
    column("p99", Figure::P99Us, 8, grouped),
    column("p99.9", Figure::P999Us, 8, grouped),
    column("max µs", Figure::MaxUs, 11, grouped),
    column("RSS MiB", Figure::RssBytes, 8, mebibytes),
    column("load", Figure::LoadShare, 5, percent),
];

const IDLE_COLUMNS: [Column; 3] = [
    column("B/connection", Figure::IdleBytes, 14, grouped),
    column("after talking", Figure::TalkedBytes, 14, grouped),
    column("process MiB", Figure::RssBytes, 13, mebibytes),
];

fn head(columns: &[Column], ranking: Figure) -> String {
    let mut text = format!("  {:<18}", "server");
    for column in columns {
        let _ = write!(text, " {:>1$}", column.name, column.width);
    }
    let ranked = columns.iter().find(|column| column.figure == ranking);
    if let Some(column) = ranked {
        let _ = write!(text, "  {} (least–most)", column.name);
    }
    text + "\n"
}

/// Of each column what `value` says of its spread.
fn figures(cell: &Cell, columns: &[Column], value: fn(&Spread) -> f64) -> String {
    let mut text = String::new();
    for column in columns {
        let marked = column.figure == Figure::CpuNs && cell.lacks_softirqs();
        let mut written = cell
            .summary
            .get(&column.figure)
            .map_or("–".to_owned(), |spread| (column.write)(value(spread)));
        if marked {
            written.push('*');
        }
        let _ = write!(text, " {written:>0$}", column.width);
    }
    text
}

/// The medians, and below them the quartiles if there was more than one round.
fn lines(cell: &Cell, columns: &[Column], ranking: Figure, place: &str) -> String {
    let range = cell
        .summary
        .get(&ranking)
        .filter(|_| cell.rounds.len() > 1)
        .map_or(String::new(), |spread| {
            format!("({}–{}) ", grouped(spread.min), grouped(spread.max))
        });
    let limit = match cell.load_was_the_limit() {
        true => " (load was the limit)",
        false => "",
    };
    let medians = figures(cell, columns, |spread| spread.median);
    let mut text = format!("  {:<18}{medians}  {range}{place}{limit}", cell.server);
    text.truncate(text.trim_end().len());
    text.push('\n');
    if cell.rounds.len() > 1 {
        let lower = figures(cell, columns, |spread| spread.lower_quartile);
        let upper = figures(cell, columns, |spread| spread.upper_quartile);
        let _ = writeln!(text, "  {:<18}{lower}", "    lower quartile");
        let _ = writeln!(text, "  {:<18}{upper}", "    upper quartile");
    }
    text
}

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

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
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
    use super::*;
    use crate::results::Sample;

    fn cell(rounds: &[f64], figures: &[Figure]) -> Cell {
        let sample = |&value: &f64| Sample {
            figures: figures.iter().map(|&figure| (figure, value)).collect(),
            ..Sample::default()
        };
        let mut cell = Cell {
            workload: String::new(),
            server: "hubbub".to_owned(),
            status: Status::Measured,
            rounds: rounds.iter().map(sample).collect(),
            summary: Default::default(),
            percentiles: Vec::new(),
            histogram_log: None,
        };
        cell.summarize();
        cell
    }

    #[test]
    fn lines_have_quartiles_below_their_medians() {
        let cell = cell(&[100.0, 200.0, 400.0], &[Figure::IdleBytes]);
        let text = lines(&cell, &IDLE_COLUMNS[..1], Figure::IdleBytes, "best");
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|it| it.split_whitespace().collect())
            .collect();
        assert_eq!(words[0], ["hubbub", "200", "(100–400)", "best"]);
        assert_eq!(words[1], ["lower", "quartile", "150"]);
        assert_eq!(words[2], ["upper", "quartile", "300"]);
        let ends: Vec<usize> = text.lines().map(|it| it[..33].trim_end().len()).collect();
        assert_eq!(ends, [33, 33, 33], "{text}");
    }

    #[test]
    fn lines_of_one_round_have_no_spread() {
        let cell = cell(&[100.0], &[Figure::IdleBytes]);
        let text = lines(&cell, &IDLE_COLUMNS[..1], Figure::IdleBytes, "best");
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('('), "{text}");
    }

    #[test]
    fn processor_time_without_softirqs_is_marked() {
        let text = |figures: &[Figure]| lines(&cell(&[7.0], figures), &COLUMNS, Figure::CpuNs, "");
        assert!(text(&[Figure::CpuNs]).contains(" 7*"));
        assert!(!text(&[Figure::CpuNs, Figure::CpuSoftirqNs]).contains('*'));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.0), "1,234,567");
        assert_eq!(grouped(123.4), "123");
        assert_eq!(grouped(12.34), "12.3");
        assert_eq!(grouped(0.5), "0.50");
        assert_eq!(grouped(-1500.0), "-1,500");
    }
}
