//! The results as a table for the terminal.

use crate::results::{Cell, Figure, Results, Spread, Status, WorkloadInfo};
use crate::servers::Origin;
use crate::workload::Family;
use std::fmt::Write as _;

/// The table of one workload.
#[must_use]
pub fn render(results: &Results, workload: &WorkloadInfo) -> String {
    let mut text = format!("\n{}: {}\n", workload.name, workload.about);
    let cells = results.ranked(workload);
    for (number, block) in blocks(workload).iter().enumerate() {
        let is_first = number == 0;
        text.push_str(&head(block));
        for cell in &cells {
            match &cell.status {
                Status::Measured => {
                    text.push_str(&lines(cell, block, &tail(results, &cells, cell, block)))
                }
                Status::Failed { reason } if is_first => {
                    let _ = writeln!(text, "  {:<18} FAILED: {reason}", cell.server);
                }
                _ => continue,
            }
            for note in cell.notes().iter().filter(|_| is_first) {
                let _ = writeln!(text, "  {:<18}   note: {note}", "");
            }
        }
    }
    for (reason, servers) in results.unable(workload) {
        let _ = writeln!(text, "  {reason}: {}", servers.join(", "));
    }
    text
}

/// A column: the name of a figure, its width and its format.
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

const MEMBERSHIPS: [Column; 3] = [
    column("B/connection", Figure::IdleBytes, 14, grouped),
    column("B/membership", Figure::MembershipBytes, 14, grouped),
    column("while spoken", Figure::MembershipSpokenBytes, 14, grouped),
];

const RAW_ROOM: [Column; 4] = [
    column("ns/op", Figure::RawCpuNs, 9, grouped),
    column("ratio to it", Figure::RawRatio, 12, grouped),
    column("as long", Figure::LongRawCpuNs, 9, grouped),
    column("ratio to it", Figure::LongRawRatio, 12, grouped),
];

const SUBSCRIBED: [Column; 4] = [
    column("B/connection", Figure::IdleBytes, 14, grouped),
    column("subscribed", Figure::SubscribedBytes, 14, grouped),
    column("ns/connection/s", Figure::IdleCpuNs, 16, grouped),
    column("process MiB", Figure::RssBytes, 13, mebibytes),
];

const RECOVERY: [Column; 9] = [
    column("seconds", Figure::RecoverySeconds, 9, grouped),
    column("refused", Figure::RefusedOnce, 8, grouped),
    column("twice", Figure::RefusedTwice, 6, grouped),
    column("ns/op", Figure::CpuNs, 9, grouped),
    column("p50 µs", Figure::P50Us, 10, grouped),
    column("MiB at first", Figure::RssBaseBytes, 13, mebibytes),
    column("before", Figure::RssBeforeBytes, 8, mebibytes),
    column("at most", Figure::RssMostBytes, 8, mebibytes),
    column("load", Figure::LoadShare, 5, percent),
];

const TOKENS: [Column; 9] = [
    column("alone p50", Figure::ProbesAloneP50Us, 10, grouped),
    column("p99", Figure::ProbesAloneP99Us, 8, grouped),
    column("plain p50", Figure::ProbesPlainP50Us, 10, grouped),
    column("p99", Figure::ProbesPlainP99Us, 8, grouped),
    column("tokens p50", Figure::P50Us, 11, grouped),
    column("p99", Figure::P99Us, 8, grouped),
    column("per s", Figure::PerSecond, 8, grouped),
    column("ns/op", Figure::CpuNs, 9, grouped),
    column("plain ns", Figure::PlainCpuNs, 9, grouped),
];

const BROADCAST: [Column; 9] = [
    column("per s", Figure::PerSecond, 10, grouped),
    column("ns/op", Figure::CpuNs, 8, grouped),
    column("B/op", Figure::BytesEach, 6, grouped),
    column("ops/frame", Figure::PerFrame, 9, grouped),
    column("p50 µs", Figure::P50Us, 10, grouped),
    column("p99", Figure::P99Us, 10, grouped),
    column("dropped", Figure::DroppedShare, 7, percent),
    column("closed", Figure::Closed, 6, grouped),
    column("load", Figure::LoadShare, 5, percent),
];

const TICKER: [Column; 9] = [
    column("updates/s", Figure::PerSecond, 9, grouped),
    column("ns/update", Figure::CpuNs, 10, grouped),
    column("fast p50 µs", Figure::FastAgeP50Us, 11, grouped),
    column("p99", Figure::FastAgeP99Us, 10, grouped),
    column("slow p50 µs", Figure::SlowAgeP50Us, 11, grouped),
    column("p99", Figure::SlowAgeP99Us, 10, grouped),
    column("not told", Figure::DroppedShare, 8, percent),
    column("closed", Figure::Closed, 6, grouped),
    column("load", Figure::LoadShare, 5, percent),
];

const GROWTH: [Column; 3] = [
    column("MiB at first", Figure::RssBaseBytes, 13, mebibytes),
    column("subscribed", Figure::RssBeforeBytes, 10, mebibytes),
    column("at most", Figure::RssMostBytes, 8, mebibytes),
];

const SMALL_ROOMS: [Column; 7] = [
    column("p50", Figure::SmallRoomsP50Us, 9, grouped),
    column("p99", Figure::SmallRoomsP99Us, 9, grouped),
    column("max µs", Figure::SmallRoomsMaxUs, 9, grouped),
    column("alone p50", Figure::SmallRoomsAloneP50Us, 10, grouped),
    column("alone p99", Figure::SmallRoomsAloneP99Us, 10, grouped),
    column("alone max", Figure::SmallRoomsAloneMaxUs, 10, grouped),
    column("p99 ratio", Figure::SmallRoomsRatio, 10, grouped),
];

const ECHOES: [Column; 7] = [
    column("p50", Figure::EchoesP50Us, 9, grouped),
    column("p99", Figure::EchoesP99Us, 9, grouped),
    column("max µs", Figure::EchoesMaxUs, 9, grouped),
    column("alone p50", Figure::EchoesAloneP50Us, 10, grouped),
    column("alone p99", Figure::EchoesAloneP99Us, 10, grouped),
    column("alone max", Figure::EchoesAloneMaxUs, 10, grouped),
    column("p99 ratio", Figure::EchoesRatio, 10, grouped),
];

const PROBER: [Column; 4] = [
    column("sent: p99", Figure::SentLateP99Us, 9, grouped),
    column("max µs", Figure::SentLateMaxUs, 9, grouped),
    column("read: p99", Figure::ReadLateP99Us, 9, grouped),
    column("max µs", Figure::ReadLateMaxUs, 9, grouped),
];

const DELIVERED: [Column; 2] = [
    column("p50", Figure::DeliveredP50Us, 9, grouped),
    column("p99 µs", Figure::DeliveredP99Us, 9, grouped),
];

const HEALTH: [Column; 6] = [
    column("p50", Figure::HealthP50Us, 9, grouped),
    column("p99", Figure::HealthP99Us, 9, grouped),
    column("max µs", Figure::HealthMaxUs, 9, grouped),
    column("alone p50", Figure::HealthAloneP50Us, 10, grouped),
    column("alone p99", Figure::HealthAloneP99Us, 10, grouped),
    column("alone max", Figure::HealthAloneMaxUs, 10, grouped),
];

const READY: [Column; 6] = [
    column("p50", Figure::ReadyP50Us, 9, grouped),
    column("p99", Figure::ReadyP99Us, 9, grouped),
    column("max µs", Figure::ReadyMaxUs, 9, grouped),
    column("alone p50", Figure::ReadyAloneP50Us, 10, grouped),
    column("alone p99", Figure::ReadyAloneP99Us, 10, grouped),
    column("alone max", Figure::ReadyAloneMaxUs, 10, grouped),
];

const METRICS: [Column; 6] = [
    column("p50", Figure::MetricsP50Us, 9, grouped),
    column("p99", Figure::MetricsP99Us, 9, grouped),
    column("max µs", Figure::MetricsMaxUs, 9, grouped),
    column("alone p50", Figure::MetricsAloneP50Us, 10, grouped),
    column("alone p99", Figure::MetricsAloneP99Us, 10, grouped),
    column("alone max", Figure::MetricsAloneMaxUs, 10, grouped),
];

const HOOKS: [Column; 10] = [
    column("added p50", Figure::AddedP50Us, 10, grouped),
    column("p99", Figure::AddedP99Us, 8, grouped),
    column("with p50", Figure::P50Us, 9, grouped),
    column("p99", Figure::P99Us, 8, grouped),
    column("without p50", Figure::WithoutHookP50Us, 11, grouped),
    column("p99 µs", Figure::WithoutHookP99Us, 8, grouped),
    column("per s", Figure::PerSecond, 8, grouped),
    column("ns/op", Figure::CpuNs, 9, grouped),
    column("without", Figure::WithoutHookCpuNs, 9, grouped),
    column("load", Figure::LoadShare, 5, percent),
];

const REFUSED: [Column; 4] = [
    column("silent p50", Figure::SilentRefusedP50Us, 11, grouped),
    column("max µs", Figure::SilentRefusedMaxUs, 9, grouped),
    column("gone p50", Figure::GoneRefusedP50Us, 9, grouped),
    column("max µs", Figure::GoneRefusedMaxUs, 9, grouped),
];

const ORDINARY: [Column; 6] = [
    column("alone p50", Figure::OrdinaryAloneP50Us, 10, grouped),
    column("p99", Figure::OrdinaryAloneP99Us, 8, grouped),
    column("silent p50", Figure::OrdinarySilentP50Us, 11, grouped),
    column("p99", Figure::OrdinarySilentP99Us, 8, grouped),
    column("gone p50", Figure::OrdinaryGoneP50Us, 9, grouped),
    column("p99 µs", Figure::OrdinaryGoneP99Us, 8, grouped),
];

/// A table of a workload: all servers with some figures.
struct Block {
    title: &'static str,
    columns: &'static [Column],
    /// The figure by which servers are compared here; `None` if they are not.
    ranking: Option<Figure>,
}

fn blocks(workload: &WorkloadInfo) -> Vec<Block> {
    let block = |title, columns, ranking| Block {
        title,
        columns,
        ranking,
    };
    match workload.family {
        Family::Idle => vec![block("server", &IDLE_COLUMNS, Some(workload.ranking()))],
        Family::Memberships => vec![
            block("server", &COLUMNS, Some(workload.ranking())),
            block("memory", &MEMBERSHIPS, Some(Figure::MembershipBytes)),
        ],
        Family::Subscribers => vec![
            block("server", &COLUMNS, Some(workload.ranking())),
            block("a raw room", &RAW_ROOM, None),
        ],
        Family::Subscribed => vec![block("server", &SUBSCRIBED, Some(workload.ranking()))],
        Family::Recovery => vec![block("server", &RECOVERY, Some(workload.ranking()))],
        Family::Tokens => vec![block("probes", &TOKENS, Some(workload.ranking()))],
        Family::Broadcast => vec![
            block("server", &BROADCAST, Some(workload.ranking())),
            block("memory", &GROWTH, None),
        ],
        Family::Ticker => vec![
            block("ages", &TICKER, Some(workload.ranking())),
            block("memory", &GROWTH, None),
        ],
        Family::Api => vec![
            block("server", &COLUMNS, Some(workload.ranking())),
            block("delivered after", &DELIVERED, None),
        ],
        Family::Hooks => vec![
            block("a back end asked", &HOOKS, Some(workload.ranking())),
            block("refused after", &REFUSED, None),
            block("ordinary rooms", &ORDINARY, None),
        ],
        Family::Health => vec![
            block("alive?", &HEALTH, Some(Figure::HealthP99Us)),
            block("ready?", &READY, None),
            block("metrics", &METRICS, None),
            block("the flood", &COLUMNS, None),
        ],
        Family::Mixed => vec![
            block("small rooms", &SMALL_ROOMS, Some(Figure::SmallRoomsP99Us)),
            block("echoes", &ECHOES, Some(Figure::EchoesP99Us)),
            block("the large room", &COLUMNS, None),
            block("the prober, late", &PROBER, None),
        ],
        _ => vec![block("server", &COLUMNS, Some(workload.ranking()))],
    }
}

fn head(block: &Block) -> String {
    let mut text = format!("  {:<18}", block.title);
    for column in block.columns {
        let _ = write!(text, " {:>1$}", column.name, column.width);
    }
    let ranked = |column: &&Column| Some(column.figure) == block.ranking;
    if let Some(column) = block.columns.iter().find(ranked) {
        let _ = write!(text, "  {} (least–most)", column.name);
    }
    text + "\n"
}

/// The text behind the figures: their spread, the server's rank, and remarks for the reader.
fn tail(results: &Results, cells: &[&Cell], cell: &Cell, block: &Block) -> String {
    let mut parts = Vec::new();
    if let Some(figure) = block.ranking {
        let several = cell.rounds.len() > 1;
        if let Some(spread) = cell.summary.get(&figure).filter(|_| several) {
            parts.push(format!("({}–{})", grouped(spread.min), grouped(spread.max)));
        }
        parts.push(place(results, cell, least(results, cells, figure), figure));
    }
    if block.ranking == Some(Figure::SmallRoomsP99Us) {
        parts.extend(cell.meets_mixed_goal().map(|met| goal(met).to_owned()));
    }
    let has_load = |column: &Column| column.figure == Figure::LoadShare;
    if cell.load_was_the_limit() && block.columns.iter().any(has_load) {
        parts.push("(load was the limit)".to_owned());
    }
    parts.join(" ")
}

/// Whether a large room delays small rooms and echoes only a little, in words.
#[must_use]
pub fn goal(is_met: bool) -> &'static str {
    match is_met {
        true => "goal met",
        false => "goal missed",
    }
}

/// The `value` of the spread in each column.
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

/// The line of medians with the text behind it, and below it the quartiles if there was more than
/// one round.
fn lines(cell: &Cell, block: &Block, tail: &str) -> String {
    let medians = figures(cell, block.columns, |spread| spread.median);
    let mut text = format!("  {:<18}{medians}  {tail}", cell.server);
    text.truncate(text.trim_end().len());
    text.push('\n');
    if cell.rounds.len() > 1 {
        let lower = figures(cell, block.columns, |spread| spread.lower_quartile);
        let upper = figures(cell, block.columns, |spread| spread.upper_quartile);
        let _ = writeln!(text, "  {:<18}{lower}", "  lower quartile");
        let _ = writeln!(text, "  {:<18}{upper}", "  upper quartile");
    }
    text
}

/// The cell with the least value of a figure, without the floor.
fn least<'a>(results: &Results, cells: &[&'a Cell], figure: Figure) -> Option<&'a Cell> {
    let takes_part = |cell: &&Cell| {
        let origin = results.server(&cell.server).map(|server| server.origin);
        origin != Some(Origin::Floor) && matches!(cell.status, Status::Measured)
    };
    let value = |cell: &Cell| cell.median(figure).unwrap_or(f64::MAX);
    let all = cells.iter().copied().filter(takes_part);
    all.min_by(|one, other| value(one).total_cmp(&value(other)))
}

/// `best`, `tie`, or the ratio to the best figure.
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

/// The best cell of a workload, for [`place`].
#[must_use]
pub fn best_of<'a>(results: &'a Results, workload: &WorkloadInfo) -> Option<&'a Cell> {
    least(results, &results.ranked(workload), workload.ranking())
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// At least three digits, with separators between thousands.
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

    const ONE: Block = Block {
        title: "server",
        columns: &[column("B", Figure::IdleBytes, 14, grouped)],
        ranking: Some(Figure::IdleBytes),
    };

    #[test]
    fn lines_have_quartiles_below_their_medians() {
        let cell = cell(&[100.0, 200.0, 400.0], &[Figure::IdleBytes]);
        let text = lines(&cell, &ONE, "(100–400) best");
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
        let text = lines(&cell, &ONE, "");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn processor_time_without_softirqs_is_marked() {
        let block = Block {
            columns: &COLUMNS,
            ..ONE
        };
        let text = |figures: &[Figure]| lines(&cell(&[7.0], figures), &block, "");
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
