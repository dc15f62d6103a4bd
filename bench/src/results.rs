//! What a comparison found: figures of every round, their median and spread, the machine.

use crate::machine::Machine;
use crate::servers::Origin;
use crate::workload::Family;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A figure of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Operations a second: messages that came back, deliveries, or connections.
    PerSecond,
    /// Of the server for one operation, with `ksoftirqd` on its processors where that can be read.
    CpuNs,
    /// Part of it in user space.
    CpuUserNs,
    /// Part of it in the kernel.
    CpuSystemNs,
    /// Part of it in `ksoftirqd`; missing where that cannot be read.
    CpuSoftirqNs,
    /// Processors that the server kept busy.
    CoresBusy,
    /// Half of the operations took no longer; microseconds.
    P50Us,
    /// 99 % of them.
    P99Us,
    /// 99.9 % of them.
    P999Us,
    /// All of them.
    MaxUs,
    /// Resident memory of the server at the end.
    RssBytes,
    /// Resident memory for each idle connection.
    IdleBytes,
    /// The same after each has talked once.
    TalkedBytes,
    /// Resident memory for each room that each connection is in, before anything was published.
    MembershipBytes,
    /// The same while all rooms speak.
    MembershipSpokenBytes,
    /// Share of its processor that the load used.
    LoadShare,
    /// Processors that other programs kept busy meanwhile.
    OthersBusy,
    /// Half of the deliveries in small rooms took no longer beside a large room; microseconds.
    SmallRoomsP50Us,
    /// 99 % of them.
    SmallRoomsP99Us,
    /// All of them.
    SmallRoomsMaxUs,
    /// The same before the large room was there.
    SmallRoomsAloneP50Us,
    /// 99 % of them.
    SmallRoomsAloneP99Us,
    /// All of them.
    SmallRoomsAloneMaxUs,
    /// How many times as long 99 % of them took beside the large room.
    SmallRoomsRatio,
    /// Half of the echoes took no longer beside a large room; microseconds.
    EchoesP50Us,
    /// 99 % of them.
    EchoesP99Us,
    /// All of them.
    EchoesMaxUs,
    /// The same before the large room was there.
    EchoesAloneP50Us,
    /// 99 % of them.
    EchoesAloneP99Us,
    /// All of them.
    EchoesAloneMaxUs,
    /// How many times as long 99 % of them took beside the large room.
    EchoesRatio,
    /// 99 % of the probes were sent no later after their time; microseconds.
    SentLateP99Us,
    /// All of them.
    SentLateMaxUs,
    /// 99 % of what arrived was read no later after the kernel had it; microseconds.
    ReadLateP99Us,
    /// All of it.
    ReadLateMaxUs,
}

/// One run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Its figures.
    pub figures: BTreeMap<Figure, f64>,
    /// Resident memory in bytes with so many idle connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<(usize, u64)>,
    /// Something a reader must know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A figure over the rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// A quarter of the way from the least to the most, by rank; see [`quantile`].
    #[serde(default)]
    pub lower_quartile: f64,
    /// Three quarters of that way.
    #[serde(default)]
    pub upper_quartile: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these values, if there are any.
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

    /// Whether one round of each could as well have been in the other order. A single round says
    /// nothing of its spread: 15 % is taken for it, half of it to each side.
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

/// The value at a share of the way from the least to the most, by rank: of `n` values the one at
/// `share · (n − 1)`, counted from zero; between two, on the straight line from one to the other (the
/// seventh method of Hyndman and Fan, which R and NumPy take unless told otherwise). So the quartiles of
/// three rounds lie halfway between the median and the others.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// How a server did in a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It was measured.
    Measured,
    /// It cannot do this.
    Unable {
        /// What it lacks.
        reason: String,
    },
    /// It was not there.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It did something wrong.
    Failed {
        /// What.
        reason: String,
    },
}

/// A server in a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the workload.
    pub workload: String,
    /// Name of the server.
    pub server: String,
    /// How it went.
    #[serde(flatten)]
    pub status: Status,
    /// Each round.
    pub rounds: Vec<Sample>,
    /// Over the rounds.
    pub summary: BTreeMap<Figure, Spread>,
    /// Latency of all rounds together: share of operations, microseconds.
    pub percentiles: Vec<(f64, f64)>,
    /// File with the histogram of each round, from the directory of the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram_log: Option<String>,
}

impl Cell {
    /// The median of a figure.
    #[must_use]
    pub fn median(&self, figure: Figure) -> Option<f64> {
        self.summary.get(&figure).map(|spread| spread.median)
    }

    /// Fills the summary from the rounds.
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

    /// Whether its processor time lacks what `ksoftirqd` did for it.
    #[must_use]
    pub fn lacks_softirqs(&self) -> bool {
        self.median(Figure::CpuNs).is_some() && self.median(Figure::CpuSoftirqNs).is_none()
    }

    /// Whether small rooms and echoes hardly felt the large room: p99 of at most
    /// [`MIXED_P99_US_MAX`] and [`MIXED_RATIO_MAX`] times that without it. None of other workloads.
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

    /// Whether the load was busier than it may be in a fair test of capacity.
    #[must_use]
    pub fn load_was_the_limit(&self) -> bool {
        self.median(Figure::LoadShare)
            .is_some_and(|share| share >= LOAD_SHARE_LIMIT)
    }

    /// What the rounds noted, without repetition.
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

/// From here on the load, not the server, decides how many operations a second there are.
pub const LOAD_SHARE_LIMIT: f64 = 0.9;

/// The goal of `mixed`, which is stated and fails nobody.
pub const MIXED_P99_US_MAX: f64 = 10_000.0;
/// Its other half.
pub const MIXED_RATIO_MAX: f64 = 3.0;

/// From here on a reader is told that other programs disturbed a run.
const OTHERS_BUSY_LIMIT: f64 = 0.15;

/// A server, as the report names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerInfo {
    /// For `--servers`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// As it calls itself.
    pub version: String,
    /// Who made it.
    pub origin: Origin,
}

/// A workload, as the report names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkloadInfo {
    /// For `--workloads`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// Its part of the report.
    pub family: Family,
    /// Threads of the server.
    pub cores: usize,
    /// Connections in all.
    pub connections: usize,
}

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// `full`, `quick` or `tiny`.
    pub extent: String,
    /// Of each server and workload.
    pub rounds: usize,
    /// Of the measured part of each run.
    pub seconds: f64,
    /// Who took part.
    pub servers: Vec<ServerInfo>,
    /// In what.
    pub workloads: Vec<WorkloadInfo>,
    /// How it went.
    pub cells: Vec<Cell>,
}

impl Results {
    /// Those of a workload, the least processor time or memory first, then what was not measured.
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

    /// Who cannot do a workload: what each lacks, and the servers that do.
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
    /// Whether latency is what it is about: all servers are sent the same messages at the same
    /// times, and who falls behind saves work.
    #[must_use]
    pub fn compares_latency(&self) -> bool {
        self.name.ends_with("-rate") || self.family == Family::Stalled
    }

    /// The figure by which servers are compared.
    #[must_use]
    pub fn ranking(&self) -> Figure {
        match self.family {
            // A context exists from the first message on.
            Family::Idle if self.name.contains("-deflate") => Figure::TalkedBytes,
            Family::Idle => Figure::IdleBytes,
            Family::Mixed => Figure::SmallRoomsP99Us,
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
