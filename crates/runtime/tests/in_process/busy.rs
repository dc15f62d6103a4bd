//! A core that stands still keeps its rooms' publishers waiting, and not for ever.

use std::{thread, time::Duration};

use codec::Kind;
use runtime::{DriverChoice, Outlet};

use crate::harness::{App, PATIENCE, start_with};

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
            outlet.publish(Kind::Text, text.as_bytes());
        }
    }
}

fn publishers_of_a_room_that_takes_nothing_are_closed_with_1013(driver: DriverChoice) {
    let server = start_with(driver, App::new(receive), |config| {
        config.timeouts.pause = PAUSE;
        config.publish_window_bytes = 1 << 10;
        // The publishers are read one after another, the first only when the standstill is over.
        config.timeouts.close = PATIENCE;
    });
    let mut publishers: Vec<_> = (0..PUBLISHERS)
        .map(|n| server.connect(&format!("/rooms/{n}")))
        .collect();
    let mut still = server.connect("/");
    still.send("stand still");
    let text = "x".repeat(1 << 10);
    for publisher in &mut publishers {
        publisher.send(&text);
        publisher.send(&text);
    }
    let mut closed = 0;
    for mut publisher in publishers {
        match publisher.text_or_close() {
            Ok(first) => {
                assert_eq!(first, text);
                assert_eq!(publisher.text(), text);
                publisher.leave();
            }
            Err(close) => {
                assert_eq!(close, (1013, "the room cannot take more for now".into()));
                closed += 1;
            }
        }
    }
    assert!(closed > 0, "nobody had a room on the core that stood still");
    assert!(closed < PUBLISHERS, "rooms on the other core went on");
    server.stop().unwrap();
}
