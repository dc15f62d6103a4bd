//! permessage-deflate end to end: which peers get it, how it is encoded, and what is refused.
//!
//! The client's half is a zlib stream with its own context, so that none of the server's code
//! checks the server.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::{
    client::{Client, scrape},
    harness::{Driver, Server, eventually},
    internal::check,
    reload::Reloading,
    wire::{self, BINARY, Frame, PING, Raw, TEXT, UPGRADE},
};

on_both_drivers![
    extension_is_agreed_only_where_it_is_on_and_offered,
    echo_is_compressed_both_ways_in_every_mode,
    message_that_is_short_or_does_not_shrink_is_sent_as_it_is,
    room_tells_each_peer_in_its_own_form_and_in_one_order,
    room_compresses_once_however_many_hear_it,
    room_keeps_no_context_for_what_it_sends,
    bomb_is_closed_with_1009_at_one_byte_too_many,
    bombs_that_are_permitted_take_a_turn_of_their_own_each_few,
    bytes_that_are_no_deflate_close_the_connection,
    messages_that_end_as_no_rfc_says_are_taken,
    reserved_bit_without_the_extension_is_1002,
    compression_is_turned_off_and_on_for_who_is_connected,
    subscriber_that_reads_slowly_gets_whole_compressed_frames,
];

/// The offer that browsers send.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
pub const RSV1: u8 = 0x40;

/// A client that compresses everything it sends, if it may.
pub struct Peer<S = TcpStream> {
    pub raw: Raw<S>,
    /// The extensions of the 101.
    agreed: Option<String>,
    deflate: Compress,
    inflate: Decompress,
}

/// The request of a handshake with this offer.
pub fn offering(path: &str, offer: &str) -> String {
    let field = format!("Sec-WebSocket-Extensions: {offer}");
    wire::request("GET", path, &[&UPGRADE[..], &[&field]].concat())
}

impl Peer {
    pub fn open(server: &Server, path: &str, offer: &str) -> Self {
        Self::over(wire::connect(server.address()), path, offer)
    }
}

impl<S: Read + Write> Peer<S> {
    pub fn over(stream: S, path: &str, offer: &str) -> Self {
        let raw = Raw::over(stream, offering(path, offer));
        let agreed = raw.head.lines().find_map(|line| {
            let value = line.strip_prefix("Sec-WebSocket-Extensions: ")?;
            Some(value.to_owned())
        });
        let window = agreed.as_deref().and_then(|agreed| {
            let (_, bits) = agreed.split_once("client_max_window_bits=")?;
            bits.split(';').next()?.trim().parse().ok()
        });
        let window = window.unwrap_or(15);
        Self {
            raw,
            agreed,
            deflate: Compress::new_with_window_bits(Compression::best(), false, window),
            inflate: Decompress::new(false),
        }
    }

    /// Whether the 101 contains this parameter.
    pub fn has(&self, parameter: &str) -> bool {
        let agreed = self.agreed.as_deref().unwrap_or_default();
        agreed.split(';').any(|it| it.trim() == parameter)
    }

    /// A compressed message of the client, which refers to earlier ones unless that was forbidden.
    fn compress(&mut self, payload: &[u8]) -> Vec<u8> {
        if payload.is_empty() {
            // If it is flushed twice without input, zlib writes nothing (RFC 7692 section 7.2.3.6).
            return vec![0];
        }
        if self.has("client_no_context_takeover") {
            self.deflate.reset();
        }
        let mut out = Vec::with_capacity(payload.len() + 1024);
        let flush = FlushCompress::Sync;
        self.deflate.compress_vec(payload, &mut out, flush).unwrap();
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    }

    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        let compressed = self.compress(payload);
        self.raw
            .send(wire::masked(0x80 | RSV1 | opcode, &compressed));
    }

    /// The next message: its payload, whether it was compressed, and its size on the wire.
    pub fn receive(&mut self) -> (Vec<u8>, Option<usize>) {
        let frame = self.raw.message();
        assert!(matches!(frame.opcode(), TEXT | BINARY), "{frame:?}");
        if frame.first & RSV1 == 0 {
            return (frame.payload, None);
        }
        let bytes = frame.payload.len();
        (self.decompress(&frame), Some(bytes))
    }

    fn decompress(&mut self, frame: &Frame) -> Vec<u8> {
        if self.has("server_no_context_takeover") {
            self.inflate.reset(false);
        }
        let input = [&frame.payload[..], &TAIL].concat();
        let mut out = Vec::with_capacity(4 << 20);
        let before = self.inflate.total_in();
        let flush = FlushDecompress::Sync;
        self.inflate
            .decompress_vec(&input, &mut out, flush)
            .unwrap();
        let taken = self.inflate.total_in() - before;
        assert_eq!(taken, input.len() as u64, "all of it");
        out
    }
}

/// Text with few repetitions that is still compressible.
pub fn chat(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_769) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!(
            "{{\"user\":{},\"text\":\"hello {}\"}},",
            state >> 20,
            state >> 9
        );
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn extension_is_agreed_only_where_it_is_on_and_offered(driver: Driver) {
    let server = Server::start(driver, &[]);
    for path in ["/echo", "/rooms/off"] {
        assert_eq!(Peer::open(&server, path, OFFER).agreed, None);
    }
    let server = Server::start(driver, &["--compression", "on"]);
    for path in ["/echo", "/rooms/on"] {
        let peer = Peer::open(&server, path, OFFER);
        assert!(peer.has("permessage-deflate"), "{:?}", peer.agreed);
        assert!(peer.has("server_no_context_takeover"));
        assert!(peer.has("client_no_context_takeover"));
        let refused = Peer::open(&server, path, "permessage-deflate; unheard_of=1");
        assert_eq!(refused.agreed, None);
        assert!(!Raw::open(&server, path).head.contains("Extensions"));
    }
    check(&scrape(&server), &[("hubbub_deflate_agreed_total", 2.0)]);
}

fn echo_is_compressed_both_ways_in_every_mode(driver: Driver) {
    for takeover in ["none", "client", "server", "both"] {
        let (by_client, by_server) = match takeover {
            "client" => (true, false),
            "server" => (false, true),
            "both" => (true, true),
            _ => (false, false),
        };
        let flags = ["--compression", "on", "--compression-takeover", takeover];
        let server = Server::start(
            driver,
            &[&flags[..], &["--message-bytes-max", "1MiB"]].concat(),
        );
        let mut peer = Peer::open(&server, "/echo", OFFER);
        assert_eq!(peer.has("client_no_context_takeover"), !by_client);
        assert_eq!(peer.has("server_no_context_takeover"), !by_server);
        for round in 0..3 {
            for bytes in [0, 1, 255, 256, 1000, 3000, 65_535, 200_000] {
                let message = chat(bytes, round);
                peer.send(TEXT, &message);
                // Control frames and plain messages in between are no part of any context.
                peer.raw.send(wire::frame(PING, b"?"));
                peer.raw.send(wire::frame(BINARY, b"plain"));
                let (echoed, compressed) = peer.receive();
                assert_eq!(echoed, message, "{takeover}, {bytes} bytes");
                assert_eq!(
                    compressed.is_some(),
                    bytes >= 256,
                    "{takeover}, {bytes} bytes"
                );
                assert_eq!(peer.receive(), (b"plain".to_vec(), None));
            }
        }
        let message = chat(3000, 99);
        let sizes = [(); 2].map(|()| {
            peer.send(BINARY, &message);
            let (echoed, compressed) = peer.receive();
            assert_eq!(echoed, message);
            compressed.unwrap()
        });
        match by_server {
            true => assert!(
                sizes[1] < sizes[0] / 4,
                "the same again is short: {sizes:?}"
            ),
            false => assert_eq!(sizes[0], sizes[1]),
        }
    }
}

fn message_that_is_short_or_does_not_shrink_is_sent_as_it_is(driver: Driver) {
    let flags = ["--compression", "on", "--compression-bytes-min", "1000"];
    let server = Server::start(driver, &flags);
    let mut peer = Peer::open(&server, "/echo", OFFER);
    for (message, is_compressed) in [
        (chat(999, 1), false),
        (chat(1000, 1), true),
        (noise(5000), false),
        (chat(1000, 2), true),
    ] {
        peer.send(BINARY, &message);
        let (echoed, compressed) = peer.receive();
        assert_eq!(echoed, message);
        assert_eq!(compressed.is_some(), is_compressed);
    }
}

fn room_tells_each_peer_in_its_own_form_and_in_one_order(driver: Driver) {
    let flags = ["--compression", "on", "--cores", "2"];
    let flags = [&flags[..], &["--compression-window-bits", "15"]].concat();
    let server = Server::start(driver, &flags);
    let offers = [
        OFFER,
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=12",
        "permessage-deflate; server_max_window_bits=8",
        "x-webkit-deflate-frame",
    ];
    let mut peers: Vec<_> = (0..20)
        .map(|n| Peer::open(&server, "/rooms/mixed", offers[n % offers.len()]))
        .collect();
    let mut plain = Client::join(&server, "mixed");
    let messages: Vec<_> = (0..60).map(|n| chat(n * 97, n as u32)).collect();
    for (n, message) in messages.iter().enumerate() {
        let sender = &mut peers[n % 20];
        match sender.agreed {
            Some(_) => sender.send(TEXT, message),
            None => sender.raw.send(wire::frame(TEXT, message)),
        }
        // They connect one after the other, so that the order is known.
        assert_eq!(plain.text().into_bytes(), *message);
    }
    for peer in &mut peers {
        let is_agreed = peer.agreed.is_some();
        for message in &messages {
            let (heard, compressed) = peer.receive();
            assert_eq!(heard, *message);
            assert_eq!(compressed.is_some(), is_agreed && message.len() >= 256);
        }
    }
    assert!(peers[1].has("server_max_window_bits=9"));
    assert_eq!(peers[3].agreed, None, "zlib has no window of 8 bits");
}

fn room_compresses_once_however_many_hear_it(driver: Driver) {
    let server = Server::start(driver, &["--compression", "on", "--cores", "1"]);
    let mut peers: Vec<_> = (0..30)
        .map(|n| {
            let offer = match n % 2 {
                0 => OFFER,
                _ => "permessage-deflate; server_max_window_bits=9",
            };
            Peer::open(&server, "/rooms/many", offer)
        })
        .collect();
    for n in 0..10 {
        peers[0].send(TEXT, &chat(2000, n));
    }
    for peer in &mut peers {
        for n in 0..10 {
            assert_eq!(peer.receive().0, chat(2000, n));
        }
    }
    let samples = scrape(&server);
    // Ten messages, two windows, thirty subscribers.
    let expected = [
        ("hubbub_compressed_messages_total", 20.0),
        ("hubbub_compressed_bytes_total{of=\"payload\"}", 40_000.0),
        ("hubbub_messages_delivered_total", 300.0),
    ];
    check(&samples, &expected);
    assert!(samples["hubbub_compressed_bytes_total{of=\"frame\"}"] < 30_000.0);
}

fn room_keeps_no_context_for_what_it_sends(driver: Driver) {
    let flags = ["--compression", "on", "--compression-takeover", "both"];
    let server = Server::start(driver, &flags);
    let mut peer = Peer::open(&server, "/rooms/context", OFFER);
    assert!(peer.has("server_no_context_takeover"));
    assert!(!peer.has("client_no_context_takeover"));
    for _ in 0..3 {
        let message = chat(3000, 5);
        peer.send(TEXT, &message);
        assert_eq!(peer.receive().0, message);
    }
}

fn bomb_is_closed_with_1009_at_one_byte_too_many(driver: Driver) {
    let flags = ["--compression", "on", "--message-bytes-max", "100KiB"];
    let server = Server::start(driver, &flags);
    let most = 100 << 10;
    for fragments in [1, 7] {
        for (bytes, is_taken) in [(most - 1, true), (most, true), (most + 1, false)] {
            let mut peer = Peer::open(&server, "/echo", OFFER);
            let compressed = peer.compress(&vec![b'0'; bytes]);
            assert!(compressed.len() < most / 100, "a bomb");
            let piece = compressed.len().div_ceil(fragments);
            let pieces: Vec<_> = compressed.chunks(piece).collect();
            for (n, piece) in pieces.iter().enumerate() {
                let fin = if n + 1 == pieces.len() { 0x80 } else { 0 };
                let first = if n == 0 { RSV1 | BINARY } else { 0 };
                peer.raw.send(wire::masked(fin | first, piece));
            }
            match is_taken {
                true => assert_eq!(peer.receive().0, vec![b'0'; bytes]),
                false => assert_eq!(peer.raw.message().close_code(), 1009),
            }
        }
    }
    let ended = r#"hubbub_connections_ended_total{code="1009",initiator="server",reason="message_too_big"}"#;
    eventually("both are counted", || scrape(&server)[ended] == 2.0);
}

/// One receive of these inflates to 44 MiB, which must not keep a core from its other connections.
fn bombs_that_are_permitted_take_a_turn_of_their_own_each_few(driver: Driver) {
    let server = Server::start(driver, &["--compression", "on", "--cores", "1"]);
    let mut peer = Peer::open(&server, "/echo", OFFER);
    let turns = || scrape(&server)["hubbub_loop_turns_total{core=\"0\"}"];
    let before = turns();
    let message = vec![b'0'; 64 << 10];
    let bomb = wire::masked(0x80 | RSV1 | BINARY, &peer.compress(&message));
    let bombs = 700;
    assert!(bombs * bomb.len() <= 64 << 10, "{}", bomb.len());
    peer.raw.send(bomb.repeat(bombs));
    for _ in 0..bombs {
        assert!(peer.receive().0 == message);
    }
    peer.raw.send(wire::frame(BINARY, b"and on"));
    assert_eq!(peer.receive().0, b"and on");
    // Two of each payload.
    let taken = turns() - before;
    assert!(taken >= (bombs / 2) as f64, "{taken} turns");
}

fn bytes_that_are_no_deflate_close_the_connection(driver: Driver) {
    let server = Server::start(driver, &["--compression", "on"]);
    let mut peer = Peer::open(&server, "/echo", OFFER);
    let invalid = [0x07; 40];
    peer.raw.send(wire::masked(0x80 | RSV1 | BINARY, &invalid));
    assert_eq!(peer.raw.message().close_code(), 1007);
    let ended = r#"hubbub_connections_ended_total{code="1007",initiator="server",reason="deflate_invalid"}"#;
    eventually("it is counted", || scrape(&server)[ended] == 1.0);
}

/// A last block with no empty one behind it, no bytes at all, and the tail of the flush left in.
/// Then each again, which with takeover refers to the messages before.
fn messages_that_end_as_no_rfc_says_are_taken(driver: Driver) {
    for takeover in ["none", "client"] {
        let flags = ["--compression", "on", "--compression-takeover", takeover];
        let server = Server::start(driver, &flags);
        let mut peer = Peer::open(&server, "/echo", OFFER);
        let refers = !peer.has("client_no_context_takeover");
        assert_eq!(refers, takeover == "client");
        let message = noise(400);
        for round in 0..3 {
            let mut last = Compress::new(Compression::best(), false);
            if refers && round > 0 {
                last.set_dictionary(&message).unwrap();
            }
            let mut payload = Vec::with_capacity(1024);
            let flush = FlushCompress::Finish;
            last.compress_vec(&message, &mut payload, flush).unwrap();
            assert_eq!(payload.len() < 50, refers && round > 0);
            let tail_left_in = [&peer.compress(&message)[..], &TAIL].concat();
            for payload in [&payload[..], &[], &tail_left_in] {
                let frame = wire::masked(0x80 | RSV1 | BINARY, payload);
                peer.raw.send(frame);
                let expected = if payload.is_empty() {
                    &[]
                } else {
                    &message[..]
                };
                assert_eq!(peer.receive().0, expected, "{takeover}");
            }
        }
    }
}

fn reserved_bit_without_the_extension_is_1002(driver: Driver) {
    let server = Server::start(driver, &["--compression", "on"]);
    let mut raw = Raw::open(&server, "/echo");
    raw.send(wire::masked(0x80 | RSV1 | TEXT, b"hello"));
    assert_eq!(raw.message().close_code(), 1002);
}

fn compression_is_turned_off_and_on_for_who_is_connected(driver: Driver) {
    let on = "compression = \"on\"\ncompression_takeover = \"both\"";
    let mut it = Reloading::start(driver, on);
    let mut old = Peer::open(&it.server, "/echo", OFFER);
    let mut member = Peer::open(&it.server, "/rooms/reload", OFFER);
    let message = chat(2000, 3);
    let echo = |peer: &mut Peer| {
        peer.send(TEXT, &message);
        let (echoed, compressed) = peer.receive();
        assert_eq!(echoed, message);
        compressed.is_some()
    };
    assert!(echo(&mut old) && echo(&mut member));
    it.reload("");
    eventually("nothing is compressed any more", || !echo(&mut old));
    eventually("nor in rooms", || !echo(&mut member));
    eventually("nor agreed on", || {
        Peer::open(&it.server, "/echo", OFFER).agreed.is_none()
    });
    it.reload(on);
    eventually("it is compressed again", || echo(&mut old));
    eventually("in rooms, too", || echo(&mut member));
    assert!(echo(&mut old), "with a context again");
}

fn subscriber_that_reads_slowly_gets_whole_compressed_frames(driver: Driver) {
    let flags = ["--compression", "on", "--send-queue-bytes-max", "16MiB"];
    let server = Server::start(driver, &flags);
    let stream = wire::connect_narrow(server.address(), 4096);
    let mut slow = Peer::over(stream, "/rooms/slow", OFFER);
    let mut sender = Peer::open(&server, "/rooms/slow", OFFER);
    let messages: Vec<_> = (0..200).map(|n| chat(20_000, n)).collect();
    for message in &messages {
        sender.send(BINARY, message);
        assert_eq!(sender.receive().0, *message);
    }
    for message in &messages {
        assert_eq!(slow.receive().0, *message);
    }
}
