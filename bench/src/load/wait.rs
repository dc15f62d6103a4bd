//! Waiting for sockets: sleeping, or polling on a processor that nothing else needs.
//!
//! On loopback the kernel charges the wake-up of a receiver to the sender. With a load that sleeps
//! when it has nothing to do, a server would pay more for its sends the faster the load is. A load
//! that polls costs every server the same, which is nothing.

use super::meter::Meter;
use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// The load checks the clock at least this often, so that it notices the end of the run.
const SLEEP: Duration = Duration::from_millis(50);

/// Replaces `events` by those that have occurred. If the load polls, there may be none, and the
/// time of the poll counts as idle.
pub fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, meter: &mut Meter) -> Result<()> {
    wait_at_most(epoll, events, meter, SLEEP)
}

/// The same, and it sleeps no longer than this.
pub fn wait_at_most(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    meter: &mut Meter,
    most: Duration,
) -> Result<()> {
    events.clear();
    let timeout = match meter.stays_awake() {
        true => Timespec::default(),
        false => Timespec::try_from(most)?,
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
