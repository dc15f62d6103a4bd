//! A room has one order: every member on every core receives the same messages in one sequence.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use tungstenite::Message;

use crate::{
    client::{Client, binary},
    harness::{Driver, Server},
};

const MEMBERS: usize = 20;
const PUBLISHERS: usize = 8;
const MESSAGES: usize = 100;

on_both_drivers![messages_of_concurrent_publishers_reach_everyone_in_one_order];

fn messages_of_concurrent_publishers_reach_everyone_in_one_order(driver: Driver) {
    let server = Server::start(driver, &["--cores", "2"]);
    let together = Arc::new(Barrier::new(MEMBERS));
    let members: Vec<_> = (0..MEMBERS)
        .map(|member| {
            let mut client = Client::join(&server, "one-order");
            let together = together.clone();
            thread::spawn(move || {
                together.wait();
                // A third at a time, so that reading and publishing alternate.
                let mut heard = Vec::new();
                for number in 0..MESSAGES {
                    if member < PUBLISHERS {
                        client.send(message(member, number));
                    }
                    if number % 3 == 0 {
                        heard.push(client.receive());
                    }
                }
                while heard.len() < PUBLISHERS * MESSAGES {
                    heard.push(client.receive());
                }
                // Any duplicate comes before this message.
                client.send("the end");
                (client, heard)
            })
        })
        .collect();
    let mut all: Vec<_> = members
        .into_iter()
        .map(|member| member.join().unwrap())
        .collect();

    let order = all[0].1.clone();
    for publisher in 0..PUBLISHERS {
        let own = order.iter().filter_map(read);
        let numbers: Vec<_> = own
            .filter(|(by, _)| *by == publisher)
            .map(|(_, number)| number)
            .collect();
        assert!(numbers.into_iter().eq(0..MESSAGES), "publisher {publisher}");
    }
    for (client, heard) in &mut all {
        assert!(*heard == order, "two members heard different orders");
        assert_eq!(client.text(), "the end");
    }
}

/// Text from publishers with an even number, binary from the others.
fn message(publisher: usize, number: usize) -> Message {
    let content = format!("{publisher} {number}");
    match publisher % 2 {
        0 => Message::text(content),
        _ => binary(content),
    }
}

/// The publisher of this message, and its number; its type must be the publisher's.
fn read(heard: &Message) -> Option<(usize, usize)> {
    let (publisher, number) = heard.to_text().unwrap().split_once(' ')?;
    let publisher = publisher.parse().ok()?;
    assert_eq!(heard.is_text(), publisher % 2 == 0);
    Some((publisher, number.parse().unwrap()))
}
