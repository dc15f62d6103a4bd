//! `/healthz` names a core that stands still, and a scrape does not wait for it for ever.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use codec::{Message, Request};
use runtime::{Application, Config, DriverChoice, Opening, Outlet, Route, Server, Session};
use server::internal::{self, Configured, Status};

const STANDSTILL: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops the whole core with each message.
struct Still;

impl Session for Still {
    fn receive(&mut self, _: Message<'_>, _: &mut Outlet<'_>) {
        thread::sleep(STANDSTILL);
    }
}

impl Application for Still {
    fn route(&self, _: &Request<'_>) -> Route {
        Route::Open(Opening {
            protocol: "still",
            subprotocol: None,
            room: None,
            body: runtime::BodyForm::RAW,
            lag: runtime::Lag::Close,
            terms: None,
            pings: runtime::Pings::Frames,
            session: Box::new(Still),
        })
    }

    fn protocols(&self) -> Vec<&'static str> {
        vec!["still"]
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut answer = String::new();
    ask(address, path).read_to_string(&mut answer).unwrap();
    answer
}

/// The client that asks does not wait for the answer.
fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream
}

#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
    }
}

fn check(driver: DriverChoice) {
    let status = Status::new(Configured::default());
    let listener = internal::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    internal::spawn(listener, status.clone()).unwrap();
    assert!(get(address, "/readyz").contains("503"));
    assert!(get(address, "/readyz").ends_with("starting\n"));
    assert!(get(address, "/healthz").contains("200 OK"));
    assert!(get(address, "/metrics").contains("hubbub_rooms 0\n"));

    let config = Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        cores: 2,
        driver,
        ..Config::default()
    };
    let server = Server::start_telling(config, Arc::new(Still), status.readiness()).unwrap();
    status.serving(server.monitor(), "a driver".into());
    assert!(get(address, "/readyz").contains("200 OK"));
    let url = format!("ws://{}/", server.addresses()[0]);
    let (mut client, _) = tungstenite::connect(url).unwrap();
    client.send("stand still".into()).unwrap();

    eventually("the silent core is named", || {
        let health = get(address, "/healthz");
        health.contains(" 503 ") && health.contains("no answer within a second: core-")
    });
    // There are more scrapes than places, and each of them waits for that core.
    let scrapes: Vec<_> = (0..64).map(|_| ask(address, "/metrics")).collect();
    assert!(get(address, "/readyz").contains("200 OK"));
    drop(scrapes);
    let metrics = get(address, "/metrics");
    let ups = |metrics: &str| {
        let up = |core| metrics.contains(&format!("hubbub_core_up{{core=\"{core}\"}} 1\n"));
        usize::from(up(0)) + usize::from(up(1))
    };
    assert_eq!(ups(&metrics), 1, "{metrics}");
    eventually("it answers again", || {
        get(address, "/healthz").contains(" 200 ")
    });
    // By now the core has answered the questions of its standstill; that says nothing about the
    // next one.
    client.send("stand still".into()).unwrap();
    eventually("it is named again", || {
        get(address, "/healthz").contains(" 503 ")
    });
    let metrics = get(address, "/metrics");
    assert_eq!(ups(&metrics), 1, "{metrics}");
    eventually("it answers again", || {
        get(address, "/healthz").contains(" 200 ")
    });
    drop(client);
    server.drainer().drain();
    server.wait().unwrap();
}

#[test]
fn silent_core_is_named_on_io_uring() {
    check(DriverChoice::IoUring);
}

#[test]
fn silent_core_is_named_on_epoll() {
    check(DriverChoice::Epoll);
}
