//! One-shot rooms: made on request, opened by their secret to one page at a time, for one message within their life.

use std::thread;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::{
    client::{Client, ask, get_internal, scrape},
    commands::{Configured, PATH, SECRET, Session, settings, token},
    harness::{Driver, Server, eventually},
    internal::check,
    oneshot_rooms::{OneShot, RULES, make, post},
    reload::Reloading,
    streamed::{End, Stream},
    wire::{self, UPGRADE},
};

on_both_drivers![
    page_hears_the_one_message_whatever_it_and_its_publisher_speak,
    whoever_shows_the_wrong_thing_gets_one_refusal,
    second_page_with_the_secret_replaces_the_first,
    page_that_is_loaded_again_gets_the_message,
    page_whose_message_is_lost_is_told,
    page_of_a_stream_hears_the_message_once_and_gives_way_for_good,
    publisher_hears_nothing_and_no_other_right_opens_the_room,
    of_publishers_at_once_one_is_heard,
    message_that_is_refused_by_its_home_leaves_the_place_to_another,
    room_is_over_for_all_when_its_life_is,
    reload_that_turns_them_off_or_on_ends_whoever_is_there,
    name_and_secret_reach_neither_log_nor_metrics_nor_pages,
];

impl OneShot {
    /// A page that speaks the protocol of SDKs, and what it was told when it came.
    fn page(&self, server: &Server) -> (Session, Value) {
        let mut session = Session::anonymous(server);
        let data = json!({"secret": self.secret});
        let subscribed = subscribe(&mut session, &json!({"channel": self.room, "data": data}));
        assert!(subscribed["subscribe"].is_object(), "{subscribed}");
        (session, subscribed["subscribe"].clone())
    }

    fn publisher(&self, server: &Server) -> Session {
        let mut session = of_user(server, "7");
        let wish = json!({"channel": self.room, "token": self.token()});
        let subscribed = subscribe(&mut session, &wish);
        assert!(subscribed["subscribe"].is_object(), "{subscribed}");
        session
    }

    /// Publishes as the user of an SDK, and returns the reply.
    fn publish(&self, session: &mut Session, data: &Value) -> Value {
        let command = json!({"id": 1_000, "publish": {"channel": self.room, "data": data}});
        session.ask(&command.to_string())
    }
}

fn subscribe(session: &mut Session, wish: &Value) -> Value {
    session.ask(&json!({"id": 2, "subscribe": wish}).to_string())
}

fn of_user(server: &Server, user: &str) -> Session {
    let mut session = Session::open(server);
    let connect = json!({"id": 1, "connect": {"token": token(&json!({"sub": user}))}});
    let connected = session.ask(&connect.to_string());
    assert!(connected["connect"].is_object(), "{connected}");
    session
}

/// The next push, which must be a message.
#[track_caller]
fn message(session: &mut Session) -> Value {
    let push = session.reply();
    let data = &push["push"]["pub"]["data"];
    assert!(!data.is_null(), "{push}");
    data.clone()
}

#[track_caller]
fn closed(client: &mut Client) -> (u16, String) {
    match client.next() {
        Ok(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("no close frame but {other:?}"),
    }
}

fn page_hears_the_one_message_whatever_it_and_its_publisher_speak(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--cores", "2"]);
    let server = &configured.server;
    let (ticket, late) = (json!({"ticket": "1"}), json!({"ticket": "2"}));
    for (is_raw_page, is_raw_publisher) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let shot = make(server, "login");
        let mut raw = is_raw_page.then(|| shot.raw_page(server));
        let mut page = (!is_raw_page).then(|| shot.page(server));
        if is_raw_publisher {
            // It is told when its message has its place.
            let mut publisher = shot.raw_publisher(server);
            publisher.send(ticket.to_string());
            assert_eq!(closed(&mut publisher).0, 1000);
            let mut second = shot.raw_publisher(server);
            second.send(late.to_string());
            assert_eq!(
                closed(&mut second),
                (1008, "the one-shot room has had its message".into())
            );
        } else {
            let mut publisher = shot.publisher(server);
            let published = shot.publish(&mut publisher, &ticket);
            assert!(published["publish"].is_object(), "{published}");
            for _ in 0..2 {
                let refused = shot.publish(&mut publisher, &late);
                assert_eq!(refused["error"]["code"], 106, "{refused}");
            }
        }
        if let Some(raw) = &mut raw {
            let heard: Value = serde_json::from_str(&raw.text()).unwrap();
            assert_eq!(heard, ticket);
            raw.send("I do not publish");
            assert_eq!(raw.closed(), 1008);
        }
        if let Some((page, subscribed)) = &mut page {
            assert!(subscribed["publications"].is_null(), "{subscribed}");
            assert_eq!(message(page), ticket);
            let refused = shot.publish(page, &late);
            assert_eq!(refused["error"]["code"], 103, "{refused}");
        }
    }
    check(
        &scrape(server),
        &[
            ("hubbub_oneshot_rooms", 4.0),
            ("hubbub_oneshot_rooms_created_total", 4.0),
            (
                r#"hubbub_oneshot_rooms_ended_total{outcome="answered"}"#,
                4.0,
            ),
            (
                r#"hubbub_oneshot_rooms_ended_total{outcome="unanswered"}"#,
                0.0,
            ),
            (r#"hubbub_oneshot_refused_total{reason="message"}"#, 6.0),
        ],
    );
}

fn whoever_shows_the_wrong_thing_gets_one_refusal(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let server = &configured.server;
    let (shot, other) = (make(server, "login"), make(server, "login"));
    let framed = make(server, "framed");
    let nowhere = "login:AAAAAAAAAAAAAAAAAAAAAA";
    let unpublishing = token(&json!({"sub": "", "channel": shot.room}));
    let of_nowhere = token(&json!({"sub": "", "channel": nowhere, "publish": true}));
    let room = &shot.room;
    let mut refusals = Vec::new();
    for wish in [
        json!({"channel": room}),
        json!({"channel": room, "data": {"secret": other.secret}}),
        json!({"channel": room, "data": {"secret": ""}}),
        json!({"channel": room, "data": {"secret": 5}}),
        json!({"channel": room, "data": shot.secret}),
        json!({"channel": nowhere, "data": {"secret": shot.secret}}),
        json!({"channel": nowhere, "data": {"secret": ""}}),
        json!({"channel": format!("${room}"), "data": {"secret": shot.secret}}),
        json!({"channel": room, "token": unpublishing}),
        json!({"channel": nowhere, "token": of_nowhere}),
    ] {
        let mut session = Session::anonymous(server);
        refusals.push(subscribe(&mut session, &wish));
    }
    let refused = json!({"id": 2, "error": {"code": 103, "message": "permission denied"}});
    assert!(refusals.iter().all(|it| *it == refused), "{refusals:?}");

    let mut answers = Vec::new();
    for path in [
        room.clone(),
        format!("{room}?secret={}", other.secret),
        format!("{room}?secret="),
        format!("{nowhere}?secret={}", shot.secret),
        format!("{nowhere}?secret="),
        format!("%24{room}?secret={}", shot.secret),
        format!("{room}?token={unpublishing}"),
        format!("{nowhere}?token={of_nowhere}"),
        // Raw clients have no access there, whatever they show.
        format!("{}?secret={}", framed.room, framed.secret),
        format!("{}?token={}", framed.room, framed.token()),
    ] {
        let answer = ask(
            server,
            wire::request("GET", &format!("/rooms/{path}"), &UPGRADE),
        );
        answers.push((answer.status, String::from_utf8(answer.body).unwrap()));
    }
    let expected = (
        403,
        "This room is not open to you; at log_level debug the server's log says why.\n".to_owned(),
    );
    assert!(answers.iter().all(|it| *it == expected), "{answers:?}");
    let bad = ask(
        server,
        wire::request("GET", &format!("/rooms/{room}?token=x"), &UPGRADE),
    );
    assert_eq!(bad.status, 401);
    drop((shot.raw_page(server), other.page(server)));
    let entry = r#"hubbub_oneshot_refused_total{reason="entry"}"#;
    check(&scrape(server), &[(entry, 20.0)]);
}

fn second_page_with_the_secret_replaces_the_first(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--cores", "2"]);
    let server = &configured.server;
    let shot = make(server, "login");
    let replaced = "another client has come with the secret of the room".to_owned();
    let mut first = shot.raw_page(server);
    let (mut second, _) = shot.page(server);
    assert_eq!(closed(&mut first), (1008, replaced));
    let (mut third, _) = shot.page(server);
    let unsubscribe = json!({"code": 2101, "reason": "replaced"});
    let push = json!({"push": {"channel": shot.room, "unsubscribe": unsubscribe}});
    assert_eq!(second.reply(), push);
    // Whoever publishes replaces nobody.
    let mut publisher = shot.publisher(server);
    shot.publish(&mut publisher, &json!(1));
    assert_eq!(message(&mut third), 1);
    // The second may come again, and then the third has to go.
    let data = json!({"secret": shot.secret});
    let again = subscribe(&mut second, &json!({"channel": shot.room, "data": data}));
    assert_eq!(again["subscribe"]["publications"][0]["data"], 1, "{again}");
    assert_eq!(third.reply(), push);
}

fn page_that_is_loaded_again_gets_the_message(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--cores", "2"]);
    let server = &configured.server;
    let shot = make(server, "login");
    drop(shot.raw_page(server));
    let mut publisher = shot.publisher(server);
    shot.publish(&mut publisher, &json!({"ticket": "1"}));
    for _ in 0..2 {
        let mut raw = shot.raw_page(server);
        assert_eq!(raw.text(), r#"{"ticket":"1"}"#);
        let (_, subscribed) = shot.page(server);
        let publications = json!([{"data": {"ticket": "1"}, "offset": 1, "info": subscribed["publications"][0]["info"]}]);
        assert_eq!(subscribed["publications"], publications);
        assert_eq!(subscribed["recovered"], true);
    }
    // A page whose connection was cut and that has the message does not get it twice.
    let mut session = Session::anonymous(server);
    let data = json!({"secret": shot.secret});
    let wish = json!({"channel": shot.room, "data": data, "recover": true, "offset": 1});
    let subscribed = subscribe(&mut session, &wish);
    assert_eq!(subscribed["subscribe"]["recovered"], true, "{subscribed}");
    assert!(
        subscribed["subscribe"]["publications"].is_null(),
        "{subscribed}"
    );
}

/// There is no memory to keep all messages for those who come later, and the oldest gives first.
fn page_whose_message_is_lost_is_told(driver: Driver) {
    let flags = ["--cores", "1", "--history-bytes-max", "1MiB"];
    let configured = Configured::start(driver, "", RULES, &flags);
    let server = &configured.server;
    let shot = make(server, "login");
    let (mut page, _) = shot.page(server);
    let long = json!("x".repeat(60 << 10));
    shot.publish(&mut shot.publisher(server), &long);
    assert_eq!(message(&mut page), long);
    for _ in 0..20 {
        let other = make(server, "login");
        other.publish(&mut other.publisher(server), &long);
    }
    let (_, subscribed) = shot.page(server);
    assert_eq!(subscribed["was_recovering"], true, "{subscribed}");
    assert!(subscribed["recovered"].is_null(), "{subscribed}");
    let mut raw = shot.raw_page(server);
    let lost = (1011, "the message of the room is lost".to_owned());
    assert_eq!(closed(&mut raw), lost);
}

fn page_of_a_stream_hears_the_message_once_and_gives_way_for_good(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--cores", "2"]);
    let server = &configured.server;
    let shot = make(server, "login");
    let request = |secret: &str, fields: &[&str]| {
        let path = format!("/rooms/{}/sse?secret={secret}", shot.room);
        wire::request("GET", &path, fields)
    };
    let mut first = Stream::ask(server, request(&shot.secret, &[]));
    assert_eq!(first.head.status, 200);
    assert_eq!(first.head.field("Content-Type"), Some("text/event-stream"));
    shot.raw_publisher(server).send(r#"{"ticket":"1"}"#);
    let event = first.event().unwrap();
    let (id, data) = event.split_once('\n').unwrap();
    assert_eq!(data, r#"data: {"ticket":"1"}"#);
    let id = id.strip_prefix("id: ").expect("an id");
    // Loaded again it gets the message; a browser that comes back with its id does not.
    let mut second = Stream::ask(server, request(&shot.secret, &[]));
    assert_eq!(second.event().as_deref(), Ok(event.as_str()));
    assert_eq!(first.event().as_deref(), Ok("id: replaced"));
    assert_eq!(first.event(), Err(End::Whole));
    let latest = format!("Last-Event-ID: {id}");
    let mut third = Stream::ask(server, request(&shot.secret, &[&latest]));
    assert_eq!(second.event().as_deref(), Ok("id: replaced"));
    // The browser of one that has given way asks again by itself, and is told not to.
    let replaced = ["Last-Event-ID: replaced"];
    assert_eq!(ask(server, request(&shot.secret, &replaced)).status, 204);
    drop(shot.raw_page(server));
    assert_eq!(
        third.event().as_deref(),
        Ok("id: replaced"),
        "and nothing before"
    );
    for secret in ["", "wrong"] {
        assert_eq!(ask(server, request(secret, &[])).status, 403);
    }
    let path = format!("/rooms/{}/sse?token={}", shot.room, shot.token());
    assert_eq!(ask(server, wire::request("GET", &path, &[])).status, 403);
}

fn publisher_hears_nothing_and_no_other_right_opens_the_room(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &["--insecure"]);
    let server = &configured.server;
    let shot = make(server, "login");
    let (mut page, _) = shot.page(server);
    let (mut listens, mut raw) = (shot.publisher(server), shot.raw_publisher(server));
    let mut publisher = shot.publisher(server);
    shot.publish(&mut publisher, &json!(1));
    assert_eq!(message(&mut page), 1);
    // The reply is the next thing that it hears.
    listens.send(json!({"id": 9, "history": {"channel": shot.room, "limit": 1}}).to_string());
    assert_eq!(listens.reply()["error"]["code"], 103);
    raw.send("2");
    assert_eq!(closed(&mut raw).0, 1008);
    let mut session = of_user(server, "8");
    for command in [
        json!({"id": 3, "publish": {"channel": shot.room, "data": 3}}),
        json!({"id": 3, "history": {"channel": shot.room, "limit": 1}}),
        json!({"id": 3, "presence": {"channel": shot.room}}),
    ] {
        let refused = session.ask(&command.to_string());
        assert!(refused["error"].is_object(), "{command}: {refused}");
    }
    let mut granted = Session::open(server);
    let claims = token(&json!({"sub": "8", "channels": [shot.room]}));
    let refused = granted.ask(&json!({"id": 1, "connect": {"token": claims}}).to_string());
    assert_eq!(refused["error"]["code"], 103, "{refused}");
    let subs = json!({shot.room.as_str(): {"data": {"secret": shot.secret}}});
    let mut asks = Session::open(server);
    let connected = asks.ask(&json!({"id": 1, "connect": {"subs": subs}}).to_string());
    assert!(connected["connect"]["subs"].is_null(), "{connected}");
}

fn of_publishers_at_once_one_is_heard(driver: Driver) {
    let flags = ["--cores", "4", "--oneshot-burst", "100"];
    let configured = Configured::start(driver, "", RULES, &flags);
    let server = &configured.server;
    for _ in 0..20 {
        let shot = make(server, "login");
        let mut page = shot.raw_page(server);
        let mut raw: Vec<_> = (0..3).map(|_| shot.raw_publisher(server)).collect();
        let mut sessions: Vec<_> = (0..3).map(|_| shot.publisher(server)).collect();
        let (by_raw, by_sdk) = thread::scope(|scope| {
            let by_raw: Vec<_> = raw
                .iter_mut()
                .map(|it| {
                    scope.spawn(move || {
                        it.send("\"raw\"");
                        usize::from(closed(it).0 == 1000)
                    })
                })
                .collect();
            let by_sdk: Vec<_> = sessions
                .iter_mut()
                .map(|it| {
                    let shot = &shot;
                    scope.spawn(move || {
                        usize::from(shot.publish(it, &json!("sdk"))["error"].is_null())
                    })
                })
                .collect();
            let sum = |all: Vec<thread::ScopedJoinHandle<'_, usize>>| -> usize {
                all.into_iter().map(|it| it.join().unwrap()).sum()
            };
            (sum(by_raw), sum(by_sdk))
        });
        assert_eq!(by_raw + by_sdk, 1);
        assert_eq!(page.text(), ["\"raw\"", "\"sdk\""][by_sdk]);
        // Nothing follows: whoever comes now gets the same one.
        let (_, subscribed) = shot.page(server);
        assert_eq!(subscribed["publications"][0]["offset"], 1, "{subscribed}");
        assert_eq!(closed(&mut page).0, 1008);
    }
}

fn message_that_is_refused_by_its_home_leaves_the_place_to_another(driver: Driver) {
    let flags = [
        "--cores",
        "2",
        "--rooms-max",
        "1",
        "--room-idle-timeout",
        "100ms",
    ];
    let configured = Configured::start(driver, "", RULES, &flags);
    let server = &configured.server;
    let shot = make(server, "login");
    let fills = Client::join(server, "chat:a");
    let mut publisher = shot.publisher(server);
    let refused = shot.publish(&mut publisher, &json!(1));
    assert_eq!(refused["error"]["code"], 106, "{refused}");
    let mut raw = shot.raw_publisher(server);
    raw.send("2");
    assert_eq!(closed(&mut raw).0, 1013);
    fills.leave();
    eventually("there is place for the room", || {
        shot.publish(&mut publisher, &json!(3))["error"].is_null()
    });
    assert_eq!(shot.raw_page(server).text(), "3");
}

fn room_is_over_for_all_when_its_life_is(driver: Driver) {
    let rules = RULES.replace("10m", "5s");
    let configured = Configured::start(driver, "", &rules, &[]);
    let server = &configured.server;
    let (shot, other) = (make(server, "login"), make(server, "framed"));
    let answer = post(server, "login", &[]);
    let made: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(made["expires_ms"], 5_000);
    let (mut raw, (mut page, _)) = (shot.raw_page(server), other.page(server));
    let mut raw_publisher = shot.raw_publisher(server);
    let mut publisher = other.publisher(server);
    let unsubscribe = json!({"code": 2100, "reason": "room over"});
    let push = json!({"push": {"channel": other.room, "unsubscribe": unsubscribe}});
    assert_eq!(page.reply(), push);
    assert_eq!(publisher.reply(), push);
    let over = (1000, "the one-shot room is over".to_owned());
    assert_eq!(closed(&mut raw), over);
    assert_eq!(closed(&mut raw_publisher), over);
    let data = json!({"secret": other.secret});
    let refused = subscribe(&mut page, &json!({"channel": other.room, "data": data}));
    assert_eq!(refused["error"]["code"], 103);
    let wish = json!({"channel": other.room, "token": other.token()});
    assert_eq!(subscribe(&mut publisher, &wish)["error"]["code"], 103);
    let path = format!("/rooms/{}?secret={}", shot.room, shot.secret);
    assert_eq!(
        ask(server, wire::request("GET", &path, &UPGRADE)).status,
        403
    );
    eventually("all are over", || {
        scrape(server)["hubbub_oneshot_rooms"] == 0.0
    });
    let unanswered = r#"hubbub_oneshot_rooms_ended_total{outcome="unanswered"}"#;
    check(&scrape(server), &[(unanswered, 3.0)]);
}

fn reload_that_turns_them_off_or_on_ends_whoever_is_there(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let patient = "ping_interval = \"10m\"\npong_timeout = \"10m\"\n";
    let text = |own: &str| settings(&dir, patient, &format!("[namespaces.login]\n{own}"));
    let one_shot = text("oneshot = \"10m\"\nraw = \"publish\"\n");
    let open = text("subscribe = [\"client\", \"anonymous\"]\nraw = \"subscribe\"\n");
    let mut reloading = Reloading::start(driver, &one_shot);
    let server = &reloading.server;
    let (shot, other) = (make(server, "login"), make(server, "login"));
    let (mut raw, (mut page, _)) = (shot.raw_page(server), other.page(server));
    reloading.reload(&open);
    let server = &reloading.server;
    assert_eq!(page.reply()["push"]["unsubscribe"]["code"], 2502);
    assert_eq!(raw.closed(), 1013);
    assert_eq!(post(server, "login", &[]).status, 404);
    // By the rights of now it may subscribe, to this room as to any other.
    let wish = json!({"channel": other.room});
    assert!(subscribe(&mut page, &wish)["subscribe"].is_object());
    let mut raw = Client::join(server, "login:any");
    reloading.reload(&one_shot);
    assert_eq!(page.reply()["push"]["unsubscribe"]["code"], 2502);
    assert_eq!(raw.closed(), 1013);
    assert_eq!(subscribe(&mut page, &wish)["error"]["code"], 103);
}

fn name_and_secret_reach_neither_log_nor_metrics_nor_pages(driver: Driver) {
    let configured = Configured::start_telling_all(driver, "", RULES);
    let server = &configured.server;
    let shot = make(server, "login");
    let (_, own) = shot.room.split_once(':').unwrap();
    let secrets = [
        own[..own.len().min(7)].to_owned(),
        shot.secret.clone(),
        SECRET.to_owned(),
    ];
    let ended = || server.log().matches("connection ended").count();
    let before = ended();
    // Everything that works, and everything that does not.
    let mut raw = shot.raw_page(server);
    let (mut page, _) = shot.page(server);
    raw.closed();
    shot.raw_publisher(server).leave();
    let mut publisher = shot.publisher(server);
    let wrong = format!("/rooms/{}?secret=x{}", shot.room, shot.secret);
    assert_eq!(
        ask(server, wire::request("GET", &wrong, &UPGRADE)).status,
        403
    );
    let foreign: Vec<_> = UPGRADE
        .into_iter()
        .chain(["Origin: https://elsewhere.example"])
        .collect();
    assert_eq!(
        ask(server, wire::request("GET", &wrong, &foreign)).status,
        403
    );
    let query = format!("/{}/{PATH}?cf_connect={}", shot.room, shot.secret);
    drop(ask(
        server,
        wire::request("GET", "/oneshot/login", &[&format!("X: {query}")]),
    ));
    let mut stranger = Session::anonymous(server);
    for wish in [
        json!({"channel": shot.room, "data": {"secret": "x"}}),
        json!({"channel": shot.room}),
    ] {
        assert_eq!(subscribe(&mut stranger, &wish)["error"]["code"], 103);
    }
    shot.publish(&mut stranger, &json!(1));
    shot.publish(&mut publisher, &json!(2));
    shot.publish(&mut publisher, &json!(3));
    assert_eq!(message(&mut page), 2);
    drop(stranger);
    eventually("all ends are logged", || ended() >= before + 6);
    for path in [
        "/metrics",
        "/debug/connections",
        "/debug/rooms",
        "/debug/latency",
        "/readyz",
    ] {
        let shown = String::from_utf8(get_internal(server, path).body).unwrap();
        assert!(
            path != "/debug/rooms" || shown.contains("\"login:...\""),
            "{shown}"
        );
        unseen(path, &shown, &secrets);
    }
    let log = server.log();
    assert!(
        log.contains("was refused a one-shot room"),
        "the log tells of it"
    );
    unseen("the log", &log, &secrets);
}

#[track_caller]
fn unseen(place: &str, text: &str, secrets: &[String]) {
    for line in text.lines() {
        for secret in secrets {
            assert!(
                !line.contains(secret.as_str()),
                "{secret} is in {place}: {line}"
            );
        }
    }
}
