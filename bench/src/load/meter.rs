//! Measures operations, latency and processor time between the warm-up and the end.

use super::idle::Steps;
use super::memberships::Held;
use super::mixed::Probed;
use crate::proc::{CpuTime, Process, machine_busy, own_thread_cpu};
use crate::results::Figure;
use anyhow::Result;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// A minute, which is longer than any reply is waited for.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds, exact to three digits.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// The durations of warm-up and measurement, and how the load waits meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The warm-up, in which nothing counts.
    pub warm_up: Duration,
    /// The measured part.
    pub measured: Duration,
    /// Whether the load polls for replies without sleeping, which is right if it has a processor to
    /// itself.
    pub stays_awake: bool,
}

impl Window {
    /// The steps for idle connections: longer runs have more steps with longer pauses.
    #[must_use]
    pub fn steps(&self) -> Steps {
        if self.measured < Duration::from_secs(1) {
            Steps {
                count: 4,
                settle: Duration::from_millis(80),
            }
        } else {
            Steps {
                count: 10,
                settle: Duration::from_millis(300),
            }
        }
    }
}

/// The figures of one run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Messages that returned, deliveries, or connections.
    pub operations: u64,
    /// Length of the measured part.
    pub seconds: f64,
    /// Processor time of the server, if its process is known.
    pub server: Option<CpuTime>,
    /// Resident memory of the server at the end of the measured part.
    pub resident_bytes: Option<u64>,
    /// Share of a processor that the load used, where that says something.
    pub load_share: Option<f64>,
    /// Number of processors that other programs kept busy meanwhile.
    pub others_busy: Option<f64>,
    /// Latency in nanoseconds.
    pub latency: Histogram<u64>,
    /// A remark for the reader of the results.
    pub note: Option<String>,
    /// The results of the probes, in a mixed workload.
    pub probed: Option<Box<Probed>>,
    /// Memory before anything was published, if connections are in many rooms.
    pub held: Option<Box<Held>>,
    /// Figures that only this workload has.
    pub more: Vec<(Figure, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    server: Option<CpuTime>,
    load: Duration,
    /// The time in which the load only polled and found nothing.
    idle: Duration,
    /// Busy time of all processors of the machine together.
    machine: Option<Duration>,
}

/// The number of processors that other programs kept busy meanwhile, if the server's share is
/// known.
fn others_busy(first: &Reading, last: &Reading) -> Option<f64> {
    let machine = last.machine?.saturating_sub(first.machine?).as_secs_f64();
    let server = (last.server? - first.server?).all_ns() / 1e9;
    let load = last.load.saturating_sub(first.load).as_secs_f64();
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    Some(((machine - server - load) / seconds).max(0.0))
}

/// The share of a processor that the load used for more than polling. Processor time cannot tell
/// polling from the rest, and the clock goes on while another program has the processor; such
/// interruptions are assumed to be equally frequent in both.
fn busy_share(processor: Duration, idle: Duration, seconds: f64) -> f64 {
    let busy = (1.0 - idle.as_secs_f64() / seconds).max(0.0);
    processor.as_secs_f64() / seconds * busy
}

/// Takes readings at the start and at the end of the measured part.
#[derive(Debug)]
pub struct Meter {
    process: Option<Process>,
    from: Instant,
    until: Instant,
    first: Option<Reading>,
    last: Option<Reading>,
    resident_bytes: Option<u64>,
    operations: u64,
    latency: Histogram<u64>,
    by_schedule: bool,
    stays_awake: bool,
    /// Time spent polling without a reply.
    idle: Duration,
    /// The end of the latest poll, if it found nothing.
    idle_since: Option<Instant>,
}

impl Meter {
    /// A meter whose warm-up begins now.
    #[must_use]
    pub fn new(window: Window, process: Option<Process>) -> Self {
        let from = Instant::now() + window.warm_up;
        Self {
            process,
            from,
            until: from + window.measured,
            first: None,
            last: None,
            resident_bytes: None,
            operations: 0,
            latency: histogram(),
            by_schedule: false,
            stays_awake: window.stays_awake,
            idle: Duration::ZERO,
            idle_since: None,
        }
    }

    /// Whether the load must poll without sleeping.
    #[must_use]
    pub fn stays_awake(&self) -> bool {
        self.stays_awake
    }

    /// Whether this is the measured part.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.first.is_some() && self.last.is_none()
    }

    /// Records a poll for replies. After a poll that found nothing, the load was idle until the
    /// next one ended.
    pub fn looked(&mut self, began: Instant, ended: Instant, found: bool) {
        if found {
            self.idle_since = None;
        } else {
            self.idle += ended - self.idle_since.unwrap_or(began);
            self.idle_since = Some(ended);
        }
    }

    /// From now on latency counts for operations that were due in the measured part, however late
    /// they ended; otherwise it counts for those that ended in it.
    pub fn count_by_schedule(&mut self) {
        self.by_schedule = true;
    }

    /// Takes a reading when one is due; returns whether the measured part is over.
    pub fn is_over(&mut self, now: Instant) -> Result<bool> {
        if self.first.is_none() && now >= self.from {
            self.first = Some(self.read()?);
        } else if self.last.is_none() && now >= self.until {
            self.resident_bytes = self
                .process
                .as_ref()
                .map(Process::resident_bytes)
                .transpose()?;
            self.last = Some(self.read()?);
        }
        Ok(self.last.is_some())
    }

    /// Ends the measured part now, however long it was to be.
    pub fn end(&mut self) -> Result<()> {
        self.until = Instant::now();
        self.is_over(self.until).map(drop)
    }

    fn read(&self) -> Result<Reading> {
        Ok(Reading {
            server: self.process.as_ref().map(Process::cpu).transpose()?,
            load: own_thread_cpu(),
            idle: self.idle,
            machine: machine_busy(),
            at: Instant::now(),
        })
    }

    /// Records `count` operations that ended at `now`, with a latency from `since`.
    pub fn record(&mut self, since: Instant, now: Instant, count: u64) {
        let measuring = self.is_measuring();
        if measuring {
            self.operations += count;
        }
        let due = since >= self.from && since < self.until;
        if if self.by_schedule { due } else { measuring } {
            let nanoseconds = now.saturating_duration_since(since).as_nanos();
            let nanoseconds = u64::try_from(nanoseconds).unwrap_or(LATENCY_NS_MAX);
            self.latency.saturating_record_n(nanoseconds, count);
        }
    }

    /// The figures, if the measured part is over.
    #[must_use]
    pub fn finish(self) -> Option<Measured> {
        let (first, last) = (self.first?, self.last?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        Some(Measured {
            operations: self.operations,
            seconds,
            server: first
                .server
                .zip(last.server)
                .map(|(first, last)| last - first),
            resident_bytes: self.resident_bytes,
            load_share: Some(busy_share(
                last.load - first.load,
                last.idle - first.idle,
                seconds,
            )),
            others_busy: others_busy(&first, &last),
            latency: self.latency,
            note: None,
            probed: None,
            held: None,
            more: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_share_processor_taken_by_others_is_not_idle_time() {
        let check = |processor_ms, idle_ms, expected: f64| {
            let millis = Duration::from_millis;
            let share = busy_share(millis(processor_ms), millis(idle_ms), 2.0);
            assert!((share - expected).abs() < 1e-9, "{share}, not {expected}");
        };
        // The load is alone and polls: all time that is not idle is busy.
        check(2000, 500, 0.75);
        // The load is alone and sleeps between replies: no poll is recorded.
        check(600, 0, 0.3);
        // Others use half of the processor, and half of that falls into polls.
        check(1000, 1000, 0.25);
        // There were only polls, the last of which began before the end.
        check(2000, 2001, 0.0);
    }
}
