//! `/echo`: every message is sent back unchanged.

use tungstenite::Message;

use crate::{
    client::{Client, binary},
    harness::{Driver, Server},
    wire::{self, BINARY, CLOSE, Frame, Heard, PING, PONG, Raw, TEXT},
};

on_both_drivers![
    message_of_each_length_comes_back_with_its_type,
    messages_pipelined_come_back_in_order,
    message_in_fragments_comes_back_whole,
    message_cut_at_each_byte_comes_back,
    message_larger_than_the_send_queue_comes_back,
    ping_is_answered_with_its_payload,
    close_is_answered_with_its_code,
    close_behind_messages_is_answered_after_them,
];

fn message_of_each_length_comes_back_with_its_type(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut client = Client::connect(&server, "/echo");
    for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let text: String = (0..length)
            .map(|n| char::from(b'a' + n as u8 % 26))
            .collect();
        client.send(text.clone());
        assert_eq!(client.receive(), Message::text(text));

        let bytes: Vec<_> = (0..length).map(|n| n as u8).collect();
        client.send(binary(bytes.clone()));
        assert_eq!(client.receive(), binary(bytes));
    }
    client.send("žluťoučký kůň 🐎");
    assert_eq!(client.text(), "žluťoučký kůň 🐎");
    client.leave();
}

fn messages_pipelined_come_back_in_order(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut client = Client::connect(&server, "/echo");
    let messages: Vec<_> = (0..1000)
        .map(|n| match n % 2 {
            0 => Message::text(format!("message {n}")),
            _ => binary(vec![n as u8; n % 300]),
        })
        .collect();
    for message in &messages {
        client.write(message.clone());
    }
    client.flush();
    for message in messages {
        assert_eq!(client.receive(), message);
    }
}

fn message_in_fragments_comes_back_whole(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    // "é" is cut in two, and a ping lies in between.
    raw.send(wire::masked(TEXT, b"caf\xc3"));
    raw.send(wire::frame(PING, b"still there?"));
    raw.send(wire::masked(0, b""));
    raw.send(wire::masked(0x80, b"\xa9!"));
    let pong = raw.frame();
    assert_eq!(
        (pong.opcode(), &*pong.payload),
        (PONG, &b"still there?"[..])
    );
    let expected = Frame {
        first: 0x80 | TEXT,
        payload: "café!".into(),
    };
    assert_eq!(raw.frame(), expected);
}

fn message_cut_at_each_byte_comes_back(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    let payload: Vec<_> = (0..200).collect();
    for byte in wire::frame(BINARY, &payload) {
        raw.send([byte]);
    }
    assert_eq!(raw.frame().payload, payload);
}

fn message_larger_than_the_send_queue_comes_back(driver: Driver) {
    let server = Server::start(driver, &["--message-bytes-max", "8MiB"]);
    let mut client = Client::connect(&server, "/echo");
    let content: Vec<_> = (0..8 << 20).map(|n: u32| (n >> 3) as u8).collect();
    for _ in 0..2 {
        client.send(binary(content.clone()));
        assert!(client.receive() == binary(content.clone()));
    }
    client.send("and a small one");
    assert_eq!(client.text(), "and a small one");
}

fn ping_is_answered_with_its_payload(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        raw.send(wire::frame(PING, payload));
        let pong = raw.frame();
        assert_eq!((pong.first, &*pong.payload), (0x80 | PONG, payload));
    }
}

fn close_is_answered_with_its_code(driver: Driver) {
    let server = Server::start(driver, &[]);
    for code in [1000, 1001, 3000, 4999] {
        let mut raw = Raw::open(&server, "/echo");
        raw.send(wire::close(code));
        assert_eq!(raw.frame().close_code(), code);
        assert_eq!(raw.next(), Heard::End);
    }
    let mut raw = Raw::open(&server, "/echo");
    raw.send(wire::frame(CLOSE, b""));
    let close = raw.frame();
    assert_eq!((close.opcode(), close.payload.len()), (CLOSE, 0));
    assert_eq!(raw.next(), Heard::End);
}

fn close_behind_messages_is_answered_after_them(driver: Driver) {
    let server = Server::start(driver, &[]);
    let mut raw = Raw::open(&server, "/echo");
    let mut bytes: Vec<_> = (0..100u8)
        .flat_map(|n| wire::frame(BINARY, &[n; 1000]))
        .collect();
    bytes.extend(wire::close(1000));
    raw.send(bytes);
    for n in 0..100 {
        assert_eq!(raw.frame().payload, [n; 1000]);
    }
    assert_eq!(raw.frame().close_code(), 1000);
    assert_eq!(raw.next(), Heard::End);
}
