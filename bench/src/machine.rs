//! The machine of a run, for readers who want to compare results.

use serde::{Deserialize, Serialize};
use std::fs;

/// The properties of the machine that affect results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The model name of the processor.
    pub processor: String,
    /// The number of processors that the bench may use.
    pub processors: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Total memory in bytes.
    pub memory_bytes: u64,
    /// The TCP congestion control that applies unless a program chooses another.
    pub congestion_control: String,
    /// Most open files of one process.
    pub open_files_max: u64,
    /// When the run began, in seconds since 1970.
    pub began_at: u64,
}

impl Machine {
    /// Reads the properties of this machine.
    #[must_use]
    pub fn look(processors: usize, open_files_max: u64) -> Self {
        let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            processor: value_of("/proc/cpuinfo", "model name"),
            processors,
            kernel: line_of("/proc/sys/kernel/osrelease"),
            memory_bytes: memory_bytes(&value_of("/proc/meminfo", "MemTotal")),
            congestion_control: line_of("/proc/sys/net/ipv4/tcp_congestion_control"),
            open_files_max,
            began_at: began.map_or(0, |time| time.as_secs()),
        }
    }

    /// A summary in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{}, {} processors, Linux {}, {:.1} GiB, TCP {}",
            self.processor,
            self.processors,
            self.kernel,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.congestion_control
        )
    }
}

fn line_of(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    or_unknown(text.trim())
}

fn value_of(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    or_unknown(
        line.and_then(|line| line.split_once(':'))
            .map_or("", |(_, value)| value.trim()),
    )
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text.to_owned()
    }
}

fn memory_bytes(value: &str) -> u64 {
    let number = value
        .split_whitespace()
        .next()
        .and_then(|word| word.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}
