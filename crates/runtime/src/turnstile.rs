//! A way to give up the core for one turn that really lets everything else run.
//!
//! A monoio task that wakes itself goes to the front of the queue, and while any task is ready the
//! driver looks neither at timers nor, under io_uring, at wakes from other threads. So whoever has
//! more to do than one turn's share waits here: a byte through a socket pair is awaited, and it
//! arrives only after the driver has had its turn.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    os::unix::net::UnixStream,
    pin::pin,
    task::{Poll, Waker},
    time::Duration,
};

use tracing::warn;

use crate::signal::Signal;

/// One per core.
pub(crate) struct Turnstile {
    /// Where the byte goes in.
    near: UnixStream,
    /// Where it comes out: the same socket twice, for waiting and for reading.
    far: monoio::net::UnixStream,
    far_reader: UnixStream,
    wanted: Signal,
    turns: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Turnstile {
    /// Opens the socket pair. Needs a running monoio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self {
            near,
            far_reader: far.try_clone()?,
            far: monoio::net::UnixStream::from_std(far)?,
            wanted: Signal::default(),
            turns: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
        })
    }

    /// How often it has been turned: the number of the turn under way.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.get()
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
            if let Err(error) = self.driver_turn().await {
                // A timer goes through the driver too, if more slowly: nobody waits for ever.
                warn!(%error, "a turn of the driver failed");
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
            self.turns.set(self.turns.get() + 1);
            for waker in self.waiting.take() {
                waker.wake();
            }
        }
    }

    /// The wait is polled before the byte is sent: on epoll a byte that is already there would be
    /// found by asking the kernel at once, and the driver would be passed by.
    async fn driver_turn(&self) -> io::Result<()> {
        let mut readable = pin!(self.far.readable(false));
        let already = poll_fn(|context| Poll::Ready(readable.as_mut().poll(context))).await;
        rustix::io::write(&self.near, &[0])?;
        match already {
            Poll::Ready(result) => result?,
            Poll::Pending => readable.await?,
        }
        rustix::io::read(&self.far_reader, &mut [0; 8])?;
        Ok(())
    }
}
