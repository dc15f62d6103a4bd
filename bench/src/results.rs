//! The results of a comparison: figures of every round, their median and spread, and the machine.

mod figure;

pub use figure::Figure;

use crate::machine::Machine;
use crate::servers::Origin;
use crate::workload::Family;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The results of one run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The figures of the run.
    pub figures: BTreeMap<Figure, f64>,
    /// Numbers of idle connections, and the resident memory with each, in bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(usize, u64)>,
    /// A remark for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The value at a quarter of the ranks; see [`quantile`].
    #[serde(default)]
    pub lower_quartile: f64,
    /// The value at three quarters of the ranks.
    #[serde(default)]
    pub upper_quartile: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self {
            median: quantile(&values, 0.5),
            lower_quartile: quantile(&values, 0.25),
            upper_quartile: quantile(&values, 0.75),
            min,
            max,
        })
    }

    /// Whether the two spreads overlap so much that single rounds could be in either order. A
    /// single round has no known spread: 15 % is assumed, half of it to each side.
    #[must_use]
    pub fn ties(&self, other: &Self) -> bool {
        let (own, other) = (self.widened(), other.widened());
        own.min <= other.max && other.min <= own.max
    }

    fn widened(&self) -> Self {
        if self.min < self.max {
            return *self;
        }
        Self {
            min: self.min * 0.93,
            max: self.max * 1.07,
            ..*self
        }
    }
}

/// The value at a share of the ranks of sorted values: of `n` values, the one at index `share · (n
/// − 1)`, linearly interpolated between two (the seventh method of Hyndman and Fan, the default of
/// R and NumPy). So the quartiles of three rounds lie halfway between the median and the other two.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// The outcome of a server in a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// The server was measured.
    Measured,
    /// The server does not support the workload.
    Unable {
        /// The missing feature.
        reason: String,
    },
    /// The server was not available.
    Skipped {
        /// The reason.
        reason: String,
    },
    /// The server did something wrong.
    Failed {
        /// The fault.
        reason: String,
    },
}

/// A server's results in a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The workload's name.
    pub workload: String,
    /// The server's name.
    pub server: String,
    /// The outcome.
    #[serde(flatten)]
    pub status: Status,
    /// The results of each round.
    pub rounds: Vec<Sample>,
    /// The spread of each figure over the rounds.
    pub summary: BTreeMap<Figure, Spread>,
    /// The latency curve of all rounds together: shares of operations, and microseconds.
    pub percentiles: Vec<(f64, f64)>,
    /// The file with the histogram of each round, relative to the directory of the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram_log: Option<String>,
}

impl Cell {
    /// The median of a figure over the rounds.
    #[must_use]
    pub fn median(&self, figure: Figure) -> Option<f64> {
        self.summary.get(&figure).map(|spread| spread.median)
    }

    /// Computes the summary from the rounds.
    pub fn summarize(&mut self) {
        let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
        for (&figure, &value) in self.rounds.iter().flat_map(|round| &round.figures) {
            values.entry(figure).or_default().push(value);
        }
        self.summary = values
            .into_iter()
            .filter_map(|(figure, values)| Some((figure, Spread::of(values)?)))
            .collect();
    }

    /// Whether the processor time excludes what `ksoftirqd` did for the server.
    #[must_use]
    pub fn lacks_softirqs(&self) -> bool {
        self.median(Figure::CpuNs).is_some() && self.median(Figure::CpuSoftirqNs).is_none()
    }

    /// Whether a large room hardly delayed small rooms and echoes: their p99 is at most
    /// [`MIXED_P99_US_MAX`], and at most [`MIXED_RATIO_MAX`] times that without it. `None` for
    /// other workloads.
    #[must_use]
    pub fn meets_mixed_goal(&self) -> Option<bool> {
        let p99s = [Figure::SmallRoomsP99Us, Figure::EchoesP99Us];
        let ratios = [Figure::SmallRoomsRatio, Figure::EchoesRatio];
        let within = |figures: [Figure; 2], most: f64| {
            let values = figures.map(|figure| self.median(figure));
            Some(values[0]? <= most && values[1]? <= most)
        };
        Some(within(p99s, MIXED_P99_US_MAX)? && within(ratios, MIXED_RATIO_MAX)?)
    }

    /// Whether the load was busier than a fair test of capacity allows.
    #[must_use]
    pub fn load_was_the_limit(&self) -> bool {
        self.median(Figure::LoadShare)
            .is_some_and(|share| share >= LOAD_SHARE_LIMIT)
    }

    /// The remarks of all rounds, without repetition.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .rounds
            .iter()
            .filter_map(|round| round.note.clone())
            .collect();
        notes.dedup();
        notes.truncate(1);
        if self.lacks_softirqs() {
            notes.push("* without ksoftirqd, which cannot be read here".to_owned());
        }
        if let Some(busy) = self
            .median(Figure::OthersBusy)
            .filter(|&busy| busy > OTHERS_BUSY_LIMIT)
        {
            notes.push(format!(
                "other programs kept {busy:.2} processors busy meanwhile"
            ));
        }
        notes
    }
}

/// From this share on, the load and not the server limits the operations a second.
pub const LOAD_SHARE_LIMIT: f64 = 0.9;

/// The goal of `mixed` for p99 in microseconds. It is reported, but missing it is no failure.
pub const MIXED_P99_US_MAX: f64 = 10_000.0;
/// The goal of `mixed` for the ratio of p99.
pub const MIXED_RATIO_MAX: f64 = 3.0;

/// From this number of processors on, the reader is told that other programs disturbed a run.
const OTHERS_BUSY_LIMIT: f64 = 0.15;

/// A server, as the report describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The name, as in `--servers`.
    pub name: String,
    /// A description in one line.
    pub about: String,
    /// The version that the server reports.
    pub version: String,
    /// The origin of the server.
    pub origin: Origin,
}

/// A workload, as the report describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkloadInfo {
    /// The name, as in `--workloads`.
    pub name: String,
    /// A description in one line.
    pub about: String,
    /// The family that it belongs to.
    pub family: Family,
    /// Threads of the server.
    pub cores: usize,
    /// The number of connections.
    pub connections: usize,
}

/// The results of a whole comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The machine of the comparison.
    pub machine: Machine,
    /// `full`, `quick` or `tiny`.
    pub extent: String,
    /// Rounds of each server and workload.
    pub rounds: usize,
    /// The measured time of each run, in seconds.
    pub seconds: f64,
    /// The servers that took part.
    pub servers: Vec<ServerInfo>,
    /// The workloads that were run.
    pub workloads: Vec<WorkloadInfo>,
    /// The results of each server in each workload.
    pub cells: Vec<Cell>,
}

impl Results {
    /// The cells of a workload, by processor time or memory in ascending order, followed by those
    /// that were not measured.
    #[must_use]
    pub fn ranked(&self, workload: &WorkloadInfo) -> Vec<&Cell> {
        let mut cells: Vec<&Cell> = self
            .cells
            .iter()
            .filter(|cell| cell.workload == workload.name)
            .collect();
        let figure = workload.ranking();
        let key = |cell: &Cell| match cell.status {
            Status::Measured => cell.median(figure).unwrap_or(f64::MAX),
            _ => f64::INFINITY,
        };
        cells.sort_by(|one, other| key(one).total_cmp(&key(other)));
        cells
    }

    /// The servers that do not support a workload, by the missing feature.
    #[must_use]
    pub fn unable(&self, workload: &WorkloadInfo) -> BTreeMap<&str, Vec<&str>> {
        let mut unable: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cell in self
            .cells
            .iter()
            .filter(|cell| cell.workload == workload.name)
        {
            if let Status::Unable { reason } = &cell.status {
                unable.entry(reason).or_default().push(&cell.server);
            }
        }
        unable
    }

    /// A server by its name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerInfo> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// A cell by its names.
    #[must_use]
    pub fn cell(&self, workload: &str, server: &str) -> Option<&Cell> {
        let measured = |cell: &&Cell| matches!(cell.status, Status::Measured);
        let named = |cell: &&Cell| cell.workload == workload && cell.server == server;
        self.cells.iter().filter(measured).find(named)
    }
}

impl WorkloadInfo {
    /// Whether the workload compares latency: all servers receive the same messages at the same
    /// times, and a server that falls behind has less work.
    #[must_use]
    pub fn compares_latency(&self) -> bool {
        self.name.ends_with("-rate") || matches!(self.family, Family::Stalled | Family::Tokens)
    }

    /// The figure by which servers are compared.
    #[must_use]
    pub fn ranking(&self) -> Figure {
        match self.family {
            // A compression context exists only after the first message.
            Family::Idle if self.name.contains("-deflate") => Figure::TalkedBytes,
            Family::Idle => Figure::IdleBytes,
            Family::Mixed => Figure::SmallRoomsP99Us,
            Family::Subscribed => Figure::SubscribedBytes,
            Family::Recovery => Figure::RecoverySeconds,
            Family::Tokens => Figure::P99Us,
            Family::Ticker => Figure::SlowAgeP99Us,
            Family::Hooks => Figure::AddedP50Us,
            Family::Health => Figure::HealthP99Us,
            _ if self.compares_latency() => Figure::P99Us,
            _ => Figure::CpuNs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_median_of_odd_and_even_counts() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
        assert!((Spread::of(vec![1.0, 2.0]).unwrap().median - 1.5).abs() < 1e-9);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn spread_quartiles_lie_between_ranks() {
        let check = |values: &[f64], lower: f64, upper: f64| {
            let spread = Spread::of(values.to_vec()).unwrap();
            let found = (spread.lower_quartile, spread.upper_quartile);
            assert_eq!(found, (lower, upper), "{values:?}");
        };
        check(&[7.0], 7.0, 7.0);
        check(&[2.0, 1.0], 1.25, 1.75);
        check(&[4.0, 1.0, 2.0], 1.5, 3.0);
        check(&[1.0, 2.0, 3.0, 4.0], 1.75, 3.25);
        check(&[5.0, 1.0, 2.0, 4.0, 3.0], 2.0, 4.0);
    }

    fn cell(figures: &[(Figure, f64)]) -> Cell {
        let mut cell = Cell {
            workload: String::new(),
            server: String::new(),
            status: Status::Measured,
            rounds: vec![Sample {
                figures: figures.iter().copied().collect(),
                ..Sample::default()
            }],
            summary: BTreeMap::new(),
            percentiles: Vec::new(),
            histogram_log: None,
        };
        cell.summarize();
        cell
    }

    #[test]
    fn mixed_goal_needs_both_p99s_and_both_ratios() {
        let check = |p99s: [f64; 2], ratios: [f64; 2], expected| {
            let figures = [
                (Figure::SmallRoomsP99Us, p99s[0]),
                (Figure::EchoesP99Us, p99s[1]),
                (Figure::SmallRoomsRatio, ratios[0]),
                (Figure::EchoesRatio, ratios[1]),
            ];
            assert_eq!(cell(&figures).meets_mixed_goal(), Some(expected));
        };
        check([10_000.0, 9_000.0], [3.0, 1.0], true);
        check([10_001.0, 9_000.0], [3.0, 1.0], false);
        check([9_000.0, 10_001.0], [3.0, 1.0], false);
        check([9_000.0, 9_000.0], [3.1, 1.0], false);
        check([9_000.0, 9_000.0], [1.0, 3.1], false);
        assert_eq!(cell(&[(Figure::CpuNs, 1.0)]).meets_mixed_goal(), None);
    }

    #[test]
    fn cell_without_softirq_time_says_so() {
        let cell = |figures: &[Figure]| {
            let figures: Vec<_> = figures.iter().map(|&figure| (figure, 1.0)).collect();
            cell(&figures)
        };
        let whole = cell(&[Figure::CpuNs, Figure::CpuSoftirqNs]);
        assert_eq!((whole.lacks_softirqs(), whole.notes().len()), (false, 0));
        let part = cell(&[Figure::CpuNs]);
        assert!(part.lacks_softirqs() && part.notes()[0].contains("ksoftirqd"));
        assert!(!cell(&[Figure::IdleBytes]).lacks_softirqs());
    }

    #[test]
    fn spread_overlap_is_a_tie() {
        let spread = |min, max| Spread::of(vec![min, max]).unwrap();
        assert!(spread(1.0, 2.0).ties(&spread(1.9, 3.0)));
        assert!(!spread(1.0, 2.0).ties(&spread(2.1, 3.0)));
    }

    #[test]
    fn spread_of_one_round_is_taken_for_wide() {
        let one = |value: f64| Spread::of(vec![value]).unwrap();
        assert!(one(100.0).ties(&one(110.0)));
        assert!(!one(100.0).ties(&one(120.0)));
    }
}
