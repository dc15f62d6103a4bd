//! Latency of many small rooms and echoes beside a large room at full load.
//!
//! ```text
//!   phase "alone":   prober ──▶ small rooms, echoes ──▶ server
//!   phase "beside":  prober ──▶ small rooms, echoes ──▶ server ◀── the large room ◀── load
//! ```

pub mod prober;
mod probes;
mod record;
mod stamp;

pub use record::Phase;

use crate::load::dial::{Target, dial_all};
use crate::load::meter::{Measured, Meter, Window};
use crate::load::pace::Pace;
use crate::load::reactor::{Io, drive};
use crate::load::rooms::{Rooms, Shape};
use crate::load::wire::Template;
use crate::proc::Process;
use crate::results::Figure;
use anyhow::{Result, ensure};
use codec::Kind;
use prober::{Prober, Setup};
use serde::{Deserialize, Serialize};
use std::thread::sleep;
use std::time::Duration;

/// A server may answer a handshake before the room knows its member, so the load waits this long.
const SETTLE: Duration = Duration::from_millis(100);
const LARGE_BYTES: usize = 128;
/// The probes stop before the large room's load does, so that their last messages meet it too.
const PROBED_SHARE: f64 = 0.9;

/// The rooms and echoes that run at the same time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mix {
    /// Members of the large room, one of which sends.
    pub large: usize,
    /// Messages of the large room in flight.
    pub at_once: u32,
    /// Number of small rooms, in each of which one member sends.
    pub rooms: usize,
    /// Members of each small room.
    pub members: usize,
    /// Messages a second in each small room.
    pub room_rate: f64,
    /// Number of echo connections.
    pub echoes: usize,
    /// Messages a second on each echo connection.
    pub echo_rate: f64,
}

impl Mix {
    /// The number of the prober's connections.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.rooms * self.members + self.echoes
    }
}

/// The results of the probes with and without the large room.
#[derive(Clone, PartialEq, Debug)]
pub struct Probed {
    /// Before the large room was opened.
    pub alone: Phase,
    /// While the large room was at full load.
    pub beside: Phase,
}

impl Probed {
    /// The figures for the results.
    #[must_use]
    pub fn figures(&self) -> Vec<(Figure, f64)> {
        let (alone, beside) = (&self.alone, &self.beside);
        vec![
            (Figure::SmallRoomsP50Us, beside.rooms.p50_us),
            (Figure::SmallRoomsP99Us, beside.rooms.p99_us),
            (Figure::SmallRoomsMaxUs, beside.rooms.max_us),
            (Figure::SmallRoomsAloneP50Us, alone.rooms.p50_us),
            (Figure::SmallRoomsAloneP99Us, alone.rooms.p99_us),
            (Figure::SmallRoomsAloneMaxUs, alone.rooms.max_us),
            (
                Figure::SmallRoomsRatio,
                beside.rooms.p99_us / alone.rooms.p99_us,
            ),
            (Figure::EchoesP50Us, beside.echoes.p50_us),
            (Figure::EchoesP99Us, beside.echoes.p99_us),
            (Figure::EchoesMaxUs, beside.echoes.max_us),
            (Figure::EchoesAloneP50Us, alone.echoes.p50_us),
            (Figure::EchoesAloneP99Us, alone.echoes.p99_us),
            (Figure::EchoesAloneMaxUs, alone.echoes.max_us),
            (
                Figure::EchoesRatio,
                beside.echoes.p99_us / alone.echoes.p99_us,
            ),
            (Figure::SentLateP99Us, beside.sent_late.p99_us),
            (Figure::SentLateMaxUs, beside.sent_late.max_us),
            (Figure::ReadLateP99Us, beside.read_late.p99_us),
            (Figure::ReadLateMaxUs, beside.read_late.max_us),
        ]
    }

    /// A remark for the reader of the results.
    fn note(&self) -> Option<String> {
        let mut parts = Vec::new();
        let both = [("alone", &self.alone), ("beside", &self.beside)];
        for (name, phase) in both {
            if phase.missing > 0 {
                parts.push(format!(
                    "{} replies to probes were still to come at the end of the phase `{name}`",
                    phase.missing
                ));
            }
            if phase.unstamped > 0 {
                parts.push(format!(
                    "{} reads of the phase `{name}` had no time from the kernel",
                    phase.unstamped
                ));
            }
        }
        if !self.beside.has_priority {
            parts.push("the prober was refused priority over the load".to_owned());
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// Probes without the large room, then beside it; the main figures are those of the large room.
pub fn measure(
    target: &Target,
    process: Option<Process>,
    window: Window,
    mix: Mix,
    processor: usize,
) -> Result<Measured> {
    let setup = Setup {
        server: target.address,
        first: mix.large,
        processor,
        mix,
    };
    let mut prober = Prober::start(&setup)?;
    prober.order(window.warm_up, window.measured)?;
    let alone = prober.phase()?;
    let links = dial_all(target, 0..mix.large, |_| "/rooms/large".to_owned())?;
    sleep(SETTLE);
    let shape = Shape {
        rooms: 1,
        members: mix.large,
        senders: 1,
        stalled: 0,
    };
    let template = Template::new(target.framing, Kind::Text, LARGE_BYTES);
    let at_once = mix.at_once;
    let mut driver = Rooms::new(template, shape, Pace::Closed { at_once });
    let io = Io::new(links, Meter::new(window, process), |_| true)?;
    prober.order(window.warm_up, window.measured.mul_f64(PROBED_SHARE))?;
    let mut measured = drive(io, &mut driver)?;
    let beside = prober.phase()?;
    for phase in [&alone, &beside] {
        let counts = (phase.rooms.count, phase.echoes.count);
        ensure!(
            counts.0 > 0 && counts.1 > 0,
            "the time was too short for the probes: give --seconds"
        );
    }
    // The prober does not count as another program.
    let share = beside.processor_share;
    measured.others_busy = measured.others_busy.map(|busy| (busy - share).max(0.0));
    let probed = Probed { alone, beside };
    measured.note = measured.note.or_else(|| probed.note());
    measured.probed = Some(Box::new(probed));
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::mixed::record::Quantiles;

    fn phase(p99_us: f64) -> Phase {
        let quantiles = Quantiles {
            count: 1,
            p99_us,
            ..Quantiles::default()
        };
        Phase {
            rooms: quantiles,
            echoes: quantiles,
            has_priority: true,
            ..Phase::default()
        }
    }

    #[test]
    fn ratio_is_of_the_phase_beside_to_the_one_alone() {
        let probed = Probed {
            alone: phase(200.0),
            beside: phase(500.0),
        };
        let figures = probed.figures();
        for ratio in [Figure::SmallRoomsRatio, Figure::EchoesRatio] {
            let found = figures.iter().find(|(figure, _)| *figure == ratio).unwrap();
            assert!((found.1 - 2.5).abs() < 1e-9);
        }
        assert_eq!(probed.note(), None);
    }

    #[test]
    fn missing_and_unstamped_replies_are_told() {
        let probed = Probed {
            alone: Phase {
                missing: 3,
                ..phase(1.0)
            },
            beside: Phase {
                unstamped: 7,
                has_priority: false,
                ..phase(1.0)
            },
        };
        let note = probed.note().unwrap();
        for part in ["3 replies", "`alone`", "7 reads", "`beside`", "priority"] {
            assert!(note.contains(part), "{note}");
        }
    }
}
