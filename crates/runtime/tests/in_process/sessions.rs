//! What a session asks of its outlet happens, in the order in which it was asked.

use std::sync::Mutex;

use codec::{CloseCode, Kind};
use runtime::{Config, DriverChoice, Server, StartError};

use crate::harness::{App, publish, start};

on_both_drivers![
    close_sends_what_came_before_then_its_code_and_text,
    publish_without_a_room_says_so,
    closed_is_called_once_with_the_one_reason_however_a_connection_ends,
    start_on_an_address_that_is_taken_is_an_error,
];

fn close_sends_what_came_before_then_its_code_and_text(driver: DriverChoice) {
    let app = App::new(|text, outlet| {
        outlet.send(Kind::Text, b"goodbye");
        let code = CloseCode::from_wire(text.parse().unwrap()).unwrap();
        outlet.close(code, "as you wish");
        // The first counts.
        outlet.close(CloseCode::NORMAL, "no");
        outlet.send(Kind::Text, b"P.S.");
    });
    let server = start(driver, app);
    for code in [1000, 1008, 3000, 4999] {
        let mut client = server.connect("/");
        client.send(&format!("{code}"));
        client.send("never received");
        assert_eq!(client.text(), "goodbye");
        assert_eq!(client.text(), "P.S.");
        assert_eq!(client.closed(), (code, "as you wish".into()));
    }
}

fn publish_without_a_room_says_so(driver: DriverChoice) {
    let app = App::new(|text, outlet| {
        if publish(text, outlet).is_none() {
            outlet.send(Kind::Text, b"there is no room");
        }
    });
    let server = start(driver, app);
    let mut outside = server.connect("/");
    outside.send("hello");
    assert_eq!(outside.text(), "there is no room");
    let mut inside = server.connect("/rooms/r");
    inside.send("hello");
    assert_eq!(inside.text(), "hello");
}

fn closed_is_called_once_with_the_one_reason_however_a_connection_ends(driver: DriverChoice) {
    // The tests of this program run one at a time.
    static CLOSED: Mutex<Vec<&str>> = Mutex::new(Vec::new());
    let app = App {
        closed: |reason| CLOSED.lock().unwrap().push(reason.name()),
        ..App::new(|_, outlet| outlet.close(CloseCode::NORMAL, ""))
    };
    let server = start(driver, app);
    CLOSED.lock().unwrap().clear();
    server.connect("/").leave();
    drop(server.connect("/rooms/r"));
    let mut closes = server.connect("/");
    closes.send("close");
    closes.closed();
    let mut drained = server.connect("/");
    server.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let draining = std::thread::spawn(move || drained.closed());
    server.stop().unwrap();
    assert_eq!(draining.join().unwrap().0, 1001);
    let mut closed = CLOSED.lock().unwrap().clone();
    closed.sort_unstable();
    assert_eq!(
        closed,
        ["drained", "peer_closed", "peer_gone", "session_closed"]
    );
}

fn start_on_an_address_that_is_taken_is_an_error(driver: DriverChoice) {
    let server = start(driver, App::new(|_, _| {}));
    let address = server.stream().peer_addr().unwrap();
    let config = Config {
        listen: vec![address],
        driver,
        ..Config::default()
    };
    let again = Server::start(config, std::sync::Arc::new(App::new(|_, _| {})));
    match again {
        Err(StartError::Listen { address: named, .. }) => assert_eq!(named, address),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("two servers on one address"),
    }
}
