//! Sends the same bytes to many sockets in one io_uring submission.

#![allow(
    unsafe_code,
    reason = "the ring is handed pointers; each spot says why they hold"
)]

use anyhow::{Context as _, Result};
use io_uring::{IoUring, opcode, types};
use rustix::fd::{AsRawFd as _, OwnedFd};

const ENTRIES: u32 = 1024;
/// MSG_NOSIGNAL and MSG_WAITALL: a send raises no signal and is never short.
const FLAGS: i32 = 0x4000 | 0x100;

/// A ring for sends.
pub struct Batches {
    ring: IoUring,
}

impl Batches {
    /// Makes a ring that only one thread submits to.
    pub fn new() -> Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(ENTRIES)
            .context("no io_uring here: it may be forbidden, or the kernel is older than 6.1")?;
        Ok(Self { ring })
    }

    /// Sends `bytes` to all `sockets`; returns when the kernel has finished with `bytes`. A peer
    /// that has gone receives nothing.
    pub fn send<'a>(
        &mut self,
        sockets: impl Iterator<Item = &'a OwnedFd>,
        bytes: &[u8],
    ) -> Result<()> {
        let length = u32::try_from(bytes.len()).context("too much for one send")?;
        let mut waiting = 0;
        for socket in sockets {
            if waiting == ENTRIES {
                self.finish(waiting)?;
                waiting = 0;
            }
            let send = opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(FLAGS)
                .build();
            // SAFETY: the entry points to `bytes` and names `socket`. Both are borrowed for this
            // whole call, and it does not return before `finish` has seen the entry's completion.
            unsafe { self.ring.submission().push(&send) }.context("the ring is full")?;
            waiting += 1;
        }
        self.finish(waiting)
    }

    /// An error here ends the process, so that no entry outlives its buffer.
    fn finish(&mut self, count: u32) -> Result<()> {
        let mut left = count as usize;
        while left > 0 {
            match self.ring.submit_and_wait(left) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => std::process::abort(),
            }
            left -= self.ring.completion().count().min(left);
        }
        Ok(())
    }
}
