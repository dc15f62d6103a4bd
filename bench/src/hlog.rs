//! Histogram logs in the format of HdrHistogram, which its tools merge and plot.

use anyhow::{Context as _, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// One run in a log.
#[derive(Clone, Debug)]
pub struct Interval {
    /// When the run began.
    pub began: SystemTime,
    /// How long the run took.
    pub duration: Duration,
    /// Latency in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Writes a log with one interval for each run.
pub fn write(path: &Path, tag: &str, intervals: &[Interval]) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::new(file);
    let mut serializer = V2DeflateSerializer::new();
    let began = intervals
        .first()
        .map_or_else(SystemTime::now, |first| first.began);
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("nanoseconds; one interval for each round")
        .with_start_time(began)
        .begin_log_with(&mut file, &mut serializer)?;
    for interval in intervals {
        let start = interval
            .began
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let tag = Tag::new(tag).context("the name of a server has a comma or a space")?;
        writer
            .write_histogram(&interval.latency, start, interval.duration, Some(tag))
            .map_err(|error| anyhow!("cannot write {}: {error:?}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn log_is_read_back() {
        let mut latency = crate::load::meter::histogram();
        latency.record_n(5_000_000, 3).unwrap();
        let interval = Interval {
            began: SystemTime::now(),
            duration: Duration::from_secs(2),
            latency,
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.hlog");
        write(&path, "hubbub", &[interval.clone(), interval]).unwrap();

        let bytes = fs::read(&path).unwrap();
        let mut count = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                assert_eq!(interval.tag().unwrap().as_str(), "hubbub");
                let raw = base64::prelude::BASE64_STANDARD
                    .decode(interval.encoded_histogram())
                    .unwrap();
                let read: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut raw.as_slice())
                    .unwrap();
                assert_eq!(read.len(), 3);
                count += 1;
            }
        }
        assert_eq!(count, 2);
    }
}
