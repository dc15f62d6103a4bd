//! Peers that announce more than they send: memory follows what has arrived, and a peer that does
//! not go on is ended in time.

use std::{io::Write, net::TcpStream, thread, time::Duration};

use crate::{
    baseline::{Baseline, loses_no_memory},
    client::{scrape, serves},
    harness::{Driver, Server, eventually},
    process,
    wire::{self, BINARY, Heard, Raw},
};

on_both_drivers![
    length_of_any_size_is_answered_by_its_rule_wherever_it_is_cut,
    announced_messages_of_4000_peers_take_no_memory,
    heads_of_1000_peers_take_what_has_come_and_end_in_time,
    messages_of_500_peers_that_lack_a_byte_take_what_has_come_and_end_in_time,
];

/// The header of a masked binary frame, with its length in this many bytes.
fn header(length: u64, length_bytes: usize) -> Vec<u8> {
    let mut header = vec![0x80 | BINARY];
    match length_bytes {
        1 => header.push(0x80 | u8::try_from(length).unwrap()),
        2 => {
            header.push(0x80 | 126);
            header.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header.extend([0; 4]);
    header
}

fn length_of_any_size_is_answered_by_its_rule_wherever_it_is_cut(driver: Driver) {
    let server = Server::start(driver, &[]);
    let lengths = [
        (125, 1, None),
        (126, 2, None),
        (65_535, 2, None),
        (65_536, 8, None),
        // These exceed the permitted length.
        (65_537, 8, Some(1009)),
        (1 << 31, 8, Some(1009)),
        (1 << 32, 8, Some(1009)),
        ((1 << 63) - 1, 8, Some(1009)),
        // RFC 6455 section 5.2: "the most significant bit MUST be 0", "the minimal number of bytes".
        (1 << 63, 8, Some(1002)),
        (u64::MAX, 8, Some(1002)),
        (u64::MAX - 13, 8, Some(1002)),
        (0, 2, Some(1002)),
        (125, 2, Some(1002)),
        (125, 8, Some(1002)),
        (65_535, 8, Some(1002)),
    ];
    for (length, length_bytes, code) in lengths {
        let header = header(length, length_bytes);
        for cut in 1..header.len() {
            let mut raw = Raw::open(&server, "/echo");
            raw.send(&header[..cut]);
            raw.send(&header[cut..]);
            if let Some(code) = code {
                let close = raw.frame();
                assert_eq!(close.close_code(), code, "{length}, cut at {cut}");
                assert_eq!(raw.next(), Heard::End);
            } else {
                raw.send(vec![0; length as usize]);
                assert_eq!(raw.frame().payload.len() as u64, length);
            }
        }
    }
    assert!(serves(&server));
}

/// Each peer announces 16 MiB, together 62 GiB. Allocated memory is not resident until it is used,
/// but it would count here.
fn announced_messages_of_4000_peers_take_no_memory(driver: Driver) {
    const PEERS: usize = 4_000;
    process::allow_descriptors(PEERS + 1_000);
    let flags = ["--cores", "2", "--message-bytes-max", "16MiB"];
    let server = Server::start(driver, &flags);
    let mut begun = wire::upgrade("/echo").into_bytes();
    begun.extend(header(16 << 20, 8));
    begun.push(b'x');
    let echo = r#"hubbub_connections{protocol="echo"}"#;
    let asked_for = process::address_space_peak(server.pid());
    loses_no_memory(&server, |baseline| {
        let streams = (0..PEERS).map(|_| {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, &begun);
            stream
        });
        let _attackers: Vec<_> = streams.collect();
        eventually("all are open", || {
            scrape(&server)[echo] == PEERS as f64 + 1.0
        });
        baseline.serves_others();
        let grown = baseline.grown();
        assert!(grown < PEERS * 4096, "{grown} bytes more");
    });
    let asked_for = process::address_space_peak(server.pid()) - asked_for;
    assert!(asked_for < 1 << 30, "{asked_for} bytes were asked for");
}

/// Each peer sends most of the largest permitted head, and then a byte from time to time.
fn heads_of_1000_peers_take_what_has_come_and_end_in_time(driver: Driver) {
    const PEERS: usize = 1_000;
    process::allow_descriptors(PEERS + 1_000);
    let timeouts = ["--handshake-timeout", "5s", "--close-timeout", "1s"];
    let server = Server::start(driver, &[&timeouts[..], &["--cores", "2"]].concat());
    let mut baseline = Baseline::of(&server);
    let mut begun = wire::request("GET", "/echo", &["X: y"]).into_bytes();
    begun.truncate(begun.len() - 4);
    begun.resize(15 << 10, b'y');
    let mut attackers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, &begun);
            stream
        })
        .collect();
    let ended = r#"hubbub_connections_ended_total{code="none",initiator="server",reason="handshake_timeout"}"#;
    let mut held = 0.0_f64;
    eventually("all have been ended", || {
        baseline.serves_others();
        let drip = |stream: &mut TcpStream| drop(stream.write(b"y"));
        attackers.iter_mut().for_each(drip);
        thread::sleep(Duration::from_millis(100));
        let samples = scrape(&server);
        held = held.max(samples["hubbub_unfinished_held_bytes"]);
        samples[ended] == PEERS as f64
    });
    // This is the head, with the growth of its buffer by doubling.
    let heads = (PEERS * (31 << 10)) as f64;
    assert!(held > 0.0 && held <= heads, "{held} bytes were held");
    // The process has the connections themselves, what the allocator loses, and the scrapes besides.
    let grown = baseline.grown();
    assert!(grown < PEERS * (36 << 10), "{grown} bytes more");
    // The server has ended these connections, not the peers.
    baseline.is_restored();
    drop(attackers);
}

/// The largest permitted message, in fragments, without its last byte.
fn messages_of_500_peers_that_lack_a_byte_take_what_has_come_and_end_in_time(driver: Driver) {
    const PEERS: usize = 500;
    const MOST: usize = 64 << 10;
    process::allow_descriptors(PEERS + 1_000);
    let timeouts = ["--message-timeout", "3s", "--close-timeout", "1s"];
    let server = Server::start(driver, &[&timeouts[..], &["--cores", "2"]].concat());
    let mut begun = wire::upgrade("/rooms/r").into_bytes();
    begun.extend(wire::masked(BINARY, &[0; MOST / 2]));
    let rest = wire::masked(0x80, &[0; MOST / 2]);
    begun.extend(&rest[..rest.len() - 1]);
    let ended = r#"hubbub_connections_ended_total{code="1008",initiator="server",reason="message_timeout"}"#;
    let mut all = 0.0;
    loses_no_memory(&server, |baseline| {
        let streams = (0..PEERS).map(|_| {
            let mut stream = wire::connect(server.address());
            wire::send(&mut stream, &begun);
            stream
        });
        let _attackers: Vec<_> = streams.collect();
        all += PEERS as f64;
        eventually("all have been closed", || {
            baseline.serves_others();
            scrape(&server)[ended] == all
        });
        let grown = baseline.grown();
        assert!(grown < PEERS * (2 * MOST + 4096), "{grown} bytes more");
        assert!(grown > PEERS * MOST / 8, "{grown} bytes: no attack");
    });
}
