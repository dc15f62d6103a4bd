//! SIGHUP: what can change does so for those who are connected, and a bad file changes nothing.

use std::{fs, net::TcpStream, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    client::{Client, Response, ask, get},
    harness::{Driver, Server, command, eventually},
    wire::{self, PING, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    limit_that_changes_holds_for_connections_that_are_open,
    bounds_of_connections_and_rooms_change,
    time_that_an_empty_room_is_kept_changes,
    origins_change_and_the_page_stays,
    timeouts_change_for_those_who_come,
    log_level_changes,
    file_that_is_bad_is_refused_and_the_old_settings_stay,
    settings_that_need_a_restart_are_named_and_stay,
    drain_is_told_of_changes_too,
];

/// A server with a file that can be written anew.
pub struct Reloading {
    pub server: Server,
    file: PathBuf,
    _dir: TempDir,
    reloads: usize,
}

impl Reloading {
    pub fn start(driver: Driver, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hubbub.toml");
        fs::write(&file, text).unwrap();
        let mut command = command();
        let flags = ["--driver", driver.name(), "--cores", "2"];
        command.args(flags).arg("--config").arg(&file);
        Self {
            server: Server::launch_quietly(command, &[]),
            file,
            _dir: dir,
            reloads: 0,
        }
    }

    /// Writes the file and waits until the server says that it has read it. A core may obey a
    /// moment later.
    pub fn reload(&mut self, text: &str) {
        self.reload_until(text, " reloaded changed=");
    }

    fn reload_until(&mut self, text: &str, said: &str) {
        fs::write(&self.file, text).unwrap();
        self.server.signal(Signal::HUP);
        self.reloads += 1;
        eventually(said, || {
            let log = self.server.log();
            log.matches(" reloaded changed=").count() + log.matches("not reloaded").count()
                == self.reloads
        });
        assert!(self.server.log().contains(said), "{}", self.server.log());
    }
}

/// Sends a message again and again, each coming back, until the connection is closed.
fn closed_by(client: &mut Raw, payload: &[u8]) -> u16 {
    loop {
        client.send(wire::frame(TEXT, payload));
        let frame = client.message();
        if frame.opcode() != TEXT {
            return frame.close_code();
        }
        assert_eq!(frame.payload, payload);
    }
}

fn limit_that_changes_holds_for_connections_that_are_open(driver: Driver) {
    let mut reloading = Reloading::start(driver, "message_bytes_max = 10");
    let mut open: Vec<_> = ["/echo", "/rooms/r", "/echo", "/echo"]
        .iter()
        .map(|path| Raw::open(&reloading.server, path))
        .collect();
    reloading.reload("message_bytes_max = 5");
    for client in &mut open {
        client.send(wire::frame(TEXT, b"small"));
        assert_eq!(client.message().payload, b"small");
        assert_eq!(closed_by(client, b"larger"), 1009);
    }
    reloading.reload("");
    eventually("larger messages are taken again", || {
        let mut client = Raw::open(&reloading.server, "/echo");
        client.send(wire::frame(TEXT, &[b'x'; 20]));
        client.message().opcode() == TEXT
    });
}

fn bounds_of_connections_and_rooms_change(driver: Driver) {
    let mut reloading = Reloading::start(driver, "max_connections = 1\nrooms_max = 1");
    let _first = Client::join(&reloading.server, "first");
    let opens =
        |reloading: &Reloading, path| Client::with_fields(&reloading.server, path, &[]).map(drop);
    assert_eq!(opens(&reloading, "/echo"), Err(503));
    reloading.reload("max_connections = 10\nrooms_max = 1");
    assert_eq!(opens(&reloading, "/echo"), Ok(()));
    assert_eq!(opens(&reloading, "/rooms/second"), Err(503));
    reloading.reload("max_connections = 10\nrooms_max = 2");
    assert_eq!(opens(&reloading, "/rooms/second"), Ok(()));
    reloading.reload("max_connections = 1");
    eventually("those beyond the new bound are refused", || {
        opens(&reloading, "/echo") == Err(503)
    });
    reloading.reload("");
    assert_eq!(opens(&reloading, "/echo"), Ok(()));
}

fn time_that_an_empty_room_is_kept_changes(driver: Driver) {
    let mut reloading = Reloading::start(driver, "rooms_max = 1\nroom_idle_timeout = \"1h\"");
    Client::join(&reloading.server, "old").leave();
    let refused = Client::with_fields(&reloading.server, "/rooms/new", &[]);
    assert_eq!(refused.err(), Some(503));
    reloading.reload("rooms_max = 1\nroom_idle_timeout = \"50ms\"");
    eventually("the old room is gone", || {
        Client::with_fields(&reloading.server, "/rooms/new", &[]).is_ok()
    });
}

/// What a handshake of a page of this origin is answered.
fn status(server: &Server, origin: &str) -> u16 {
    let origin = format!("Origin: {origin}");
    let fields: Vec<_> = UPGRADE.into_iter().chain([origin.as_str()]).collect();
    let mut stream = wire::connect(server.address());
    let request = wire::request("GET", "/echo", &fields);
    wire::send(&mut stream, request.as_bytes());
    wire::send(&mut stream, &wire::close(1000));
    Response::read_from(&mut stream).status
}

fn origins_change_and_the_page_stays(driver: Driver) {
    let (one, other) = ("https://one.example", "https://other.example");
    let mut reloading = Reloading::start(driver, &format!("allow_origin = [\"{one}\"]"));
    let page = get(&reloading.server, "/").body;
    assert_eq!(status(&reloading.server, one), 101);
    assert_eq!(status(&reloading.server, other), 403);
    reloading.reload(&format!("allow_origin = [\"{other}\"]"));
    eventually("the other origin is accepted, and the one no more", || {
        status(&reloading.server, other) == 101 && status(&reloading.server, one) == 403
    });
    assert_eq!(get(&reloading.server, "/").body, page);
}

fn timeouts_change_for_those_who_come(driver: Driver) {
    let long = "ping_interval = \"1h\"\nhandshake_timeout = \"1h\"";
    let mut reloading = Reloading::start(driver, long);
    reloading.reload("ping_interval = \"50ms\"\nhandshake_timeout = \"100ms\"");
    eventually("pings come", || {
        let mut client = Raw::open(&reloading.server, "/echo");
        let soon = Some(Duration::from_secs(1));
        client.stream.set_read_timeout(soon).unwrap();
        client.stream.peek(&mut [0]).is_ok() && client.frame().opcode() == PING
    });
    let answer = ask(&reloading.server, b"GET /echo HTTP/1.1\r\n");
    assert_eq!(answer.status, 408);
}

fn log_level_changes(driver: Driver) {
    let mut reloading = Reloading::start(driver, "log_level = \"info\"");
    Client::connect(&reloading.server, "/echo").leave();
    reloading.reload("log_level = \"debug\"");
    assert!(!reloading.server.log().contains("connection opened"));
    Client::connect(&reloading.server, "/echo").leave();
    eventually("connections are in the log", || {
        reloading.server.log().contains("connection opened")
    });
}

fn file_that_is_bad_is_refused_and_the_old_settings_stay(driver: Driver) {
    let good = "message_bytes_max = 5\nallow_origin = [\"https://a.example\"]";
    let mut reloading = Reloading::start(driver, good);
    let mut client = Raw::open(&reloading.server, "/echo");
    for (bad, words) in [
        (
            "message_bytes_max = 0",
            &["hubbub.toml line 1", "message_bytes_max", "1 to 1GiB"][..],
        ),
        ("message_byte_max = 9", &["did you mean message_bytes_max?"]),
        (
            "message_bytes_max = 9\nrooms_max",
            &["hubbub.toml", "parse error"],
        ),
        (
            "message_bytes_max = 9\nping_interval = 1",
            &["needs a unit", "10s"],
        ),
        (
            "message_bytes_max = 9\nhead_bytes_max = 1000",
            &["request_line_bytes_max", "raise head_bytes_max"],
        ),
    ] {
        reloading.reload_until(bad, "not reloaded");
        let log = reloading.server.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("not reloaded"))
            .unwrap();
        for word in [&["ERROR"], words].concat() {
            assert!(line.contains(word), "{word} is not in {line}");
        }
    }
    fs::remove_file(&reloading.file).unwrap();
    reloading.server.signal(Signal::HUP);
    eventually("that there is no file is in the log", || {
        reloading.server.log().contains("cannot be read")
    });
    reloading.reloads += 1;
    assert_eq!(status(&reloading.server, "https://a.example"), 101);
    assert_eq!(closed_by(&mut client, b"larger"), 1009);
    reloading.reload("message_bytes_max = 9");
    eventually("a good file is taken afterwards", || {
        let mut client = Raw::open(&reloading.server, "/echo");
        client.send(wire::frame(TEXT, b"larger"));
        client.message().opcode() == TEXT
    });
}

fn settings_that_need_a_restart_are_named_and_stay(driver: Driver) {
    let mut reloading = Reloading::start(driver, "mailbox_batches = 8");
    let listen = reloading.server.address();
    reloading.reload(
        "mailbox_batches = 9\nlog_format = \"json\"\nstatic_dir = \"/nowhere\"\nrooms_max = 7\n",
    );
    let log = reloading.server.log();
    for (line, words) in [
        (
            " WARN ",
            "not changed before a restart: mailbox_batches = 9 (",
        ),
        (
            " WARN ",
            "not changed before a restart: log_format = json (",
        ),
        (
            " WARN ",
            "not changed before a restart: static_dir = /nowhere (",
        ),
        (" INFO ", "changed: rooms_max = 7 ("),
    ] {
        let is_said = |said: &str| said.contains(line) && said.contains(words);
        assert!(log.lines().any(is_said), "{words} is not in {log}");
    }
    assert!(!log.contains("restart: rooms_max"));
    assert_eq!(get(&reloading.server, "/").status, 200);
    assert_eq!(reloading.server.address(), listen);
    // Told again for as long as it differs, and no more when it does not.
    let told = |reloading: &Reloading| reloading.server.log().matches("before a restart").count();
    reloading.reload("mailbox_batches = 8");
    assert_eq!(told(&reloading), 3);
}

fn drain_is_told_of_changes_too(driver: Driver) {
    let text = "drain_timeout = \"1h\"\nlog_level = \"debug\"";
    let mut reloading = Reloading::start(driver, text);
    // One of each core is closed at once.
    let mut clients: Vec<_> = (0..6)
        .map(|_| Raw::open(&reloading.server, "/echo"))
        .collect();
    reloading.server.signal(Signal::TERM);
    eventually("the drain has begun", || {
        TcpStream::connect(reloading.server.address()).is_err()
    });
    reloading.reload("message_bytes_max = 5\ndrain_timeout = \"1h\"\nlog_level = \"debug\"");
    let codes: Vec<_> = clients
        .iter_mut()
        .map(|client| closed_by(client, b"larger"))
        .collect();
    assert!(codes.contains(&1009), "{codes:?}");
    drop(clients);
    assert_eq!(reloading.server.wait().code(), Some(0));
}
