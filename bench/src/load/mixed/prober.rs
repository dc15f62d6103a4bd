//! The prober as a process of its own, which the large room's load neither delays nor is delayed by.
//!
//! ```text
//!   bench ── one line of JSON each: Setup, then an Order for each phase ──▶ bench probes
//!         ◀── an Answer to each: Ready, a Phase, or why it failed ─────────
//! ```

use super::Mix;
use super::probes::Probes;
use super::record::Phase;
use crate::load::dial::Target;
use crate::load::transport::Compression;
use crate::load::wire::Framing;
use crate::pin;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal, setpriority_process};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The highest, so that whatever else has its processor makes room at once.
const PRIORITY: i32 = -20;

/// What the prober must know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The server.
    pub server: SocketAddrV4,
    /// Index of the first connection.
    pub first: usize,
    /// Where the prober runs.
    pub processor: usize,
    /// What it sends.
    pub mix: Mix,
}

/// A phase to measure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Order {
    warm_up: Duration,
    measured: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready,
    Measured(Phase),
    Failed(String),
}

/// The bench's end. The process is killed when this is dropped.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Prober {
    /// Starts it, and waits until its connections are open.
    pub fn start(setup: &Setup) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("probes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the prober")?;
        let orders = child.stdin.take().context("the prober has no input")?;
        let answers = child.stdout.take().context("the prober has no output")?;
        let mut prober = Self {
            child,
            orders,
            answers: BufReader::new(answers),
        };
        write_line(&mut prober.orders, setup)?;
        match prober.answer()? {
            Answer::Ready => Ok(prober),
            other => bail!("the prober answered out of turn: {other:?}"),
        }
    }

    /// Begins a phase; [`Prober::phase`] waits for its end.
    pub fn order(&mut self, warm_up: Duration, measured: Duration) -> Result<()> {
        write_line(&mut self.orders, &Order { warm_up, measured })
    }

    /// What the phase gave that was ordered last.
    pub fn phase(&mut self) -> Result<Phase> {
        match self.answer()? {
            Answer::Measured(phase) => Ok(phase),
            other => bail!("the prober answered out of turn: {other:?}"),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the prober has ended");
        }
        match serde_json::from_str(&line).context("the prober's answer")? {
            Answer::Failed(reason) => bail!("the probes: {reason}"),
            answer => Ok(answer),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the prober, until there are no more orders.
pub fn serve(orders: impl BufRead, mut answers: impl Write) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let served = obey(orders, &mut answers);
    if let Err(error) = &served {
        write_line(&mut answers, &Answer::Failed(format!("{error:#}")))?;
    }
    served
}

fn obey(orders: impl BufRead, answers: &mut impl Write) -> Result<()> {
    let mut lines = orders.lines();
    let setup: Setup = serde_json::from_str(&lines.next().context("no setup came")??)?;
    pin::raise_open_files();
    // A prober may share the load's processor, and runs there all the same if another is refused.
    let _ = pin::stay_on(&[setup.processor]);
    let has_priority = setpriority_process(None, PRIORITY).is_ok();
    let target = Target {
        address: setup.server,
        framing: Framing::WebSocket,
        tls: None,
        compression: Compression::Off,
    };
    let mut probes = Probes::connect(&target, setup.first, setup.mix)?;
    write_line(answers, &Answer::Ready)?;
    for line in lines {
        let order: Order = serde_json::from_str(&line?)?;
        let mut phase = probes.measure(order.warm_up, order.measured)?;
        phase.has_priority = has_priority;
        write_line(answers, &Answer::Measured(phase))?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush().context("the prober's other end has gone")
}
