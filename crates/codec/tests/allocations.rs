//! What connections take of the heap, allocation by allocation: nothing while they are idle, and
//! nothing for a message that comes whole. Alone in its process, because all allocations are counted.

#![allow(clippy::unwrap_used)]

use std::alloc::System;

use codec::frame::encode_masked;
use codec::{CloseCode, Connection, Event, Inflater, Limits, Opcode, Phase};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// A peer that cannot be told from one that speaks to a socket, and the buffers of its core.
struct Peer {
    connection: Connection,
    inflater: Inflater,
    out: Vec<u8>,
    receive: Vec<u8>,
    events: usize,
}

impl Peer {
    fn open(takes_compressed: bool) -> Self {
        let mut peer = Self {
            connection: Connection::new(),
            inflater: Inflater::default(),
            out: Vec::with_capacity(1 << 12),
            receive: Vec::with_capacity(1 << 16),
            events: 0,
        };
        let mut request = REQUEST.to_vec();
        let step = peer
            .connection
            .receive(&mut request, &Limits::default(), &mut peer.inflater);
        let Some(Event::Request(request)) = step.event else {
            panic!("no request but {:?}", step.event);
        };
        let policy = codec::DeflatePolicy {
            window_bits: 15,
            server_takeover: false,
            client_takeover: false,
        };
        let accept = request.upgrade().unwrap().accept;
        let deflate = request.deflate(&policy).filter(|_| takes_compressed);
        drop(request);
        let connection = &mut peer.connection;
        connection.accept(&accept, None, deflate, &mut peer.out);
        peer
    }

    /// Reads what comes in receives of at most so many bytes, and sends what is owed.
    fn take(&mut self, wire: &[u8], receive_bytes: usize) {
        for piece in wire.chunks(receive_bytes) {
            self.receive.clear();
            self.receive.extend_from_slice(piece);
            let mut rest = &mut self.receive[..];
            loop {
                let step = self
                    .connection
                    .receive(rest, &Limits::default(), &mut self.inflater);
                let consumed = step.consumed;
                let is_silent = step.event.is_none();
                self.events += usize::from(!is_silent);
                self.out.clear();
                self.connection.transmit(&mut self.out);
                rest = &mut rest[consumed..];
                if is_silent && rest.is_empty() && !self.connection.is_inflating() {
                    break;
                }
            }
        }
    }
}

fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    encode_masked(opcode, fin, [1, 2, 3, 4], payload, &mut wire);
    wire
}

/// The allocations that `run` makes, and how many bytes of them it keeps.
fn heap_of(run: impl FnOnce()) -> (usize, isize) {
    let region = Region::new(HEAP);
    run();
    let change = region.change();
    let kept = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    (change.allocations + change.reallocations, kept)
}

fn check_message_that_comes_whole_allocates_nothing() {
    for takes_compressed in [false, true] {
        let mut peer = Peer::open(takes_compressed);
        let wire = [
            frame(Opcode::Text, true, b"text"),
            frame(Opcode::Binary, true, &[7; 20_000]),
            frame(Opcode::Pong, true, b"pong"),
            frame(Opcode::Text, true, b""),
        ]
        .concat();
        let heap = heap_of(|| peer.take(&wire, wire.len()));
        assert_eq!((heap, peer.events), ((0, 0), 4));
    }
}

fn check_idle_connection_keeps_nothing() {
    let fragments = [
        frame(Opcode::Text, false, "θόρυ".as_bytes()),
        frame(Opcode::Ping, true, b"between"),
        frame(Opcode::Continuation, true, "βος".as_bytes()),
    ]
    .concat();
    // The empty message, as RFC 7692 section 7.2.3.6 has it, with RSV1 set.
    let mut compressed = frame(Opcode::Text, true, &[0]);
    compressed[0] |= 0x40;
    let traffic = [
        ("message", frame(Opcode::Text, true, b"text"), 1),
        ("ping", frame(Opcode::Ping, true, &[9; 125]), 1),
        ("fragments", fragments, 2),
        ("compressed", compressed, 1),
    ];
    for (name, wire, events) in &traffic {
        for receive_bytes in [1, 2, 7, wire.len()] {
            let mut peer = Peer::open(true);
            // The core's inflater keeps its own stream from its first use on.
            peer.take(&traffic[3].1, 100);
            let before = peer.events;
            let (_, kept) = heap_of(|| peer.take(wire, receive_bytes));
            assert_eq!(kept, 0, "{name} in receives of {receive_bytes}");
            assert_eq!(peer.events - before, *events, "{name}");
            assert_eq!(peer.connection.buffered_bytes(), 0, "{name}");
        }
    }
}

fn check_open_connection_takes_no_heap() {
    let mut connections = Vec::with_capacity(100);
    let (made, kept) = heap_of(|| {
        let opened = (0..100).map(|_| Peer::open(false).connection);
        connections.extend(opened);
    });
    assert!(made > 0, "parsing a request allocates");
    assert_eq!(kept, 0);
}

fn check_what_is_in_part_is_counted_to_the_byte() {
    let wire = [
        frame(Opcode::Text, false, b"begun"),
        frame(Opcode::Continuation, true, b"ended"),
        frame(Opcode::Ping, true, b"ping"),
    ]
    .concat();
    for end in 1..wire.len() {
        let mut peer = Peer::open(false);
        let (_, kept) = heap_of(|| peer.take(&wire[..end], 3));
        let counted = peer.connection.buffered_bytes() as isize;
        assert_eq!(kept, counted, "after {end} bytes");
    }
    for end in 1..REQUEST.len() {
        let mut connection = Connection::new();
        let mut begun = REQUEST[..end].to_vec();
        let (limits, mut inflater) = (Limits::default(), Inflater::default());
        let (_, kept) = heap_of(|| {
            connection.receive(&mut begun, &limits, &mut inflater);
        });
        assert_eq!(kept, connection.buffered_bytes() as isize, "after {end}");
    }
}

fn check_closed_connection_keeps_nothing() {
    let mut peer = Peer::open(false);
    let wire = [
        frame(Opcode::Ping, true, b"owed"),
        frame(Opcode::Text, false, b"never ended"),
    ]
    .concat();
    let (_, kept) = heap_of(|| {
        peer.take(&wire, 3);
        let code = CloseCode::NORMAL;
        assert!(peer.connection.close(code, "", &mut peer.out));
        peer.take(&frame(Opcode::Close, true, b""), 3);
    });
    assert_eq!((kept, peer.connection.phase()), (0, Phase::Closed));
}

fn check_all() {
    check_message_that_comes_whole_allocates_nothing();
    check_idle_connection_keeps_nothing();
    check_open_connection_takes_no_heap();
    check_what_is_in_part_is_counted_to_the_byte();
    check_closed_connection_keeps_nothing();
}

/// One test, because others would run at the same time, and allocate. The harness's own thread may
/// allocate meanwhile as well, once; what connections take is taken each time.
#[test]
fn heap_of_connections_is_what_is_said() {
    const TRIES: usize = 10;
    for _ in 1..TRIES {
        if std::panic::catch_unwind(check_all).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    check_all();
}
