//! The results of one phase of probes: the latency of messages, and the delays of the prober
//! itself.

use crate::load::meter::histogram;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Quantiles of durations, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// The number of durations.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The maximum.
    pub max_us: f64,
}

impl Quantiles {
    fn of(nanoseconds: &Histogram<u64>) -> Self {
        let us = |quantile| nanoseconds.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: nanoseconds.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: nanoseconds.max() as f64 / 1e3,
        }
    }
}

/// The results of one phase.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Phase {
    /// From a send to the arrival at each member of a small room.
    pub rooms: Quantiles,
    /// From a send to the arrival of its echo.
    pub echoes: Quantiles,
    /// How late messages were sent, compared with the prober's schedule.
    pub sent_late: Quantiles,
    /// How late the prober read bytes that had arrived.
    pub read_late: Quantiles,
    /// Replies that had not arrived some seconds after the end.
    pub missing: u64,
    /// Reads without a time from the kernel, for which the time of reading was used.
    pub unstamped: u64,
    /// Share of a processor that the prober used.
    pub processor_share: f64,
    /// Whether the prober has priority over others on its processor.
    pub has_priority: bool,
}

/// The kind of probe that a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// A small room.
    Room,
    /// An echo.
    Echo,
}

/// When the bytes of one read had arrived, and when they were read.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The kernel's time, if it gave one.
    pub arrived: Option<Instant>,
    /// The prober's time.
    pub read: Instant,
}

impl Arrival {
    /// The time up to which latency counts.
    #[must_use]
    pub fn time(&self) -> Instant {
        self.arrived.unwrap_or(self.read)
    }
}

/// Records one phase. Messages that were due before `from` do not count.
#[derive(Debug)]
pub struct Recorder {
    from: Instant,
    rooms: Histogram<u64>,
    echoes: Histogram<u64>,
    sent_late: Histogram<u64>,
    read_late: Histogram<u64>,
    unstamped: u64,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new(from: Instant) -> Self {
        Self {
            from,
            rooms: histogram(),
            echoes: histogram(),
            sent_late: histogram(),
            read_late: histogram(),
            unstamped: 0,
        }
    }

    /// Records that a message that was due at `due` is sent at `now`.
    pub fn sent(&mut self, due: Instant, now: Instant) {
        if due >= self.from {
            record(&mut self.sent_late, now.saturating_duration_since(due), 1);
        }
    }

    /// Records that bytes were read.
    pub fn read(&mut self, arrival: Arrival) {
        if arrival.time() < self.from {
            return;
        }
        match arrival.arrived {
            Some(arrived) => {
                let late = arrival.read.saturating_duration_since(arrived);
                record(&mut self.read_late, late, 1);
            }
            None => self.unstamped += 1,
        }
    }

    /// Records that `count` copies of a message sent at `sent` have arrived.
    pub fn arrived(&mut self, probe: Probe, sent: Instant, arrival: Arrival, count: u64) {
        if sent < self.from {
            return;
        }
        let took = arrival.time().saturating_duration_since(sent);
        match probe {
            Probe::Room => record(&mut self.rooms, took, count),
            Probe::Echo => record(&mut self.echoes, took, count),
        }
    }

    /// The results of the phase.
    #[must_use]
    pub fn finish(&self) -> Phase {
        Phase {
            rooms: Quantiles::of(&self.rooms),
            echoes: Quantiles::of(&self.echoes),
            sent_late: Quantiles::of(&self.sent_late),
            read_late: Quantiles::of(&self.read_late),
            unstamped: self.unstamped,
            ..Phase::default()
        }
    }
}

fn record(histogram: &mut Histogram<u64>, duration: Duration, count: u64) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record_n(nanoseconds, count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 0.002
    }

    #[test]
    fn latency_runs_from_the_send_to_the_kernels_stamp() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recorder = Recorder::new(start);
        // The message is due at 0, sent at 1, arrives at 5 and is read at 9.
        recorder.sent(at(0), at(1));
        let arrival = Arrival {
            arrived: Some(at(5)),
            read: at(9),
        };
        recorder.read(arrival);
        recorder.arrived(Probe::Room, at(1), arrival, 10);
        recorder.arrived(Probe::Echo, at(3), arrival, 1);
        let phase = recorder.finish();
        assert_eq!((phase.rooms.count, phase.echoes.count), (10, 1));
        assert!(near(phase.rooms.p50_us, 4_000.0), "{phase:?}");
        assert!(near(phase.echoes.max_us, 2_000.0), "{phase:?}");
        assert!(near(phase.sent_late.max_us, 1_000.0), "{phase:?}");
        assert!(near(phase.read_late.p99_us, 4_000.0), "{phase:?}");
        assert_eq!(phase.unstamped, 0);
    }

    #[test]
    fn arrival_without_stamp_counts_when_it_is_read() {
        let start = Instant::now();
        let read = start + Duration::from_millis(7);
        let mut recorder = Recorder::new(start);
        let arrival = Arrival {
            arrived: None,
            read,
        };
        recorder.read(arrival);
        recorder.arrived(Probe::Echo, start, arrival, 1);
        let phase = recorder.finish();
        assert!(near(phase.echoes.max_us, 7_000.0));
        assert_eq!((phase.unstamped, phase.read_late.count), (1, 0));
    }

    #[test]
    fn warm_up_does_not_count() {
        let start = Instant::now();
        let from = start + Duration::from_millis(10);
        let mut recorder = Recorder::new(from);
        let arrival = Arrival {
            arrived: Some(start),
            read: from,
        };
        recorder.sent(start, from);
        recorder.read(arrival);
        recorder.arrived(Probe::Room, start, arrival, 1);
        assert_eq!(recorder.finish(), Phase::default());
    }

    #[test]
    fn quantiles_of_a_hundred_name_the_last_but_one() {
        let mut recorder = Recorder::new(Instant::now());
        let sent = recorder.from;
        for ms in 1..=100 {
            let arrived = sent + Duration::from_millis(ms);
            let arrival = Arrival {
                arrived: Some(arrived),
                read: arrived,
            };
            recorder.arrived(Probe::Room, sent, arrival, 1);
        }
        let rooms = recorder.finish().rooms;
        assert!(near(rooms.p50_us, 50_000.0) && near(rooms.p99_us, 99_000.0));
        assert!(near(rooms.max_us, 100_000.0));
    }
}
