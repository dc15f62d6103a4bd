//! Which processor each core's thread is pinned to.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use: its inherited affinity mask, ascending.
pub(crate) fn processors() -> rustix::io::Result<Vec<usize>> {
    let mask = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|n| mask.is_set(*n)).collect())
}

/// Pins the calling thread to one processor.
pub(crate) fn pin(processor: usize) -> rustix::io::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only)
}
