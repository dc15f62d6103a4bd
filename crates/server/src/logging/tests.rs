//! One event is one line, whatever is in it.

use std::sync::{Arc, Mutex};

use super::*;

/// Every character that must never reach a terminal from a peer.
const NASTY: &str = "a\r\nb\x1b[31mc\x07\x08\x0c\t\x7f\u{9b}31m\u{85}\u{2028}\u{202e}\0d";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the events of `events` leave in the log.
fn capture(format: LogFormat, filter: &str, colours: bool, events: fn()) -> String {
    let captured = Captured::default();
    let writer = captured.clone();
    let (subscriber, _) = subscriber(format, filter, colours, move || writer.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, events);
    let bytes = captured.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn nasty_everywhere() {
    #[derive(Debug)]
    struct Raw;
    impl fmt::Display for Raw {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(NASTY)
        }
    }
    impl std::error::Error for Raw {}

    let span = tracing::info_span!("peer", origin = %Raw, late = tracing::field::Empty);
    let _entered = span.enter();
    span.record("late", NASTY);
    let error: &dyn std::error::Error = &Raw;
    tracing::info!(debug = ?NASTY, display = %Raw, plain = NASTY, error, "message {}", Raw);
}

#[track_caller]
fn check_one_line(log: &str) {
    let line = log.strip_suffix('\n').unwrap();
    assert!(!line.contains(is_harmful), "{line:?}");
    for field in [
        "origin", "late", "debug", "display", "plain", "error", "message",
    ] {
        assert!(line.contains(field), "{field} in {line:?}");
    }
}

#[test]
fn text_with_nasty_fields_stays_one_line() {
    let log = capture(LogFormat::Text, "info", false, nasty_everywhere);
    check_one_line(&log);
    assert_eq!(log.matches(r"a\r\nb\u{1b}[31mc").count(), 7, "{log}");
}

#[test]
fn json_with_nasty_fields_stays_one_line() {
    let log = capture(LogFormat::Json, "info", false, nasty_everywhere);
    check_one_line(&log);
    assert!(log.contains(r"\u009b31m\u0085\u2028\u202e"), "{log}");
}

#[test]
fn text_is_readable() {
    let log = capture(LogFormat::Text, "info", false, || {
        tracing::info!(
            port = 8000,
            room = "l\u{f6}bby \"x\"",
            "listening on {}",
            "[::1]:8000"
        );
    });
    let (time, event) = log.split_once("  INFO ").unwrap();
    assert!(time.ends_with('Z'), "{time}");
    let (_target, event) = event.split_once(": ").unwrap();
    assert_eq!(
        event,
        "listening on [::1]:8000 port=8000 room=\"l\u{f6}bby \\\"x\\\"\"\n"
    );
}

#[test]
fn json_has_the_fields_at_the_top() {
    let log = capture(LogFormat::Json, "info", false, || {
        tracing::warn!(port = 8000, "busy");
    });
    assert!(log.starts_with('{') && log.ends_with("}\n"), "{log}");
    for part in [r#""level":"WARN""#, r#""message":"busy""#, r#""port":8000"#] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn colours_come_only_when_asked_for() {
    let event = || tracing::info!("hello");
    assert!(!capture(LogFormat::Text, "info", false, event).contains('\x1b'));
    assert!(capture(LogFormat::Text, "info", true, event).contains('\x1b'));
    assert!(!capture(LogFormat::Json, "info", true, event).contains('\x1b'));
}

#[test]
fn filter_chooses_by_level_and_module() {
    let events = || {
        tracing::debug!("fine");
        tracing::info!("usual");
        tracing::debug!(target: "runtime", "chosen");
    };
    let log = capture(LogFormat::Text, "info,runtime=debug", false, events);
    assert!(!log.contains("fine") && log.contains("usual") && log.contains("chosen"));
    assert_eq!(capture(LogFormat::Text, "off", false, events), "");
}

#[test]
fn filter_that_is_no_level_is_refused() {
    for filter in [
        "info",
        "OFF",
        "warn,runtime=debug",
        "hub[room]=trace,info",
        "hub=warn",
    ] {
        assert_eq!(check_filter(filter), Ok(()), "{filter}");
    }
    for filter in [
        "",
        "inof",
        "verbose",
        "info,runtime",
        "runtime=loud",
        "info,,debug",
        "info, debug",
    ] {
        let error = check_filter(filter).unwrap_err();
        assert!(error.contains("info,runtime=debug"), "{filter}: {error}");
    }
}

#[test]
fn failed_write_is_survived() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    for format in [LogFormat::Text, LogFormat::Json] {
        let (subscriber, _) = subscriber(format, "info", false, || Broken).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!("unheard"));
    }
}

#[test]
fn filter_that_is_set_later_decides_from_then_on() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, filter) =
            subscriber(format, "warn", false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let say = |what| tracing::info!("{what}");
            say("one");
            filter.set("info").unwrap();
            say("two");
            assert!(filter.set("info,[").is_err());
            say("three");
            filter.set("warn").unwrap();
            say("four");
        });
        let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let said: Vec<_> = ["one", "two", "three", "four"]
            .into_iter()
            .filter(|word| log.contains(word))
            .collect();
        assert_eq!(said, ["two", "three"], "{log}");
    }
}
