//! `hubbub health`: 0 where a server is ready, or alive, and 1 with a reason where it is not.

use std::{net::TcpListener, process::Command, time::Instant};

use rustix::process::Signal;

use crate::{
    client::Client,
    harness::{Driver, Ended, PATIENCE, Server, command, eventually, program},
    terminal::{check_refused, done, hubbub, hubbub_with},
    tls_client::{Authority, Pair, text},
};

on_both_drivers![health_follows_the_servers_life, health_is_asked_over_tls,];

fn url(server: &Server, scheme: &str) -> String {
    format!("{scheme}://{}", server.internal())
}

fn health_follows_the_servers_life(driver: Driver) {
    let mut server = Server::start(driver, &["--drain-timeout", "10m"]);
    let url = url(&server, "http");
    let ask = |words: &[&str]| hubbub(&[&["health", "--url", &url], words].concat());
    assert_eq!(done(ask(&[])), "ready\n");
    assert_eq!(done(ask(&["--live"])), "ok\n");
    // As in a container, whose settings are variables.
    let address = server.internal().to_string();
    let variables = [("HUBBUB_INTERNAL_LISTEN", address.as_str())];
    assert_eq!(done(hubbub_with(&["health"], &variables, "")), "ready\n");

    // The first connection of a core is closed at once.
    let _first = Client::join(&server, "r");
    let others: Vec<_> = (0..8).map(|_| Client::join(&server, "r")).collect();
    server.signal(Signal::TERM);
    eventually("it is not ready", || ask(&[]).status.code() == Some(1));
    let Ended { stdout, stderr, .. } = ask(&[]);
    assert_eq!(stdout, "");
    assert!(stderr.contains("/readyz: draining"), "{stderr}");
    assert_eq!(done(ask(&["--live"])), "ok\n");
    drop(others);
    server.signal(Signal::KILL);
    server.wait();
    let ended = ask(&[]);
    assert_eq!(ended.status.code(), Some(1));
    for part in [url.as_str(), "refused", "is the server running"] {
        assert!(
            ended.stderr.contains(part),
            "{part} is not in {}",
            ended.stderr
        );
    }
}

fn health_is_asked_over_tls(driver: Driver) {
    let authority = Authority::new();
    let (own, clients) = (authority.issue("one"), authority.issue("a client"));
    let mut command = command();
    command.args(["--driver", driver.name()]);
    command.args(own.internal_flags());
    let root = authority.root();
    let server = Server::launch(command, &["--internal-tls-client-ca", text(&root)]);
    let url = url(&server, "https");
    let Pair { cert, key } = &clients;
    let shown = ["--client-cert", text(cert), "--client-key", text(key)];
    let ask = |words: &[&str]| hubbub(&[&["health", "--url", &url], words].concat());
    // On this machine any certificate is good; by its authority it is good, too.
    assert_eq!(done(ask(&shown)), "ready\n");
    assert_eq!(
        done(ask(&[&shown[..], &["--ca", text(&root)]].concat())),
        "ready\n"
    );
    let strange = Authority::new();
    let ended = ask(&[&shown[..], &["--ca", text(&strange.root())]].concat());
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
    // The server demands a certificate.
    assert_eq!(ask(&[]).status.code(), Some(1));
    // Its settings say that it speaks TLS.
    let address = server.internal().to_string();
    let variables = [
        ("HUBBUB_INTERNAL_LISTEN", address.as_str()),
        ("HUBBUB_INTERNAL_TLS_CERT", text(&own.cert)),
        ("HUBBUB_INTERNAL_TLS_KEY", text(&own.key)),
    ];
    let ended = hubbub_with(&[&["health"], &shown[..]].concat(), &variables, "");
    assert_eq!(done(ended), "ready\n");
    let plain = url.replace("https", "http");
    let ended = hubbub(&["health", "--url", &plain]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stdout);
}

#[test]
fn listener_that_never_answers_takes_no_longer_than_the_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let began = Instant::now();
    let ended = hubbub(&["health", "--url", &url, "--timeout", "300ms"]);
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains("no whole answer within 300ms"),
        "{}",
        ended.stderr
    );
}

#[test]
fn mistake_in_the_file_of_a_server_that_runs_does_not_make_it_ill() {
    let server = Server::start(Driver::Epoll, &[]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    let settings = format!(
        "internal_listen = \"{}\"\nrooms_mix = 5\n",
        server.internal()
    );
    std::fs::write(&file, settings).unwrap();
    let ended = hubbub(&["health", "--config", text(&file)]);
    assert!(ended.stderr.contains("rooms_mix"), "{}", ended.stderr);
    assert_eq!(done(ended), "ready\n");
}

#[test]
fn question_that_cannot_be_asked_is_refused_with_the_remedy() {
    let server = Server::start(Driver::Epoll, &[]);
    let public = format!("http://{}", server.address());
    check_refused(&[
        (
            &["health", "--url", "127.0.0.1:9000"],
            2,
            &["http://HOST:PORT"],
        ),
        (&["health", "--timeout", "5"], 2, &["unit"]),
        (&["health", "--client-cert", "a"], 2, &["--client-key"]),
        (
            &["health", "--url", &public],
            1,
            &["404", "is this the internal listener"],
        ),
        (
            &["health", "--url", "https://127.0.0.1:1", "--ca", "/nowhere"],
            1,
            &["--ca (/nowhere)", "cannot be read"],
        ),
    ]);
    let mut off = Command::new(program());
    off.env_clear().env("HUBBUB_INTERNAL_LISTEN", "off");
    off.arg("health");
    let ended = crate::harness::run(off);
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        ended.stderr.contains("internal_listen is off"),
        "{}",
        ended.stderr
    );
}
