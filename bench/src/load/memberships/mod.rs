//! Connections that are in many rooms each: what a membership holds in memory, and a delivery costs.
//!
//! ```text
//!   dial ──▶ idle: memory ──▶ join (every connection, its rooms) ──▶ memory ──▶ publish ──▶ memory
//!                               ▲                                                │   ▲
//!                             spread (who is in which room)        command ◀─────┘   │
//!                                                   deliveries (every member, in order)
//! ```

mod command;
mod deliveries;
mod join;
mod publish;
mod spread;

pub use spread::Spread;

use super::dial::{Target, dial_all};
use super::meter::{Measured, Meter, Window};
use super::reactor::{Io, drive};
use crate::proc::Process;
use crate::results::Figure;
use anyhow::Result;
use publish::Publishing;
use std::thread::sleep;

/// Resident memory of a server before anything was published.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Held {
    /// Who is in which room.
    pub spread: Spread,
    /// Before the first connection.
    pub base_bytes: u64,
    /// With all connections, which are in no room.
    pub connected_bytes: u64,
    /// With all connections in their rooms.
    pub joined_bytes: u64,
}

impl Held {
    /// What was read, where the server's process is known.
    #[must_use]
    pub fn of(
        spread: Spread,
        base: Option<u64>,
        connected: Option<u64>,
        joined: Option<u64>,
    ) -> Option<Box<Self>> {
        Some(Box::new(Self {
            spread,
            base_bytes: base?,
            connected_bytes: connected?,
            joined_bytes: joined?,
        }))
    }

    /// For the results; `resident_bytes` is what it was at the end.
    #[must_use]
    pub fn figures(&self, resident_bytes: Option<u64>) -> Vec<(Figure, f64)> {
        let each = |more: u64, less: u64, count: usize| (more as f64 - less as f64) / count as f64;
        let connections = self.spread.connections;
        let membership = |bytes: u64| each(bytes, self.connected_bytes, self.spread.memberships());
        let mut figures = vec![
            (
                Figure::IdleBytes,
                each(self.connected_bytes, self.base_bytes, connections),
            ),
            (Figure::MembershipBytes, membership(self.joined_bytes)),
        ];
        let spoken = resident_bytes.map(membership);
        figures.extend(spoken.map(|bytes| (Figure::MembershipSpokenBytes, bytes)));
        figures
    }
}

/// Opens all connections, has each join its rooms, and publishes in all rooms. Memory is read where the
/// server's process is known.
pub fn measure(
    target: &Target,
    process: Option<Process>,
    window: Window,
    spread: Spread,
) -> Result<Measured> {
    let settled = || {
        sleep(window.steps().settle);
        process.as_ref().map(Process::resident_bytes).transpose()
    };
    let base = settled()?;
    let mut links = dial_all(target, 0..spread.connections, |_| "/".to_owned())?;
    let connected = settled()?;
    join::all(&mut links, spread)?;
    let joined = settled()?;
    let mut driver = Publishing::new(spread);
    let io = Io::new(links, Meter::new(window, process.clone()), |_| true)?;
    let mut measured = drive(io, &mut driver)?;
    measured.held = Held::of(spread, base, connected, joined);
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_beyond_what_was_there_before() {
        let held = Held {
            spread: Spread {
                connections: 10,
                rooms_each: 5,
                payload_bytes: 128,
                at_once: 2,
            },
            base_bytes: 1_000,
            connected_bytes: 3_000,
            joined_bytes: 8_000,
        };
        let idle = (Figure::IdleBytes, 200.0);
        let joined = (Figure::MembershipBytes, 100.0);
        let spoken = (Figure::MembershipSpokenBytes, 120.0);
        assert_eq!(held.figures(None), [idle, joined]);
        assert_eq!(held.figures(Some(9_000)), [idle, joined, spoken]);
    }
}
