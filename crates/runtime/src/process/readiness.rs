//! Whether a server is to be sent connections: set by those who control it, asked from any thread.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// How far a server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not accepting connections yet.
    Starting,
    /// Accepting connections.
    Ready,
    /// Going away since this time. For as long as the drain is delayed it still accepts, but
    /// whoever can should connect elsewhere.
    Draining {
        /// When it was told to.
        since: Instant,
    },
}

/// Tells a server's phase. All clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Steps>);

/// The steps that were taken. None is ever taken back.
#[derive(Debug, Default)]
struct Steps {
    is_open: AtomicBool,
    draining_since: OnceLock<Instant>,
}

impl Readiness {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.0.draining_since.get() {
            Some(since) => Phase::Draining { since: *since },
            None if self.0.is_open.load(Ordering::Relaxed) => Phase::Ready,
            None => Phase::Starting,
        }
    }

    /// Connections are accepted from now on.
    pub(crate) fn open(&self) {
        self.0.is_open.store(true, Ordering::Relaxed);
    }

    /// The server goes away, since now if it was not told before.
    pub(crate) fn drain(&self) {
        self.0.draining_since.get_or_init(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_starting_then_ready_then_draining_since_the_first_call() {
        let readiness = Readiness::default();
        let asked = readiness.clone();
        assert_eq!(asked.phase(), Phase::Starting);
        readiness.open();
        assert_eq!(asked.phase(), Phase::Ready);
        readiness.drain();
        let draining = asked.phase();
        assert!(matches!(draining, Phase::Draining { .. }));
        readiness.drain();
        readiness.open();
        assert_eq!(asked.phase(), draining);
    }
}
