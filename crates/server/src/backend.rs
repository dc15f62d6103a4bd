//! The thread beside the cores for everything that has to do with other servers, and the HTTP client on it.
//!
//! ```text
//!  a core ─▶ a word that something is wanted ─▶ a task on the thread `backend` ─▶ client.rs ─▶ another server
//!     ▲                                                     │
//!     └───────────── what has come, read without a lock ◀───┘
//! ```
//!
//! No core waits for what happens here, and neither does the internal listener, which has a thread of its own. The
//! thread starts with the first task, so that a server without any does without it.

mod client;

use std::{
    future::{Future, pending},
    io,
    sync::{Mutex, PoisonError},
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    task::AbortHandle,
};

pub use client::{Bounds, Client, Failure, USER_AGENT, tls};

/// The thread of what the server asks others, and is asked by them. It lasts as long as the process.
#[derive(Debug, Default)]
pub struct Backend(Mutex<Option<Handle>>);

/// A task of that thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Backend {
    /// Starts a task, and before the first one the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> io::Result<Task> {
        Ok(Task(self.handle()?.spawn(task).abort_handle()))
    }

    /// What starts tasks from any thread without waiting. Before the first one, the thread starts.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn handle(&self) -> io::Result<Handle> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*running {
            Some(handle) => Ok(handle.clone()),
            None => Ok(running.insert(start()?).clone()),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Most lookups of names that may be under way, each on a thread of its own, because the system's lookup blocks for
/// as long as its resolver is configured to wait. Further ones wait, within the time of their request.
pub const LOOKUPS_MAX: usize = 2;

fn start() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOKUPS_MAX)
        .thread_name("resolver")
        .build()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("backend".into());
    thread.spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
