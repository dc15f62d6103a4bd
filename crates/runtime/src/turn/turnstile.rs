//! A way to give up the core for one turn that really lets everything else run.
//!
//! A monoio task that wakes itself goes to the front of the queue, and while any task is ready the
//! driver looks neither at timers nor, under io_uring, at wakes from other threads. So whoever has
//! more to do than one turn's share waits here for something that comes through the driver
//! (`kernel/linux/tasks.rs`).

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    task::{Poll, Waker},
    time::Duration,
};

use tracing::warn;

use super::Wake;
use crate::kernel::{DriverTurn, sleep};

/// One per core.
pub(crate) struct Turnstile {
    driver: DriverTurn,
    wanted: Wake,
    turns: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Turnstile {
    /// Needs a running core.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            driver: DriverTurn::new()?,
            wanted: Wake::default(),
            turns: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
        })
    }

    /// Waits until the driver has had a turn.
    pub(crate) async fn pass(&self) {
        let until = self.turns.get() + 1;
        self.wanted.raise();
        poll_fn(|context| {
            if self.turns.get() >= until {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Turns the turnstile for whoever waits; runs as a task of its own for as long as the core.
    pub(crate) async fn run(&self) {
        loop {
            self.wanted.wait().await;
            if let Err(error) = self.driver.pass().await {
                // A timer goes through the driver too, if more slowly: nobody waits for ever.
                warn!(%error, "a turn of the driver failed");
                sleep(Duration::from_millis(1)).await;
            }
            self.turns.set(self.turns.get() + 1);
            // Whoever has raised it by now is among those who are woken. If it stayed raised, the next
            // byte would be on its way before they have run: then there is always a task ready, and
            // the driver, which looks at timers and at other threads' wakes only where there is none,
            // never does.
            self.wanted.lower();
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, thread, time::Instant};

    use super::*;
    use crate::fixture::on_each_driver;

    /// Longer than anything takes here that is not kept waiting for ever.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Tasks that pass again and again, each out of step with the others: some while the driver has its
    /// turn.
    #[test]
    fn timers_and_other_threads_are_served_however_many_pass() {
        on_each_driver(async |core| {
            let is_over = Rc::new(Cell::new(false));
            let (staggered, stagger) = flume::unbounded::<()>();
            for number in 0..40 {
                let (core, is_over, stagger) = (core.clone(), is_over.clone(), stagger.clone());
                monoio::spawn(async move {
                    while !is_over.get() {
                        for _ in 0..number % 7 {
                            let _ = stagger.recv_async().await;
                        }
                        core.turnstile.pass().await;
                    }
                });
            }
            let (core_of_sender, over) = (core.clone(), is_over.clone());
            monoio::spawn(async move {
                while !over.get() {
                    for _ in 0..3 {
                        let _ = staggered.send(());
                    }
                    core_of_sender.turnstile.pass().await;
                }
                drop(staggered);
            });
            let began = Instant::now();
            let stopper = is_over.clone();
            let watch = core.clone();
            // Without this the test would hang where it is to fail.
            monoio::spawn(async move {
                while began.elapsed() < PATIENCE && !stopper.get() {
                    watch.turnstile.pass().await;
                }
                stopper.set(true);
            });
            let (sender, receiver) = flume::bounded(1);
            let other = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                sender.send(()).unwrap();
            });
            for _ in 0..5 {
                monoio::time::sleep(Duration::from_millis(10)).await;
            }
            receiver.recv_async().await.unwrap();
            assert!(!is_over.get(), "only when nobody passed any more");
            is_over.set(true);
            other.join().unwrap();
        });
    }
}
