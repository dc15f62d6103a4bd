//! Waiting for sockets: asleep, or awake on a processor that nobody else needs.
//!
//! On loopback the kernel charges the waking of whoever receives to whoever sends. A load that
//! sleeps whenever it has nothing to do makes a server pay the more for its sends the faster the
//! load is; one that stays awake costs every server the same, which is nothing.

use super::meter::Meter;
use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::Instant;

/// A look at the clock now and then, for the end of the run.
const SLEEP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// Replaces `events` by those that have come. If the load stays awake there may be none, and the
/// time of looking counts as idle.
pub fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, meter: &mut Meter) -> Result<()> {
    events.clear();
    let timeout = match meter.stays_awake() {
        true => Timespec::default(),
        false => SLEEP,
    };
    let began = Instant::now();
    match epoll::wait(epoll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if meter.stays_awake() {
        meter.looked(began, Instant::now(), !events.is_empty());
    }
    Ok(())
}
