//! The work that the kernel's own threads do for a server: `ksoftirqd/N`, one for each processor.
//!
//! A sender on loopback also does the receiver's work in the kernel, and is charged for it. When
//! there is much of it at once, the kernel leaves the rest to `ksoftirqd` on the same processor,
//! which does not appear in the server's time. A server that sends in larger batches leaves more to
//! it, and would look cheaper than it is without this part.

use anyhow::{Context as _, Result};
use std::fs;

/// The `ksoftirqd` threads of some processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Softirqs {
    pids: Vec<u32>,
}

impl Softirqs {
    /// The threads of these processors. It fails where the kernel's threads are hidden, as in most
    /// containers.
    pub fn of(processors: &[usize]) -> Result<Self> {
        let names = fs::read_dir("/proc").context("cannot read /proc")?;
        let all: Vec<(u32, String)> = names
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid: u32| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some((pid, name))
            })
            .collect();
        let found = Self::among(&all, processors)?;
        found.cpu_ns()?;
        Ok(found)
    }

    fn among(all: &[(u32, String)], processors: &[usize]) -> Result<Self> {
        let pid = |processor: &usize| {
            let name = format!("ksoftirqd/{processor}");
            let found = all.iter().find(|(_, other)| other.trim_end() == name);
            found
                .map(|(pid, _)| *pid)
                .with_context(|| format!("/proc shows no {name}, as in a container"))
        };
        let pids = processors.iter().map(pid).collect::<Result<_>>()?;
        Ok(Self { pids })
    }

    /// Processor time of all these threads, in nanoseconds since the machine started.
    pub fn cpu_ns(&self) -> Result<u64> {
        let one = |pid: &u32| {
            let path = format!("/proc/{pid}/schedstat");
            let line = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            on_processor_ns(&line).with_context(|| format!("unexpected form of {path}"))
        };
        self.pids.iter().map(one).sum()
    }
}

/// The first of the three numbers in `schedstat`: nanoseconds on a processor.
#[must_use]
pub fn on_processor_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A list of processors as the kernel writes it: `0-2,5`.
#[must_use]
pub fn processors_in(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn among_takes_those_of_the_processors_and_no_others() {
        let names = [
            (14, "ksoftirqd/0\n"),
            (22, "ksoftirqd/1\n"),
            (30, "ksoftirqd/10\n"),
            (99, "hubbub\n"),
        ];
        let all = names.map(|(pid, name)| (pid, name.to_owned()));
        let pids = |processors: &[usize]| Softirqs::among(&all, processors).map(|found| found.pids);
        assert_eq!(pids(&[1]).unwrap(), [22]);
        assert_eq!(pids(&[0, 10]).unwrap(), [14, 30]);
        let hidden = pids(&[0, 2]).unwrap_err().to_string();
        assert!(hidden.contains("ksoftirqd/2"), "{hidden}");
    }

    #[test]
    fn schedstat_first_number_is_time_on_a_processor() {
        assert_eq!(
            on_processor_ns("7152120984 220785007824 142239\n"),
            Some(7_152_120_984)
        );
        assert_eq!(on_processor_ns("\n"), None);
    }

    #[test]
    fn processors_of_ranges_and_single_ones_are_listed() {
        assert_eq!(processors_in("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(processors_in("3"), Some(vec![3]));
        assert_eq!(processors_in(""), None);
    }

    #[test]
    fn time_of_this_machine_never_goes_back() {
        let Ok(softirqs) = Softirqs::of(&[0]) else {
            eprintln!("not tested: the kernel's threads are hidden here");
            return;
        };
        let first = softirqs.cpu_ns().unwrap();
        assert!(first > 0);
        assert!(softirqs.cpu_ns().unwrap() >= first);
    }
}
