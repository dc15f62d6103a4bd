//! Bounds on the connections of an address, in number and in rate: an excess client gets an answer,
//! and other clients notice nothing. The clients are behind a proxy on this machine, which the
//! server trusts.

use std::{
    io::{ErrorKind, Read},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Client, Response, ask, scrape},
    harness::{Driver, Server, eventually},
    process,
    tls_client::{Secure, ended, handshake, records},
    wire::{self, UPGRADE},
};

on_both_drivers![
    connection_beyond_the_most_of_its_address_is_answered_429_until_one_leaves,
    connections_faster_than_the_rate_of_their_address_are_answered_429,
    connections_of_this_machine_are_not_counted,
    connections_beyond_those_who_are_told_are_reset,
    client_one_too_many_of_its_address_that_finishes_no_tls_handshake_ends_for_that,
    addresses_beyond_the_most_are_let_in_uncounted,
    sixty_thousand_addresses_take_a_bounded_table,
    client_without_a_proxy_is_counted_by_the_address_of_its_socket,
];

const TRUSTED: [&str; 2] = ["--trusted-proxies", "127.0.0.0/8"];
const ANY_RATE: [&str; 2] = ["--address-rate", "0"];

fn start(driver: Driver, flags: &[&[&str]]) -> Server {
    Server::start(driver, &[&TRUSTED[..], &flags.concat()].concat())
}

fn open(server: &Server, address: &str) -> Result<Client, u16> {
    Client::with_fields(server, "/echo", &[("x-forwarded-for", address)])
}

/// The answer to a handshake of this client.
fn answer(server: &Server, address: &str) -> Response {
    let told = format!("X-Forwarded-For: {address}");
    let fields = [&UPGRADE[..], &[&told]].concat();
    ask(server, wire::request("GET", "/echo", &fields))
}

fn connection_beyond_the_most_of_its_address_is_answered_429_until_one_leaves(driver: Driver) {
    let most = ["--cores", "2", "--address-connections-max", "3"];
    let server = start(driver, &[&most, &ANY_RATE]);
    for (one, same, other) in [
        ("203.0.113.7", "::ffff:203.0.113.7", "203.0.113.8"),
        ("2001:db8:1:2::1", "2001:db8:1:2:3::9", "2001:db8:1:3::1"),
    ] {
        let mut inside: Vec<_> = (0..3).map(|_| open(&server, one).expect("101")).collect();
        for address in [one, same] {
            let refused = answer(&server, address);
            assert_eq!(refused.status, 429, "{address}");
            assert_eq!(refused.field("Retry-After"), Some("1"));
        }
        open(&server, other).expect("101").leave();
        inside.remove(0).leave();
        eventually("there is room for one more", || {
            inside.extend(open(&server, same).ok());
            inside.len() == 3
        });
        assert_eq!(open(&server, one).err(), Some(429));
        for client in &mut inside {
            client.send("undisturbed");
            assert_eq!(client.text(), "undisturbed");
        }
    }
    let samples = scrape(&server);
    let name = "hubbub_handshakes_rejected_total{reason=\"address_connections\"}";
    assert!(samples[name] >= 6.0, "{}", samples[name]);
    eventually("those who have left are forgotten", || {
        scrape(&server)["hubbub_addresses"] == 0.0
    });
}

fn connections_faster_than_the_rate_of_their_address_are_answered_429(driver: Driver) {
    let rate = ["--address-rate", "1", "--address-burst", "5"];
    let server = start(driver, &[&rate, &["--cores", "2"]]);
    let begun = Instant::now();
    let mut let_in = 0;
    for n in 0..20 {
        match open(&server, "203.0.113.7") {
            Ok(client) => {
                client.leave();
                let_in += 1;
            }
            Err(status) => assert_eq!(status, 429),
        }
        // The burst is full, and refills at one connection a second.
        assert!(n >= 5 || let_in == n + 1, "{let_in} of {n}");
        let allowed = 5 + begun.elapsed().as_secs() as usize;
        assert!(let_in <= allowed, "{let_in} rather than {allowed}");
    }
    // A request for a page ends its connection even if another token has been added meanwhile.
    let ask_for_page = || {
        let told = "X-Forwarded-For: 203.0.113.7";
        ask(&server, wire::request("GET", "/", &[told]))
    };
    let mut answers = (0..20).map(|_| ask_for_page());
    let refused = answers.find(|answer| answer.status == 429).expect("429");
    assert_eq!(refused.field("Retry-After"), Some("1"));
    open(&server, "203.0.113.8").expect("101").leave();
    eventually("another token has come", || {
        open(&server, "203.0.113.7").is_ok()
    });
    eventually("it is logged", || server.log().contains("address_rate"));
}

fn connections_of_this_machine_are_not_counted(driver: Driver) {
    let strict = ["--address-connections-max", "1", "--address-rate", "1"];
    let strict = [&strict[..], &["--address-burst", "1"]].concat();
    let direct = Server::start(driver, &strict);
    let clients: Vec<_> = (0..10).map(|_| Client::connect(&direct, "/echo")).collect();
    clients.into_iter().for_each(Client::leave);
    let server = start(driver, &[&strict]);
    for address in ["127.0.0.9", "::1", "::ffff:127.0.0.1", ""] {
        let clients: Vec<_> = (0..5)
            .map(|_| open(&server, address).expect("101"))
            .collect();
        clients.into_iter().for_each(Client::leave);
    }
    let _one = open(&server, "203.0.113.7").expect("101");
    assert_eq!(open(&server, "203.0.113.7").err(), Some(429));
}

/// With the PROXY protocol the server knows the client's address before there is a request.
fn connections_beyond_those_who_are_told_are_reset(driver: Driver) {
    let most = ["--address-connections-max", "1", "--cores", "1"];
    let proxy = ["--proxy-header", "proxy-v2"];
    let server = start(driver, &[&most, &ANY_RATE, &proxy]);
    let header = wire::proxy_for(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 1));
    let come = || {
        let mut stream = wire::connect(server.address());
        wire::send(&mut stream, &header);
        stream
    };
    let first = come();
    let inside = Client::over(first, "/echo", &[]).expect("101");
    // Every other client sends nothing, the others send a part of a request.
    let crowd: Vec<_> = (0..40)
        .map(|n| {
            // This is one segment, because all of it must arrive within the second.
            let mut stream = wire::connect(server.address());
            let part = [&header[..], &b"GET"[..n % 2 * 3]].concat();
            wire::send(&mut stream, &part);
            (stream, n % 2 == 0)
        })
        .collect();
    let mut resets = 0;
    for (mut stream, is_silent) in crowd {
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) if is_silent => assert!(said.is_empty(), "{said:?}"),
            Ok(_) => {
                let told = Response::parse(&said);
                assert_eq!((told.status, told.field("Retry-After")), (429, Some("1")));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => resets += 1,
            Err(error) => panic!("neither told nor reset: {error}"),
        }
    }
    // Eight at a time have a second each.
    assert!((1..=32).contains(&resets), "{resets} resets");
    nobody_is_being_told(&server);
    // This is also the reason of those that were answered; that they sent nothing is not.
    eventually("all have ended for their address", || {
        ended(&server, "address_connections") == 40 && ended(&server, "") == 40
    });
    let mut asks = come();
    wire::send(&mut asks, wire::upgrade("/echo").as_bytes());
    assert_eq!(Response::read_from(&mut asks).status, 429);
    inside.leave();
}

/// Such a client cannot be sent an answer.
fn client_one_too_many_of_its_address_that_finishes_no_tls_handshake_ends_for_that(driver: Driver) {
    let most = [
        "--address-connections-max",
        "1",
        "--proxy-header",
        "proxy-v2",
    ];
    let secure = Secure::start(driver, &[&TRUSTED, &most[..], &ANY_RATE].concat());
    let header = wire::proxy_for(SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 1));
    let come = || {
        let mut stream = wire::connect(secure.server.address());
        wire::send(&mut stream, &header);
        stream
    };
    let inside = Client::over(secure.over(come()), "/echo", &[]).expect("101");
    assert!(records(&mut come()).is_empty());
    eventually("it has ended for its address", || {
        secure.ended("address_connections") == 1 && secure.ended("") == 1
    });
    // Once TLS is done the client can be answered, if it has sent a part of a request.
    let say = |begun: &str| {
        let mut stream = secure.over(come());
        let mut said = Vec::new();
        if handshake(&mut stream).is_ok() {
            wire::send(&mut stream, begun.as_bytes());
            let _ = stream.read_to_end(&mut said);
        }
        said
    };
    assert!(say("").is_empty());
    // If this machine is busy and bytes arrive later than that, they count as nothing.
    eventually("a part of a request is answered", || {
        say("GET").starts_with(b"HTTP/1.1 429 ")
    });
    eventually("each has ended for its address", || {
        let refused = secure.ended("address_connections");
        refused >= 3 && secure.ended("") == refused
    });
    inside.leave();
}

fn addresses_beyond_the_most_are_let_in_uncounted(driver: Driver) {
    let bounds = ["--addresses-max", "160", "--address-connections-max", "1"];
    let server = start(driver, &[&bounds, &["--cores", "2"]]);
    let address = |n: usize| format!("198.18.{}.{}", n / 250, n % 250);
    let inside: Vec<_> = (0..400)
        .map(|n| open(&server, &address(n)).expect("101"))
        .collect();
    let samples = scrape(&server);
    let (counted, uncounted) = (
        samples["hubbub_addresses"],
        samples["hubbub_connections_uncounted_total"],
    );
    assert!((100.0..=160.0).contains(&counted), "{counted} addresses");
    assert_eq!(counted + uncounted, 400.0);
    // Addresses in the table are still held to their bound.
    let refused = (0..400).filter(|n| open(&server, &address(*n)).err() == Some(429));
    assert_eq!(refused.count() as f64, counted);
    inside.into_iter().for_each(Client::leave);
    eventually("all addresses are forgotten", || {
        scrape(&server)["hubbub_addresses"] == 0.0
    });
    thread::sleep(Duration::from_millis(10));
    open(&server, "203.0.113.7").expect("101").leave();
}

/// Connects one after the other, in several threads, each time from another address of this
/// machine, so that ports do not run out.
fn sixty_thousand_addresses_take_a_bounded_table(driver: Driver) {
    const THREADS: usize = 6;
    const EACH: usize = 10_000;
    let bounds = ["--addresses-max", "1600", "--address-rate", "1"];
    let server = start(driver, &[&bounds, &["--cores", "2"]]);
    let address = server.address();
    let asking: Vec<_> = (0..THREADS)
        .map(|thread| {
            thread::spawn(move || {
                for n in 0..EACH {
                    let client = Ipv4Addr::from_bits(0xc612_0000 + (thread * EACH + n) as u32);
                    let source = [127, 0, 1, thread as u8 + 1];
                    let mut stream = wire::connect_from(source, address);
                    let told = format!("X-Forwarded-For: {client}");
                    let request = wire::request("HEAD", "/", &[&told]);
                    wire::send(&mut stream, request.as_bytes());
                    assert_eq!(Response::read_from(&mut stream).status, 200, "{client}");
                    wire::reset(stream);
                }
            })
        })
        .collect();
    let before = process::memory_peak(server.pid());
    let mut most = 0.0_f64;
    while asking.iter().any(|thread| !thread.is_finished()) {
        most = most.max(scrape(&server)["hubbub_addresses"]);
        thread::sleep(Duration::from_millis(50));
    }
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    assert!((300.0..=1_600.0).contains(&most), "{most} addresses");
    let grown = process::memory_peak(server.pid()) - before;
    assert!(grown < 16 << 20, "{grown} bytes more");
}

/// Needs an address of this machine beside its loopback, which some sandboxes do not have.
fn client_without_a_proxy_is_counted_by_the_address_of_its_socket(driver: Driver) {
    let Some(own) = own_address() else {
        eprintln!("this machine has only its loopback");
        return;
    };
    let listen = format!("{own}:0");
    let most = ["--address-connections-max", "2", "--close-timeout", "60s"];
    let server = Server::start(
        driver,
        &[&["--listen", &listen][..], &most, &ANY_RATE].concat(),
    );
    let inside: Vec<_> = (0..2).map(|_| Client::connect(&server, "/echo")).collect();
    let refused = ask(&server, wire::upgrade("/echo"));
    assert_eq!(refused.status, 429);
    // Its claims about other addresses are not believed.
    assert_eq!(answer(&server, "203.0.113.7").status, 429);
    // The reset may arrive before the system reports the connection as established.
    let silent: Vec<_> = (0..30)
        .map(|_| TcpStream::connect(server.address()))
        .collect();
    let is_reset = |stream: &Result<TcpStream, _>| match stream {
        Ok(stream) => stream.take_error().unwrap().is_some(),
        Err(_) => true,
    };
    eventually("those beyond who are told are reset", || {
        server.log().contains("reason=\"address_connections\"") && silent.iter().any(is_reset)
    });
    drop(silent);
    nobody_is_being_told(&server);
    inside.into_iter().for_each(Client::leave);
    eventually("all have left", || {
        scrape(&server)["hubbub_connections{protocol=\"echo\"}"] == 0.0
    });
    Client::connect(&server, "/echo").leave();
}

/// Waits until only the open connections are left.
fn nobody_is_being_told(server: &Server) {
    eventually("nobody is being told", || {
        scrape(server)["hubbub_connections{protocol=\"none\"}"] == 0.0
    });
}

/// The address that this machine would send from; nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("198.51.100.1", 9)).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}
