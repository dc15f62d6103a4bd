//! Plain HTTP on a connection: bodies, answers that are streamed, and connections that are kept.

use codec::{
    BodyFraming, Connection, Event, HandshakeError, Inflater, Limits, Phase, ResponseHead, chunk,
};

use crate::driver::{DATE, Driver, HANDSHAKE, Outcome, Seen};
use crate::vectors::short;

/// Requests of one connection that is served as the driver does, and what comes of them.
pub struct Conversation {
    pub name: &'static str,
    pub wire: Vec<u8>,
    pub seen: Vec<Seen>,
    pub phase: Phase,
}

pub fn served<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut driver = Driver::new(limits.clone());
    driver.serves_http = true;
    pieces.into_iter().for_each(|piece| driver.feed(piece));
    driver.outcome()
}

/// The same events and the same bytes to send, however the input is cut.
#[track_caller]
pub fn served_however_cut(name: &str, wire: &[u8]) -> Outcome {
    let limits = Limits::default();
    let whole = served([wire], &limits);
    assert_eq!(served(wire.chunks(1), &limits), whole, "{name}");
    for cut in 1..wire.len() {
        let (first, second) = wire.split_at(cut);
        assert_eq!(served([first, second], &limits), whole, "{name} at {cut}");
    }
    whole
}

pub fn request(method: &str, target: &str) -> Seen {
    Seen::Request {
        method: method.into(),
        target: target.into(),
        host: "a".into(),
    }
}

/// A request with these fields.
pub fn head(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

pub fn conversations() -> Vec<Conversation> {
    let get = head("GET /b", "");
    let post = head("POST /a", "Content-Length: 5\r\n") + "hello";
    let (got, posted) = (request("GET", "/b"), request("POST", "/a"));
    let hello = Seen::Body(b"hello".into());
    let row = |name, wire: String, seen: &[&Seen], phase| Conversation {
        name,
        wire: wire.into_bytes(),
        seen: seen.iter().copied().cloned().collect(),
        phase,
    };
    let kept = Phase::Handshake;
    vec![
        row(
            "http_requests_pipelined",
            format!("{get}{post}{get}{post}"),
            &[&got, &posted, &hello, &got, &posted, &hello],
            kept,
        ),
        row(
            "http_empty_lines_between",
            format!("{post}\r\n\r\n{get}"),
            &[&posted, &hello, &got],
            kept,
        ),
        row(
            "http_body_of_none",
            head("POST /a", "Content-Length: 0\r\n") + &get,
            &[&posted, &got],
            kept,
        ),
        row(
            "http_body_looks_like_a_request",
            head("POST /a", &format!("Content-Length: {}\r\n", get.len())) + &get + &get,
            &[&posted, &Seen::Body(get.clone().into_bytes()), &got],
            kept,
        ),
        row(
            "http_body_not_taken",
            head("POST /a!", &format!("Content-Length: {}\r\n", get.len())) + &get + &get,
            &[&request("POST", "/a!")],
            Phase::Closed,
        ),
        row(
            "http_close_asked_for",
            head("GET /b", "Connection: x, Close\r\n") + &get,
            &[&got],
            Phase::Closed,
        ),
        row(
            "http_close_asked_for_behind_a_body",
            head("POST /a", "Connection: close\r\nContent-Length: 5\r\n") + "hello" + &get,
            &[&posted, &hello],
            Phase::Closed,
        ),
        row(
            "http_1_0_is_not_kept",
            get.replacen("1.1", "1.0", 1).replacen(
                "\r\n\r\n",
                "\r\nConnection: keep-alive\r\n\r\n",
                1,
            ) + &get,
            &[&got],
            Phase::Closed,
        ),
        row(
            "http_head_has_no_body",
            head("HEAD /b", "") + &get,
            &[&request("HEAD", "/b"), &got],
            kept,
        ),
        row(
            "http_continue_expected",
            head("POST /a", "Expect: 100-Continue\r\nContent-Length: 5\r\n") + "hello" + &get,
            &[&posted, &hello, &got],
            kept,
        ),
        row(
            "http_upgrade_on_a_kept_connection",
            format!("{post}{HANDSHAKE}"),
            &[
                &posted,
                &hello,
                &Seen::Request {
                    method: "GET".into(),
                    target: "/room?a=b".into(),
                    host: "example.com:80".into(),
                },
            ],
            Phase::Open,
        ),
        row(
            "http_second_request_malformed",
            format!("{post}GET /b HTTP/1.1\r\n\r\n{get}"),
            &[
                &posted,
                &hello,
                &Seen::Failed(HandshakeError::HostMissing.into()),
            ],
            Phase::Closed,
        ),
    ]
}

#[test]
fn conversations_however_cut_give_their_events() {
    for Conversation {
        name,
        wire,
        seen,
        phase,
    } in conversations()
    {
        let whole = served_however_cut(name, &wire);
        assert_eq!((&whole.seen, whole.phase), (&seen, phase), "{name}");
    }
}

#[test]
fn frames_on_a_kept_connection_are_frames() {
    let first = head("POST /a", "Content-Length: 5\r\n") + "hello";
    let wire = [first.as_bytes(), HANDSHAKE.as_bytes(), &short(0x81, "hi")].concat();
    let whole = served_however_cut("frames", &wire);
    assert_eq!(whole.seen.len(), 4);
    assert_eq!(whole.phase, Phase::Open);
}

/// A connection that awaits the answer to this head, and what is left of the input.
fn asking(input: &mut Vec<u8>) -> Connection {
    let mut connection = Connection::new();
    let mut inflater = Inflater::default();
    let step = connection.receive(input, &Limits::default(), &mut inflater);
    assert!(matches!(step.event, Some(Event::Request(_))), "{step:?}");
    let consumed = step.consumed;
    input.drain(..consumed);
    connection
}

/// What `receive` makes of this input: how much it consumed, and the body, if there is one.
fn receive(connection: &mut Connection, input: &[u8]) -> (usize, Option<Vec<u8>>) {
    let mut input = input.to_vec();
    let mut inflater = Inflater::default();
    let step = connection.receive(&mut input, &Limits::default(), &mut inflater);
    let body = match step.event {
        None => None,
        Some(Event::Body(body)) => Some(body.to_vec()),
        Some(other) => panic!("{other:?}"),
    };
    (step.consumed, body)
}

fn ok(content_length: Option<usize>, keep: bool) -> ResponseHead<'static> {
    ResponseHead {
        status: 200,
        date: Some(DATE),
        fields: &[("Content-Type", "text/event-stream")],
        content_length,
        keep,
    }
}

#[test]
fn respond_writes_what_each_peer_understands() {
    let check = |line: &str, fields: &str, response, form, phase, expected: &[&str]| {
        let mut input = format!("{line}\r\nHost: a\r\n{fields}\r\n").into_bytes();
        let mut connection = asking(&mut input);
        let mut out = Vec::new();
        assert_eq!(connection.respond(&response, &mut out), form, "{line}");
        assert_eq!(connection.phase(), phase, "{line}");
        let sent = String::from_utf8(out).unwrap();
        let mut found: Vec<_> = sent.trim_end().split("\r\n").skip(1).collect();
        found.retain(|field| !field.starts_with("Date") && !field.starts_with("Content-Type"));
        assert_eq!(found, expected, "{line}");
    };
    use BodyFraming as F;
    let (get, old, head) = ("GET / HTTP/1.1", "GET / HTTP/1.0", "HEAD / HTTP/1.1");
    let closes = "Connection: close\r\n";
    let (close, chunked) = ("Connection: close", "Transfer-Encoding: chunked");
    let three = "Content-Length: 3";
    let streaming = Phase::Responding;
    check(get, "", ok(None, true), F::Chunked, streaming, &[chunked]);
    check(
        get,
        "",
        ok(None, false),
        F::Chunked,
        streaming,
        &[close, chunked],
    );
    check(
        get,
        closes,
        ok(None, true),
        F::Chunked,
        streaming,
        &[close, chunked],
    );
    check(old, "", ok(None, true), F::Plain, streaming, &[close]);
    check(
        head,
        "",
        ok(None, true),
        F::None,
        Phase::Handshake,
        &[chunked],
    );
    check(
        head,
        "",
        ok(None, false),
        F::None,
        Phase::Closed,
        &[close, chunked],
    );
    check(get, "", ok(Some(3), true), F::Plain, streaming, &[three]);
    check(
        get,
        "",
        ok(Some(3), false),
        F::Plain,
        Phase::Closed,
        &[close, three],
    );
    check(
        old,
        "",
        ok(Some(3), true),
        F::Plain,
        Phase::Closed,
        &[close, three],
    );
    check(
        head,
        "",
        ok(Some(3), true),
        F::None,
        Phase::Handshake,
        &[three],
    );
    let empty = "Content-Length: 0";
    check(
        get,
        "",
        ok(Some(0), true),
        F::None,
        Phase::Handshake,
        &[empty],
    );
    let none = |status| ResponseHead {
        status,
        ..ok(None, true)
    };
    check(get, "", none(204), F::None, Phase::Handshake, &[]);
    check(get, "", none(304), F::None, Phase::Handshake, &[]);
}

#[test]
fn stream_in_chunks_is_nowhere_buffered_and_ends_with_the_last() {
    let mut input = (head("GET /", "") + &head("GET /next", "")).into_bytes();
    let mut connection = asking(&mut input);
    let mut out = Vec::new();
    let form = connection.respond(&ok(None, true), &mut out);
    assert_eq!(form, BodyFraming::Chunked);
    out.clear();
    for payload in ["one", "", "two"] {
        chunk::encode(payload.as_bytes(), &mut out);
        assert_eq!(connection.buffered_bytes(), 0);
        // What is behind the request waits for the end of the answer.
        assert_eq!(receive(&mut connection, &input), (0, None));
    }
    assert!(!connection.owes());
    connection.finish_response(&mut out);
    assert_eq!(out, b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(connection.phase(), Phase::Handshake);
    let mut inflater = Inflater::default();
    let step = connection.receive(&mut input, &Limits::default(), &mut inflater);
    assert!(matches!(step.event, Some(Event::Request(next)) if next.path() == "/next"));
}

#[test]
fn stream_that_is_the_last_answer_ignores_what_comes() {
    for (version, last) in [("1.1", &b"0\r\n\r\n"[..]), ("1.0", b"")] {
        let mut input = head("GET /", "").replacen("1.1", version, 1).into_bytes();
        let mut connection = asking(&mut input);
        let form = connection.respond(&ok(None, false), &mut Vec::new());
        assert_ne!(form, BodyFraming::None);
        let behind = head("GET /next", "");
        let ignored = (behind.len(), None);
        assert_eq!(receive(&mut connection, behind.as_bytes()), ignored);
        let mut out = Vec::new();
        connection.finish_response(&mut out);
        assert_eq!((&out[..], connection.phase()), (last, Phase::Closed));
        connection.finish_response(&mut out);
        assert_eq!(out, last, "there is one end");
        assert_eq!(receive(&mut connection, behind.as_bytes()), ignored);
    }
}

#[test]
fn answer_of_known_length_is_kept_from_its_end_on() {
    let mut input = (head("GET /", "") + "behind").into_bytes();
    let mut connection = asking(&mut input);
    let mut out = Vec::new();
    assert_eq!(
        connection.respond(&ok(Some(3), true), &mut out),
        BodyFraming::Plain
    );
    assert_eq!(receive(&mut connection, &input), (0, None));
    out.clear();
    connection.finish_response(&mut out);
    assert!(out.is_empty(), "a length needs no last chunk");
    assert_eq!(connection.phase(), Phase::Handshake);
}

#[test]
fn body_is_asked_for_once_it_is_taken() {
    let check = |fields: &str, version: &str, expected: &[u8]| {
        let head = head("POST /", &format!("Content-Length: 2\r\n{fields}"));
        let mut input = head.replacen("1.1", version, 1).into_bytes();
        let mut connection = asking(&mut input);
        let mut out = Vec::new();
        assert_eq!(connection.phase(), Phase::Answering);
        assert!(connection.take_body(&mut out));
        assert_eq!((&out[..], connection.phase()), (expected, Phase::Body));
        assert!(!connection.take_body(&mut out), "it was taken");
        assert_eq!(receive(&mut connection, b"a"), (1, None));
        assert_eq!(receive(&mut connection, b"bc"), (1, Some(b"ab".to_vec())));
        assert_eq!(receive(&mut connection, b"c"), (0, None));
        assert!(!connection.take_body(&mut out), "it has come");
        assert_eq!((&out[..], connection.phase()), (expected, Phase::Answering));
    };
    check("", "1.1", b"");
    check(
        "Expect: 100-continue\r\n",
        "1.1",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    );
    // HTTP/1.0 has no interim answers.
    check("Expect: 100-continue\r\n", "1.0", b"");
}

#[test]
fn take_body_without_one_does_nothing() {
    let mut out = Vec::new();
    assert!(!Connection::new().take_body(&mut out));
    assert!(
        !Driver::open(Limits::default())
            .connection
            .take_body(&mut out)
    );
    for fields in ["", "Content-Length: 0\r\n", "Expect: 100-continue\r\n"] {
        let mut connection = asking(&mut head("POST /", fields).into_bytes());
        assert!(!connection.take_body(&mut out));
        assert_eq!(connection.phase(), Phase::Answering);
    }
    assert!(out.is_empty());
}

#[test]
fn body_takes_memory_for_what_has_come_only() {
    let mut input = head("POST /", "Content-Length: 1048576\r\n").into_bytes();
    let mut connection = asking(&mut input);
    assert!(connection.take_body(&mut Vec::new()));
    let mut came = 0;
    while came < 1 << 20 {
        assert!(connection.buffered_bytes() <= 2 * came + 64, "after {came}");
        let (consumed, body) = receive(&mut connection, &[7; 1024]);
        came += consumed;
        assert_eq!(body.is_some(), came == 1 << 20);
    }
    assert!(connection.buffered_bytes() >= 1 << 20);
    // Freed like everything that an event borrows.
    receive(&mut connection, b"");
    assert_eq!(connection.buffered_bytes(), 0);
}

#[test]
fn body_of_the_most_bytes_is_taken_and_no_more() {
    let limits = Limits {
        body_bytes_max: 5,
        ..Limits::default()
    };
    for (length, failed) in [("5", None), ("6", Some(413)), ("4294967296", Some(413))] {
        let wire = head("POST /a", &format!("Content-Length: {length}\r\n"));
        let outcome = served([wire.as_bytes(), b"hello"], &limits);
        let Some(status) = failed else {
            assert_eq!(outcome.seen[1], Seen::Body(b"hello".into()));
            continue;
        };
        let refused = Seen::Failed(HandshakeError::BodyTooLarge.into());
        assert_eq!(
            (outcome.seen, outcome.phase),
            (vec![refused], Phase::Closed)
        );
        let line = format!("HTTP/1.1 {status} Content Too Large\r\nConnection: close\r\n");
        assert!(outcome.sent.starts_with(line.as_bytes()));
    }
}

/// Before its body was taken, and while it comes: what is left of it must not be read as a request.
#[test]
fn answer_before_the_end_of_a_body_is_the_last() {
    for taken in [false, true] {
        let mut input = head("POST /", "Content-Length: 9\r\n").into_bytes();
        let mut connection = asking(&mut input);
        if taken {
            assert!(connection.take_body(&mut Vec::new()));
            receive(&mut connection, b"GET /");
        }
        let mut out = Vec::new();
        let form = connection.respond(&ok(Some(0), true), &mut out);
        assert_eq!(
            (form, connection.phase()),
            (BodyFraming::None, Phase::Closed)
        );
        assert!(
            String::from_utf8(out)
                .unwrap()
                .contains("Connection: close")
        );
        let rest = head("GET /", "");
        assert_eq!(
            receive(&mut connection, rest.as_bytes()),
            (rest.len(), None)
        );
        assert_eq!(connection.buffered_bytes(), 0);
    }
}
