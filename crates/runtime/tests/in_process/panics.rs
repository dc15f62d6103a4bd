//! A panic in an application's code costs one connection, and nothing of it is left behind.

use codec::{CloseCode, Kind};
use runtime::{DriverChoice, Outlet};

use crate::harness::{App, publish, start};

on_both_drivers![
    session_that_panics_closes_its_connection_alone_with_1011,
    session_that_panics_in_the_middle_of_messages_sends_what_came_before,
    session_that_panics_in_a_room_is_missed_by_nobody,
    session_that_panics_often_leaves_no_descriptor,
    session_that_panics_when_it_is_over_harms_nobody,
    route_that_panics_is_answered_500,
];

/// Echoes, publishes what begins with `all`, and panics if it is told to.
fn receive(text: &str, outlet: &mut Outlet<'_>) {
    match text {
        "panic" => panic!("as the test wants it"),
        _ if text.starts_with("all") => {
            publish(text, outlet);
        }
        _ => outlet.send(Kind::Text, text.as_bytes()),
    }
}

fn session_that_panics_closes_its_connection_alone_with_1011(driver: DriverChoice) {
    let server = start(driver, App::new(receive));
    let mut others: Vec<_> = (0..8).map(|_| server.connect("/")).collect();
    for n in 0..8 {
        let mut panics = server.connect("/");
        panics.send("panic");
        assert_eq!(panics.closed(), (1011, "internal error".into()));
        for other in &mut others {
            other.send(&format!("after {n}"));
            assert_eq!(other.text(), format!("after {n}"));
        }
    }
    drop(others);
    server.stop().unwrap();
}

fn session_that_panics_in_the_middle_of_messages_sends_what_came_before(driver: DriverChoice) {
    let server = start(driver, App::new(receive));
    let mut client = server.connect("/");
    for text in ["one", "two", "panic", "three", "panic", "four"] {
        client.send(text);
    }
    assert_eq!(client.text(), "one");
    assert_eq!(client.text(), "two");
    assert_eq!(client.closed().0, 1011);
}

fn session_that_panics_in_a_room_is_missed_by_nobody(driver: DriverChoice) {
    let server = start(driver, App::new(receive));
    let mut members: Vec<_> = (0..6).map(|_| server.connect("/rooms/r")).collect();
    for n in 0..8 {
        let mut panics = server.connect("/rooms/r");
        panics.send(&format!("all hear {n}"));
        assert_eq!(panics.text(), format!("all hear {n}"));
        panics.send("panic");
        assert_eq!(panics.closed().0, 1011);
        members[n % 6].send(&format!("all are here after {n}"));
        for member in &mut members {
            assert_eq!(member.text(), format!("all hear {n}"));
            assert_eq!(member.text(), format!("all are here after {n}"));
        }
    }
}

fn session_that_panics_often_leaves_no_descriptor(driver: DriverChoice) {
    let server = start(driver, App::new(receive));
    server.connect("/").leave();
    let before = server.descriptors_at_rest();
    for n in 0..100 {
        let mut panics = server.connect(["/", "/rooms/r"][n % 2]);
        panics.send("panic");
        if n % 3 == 0 {
            assert_eq!(panics.closed().0, 1011);
        }
    }
    server.await_descriptors(before);
    let mut client = server.connect("/");
    client.send("still here");
    assert_eq!(client.text(), "still here");
}

fn session_that_panics_when_it_is_over_harms_nobody(driver: DriverChoice) {
    let app = App {
        closed: |_| panic!("as the test wants it"),
        dropped: || panic!("and once more"),
        ..App::new(|text, outlet| match text {
            "close" => outlet.close(CloseCode::NORMAL, ""),
            _ => receive(text, outlet),
        })
    };
    let server = start(driver, app);
    // On both cores, most likely: a core that ends takes its connections with it.
    let mut others: Vec<_> = (0..8).map(|_| server.connect("/rooms/r")).collect();
    for n in 0..4 {
        let mut panics = server.connect("/rooms/r");
        panics.send("close");
        assert_eq!(panics.closed().0, 1000);
        others[n].send(&format!("all are here after {n}"));
        for other in &mut others {
            assert_eq!(other.text(), format!("all are here after {n}"));
        }
    }
    drop(others);
    server.stop().unwrap();
}

fn route_that_panics_is_answered_500(driver: DriverChoice) {
    let app = App {
        route: |path| assert_ne!(path, "/panic"),
        ..App::new(receive)
    };
    let server = start(driver, app);
    for _ in 0..4 {
        let answer = server.ask("GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        let answer = server.ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\na page\n"), "{answer}");
    }
    server.connect("/").leave();
}
