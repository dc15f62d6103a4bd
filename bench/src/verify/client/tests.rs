//! A client of a stream whose other end is this test: what it notes, and what the checker finds of it.

use super::super::history::{By, History, Message, What};
use super::super::payload;
use super::super::promises::{Checker, Promise};
use super::connection::{Client, Connection, Desk, Next, State};
use super::swarm::transport_of;
use super::wire::Inflow;
use super::{Form, Names};
use crate::centrifuge::{Encoding, Requests, Transport};
use crate::load::link::{Buffers, Link};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const CONNECTED: &str = r#"{"id":1,"connect":{"client":"c","session":"s","node":"n"}}"#;
const SUBSCRIBED: &str =
    r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e"}}"#;

/// A client in room 0 over server-sent events, and the server's end of its connections.
struct Played {
    client: Client,
    desk: Desk,
    server: UnixStream,
    beside: UnixStream,
}

fn pair() -> (Link, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    (Link::new(one.into(), None), other)
}

impl Played {
    fn new() -> Self {
        let names = Names("r".to_owned());
        let form = (Form::Json, Transport::Sse);
        let mut client = Client::new(0, form, vec![0], Instant::now());
        let (link, server) = pair();
        let (beside_link, beside) = pair();
        let inflow = Inflow::new(Form::Json, Transport::Sse);
        let requests = Requests::new(Encoding::Json, "localhost", "");
        let mut connection = Connection::new(link, inflow, Some(requests));
        connection.beside.as_mut().unwrap().link = Some(beside_link);
        client.state = State::Here(Box::new(connection));
        let desk = Desk {
            history: History::new(Checker::default()).keeping(),
            at_us: 0,
            names,
            present: Vec::new(),
            sabotage: None,
        };
        Self {
            client,
            desk,
            server,
            beside,
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Next {
        self.server.write_all(bytes).unwrap();
        let (client, desk) = (&mut self.client, &mut self.desk);
        client.receive(&mut Buffers::new(), desk).unwrap()
    }

    /// What the client has sent beside its stream, which is answered.
    fn asked(&mut self) -> serde_json::Value {
        let mut request = vec![0; 4096];
        let length = self.beside.read(&mut request).unwrap();
        let text = String::from_utf8(request[..length].to_vec()).unwrap();
        self.beside
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        let next = self
            .client
            .receive_beside(&mut Buffers::new(), Instant::now());
        assert!(matches!(next.unwrap(), Next::Stay));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /emulation "), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["session"], &body["node"]),
            (&"s".into(), &"n".into())
        );
        serde_json::from_str(body["data"].as_str().unwrap()).unwrap()
    }
}

fn chunk(messages: &str) -> Vec<u8> {
    let event = format!("data: {messages}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// What the checker finds when a stream brings these publications, each in a chunk of its own.
fn findings(places: &[u64]) -> super::super::promises::Findings {
    let mut played = Played::new();
    played.hear(HEAD.as_bytes());
    played.hear(&chunk(CONNECTED));
    assert_eq!(played.asked()["subscribe"]["channel"], "r0");
    played.hear(&chunk(SUBSCRIBED));
    let most = places.iter().copied().max().unwrap_or(0);
    let payloads: Vec<Vec<u8>> = (0..most)
        .map(|number| {
            let message = Message {
                from: 1,
                number: number as u32,
            };
            let payload = payload::make(message, 20);
            let digest = payload::digest(&payload);
            let sent = What::Sent {
                room: 0,
                message,
                digest,
            };
            played.desk.note(1, sent).unwrap();
            payload
        })
        .collect();
    for &place in places {
        let data = String::from_utf8_lossy(&payloads[place as usize - 1]);
        let push =
            format!(r#"{{"push":{{"channel":"r0","pub":{{"data":{data},"offset":{place}}}}}}}"#);
        assert!(matches!(played.hear(&chunk(&push)), Next::Stay));
    }
    let (checker, kept) = played.desk.history.end().unwrap();
    let delivered = |what: &What| matches!(what, What::Delivered { .. });
    assert_eq!(
        kept.iter().filter(|it| delivered(&it.what)).count(),
        places.len()
    );
    checker.findings
}

#[test]
fn chunk_of_a_stream_that_is_lost_or_comes_twice_is_found() {
    assert!(findings(&[1, 2, 3, 4]).is_empty());
    for places in [&[1, 3, 4][..], &[1, 2, 2, 3], &[1, 3, 2, 4]] {
        assert!(findings(places).count(Promise::NoGap) > 0, "{places:?}");
    }
}

#[test]
fn disconnect_that_a_stream_tells_ends_its_connection_with_that_code() {
    let mut played = Played::new();
    played.hear(HEAD.as_bytes());
    played.hear(&chunk(CONNECTED));
    played.asked();
    let push = chunk(r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#);
    assert!(matches!(played.hear(&push), Next::Over(By::Server(3001))));
    let mut refused = Played::new();
    let head = b"HTTP/1.1 403 Forbidden\r\n\r\n";
    assert!(matches!(refused.hear(head), Next::NotLetIn(_)));
    let mut lost = Played::new();
    lost.hear(HEAD.as_bytes());
    lost.hear(&chunk(CONNECTED));
    drop(lost.beside);
    let next = lost
        .client
        .receive_beside(&mut Buffers::new(), Instant::now());
    assert!(matches!(next.unwrap(), Next::Over(By::Server(0))));
}

#[test]
fn clients_of_each_form_take_turns_with_all_that_carries_it() {
    let used = |form, transports: &[Transport]| {
        let of = |number| transport_of(number, form, transports) as u8;
        (0..30).map(of).collect::<BTreeSet<u8>>().len()
    };
    assert_eq!(used(Form::Json, &Transport::ALL), 3);
    assert_eq!(used(Form::Protobuf, &Transport::ALL), 2);
    assert_eq!(used(Form::Raw, &Transport::ALL), 1);
    assert_eq!(
        transport_of(3, Form::Protobuf, &[Transport::Sse]),
        Transport::Websocket
    );
}
