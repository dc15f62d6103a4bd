//! Signals: received from the process's first moment on, by a thread that does nothing else.
//!
//! *Invariant:* that thread waits for nothing but signals; files are read, and the log is written, by
//! others. So a signal to stop is obeyed whatever else stands still: a start, a reload, or whoever
//! should read the log.

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

use crate::{logging, notify, reload::Reloads};

/// Obeys SIGTERM, SIGINT and SIGHUP for as long as the process lives.
pub struct Signals(Arc<Mutex<Stage>>);

/// How far the process is, and whom a signal is for.
enum Stage {
    /// It reads its settings and files. SIGHUP waits, since what was read may be old by now.
    Starting { is_reload_due: bool },
    /// It serves.
    Serving { drainer: Drainer, reloads: Reloads },
    /// It closes its connections.
    Draining { reloads: Reloads },
}

impl Signals {
    /// Receives from now on. Until [`serving`](Self::serving) is called, a signal to stop ends the
    /// process at once, and with success: there is nobody to drain.
    ///
    /// # Errors
    /// When the kernel refuses, or there is no thread to be had.
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

    /// The server has started: from now on a signal to stop drains it, and SIGHUP reloads.
    pub fn serving(&self, drainer: Drainer, reloads: Reloads) {
        let mut stage = lock(&self.0);
        if let Stage::Starting {
            is_reload_due: true,
        } = *stage
        {
            reloads.ask();
        }
        *stage = Stage::Serving { drainer, reloads };
    }
}

/// A process inherits which signals are blocked, and one that stays blocked is never obeyed. What has
/// come before is received now.
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
    // Nothing panics while it is held.
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
        match self {
            Self::Starting { .. } => {
                info!(signal, "stopped while starting");
                end(0);
            }
            Self::Serving { drainer, reloads } => {
                info!(signal, "draining; a second signal stops at once");
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
                warn!(signal, "stopped without draining");
                end(128 + signal);
            }
        }
    }
}

fn end(code: i32) -> ! {
    logging::flush();
    exit(code)
}
