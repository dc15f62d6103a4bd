//! Events to the back end: who comes, subscribes and goes, and which rooms are occupied, in batches to one URL.
//!
//! ```text
//!  a session ─▶ witness.rs ─┐                          task on the thread `backend`
//!  a room's home ───────────┴▶ sink.rs: a queue ─▶ sender.rs ─▶ batch.rs, signature.rs ─▶ the back end
//!                              with a bound,            │ again and again, until it is taken
//!                              for which nobody waits   └─ what the queue lost is said in the next batch
//! ```
//!
//! Without a URL nothing of this exists: sessions have no witness, homes have nobody to tell.

mod batch;
mod event;
mod load;
mod occupancy;
mod sender;
mod signature;
mod sink;
mod witness;

use std::{io, sync::Arc, time::Duration};

use flume::{Receiver, RecvTimeoutError};
use tokio::sync::watch;
use tracing::{info, warn};

use self::sender::Sender;
use crate::backend::{Backend, Task};

pub use self::{
    event::EventKind,
    load::{Wanted, load},
    signature::Secret,
    sink::{Counts, OUTCOMES, Sink},
    witness::{Why, Witness},
};

/// The events of a running server.
#[derive(Debug)]
pub struct Events {
    sink: Arc<Sink>,
    /// Becomes true when nothing more happens.
    closing: watch::Sender<bool>,
    /// Is told when the back end has taken everything.
    done: Receiver<()>,
    /// Ends the sender with this.
    _task: Task,
}

impl Events {
    /// Starts the task that sends them, in the name of this node.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn begin(wanted: Wanted, node: &Arc<str>, backend: &Backend) -> io::Result<Self> {
        let Wanted {
            destination,
            pace,
            bounds,
            secret,
        } = wanted;
        let (sink, inbox) = Sink::new(bounds, secret);
        let (closing, is_closing) = watch::channel(false);
        let (tell_done, done) = flume::bounded(1);
        let sender = Sender::new(
            destination,
            pace,
            (sink.clone(), inbox),
            node.clone(),
            is_closing,
        );
        let task = backend.spawn(async move {
            sender.run().await;
            let _ = tell_done.send(());
        })?;
        Ok(Self {
            sink,
            closing,
            done,
            _task: task,
        })
    }

    /// Where events are told.
    pub fn sink(&self) -> &Arc<Sink> {
        &self.sink
    }

    /// Nothing more happens: waits until the back end has taken what did, for at most this long.
    pub fn finish(self, within: Duration) {
        self.closing.send_replace(true);
        match self.done.recv_timeout(within) {
            Ok(()) => info!("the back end has taken all events"),
            Err(RecvTimeoutError::Timeout) => warn!(
                events = self.sink.waiting(),
                "the back end has not taken these events within events_drain_timeout, and they are lost"
            ),
            Err(RecvTimeoutError::Disconnected) => {
                warn!("the task that sends events has ended with a panic");
            }
        }
    }
}
