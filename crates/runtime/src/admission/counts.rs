//! How many connections there may be, counted over all cores: together, and of each address.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use tracing::warn;

use super::addresses::{Addresses, Excess};
use crate::end::EndReason;

/// Connections beyond the bound that are taken in only to be told so (503). When as many are
/// being told, others wait in the listen backlog. So many more are told that there is too much of
/// their address (429); others of such addresses are reset.
const REFUSALS_MAX: usize = 8;

/// How long each of the stages of a refusal may take, so that there is room for the next.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// The counts and their bound. Touched when a connection comes or goes, never in between.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) addresses: Addresses,
    connections: AtomicUsize,
    refusals: AtomicUsize,
    address_refusals: AtomicUsize,
    /// 0 until [`open`](Self::open).
    connections_max: AtomicUsize,
}

/// The answer to a connection that wants to come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Come in.
    Yes,
    /// Come in only to be refused.
    ToRefuse(Refusal),
    /// Wait outside.
    Wait,
}

/// Why a connection is only told that it is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Of all.
    Full,
    /// Of its address.
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
    /// The time that a connection has for what others may take `usual` for.
    pub(crate) fn time(self, usual: Duration) -> Duration {
        match self {
            Self::Yes => usual,
            Self::ToRefuse(_) | Self::Wait => usual.min(REFUSAL_TIME),
        }
    }

    /// Why the connection ends if its handshake is not done in its time, for what others end with
    /// `usual`. One that is only let in to be refused had little time because it is: whatever it has
    /// said of itself by then, that is the reason.
    pub(crate) fn overdue(self, usual: EndReason) -> EndReason {
        match self {
            Self::Yes | Self::Wait => usual,
            Self::ToRefuse(refusal) => refusal.reason(),
        }
    }
}

impl Admission {
    /// Lets as many in as is configured, or else as are possible; returns how many.
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

    /// Lets so many connections in at the same time.
    fn open_to(&self, connections_max: usize) {
        self.connections_max
            .store(connections_max, Ordering::Relaxed);
    }

    /// Counts one connection more, unless the answer is to wait.
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

    /// Makes of a connection that was let in one that is only told that there is too much of its
    /// address; `None` if too many are being told.
    pub(crate) fn turn_away(&self, excess: Excess) -> Option<Admitted> {
        take(&self.address_refusals, REFUSALS_MAX).then(|| {
            self.leave(Admitted::Yes);
            Admitted::ToRefuse(Refusal::Address(excess))
        })
    }

    /// Counts one connection less, by the answer it had.
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

    /// How many connections there may be.
    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.load(Ordering::Relaxed)
    }

    /// How many connections there are, those not counted that are only refused.
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

/// How many connections this process has descriptors for: its limit, less a reserve of
/// min(64, a quarter of it), less what is open now. At least 1.
pub(crate) fn connections_possible() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
    let open_now = std::fs::read_dir("/proc/self/fd")?.count();
    let reserve = (limit / 4).min(64);
    Ok(limit.saturating_sub(reserve + open_now).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

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
