//! What is measured between the warm-up and the end: operations, latency, processor time.

use super::idle::Steps;
use super::memberships::Held;
use super::mixed::Probed;
use crate::proc::{CpuTime, Process, machine_busy, own_thread_cpu};
use anyhow::Result;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// A minute: nobody waits longer for a reply.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// An empty histogram of nanoseconds, three digits exact.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

/// How long to warm up and to measure, and how the load waits meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
    /// Whether the load looks for replies again and again instead of sleeping until they come:
    /// right if it has a processor to itself.
    pub stays_awake: bool,
}

impl Window {
    /// For idle connections: the longer the runs, the more points and the calmer.
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

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Messages that came back, deliveries, or connections.
    pub operations: u64,
    /// Of the measured part.
    pub seconds: f64,
    /// Of the server, if its process is known.
    pub server: Option<CpuTime>,
    /// Resident memory at the end of the measured part.
    pub resident_bytes: Option<u64>,
    /// Share of its processor that the load used.
    pub load_share: f64,
    /// Processors that other programs kept busy meanwhile.
    pub others_busy: Option<f64>,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    /// Something a reader must know.
    pub note: Option<String>,
    /// What went on beside it, in a mixed workload.
    pub probed: Option<Box<Probed>>,
    /// Memory before anything was published, if connections are in many rooms.
    pub held: Option<Box<Held>>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    server: Option<CpuTime>,
    load: Duration,
    /// The part of it in which the load only looked whether there was something.
    idle: Duration,
    /// All processors of the machine together.
    machine: Option<Duration>,
}

/// Processors that other programs kept busy meanwhile, if the server's share is known.
fn others_busy(first: &Reading, last: &Reading) -> Option<f64> {
    let machine = last.machine?.saturating_sub(first.machine?).as_secs_f64();
    let server = (last.server? - first.server?).all_ns() / 1e9;
    let load = last.load.saturating_sub(first.load).as_secs_f64();
    let seconds = last.at.duration_since(first.at).as_secs_f64();
    Some(((machine - server - load) / seconds).max(0.0))
}

/// Share of a processor that went into more than looking. Processor time cannot tell looks from the
/// rest, and the clock goes on while others have the processor: they are taken to come as often in
/// the one as in the other.
fn busy_share(processor: Duration, idle: Duration, seconds: f64) -> f64 {
    let busy = (1.0 - idle.as_secs_f64() / seconds).max(0.0);
    processor.as_secs_f64() / seconds * busy
}

/// Takes the readings at the start and at the end of the measured part.
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
    /// Spent looking for replies when there were none.
    idle: Duration,
    /// When the latest look ended, if it found nothing.
    idle_since: Option<Instant>,
}

impl Meter {
    /// The warm-up begins now.
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

    /// Whether the load is to wait without sleeping.
    #[must_use]
    pub fn stays_awake(&self) -> bool {
        self.stays_awake
    }

    /// Notes a look for replies. From one that found nothing to the next the load was idle.
    pub fn looked(&mut self, began: Instant, ended: Instant, found: bool) {
        if found {
            self.idle_since = None;
        } else {
            self.idle += ended - self.idle_since.unwrap_or(began);
            self.idle_since = Some(ended);
        }
    }

    /// Latency counts for what was due in the measured part, however late it ended; without this,
    /// for what ended in it.
    pub fn count_by_schedule(&mut self) {
        self.by_schedule = true;
    }

    /// Takes a reading when it is time; says whether the measured part is over.
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

    fn read(&self) -> Result<Reading> {
        Ok(Reading {
            server: self.process.as_ref().map(Process::cpu).transpose()?,
            load: own_thread_cpu(),
            idle: self.idle,
            machine: machine_busy(),
            at: Instant::now(),
        })
    }

    /// Notes operations that ended now and count from `since`.
    pub fn record(&mut self, since: Instant, now: Instant, count: u64) {
        let measuring = self.first.is_some() && self.last.is_none();
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

    /// What it all gave, if the measured part is over.
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
            load_share: busy_share(last.load - first.load, last.idle - first.idle, seconds),
            others_busy: others_busy(&first, &last),
            latency: self.latency,
            note: None,
            probed: None,
            held: None,
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
        // Alone, awake: what is not idle is busy.
        check(2000, 500, 0.75);
        // Alone, asleep between replies: no look is noted.
        check(600, 0, 0.3);
        // Half of the processor is others', of whose time half falls into looks.
        check(1000, 1000, 0.25);
        // Nothing but looks, the last of which began before the end.
        check(2000, 2001, 0.0);
    }
}
