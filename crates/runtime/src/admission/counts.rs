//! Bounds on the connections of all cores together, and how many excess connections are answered.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use tracing::warn;

use super::addresses::{Addresses, Excess};
use crate::end::EndReason;

/// Most connections beyond the bound that are accepted only to be answered with 503. While that many
/// are being answered, further ones wait in the listen backlog. As many again are answered with 429
/// because of their address; further ones of such addresses are reset.
const REFUSALS_MAX: usize = 8;

/// The time limit of each stage of a refusal, so that its place is soon free for the next.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The counts and their bound. They change only when a connection opens or closes.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) addresses: Addresses,
    connections: AtomicUsize,
    refusals: AtomicUsize,
    address_refusals: AtomicUsize,
    /// 0 until [`open`](Self::open) is called.
    connections_max: AtomicUsize,
}

/// Whether a new connection is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// The connection is accepted.
    Yes,
    /// The connection is accepted only to be answered with a refusal.
    ToRefuse(Refusal),
    /// The connection stays in the listen backlog.
    Wait,
}

/// Why a connection is answered with a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server has as many connections as it may have (503).
    Full,
    /// The network of its address has reached a bound (429).
    Address(Excess),
}

impl Refusal {
    pub(crate) fn reason(self) -> EndReason {
        match self {
            Self::Full => EndReason::TooManyConnections,
            Self::Address(Excess::Connections) => EndReason::AddressConnections,
            Self::Address(Excess::Rate) => EndReason::AddressRate,
        }
    }
}

impl Admitted {
    /// The time limit for a stage that takes at most `usual` for an accepted connection.
    pub(crate) fn time(self, usual: Duration) -> Duration {
        match self {
            Self::Yes => usual,
            Self::ToRefuse(_) | Self::Wait => usual.min(REFUSAL_TIME),
        }
    }

    /// The end reason of a connection whose handshake exceeds its time limit; an accepted one ends
    /// with `usual`. A refused connection ends with the reason of its refusal, even if its request
    /// is still incomplete: its limit was short only because it is refused.
    pub(crate) fn overdue(self, usual: EndReason) -> EndReason {
        match self {
            Self::Yes | Self::Wait => usual,
            Self::ToRefuse(refusal) => refusal.reason(),
        }
    }
}

impl Admission {
    /// Sets the bound, to the configured one or else to the possible one, and returns it.
    pub(crate) fn open(&self, configured: Option<usize>, possible: usize) -> usize {
        let connections_max = configured.unwrap_or(possible);
        if connections_max > possible {
            warn!(
                max_connections = connections_max,
                possible,
                "there are fewer descriptors than max_connections needs; raise RLIMIT_NOFILE"
            );
        }
        self.open_to(connections_max);
        connections_max
    }

    /// Sets the bound.
    fn open_to(&self, connections_max: usize) {
        self.connections_max
            .store(connections_max, Ordering::Relaxed);
    }

    /// Counts one connection more, unless the outcome is [`Admitted::Wait`].
    pub(crate) fn enter(&self) -> Admitted {
        let connections_max = self.connections_max.load(Ordering::Relaxed);
        if take(&self.connections, connections_max) {
            Admitted::Yes
        } else if take(&self.refusals, REFUSALS_MAX) {
            Admitted::ToRefuse(Refusal::Full)
        } else {
            Admitted::Wait
        }
    }

    /// Turns an accepted connection into one that is answered with a refusal because of its
    /// address. `None` if [`REFUSALS_MAX`] of them are being answered already.
    pub(crate) fn turn_away(&self, excess: Excess) -> Option<Admitted> {
        take(&self.address_refusals, REFUSALS_MAX).then(|| {
            self.leave(Admitted::Yes);
            Admitted::ToRefuse(Refusal::Address(excess))
        })
    }

    /// Counts one connection less; `admitted` is what `enter` or `turn_away` returned for it.
    pub(crate) fn leave(&self, admitted: Admitted) {
        match admitted {
            Admitted::Yes => self.connections.fetch_sub(1, Ordering::Relaxed),
            Admitted::ToRefuse(Refusal::Full) => self.refusals.fetch_sub(1, Ordering::Relaxed),
            Admitted::ToRefuse(Refusal::Address(_)) => {
                self.address_refusals.fetch_sub(1, Ordering::Relaxed)
            }
            Admitted::Wait => 0,
        };
    }

    /// Most connections at the same time.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// The number of accepted connections, without those that are only answered with a refusal.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn take(count: &AtomicUsize, max: usize) -> bool {
    let more = |count| (count < max).then_some(count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}

/// The number of connections for which this process has file descriptors, at least 1: its limit,
/// less a reserve of a quarter of the limit but at most 64, less the descriptors that are open now, less what is kept
/// for others in the process, at most another quarter.
///
/// # Errors
/// The list of open descriptors cannot be read.
pub(crate) fn connections_possible(kept: usize) -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
    let open_now = std::fs::read_dir("/proc/self/fd")?.count();
    Ok(possible(limit, open_now, kept))
}

fn possible(limit: usize, open_now: usize, kept: usize) -> usize {
    let quarter = limit / 4;
    let reserve = quarter.min(64) + quarter.min(kept);
    limit.saturating_sub(reserve + open_now).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_others_are_no_connections() {
        for (limit, open_now, kept, connections) in [
            (1_024, 20, 0, 940),
            (1_024, 20, 100, 840),
            (1_024, 20, 1_000, 684),
            (40, 5, 0, 25),
            (40, 5, 256, 15),
            (4, 10, 0, 1),
        ] {
            assert_eq!(
                possible(limit, open_now, kept),
                connections,
                "{limit} {kept}"
            );
        }
    }

    #[test]
    fn connections_beyond_the_bound_are_refused_and_then_wait() {
        let admission = Admission::default();
        admission.open_to(2);
        let all = 2 + REFUSALS_MAX;
        let answers: Vec<_> = (0..all + 2).map(|_| admission.enter()).collect();
        assert_eq!(answers[..2], [Admitted::Yes; 2]);
        assert_eq!(
            answers[2..all],
            [Admitted::ToRefuse(Refusal::Full); REFUSALS_MAX]
        );
        assert_eq!(answers[all..], [Admitted::Wait; 2]);
        assert_eq!(admission.connections(), 2);
    }

    #[test]
    fn connection_that_leaves_makes_room_whoever_is_being_refused() {
        let admission = Admission::default();
        admission.open_to(1);
        assert_eq!(admission.enter(), Admitted::Yes);
        assert_eq!(admission.enter(), Admitted::ToRefuse(Refusal::Full));
        admission.leave(Admitted::Yes);
        assert_eq!(admission.enter(), Admitted::Yes);
    }

    #[test]
    fn connection_that_is_turned_away_makes_room_and_no_more_than_a_few_are_told() {
        let admission = Admission::default();
        admission.open_to(1);
        let told = Admitted::ToRefuse(Refusal::Address(Excess::Rate));
        for _ in 0..REFUSALS_MAX {
            assert_eq!(admission.enter(), Admitted::Yes);
            assert_eq!(admission.turn_away(Excess::Rate), Some(told));
        }
        assert_eq!(admission.enter(), Admitted::Yes);
        assert_eq!(admission.turn_away(Excess::Rate), None);
        assert_eq!(admission.connections(), 1);
        admission.leave(told);
        assert_eq!(admission.turn_away(Excess::Rate), Some(told));
        assert_eq!(admission.connections(), 0);
    }

    #[test]
    fn connections_before_opening_are_not_let_in() {
        assert_ne!(Admission::default().enter(), Admitted::Yes);
    }
}
