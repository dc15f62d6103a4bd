//! Connections that wait, in any state, take no processor time.

use std::{
    fs,
    io::Write,
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    client::serves,
    harness::{Driver, Server},
    process,
    wire::{self, BINARY, Raw, TEXT},
};

on_both_drivers![
    connections_that_wait_take_no_time,
    answer_half_sent_to_a_peer_that_has_stopped_sending_takes_no_time,
    echo_half_sent_to_a_peer_that_has_stopped_sending_takes_no_time,
];

/// A server with a file that is larger than the kernel's buffers.
fn start(driver: Driver) -> (Server, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("large"), vec![7; 12 << 20]).unwrap();
    let path = dir.path().to_str().unwrap();
    let timeouts = ["--write-timeout", "60s", "--close-timeout", "60s"];
    let flags = [&["--cores", "2", "--static-dir", path], &timeouts[..]].concat();
    (Server::start(driver, &flags), dir)
}

fn assert_idle(server: &Server) {
    thread::sleep(Duration::from_millis(300));
    let before = process::ticks(server.pid());
    thread::sleep(Duration::from_secs(1));
    let ticks = process::ticks(server.pid()) - before;
    assert!(ticks < 30, "{ticks} of 100 ticks on the processor");
    assert!(serves(server));
}

/// Asks for the large file and does not read it.
fn ask_for_file(server: &Server) -> TcpStream {
    let mut stream = wire::connect_narrow(server.address(), 4096);
    let request = wire::request("GET", "/large", &[]);
    wire::send(&mut stream, request.as_bytes());
    stream
}

fn connections_that_wait_take_no_time(driver: Driver) {
    let (server, _dir) = start(driver);
    let _open: Vec<_> = (0..20).map(|_| Raw::open(&server, "/rooms/r")).collect();
    let _silent = wire::connect(server.address());
    let mut begun = wire::connect(server.address());
    wire::send(&mut begun, b"GET / HT");
    let _answered = ask_for_file(&server);
    // It does not read its echoes, so the server does not read it.
    let narrow = wire::connect_narrow(server.address(), 4096);
    let mut paused = Raw::over(narrow, wire::upgrade("/echo"));
    let message = wire::frame(BINARY, &[0; 64 << 10]);
    let patience = Some(Duration::from_millis(300));
    paused.stream.set_write_timeout(patience).unwrap();
    while paused.stream.write_all(&message).is_ok() {}
    // The server waits for the end of its stream.
    let mut failed = Raw::open(&server, "/echo");
    failed.send(wire::unmasked(TEXT, b""));
    assert_eq!(failed.frame().close_code(), 1002);
    assert_idle(&server);
}

fn answer_half_sent_to_a_peer_that_has_stopped_sending_takes_no_time(driver: Driver) {
    let (server, _dir) = start(driver);
    let stream = ask_for_file(&server);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_idle(&server);
}

fn echo_half_sent_to_a_peer_that_has_stopped_sending_takes_no_time(driver: Driver) {
    let (server, _dir) = start(driver);
    let narrow = wire::connect_narrow(server.address(), 4096);
    let mut raw = Raw::over(narrow, wire::upgrade("/echo"));
    let messages = wire::frame(BINARY, &[0; 16 << 10]).repeat(4);
    // The server's own queue holds this many bytes.
    for _ in 0..(1 << 20) / messages.len() {
        raw.send(&messages);
    }
    // Sends until the server stops reading, but no more: the end of the stream must still arrive.
    let mut is_read = true;
    while is_read {
        raw.send(&messages);
        thread::sleep(Duration::from_millis(5));
        let soon = Instant::now() + Duration::from_millis(100);
        while is_read && process::unread_by_peer(&raw.stream) > 0 {
            is_read = Instant::now() < soon;
        }
    }
    raw.stream.shutdown(Shutdown::Write).unwrap();
    assert_idle(&server);
}
