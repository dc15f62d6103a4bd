//! A client of a stream whose other end is this test: what it notes, and what the checker finds of it.

use super::super::history::{By, History, Message, What};
use super::super::payload;
use super::super::promises::{Checker, Findings, Promise};
use super::connection::{Client, Connection, Desk, Next, State};
use super::swarm::transport_of;
use super::wire::Inflow;
use super::{Form, Names};
use crate::centrifuge::{Requests, Transport};
use crate::load::link::{Buffers, Link};
use anyhow::Result;
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
    fn new(form: Form) -> Self {
        let names = Names("r".to_owned());
        let client = Client::new(0, (form, Transport::Sse), vec![0], Instant::now());
        let desk = Desk {
            history: History::new(Checker::default()).keeping(),
            at_us: 0,
            noted_at: Instant::now(),
            names,
            present: Vec::new(),
            sabotage: None,
        };
        let mut played = Self {
            client,
            desk,
            server: pair().1,
            beside: pair().1,
        };
        played.come();
        played
    }

    /// The client is connected, perhaps once more.
    fn come(&mut self) {
        let (link, server) = pair();
        let (beside_link, beside) = pair();
        (self.server, self.beside) = (server, beside);
        let form = self.client.form;
        let requests = form.encoding().map(|it| Requests::new(it, "localhost", ""));
        let inflow = Inflow::new(form, Transport::Sse);
        let mut connection = Connection::new(link, inflow, requests);
        if let Some(beside) = &mut connection.beside {
            beside.link = Some(beside_link);
        }
        self.client.state = State::Here(Box::new(connection));
        if form == Form::Events {
            self.client.asks_for_events(&mut self.desk).unwrap();
        }
        self.hear(HEAD.as_bytes());
    }

    /// Publishes so many messages in the room, as another client; returns their payloads.
    fn sent(&mut self, count: u64) -> Vec<String> {
        let send = |number| {
            let message = Message { from: 1, number };
            let payload = payload::make(message, 20);
            let digest = payload::digest(&payload);
            let sent = What::Sent {
                room: 0,
                message,
                digest,
            };
            self.desk.note(1, sent).unwrap();
            String::from_utf8(payload).unwrap()
        };
        (0..count as u32).map(send).collect()
    }

    fn hear(&mut self, bytes: &[u8]) -> Next {
        self.try_hear(bytes).unwrap()
    }

    fn try_hear(&mut self, bytes: &[u8]) -> Result<Next> {
        self.server.write_all(bytes).unwrap();
        let (client, desk) = (&mut self.client, &mut self.desk);
        client.receive(&mut Buffers::new(), desk)
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
    block(&format!("data: {messages}"))
}

fn block(lines: &str) -> Vec<u8> {
    format!("{:x}\r\n{lines}\n\n\r\n", lines.len() + 2).into_bytes()
}

/// What the checker finds when a stream brings these publications, each in a chunk of its own.
fn findings(places: &[u64]) -> Findings {
    let mut played = Played::new(Form::Json);
    played.hear(&chunk(CONNECTED));
    assert_eq!(played.asked()["subscribe"]["channel"], "r0");
    played.hear(&chunk(SUBSCRIBED));
    let payloads = played.sent(places.iter().copied().max().unwrap_or(0));
    for &place in places {
        let data = &payloads[place as usize - 1];
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
    let mut played = Played::new(Form::Json);
    played.hear(&chunk(CONNECTED));
    played.asked();
    let push = chunk(r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#);
    assert!(matches!(played.hear(&push), Next::Over(By::Server(3001))));
    let mut lost = Played::new(Form::Json);
    lost.hear(&chunk(CONNECTED));
    drop(lost.beside);
    let next = lost
        .client
        .receive_beside(&mut Buffers::new(), Instant::now());
    assert!(matches!(next.unwrap(), Next::Over(By::Server(0))));
}

/// What the checker finds of a listener that was given these places, and came back in between with the latest.
fn findings_of_events(before: &[u64], begin: &str, behind: &[u64]) -> Result<Findings> {
    let mut played = Played::new(Form::Events);
    let payloads = played.sent(9);
    let event = |place: u64| {
        let data = &payloads[place as usize - 1];
        block(&format!("id: e:{place}\ndata: {data}"))
    };
    played.hear(&block("retry: 2000\nid: e:0"));
    for &place in before {
        assert!(matches!(played.hear(&event(place)), Next::Stay));
    }
    played.come();
    played.try_hear(&block(begin))?;
    for &place in behind {
        played.try_hear(&event(place))?;
    }
    Ok(played.desk.history.end()?.0.findings)
}

#[test]
fn listener_that_comes_back_is_given_what_it_has_missed_or_told_of_the_gap() {
    let gap = "id: e:7\nevent: gap\ndata: {}";
    let check = |before: &[u64], begin: &str, behind: &[u64], broken: Option<Promise>| {
        let findings = findings_of_events(before, begin, behind).unwrap();
        let of = |it: Promise| findings.count(it) > 0;
        let found: Vec<_> = Promise::ALL.into_iter().filter(|it| of(*it)).collect();
        assert_eq!(
            found,
            Vec::from_iter(broken),
            "{before:?} {begin} {behind:?}"
        );
    };
    check(&[1, 2], "id: e:2", &[3, 4], None);
    check(&[1, 2], gap, &[8, 9], None);
    check(&[1, 3], "id: e:3", &[4], Some(Promise::NoGap));
    check(&[1, 2], "id: e:2", &[4], Some(Promise::Recovery));
    check(&[1, 2], gap, &[9], Some(Promise::NoGap));
    assert!(
        findings_of_events(&[1, 2], "id: e:5", &[6]).is_err(),
        "nobody told of the gap"
    );
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
