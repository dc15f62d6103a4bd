//! The processors that the server and the load run on.

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use rustix::thread::CpuSet;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The processors that this process may use, divided between the parts of the bench.
#[derive(Clone, Debug)]
pub struct Processors {
    allowed: Vec<usize>,
}

impl Processors {
    /// The processors that this process may use.
    pub fn of_this_process() -> Result<Self> {
        let set =
            rustix::thread::sched_getaffinity(None).context("cannot ask for the processors")?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect();
        if allowed.is_empty() {
            bail!("this process may not use any processor");
        }
        Ok(Self { allowed })
    }

    /// The processors of a server with `cores` threads: the first ones. With one core, the load has
    /// another one to itself.
    #[must_use]
    pub fn server(&self, cores: usize) -> Vec<usize> {
        self.allowed.iter().copied().take(cores).collect()
    }

    /// The processor of the load: the last one.
    #[must_use]
    pub fn load(&self) -> usize {
        self.allowed[self.allowed.len() - 1]
    }

    /// The processor of the prober: one of its own, if there are more than the server's first and
    /// the load's.
    #[must_use]
    pub fn prober(&self) -> usize {
        match self.allowed.len() {
            0..=2 => self.load(),
            count => self.allowed[count - 2],
        }
    }

    /// The number of processors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.allowed.len()
    }
}

/// Restricts the calling thread to these processors.
pub fn stay_on(processors: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor);
    }
    rustix::thread::sched_setaffinity(None, &set)
        .with_context(|| format!("cannot stay on processors {processors:?}"))
}

/// The highest priority, for what is measured: other programs of the machine, agents of its operator with
/// a raised priority among them, would otherwise take its processor for tens of milliseconds.
pub const PRIORITY: i32 = -20;

/// Replaces this process by another program on these processors, with [`PRIORITY`] if that is permitted,
/// which is killed when its parent ends. Returns only if that fails.
pub fn become_pinned(processors: &[usize], command: &[String]) -> anyhow::Error {
    let Some((program, arguments)) = command.split_first() else {
        return anyhow::anyhow!("no program was given");
    };
    if let Err(error) = stay_on(processors) {
        return error;
    }
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return anyhow::Error::new(error).context("cannot ask to be killed with the parent");
    }
    // If it is refused, the program shares its processor as any other.
    let _ = rustix::process::setpriority_process(None, PRIORITY);
    let error = Command::new(program).args(arguments).exec();
    anyhow::Error::new(error).context(format!("cannot run {program}"))
}

/// Raises the limit on open files as far as permitted, for this process and its children; returns
/// it.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let raised = setrlimit(Resource::Nofile, most).is_ok();
    let now = if raised { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prober_has_a_processor_to_itself_where_there_are_three() {
        let prober = |allowed: &[usize]| {
            let allowed = allowed.to_vec();
            Processors { allowed }.prober()
        };
        assert_eq!(prober(&[4]), 4);
        assert_eq!(prober(&[0, 1]), 1);
        assert_eq!(prober(&[0, 1, 2]), 1);
        assert_eq!(prober(&[0, 3, 5, 7]), 5);
    }
}
