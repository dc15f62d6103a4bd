//! Back ends that are slow, wrong or gone: what their clients are told, and that nobody else notices.

use std::{
    fs,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    back_end::{Answer, BackEnd},
    client::{Client, get_internal, scrape, serves},
    commands::{Configured, OPEN, Said, Session},
    harness::{Driver, Server, command, eventually},
    key_server::{self, KeyServer},
    process::memory_peak,
    tls_client::Authority,
    wire,
};

on_both_drivers![
    back_end_that_misbehaves_is_a_failure_and_harms_nobody,
    back_end_that_is_gone_refuses_or_allows_as_configured_and_serves_when_it_is_back,
    no_more_are_under_way_than_may_be_and_those_that_wait_are_bounded,
    commands_of_one_client_keep_their_order_and_others_do_not_wait,
    client_that_leaves_costs_nothing_and_is_asked_about_no_more,
    message_that_came_before_a_close_is_decided_and_published,
    message_of_a_client_that_is_cut_off_is_decided_and_published,
    drain_waits_for_no_back_end,
    secrets_of_hooks_reach_neither_log_nor_metrics,
    hooks_are_asked_over_https_with_their_authorities,
    reload_takes_another_back_end,
];

const CALL: &str = r#"{"id":2,"rpc":{"method":"a"}}"#;

fn outcome(server: &Server, hook: &str, outcome: &str) -> f64 {
    scrape(server)[&format!("hubbub_hook_requests_total{{hook=\"{hook}\",outcome=\"{outcome}\"}}")]
}

fn gauge(server: &Server, name: &str, hook: &str) -> f64 {
    scrape(server)[&format!("hubbub_hook_requests_{name}{{hook=\"{hook}\"}}")]
}

fn is_temporary(reply: &Value) -> bool {
    reply["error"] == json!({"code": 100, "message": "internal server error", "temporary": true})
}

fn back_end_that_misbehaves_is_a_failure_and_harms_nobody(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Nothing);
    let rpc = back_end.hook("rpc", "timeout = \"300ms\"");
    let configured = Configured::start(
        driver,
        "",
        &format!("[rooms]{OPEN}{rpc}"),
        &["--cores", "1"],
    );
    let server = &configured.server;
    let mut other = Session::anonymous(server);
    other.ask(r#"{"id":2,"subscribe":{"channel":"news"}}"#);
    let mut session = Session::anonymous(server);
    let peak = memory_peak(server.pid());
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n";
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        back_end.url("/trap")
    );
    let server_error = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}";
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n";
    let broken = format!("{head}{{\"result\":{{\"data\":1}}");
    let cases = [
        (Answer::Stall(""), "timeout"),
        (Answer::Stall("HTTP/1.1 200 OK\r\n"), "timeout"),
        (
            Answer::Stall("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"result\""),
            "timeout",
        ),
        (Answer::Nothing, "unreachable"),
        (Answer::Raw("no HTTP at all\r\n\r\n".into()), "unreachable"),
        (Answer::Raw(endless), "unreachable"),
        (Answer::Raw(format!("{head}{{\"result\"")), "unreachable"),
        (Answer::Raw(server_error.into()), "status"),
        (Answer::Raw(no_content.into()), "status"),
        (Answer::Raw(redirect), "redirect"),
        (Answer::Long(100 << 20), "too_long"),
        (Answer::Raw(broken), "malformed"),
        (Answer::Json(json!({})), "malformed"),
        (Answer::Json(json!({"error": {"code": 1}})), "malformed"),
        (
            Answer::Json(json!({"disconnect": {"code": 3501}})),
            "malformed",
        ),
    ];
    for (answer, expected) in cases {
        let before = outcome(server, "rpc", expected);
        let misbehaves = answer.clone();
        back_end.set(move |_| misbehaves.clone());
        session.send(CALL);
        // Meanwhile others have what they had.
        let published = other.ask(r#"{"id":3,"publish":{"channel":"news","data":1}}"#);
        assert!(published["publish"].is_object(), "{published}");
        assert_eq!(other.reply()["push"]["pub"]["data"], 1);
        let reply = session.reply();
        assert!(is_temporary(&reply), "{answer:?}: {reply}");
        let counted = outcome(server, "rpc", expected) - before;
        assert_eq!(counted, 1.0, "{answer:?} is counted as {expected}");
    }
    assert!(
        back_end.asked("/trap").is_empty(),
        "no redirect is followed"
    );
    let grown = memory_peak(server.pid()) - peak;
    assert!(grown < 20 << 20, "{grown} bytes for an answer of 100 MiB");
    assert_eq!(gauge(server, "under_way", "rpc"), 0.0);
    back_end.set(|_| Answer::result(json!({"data": 7})));
    assert_eq!(session.ask(CALL)["rpc"]["data"], 7);
    let took = scrape(server)["hubbub_hook_duration_seconds_count{hook=\"rpc\"}"];
    assert_eq!(took, 16.0);
    assert!(server.log().contains("a back end has not decided"));
}

fn back_end_that_is_gone_refuses_or_allows_as_configured_and_serves_when_it_is_back(
    driver: Driver,
) {
    // Its port is closed, and nobody else is given it meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hooks = |options: &str| {
        let names = ["connect", "subscribe", "publish"];
        let hooks = names
            .map(|name| format!("[hooks.{name}]\nurl = \"http://{address}/{name}\"\n{options}\n"));
        let rules = "[namespaces.asked]\nsubscribe_hook = true\npublish_hook = true\n";
        format!(
            "{rules}{}[hooks.rpc]\nurl = \"http://{address}/rpc\"\n",
            hooks.concat()
        )
    };
    let allowing = Configured::start(driver, "", &hooks("on_failure = \"allow\""), &[]);
    let mut session = Session::anonymous(&allowing.server);
    let subscribed = session.ask(r#"{"id":2,"subscribe":{"channel":"asked:a"}}"#);
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
    session.send(r#"{"id":3,"publish":{"channel":"asked:a","data":"as it is"}}"#);
    let said = [session.reply(), session.reply()];
    assert!(said.iter().any(|it| it["publish"].is_object()), "{said:?}");
    assert!(
        said.iter()
            .any(|it| it["push"]["pub"]["data"] == "as it is"),
        "{said:?}"
    );
    assert!(
        is_temporary(&session.ask(CALL)),
        "there is nothing to return"
    );

    let refusing = Configured::start(driver, "", &hooks(""), &[]);
    let connect = || {
        let mut session = Session::open(&refusing.server);
        session.send(r#"{"id":1,"connect":{}}"#);
        let reply = session.reply();
        (session, reply)
    };
    for _ in 0..20 {
        let (_, reply) = connect();
        assert!(is_temporary(&reply), "{reply}");
    }
    assert_eq!(outcome(&refusing.server, "connect", "unreachable"), 20.0);
    let lines = refusing
        .server
        .log()
        .matches("a back end has not decided")
        .count();
    assert!((1..20).contains(&lines), "{lines} lines for 20 failures");
    let back = TcpListener::bind(address).unwrap();
    let _back_end = BackEnd::serve(back, |_| Answer::result(json!({"user": "ann"})));
    let (mut session, reply) = connect();
    assert!(reply["connect"].is_object(), "{reply}");
    let subscribed = session.ask(r#"{"id":2,"subscribe":{"channel":"asked:a"}}"#);
    assert!(subscribed["subscribe"].is_object(), "{subscribed}");
}

fn no_more_are_under_way_than_may_be_and_those_that_wait_are_bounded(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Held(json!({"result": {"data": 1}})));
    let options = "in_flight_max = 2\nwaiting_max = 1\ntimeout = \"60s\"";
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("rpc", options));
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut sessions: Vec<_> = (0..3)
        .map(|number| {
            let mut session = Session::anonymous(server);
            session.send(CALL);
            eventually("it is asked about", || {
                gauge(server, "under_way", "rpc") + gauge(server, "waiting", "rpc")
                    > f64::from(number)
            });
            session
        })
        .collect();
    eventually("two are under way", || {
        gauge(server, "under_way", "rpc") == 2.0
    });
    assert_eq!(gauge(server, "waiting", "rpc"), 1.0);
    let mut further = Session::anonymous(server);
    assert!(is_temporary(&further.ask(CALL)), "at once");
    assert_eq!(outcome(server, "rpc", "crowded"), 1.0);
    assert_eq!(back_end.asked("/rpc").len(), 2);
    back_end.release();
    for session in &mut sessions {
        assert_eq!(session.reply()["rpc"]["data"], 1);
    }
    assert_eq!(further.ask(CALL)["rpc"]["data"], 1);
    eventually("all places are free", || {
        gauge(server, "under_way", "rpc") + gauge(server, "waiting", "rpc") == 0.0
    });
}

fn commands_of_one_client_keep_their_order_and_others_do_not_wait(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["method"].as_str() {
        Some("slow") => Answer::Held(json!({"result": {"data": "slow"}})),
        _ => Answer::result(json!({"data": "fast"})),
    });
    let tables = format!(
        "[rooms]{OPEN}history_size = 10\nread_history = [\"client\", \"anonymous\"]\n{}",
        back_end.hook("rpc", "timeout = \"60s\"")
    );
    // All of them are on one core.
    let configured = Configured::start(driver, "", &tables, &["--cores", "1"]);
    let server = &configured.server;
    let mut session = Session::anonymous(server);
    session.ask(r#"{"id":2,"subscribe":{"channel":"news"}}"#);
    let commands = [
        json!({"id": 3, "rpc": {"method": "slow"}}),
        json!({"id": 4, "publish": {"channel": "other", "data": "behind"}}),
        json!({"id": 5, "history": {"channel": "other", "limit": 10}}),
        json!({"id": 6, "rpc": {"method": "fast"}}),
        json!({"id": 7, "presence_stats": {"channel": "news"}}),
    ];
    session.send(
        commands[..3]
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    commands[3..]
        .iter()
        .for_each(|command| session.send(command.to_string()));
    back_end.await_asked("/rpc", 1);
    // Another client is answered, and what it publishes reaches the one that waits.
    let mut other = Session::anonymous(server);
    assert_eq!(
        other.ask(r#"{"id":2,"rpc":{"method":"fast"}}"#)["rpc"]["data"],
        "fast"
    );
    for number in 0..10 {
        let publish = json!({"id": 3, "publish": {"channel": "news", "data": number}});
        assert!(other.ask(&publish.to_string())["publish"].is_object());
        assert_eq!(session.reply()["push"]["pub"]["data"], number);
    }
    let history = other.ask(r#"{"id":4,"history":{"channel":"other","limit":10}}"#);
    assert_eq!(
        history["history"]["publications"],
        json!([]),
        "nothing has overtaken"
    );
    // Waiting is not asking again and again.
    let turns = || {
        let samples = scrape(server);
        samples["hubbub_loop_turns_total{core=\"0\"}"]
    };
    let before = turns();
    thread::sleep(Duration::from_millis(300));
    let taken = turns() - before;
    assert!(taken < 200.0, "{taken} turns for nothing");
    back_end.release();
    let ids: Vec<_> = (0..5).map(|_| session.reply()).collect();
    let of = |at: usize| ids[at]["id"].clone();
    assert_eq!(
        [of(0), of(1), of(2), of(3), of(4)],
        [3, 4, 5, 6, 7].map(Value::from)
    );
    assert_eq!(ids[2]["history"]["publications"][0]["data"], "behind");
}

fn client_that_leaves_costs_nothing_and_is_asked_about_no_more(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Held(json!({"result": {"user": "ann"}})));
    let options = "in_flight_max = 1\ntimeout = \"60s\"";
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("connect", options));
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server, crate::commands::PATH);
            client.send(r#"{"id":1,"connect":{}}"#);
            client
        })
        .collect();
    eventually("one is asked about, the others wait", || {
        gauge(server, "under_way", "connect") == 1.0 && gauge(server, "waiting", "connect") == 19.0
    });
    let stays = clients.pop().unwrap();
    clients.into_iter().for_each(Client::vanish);
    eventually("they are gone", || {
        scrape(server)["hubbub_connections{protocol=\"centrifuge\"}"] == 1.0
    });
    back_end.release();
    let mut stays = Session::over(stays);
    assert!(stays.reply()["connect"].is_object());
    eventually("nothing is left of them", || {
        gauge(server, "under_way", "connect") + gauge(server, "waiting", "connect") == 0.0
    });
    let asked = back_end.asked("/connect").len();
    assert!(
        asked <= 2,
        "{asked} were asked about, of whom one has stayed"
    );
    assert!(outcome(server, "connect", "left") >= 18.0);
    assert!(serves(server));
}

fn message_that_came_before_a_close_is_decided_and_published(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Held(json!({"result": {}})));
    let rules =
        "[namespaces.asked]\npublish_hook = true\nsubscribe = [\"client\", \"anonymous\"]\n";
    let tables = format!("{rules}{}", back_end.hook("publish", "timeout = \"60s\""));
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut listener = Session::anonymous(server);
    listener.ask(r#"{"id":2,"subscribe":{"channel":"asked:a"}}"#);
    let mut publisher = Session::anonymous(server);
    let publish = r#"{"id":2,"publish":{"channel":"asked:a","data":"last words"}}"#;
    let mut bytes = wire::masked(0x80 | wire::TEXT, publish.as_bytes());
    bytes.extend(wire::frame(wire::CLOSE, &1000_u16.to_be_bytes()));
    wire::send(publisher.stream(), &bytes);
    back_end.await_asked("/publish", 1);
    back_end.release();
    assert_eq!(listener.reply()["push"]["pub"]["data"], "last words");
    assert_eq!(publisher.reply(), json!({"id": 2, "publish": {}}));
    assert_eq!(publisher.hear(), Said::Closed(1000, String::new()));
}

fn message_of_a_client_that_is_cut_off_is_decided_and_published(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Held(json!({"result": {}})));
    let rules =
        "[namespaces.asked]\npublish_hook = true\nsubscribe = [\"client\", \"anonymous\"]\n";
    let tables = format!("{rules}{}", back_end.hook("publish", "timeout = \"60s\""));
    let configured = Configured::start(driver, "", &tables, &["--cores", "2"]);
    let server = &configured.server;
    let mut listener = Session::anonymous(server);
    listener.ask(r#"{"id":2,"subscribe":{"channel":"asked:a"}}"#);
    let mut client = Client::connect(server, crate::commands::PATH);
    client.send(crate::commands::CONNECT);
    client.receive();
    client.send(r#"{"id":2,"publish":{"channel":"asked:a","data":"cut off"}}"#);
    back_end.await_asked("/publish", 1);
    client.vanish();
    back_end.release();
    assert_eq!(listener.reply()["push"]["pub"]["data"], "cut off");
}

fn drain_waits_for_no_back_end(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::Stall(""));
    let tables = format!("[rooms]{OPEN}{}", back_end.hook("rpc", "timeout = \"5m\""));
    let flags = ["--drain-timeout", "100ms"];
    let mut configured = Configured::start(driver, "", &tables, &flags);
    let mut session = Session::anonymous(&configured.server);
    session.send(CALL);
    back_end.await_asked("/rpc", 1);
    let began = Instant::now();
    configured.server.signal(Signal::TERM);
    assert_eq!(session.closed().0, 3001);
    assert!(configured.server.wait().success());
    assert!(began.elapsed() < Duration::from_secs(60));
}

fn secrets_of_hooks_reach_neither_log_nor_metrics(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.body["data"].as_u64() {
        Some(1) => Answer::Json(json!({"result": {"user": "ann", "expire_at": "canary-answer"}})),
        Some(2) => Answer::Raw("canary-answer\r\n\r\n".into()),
        Some(3) => Answer::Raw("HTTP/1.1 500 canary-answer\r\n\r\ncanary-answer".into()),
        _ => Answer::result(json!({"user": "ann", "meta": {"secret": "canary-meta"}})),
    });
    let url = back_end.url("/connect?key=canary-query");
    let tables = format!(
        "[rooms]{OPEN}[hooks.connect]\nurl = \"{url}\"\nheaders = [\"Cookie\"]\nemulated_headers = [\"X-Key\"]\n\
         include_meta = true\n"
    );
    let configured = Configured::start_telling_all(driver, "", &tables);
    for data in 0..4 {
        let fields = [("cookie", "canary-cookie")];
        let client =
            Client::with_fields(&configured.server, crate::commands::PATH, &fields).unwrap();
        let mut session = Session::over(client);
        let connect = json!({"data": data, "headers": {"x-key": "canary-header"}});
        session.send(json!({"id": 1, "connect": connect}).to_string());
        session.reply();
    }
    let asked = back_end.asked("/connect?key=canary-query");
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[0].fields["cookie"], "canary-cookie");
    let pages = ["/metrics", "/debug/connections", "/debug/rooms"];
    for page in pages.map(|page| get_internal(&configured.server, page).body) {
        assert!(!String::from_utf8(page).unwrap().contains("canary"));
    }
    let log = configured.server.log();
    assert!(log.contains("a back end has not decided"));
    assert!(!log.contains("canary"), "{log}");
}

fn hooks_are_asked_over_https_with_their_authorities(driver: Driver) {
    let authority = Authority::new();
    let pair = authority.issue("back-end");
    let answer = key_server::Answer::Body(br#"{"result":{"data":"over TLS"}}"#.to_vec());
    let secure = KeyServer::start_tls(answer, &pair);
    let call = |ca: &Authority| {
        let tables = format!(
            "[rooms]{OPEN}[hooks.rpc]\nurl = \"{}\"\nca = {:?}\n",
            secure.secure_url(),
            ca.root()
        );
        let configured = Configured::start(driver, "", &tables, &[]);
        Session::anonymous(&configured.server).ask(CALL)
    };
    assert_eq!(call(&authority)["rpc"]["data"], "over TLS");
    assert!(is_temporary(&call(&Authority::new())));
}

fn reload_takes_another_back_end(driver: Driver) {
    let [first, second] = ["first", "second"].map(|name| {
        let data = json!({"result": {"data": name}});
        BackEnd::start(move |_| Answer::Json(data.clone()))
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hubbub.toml");
    let write = |hooks: &str| {
        let settings = crate::commands::settings(&dir, "", &format!("[rooms]{OPEN}{hooks}"));
        fs::write(&file, settings).unwrap();
    };
    write(&first.hook("rpc", ""));
    let mut command = command();
    command
        .args(["--driver", driver.name()])
        .arg("--config")
        .arg(&file);
    let server = Server::launch(command, &[]);
    let reload = |reloaded: usize| {
        server.signal(Signal::HUP);
        eventually("it has reloaded", || {
            server.log().matches("reloaded:").count() == reloaded
        });
    };
    let mut session = Session::anonymous(&server);
    assert_eq!(session.ask(CALL)["rpc"]["data"], "first");
    write(&second.hook("rpc", ""));
    reload(1);
    assert_eq!(session.ask(CALL)["rpc"]["data"], "second");
    assert_eq!(outcome(&server, "rpc", "result"), 2.0, "counts go on");
    assert!(server.log().contains("changed: [hooks]"));
    write("");
    reload(2);
    assert_eq!(session.ask(CALL)["error"]["code"], 108);
}
