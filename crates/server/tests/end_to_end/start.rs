//! Starting: what is said on standard output, and what is refused before anything listens.

use std::{
    fs,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    process::Command,
};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::{
    client::Client,
    harness::{Driver, Ended, Server, command, run},
};

on_both_drivers![
    start_line_names_address_cores_and_driver,
    addresses_are_all_listened_on,
    address_that_is_taken_is_an_error_that_names_it,
    address_that_was_just_left_is_free,
    setting_in_a_file_or_the_environment_is_obeyed,
];

fn with_driver(driver: Driver, flags: &[&str]) -> Command {
    let mut command = command();
    command.args(["--driver", driver.name()]).args(flags);
    command
}

fn start_line_names_address_cores_and_driver(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let (address, name) = (server.address(), driver.name());
    let expected = format!("Hubbub listens on http://{address} (cores: 2, driver: {name})");
    let internal = format!(
        "Metrics and health, for operators, on http://{}",
        server.internal()
    );
    assert_eq!(server.start_lines, [expected, internal]);
}

fn addresses_are_all_listened_on(driver: Driver) {
    let mut flags = vec!["--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"];
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if has_ipv6 {
        flags.extend(["--listen", "[::1]:0"]);
    }
    let server = Server::start(driver, &flags);
    assert_eq!(server.addresses().len(), flags.len() / 2);
    let connect = |address: &SocketAddr| Client::connect_to(*address, "/rooms/r", &[]).unwrap();
    let mut members: Vec<_> = server.addresses().iter().map(connect).collect();
    members[0].send("from anywhere");
    for member in &mut members {
        assert_eq!(member.text(), "from anywhere");
    }
}

fn address_that_is_taken_is_an_error_that_names_it(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    // Another process of ours shares its port among its cores; this one does not share.
    let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let shared = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    shared.set_reuse_port(true).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    shared.bind(&any.into()).unwrap();
    shared.listen(1).unwrap();
    let shared = shared.local_addr().unwrap().as_socket().unwrap();

    for taken in [server.address(), other.local_addr().unwrap(), shared] {
        let listen = taken.to_string();
        let ended = run(with_driver(driver, &["--listen", &listen]));
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.stdout.is_empty(), "{}", ended.stdout);
        assert!(ended.stderr.contains(&listen), "{}", ended.stderr);
        assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
    }
    let mut client = Client::connect(&server, "/echo");
    client.send("undisturbed");
    assert_eq!(client.text(), "undisturbed");
}

/// The kernel remembers connections that the server closed first (TIME_WAIT).
fn address_that_was_just_left_is_free(driver: Driver) {
    let mut server = Server::start(driver, &["--drain-timeout", "50ms"]);
    let listen = server.address().to_string();
    let mut client = Client::connect(&server, "/echo");
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1001);
    assert!(server.wait().success());
    drop(client);
    let again = Server::start(driver, &["--listen", &listen]);
    assert_eq!(again.address().to_string(), listen);
    Client::connect(&again, "/echo").leave();
}

fn setting_in_a_file_or_the_environment_is_obeyed(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    fs::write(&file, "message_bytes_max = 5\nrooms_max = 1\n").unwrap();
    let mut command = with_driver(driver, &["--config", file.to_str().unwrap()]);
    // Above the file.
    command.env("HUBBUB_MESSAGE_BYTES_MAX", "10");
    let server = Server::launch(command, &[]);
    let mut client = Client::join(&server, "only");
    client.send("ten bytes!");
    assert_eq!(client.text(), "ten bytes!");
    let other = Client::with_fields(&server, "/rooms/another", &[]);
    assert_eq!(other.err(), Some(503));
    client.send("eleven byte");
    assert_eq!(client.closed(), 1009);
}

/// A start that is refused because of its settings: exit code 2 and a text that says these words.
#[track_caller]
fn check_refused(command: Command, words: &[&str]) {
    let Ended {
        status,
        stdout,
        stderr,
    } = run(command);
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in {stderr}");
    }
}

fn with_flags(flags: &[&str]) -> Command {
    let mut command = command();
    command.args(flags);
    command
}

#[test]
fn flag_that_is_wrong_is_refused_naming_it() {
    check_refused(with_flags(&["--prot", "8000"]), &["--prot"]);
    check_refused(
        with_flags(&["--ping-interval", "5"]),
        &["--ping-interval", "5"],
    );
    check_refused(with_flags(&["--rooms-max", "0"]), &["--rooms-max", "0"]);
    check_refused(
        with_flags(&["--driver", "kqueue"]),
        &["kqueue", "io_uring", "epoll"],
    );
    check_refused(
        with_flags(&["--listen", "localhost"]),
        &["--listen", "localhost"],
    );
}

#[test]
fn key_that_is_misspelt_is_refused_with_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("typo.toml");
    fs::write(&file, "rooms_max = 5\nping_intervall = \"5s\"\n").unwrap();
    let file = file.to_str().unwrap();
    let words = [file, "ping_intervall", "ping_interval", "2"];
    check_refused(with_flags(&["--config", file]), &words);
}

#[test]
fn file_that_is_missing_is_refused_naming_it() {
    let words = ["/nowhere/hubbub.toml"];
    check_refused(with_flags(&["--config", "/nowhere/hubbub.toml"]), &words);
}

#[test]
fn variable_that_is_misspelt_is_refused() {
    let mut command = command();
    command.env("HUBBUB_ROOM_MAX", "5");
    check_refused(command, &["HUBBUB_ROOM_MAX", "HUBBUB_ROOMS_MAX"]);
}

#[test]
fn static_dir_that_is_missing_is_an_error_that_names_it() {
    let ended = run(with_flags(&[
        "--static-dir",
        "/nowhere",
        "--listen",
        "127.0.0.1:0",
    ]));
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("/nowhere"), "{}", ended.stderr);
}

#[test]
fn help_lists_every_setting() {
    let ended = run(with_flags(&["--help"]));
    assert!(ended.status.success());
    for flag in [
        "listen",
        "cores",
        "driver",
        "max-connections",
        "config",
        "static-dir",
        "allow-origin",
        "message-bytes-max",
        "send-queue-bytes-max",
        "rooms-max",
        "ping-interval",
        "drain-timeout",
        "log-format",
    ] {
        assert!(ended.stdout.contains(&format!("--{flag} <")), "{flag}");
    }
    let version = run(with_flags(&["--version"]));
    let expected = format!("hubbub {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
}
