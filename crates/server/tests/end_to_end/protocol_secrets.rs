//! Whatever a client of the Centrifuge protocol says, over whatever transport, none of it gets into the log, the metrics
//! or the debug pages: tokens, what they claim, keys, sessions, query strings, bodies, names of rooms and messages.

use serde_json::{Value, json};

use crate::{
    client::{Client, ask, binary, get_internal},
    commands::{Configured, OPEN, PATH, SECRET, Session, in_seconds, protobuf, signed, token},
    harness::{Driver, Server, eventually},
    streamed::{
        EMULATION, HTTP_STREAM, ONE_WAY, SSE, STREAMS, Stream, Streamed, begin, emulate, post,
    },
    wire::{self, Raw, UPGRADE},
};

on_both_drivers![secrets_of_sessions_reach_neither_log_nor_metrics_nor_pages];

/// Whatever has this in it must not be seen again.
const CANARY: &str = "correct-horse-battery";

/// Everything that must not be seen: the canary, and what has it in it in another form.
struct Secrets(Vec<String>);

impl Secrets {
    /// A token with these claims, of which each part but the first is a secret.
    fn token(&mut self, claims: &Value) -> String {
        self.note(token(claims))
    }

    fn note(&mut self, token: String) -> String {
        let parts = token
            .split('.')
            .skip(1)
            .filter(|part| part.len() > 8 && *part != CANARY);
        self.0.extend(parts.map(str::to_owned));
        token
    }
}

fn secrets_of_sessions_reach_neither_log_nor_metrics_nor_pages(driver: Driver) {
    let tables = format!(
        "[rooms]{OPEN}history_size = 10\nread_history = [\"client\", \"anonymous\"]\nraw = \"publish\"\n\
         [namespaces.closed]\n"
    );
    let configured = Configured::start_telling_all(driver, "", &tables);
    let server = &configured.server;
    let mut secrets = Secrets(vec![CANARY.to_owned(), SECRET.to_owned()]);
    let mut stays = speak_as_somebody(server, &mut secrets);
    let ended = show_bad_tokens(server, &mut secrets)
        + say_what_is_wrong(server)
        + ask_in_all_ways(server, &mut secrets)
        + speak_over_streams(server, &mut secrets)
        + ask_wrongly_over_http(server, &mut secrets);
    eventually("all ends are logged", || {
        server.log().matches("connection ended").count() >= ended
    });
    let log = server.log();
    for told in [
        "a token was refused",
        "was denied a right",
        "a subscription token does not hold",
        "frame cannot be read",
    ] {
        assert!(log.contains(told), "the log tells of each: {told}");
    }
    check("the log", &log, &secrets.0);
    let page = |path| {
        let page = get_internal(server, path);
        assert_eq!(page.status, 200, "{path}");
        String::from_utf8(page.body).unwrap()
    };
    for path in [
        "/metrics",
        "/debug/connections",
        "/debug/latency",
        "/readyz",
    ] {
        check(path, &page(path), &secrets.0);
    }
    // Operators see there which rooms stand out, by their names, which have the canary in them.
    check("/debug/rooms", &page("/debug/rooms"), &secrets.0[1..]);
    assert_eq!(stays.ask(r#"{"id":90,"rpc":{}}"#)["error"]["code"], 108);
}

#[track_caller]
fn check(place: &str, text: &str, secrets: &[String]) {
    for line in text.lines() {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} is in {place}: {line}");
        }
    }
}

/// A session of a user that does everything that works, and stays open.
fn speak_as_somebody(server: &Server, secrets: &mut Secrets) -> Session {
    let mut claims = json!({
        "sub": CANARY, "exp": in_seconds(600), "info": {"a": CANARY}, "meta": {"a": CANARY},
        "jti": CANARY, "iss": CANARY, "aud": CANARY, "channels": [format!("own-{CANARY}")],
    });
    let first = secrets.token(&claims);
    claims["exp"] = json!(in_seconds(900));
    let second = secrets.token(&claims);
    let room = format!("$room-{CANARY}");
    let subscription = json!({"sub": CANARY, "channel": room, "info": {"b": CANARY}});
    let subscription = secrets.token(&subscription);

    let mut session = Session::open(server);
    let connect = json!({"id": 1, "connect": {
        "token": first, "data": CANARY, "name": CANARY, "version": CANARY, "headers": {CANARY: CANARY},
    }});
    let connected = session.ask(&connect.to_string());
    let client = connected["connect"]["client"].as_str().unwrap();
    secrets.0.push(client.to_owned());
    for (id, command) in (2..).zip([
        json!({"refresh": {"token": second}}),
        json!({"subscribe": {"channel": room, "token": subscription, "data": CANARY}}),
        json!({"publish": {"channel": room, "data": CANARY}}),
        json!({"history": {"channel": room, "limit": 5}}),
        json!({"presence": {"channel": room}}),
        json!({"sub_refresh": {"channel": room, "token": subscription}}),
        json!({"unsubscribe": {"channel": room}}),
    ]) {
        let mut command = command;
        command["id"] = json!(id);
        let reply = session.ask(&command.to_string());
        assert!(reply["error"].is_null(), "{command}: {reply}");
    }
    session
}

/// Tokens that are refused, each for another reason; returns on how many connections.
fn show_bad_tokens(server: &Server, secrets: &mut Secrets) -> usize {
    let hour = in_seconds(3_600);
    let good = json!({"sub": CANARY, "exp": hour});
    let headers = [
        json!({"alg": "none", "kid": CANARY}),
        json!({"alg": CANARY}),
        json!({"alg": "RS256", "kid": CANARY, "jwk": {"k": CANARY}}),
        json!({"alg": "HS512", "typ": CANARY}),
        json!({"alg": "HS256", "crit": [CANARY]}),
    ];
    let mut tokens: Vec<_> = headers
        .iter()
        .map(|header| signed(&header.to_string(), &good))
        .collect();
    let claims = [
        json!({"sub": {CANARY: CANARY}}),
        json!({"sub": CANARY, "exp": CANARY}),
        json!({"sub": CANARY, "exp": 1}),
        json!({"sub": CANARY, "expire_at": 1}),
        json!({"sub": CANARY, "channels": [{CANARY: 1}]}),
        json!({"sub": CANARY, "subs": {CANARY: 5}}),
        json!({"sub": CANARY, "subs": {CANARY: {"override": {CANARY: CANARY, "presence": CANARY}}}}),
        json!({"sub": CANARY, "b64info": CANARY}),
        json!({"sub": CANARY, "channel": CANARY}),
        json!({"sub": CANARY, "channels": [format!("{CANARY}:x")]}),
        json!({"sub": CANARY, "info": "x".repeat(5_000)}),
    ];
    tokens.extend(claims.iter().map(token));
    tokens.push(format!("{CANARY}.{CANARY}.{CANARY}"));
    tokens.push(CANARY.to_owned());
    for token in &tokens {
        secrets.note(token.clone());
        let mut session = Session::open(server);
        session.send(json!({"id": 1, "connect": {"token": token}}).to_string());
        let answer = session.hear();
        drop(session);
        assert!(!format!("{answer:?}").contains("connect"), "{answer:?}");
        let mut session = Session::anonymous(server);
        session.send(json!({"id": 2, "refresh": {"token": token}}).to_string());
        session.closed();
        let mut session = Session::anonymous(server);
        let subscribe = json!({"id": 2, "subscribe": {"channel": CANARY, "token": token}});
        assert!(session.ask(&subscribe.to_string())["error"].is_object());
    }
    tokens.len() * 3
}

/// Mistakes of all kinds; returns on how many connections.
fn say_what_is_wrong(server: &Server) -> usize {
    let mut session = Session::anonymous(server);
    for command in [
        json!({"id": 2, "subscribe": {"channel": format!("$private-{CANARY}")}}),
        json!({"id": 2, "subscribe": {"channel": format!("closed:{CANARY}")}}),
        json!({"id": 2, "subscribe": {"channel": format!("{CANARY}:x")}}),
        json!({"id": 2, "subscribe": {"channel": format!("é{CANARY}")}}),
        json!({"id": 2, "subscribe": {"channel": CANARY, "tf": {"key": CANARY}}}),
        json!({"id": 2, "publish": {"channel": format!("closed:{CANARY}"), "data": CANARY}}),
        json!({"id": 2, "publish": {"channel": CANARY}}),
        json!({"id": 2, "history": {"channel": CANARY, "since": {"epoch": CANARY}, "limit": 1}}),
        json!({"id": 2, "presence": {"channel": format!("closed:{CANARY}")}}),
        json!({"id": 2, "rpc": {"method": CANARY, "data": CANARY}}),
    ] {
        let reply = session.ask(&command.to_string());
        assert!(reply["error"].is_object(), "{command}: {reply}");
    }
    let frames = [
        format!("{{\"id\":2,\"{CANARY}\":"),
        format!("{{\"{CANARY}\":{{\"{CANARY}\":\"{CANARY}\"}}}}"),
        format!("{{\"id\":\"{CANARY}\"}}"),
        format!("{{\"id\":2,\"subscribe\":{{\"channel\":{{\"{CANARY}\":1}}}}}}"),
        format!("{{\"id\":2,\"subscribe\":{{\"channel\":\"a\",\"delta\":\"{CANARY}\"}}}}"),
        format!("{{\"send\":{{\"data\":\"{CANARY}\"}}}}"),
        CANARY.to_owned(),
    ];
    for frame in &frames {
        let mut session = Session::anonymous(server);
        session.send(frame.as_str());
        session.closed();
    }
    let mut client = protobuf(server);
    client.send(binary(CANARY.as_bytes().to_vec()));
    assert_eq!(client.closed(), 3501);
    frames.len() + 2
}

/// Sessions over HTTP and streams of those who never ask; returns how many connections were opened and have ended.
fn speak_over_streams(server: &Server, secrets: &mut Secrets) -> usize {
    let token = secrets.token(&json!({"sub": CANARY, "exp": in_seconds(3_600)}));
    let expired = secrets.token(&json!({"sub": CANARY, "exp": 1}));
    let connect = json!({"id": 1, "connect": {"token": token, "data": CANARY, "name": CANARY}});
    let mut ended = 0;
    for path in STREAMS {
        let mut stream = Stream::ask(server, begin(path, &connect.to_string()));
        let said = stream.reply();
        let text = |name: &str| said["connect"][name].as_str().unwrap().to_owned();
        let mut session = Streamed {
            session: text("session"),
            node: text("node"),
            stream,
        };
        // The whole, and the part that is hard to guess.
        secrets.0.push(session.session[14..].to_owned());
        secrets.0.push(session.node.clone());
        for (id, command) in (2..).zip([
            json!({"subscribe": {"channel": format!("room-{CANARY}"), "data": CANARY}}),
            json!({"publish": {"channel": format!("room-{CANARY}"), "data": CANARY}}),
            json!({"rpc": {"method": CANARY}}),
        ]) {
            let mut command = command;
            command["id"] = json!(id);
            session.ask(server, &command.to_string());
        }
        // A frame that cannot be read ends it.
        session.send(server, &format!("{{\"{CANARY}"));
        assert_eq!(session.stream.closed().0, 3501);
        ended += 5;
    }
    let wanted = json!({"token": token, "subs": {format!("room-{CANARY}"): {}}, "data": CANARY});
    for path in ONE_WAY {
        let mut stream = Stream::ask(server, begin(path, &wanted.to_string()));
        assert!(stream.reply()["connect"].is_object());
        let bad = json!({"token": expired, "name": CANARY}).to_string();
        assert_eq!(Stream::ask(server, begin(path, &bad)).closed().0, 3005);
        let unknown = json!({"subs": {format!("{CANARY}:x"): {}}}).to_string();
        assert_eq!(Stream::ask(server, begin(path, &unknown)).closed().0, 3501);
        ended += 3;
    }
    let target = format!("/connection/uni_websocket?cf_connect=%7B%22token%22:%22{token}%22%7D");
    drop(Client::connect(server, &target));
    ended + 1
}

/// Requests over HTTP that are refused, each for another reason; returns how many.
fn ask_wrongly_over_http(server: &Server, secrets: &mut Secrets) -> usize {
    let token = secrets.token(&json!({"sub": CANARY, "exp": in_seconds(3_600)}));
    let victim = Streamed::anonymous(server, HTTP_STREAM);
    let (session, node) = (&victim.session, &victim.node);
    secrets.0.push(session[14..].to_owned());
    let foreign = "Origin: https://elsewhere.example";
    let query = format!("cf_connect=%7B%22token%22:%22{token}%22,%22{CANARY}%22");
    let get =
        |path: &str, query: &str| wire::request("GET", &format!("{path}?{query}"), &[foreign]);
    let body = json!({"session": session, "node": node, "data": CANARY}).to_string();
    let requests = [
        // Pages of other sites, with all that they may have learned.
        (get(SSE, &query), 403),
        (get(ONE_WAY[1], &query), 403),
        (post(EMULATION, &[foreign], &body), 403),
        (post(HTTP_STREAM, &[foreign], &body), 403),
        // What cannot be read.
        (begin(ONE_WAY[1], &format!("[{CANARY}")), 400),
        (begin(ONE_WAY[0], &format!("{{{token}")), 400),
        (
            wire::request("GET", &format!("{SSE}?{CANARY}={token}"), &[]),
            400,
        ),
        (post(EMULATION, &[], CANARY), 400),
        (
            post(
                EMULATION,
                &[],
                &format!("{{\"session\":\"{session}\",\"{CANARY}\""),
            ),
            400,
        ),
        (
            post(
                EMULATION,
                &["Content-Type: application/octet-stream"],
                CANARY,
            ),
            400,
        ),
        // What is too long, or not asked for in this way.
        (
            wire::request(
                "GET",
                &format!("{SSE}?{query}{}", "x".repeat(65 << 10)),
                &[],
            ),
            431,
        ),
        (post(HTTP_STREAM, &[], &CANARY.repeat(4_000)), 413),
        (post(EMULATION, &[], &body).replacen("POST", "PUT", 1), 405),
        (wire::request("DELETE", &format!("{SSE}?{query}"), &[]), 405),
    ];
    for (request, status) in &requests {
        let answer = ask(server, request);
        assert_eq!(
            answer.status,
            *status,
            "{}",
            &request[..request.len().min(200)]
        );
    }
    assert_eq!(emulate(server, session, CANARY, "{}").status, 404);
    assert_eq!(emulate(server, CANARY, node, CANARY).status, 204);
    requests.len() + 3
}

/// Query strings, fields and subprotocols; returns how many connections were opened and have ended.
fn ask_in_all_ways(server: &Server, secrets: &mut Secrets) -> usize {
    let good = secrets.token(&json!({"sub": CANARY, "exp": in_seconds(3_600)}));
    let bad = secrets.token(&json!({"sub": CANARY, "exp": 1}));
    let bearers = [&good, &bad].map(|token| format!("Bearer {token}"));
    let offers = [&good, &bad].map(|token| format!("hubbub, hubbub.token.{token}"));
    let mut asked = 0;
    for token in [&good, &bad] {
        for path in [
            format!("{PATH}?token={token}&cf_connect={CANARY}&api_key={CANARY}"),
            format!("/rooms/r?token={token}&{CANARY}={CANARY}"),
            format!("/rooms/r?{CANARY}&last={CANARY}&token={token}"),
            format!("/rooms/r?token={token}&since={CANARY}:{CANARY}&age={CANARY}"),
            format!("/rooms/r?token={token}&mode=publish&echo=0&secret={CANARY}"),
            format!("/rooms/r?token={token}&positions=1&last=5&{CANARY}=%{CANARY}"),
            format!("/rooms/{CANARY}?token={token}&positions=1&since={CANARY}:1"),
        ] {
            asked += 1;
            drop(Client::connect_to(server.address(), &path, &[]));
        }
        let origin = ["Origin: https://elsewhere.example"];
        let fields: Vec<_> = UPGRADE.into_iter().chain(origin).collect();
        asked += 1;
        let target = format!("{PATH}?token={token}");
        let answer = ask(server, wire::request("GET", &target, &fields));
        assert_eq!(answer.status, 403);
    }
    for token in [&good, &bad] {
        let bearer = format!("Authorization: Bearer {token}");
        let id = format!("Last-Event-ID: {CANARY}:1");
        for target in [
            format!("/rooms/r/sse?token={token}&{CANARY}={CANARY}"),
            format!("/rooms/{CANARY}/sse?last=1&{CANARY}"),
            format!("/rooms/closed:{CANARY}/sse?since={CANARY}:1"),
        ] {
            asked += 1;
            let request = wire::request("GET", &target, &[&bearer, &id]);
            drop(Stream::ask(server, request));
        }
    }
    for (name, values) in [
        ("authorization", bearers),
        ("sec-websocket-protocol", offers),
    ] {
        for value in &values {
            asked += 1;
            drop(Client::with_fields(server, "/rooms/r", &[(name, value)]));
        }
    }
    let mut raw = Raw::open(server, "/rooms/r");
    raw.send(wire::frame(wire::TEXT, CANARY.as_bytes()));
    assert_eq!(raw.message().payload, CANARY.as_bytes());
    asked + 1
}
