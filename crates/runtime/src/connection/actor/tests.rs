//! Tests of a turn: what it takes of what has arrived.

use std::net::TcpStream;

use codec::{
    Connection as Protocol, DeflatePolicy, Deflater, Event, Kind, Limits, Opcode,
    frame::encode_masked,
};

use super::*;
use crate::{
    config::Config,
    fixture::{ROOM, at, attend, configure, enter, on_each_driver, open_with},
    ids::ConnectionKey,
    reactor::State,
};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// What the codec lets a client say, and what it does not.
const PING: u8 = 0x89;
const TEXT: u8 = 0x81;
const COMPRESSED: u8 = 0xc1;
const RECEIVE_BYTES: usize = 64 << 10;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(Opcode::Text, true, [1, 2, 3, 4], payload, &mut frame);
    frame[0] = first;
    frame
}

fn websocket(compresses: bool) -> Protocol {
    let mut protocol = Protocol::new();
    let mut request = REQUEST.to_owned().into_bytes();
    let step = protocol.receive(&mut request, &Limits::default(), &mut Inflater::default());
    let Some(Event::Request(request)) = step.event else {
        panic!("no request but {step:?}");
    };
    let policy = DeflatePolicy {
        window_bits: 15,
        server_takeover: false,
        client_takeover: true,
    };
    let deflate = request.deflate(&policy).filter(|_| compresses);
    let accept = request.upgrade().unwrap().accept;
    protocol.accept(&accept, None, deflate, &mut Vec::new());
    protocol
}

/// An open echo that has received this, or a member of a room.
fn receiving(
    state: &mut State,
    compresses: bool,
    in_room: bool,
    bytes: &[u8],
) -> (ConnectionKey, TcpStream) {
    let limits = Limits {
        message_fragments_max: 0,
        ..Limits::default()
    };
    let config = Config {
        limits,
        publish_window_bytes: usize::MAX,
        send_queue_bytes_max: usize::MAX,
        ..Config::default()
    };
    configure(state, config);
    state.parts.rooms.requests.allow(usize::MAX);
    let (key, peer) = open_with(state, |message, outlet| match outlet.room() {
        Some(room) => assert!(
            outlet
                .publish(room, message.kind, message.payload)
                .is_some()
        ),
        None => outlet.send(message.kind, message.payload),
    });
    if in_room {
        enter(state, key, ROOM);
    }
    let connection = at(state, key);
    connection.protocol = websocket(compresses);
    connection.rare.keep_leftover(Leftover::of(bytes));
    (key, peer)
}

/// How much of this one turn takes.
fn taken_of(state: &mut State, compresses: bool, in_room: bool, bytes: &[u8]) -> (usize, Flow) {
    let (key, _peer) = receiving(state, compresses, in_room, bytes);
    let flow = attend(state, key);
    let rest = at(state, key).rare.take_leftover().rest().len();
    state.remove(key, Now::default());
    (bytes.len() - rest, flow)
}

#[test]
fn turn_takes_from_a_connection_what_costs_no_more_than_its_share() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let fill = |frame: Vec<u8>| {
            let times = RECEIVE_BYTES / frame.len();
            (frame.len(), frame.repeat(times))
        };
        for (what, frames_most, in_room, frame) in [
            ("messages of a byte", 127, false, frame(TEXT, b"x")),
            ("empty messages", 127, false, frame(TEXT, b"")),
            ("pings", 127, false, frame(PING, b"")),
            ("pongs", 127, false, frame(0x8a, b"")),
            ("publications of a byte", 64, true, frame(TEXT, b"x")),
            (
                "messages of a kibibyte",
                43,
                false,
                frame(TEXT, &[b'x'; 1024]),
            ),
        ] {
            let (frame_bytes, bytes) = fill(frame);
            let (taken, flow) = taken_of(state, false, in_room, &bytes);
            assert_eq!(
                (taken / frame_bytes, flow),
                (frames_most, Flow::ShareUsedUp),
                "{what}"
            );
        }
        let fragments = [frame(0x01, b"x"), frame(0, b"x").repeat(9_000)].concat();
        let (taken, flow) = taken_of(state, false, false, &fragments);
        assert_eq!((taken / 7, flow), (106 * 16, Flow::ShareUsedUp));
        // A message as large as the share is one turn's, with what came behind it.
        let large = [frame(TEXT, &[b'x'; 60_000]), frame(TEXT, b"x")].concat();
        let (taken, flow) = taken_of(state, false, false, &large);
        assert_eq!((taken, flow), (large.len(), Flow::Wait));
    });
}

/// Some are measured: no more of them, and one at least.
#[test]
fn turn_takes_of_what_came_compressed_no_more_than_its_share() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let small = frame(COMPRESSED, &[0x4a, 0x04, 0x00]);
        let small_bytes = small.len();
        let small = small.repeat(RECEIVE_BYTES / small_bytes);
        let bomb = {
            let mut of_server = Vec::new();
            let plain = [b'x'; RECEIVE_BYTES];
            Deflater::new(9, 15).encode_message(Kind::Text, &plain, &mut of_server);
            frame(COMPRESSED, &of_server[2..])
        };
        let bomb_bytes = bomb.len();
        let bombs = bomb.repeat(100);
        for (what, frames_most, frame_bytes, bytes) in [
            ("messages of a byte", 127, small_bytes, small),
            ("bombs", 1, bomb_bytes, bombs),
        ] {
            let (taken, flow) = taken_of(state, true, false, &bytes);
            let frames = taken / frame_bytes;
            assert!((1..=frames_most).contains(&frames), "{what}: {frames}");
            assert_eq!(flow, Flow::ShareUsedUp, "{what}");
        }
    });
}

/// Blocks without content: their message is taken at once, and inflated over many turns.
#[test]
fn message_that_inflates_to_nothing_takes_many_turns_and_arrives() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let blocks = [&b"\0\0\0\xff\xff".repeat(8_000)[..], &[0]].concat();
        let bytes = [frame(COMPRESSED, &blocks), frame(TEXT, b"behind it")].concat();
        let (key, _peer) = receiving(state, true, false, &bytes);
        let mut turns = 1;
        while attend(state, key) == Flow::ShareUsedUp {
            turns += 1;
        }
        // 40 kibibytes, of which a turn inflates nine at most.
        assert!(turns >= 5, "{turns}");
        let tally = &state.parts.counters.tally;
        assert_eq!(tally.frames_received.text, 2);
        assert_eq!(tally.payload_received.bytes(), 9);
        assert_eq!(tally.message_bytes.count(), 2);
    });
}

/// What is kept is not copied again from turn to turn.
#[test]
fn rest_of_a_receive_stays_where_it_is_from_turn_to_turn() {
    on_each_driver(async |core| {
        let state = &mut *core.state.borrow_mut();
        let bytes = frame(TEXT, b"x").repeat(9_000);
        let (key, _peer) = receiving(state, false, false, &bytes);
        let place = |state: &mut State| {
            let mut leftover = at(state, key).rare.take_leftover();
            let rest = leftover.rest();
            let place = (rest.len(), rest.as_ptr() as usize);
            at(state, key).rare.keep_leftover(leftover);
            place
        };
        let (mut before, mut place_before) = place(state);
        for _ in 0..3 {
            assert_eq!(attend(state, key), Flow::ShareUsedUp);
            let (left, place_now) = place(state);
            assert_eq!(before - left, place_now - place_before);
            (before, place_before) = (left, place_now);
        }
    });
}
