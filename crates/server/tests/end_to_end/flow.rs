//! Echoes to a peer that does not read, or reads slowly: its queue is bounded, and nothing is lost.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    harness::{Driver, PATIENCE, Server},
    process,
    wire::{self, BINARY, PING, PONG, Raw, TEXT},
};

const MESSAGE: usize = 32 << 10;

on_both_drivers![
    echo_to_a_peer_that_does_not_read_pauses_and_goes_on,
    echo_to_a_peer_that_reads_slowly_takes_bounded_memory,
    echoes_of_many_peers_that_stop_and_go_on_all_arrive,
    pings_of_a_peer_that_does_not_read_take_bounded_memory,
];

/// This many messages differ, then they repeat.
const DIFFERENT: usize = 61;

/// The bytes of the different messages.
fn contents() -> Vec<Vec<u8>> {
    (0..DIFFERENT).map(|n| vec![n as u8; MESSAGE]).collect()
}

/// Sends this many messages from a thread of its own, and reports how many have left.
fn send_all(raw: &Raw, messages: usize) -> (Arc<AtomicUsize>, JoinHandle<()>) {
    let mut stream = raw.stream.try_clone().unwrap();
    stream.set_write_timeout(None).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    // They are encoded beforehand, because the server must be the slower side.
    let frames: Vec<_> = contents()
        .iter()
        .map(|content| wire::frame(BINARY, content))
        .collect();
    let sending = thread::spawn(move || {
        for number in 0..messages {
            stream.write_all(&frames[number % DIFFERENT]).unwrap();
            counted.store(number + 1, Ordering::Relaxed);
        }
    });
    (sent, sending)
}

/// Reads all of them, in order, with a pause after every few.
fn receive_all(raw: &mut Raw, messages: usize, pause: Duration) {
    let contents = contents();
    for number in 0..messages {
        if number % 4 == 0 {
            thread::sleep(pause);
        }
        let content = &contents[number % DIFFERENT];
        assert!(raw.message().payload == *content, "message {number}");
    }
}

/// Waits until no more messages leave, and returns how many have left.
fn standstill(sent: &AtomicUsize) -> usize {
    let mut before = 0;
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = sent.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

fn echo_to_a_peer_that_does_not_read_pauses_and_goes_on(driver: Driver) {
    let messages = (64 << 20) / MESSAGE;
    let server = Server::start(driver, &["--write-timeout", "60s"]);
    let stream = wire::connect_narrow(server.address(), 16 << 10);
    let mut raw = Raw::over(stream, wire::upgrade("/echo"));
    let memory = process::memory_peak(server.pid());

    let (sent, sending) = send_all(&raw, messages);
    let sent = standstill(&sent);
    assert!(sent < messages, "the peer is read without bound");
    let grown = process::memory_peak(server.pid()) - memory;
    assert!(grown < 8 << 20, "{grown} bytes more for one peer");

    receive_all(&mut raw, messages, Duration::ZERO);
    sending.join().unwrap();
}

/// The queue never runs empty here: it is longer than what the socket accepts at a time, and is
/// filled as fast as it is sent.
fn echo_to_a_peer_that_reads_slowly_takes_bounded_memory(driver: Driver) {
    let messages = (128 << 20) / MESSAGE;
    let flags = ["--write-timeout", "60s", "--send-queue-bytes-max", "8MiB"];
    let server = Server::start(driver, &flags);
    let stream = wire::connect_narrow(server.address(), 16 << 10);
    let mut raw = Raw::over(stream, wire::upgrade("/echo"));
    let memory = process::memory_peak(server.pid());

    let (sent, sending) = send_all(&raw, messages);
    standstill(&sent);
    receive_all(&mut raw, messages, Duration::from_millis(2));
    sending.join().unwrap();
    let grown = process::memory_peak(server.pid()) - memory;
    assert!(grown < 64 << 20, "{grown} bytes more for one peer");
}

/// Each is blocked, unblocked, paused and resumed many times, all at the same time.
fn echoes_of_many_peers_that_stop_and_go_on_all_arrive(driver: Driver) {
    let messages = (8 << 20) / MESSAGE;
    let queue = ["--send-queue-bytes-max", "128KiB"];
    let server = Server::start(driver, &[&["--cores", "2"], &queue[..]].concat());
    let peers: Vec<_> = (0..12)
        .map(|n| {
            let stream = wire::connect_narrow(server.address(), 4096 << (n % 5));
            let mut raw = Raw::over(stream, wire::upgrade("/echo"));
            let (_, sending) = send_all(&raw, messages);
            let pause = Duration::from_millis(n % 4);
            let receiving = thread::spawn(move || receive_all(&mut raw, messages, pause));
            (sending, receiving)
        })
        .collect();
    for (sending, receiving) in peers {
        sending.join().unwrap();
        receiving.join().unwrap();
    }
}

/// Behind a full socket, only the latest ping gets a pong.
fn pings_of_a_peer_that_does_not_read_take_bounded_memory(driver: Driver) {
    let pings = 100_000;
    let server = Server::start(driver, &["--write-timeout", "60s"]);
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut raw = Raw::over(stream, wire::upgrade("/echo"));
    let memory = process::memory_peak(server.pid());

    let mut sender = raw.stream.try_clone().unwrap();
    let (read_on, may_read_on) = mpsc::channel();
    let sending = thread::spawn(move || {
        let mut number = 0_u32;
        for at in 0..pings / 1000 {
            let mut bytes = Vec::new();
            for _ in 0..1000 {
                let mut payload = [0; 125];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                bytes.extend(wire::frame(PING, &payload));
                number += 1;
            }
            sender.write_all(&bytes).unwrap();
            if at + 1 == pings / 1000 {
                read_on.send(()).unwrap();
            }
        }
        sender.write_all(&wire::frame(TEXT, b"the end")).unwrap();
    });
    // The server reads all of them, although it sends no pong.
    may_read_on.recv_timeout(PATIENCE).unwrap();
    let grown = process::memory_peak(server.pid()) - memory;
    assert!(grown < 8 << 20, "{grown} bytes more for one peer");

    let mut latest = None;
    let mut has_ended = false;
    while latest < Some(pings - 1) || !has_ended {
        let frame = raw.frame();
        if frame.opcode() == PONG {
            let number = u32::from_be_bytes(*frame.payload.first_chunk().unwrap());
            assert!(latest < Some(number), "{number} after {latest:?}");
            latest = Some(number);
        } else {
            assert_eq!(frame.payload, b"the end");
            has_ended = true;
        }
    }
    sending.join().unwrap();
}
