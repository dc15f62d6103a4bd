//! The comparison: every server in every workload, in alternating rounds.

use crate::hlog::{self, Interval};
use crate::load::backend::{API_KEY, Beside, Task};
use crate::load::meter::{Measured, Window, histogram};
use crate::load::preflight;
use crate::load::sdk::{Namespaces, Role};
use crate::load::tls::Certificates;
use crate::load::wire::Framing;
use crate::machine::Machine;
use crate::pin::{Processors, stay_on};
use crate::results::{Cell, Figure, Results, Sample, ServerInfo, Status, WorkloadInfo};
use crate::servers::{Rules, Running, Server, StartError, Terms, beside, start, version};
use crate::softirqs::Softirqs;
use crate::workload::{Outcome, Subject, Work, Workload, perform};
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The servers, workloads and rounds to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `full`, `quick` or `tiny`.
    pub extent: String,
    /// The servers, in the order in which they run.
    pub servers: Vec<Server>,
    /// The workloads, in the order in which they run.
    pub workloads: Vec<Workload>,
    /// Rounds of each server and workload.
    pub rounds: usize,
    /// Warm-up and measured time of each run.
    pub window: Window,
    /// The directory for all files.
    pub out: PathBuf,
    /// Most open files of this process and its children.
    pub open_files_max: u64,
}

struct Comparison<'a> {
    plan: &'a Plan,
    processors: Processors,
    certificates: Certificates,
    rules: Rules,
    bar: ProgressBar,
    /// Servers that no longer take part, by name, and the reason.
    absent: HashMap<String, String>,
}

/// Runs the whole plan.
pub fn compare(plan: &Plan) -> Result<Results> {
    let processors = Processors::of_this_process()?;
    let mut results = Results {
        machine: Machine::look(processors.count(), plan.open_files_max),
        extent: plan.extent.clone(),
        rounds: plan.rounds,
        seconds: plan.window.measured.as_secs_f64(),
        servers: plan.servers.iter().map(server_info).collect(),
        workloads: plan.workloads.iter().map(workload_info).collect(),
        cells: Vec::new(),
    };
    if processors.count() < 2 {
        eprintln!("only one processor: server and load share it, so that no figure means much");
    }
    warn_of_softirqs(&processors);
    stay_on(&[processors.load()])?;
    let runs = plan.workloads.len() * plan.servers.len() * plan.rounds;
    let mut comparison = Comparison {
        plan,
        processors,
        certificates: Certificates::make(&plan.out.join("tls"))?,
        rules: Rules::make(&plan.out.join("sdk"))?,
        bar: progress_bar(runs),
        absent: HashMap::new(),
    };
    for (workload, info) in plan.workloads.iter().zip(&results.workloads.clone()) {
        let cells = comparison.run_workload(workload)?;
        results.cells.extend(cells);
        comparison
            .bar
            .suspend(|| print!("{}", crate::table::render(&results, info)));
    }
    comparison.bar.finish_and_clear();
    Ok(results)
}

/// Warns that no figure contains the time of `ksoftirqd`, if that cannot be read.
pub fn warn_of_softirqs(processors: &Processors) {
    if let Err(error) = Softirqs::of(&processors.server(1)) {
        eprintln!(
            "{error:#}: processor times lack what the kernel does for a server in ksoftirqd, up to a \
             tenth where sends are batched, and are marked with *"
        );
    }
}

fn progress_bar(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    let style = "{bar:30} {pos}/{len} {elapsed_precise}, {eta} to go: {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

fn server_info(server: &Server) -> ServerInfo {
    ServerInfo {
        name: server.name.clone(),
        about: server.about.clone(),
        version: version(server),
        origin: server.origin,
    }
}

fn workload_info(workload: &Workload) -> WorkloadInfo {
    WorkloadInfo {
        name: workload.name.clone(),
        about: workload.about.clone(),
        family: workload.family,
        cores: workload.cores,
        connections: workload.work.connections(),
    }
}

/// The reason why a server cannot run a workload.
fn unable(server: &Server, workload: &Workload) -> Option<&'static str> {
    let rooms = match &workload.work {
        Work::Rooms { shape, .. } => shape.rooms,
        Work::Mixed(mix) => mix.rooms + 1,
        _ => 0,
    };
    let raw = server.framing == Framing::Raw;
    let wants_sdk = workload.work.needs_sdk();
    let wants_gathering = matches!(
        workload.work,
        Work::Sdk(Role::Danmaku { gathers: true, .. })
    );
    let wants_memberships = matches!(workload.work, Work::Memberships(_));
    if wants_sdk && !server.sdk {
        Some("does not speak the Centrifuge protocol")
    } else if let Work::Backend(task) = &workload.work
        && let Some(lack) = lack_of_back_ends(server, task)
    {
        Some(lack)
    } else if wants_gathering && !server.passes_over {
        Some("gathers no messages")
    } else if !wants_sdk && server.speaks_only_sdk() {
        Some("speaks nothing but the Centrifuge protocol")
    } else if wants_memberships && !server.takes_commands {
        Some("does not have many rooms for one connection")
    } else if server.takes_commands && !wants_memberships {
        Some("takes nothing but commands of many rooms")
    } else if workload.work.needs_echo() && !server.echo {
        Some("has no echo")
    } else if raw && !workload.work.needs_echo() && !workload.work.needs_rooms() {
        Some("knows no handshake")
    } else if rooms > server.rooms_max {
        Some("has fewer rooms")
    } else if workload.cores > 1 && !server.shares_rooms {
        Some("keeps a room on one thread")
    } else if workload.transport.is_encrypted() && !server.tls {
        Some("speaks no TLS")
    } else if workload.transport.is_compressed() && !server.compression {
        Some("does not compress")
    } else {
        None
    }
}

/// The reason why a server cannot do what back ends ask of it, or ask them.
fn lack_of_back_ends(server: &Server, task: &Task) -> Option<&'static str> {
    match task {
        Task::Publish(_) | Task::Health(_) if !server.api => Some("has no API for back ends"),
        Task::Health(_) if server.pages.is_empty() => Some("has no pages of health"),
        Task::Hook(_) if !server.asks => Some("asks no back end"),
        _ => None,
    }
}

#[derive(Default)]
struct Rounds {
    samples: Vec<Sample>,
    intervals: Vec<Interval>,
    status: Option<Status>,
}

impl Comparison<'_> {
    fn run_workload(&mut self, workload: &Workload) -> Result<Vec<Cell>> {
        let mut all: BTreeMap<usize, Rounds> = BTreeMap::new();
        for round in 0..self.plan.rounds {
            for (index, server) in self.plan.servers.iter().enumerate() {
                self.bar.set_message(format!(
                    "{} in {}, round {}",
                    server.name,
                    workload.name,
                    round + 1
                ));
                self.bar.tick();
                let rounds = all.entry(index).or_default();
                if rounds.status.is_none() {
                    self.run_once(server, workload, rounds);
                }
                self.bar.inc(1);
            }
        }
        all.into_iter()
            .map(|(index, rounds)| self.cell(&self.plan.servers[index], workload, rounds))
            .collect()
    }

    fn run_once(&mut self, server: &Server, workload: &Workload, rounds: &mut Rounds) {
        if let Some(reason) = unable(server, workload) {
            rounds.status = Some(Status::Unable {
                reason: reason.to_owned(),
            });
            return;
        }
        if let Some(reason) = self.absent.get(&server.name) {
            rounds.status = Some(Status::Skipped {
                reason: reason.clone(),
            });
            return;
        }
        let began = SystemTime::now();
        match self.measure(server, workload) {
            Ok(Outcome::Measured(measured)) => {
                rounds.samples.push(sample(&measured));
                rounds.intervals.push(Interval {
                    began,
                    duration: Duration::from_secs_f64(measured.seconds),
                    latency: measured.latency,
                });
            }
            Ok(Outcome::Memory(memory)) => rounds.samples.push(memory_sample(&memory)),
            Err(StartError::NotInstalled(reason)) => {
                self.bar
                    .suspend(|| eprintln!("{} is skipped: {reason}", server.name));
                self.absent.insert(server.name.clone(), reason.clone());
                rounds.status = Some(Status::Skipped { reason });
            }
            Err(StartError::Failed(error)) => {
                let reason = format!("{error:#}");
                self.bar
                    .suspend(|| eprintln!("{} failed in {}: {reason}", server.name, workload.name));
                rounds.status = Some(Status::Failed { reason });
            }
        }
    }

    fn measure(&self, server: &Server, workload: &Workload) -> Result<Outcome, StartError> {
        let logs = self.plan.out.join("logs");
        let terms = Terms {
            threads: workload.cores,
            transport: workload.transport,
            certificates: &self.certificates,
            rules: match &workload.work {
                Work::Sdk(role) => Some((&self.rules, role.namespaces())),
                Work::Backend(_) => Some((&self.rules, Namespaces::Remembering)),
                _ => None,
            },
            beside: beside(server, &workload.work)?,
        };
        let mut running = start(server, terms, &self.processors, &logs)?;
        let plain = self.plain(server, terms, &logs)?;
        let plain_process = plain.as_ref().map(Running::process);
        if workload.work.needs_echo() && server.framing == Framing::WebSocket {
            preflight::check(&running.target)?;
        }
        let subject = Subject {
            target: &running.target,
            process: Some(running.process()),
            echo: server.echo,
            raw_rooms: server.rooms_max > 0,
            passes_over: server.passes_over,
            signer: Some(&self.rules.signer),
            beside: terms.beside,
            api_key: API_KEY,
            pages: server.pages,
            plain: plain
                .as_ref()
                .map(|it| &it.target)
                .zip(plain_process.as_ref()),
        };
        let window = self.window(workload);
        let outcome = perform(&workload.work, &subject, window, self.processors.prober());
        match (outcome, running.ended()) {
            (Err(error), Some(ended)) => Err(StartError::Failed(error.context(ended))),
            (outcome, _) => Ok(outcome?),
        }
    }

    /// A second server that asks no back end, if the first one does.
    fn plain(
        &self,
        server: &Server,
        terms: Terms<'_>,
        logs: &Path,
    ) -> Result<Option<Running>, StartError> {
        if terms.beside.hook.is_none() {
            return Ok(None);
        }
        let terms = Terms {
            beside: Beside::default(),
            ..terms
        };
        start(server, terms, &self.processors, &logs.join("plain")).map(Some)
    }

    /// The load polls without sleeping where the server leaves it a processor of its own.
    fn window(&self, workload: &Workload) -> Window {
        Window {
            stays_awake: workload.cores < self.processors.count(),
            ..self.plan.window
        }
    }

    fn cell(&self, server: &Server, workload: &Workload, rounds: Rounds) -> Result<Cell> {
        let mut cell = Cell {
            workload: workload.name.clone(),
            server: server.name.clone(),
            status: rounds.status.unwrap_or(Status::Measured),
            rounds: rounds.samples,
            summary: BTreeMap::new(),
            percentiles: Vec::new(),
            histogram_log: None,
        };
        cell.summarize();
        if !rounds.intervals.is_empty() {
            let file = format!("hlog/{}.{}.hlog", workload.name, server.name);
            hlog::write(&self.plan.out.join(&file), &server.name, &rounds.intervals)?;
            cell.percentiles = percentiles(&rounds.intervals)?;
            cell.histogram_log = Some(file);
        }
        Ok(cell)
    }
}

/// The figures of one run.
#[must_use]
pub fn sample(measured: &Measured) -> Sample {
    let mut figures = BTreeMap::new();
    let operations = measured.operations.max(1) as f64;
    figures.insert(
        Figure::PerSecond,
        measured.operations as f64 / measured.seconds,
    );
    figures.extend(measured.load_share.map(|share| (Figure::LoadShare, share)));
    if let Some(busy) = measured.others_busy {
        figures.insert(Figure::OthersBusy, busy);
    }
    if let Some(cpu) = measured.server {
        let total = cpu.total_ns as f64;
        figures.insert(Figure::CpuNs, cpu.all_ns() / operations);
        figures.insert(Figure::CpuUserNs, cpu.user_ns() / operations);
        figures.insert(Figure::CpuSystemNs, (total - cpu.user_ns()) / operations);
        figures.insert(Figure::CoresBusy, cpu.all_ns() / 1e9 / measured.seconds);
        if let Some(softirq_ns) = cpu.softirq_ns {
            figures.insert(Figure::CpuSoftirqNs, softirq_ns as f64 / operations);
        }
    }
    if let Some(bytes) = measured.resident_bytes {
        figures.insert(Figure::RssBytes, bytes as f64);
    }
    if !measured.latency.is_empty() {
        let quantiles = [
            (Figure::P50Us, 0.5),
            (Figure::P99Us, 0.99),
            (Figure::P999Us, 0.999),
        ];
        for (figure, quantile) in quantiles {
            figures.insert(
                figure,
                measured.latency.value_at_quantile(quantile) as f64 / 1e3,
            );
        }
        figures.insert(Figure::MaxUs, measured.latency.max() as f64 / 1e3);
    }
    if let Some(probed) = &measured.probed {
        figures.extend(probed.figures());
    }
    if let Some(held) = &measured.held {
        figures.extend(held.figures(measured.resident_bytes));
    }
    figures.extend(measured.more.iter().copied());
    Sample {
        figures,
        memory: Vec::new(),
        note: measured.note.clone(),
    }
}

fn memory_sample(memory: &crate::load::idle::Memory) -> Sample {
    let mut figures = BTreeMap::new();
    let (connections, bytes) = memory
        .curve
        .last()
        .copied()
        .unwrap_or((0, memory.base_bytes));
    let each = |bytes: u64| (bytes as f64 - memory.base_bytes as f64) / connections.max(1) as f64;
    figures.insert(Figure::IdleBytes, each(bytes));
    figures.insert(Figure::TalkedBytes, each(memory.talked_bytes));
    figures.insert(Figure::RssBytes, memory.talked_bytes as f64);
    Sample {
        figures,
        memory: memory.curve.clone(),
        note: None,
    }
}

/// Points of the latency curve over all rounds, closer together where it rises.
fn percentiles(intervals: &[Interval]) -> Result<Vec<(f64, f64)>> {
    let mut all = histogram();
    for interval in intervals {
        all.add(&interval.latency)
            .context("histograms of one kind can be added")?;
    }
    let mut points = Vec::new();
    for value in all.iter_quantiles(4) {
        let point = (
            value.quantile_iterated_to(),
            value.value_iterated_to() as f64 / 1e3,
        );
        points.push(point);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{Binaries, Named, catalogue};
    use crate::workload;

    #[test]
    fn clients_of_the_protocol_are_for_those_who_speak_it_and_nothing_else_is_for_centrifugo() {
        let servers = catalogue(&Binaries::find(Named::default()).unwrap());
        for workload in workload::catalogue(20_000) {
            let is_sdk = workload.work.needs_sdk();
            for server in &servers {
                let is_able = unable(server, &workload).is_none();
                match &*server.name {
                    "hubbub" | "hubbub-epoll" if is_sdk => assert!(is_able, "{}", workload.name),
                    "centrifugo" if workload.name.ends_with("-gathered") => assert!(!is_able),
                    "centrifugo" => assert_eq!(is_able, is_sdk, "{}", workload.name),
                    name if is_sdk => assert!(!is_able, "{name} in {}", workload.name),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn many_rooms_are_for_those_who_take_commands_and_for_nobody_else() {
        let servers = catalogue(&Binaries::find(Named::default()).unwrap());
        let mut able = Vec::new();
        for workload in workload::catalogue(20_000) {
            for server in &servers {
                let is_able = unable(server, &workload).is_none();
                if workload.name == "1000x50-rooms" && is_able {
                    able.push(server.name.clone());
                } else if server.takes_commands {
                    assert!(!is_able, "{} in {}", server.name, workload.name);
                }
            }
        }
        assert_eq!(able, ["hubbub-rooms", "hubbub-rooms-epoll"]);
    }
}
