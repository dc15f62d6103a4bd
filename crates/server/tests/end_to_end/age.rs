//! Connections that have reached their age are closed, so that they spread over servers again.

use std::time::{Duration, Instant};

use crate::{
    client::Client,
    harness::{Driver, Server, eventually},
    wire::{self, Raw, TEXT},
};

on_both_drivers![
    connection_is_closed_with_1001_at_its_age_and_can_come_again,
    connection_that_is_never_silent_is_closed_at_its_age_between_messages,
];

fn connection_is_closed_with_1001_at_its_age_and_can_come_again(driver: Driver) {
    let server = Server::start(driver, &["--max-connection-age", "500ms"]);
    for path in ["/echo", "/rooms/aged"] {
        let begun = Instant::now();
        let mut client = Client::connect(&server, path);
        assert_eq!(client.closed(), 1001);
        assert!(begun.elapsed() >= Duration::from_millis(450));
    }
    eventually("the reason is in the log", || {
        server.ends_logged("aged") == 2
    });
    Client::connect(&server, "/echo").leave();
}

fn connection_that_is_never_silent_is_closed_at_its_age_between_messages(driver: Driver) {
    let server = Server::start(driver, &["--max-connection-age", "500ms"]);
    let mut raw = Raw::open(&server, "/rooms/busy");
    let mut next = 0;
    loop {
        let text = format!("message {next}");
        raw.send(wire::frame(TEXT, text.as_bytes()));
        let frame = raw.message();
        if frame.opcode() != TEXT {
            assert_eq!(frame.close_code(), 1001);
            break;
        }
        assert_eq!(frame.payload, text.as_bytes());
        next += 1;
    }
    assert!(next > 0, "it was never served");
}
