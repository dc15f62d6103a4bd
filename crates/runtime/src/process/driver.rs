//! Building a core's monoio runtime: io_uring where it is granted, else epoll.

use std::{fmt, future::Future, io};

use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder, time::TimeDriver};

use crate::config::DriverChoice;

/// The driver that a core runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

/// A core's runtime, with timers.
pub(crate) enum CoreRuntime {
    IoUring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

impl CoreRuntime {
    /// Builds it. The error beside an epoll runtime says why `Auto` did not get io_uring: the
    /// kernel lacks it, a seccomp profile or sysctl forbids it, or memory may not be locked.
    pub(crate) fn build(choice: DriverChoice) -> io::Result<(Self, Option<io::Error>)> {
        if choice == DriverChoice::Epoll {
            return Ok((Self::epoll()?, None));
        }
        match Self::io_uring() {
            Ok(runtime) => Ok((runtime, None)),
            Err(error) if choice == DriverChoice::Auto => Ok((Self::epoll()?, Some(error))),
            Err(error) => Err(error),
        }
    }

    fn io_uring() -> io::Result<Self> {
        let builder = RuntimeBuilder::<IoUringDriver>::new().enable_timer();
        builder.build().map(Self::IoUring)
    }

    fn epoll() -> io::Result<Self> {
        let builder = RuntimeBuilder::<LegacyDriver>::new().enable_timer();
        builder.build().map(Self::Epoll)
    }

    pub(crate) fn driver(&self) -> Driver {
        match self {
            Self::IoUring(_) => Driver::IoUring,
            Self::Epoll(_) => Driver::Epoll,
        }
    }

    pub(crate) fn block_on<T>(&mut self, future: impl Future<Output = T>) -> T {
        match self {
            Self::IoUring(runtime) => runtime.block_on(future),
            Self::Epoll(runtime) => runtime.block_on(future),
        }
    }
}
