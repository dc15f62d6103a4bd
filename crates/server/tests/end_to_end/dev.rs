//! A server for development lets in whoever is on this machine, and nobody whom a page or a proxy brings.

use crate::{
    client::{Client, ask},
    commands::{PATH, Session},
    harness::{Driver, Server, command},
    wire::UPGRADE,
};

on_both_drivers![
    dev_lets_in_without_a_token_on_this_machine_alone,
    dev_has_to_be_asked_for_where_anything_else_is_set,
];

fn dev_lets_in_without_a_token_on_this_machine_alone(driver: Driver) {
    let server = Server::start(driver, &["--dev"]);
    let mut session = Session::anonymous(&server);
    let reply = session.ask(r#"{"id":2,"subscribe":{"channel":"any:room","recoverable":true}}"#);
    assert_eq!(reply["subscribe"]["recoverable"], true, "{reply}");
    drop(Client::join(&server, "any:room"));
    let host = "Host: localhost:8000";
    let with = |host: &str, field: &str| {
        let fields = [&UPGRADE[..], &[host, field]].concat().join("\r\n");
        let request = format!("GET {PATH} HTTP/1.1\r\n{}\r\n\r\n", fields.trim_end());
        ask(&server, request).status
    };
    for (host, field) in [
        ("Host: hubbub.example.com", ""),
        ("Host: localhost.example.com", ""),
        (host, "Origin: https://elsewhere.example"),
        (host, "X-Forwarded-For: 10.0.0.1"),
        (host, "Forwarded: for=10.0.0.1"),
        (host, "Via: 1.1 proxy"),
    ] {
        assert_eq!(with(host, field), 403, "{host} {field}");
    }
}

/// Without dev and without a token nobody speaks the protocol.
fn dev_has_to_be_asked_for_where_anything_else_is_set(driver: Driver) {
    let server = Server::launch(command(), &["--driver", driver.name()]);
    let mut session = Session::open(&server);
    session.send(r#"{"id":1,"connect":{}}"#);
    assert_eq!(session.closed().0, 3501);
}
