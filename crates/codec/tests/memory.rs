//! What contexts take is what they are said to take at most: of the process's memory, with all that
//! the allocator adds. Alone in its process, so that nobody else takes any meanwhile.

#![allow(clippy::unwrap_used)]

use std::fs;

use codec::{Connection, Deflate, DeflatePolicy, Deflater, Event, Inflater, Kind, Limits};
use flate2::{Compress, Compression, FlushCompress};

/// Memory that the process can write to, in bytes (proc_pid_status(5)): never less than it uses.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmData:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

/// Memory for each of those that `make` makes, who are kept: what they would free would be taken
/// for the next.
fn memory_each<T>(kept: &mut Vec<Vec<T>>, make: impl FnOnce() -> Vec<T>) -> usize {
    let before = memory();
    let made = make();
    let taken = memory().saturating_sub(before);
    let each = taken.div_ceil(made.len());
    kept.push(made);
    each
}

/// Little of it repeats.
fn chat(bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 28) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn deflaters(level: u32, window_bits: u8) -> Vec<Deflater> {
    let message = chat(3000);
    let mut out = Vec::new();
    let made = (0..50).map(|_| {
        let mut deflater = Deflater::new(level, window_bits);
        out.clear();
        deflater.encode_next(Kind::Text, &message, &mut out);
        deflater
    });
    made.collect()
}

/// A connection whose client compresses with such a window, and what was agreed.
fn open(window_bits: u8) -> (Connection, Deflate) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits={window_bits}\r\n\r\n"
    );
    let policy = DeflatePolicy {
        window_bits: 15,
        server_takeover: false,
        client_takeover: true,
    };
    let mut connection = Connection::new();
    let mut request = request.into_bytes();
    let mut inflater = Inflater::default();
    let step = connection.receive(&mut request, &Limits::default(), &mut inflater);
    let Some(Event::Request(request)) = step.event else {
        panic!("no request but {:?}", step.event);
    };
    let (accept, deflate) = (request.upgrade().unwrap().accept, request.deflate(&policy));
    connection.accept(&accept, None, deflate, &mut Vec::new());
    (connection, deflate.unwrap())
}

/// The client's messages as frames, which are masked with zeros: more than its window holds.
fn frames(window_bits: u8) -> Vec<Vec<u8>> {
    let mut stream = Compress::new_with_window_bits(Compression::fast(), false, window_bits.max(9));
    let window_bytes = 1 << window_bits.max(9);
    let text = chat(2 * window_bytes);
    let frames = text
        .chunks_exact((window_bytes / 8).max(300))
        .map(|message| {
            let mut payload = Vec::with_capacity(2 * message.len());
            let flush = FlushCompress::Sync;
            stream.compress_vec(message, &mut payload, flush).unwrap();
            payload.truncate(payload.len() - 4);
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            assert!(payload.len() > 125, "shorter ones have another header");
            [&[0xc1, 0xfe][..], &length, &[0; 4], &payload].concat()
        });
    frames.collect()
}

/// Connections that have come to keep all that their client's window holds, side by side.
fn connections(window_bits: u8) -> Vec<Connection> {
    let mut inflater = Inflater::default();
    let mut all: Vec<_> = (0..500).map(|_| open(window_bits).0).collect();
    for frame in frames(window_bits) {
        for connection in &mut all {
            let mut input = frame.clone();
            let limits = Limits::default();
            let mut step = connection.receive(&mut input, &limits, &mut inflater);
            while step.event.is_none() {
                step = connection.receive(&mut [], &limits, &mut inflater);
            }
            assert!(matches!(step.event, Some(Event::Message(_))));
            connection.receive(&mut [], &Limits::default(), &mut inflater);
        }
    }
    all
}

#[test]
fn contexts_take_no_more_than_is_said() {
    let mut kept = Vec::new();
    for (level, window_bits) in [(1, 9), (1, 12), (1, 15), (9, 9), (9, 12), (9, 15)] {
        let most = Deflater::bytes_max(window_bits);
        let each = memory_each(&mut kept, || deflaters(level, window_bits));
        assert!(
            (most - most / 10..=most).contains(&each),
            "{window_bits} bits at level {level}: {each} of {most} B"
        );
    }
    let mut kept = Vec::new();
    for window_bits in 8..=15 {
        let most = open(window_bits).1.contexts_bytes_max();
        let each = memory_each(&mut kept, || connections(window_bits));
        assert!(each <= most, "{window_bits} bits: {each} of {most} B");
    }
}
