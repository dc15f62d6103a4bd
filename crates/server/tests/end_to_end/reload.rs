//! SIGHUP: settings that can change do so for open connections, and a bad file changes nothing.

use std::{fs, io::Read, net::TcpStream, path::PathBuf, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    client::{Client, Response, get},
    harness::{Driver, Server, command, eventually},
    wire::{self, PING, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    limit_that_changes_holds_for_connections_that_are_open,
    bounds_of_connections_and_rooms_change,
    bounds_of_addresses_and_the_proxies_that_are_trusted_change,
    rates_change_for_connections_that_are_open,
    time_that_an_empty_room_is_kept_changes,
    origins_change_and_the_page_stays,
    pages_are_read_again,
    directory_or_certificate_that_is_bad_changes_nothing,
    timeouts_change_for_those_who_come,
    log_level_changes,
    file_that_is_bad_is_refused_and_the_old_settings_stay,
    settings_that_need_a_restart_are_named_and_stay,
    drain_is_told_of_changes_too,
];

/// A server with a file that can be rewritten.
pub struct Reloading {
    pub server: Server,
    pub file: PathBuf,
    _dir: TempDir,
    reloads: usize,
}

impl Reloading {
    pub fn start(driver: Driver, text: &str) -> Self {
        Self::start_with(driver, text, &[])
    }

    pub fn start_with(driver: Driver, text: &str, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hubbub.toml");
        fs::write(&file, text).unwrap();
        let mut command = command();
        let drive = ["--driver", driver.name(), "--cores", "2"];
        command.args(drive).arg("--config").arg(&file);
        Self {
            server: Server::launch_quietly(command, flags),
            file,
            _dir: dir,
            reloads: 0,
        }
    }

    /// Writes the file and waits until the server says that it has read it. A core may apply it a
    /// moment later.
    pub fn reload(&mut self, text: &str) {
        self.reload_until(text, RELOADED);
    }

    fn reload_until(&mut self, text: &str, said: &str) {
        fs::write(&self.file, text).unwrap();
        self.server.signal(Signal::HUP);
        self.reloads += 1;
        eventually(said, || {
            let log = self.server.log();
            let done = log.lines().filter(|line| is_reloaded(line)).count();
            done + log.matches("not reloaded").count() == self.reloads
        });
        let log = self.server.log();
        let is_said = |line: &str| line.contains(said) || (said == RELOADED && is_reloaded(line));
        assert!(log.lines().any(is_said), "{log}");
    }
}

const RELOADED: &str = " read again changed=";

/// Works with either form of the log.
fn is_reloaded(line: &str) -> bool {
    line.contains(RELOADED)
        || line
            .contains("\"message\":\"reloaded: settings, pages and certificates were read again\"")
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

fn bounds_of_addresses_and_the_proxies_that_are_trusted_change(driver: Driver) {
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]\n";
    let mut reloading = Reloading::start(driver, "address_connections_max = 1");
    let opens = |reloading: &Reloading| {
        let told = [("x-forwarded-for", "203.0.113.7")];
        Client::with_fields(&reloading.server, "/echo", &told)
    };
    let mut inside = vec![opens(&reloading).expect("nobody is trusted")];
    let most = |count: usize| format!("{trusted}address_connections_max = {count}");
    reloading.reload(&most(1));
    eventually("the proxy is trusted", || {
        inside.extend(opens(&reloading).ok());
        opens(&reloading).err() == Some(429)
    });
    let most_before = inside.len();
    reloading.reload(&most(10_000));
    eventually("more are let in", || {
        inside.extend(opens(&reloading).ok());
        inside.len() > most_before
    });
    reloading.reload(&most(1));
    eventually("no more are let in", || {
        opens(&reloading).err() == Some(429)
    });
    reloading.reload("address_connections_max = 1");
    eventually("nobody is trusted again", || opens(&reloading).is_ok());
    inside.into_iter().for_each(Client::leave);
}

fn rates_change_for_connections_that_are_open(driver: Driver) {
    let mut reloading = Reloading::start(driver, "");
    let mut client = Raw::open(&reloading.server, "/echo");
    client.send(wire::frame(TEXT, b"x").repeat(300));
    (0..300).for_each(|_| assert_eq!(client.message().payload, b"x"));
    reloading.reload("message_rate = 1\nmessage_burst = 5");
    assert_eq!(closed_by(&mut client, b"x"), 1008);
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

/// The answer to a handshake of a page of this origin.
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

fn pages_are_read_again(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("index.html");
    fs::write(&page, "first").unwrap();
    let with_dir = format!("static_dir = \"{}\"", dir.path().to_str().unwrap());
    let mut reloading = Reloading::start(driver, "");
    let shows = |reloading: &Reloading, path: &str, expected: &str| {
        eventually(expected, || {
            get(&reloading.server, path).body == expected.as_bytes()
        });
    };
    reloading.reload(&with_dir);
    shows(&reloading, "/", "first");
    // The settings stay the same, and the files change.
    fs::write(&page, "second").unwrap();
    fs::write(dir.path().join("new.txt"), "new").unwrap();
    fs::write(dir.path().join(".hidden"), "hidden").unwrap();
    assert_eq!(get(&reloading.server, "/").body, b"first");
    reloading.reload(&with_dir);
    shows(&reloading, "/", "second");
    shows(&reloading, "/new.txt", "new");
    let log = reloading.server.log();
    let line = log
        .lines()
        .find(|it| it.contains("begins with a dot"))
        .unwrap();
    let words = ["INFO", "static_dir: ", "is not served: its name"];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    reloading.reload("");
    eventually("the built-in page is back", || {
        get(&reloading.server, "/page.js").status == 200
    });
}

fn directory_or_certificate_that_is_bad_changes_nothing(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("index.html");
    fs::write(&page, "good").unwrap();
    let dir = dir.path().to_str().unwrap();
    let good = format!("static_dir = \"{dir}\"\nmessage_bytes_max = 5\n");
    let mut reloading = Reloading::start(driver, &good);
    let mut client = Raw::open(&reloading.server, "/echo");
    fs::write(&page, vec![b'x'; 5000]).unwrap();
    let small = "static_bytes_max = \"4KiB\"\n";
    for (bad, word) in [
        (
            "static_dir = \"/nowhere\"\n".to_owned(),
            "cannot read /nowhere",
        ),
        (
            format!("static_dir = \"{dir}\"\n{small}"),
            "static_bytes_max",
        ),
    ] {
        reloading.reload_until(&format!("{bad}message_bytes_max = 9\n"), "not reloaded");
        assert!(reloading.server.log().contains(word), "{word}");
    }
    assert_eq!(get(&reloading.server, "/").body, b"good");
    assert_eq!(closed_by(&mut client, b"larger"), 1009);
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
    // The other core may apply it a moment later than the one that has sent a ping.
    eventually("half a request is answered 408", || {
        let mut stream = wire::connect(reloading.server.address());
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        wire::send(&mut stream, b"GET /echo HTTP/1.1\r\n");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 408"
    });
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
        "mailbox_batches = 9\nlog_format = \"json\"\nlog_queue_bytes_max = \"2MiB\"\nrooms_max = 7\n",
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
            "not changed before a restart: log_queue_bytes_max = 2MiB (",
        ),
        (" INFO ", "changed: rooms_max = 7 ("),
    ] {
        let is_said = |said: &str| said.contains(line) && said.contains(words);
        assert!(log.lines().any(is_said), "{words} is not in {log}");
    }
    assert!(!log.contains("restart: rooms_max"));
    assert_eq!(get(&reloading.server, "/").status, 200);
    assert_eq!(reloading.server.address(), listen);
    // This is logged by each reload as long as it differs, and no longer.
    let told = |reloading: &Reloading| reloading.server.log().matches("before a restart").count();
    reloading.reload("mailbox_batches = 8");
    assert_eq!(told(&reloading), 3);
}

fn drain_is_told_of_changes_too(driver: Driver) {
    let text = "drain_timeout = \"1h\"\nlog_level = \"debug\"";
    let mut reloading = Reloading::start(driver, text);
    // Each core closes one connection at once.
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
