//! Asks all cores: each has at most one open question of a kind, and a second to answer.
//!
//! *Invariant:* however many clients ask, a stuck core has at most one unanswered question of each
//! kind in its mailbox. Later clients wait for the same answer.

use std::{sync::Arc, time::Duration};

use flume::{Receiver, TryRecvError};
use futures_util::future::join_all;
use prometheus::{core::Collector as _, process_collector::ProcessCollector};
use runtime::{ConnectionsView, Monitor, RoomView, Snapshot};
use tokio::{sync::Mutex, time};

/// The time that a core has to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// All cores of the server.
pub(super) struct Cores {
    monitor: Monitor,
    driver: String,
    alive: Vec<Asked<()>>,
    snapshots: Vec<Asked<Box<Snapshot>>>,
    connections: Vec<Asked<ConnectionsView>>,
    rooms: Vec<Asked<RoomView>>,
    /// The latest answer of each core.
    latest: Vec<Mutex<Option<Arc<Snapshot>>>>,
}

/// The state of a core, now or when it last answered.
pub(super) struct Standing {
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Whether it has answered this time.
    pub(super) is_up: bool,
}

/// How a server stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) connections: usize,
    pub(crate) subscriptions: usize,
    pub(crate) rooms: usize,
    /// Processor time since the start.
    pub(crate) cpu: Duration,
    /// Bytes of memory.
    pub(crate) rss: u64,
}

impl Sum {
    /// What the process takes.
    fn of_process() -> Self {
        let families = ProcessCollector::for_self().collect();
        let value = |name: &str| -> f64 {
            let family = families.iter().find(|family| family.name() == name);
            let first = family.and_then(|family| family.get_metric().first());
            first.map_or(0.0, |it| {
                it.get_gauge().get_value() + it.get_counter().get_value()
            })
        };
        Self {
            cpu: Duration::from_secs_f64(value("process_cpu_seconds_total").max(0.0)),
            rss: value("process_resident_memory_bytes") as u64,
            ..Self::default()
        }
    }
}

/// A question to one core, and its answer while someone waits for it.
struct Asked<T>(Mutex<Option<Receiver<T>>>);

impl<T> Asked<T> {
    fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// Asks, unless an earlier question is still open; waits a second for the answer.
    async fn answer(&self, ask: impl FnOnce() -> Receiver<T>) -> Option<T> {
        time::timeout(PATIENCE, self.await_answer(ask)).await.ok()?
    }

    /// A client that asks while another one waits gets the answer to a question of its own, or to the
    /// same question if the other client has given up.
    async fn await_answer(&self, ask: impl FnOnce() -> Receiver<T>) -> Option<T> {
        let mut open = self.0.lock().await;
        // An answer that is already here is outdated: it came when nobody waited for it.
        if open
            .as_ref()
            .is_some_and(|answer| !matches!(answer.try_recv(), Err(TryRecvError::Empty)))
        {
            *open = None;
        }
        // The question stays here until it is answered, even if the client that asked goes away.
        let answer = open.get_or_insert_with(ask);
        let answered = answer.recv_async().await;
        *open = None;
        answered.ok()
    }
}

impl Cores {
    pub(super) fn new(monitor: Monitor, driver: String) -> Self {
        let cores = 0..monitor.cores();
        Self {
            alive: cores.clone().map(|_| Asked::none()).collect(),
            snapshots: cores.clone().map(|_| Asked::none()).collect(),
            connections: cores.clone().map(|_| Asked::none()).collect(),
            rooms: cores.clone().map(|_| Asked::none()).collect(),
            latest: cores.map(|_| Mutex::new(None)).collect(),
            monitor,
            driver,
        }
    }

    /// The driver that the cores run on.
    pub(super) fn driver(&self) -> &str {
        &self.driver
    }

    pub(super) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The most connections that are allowed.
    pub(super) fn connections_max(&self) -> f64 {
        self.monitor.connections_and_most().1 as f64
    }

    /// The cores that do not answer.
    pub(super) async fn silent(&self) -> Vec<usize> {
        let asked = self.alive.iter().enumerate();
        let answers = asked.map(|(core, asked)| asked.answer(move || self.monitor.alive(core)));
        let answers = join_all(answers).await.into_iter().enumerate();
        answers
            .filter_map(|(core, answer)| answer.is_none().then_some(core))
            .collect()
    }

    /// The state of all cores.
    pub(super) async fn standings(&self) -> Vec<Standing> {
        let cores = self.snapshots.iter().zip(&self.latest).enumerate();
        let standings = cores.map(|(core, (asked, latest))| async move {
            let answer = asked.answer(|| self.monitor.snapshot(core)).await;
            let is_up = answer.is_some();
            let mut latest = latest.lock().await;
            if let Some(answer) = answer {
                *latest = Some(answer.into());
            }
            let snapshot = latest.clone();
            Standing { snapshot, is_up }
        });
        join_all(standings).await
    }

    /// How all cores together stand, and the process.
    pub(super) async fn sum(&self) -> Sum {
        let standings = self.standings().await;
        let snapshots = standings.iter().filter_map(|it| it.snapshot.as_deref());
        let mut sum = Sum {
            rooms: self.monitor.rooms(),
            ..Sum::of_process()
        };
        for snapshot in snapshots {
            sum.connections += snapshot.connections;
            sum.subscriptions += snapshot.subscriptions;
        }
        sum
    }

    /// The most conspicuous connections of each core that answers.
    pub(super) async fn connections(&self, top: usize) -> Vec<ConnectionsView> {
        let asked = self.connections.iter().enumerate();
        let answers =
            asked.map(|(core, asked)| asked.answer(move || self.monitor.connections(core, top)));
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// The most conspicuous rooms of each core that answers.
    pub(super) async fn rooms(&self, top: usize) -> Vec<RoomView> {
        let asked = self.rooms.iter().enumerate();
        let answers =
            asked.map(|(core, asked)| asked.answer(move || self.monitor.rooms_of(core, top)));
        join_all(answers).await.into_iter().flatten().collect()
    }
}
