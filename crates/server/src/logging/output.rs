//! Writes lines to standard error: a bounded queue, and the thread that empties it.
//!
//! *Invariant:* code that logs never waits for the reader of the log. A line for which there is no room
//! is dropped and counted; when the queue moves again, the log says how many were dropped.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The most bytes of one write, so that written bytes soon make room.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The memory that an empty buffer keeps: as much as one write takes, so that a log at its usual pace
/// allocates nothing, and the megabytes of a flood are freed.
const KEPT_BYTES: usize = 64 << 10;

/// How long to wait for a full stream that another of its users has made non-blocking: long enough to
/// cost nothing, and short enough that a pipe of 64 KiB passes on 3 MB a second.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A bounded queue of lines.
pub(super) struct Output {
    state: Mutex<State>,
    /// Signals that there is something to write, or that everything is written.
    changed: Condvar,
}

struct State {
    /// Whole lines that the writer has not taken yet.
    waiting: Vec<u8>,
    /// Bytes that the writer has taken and not written yet.
    writing: usize,
    /// The bound of both together.
    bytes_max: usize,
    lines_dropped: u64,
    /// Dropped lines that the log has not reported yet.
    unreported: u64,
}

impl Output {
    /// Begins to write to `to` on a thread of its own, which is never joined. When a write succeeds
    /// after lines were dropped, that thread calls `report` with their number.
    pub(super) fn start(
        to: impl Write + Send + 'static,
        bytes_max: usize,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let output = Arc::new(Self {
            state: Mutex::new(State {
                waiting: Vec::new(),
                writing: 0,
                bytes_max,
                lines_dropped: 0,
                unreported: 0,
            }),
            changed: Condvar::new(),
        });
        let writer = output.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.write_on(to, report))?;
        Ok(output)
    }

    /// The number of lines dropped since the start.
    pub(super) fn lines_dropped(&self) -> u64 {
        self.lock().lines_dropped
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let is_busy = |state: &mut State| !state.waiting.is_empty() || state.writing > 0;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), patience, is_busy);
        drop(waited);
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + state.writing + line.len() > state.bytes_max {
            state.lines_dropped += 1;
            state.unreported += 1;
            return;
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.changed.notify_all();
        }
    }

    fn write_on(&self, mut to: impl Write, report: impl Fn(u64)) {
        let mut lines = Vec::new();
        loop {
            self.take(&mut lines);
            let unreported = self.write(&mut to, &lines);
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            if unreported > 0 {
                report(unreported);
            }
        }
    }

    /// Waits until there are lines and takes all of them.
    fn take(&self, lines: &mut Vec<u8>) {
        let is_idle = |state: &mut State| state.waiting.is_empty();
        let state = self.changed.wait_while(self.lock(), is_idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.waiting, lines);
        state.writing = lines.len();
    }

    /// Writes all of the lines. Returns the number of dropped lines to report: none while nothing
    /// can be written, since the report would be lost as well.
    fn write(&self, to: &mut impl Write, lines: &[u8]) -> u64 {
        let mut rest = lines;
        let mut written = Ok(());
        while let (Ok(()), Some(part)) = (&written, part(rest)) {
            written = write_some(to, part).map(|bytes| {
                rest = &rest[bytes..];
                self.lock().writing = rest.len();
            });
        }
        let mut state = self.lock();
        state.writing = 0;
        self.changed.notify_all();
        if written.is_err() {
            let lost = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
            state.lines_dropped += lost;
            state.unreported += lost;
            return 0;
        }
        mem::take(&mut state.unreported)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `tracing-subscriber` writes one line per call; each is queued or dropped as a whole.
impl Write for &Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all bytes, and waits if necessary, even if the stream is non-blocking.
pub fn write_all(to: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while let Some(part) = part(text) {
        let bytes = write_some(to, part)?;
        text = &text[bytes..];
    }
    to.flush()
}

/// The part of `rest` to write next, if any.
fn part(rest: &[u8]) -> Option<&[u8]> {
    (!rest.is_empty()).then(|| &rest[..rest.len().min(WRITE_BYTES_MAX)])
}

fn write_some(to: &mut impl Write, part: &[u8]) -> io::Result<usize> {
    loop {
        match to.write(part) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, SyncSender};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A stream that accepts a write when the test permits it.
    struct Gate {
        opened: Receiver<io::Result<()>>,
        taken: SyncSender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.opened.recv().unwrap_or(Ok(()))?;
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let _ = self.taken.send(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Gated {
        output: Arc<Output>,
        open: SyncSender<io::Result<()>>,
        taken: Receiver<String>,
        reports: Receiver<u64>,
    }

    fn gated(bytes_max: usize) -> Gated {
        let (open, opened) = mpsc::sync_channel(100);
        let (taken, takes) = mpsc::sync_channel(100);
        let (report, reports) = mpsc::channel();
        let report = move |lines| report.send(lines).unwrap();
        let gate = Gate { opened, taken };
        let output = Output::start(gate, bytes_max, report).unwrap();
        Gated {
            output,
            open,
            taken: takes,
            reports,
        }
    }

    impl Gated {
        fn say(&self, line: &str) {
            (&*self.output).write_all(line.as_bytes()).unwrap();
        }

        fn take(&self, result: io::Result<()>) {
            self.open.send(result).unwrap();
        }

        /// Waits until the writer has taken the lines.
        fn await_taken_up(&self) {
            while !self.output.lock().waiting.is_empty() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn line_beyond_the_bound_is_dropped_whole_counted_and_reported_when_there_is_room() {
        let gated = gated(10);
        gated.say("first\n");
        gated.await_taken_up();
        gated.say("1234\n");
        assert_eq!(
            gated.output.lines_dropped(),
            1,
            "what is being written counts"
        );
        gated.say("abc\n");
        gated.say("\n");
        assert_eq!(gated.output.lines_dropped(), 2);
        gated.take(Ok(()));
        assert_eq!(gated.taken.recv_timeout(PATIENCE).unwrap(), "first\n");
        assert_eq!(gated.reports.recv_timeout(PATIENCE), Ok(2));
        gated.take(Ok(()));
        assert_eq!(gated.taken.recv_timeout(PATIENCE).unwrap(), "abc\n");
        // Only then is there room again.
        gated.output.flush(PATIENCE);
        gated.say("0123456\n");
        gated.take(Ok(()));
        assert_eq!(gated.taken.recv_timeout(PATIENCE).unwrap(), "0123456\n");
        assert_eq!(gated.output.lines_dropped(), 2);
        assert!(gated.reports.try_recv().is_err(), "told once");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_reported_after_one_that_can() {
        let gated = gated(100);
        for _ in 0..2 {
            gated.say("one\ntwo\n");
            gated.await_taken_up();
            gated.take(Err(ErrorKind::StorageFull.into()));
            gated.output.flush(PATIENCE);
        }
        assert_eq!(gated.output.lines_dropped(), 4);
        assert!(gated.reports.try_recv().is_err(), "it would be lost, too");
        gated.say("three\n");
        gated.take(Ok(()));
        assert_eq!(gated.reports.recv_timeout(PATIENCE), Ok(4));
    }

    #[test]
    fn stream_that_does_not_block_is_tried_again() {
        let gated = gated(100);
        gated.say("patience\n");
        gated.take(Err(ErrorKind::WouldBlock.into()));
        gated.take(Err(ErrorKind::Interrupted.into()));
        gated.take(Ok(()));
        assert_eq!(gated.taken.recv_timeout(PATIENCE).unwrap(), "patience\n");
        assert_eq!(gated.output.lines_dropped(), 0);
    }

    #[test]
    fn flush_waits_for_what_was_said_and_not_for_ever() {
        let gated = gated(100);
        gated.say("said\n");
        gated.output.flush(Duration::from_millis(10));
        assert!(gated.taken.try_recv().is_err());
        gated.take(Ok(()));
        gated.output.flush(PATIENCE);
        assert_eq!(gated.taken.try_recv().unwrap(), "said\n");
    }
}
