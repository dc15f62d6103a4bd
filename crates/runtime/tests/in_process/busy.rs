//! A core that stands still keeps its rooms' publishers waiting, and not for ever.

use std::{thread, time::Duration};

use runtime::{DriverChoice, Outlet};

use crate::harness::{App, Client, publish, start_with};

on_both_drivers![publishers_of_a_room_that_takes_nothing_are_closed_with_1013];

const PAUSE: Duration = Duration::from_millis(200);
const STANDSTILL: Duration = Duration::from_secs(2);

/// So many connections that some are surely on one core and their room on the other.
const PUBLISHERS: usize = 40;

/// Publishes what it hears, and stops its whole core if it is told to.
fn receive(text: &str, outlet: &mut Outlet<'_>) {
    match text {
        "stand still" => thread::sleep(STANDSTILL),
        _ => {
            publish(text, outlet);
        }
    }
}

/// As much as may wait for a room.
fn text() -> String {
    "x".repeat(1 << 10)
}

/// Whether a publisher was closed as the rule says; if not, it has heard all that it said.
fn was_closed(mut publisher: Client) -> bool {
    for _ in 0..2 {
        match publisher.text_or_close() {
            Ok(heard) => assert_eq!(heard, text()),
            Err(close) => {
                assert_eq!(close, (1013, "the room cannot take more for now".into()));
                return true;
            }
        }
    }
    publisher.leave();
    false
}

fn publishers_of_a_room_that_takes_nothing_are_closed_with_1013(driver: DriverChoice) {
    let server = start_with(driver, App::new(receive), |config| {
        config.timeouts.pause = PAUSE;
        config.publish_window_bytes = 1 << 10;
    });
    let mut publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| server.connect(&format!("/rooms/{n}")))
        .collect();
    let mut still = server.connect("/");
    still.send("stand still");
    for publisher in &mut publishers {
        publisher.send(&text());
        publisher.send(&text());
    }
    // Each by a thread: the close of one must not wait until another's standstill is over.
    let outcomes: Vec<_> = publishers
        .into_iter()
        .map(|publisher| thread::spawn(move || was_closed(publisher)))
        .collect();
    let outcomes = outcomes.into_iter().map(|thread| thread.join().unwrap());
    let closed = outcomes.filter(|was_closed| *was_closed).count();
    assert!(closed > 0, "nobody had a room on the core that stood still");
    assert!(closed < PUBLISHERS, "rooms on the other core went on");
    server.stop().unwrap();
}
