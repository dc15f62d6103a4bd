//! Tasks and timers of a core, and letting the driver have its turn.

use std::{
    future::{Future, poll_fn},
    io,
    os::unix::net::UnixStream,
    pin::pin,
    task::Poll,
    time::Duration,
};

/// Starts a task on this core, which nobody waits for.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    monoio::spawn(task);
}

/// Waits for so long.
pub(crate) async fn sleep(duration: Duration) {
    monoio::time::sleep(duration).await;
}

/// A byte through a socket pair: it arrives only after the driver has had its turn.
pub(crate) struct DriverTurn {
    /// Where the byte goes in.
    near: UnixStream,
    /// Where it comes out: the same socket twice, for waiting and for reading.
    far: monoio::net::UnixStream,
    far_reader: UnixStream,
}

impl DriverTurn {
    /// Opens the socket pair. Needs a running monoio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self {
            near,
            far_reader: far.try_clone()?,
            far: monoio::net::UnixStream::from_std(far)?,
        })
    }

    /// Waits until the driver has had a turn; for one task at a time.
    ///
    /// The wait is polled before the byte is sent: on epoll a byte that is already there would be
    /// found by asking the kernel at once, and the driver would be passed by.
    pub(crate) async fn pass(&self) -> io::Result<()> {
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
