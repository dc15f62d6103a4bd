//! Request heads: every vector, however it is cut, the limits, and the answers.

use codec::{
    BodyFraming, Connection, Error, Event, HandshakeError, Inflater, Limits, Phase, Request,
    ResponseHead, negotiate,
};

use crate::driver::{DATE, Driver, HANDSHAKE, Outcome, Seen};
use crate::vectors::{Head, STRAY_BITS_KEY, heads, short};

fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut driver = Driver::new(limits.clone());
    pieces.into_iter().for_each(|piece| driver.feed(piece));
    driver.outcome()
}

/// The request in `head`, given to `judge`; or why it was refused.
fn with_request<T>(
    head: &[u8],
    judge: impl FnOnce(&Request<'_>) -> T,
) -> Result<T, HandshakeError> {
    let mut connection = Connection::new();
    let mut input = head.to_vec();
    match connection
        .receive(&mut input, &Limits::default(), &mut Inflater::default())
        .event
    {
        Some(Event::Request(request)) => Ok(judge(&request)),
        Some(Event::Failed(Error::Handshake(error))) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_each_vector_accepted_or_refused_by_its_rule() {
    for Head {
        name,
        wire,
        refused,
    } in heads()
    {
        let upgrade = with_request(&wire, |request| request.upgrade()).and_then(|upgrade| upgrade);
        assert_eq!(upgrade.err(), refused, "{name}");
    }
}

#[test]
fn heads_however_cut_give_the_same_events_and_answers() {
    let limits = Limits::default();
    for Head {
        name,
        wire,
        refused,
    } in heads()
    {
        let whole = run([&wire[..]], &limits);
        let phase = if refused.is_none() {
            Phase::Open
        } else {
            Phase::Closed
        };
        assert_eq!(whole.phase, phase, "{name}");
        assert_eq!(run(wire.chunks(1), &limits), whole, "{name}, byte by byte");
        for cut in 1..wire.len().min(600) {
            let (first, second) = wire.split_at(cut);
            assert_eq!(run([first, second], &limits), whole, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn heads_refused_each_rule_has_a_vector_or_a_limit() {
    let refused: Vec<_> = heads().iter().filter_map(|head| head.refused).collect();
    let limits = [
        HandshakeError::HeadTooLarge,
        HandshakeError::TooManyFields,
        HandshakeError::RequestLineTooLong,
    ];
    let mut names: Vec<_> = refused
        .iter()
        .chain(&limits)
        .map(|error| error.name())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 30);
    for error in refused {
        assert_eq!(
            error.name().replace('_', ""),
            format!("{error:?}").to_lowercase()
        );
    }
}

#[test]
fn handshake_of_the_rfc_gives_its_accept_key_and_subprotocol() {
    let outcome = run([HANDSHAKE.as_bytes()], &Limits::default());
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: chat\r\n\r\n";
    assert_eq!(String::from_utf8(outcome.sent).unwrap(), expected);
}

/// It is answered for as it was sent, not as it would have been written without stray bits.
#[test]
fn key_with_stray_bits_gives_the_accept_key_of_its_characters() {
    let head = HANDSHAKE.replacen("dGhlIHNhbXBsZSBub25jZQ==", STRAY_BITS_KEY, 1);
    let sent = String::from_utf8(run([head.as_bytes()], &Limits::default()).sent).unwrap();
    // By `openssl dgst -sha1 -binary | base64` of the key and the GUID.
    let expected = "\r\nSec-WebSocket-Accept: OfS0wDaT5NoxF2gqm7Zj2YtetzM=\r\n";
    assert!(sent.contains(expected), "{sent}");
}

#[test]
fn frames_right_after_the_head_are_the_first_frames() {
    let wire = [
        HANDSHAKE.as_bytes(),
        &short(0x81, "early"),
        &short(0x82, [1]),
    ]
    .concat();
    let whole = run([&wire[..]], &Limits::default());
    assert_eq!(whole.seen.len(), 3);
    assert_eq!(run(wire.chunks(1), &Limits::default()), whole);
}

#[test]
fn answering_consumes_nothing_until_answered() {
    let mut connection = Connection::new();
    let mut input = [HANDSHAKE.as_bytes(), &short(0x89, "")].concat();
    let limits = Limits::default();
    let mut inflater = Inflater::default();
    let consumed = connection
        .receive(&mut input, &limits, &mut inflater)
        .consumed;
    assert_eq!(consumed, HANDSHAKE.len());
    let step = connection.receive(&mut input[consumed..], &limits, &mut inflater);
    assert_eq!((step.consumed, step.event), (0, None));
    assert_eq!(connection.phase(), Phase::Answering);
}

#[test]
fn answers_in_other_phases_do_nothing() {
    let accept = with_request(HANDSHAKE.as_bytes(), |request| {
        request.upgrade().unwrap().accept
    });
    let head = ResponseHead {
        status: 503,
        date: None,
        fields: &[],
        content_length: Some(0),
        keep: false,
    };
    let mut connection = Driver::open(Limits::default()).connection;
    let mut out = Vec::new();
    connection.accept(&accept.unwrap(), None, None, &mut out);
    assert_eq!(connection.respond(&head, &mut out), BodyFraming::None);
    connection.refuse(HandshakeError::KeyInvalid, None, &mut out);
    assert_eq!((out.len(), connection.phase()), (0, Phase::Open));
}

#[test]
fn respond_writes_the_head_and_no_field_can_be_smuggled() {
    let fields = [("Retry-After", "1"), ("X", "a\r\nSet-Cookie: b")];
    let head = ResponseHead {
        status: 503,
        date: Some(DATE),
        fields: &fields,
        content_length: Some(3),
        keep: false,
    };
    let mut connection = Connection::new();
    let mut out = Vec::new();
    assert_eq!(connection.respond(&head, &mut out), BodyFraming::Plain);
    let expected = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 3\r\n\
        Retry-After: 1\r\nX: a  Set-Cookie: b\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(connection.phase(), Phase::Closed);
}

#[test]
fn respond_without_content_has_no_length() {
    let mut out = Vec::new();
    ResponseHead {
        status: 204,
        date: None,
        fields: &[],
        content_length: Some(0),
        keep: false,
    }
    .encode(&mut out);
    assert_eq!(out, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

/// What has come of a request, and whether an answer given then has a body.
#[test]
fn respond_to_head_has_no_body_however_little_has_come() {
    let check = |begun: &str, status, has_body| {
        for piece_bytes in [1, 1000] {
            let mut connection = Connection::new();
            for piece in begun.as_bytes().chunks(piece_bytes) {
                let (limits, mut inflater) = (Limits::default(), Inflater::default());
                connection.receive(&mut piece.to_vec(), &limits, &mut inflater);
            }
            let head = ResponseHead {
                status,
                date: None,
                fields: &[],
                content_length: Some(3),
                keep: false,
            };
            let responded = connection.respond(&head, &mut Vec::new()) != BodyFraming::None;
            assert_eq!(responded, has_body, "{status} to {begun:?}");
        }
    };
    let whole = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    for begun in ["HEAD ", "HEAD /", "\r\n\r\nHEAD / HTTP", whole, "HEAD /\0"] {
        check(begun, 408, false);
    }
    for begun in [
        "", "HEA", "HEAD", "HEADER /", "GET /", "head / ", "\r\n", "\0HEAD ",
    ] {
        check(begun, 408, true);
    }
    let get = whole.replacen("HEAD", "GET", 1);
    for (status, has_body) in [(200, true), (204, false), (304, false), (404, true)] {
        check(&get, status, has_body);
        check(whole, status, false);
    }
}

#[test]
fn refusals_of_head_are_those_of_get_without_the_body() {
    let limits = Limits::default();
    let mut checked = 0;
    for Head {
        name,
        wire,
        refused,
    } in heads()
    {
        let Some(rest) = wire.strip_prefix(b"GET ") else {
            continue;
        };
        let head = [b"HEAD ", rest].concat();
        let outcome = run([&head[..]], &limits);
        let sent = String::from_utf8(outcome.sent.clone()).unwrap();
        // HEAD opens nothing, and is refused for that only where all else is right.
        let (answer, body) = sent.split_once("\r\n\r\n").unwrap();
        assert_eq!((outcome.phase, body), (Phase::Closed, ""), "{name}: {sent}");
        assert!(answer.contains(&format!("\r\nDate: {DATE}\r\n")), "{sent}");
        for cut in 1..head.len().min(600) {
            let (first, second) = head.split_at(cut);
            assert_eq!(
                run([first, second], &limits),
                outcome,
                "{name}, cut at {cut}"
            );
        }
        let is_of_get = outcome.seen.first() == refused.map(|it| Seen::Failed(it.into())).as_ref();
        if is_of_get {
            let to_get = String::from_utf8(run([&wire[..]], &limits).sent).unwrap();
            assert!(
                to_get.starts_with(&sent) && to_get.len() > sent.len(),
                "{name}"
            );
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

#[test]
fn refusals_each_have_their_status() {
    use HandshakeError as E;
    let status = |error: E| match error {
        E::UpgradeMethod => 405,
        E::UpgradeMissing | E::VersionMissing | E::VersionUnsupported => 426,
        E::HttpVersion => 505,
        E::BodyTooLarge => 413,
        E::ExpectationUnknown => 417,
        _ => 400,
    };
    for error in heads().iter().filter_map(|head| head.refused) {
        assert_eq!(error.status(), status(error), "{}", error.name());
    }
    assert_eq!(E::RequestLineTooLong.status(), 414);
    assert_eq!(E::HeadTooLarge.status(), 431);
    assert_eq!(E::TooManyFields.status(), 431);
}

#[test]
fn refusals_carry_what_their_status_demands() {
    let check = |from: &str, to: &str, start: &str, fields: &str, sentence: &str| {
        let head = HANDSHAKE.replacen(from, to, 1);
        let sent = run([head.as_bytes()], &Limits::default()).sent;
        let sent = String::from_utf8(sent).unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!(
                "HTTP/1.1 {start}\r\nConnection: close\r\nDate: {DATE}\r\n"
            )),
            "{head}"
        );
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(head.ends_with(fields), "{head}");
        assert_eq!(body, sentence);
    };
    check(
        "Version: 13",
        "Version: 12",
        "426 Upgrade Required",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
        "The only WebSocket version spoken here is 13.\n",
    );
    check(
        "GET",
        "PUT",
        "405 Method Not Allowed",
        "Allow: GET",
        "A WebSocket handshake must use the method GET.\n",
    );
    check(
        "Host",
        "Ghost",
        "400 Bad Request",
        "Content-Type: text/plain; charset=utf-8",
        "A request must carry a Host field.\n",
    );
}

#[test]
fn limits_of_the_head_hold_at_their_edge() {
    let check = |limits: &Limits, head: &str, expected: Option<HandshakeError>| {
        let whole = run([head.as_bytes()], limits);
        let failed = whole.seen.iter().find_map(|seen| match seen {
            Seen::Failed(error) => Some(*error),
            _ => None,
        });
        assert_eq!(failed, expected.map(Error::from), "{} bytes", head.len());
        assert_eq!(run(head.as_bytes().chunks(7), limits), whole);
    };
    let limits = |head_bytes_max, head_fields_max, request_line_bytes_max| Limits {
        head_bytes_max,
        head_fields_max,
        request_line_bytes_max,
        ..Limits::default()
    };
    let bytes = HANDSHAKE.len();
    check(&limits(bytes, 7, 22), HANDSHAKE, None);
    check(
        &limits(bytes - 1, 7, 22),
        HANDSHAKE,
        Some(HandshakeError::HeadTooLarge),
    );
    check(
        &limits(bytes, 5, 22),
        HANDSHAKE,
        Some(HandshakeError::TooManyFields),
    );
    check(
        &limits(bytes, 7, 21),
        HANDSHAKE,
        Some(HandshakeError::RequestLineTooLong),
    );
    // Before the end of the line, or of the head, was seen.
    check(
        &limits(999, 7, 50),
        &"x".repeat(51),
        Some(HandshakeError::RequestLineTooLong),
    );
    check(
        &limits(50, 7, 99),
        &"x".repeat(51),
        Some(HandshakeError::HeadTooLarge),
    );
    check(
        &limits(50, 7, 99),
        &"\r\n".repeat(26),
        Some(HandshakeError::HeadTooLarge),
    );
    let begun = "GET / HTTP/1.1\r\nA: b\r\nC: d\r\nE";
    check(
        &limits(99, 2, 99),
        begun,
        Some(HandshakeError::TooManyFields),
    );
    // No setting exceeds what the parser has place for.
    let many = "A: b\r\n".repeat(251);
    let check_many = |fields: &str, expected| {
        let head = HANDSHAKE.replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
        check(&limits(99_999, 9_999, 99), &head, expected);
    };
    check_many(&many[6..], None);
    check_many(&many, Some(HandshakeError::TooManyFields));
}

#[test]
fn head_may_be_long_only_for_a_get_of_a_long_target() {
    let limits = Limits {
        head_bytes_max: 300,
        request_line_bytes_max: 100,
        long_targets: &["/sse?", "/other?"],
        long_head_bytes_max: 900,
        ..Limits::default()
    };
    let check = |begin: &str, line_bytes: usize, rest: &str, expected: Option<HandshakeError>| {
        let filler = "x".repeat(line_bytes - begin.len() - " HTTP/1.1".len());
        let head = format!("{begin}{filler} HTTP/1.1\r\nHost: a\r\n{rest}\r\n");
        for piece_bytes in [1, 7, head.len()] {
            let whole = run(head.as_bytes().chunks(piece_bytes), &limits);
            let failed = whole.seen.iter().find_map(|seen| match seen {
                Seen::Failed(error) => Some(*error),
                _ => None,
            });
            assert_eq!(
                failed,
                expected.map(Error::from),
                "{begin} {line_bytes} {piece_bytes}"
            );
        }
    };
    let too_long = Some(HandshakeError::RequestLineTooLong);
    let too_large = Some(HandshakeError::HeadTooLarge);
    let long_field = format!("A: {}\r\n", "y".repeat(400));
    check("GET /sse?a=", 100, "", None);
    check("GET /sse?a=", 880, "", None);
    check("GET /other?", 400, &long_field, None);
    check("\r\n\r\nGET /sse?", 400, "", None);
    check("GET /sse?a=", 901, "", too_large);
    check("GET /sse?a=", 600, &long_field, too_large);
    check("GET /sse?", 90, &long_field, None);
    for begin in [
        "GET /sse",
        "GET /sses?",
        "POST /sse?",
        "GET  /sse?",
        "get /sse?",
        "GET /a/sse?",
    ] {
        check(begin, 101, "", too_long);
        check(begin, 90, &long_field, too_large);
    }
}

#[test]
fn targets_each_form_give_path_query_and_host() {
    let check = |target: &str, path: &str, query: Option<&str>, host: &str| {
        let head = HANDSHAKE.replacen("/room?a=b", target, 1);
        with_request(head.as_bytes(), |request| {
            assert_eq!(request.target(), target);
            assert_eq!(
                (request.path(), request.query(), request.host()),
                (path, query, host)
            );
        })
        .unwrap();
    };
    check("/", "/", None, "example.com:80");
    check("/a%20b?c?d", "/a%20b", Some("c?d"), "example.com:80");
    check("/?", "/", Some(""), "example.com:80");
    check("/x?u=http://y", "/x", Some("u=http://y"), "example.com:80");
    check("*", "*", None, "example.com:80");
    check("http://h:1/a?b", "/a", Some("b"), "h:1");
    check("WSS://[::1]:8", "/", None, "[::1]:8");
    check("https://h?q", "/", Some("q"), "h");
}

#[test]
fn request_without_upgrade_is_plain_http() {
    let head = "POST /api HTTP/1.0\r\nOrigin: null\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
    with_request(head.as_bytes(), |request| {
        assert_eq!((request.method(), request.version_minor()), ("POST", 0));
        assert_eq!((request.host(), request.origin()), ("", Some(&b"null"[..])));
        assert_eq!(request.field("X-a"), Some(&b"1"[..]));
        assert!(request.fields("X-A").eq([b"1", b"2"]));
        assert!(!request.wants_upgrade());
    })
    .unwrap();
}

#[test]
fn subprotocols_are_offered_in_order_and_the_server_prefers() {
    let check = |offer: &str, offered: &[&str], chosen| {
        let head = HANDSHAKE.replacen("Sec-WebSocket-Protocol: a, chat", offer, 1);
        with_request(head.as_bytes(), |request| {
            assert!(
                request.subprotocols().eq(offered.iter().copied()),
                "{offer}"
            );
            assert_eq!(negotiate(request, &["v2", "v1"]), chosen, "{offer}");
        })
        .unwrap();
    };
    check("X: y", &[], None);
    check("Sec-WebSocket-Protocol: v1 ,v2", &["v1", "v2"], Some("v2"));
    check(
        "Sec-WebSocket-Protocol: v1\r\nsec-websocket-protocol: b",
        &["v1", "b"],
        Some("v1"),
    );
    check("Sec-WebSocket-Protocol: ,, V1, no token, é", &["V1"], None);
}

#[test]
fn debug_shows_no_value_of_a_field() {
    let head = HANDSHAKE.replacen("Sec-WebSocket-Protocol: a", "Authorization: Bearer hush", 1);
    let head = head.replacen("a=b", "token=hush", 1);
    with_request(head.as_bytes(), |request| {
        assert!(!format!("{request:?}").contains("hush"));
    })
    .unwrap();
    let mut driver = Driver::new(Limits::default());
    driver.feed(b"GET / HTTP/1.1\r\nAuthorization: 42");
    // The bytes, and the box that they lie in.
    let shown = "Connection { phase: Handshake, buffered_bytes: 97, owes: false }";
    assert_eq!(format!("{:?}", driver.connection), shown);
}
