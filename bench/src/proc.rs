//! Processor time and resident memory of a process and its children, as the kernel reports them.

use crate::softirqs::{Softirqs, on_processor_ns, processors_in};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Processor time since the process began.
#[derive(Clone, Copy, Default, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Exact nanoseconds on a processor, from the scheduler.
    pub total_ns: u64,
    /// Ticks in user space, which divide the total.
    pub user_ticks: u64,
    /// Ticks in the kernel, which divide the total.
    pub system_ticks: u64,
    /// Nanoseconds of `ksoftirqd` on the processors that the process may use, in addition to the
    /// total; `None` where that cannot be read.
    pub softirq_ns: Option<u64>,
}

impl CpuTime {
    /// Nanoseconds, including those of `ksoftirqd`.
    #[must_use]
    pub fn all_ns(&self) -> f64 {
        self.total_ns as f64 + self.softirq_ns.unwrap_or(0) as f64
    }

    /// Nanoseconds in user space.
    #[must_use]
    pub fn user_ns(&self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 {
            return 0.0;
        }
        self.total_ns as f64 * self.user_ticks as f64 / ticks as f64
    }
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let softirqs = self.softirq_ns.zip(other.softirq_ns);
        Self {
            total_ns: self.total_ns + other.total_ns,
            user_ticks: self.user_ticks + other.user_ticks,
            system_ticks: self.system_ticks + other.system_ticks,
            softirq_ns: softirqs.map(|(own, other)| own + other),
        }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(before.total_ns),
            user_ticks: self.user_ticks.saturating_sub(before.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(before.system_ticks),
            softirq_ns: self
                .softirq_ns
                .zip(before.softirq_ns)
                .map(|(last, first)| last.saturating_sub(first)),
        }
    }
}

/// A process and its children, whose files under /proc are read.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    softirqs: Option<Softirqs>,
}

impl Process {
    /// The process with this id, and the processors that its threads may use now.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        let processors = processors_of(pid);
        let softirqs = processors.and_then(|processors| Softirqs::of(&processors).ok());
        Self { pid, softirqs }
    }

    /// Processor time of all its threads and children, and of `ksoftirqd` on its processors.
    pub fn cpu(&self) -> Result<CpuTime> {
        let softirq_ns = self.softirqs.as_ref().map(Softirqs::cpu_ns).transpose()?;
        let mut sum = CpuTime {
            softirq_ns,
            ..CpuTime::default()
        };
        for pid in self.family() {
            let one = cpu_of(pid)?;
            sum.total_ns += one.total_ns;
            sum.user_ticks += one.user_ticks;
            sum.system_ticks += one.system_ticks;
        }
        Ok(sum)
    }

    /// Resident memory of the process and its children, in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.family().into_iter().map(resident_bytes_of).sum()
    }

    fn family(&self) -> Vec<u32> {
        let mut pids = vec![self.pid];
        let mut next = 0;
        while next < pids.len() {
            let pid = pids[next];
            next += 1;
            for task in numbers_in(&format!("/proc/{pid}/task")) {
                let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children"));
                let children = children.unwrap_or_default();
                pids.extend(
                    children
                        .split_whitespace()
                        .filter_map(|word| word.parse::<u32>().ok()),
                );
            }
        }
        pids
    }
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!("cannot read {path}: has the server ended, or is it another user's?")
    })
}

/// The processors that any of its threads may use.
fn processors_of(pid: u32) -> Option<Vec<usize>> {
    let mut all = BTreeSet::new();
    for task in numbers_in(&format!("/proc/{pid}/task")) {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status")).ok()?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        all.extend(processors_in(list)?);
    }
    (!all.is_empty()).then(|| all.into_iter().collect())
}

fn cpu_of(pid: u32) -> Result<CpuTime> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let (user_ticks, system_ticks) =
        ticks_in(&stat).with_context(|| format!("unexpected form of /proc/{pid}/stat"))?;
    let mut total_ns = 0;
    for task in numbers_in(&format!("/proc/{pid}/task")) {
        // A thread may end between the listing and the reading.
        let line = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat"));
        total_ns += line
            .ok()
            .and_then(|line| on_processor_ns(&line))
            .unwrap_or(0);
    }
    Ok(CpuTime {
        total_ns,
        user_ticks,
        system_ticks,
        softirq_ns: None,
    })
}

/// Fields 14 and 15, `utime` and `stime`, of proc_pid_stat(5). The name before them may contain any
/// character.
fn ticks_in(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Read from smaps_rollup, which is exact; statm may lag behind by counters of each processor.
fn resident_bytes_of(pid: u32) -> Result<u64> {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"))?;
    rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .map(|kibibytes: u64| kibibytes * 1024)
        .with_context(|| format!("no Rss in /proc/{pid}/smaps_rollup"))
}

/// Processor time of the calling thread.
#[must_use]
pub fn own_thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The time that all processors of the machine were busy, exact to a tick.
#[must_use]
pub fn machine_busy() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = busy_ticks_in(stat.lines().next()?)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// The sum of the first line of proc_stat(5), without idle, iowait and the guest times, which are
/// counted twice.
fn busy_ticks_in(line: &str) -> Option<u64> {
    let fields: Option<Vec<u64>> = line
        .split_whitespace()
        .skip(1)
        .map(|word| word.parse().ok())
        .collect();
    let fields = fields?;
    Some(fields.iter().take(8).sum::<u64>() - fields.get(3)? - fields.get(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_name_with_parentheses_are_found() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 55 66 0 0 20";
        assert_eq!(ticks_in(stat), Some((55, 66)));
    }

    #[test]
    fn busy_ticks_leave_out_idle_iowait_and_guests() {
        assert_eq!(busy_ticks_in("cpu  1 2 4 1000 1000 8 16 32 7 7"), Some(63));
    }

    #[test]
    fn process_of_ourselves_uses_time_and_memory() {
        let own = Process::new(std::process::id());
        assert!(own.cpu().unwrap().total_ns > 0);
        assert!(own.resident_bytes().unwrap() > 100_000);
    }

    #[test]
    fn user_time_is_the_share_of_ticks() {
        let time = CpuTime {
            total_ns: 1000,
            user_ticks: 1,
            system_ticks: 3,
            softirq_ns: Some(500),
        };
        assert!((time.user_ns() - 250.0).abs() < 1e-9);
        assert!((time.all_ns() - 1500.0).abs() < 1e-9);
    }

    #[test]
    fn difference_has_softirq_time_only_if_both_have() {
        let time = |softirq_ns| CpuTime {
            total_ns: 7,
            softirq_ns,
            ..CpuTime::default()
        };
        let since = |last, first| (time(last) - time(first)).softirq_ns;
        assert_eq!(since(Some(9), Some(4)), Some(5));
        assert_eq!(since(Some(9), None), None);
        assert_eq!(since(None, Some(4)), None);
    }

    #[test]
    fn processors_of_ourselves_are_those_that_we_may_use() {
        let own = crate::pin::Processors::of_this_process().unwrap();
        let found = processors_of(std::process::id()).unwrap();
        assert_eq!(found, own.server(own.count()));
    }
}
