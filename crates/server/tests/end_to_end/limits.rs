//! The bound on connections: an excess client gets an answer, and nothing is left behind.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    baseline::memory_stays,
    client::{Client, Response, ask, ask_in_part, serves},
    harness::{Driver, Server, eventually, program, with_own_port},
    process,
    tls_client::{Secure, ended, records, sum},
    wire::{self, BINARY, Raw, TEXT},
};

on_both_drivers![
    soft_limit_of_descriptors_is_raised_to_the_hard_one,
    connection_beyond_the_most_is_answered_503_until_one_leaves,
    connection_beyond_the_most_that_asks_nothing_is_let_go,
    connection_beyond_the_most_that_does_not_finish_its_request_ends_for_that,
    descriptors_that_run_out_are_survived,
    descriptors_that_run_out_during_the_start_are_survived,
    descriptors_and_memory_are_released_however_connections_end,
];

fn connection_beyond_the_most_is_answered_503_until_one_leaves(driver: Driver) {
    let flags = ["--cores", "2", "--max-connections", "10"];
    let server = Server::start(driver, &flags);
    let mut inside: Vec<_> = (0..10).map(|_| Client::join(&server, "full")).collect();
    for path in ["/echo", "/rooms/full", "/"] {
        let refused = ask(&server, wire::upgrade(path));
        assert_eq!(refused.status, 503, "{path}");
        assert_eq!(refused.field("Retry-After"), Some("1"));
    }
    for n in 0..10 {
        let leaves = inside.remove(0);
        match n % 3 {
            0 => leaves.leave(),
            1 => leaves.vanish(),
            _ => drop(leaves),
        }
        let mut comes = None;
        eventually("there is room for one more", || {
            comes = Client::with_fields(&server, "/rooms/full", &[]).ok();
            comes.is_some()
        });
        inside.extend(comes);
        assert_eq!(ask(&server, wire::upgrade("/echo")).status, 503);
    }
    inside[0].send("we are ten");
    for member in &mut inside {
        assert_eq!(member.text(), "we are ten");
    }
}

/// There are far more of them than get an answer: they wait, and open connections notice nothing.
fn connection_beyond_the_most_that_asks_nothing_is_let_go(driver: Driver) {
    let flags = ["--max-connections", "2", "--close-timeout", "200ms"];
    let server = Server::start(driver, &flags);
    let mut inside = Client::connect(&server, "/echo");
    let other = Client::connect(&server, "/echo");
    let silent: Vec<_> = (0..30).map(|_| wire::connect(server.address())).collect();
    for n in 0..50 {
        inside.send(format!("{n}"));
        assert_eq!(inside.text(), format!("{n}"));
    }
    drop(silent);
    other.leave();
    eventually("there is room for one more", || serves(&server));
}

/// Half of a request is answered; a client that sent nothing gets no answer.
fn connection_beyond_the_most_that_does_not_finish_its_request_ends_for_that(driver: Driver) {
    let server = Server::start(driver, &["--max-connections", "1"]);
    let inside = Client::connect(&server, "/echo");
    let refused = ask_in_part(&server, b"GET /echo HTTP/1.1\r\nHost: ");
    let mut silent = wire::connect(server.address());
    assert_eq!(
        (refused.status, refused.field("Retry-After")),
        (503, Some("1"))
    );
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert!(said.is_empty(), "{said:?}");
    drop(silent);
    eventually("both have ended for it", || {
        let one_too_many = ended(&server, "too_many_connections");
        one_too_many >= 2 && ended(&server, "") == one_too_many
    });
    assert_eq!(
        sum(&server, "hubbub_handshakes_rejected_total", "too_many"),
        1
    );
    inside.leave();

    // Before TLS is done there can be no answer, but the reason is the same.
    let secure = Secure::start(driver, &["--max-connections", "1"]);
    let inside = secure.connect("/echo");
    assert!(records(&mut wire::connect(secure.server.address())).is_empty());
    eventually("it has ended for it", || {
        secure.ended("too_many_connections") == 1 && secure.ended("") == 1
    });
    inside.leave();
}

fn descriptors_that_run_out_are_survived(driver: Driver) {
    // The second bound exceeds the descriptors, so the kernel is the first to refuse.
    for bound in [None, Some("1000")] {
        let mut flags = vec!["--driver", driver.name(), "--cores", "2"];
        flags.extend(["--close-timeout", "200ms"]);
        flags.extend(bound.iter().flat_map(|bound| ["--max-connections", bound]));
        let server = Server::launch(with_few_descriptors(), &flags);
        let mut inside = Client::connect(&server, "/echo");
        let open = process::descriptors_at_rest(server.pid());

        let outside: Vec<_> = (0..200).map(|_| crowd(&server)).collect();
        inside.send("still served");
        assert_eq!(inside.text(), "still served");
        let before = process::ticks(server.pid());
        thread::sleep(Duration::from_secs(2));
        let ticks = process::ticks(server.pid()) - before;
        assert!(ticks < 100, "{ticks} of 200 ticks on the processor");
        inside.send("still served");
        assert_eq!(inside.text(), "still served");

        drop(outside);
        eventually("others are let in again", || serves(&server));
        eventually("all descriptors are released", || {
            process::descriptors(server.pid()) <= open
        });
    }
}

/// These connect before the last core has begun to listen.
fn soft_limit_of_descriptors_is_raised_to_the_hard_one(driver: Driver) {
    let mut shell = Command::new("/bin/sh");
    // The hard limit may not be below the soft one, not even for a moment.
    let script = "ulimit -Sn 64; ulimit -Hn 400; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(program());
    let server = Server::launch(with_own_port(shell), &["--driver", driver.name()]);
    let clients: Vec<_> = (0..200)
        .map(|_| Client::connect(&server, "/echo"))
        .collect();
    eventually("it is logged", || {
        server.log().contains("soft limit raised")
    });
    let warning = "WARN hubbub: fewer than 400 connections are possible";
    assert!(server.log().contains(warning), "{}", server.log());
    clients.into_iter().for_each(Client::leave);
}

fn descriptors_that_run_out_during_the_start_are_survived(driver: Driver) {
    for _ in 0..10 {
        let address = free_address();
        let is_over = Arc::new(AtomicBool::new(false));
        let until = is_over.clone();
        let coming = thread::spawn(move || {
            let mut streams = Vec::new();
            while !until.load(Ordering::Relaxed) {
                // Connects are refused until the server listens; then as many succeed as there are
                // descriptors.
                streams.extend(TcpStream::connect(address));
                streams.truncate(200);
            }
        });
        let listen = address.to_string();
        let flags = [
            "--driver",
            driver.name(),
            "--cores",
            "2",
            "--listen",
            &listen,
        ];
        let bounds = ["--max-connections", "1000", "--close-timeout", "200ms"];
        let server = Server::launch(with_few_descriptors(), &[&flags[..], &bounds].concat());
        thread::sleep(Duration::from_millis(100));
        is_over.store(true, Ordering::Relaxed);
        coming.join().unwrap();
        eventually("others are let in again", || serves(&server));
    }
}

/// An address that is free, with a port that the system gives to nobody: whoever connects to one of its own choice
/// again and again while nobody listens there would once be connected to itself, and have it.
fn free_address() -> SocketAddr {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let mut ports = std::iter::repeat_with(|| first + TRIED.fetch_add(1, Ordering::Relaxed));
    let port = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let port = port.expect("there is no end of ports");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The server with so few descriptors that a crowd uses them up.
pub fn with_few_descriptors() -> Command {
    let mut shell = Command::new("/bin/sh");
    let script = "ulimit -n 64; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(program());
    with_own_port(shell)
}

/// One of many clients that send a request, whether or not it is answered, and stay.
fn crowd(server: &Server) -> TcpStream {
    let mut stream = wire::connect(server.address());
    wire::send(&mut stream, wire::upgrade("/rooms/crowd").as_bytes());
    stream
}

fn descriptors_and_memory_are_released_however_connections_end(driver: Driver) {
    let flags = ["--cores", "2", "--message-bytes-max", "1MiB"];
    let server = Server::start(driver, &flags);
    for n in 0..2 * WAYS {
        come_and_go(&server, n);
    }
    let baseline = process::descriptors_at_rest(server.pid());
    memory_stays(&server, || {
        for n in 0..300 {
            come_and_go(&server, n);
        }
        eventually("all descriptors are released", || {
            process::descriptors(server.pid()) <= baseline
        });
    });
    assert!(serves(&server));
}

const WAYS: usize = 9;

/// One connection that ends in the n-th way.
fn come_and_go(server: &Server, n: usize) {
    let room = format!("/rooms/{}", n % 50);
    match n % WAYS {
        0 => Client::connect(server, &room).leave(),
        1 => wire::reset(Raw::open(server, &room).stream),
        2 => drop(Raw::open(server, &room)),
        3 => {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, b"GET /echo HTTP/1.1\r\nHost: ");
        }
        4 => {
            let mut raw = Raw::open(server, &room);
            let frame = wire::frame(BINARY, &[0; 1000]);
            raw.send(&frame[..500]);
        }
        5 => {
            // The client leaves while its join is under way.
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, wire::upgrade(&room).as_bytes());
            wire::reset(stream);
        }
        6 => {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, wire::request("GET", "/", &[]).as_bytes());
            if n.is_multiple_of(2) {
                Response::read_from(&mut stream);
            }
        }
        7 => {
            // The client leaves with more queued for it than its socket accepts.
            let stream = wire::connect_narrow(server.address(), 4096);
            let mut raw = Raw::over(stream, wire::upgrade("/echo"));
            raw.send(wire::frame(BINARY, &[0; 1 << 20]));
            wire::reset(raw.stream);
        }
        _ => {
            let mut raw = Raw::open(server, &room);
            raw.send(wire::unmasked(TEXT, b"bad"));
            assert_eq!(raw.frame().close_code(), 1002);
        }
    }
}
