//! Peers that send arbitrary bytes: the process goes on, and other connections notice nothing.

use std::{
    io::{ErrorKind, Read},
    net::Shutdown,
    time::Duration,
};

use crate::{
    client::{Client, serves},
    harness::{Driver, Server},
    wire,
};

const CONNECTIONS: u64 = 500;

on_both_drivers![garbage_from_many_connections_disturbs_nobody];

/// Xorshift: the same numbers each time, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// The bytes of one peer: noise, a request with errors, or a good request and frames with errors.
fn garbage(random: &mut Random) -> Vec<u8> {
    let length = random.below(2000);
    let path = ["/echo", "/rooms/good", "/"][random.below(3)];
    match random.below(5) {
        0 => random.bytes(length),
        1 => {
            let mut request = wire::upgrade(path).into_bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(request.len());
                request[at] = random.next() as u8;
            }
            request
        }
        2 => {
            let mut bytes = wire::upgrade(path).into_bytes();
            bytes.extend(random.bytes(length));
            bytes
        }
        3 => {
            let mut bytes = wire::upgrade("/echo").into_bytes();
            let frames = bytes.len();
            for _ in 0..random.below(8) {
                let length = random.below(400);
                let payload = random.bytes(length);
                bytes.extend(wire::masked(random.next() as u8 & 0x8f, &payload));
            }
            if bytes.len() > frames {
                let at = frames + random.below(bytes.len() - frames);
                bytes[at] ^= 1 << random.below(8);
            }
            bytes
        }
        _ => {
            let mut bytes = wire::upgrade(path).into_bytes();
            bytes.truncate(random.below(bytes.len()));
            bytes
        }
    }
}

fn garbage_from_many_connections_disturbs_nobody(driver: Driver) {
    let flags = ["--cores", "2", "--handshake-timeout", "500ms"];
    let server = Server::start(driver, &flags);
    let mut good = Client::connect(&server, "/echo");
    for seed in 1..=CONNECTIONS {
        // Shown if the test fails.
        println!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let bytes = garbage(&mut random);
        let mut stream = wire::connect(server.address());
        let middle = random.below(bytes.len() + 1);
        wire::send(&mut stream, &bytes[..middle]);
        wire::send(&mut stream, &bytes[middle..]);
        match random.below(3) {
            0 => wire::reset(stream),
            1 => {}
            _ => hear_out(&mut stream),
        }
        good.send(format!("after {seed}"));
        assert_eq!(good.text(), format!("after {seed}"));
    }
    assert!(serves(&server));
}

/// Reads until the server ends the connection, or sends nothing more.
fn hear_out(stream: &mut std::net::TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                let expected = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset];
                assert!(expected.contains(&error.kind()), "{error}");
                return;
            }
        }
    }
}
