//! Receives signals from the start of the process on, in a thread that does nothing else.
//!
//! *Invariant:* that thread never waits for files or for the reader of the log, except for one second
//! at the very end. A signal to stop is therefore obeyed even if a start, a reload or the reader of
//! the log is stuck.

use std::{
    io,
    process::exit,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::sys::signal::{SigSet, Signal};
use runtime::Drainer;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator,
};
use tracing::{info, warn};

use crate::{internal::Status, logging, notify, reload::Reloads};

/// Handles SIGTERM, SIGINT and SIGHUP for as long as the process lives.
pub struct Signals(Arc<Mutex<Stage>>);

/// The stage of the process, with the handles that a signal needs in it.
enum Stage {
    /// The process reads its settings and files. SIGHUP is remembered, since these may be outdated.
    Starting { is_reload_due: bool },
    /// The process serves.
    Serving {
        drainer: Drainer,
        reloads: Reloads,
        status: Status,
    },
    /// The process closes its connections.
    Draining { reloads: Reloads },
}

impl Signals {
    /// Begins to receive signals. Until [`serving`](Self::serving) is called, a signal to stop ends
    /// the process at once and with success, because there are no connections to drain.
    ///
    /// # Errors
    /// When the kernel refuses, or the thread cannot be started.
    pub fn receive() -> io::Result<Self> {
        let signals = iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        unblock()?;
        let stage = Arc::new(Mutex::new(Stage::Starting {
            is_reload_due: false,
        }));
        let obeyed = stage.clone();
        let thread = thread::Builder::new().name("signals".into());
        thread.spawn(move || obey(signals, &obeyed))?;
        Ok(Self(stage))
    }

    /// Records that the server has started: from now on a signal to stop drains it, and SIGHUP
    /// reloads. The service manager is notified while signals wait, so that it never learns of the
    /// stop before the start.
    pub fn serving(&self, drainer: Drainer, reloads: Reloads, status: Status) {
        let mut stage = lock(&self.0);
        notify::ready();
        if let Stage::Starting {
            is_reload_due: true,
        } = *stage
        {
            reloads.ask();
        }
        *stage = Stage::Serving {
            drainer,
            reloads,
            status,
        };
    }
}

/// Unblocks the signals, because a process inherits blocked signals and never receives them. Signals
/// that were already pending are received now.
fn unblock() -> io::Result<()> {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    let signals: SigSet = signals.into_iter().collect();
    Ok(signals.thread_unblock()?)
}

fn obey(mut signals: iterator::Signals, stage: &Mutex<Stage>) {
    for signal in signals.forever() {
        let mut stage = lock(stage);
        match signal {
            SIGHUP => stage.reload(),
            _ => stage.stop(signal),
        }
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    // Nothing panics while the lock is held.
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn reload(&mut self) {
        match self {
            Self::Starting { is_reload_due } => *is_reload_due = true,
            Self::Serving { reloads, .. } | Self::Draining { reloads } => reloads.ask(),
        }
    }

    /// The first signal to stop begins the drain, and the second ends the process at once.
    fn stop(&mut self, signal: i32) {
        let name = name(signal);
        match self {
            Self::Starting { .. } => {
                logging::farewell(&format!(
                    "stopped by {name} while starting, before it served any connection"
                ));
                end(0);
            }
            Self::Serving {
                drainer,
                reloads,
                status,
            } => {
                let keys: &[&str] = match signal {
                    SIGINT => &["interrupt_drain_timeout"],
                    _ => &["drain_delay", "drain_timeout", "close_timeout"],
                };
                let within = status.time_of(keys);
                info!(
                    "draining because of {name}: connections are closed within {within:?}; a second \
                     signal ends the process at once"
                );
                match signal {
                    SIGINT => drainer.hurry(),
                    _ => drainer.drain(),
                }
                notify::stopping();
                *self = Self::Draining {
                    reloads: reloads.clone(),
                };
            }
            Self::Draining { .. } => {
                warn!("stopped at once by a second signal, {name}: open connections are cut off");
                end(128 + signal);
            }
        }
    }
}

fn name(signal: i32) -> &'static str {
    Signal::try_from(signal).map_or("a signal", Signal::as_str)
}

fn end(code: i32) -> ! {
    logging::flush();
    exit(code)
}
