//! Signals at any time: during the start, as process 1, and while a reload is stuck.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use crate::{
    client::{Client, serves},
    harness::{Driver, Server, command, eventually},
    output::stuck,
    reload::Reloading,
    tls_client::text,
};

on_both_drivers![
    reload_that_stands_still_keeps_nothing_from_stopping,
    reload_that_stood_still_ends_and_the_next_are_done_as_one,
    hangup_while_starting_is_a_reload_when_it_serves,
];

/// A named pipe: opening it to read waits for a writer.
fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn write(path: &Path, text: &str) {
    let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
}

/// A directory with a pipe as the file of settings.
fn piped_settings() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hubbub.toml");
    pipe(&path);
    (dir, path)
}

fn reading(settings: &Path) -> Command {
    let mut command = command();
    command.args(["--config", text(settings)]);
    command
}

/// A process of which only the end matters; it is killed when the test ends.
struct Silent(Child);

impl Silent {
    fn start(command: Command) -> Self {
        Self::start_into(command, Stdio::null())
    }

    fn start_into(mut command: Command, stderr: Stdio) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(stderr).spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::TERM => "SIGTERM",
        _ => "SIGINT",
    }
}

/// Whether a process has installed a handler.
fn catches(pid: u32, signal: Signal) -> bool {
    is_among(pid, "SigCgt:", signal)
}

/// Whether a signal is in this set of a process (proc_pid_status(5)).
fn is_among(pid: u32, set: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set));
    let signals = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    signals & (1 << (signal.as_raw() - 1)) != 0
}

/// Handlers are installed before the settings are read, here from a pipe without a writer.
#[test]
fn signal_to_stop_ends_a_start_that_stands_still() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_dir, file) = piped_settings();
        let mut child = Silent::start_into(reading(&file), Stdio::piped());
        eventually("signals are received", || {
            // The handlers are installed one after another.
            [signal, Signal::HUP]
                .iter()
                .all(|it| catches(child.id(), *it))
        });
        // This has no effect until the server serves.
        send(child.id(), Signal::HUP);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(child.0.try_wait().unwrap(), None);
        send(child.id(), signal);
        assert_eq!(child.end().code(), Some(0));
        let mut said = String::new();
        let mut stderr = child.0.stderr.take().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        let name = name(signal);
        let expected =
            format!("hubbub: stopped by {name} while starting, before it served any connection\n");
        assert_eq!(said, expected);
    }
}

#[test]
fn signal_to_stop_ends_a_start_whose_last_word_nobody_reads() {
    let (_dir, file) = piped_settings();
    let (_unread, stuck) = stuck();
    let mut child = Silent::start_into(reading(&file), stuck.into());
    eventually("signals are received", || catches(child.id(), Signal::TERM));
    send(child.id(), Signal::TERM);
    assert_eq!(child.end().code(), Some(0));
}

/// Before `main` the process has no handlers: there, and only there, the signal itself ends it.
#[test]
fn signal_to_stop_at_any_time_of_a_start_ends_it() {
    // A shell has what it runs in the background ignore SIGINT, and a process inherits that until it has a
    // handler of its own.
    let interrupt = match is_among(std::process::id(), "SigIgn:", Signal::INT) {
        true => Signal::TERM,
        false => Signal::INT,
    };
    let starts: Vec<_> = (0..20)
        .map(|step| {
            let mut command = command();
            command.args(["--listen", "127.0.0.1:0", "--cores", "1"]);
            let child = Silent::start(command);
            let signal = [Signal::TERM, interrupt][step % 2];
            thread::sleep(Duration::from_millis(step as u64));
            send(child.id(), signal);
            (child, signal)
        })
        .collect();
    for (mut child, signal) in starts {
        let status = child.end();
        let by_signal = status.signal() == Some(signal.as_raw());
        assert!(status.code() == Some(0) || by_signal, "{status}");
    }
}

/// The server, with signals that were sent before it began: blocked, so that they stay pending.
fn with_pending(launcher: &[&str], signals: &[&str], flags: &[&str]) -> Command {
    let kills: String = signals
        .iter()
        .map(|it| format!("kill -{it} $$; "))
        .collect();
    let script = format!("{kills} exec \"$0\" \"$@\"");
    let block = format!("--block-signal={}", signals.join(","));
    let words = [launcher, &["env", &block, "sh", "-c", &script]].concat();
    let server = command();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .arg(server.get_program())
        .args(flags);
    for (name, value) in server.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

#[test]
fn signal_that_came_before_the_process_is_obeyed() {
    let (_dir, file) = piped_settings();
    let flags = ["--config", text(&file)];
    for signal in ["TERM", "INT"] {
        let mut child = Silent::start(with_pending(&[], &[signal], &flags));
        assert_eq!(child.end().code(), Some(0), "{signal}");
    }
}

/// The kernel discards signals to process 1 that have no handler.
#[test]
fn signal_as_process_1_is_obeyed_from_the_first_moment_on() {
    let unshare = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    let mut probe = Command::new(unshare[0]);
    probe.args(&unshare[1..]).arg("true");
    if !Silent::start(probe).end().success() {
        eprintln!("skipped: this process may not make a namespace of processes");
        return;
    }
    let (_dir, file) = piped_settings();
    let flags = ["--config", text(&file)];
    let mut child = Silent::start(with_pending(&unshare, &["TERM"], &flags));
    assert_eq!(child.end().code(), Some(0));

    let mut child = Silent::start(with_pending(&unshare, &[], &flags));
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let mut process_1 = None;
    eventually("process 1 receives signals", || {
        let text = fs::read_to_string(&children).unwrap_or_default();
        process_1 = text
            .split_whitespace()
            .next()
            .map(|pid| pid.parse().unwrap());
        let is_server = |pid: &u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "hubbub") && catches(*pid, Signal::TERM)
        };
        process_1.as_ref().is_some_and(is_server)
    });
    send(process_1.unwrap(), Signal::TERM);
    assert_eq!(child.end().code(), Some(0));
}

fn hangup_while_starting_is_a_reload_when_it_serves(driver: Driver) {
    let command = with_pending(&[], &["HUP"], &["--driver", driver.name()]);
    let mut server = Server::launch_quietly(command, &[]);
    eventually("it has reloaded", || {
        server.log().contains(" read again changed=")
    });
    assert!(serves(&server));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

fn reload_that_stands_still_keeps_nothing_from_stopping(driver: Driver) {
    for signal in [Signal::TERM, Signal::INT] {
        let mut reloading = Reloading::start(driver, "");
        let mut member = Client::join(&reloading.server, "r");
        fs::remove_file(&reloading.file).unwrap();
        pipe(&reloading.file);
        reloading.server.signal(Signal::HUP);
        eventually("a reload has begun", || {
            reloading.server.log().contains("reading settings")
        });
        member.send("undisturbed");
        assert_eq!(member.text(), "undisturbed");
        reloading.server.signal(signal);
        assert_eq!(member.closed(), 1001);
        assert_eq!(reloading.server.wait().code(), Some(0));
        let told = format!(
            "draining because of {}: connections are closed within ",
            name(signal)
        );
        eventually("it is told", || reloading.server.log().contains(&told));
    }
}

fn reload_that_stood_still_ends_and_the_next_are_done_as_one(driver: Driver) {
    let reloading = Reloading::start(driver, "");
    fs::remove_file(&reloading.file).unwrap();
    pipe(&reloading.file);
    let server = &reloading.server;
    let count = |what: &str| server.log().matches(what).count();
    server.signal(Signal::HUP);
    eventually("a reload has begun", || count("reading settings") == 1);
    server.signal(Signal::HUP);
    // Several pending signals of one kind count as one.
    eventually("one of two is put to the other", || {
        server.signal(Signal::HUP);
        count("one more is already waiting") > 0
    });
    write(&reloading.file, "rooms_max = 7\n");
    eventually("the first is done", || count(" read again changed=1") == 1);
    write(&reloading.file, "rooms_max = 7\n");
    eventually("the second is done", || count(" read again changed=0") == 1);
    assert!(serves(server));
    assert_eq!(count("reading settings"), 2);
}
