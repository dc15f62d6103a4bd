//! Sets up the log: one line per event, to standard error, as text or as JSON.
//!
//! There is one log per process, as there is one standard error. `output.rs` writes its lines there,
//! and code that logs never waits for it.
//!
//! *Invariant:* an event is one line. Text from peers can end up in a field, where a line break could
//! forge an event and an escape sequence could control the reader's terminal (RUSTSEC-2025-0055).
//! `tracing-subscriber` escapes a few control characters, and only in the message, so the text form
//! here writes every field through `Escaping`. In the JSON form the encoder escapes, and `OneLine`
//! handles what JSON permits unescaped.

mod output;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tracing::{Subscriber, error, info, warn};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::{MakeWriter, Subscriber as Lines, format};
use tracing_subscriber::{EnvFilter, reload};

use output::Output;
pub use output::write_all;

/// How long the end of the process waits for the rest of the log to be written.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

static OUTPUT: OnceLock<Arc<Output>> = OnceLock::new();

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: `time LEVEL module: message field=value`.
    #[default]
    Text,
    /// For collectors: one JSON object per line.
    Json,
}

/// A handle that changes what the process logs.
pub struct Filter(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl Filter {
    fn of<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Self {
        Self(Box::new(move |filter| handle.reload(filter)))
    }

    /// Applies this filter from now on.
    ///
    /// # Errors
    /// When the filter cannot be parsed; then nothing changes.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        self.0(read(filter)?).context("the log goes on as it was")
    }
}

/// Starts logging for the whole process, and returns the handle that changes its filter. At most
/// `bytes_max` bytes of lines wait to be written.
///
/// Colours are used only on a terminal, and not if `NO_COLOR` is set (<https://no-color.org>).
///
/// # Errors
/// When the filter cannot be parsed, or logging was started before; an [`io::Error`] when the thread
/// cannot be started.
pub fn init(format: LogFormat, filter: &str, bytes_max: usize) -> anyhow::Result<Filter> {
    let output = Output::start(io::stderr(), bytes_max, |lines: u64| {
        warn!(
            lines,
            "lines of this log were dropped: standard error did not accept them in time"
        );
    })?;
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = !plain && io::stderr().is_terminal();
    let (subscriber, filter) = subscriber(format, filter, colours, output.clone())?;
    tracing::subscriber::set_global_default(subscriber).context("logging was started before")?;
    OUTPUT.get_or_init(|| output);
    // The standard library's hook would wait until standard error is read.
    panic::set_hook(Box::new(log_panic));
    Ok(filter)
}

/// Reports why the process ends, regardless of the log's filter: in JSON as a line of the log, else as
/// text for people.
pub fn fail(format: LogFormat, cause: &anyhow::Error) {
    match OUTPUT.get() {
        Some(output) => fail_to(format, cause, output.clone()),
        None => fail_to(format, cause, io::stderr),
    }
}

fn fail_to<W>(format: LogFormat, cause: &anyhow::Error, to: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    if format == LogFormat::Text {
        let line = format!("error: {cause:#}\n");
        let _ = to.make_writer().write_all(line.as_bytes());
    } else if let Ok((subscriber, _)) = subscriber(format, "error", false, to) {
        tracing::subscriber::with_default(subscriber, || error!("{cause:#}"));
    }
}

/// Reports why the process ends now: in the log, or on standard error if there is no log yet. Like
/// [`flush`], it waits only briefly, because nobody may be reading.
pub fn farewell(line: &str) {
    if OUTPUT.get().is_some() {
        info!("{line}");
        return;
    }
    let line = format!("hubbub: {line}\n");
    if let Ok(output) = Output::start(io::stderr(), line.len(), |_| {}) {
        let _ = output.as_ref().write_all(line.as_bytes());
        output.flush(FLUSH_PATIENCE);
    }
}

/// Waits until the log is written, but only briefly, because nobody may be reading it.
pub fn flush() {
    if let Some(output) = OUTPUT.get() {
        output.flush(FLUSH_PATIENCE);
    }
}

/// The number of log lines dropped since the start.
pub fn lines_dropped() -> u64 {
    OUTPUT.get().map_or(0, |output| output.lines_dropped())
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.to_string().replace('\n', " ");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => error!(thread, %backtrace, "{said}"),
        _ => error!(thread, "{said}"),
    }
}

/// Checks a filter as [`init`] will parse it.
///
/// A single word must be a level. The filter's own grammar treats any other word as the name of a
/// module, so that `inof` would be accepted and silence everything.
///
/// # Errors
/// What is wrong, and how to write a filter.
pub fn check_filter(filter: &str) -> Result<(), String> {
    const FORM: &str = "write off, error, warn, info, debug or trace, or several rules by module, \
                        such as info,runtime=debug";
    for rule in filter.split(',') {
        let word = !rule.contains(['=', '[']);
        let level = rule.parse::<tracing::metadata::LevelFilter>().is_ok() && !rule.is_empty();
        if word && !level {
            return Err(format!("{rule:?} is not a level: {FORM}"));
        }
    }
    EnvFilter::try_new(filter)
        .map(drop)
        .map_err(|error| format!("{error}: {FORM}"))
}

/// Builds the subscriber that [`init`] installs, with any writer.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colours: bool,
    writer: W,
) -> anyhow::Result<(Box<dyn Subscriber + Send + Sync>, Filter)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let base = Lines::builder()
        .with_env_filter(read(filter)?)
        // Reporting a failed write would print to the same stream, and panic if that fails, too.
        .log_internal_errors(false);
    Ok(match format {
        LogFormat::Text => {
            let fields = format::debug_fn(|line, field, value| {
                if field.name() != "message" {
                    write!(line, "{field}=")?;
                }
                write!(Escaping(line), "{value:?}")
            });
            let base = base.fmt_fields(fields.delimited(" "));
            let base = base.with_ansi(colours).with_writer(writer);
            let base = base.with_filter_reloading();
            let filter = Filter::of(base.reload_handle());
            (Box::new(base.finish()), filter)
        }
        LogFormat::Json => {
            let base = base.json().flatten_event(true);
            let base = base.with_writer(OneLine(writer)).with_filter_reloading();
            let filter = Filter::of(base.reload_handle());
            (Box::new(base.finish()), filter)
        }
    })
}

/// The client of the server's own requests tells of each connection, which only its own rule asks for.
fn read(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("hyper_util=off,{filter}"))
        .with_context(|| format!("log_level {filter:?}"))
}

/// Whether a character can break a line, control a terminal or reverse the order of shown text.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A writer of text that escapes harmful characters as in a Rust literal: `\n`, `\u{1b}`.
struct Escaping<W>(W);

impl<W: fmt::Write> fmt::Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_harmful) {
            match part.char_indices().next_back() {
                Some((at, last)) if is_harmful(last) => {
                    self.0.write_str(part.get(..at).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// A writer of JSON lines that escapes what JSON permits but a terminal obeys, such as U+009B.
///
/// Outside of strings JSON is ASCII, so replacing a character by its escape is always correct. The
/// line break at the end is the only control character that is not part of a string.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let harmful = |c| c != '\n' && is_harmful(c);
        match std::str::from_utf8(line) {
            Ok(text) if text.contains(harmful) => {
                let mut escaped = String::with_capacity(text.len() + 16);
                for c in text.chars() {
                    if harmful(c) {
                        let _ = write!(escaped, "\\u{:04x}", u32::from(c));
                    } else {
                        escaped.push(c);
                    }
                }
                self.0.write_all(escaped.as_bytes())?;
            }
            _ => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
