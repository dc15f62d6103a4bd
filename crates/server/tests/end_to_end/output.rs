//! Standard output and standard error that cannot be written, or that nobody reads: neither delays
//! a start, a core or a stop. With `log_format = "json"`, all output is JSON.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{io::ioctl_fionbio, process::Signal};

use crate::{
    client::{Client, get, scrape, serves},
    harness::{Driver, Server, command, eventually, run},
    reload::Reloading,
    tls_client::{Authority, text},
};

on_both_drivers![
    standard_output_that_cannot_be_written_is_told_of_in_the_log,
    log_that_nobody_reads_stops_neither_cores_nor_the_end,
    log_that_is_read_again_tells_how_much_was_dropped,
    log_that_cannot_be_written_is_counted,
    json_is_all_that_a_server_says,
];

fn with_driver(driver: Driver) -> Command {
    let mut command = command();
    command.args(["--driver", driver.name()]);
    command
}

fn full() -> Stdio {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    Stdio::from(full)
}

/// A pipe whose other end is closed.
fn closed() -> Stdio {
    let (_, writer) = io::pipe().unwrap();
    Stdio::from(writer)
}

/// A full pipe, which accepts nothing until it is read.
pub fn stuck() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    ioctl_fionbio(&writer, true).unwrap();
    for size in [4096, 1] {
        let full = loop {
            if let Err(error) = writer.write(&vec![b'\n'; size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

fn standard_output_that_cannot_be_written_is_told_of_in_the_log(driver: Driver) {
    let (_unread, stuck) = stuck();
    for (stdout, told) in [
        (full(), Some("No space left")),
        (closed(), Some("Broken pipe")),
        (Stdio::from(stuck), None),
    ] {
        let mut server = Server::launch_into(with_driver(driver), &[], stdout, Stdio::piped());
        assert!(serves(&server));
        if let Some(told) = told {
            eventually("it is told of", || {
                let log = server.log();
                log.contains("the start lines are lost") && log.contains(told)
            });
        }
        server.signal(Signal::TERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

const DROPPED: &str = "hubbub_log_lines_dropped_total";

/// A server that logs much more to this pipe than its queue holds.
fn talkative(driver: Driver, log: Stdio) -> Server {
    let flags = ["--log-level", "trace", "--log-queue-bytes-max", "16KiB"];
    Server::launch_into(with_driver(driver), &flags, Stdio::piped(), log)
}

fn log_that_nobody_reads_stops_neither_cores_nor_the_end(driver: Driver) {
    let (_unread, stuck) = stuck();
    let mut server = talkative(driver, Stdio::from(stuck));
    let mut member = Client::join(&server, "r");
    eventually("lines are dropped", || {
        Client::connect(&server, "/echo").leave();
        scrape(&server)[DROPPED] > 0.0
    });
    member.send("undisturbed");
    assert_eq!(member.text(), "undisturbed");
    // A reload and a stop log as well.
    server.signal(Signal::HUP);
    server.signal(Signal::TERM);
    assert_eq!(member.closed(), 1001);
    assert_eq!(server.wait().code(), Some(0));
}

fn log_that_is_read_again_tells_how_much_was_dropped(driver: Driver) {
    let (mut unread, stuck) = stuck();
    let server = talkative(driver, Stdio::from(stuck));
    eventually("lines are dropped", || {
        Client::connect(&server, "/echo").leave();
        scrape(&server)[DROPPED] > 0.0
    });
    let mut log = Vec::new();
    let reading = thread::spawn(move || {
        let mut part = [0; 4096];
        while !String::from_utf8_lossy(&log).contains("lines of this log were dropped") {
            let read = unread.read(&mut part).unwrap();
            assert!(read > 0, "the log ended");
            log.extend_from_slice(&part[..read]);
        }
        (log, unread)
    });
    eventually("the log goes on", || {
        Client::connect(&server, "/echo").leave();
        reading.is_finished()
    });
    let (log, _unread) = reading.join().unwrap();
    let log = String::from_utf8(log).unwrap();
    let told = log.lines().find(|line| line.contains("were dropped"));
    let told = told.unwrap();
    assert!(told.contains(" WARN ") && told.contains("lines="), "{told}");
    // The remaining lines are whole.
    let lines = log.lines().filter(|line| !line.is_empty());
    let whole = lines.filter(|line| line.starts_with("20")).count();
    assert!(whole > 50, "{log}");
}

fn log_that_cannot_be_written_is_counted(driver: Driver) {
    let mut server = talkative(driver, full());
    assert!(serves(&server));
    eventually("lines are dropped", || scrape(&server)[DROPPED] > 0.0);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn start_that_fails_where_nobody_reads_ends_all_the_same() {
    for format in ["text", "json"] {
        let (_unread, stuck) = stuck();
        let mut command = command();
        command.args(["--static-dir", "/nowhere", "--log-format", format]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(stuck).spawn().unwrap();
        let mut until = 0;
        while child.try_wait().unwrap().is_none() && until < 6_000 {
            until += 1;
            thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
}

#[test]
fn what_a_command_prints_into_nothing_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    File::create(&file).unwrap();
    for words in [&["print"][..], &["check", text(&file)]] {
        for stdout in [full(), closed()] {
            let mut command = command();
            command.arg("config").args(words);
            command.stdin(Stdio::null()).stderr(Stdio::piped());
            let ended = command.stdout(stdout).spawn().unwrap();
            let ended = ended.wait_with_output().unwrap();
            let stderr = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(1), "{stderr}");
            assert!(
                stderr.starts_with("error: cannot write to standard output: "),
                "{stderr}"
            );
        }
    }
}

#[track_caller]
fn check_json(said: &str) {
    for line in said.lines() {
        let event = serde_json::from_str::<serde_json::Value>(line);
        let event = event.unwrap_or_else(|error| panic!("{error}: {line:?} in {said}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(event[field].is_string(), "{field} is not in {line}");
        }
    }
}

fn json_is_all_that_a_server_says(driver: Driver) {
    let authority = Authority::new();
    let pair = authority.issue_until("old", 2020);
    let page = authority.file(".hidden");
    std::fs::write(&page, "").unwrap();
    let risky = format!(
        "log_format = \"json\"\nallow_origin = [\"*\"]\ninternal_tls_cert = \"{}\"\n\
         internal_tls_key = \"{}\"\nstatic_dir = \"{}\"\n",
        text(&pair.cert),
        text(&pair.key),
        text(page.parent().unwrap()),
    );
    let mut reloading = Reloading::start_with(driver, &risky, &["--log-format", "json"]);
    assert!(serves(&reloading.server));
    reloading.reload(&risky);
    reloading.server.signal(Signal::TERM);
    assert_eq!(reloading.server.wait().code(), Some(0));
    eventually("all of the log is there", || {
        reloading.server.log().contains("stopped")
    });
    let log = reloading.server.log();
    check_json(&log);
    for warning in ["every page on the web", "has expired", "begins with a dot"] {
        assert!(log.contains(warning), "{warning} is not in {log}");
    }
    assert!(reloading.server.all_by_log(), "standard output is silent");
}

#[test]
fn start_that_fails_says_why_in_json_whatever_is_logged() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flags in [["--listen", taken.as_str()], ["--static-dir", "/nowhere"]] {
        for level in ["info", "off"] {
            let mut command = command();
            command.args(flags).args(["--log-level", level]);
            let ended = run_json(command);
            check_json(&ended);
            let last = ended.lines().last().unwrap();
            assert!(last.contains("\"level\":\"ERROR\""), "{last}");
            assert!(last.contains(flags[1]), "{last}");
        }
    }
}

#[test]
fn settings_that_are_refused_are_told_in_json_where_that_is_known_to_be_the_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hubbub.toml");
    let wrong = "log_format = \"json\"\nrooms_mix = 1\ncores = 0\nstatic_dir = \"/nowhere\"\n";
    std::fs::write(&path, wrong).unwrap();
    let with_file = |args: &[&str]| {
        let mut command = command();
        command.args(args).arg(&path);
        command
    };
    let told = refused(with_file(&["--config"]));
    check_json(&told);
    assert_eq!(told.lines().count(), 1, "{told}");
    for word in ["ERROR", "rooms_mix", "cores", "/nowhere"] {
        assert!(told.contains(word), "{word} is not in {told}");
    }
    // People run this, and read the answer.
    let told = refused(with_file(&["config", "check"]));
    assert!(told.starts_with("error: 2 settings are refused"), "{told}");
    // The form itself is not known.
    std::fs::write(&path, "log_format = \"jsom\"\n").unwrap();
    let told = refused(with_file(&["--config"]));
    assert!(told.starts_with("error: a setting is refused"), "{told}");
}

fn refused(command: Command) -> String {
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    ended.stderr
}

fn run_json(mut command: Command) -> String {
    command.args(["--log-format", "json"]);
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    ended.stderr
}

#[test]
fn rust_log_is_obeyed_where_nothing_else_is_said() {
    for (variables, file, is_debug) in [
        (&[("RUST_LOG", "debug")][..], "", true),
        (&[("RUST_LOG", "debug")], "log_level = \"warn\"", true),
        (
            &[("RUST_LOG", "debug"), ("HUBBUB_LOG_LEVEL", "info")],
            "",
            false,
        ),
    ] {
        let mut reloading = command();
        reloading.envs(variables.iter().copied());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hubbub.toml");
        std::fs::write(&path, file).unwrap();
        reloading.arg("--config").arg(&path);
        let server = Server::launch_quietly(reloading, &[]);
        // The internal listener and a request's connection are logged only at debug level.
        assert_eq!(get(&server, "/").status, 200);
        if is_debug {
            eventually("it is obeyed", || server.log().contains(" DEBUG "));
            assert!(server.log().contains("log_level = debug (RUST_LOG)"));
        } else {
            assert!(!server.log().contains(" DEBUG "), "{}", server.log());
        }
    }
    let mut wrong = command();
    wrong.env("RUST_LOG", "inof");
    let ended = run(wrong);
    assert_eq!(ended.status.code(), Some(2));
    for word in ["RUST_LOG", "inof", "HUBBUB_LOG_LEVEL", "not a level"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
}
