//! What a running server is told from other threads: another configuration, and to drain.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use codec::Kind;
use runtime::{DriverChoice, Phase};

use crate::harness::{App, PATIENCE, Running, config, start_with};

on_both_drivers![
    readiness_ends_with_the_call_to_drain_while_the_delay_is_served,
    application_and_bounds_of_a_configuration_reach_every_core,
];

fn readiness_ends_with_the_call_to_drain_while_the_delay_is_served(driver: DriverChoice) {
    let echo = App::new(|text, outlet| outlet.send(Kind::Text, text.as_bytes()));
    let running = start_with(driver, echo, |config| {
        config.timeouts.drain_delay = Duration::from_secs(1);
    });
    let readiness = running.server().readiness();
    assert_eq!(readiness.phase(), Phase::Ready);
    let mut before = running.connect("/");
    let drainer = running.server().drainer();
    drainer.drain();
    let Phase::Draining { since } = readiness.phase() else {
        panic!("{:?}", readiness.phase());
    };
    // The close comes after the delay, however often it is asked for.
    drainer.drain();
    before.send("still served");
    assert_eq!(before.text(), "still served");
    assert_eq!(before.closed().0, 1001);
    assert!(since.elapsed() >= Duration::from_secs(1));
    assert_eq!(readiness.phase(), Phase::Draining { since });
    running.stop().unwrap();
}

fn application_and_bounds_of_a_configuration_reach_every_core(driver: DriverChoice) {
    let running = start_with(
        driver,
        App::new(|_, outlet| outlet.send(Kind::Text, b"old")),
        |_| {},
    );
    let mut open: Vec<_> = (0..8).map(|_| running.connect("/")).collect();
    let mut other = config(driver);
    other.limits.message_bytes_max = 5;
    let new = App::new(|_, outlet| outlet.send(Kind::Text, b"new"));
    running
        .server()
        .configurer()
        .configure(other, Arc::new(new));
    // A core may take it a little after the call; then it is for good.
    for client in &mut open {
        client.send("small");
        assert_eq!(client.text(), "old", "a session stays what it is");
        let closed = loop {
            client.send("too large");
            match client.text_or_close() {
                Ok(text) => assert_eq!(text, "old"),
                Err((code, _)) => break code,
            }
        };
        assert_eq!(closed, 1009);
    }
    let until = Instant::now() + PATIENCE;
    for _ in 0..8 {
        while !is_new(&running) {
            assert!(Instant::now() < until, "a core keeps the old application");
        }
    }
}

/// Whether a connection that is opened now gets the new application.
fn is_new(running: &Running) -> bool {
    let mut client = running.connect("/");
    client.send("small");
    client.text() == "new"
}
