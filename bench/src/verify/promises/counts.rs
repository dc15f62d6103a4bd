//! What there was in a history, in numbers.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Numbers of a history.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Messages that were sent.
    pub publications: u64,
    /// Those that the server acknowledged.
    pub acknowledged: u64,
    /// Those that it refused.
    pub refused: u64,
    /// Acknowledged ones that nobody was given before the server was killed.
    pub lost_with_server: u64,
    /// Messages that subscribers were given as they were published.
    pub deliveries: u64,
    /// Messages that raw clients were given.
    pub raw_deliveries: u64,
    /// Messages that subscribers were given when they came back.
    pub recovered: u64,
    /// Subscriptions without a position.
    pub subscriptions: u64,
    /// Subscriptions with a position that were given everything.
    pub exact: u64,
    /// Subscriptions with a position that were told that it is lost: the log has another epoch.
    pub told_epoch: u64,
    /// The same: more than 300 messages were missed, as much as the protocol's servers hand out.
    pub told_cap: u64,
    /// The same: fewer were missed, so the room did not keep them for their number, bytes, age or the memory.
    pub told_past: u64,
    /// Subscriptions that the server ended, by code.
    pub lost: BTreeMap<u32, u64>,
    /// Connections that were cut.
    pub cuts: u64,
    /// Connections that the server ended, by code.
    pub ended: BTreeMap<u16, u64>,
    /// How often a client stopped reading.
    pub stalls: u64,
    /// How often the server was killed.
    pub kills: u64,
    /// Rooms whose presence was verified.
    pub presences: u64,
    /// Places of logs that nobody was given.
    pub unseen: u64,
    /// How long messages took.
    pub waits: Waits,
}

/// Times in microseconds.
#[derive(Clone, Debug)]
pub struct Waits {
    /// Up to an acknowledgement.
    pub acknowledgements: Histogram<u64>,
    /// Up to a delivery to a client that reads, while another does not.
    pub beside_stalled: Histogram<u64>,
    /// The same while everybody reads.
    pub otherwise: Histogram<u64>,
}

impl Default for Waits {
    fn default() -> Self {
        const MINUTES_10_US: u64 = 600_000_000;
        let empty = || Histogram::new_with_max(MINUTES_10_US, 2).expect("the bounds are permitted");
        Self {
            acknowledgements: empty(),
            beside_stalled: empty(),
            otherwise: empty(),
        }
    }
}

impl Waits {
    /// Somebody waited this long for an acknowledgement.
    pub fn acknowledgement(&mut self, us: u64) {
        self.acknowledgements.saturating_record(us);
    }

    /// Somebody waited this long for a message.
    pub fn delivery(&mut self, us: u64, beside_stalled: bool) {
        match beside_stalled {
            true => self.beside_stalled.saturating_record(us),
            false => self.otherwise.saturating_record(us),
        }
    }
}
