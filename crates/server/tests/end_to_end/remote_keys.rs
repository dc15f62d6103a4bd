//! Keys of tokens that are fetched from a URL: rotated, gone, wrong, unknown; and those that are not.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, ask, get_internal, scrape},
    commands::{Said, Session, in_seconds},
    harness::{Driver, Server, command, eventually},
    key_server::{Answer, KeyServer, Signer, jwks},
    tls_client::Authority,
    wire,
};

on_both_drivers![
    keys_are_rotated_while_clients_are_connected,
    keys_that_came_last_stay_in_force_while_the_url_gives_none,
    server_starts_without_keys_and_refuses_for_a_time,
    unknown_keys_cause_one_fetch_and_are_refused_for_good_behind_it,
    keys_of_subscription_tokens_are_their_own,
    insecure_server_asks_nobody_for_a_token,
    file_of_keys_and_another_url_are_taken_by_a_reload,
];

/// Rooms that raw clients may enter with a token.
const ROOMS: &str = "[rooms]\nsubscribe = \"client\"\npublish = \"client\"\nraw = \"publish\"\n";

/// Fetches again after the shortest time.
const OFTEN: &str = "token_jwks_refresh = \"100ms\"\ntoken_jwks_pause = \"100ms\"\n";

/// A server whose settings a test may replace.
struct Keyed {
    server: Server,
    dir: TempDir,
}

impl Keyed {
    fn start(driver: Driver, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hubbub.toml");
        fs::write(&file, settings).unwrap();
        let mut command = command();
        command.args(["--driver", driver.name(), "--cores", "2"]);
        command.arg("--config").arg(&file);
        let server = Server::launch(command, &[]);
        Self { server, dir }
    }

    fn of_url(driver: Driver, url: &str, settings: &str) -> Self {
        Self::start(
            driver,
            &format!("token_jwks_url = {url:?}\n{settings}\n{ROOMS}"),
        )
    }

    fn reload(&self, settings: &str) {
        let before = self.server.log().matches("reloaded:").count();
        fs::write(self.dir.path().join("hubbub.toml"), settings).unwrap();
        self.server.signal(Signal::HUP);
        eventually("it has reloaded", || {
            self.server.log().matches("reloaded:").count() > before
        });
    }

    fn is_ready(&self) -> bool {
        get_internal(&self.server, "/readyz").status == 200
    }

    fn await_ready(&self) {
        eventually("it is ready", || self.is_ready());
    }

    fn connect(&self, token: &str) -> (Session, Connected) {
        let mut session = Session::open(&self.server);
        session.send(json!({"id": 1, "connect": {"token": token}}).to_string());
        let connected = match session.hear() {
            Said::Line(line) => {
                let reply: Value = serde_json::from_str(&line).unwrap();
                match reply["error"]["code"].as_u64() {
                    None => Connected::Yes,
                    Some(code) => {
                        assert_eq!(reply["error"]["temporary"], code == 100, "{reply}");
                        Connected::Error(code)
                    }
                }
            }
            Said::Closed(code, _) => Connected::Closed(code),
        };
        (session, connected)
    }

    fn connects(&self, token: &str) -> Connected {
        self.connect(token).1
    }

    /// The status of a raw client's handshake.
    fn raw(&self, token: &str) -> u16 {
        self.raw_at(&format!("/rooms/a?token={token}"))
    }

    fn raw_at(&self, path: &str) -> u16 {
        match Client::with_fields(&self.server, path, &[]) {
            Ok(client) => {
                client.leave();
                101
            }
            Err(status) => status,
        }
    }

    fn metric(&self, name: &str) -> f64 {
        scrape(&self.server)[name]
    }

    fn failed(&self) -> f64 {
        self.metric(r#"hubbub_token_key_fetches_total{source="token_jwks_url",result="failed"}"#)
    }

    fn fetched(&self) -> f64 {
        self.metric(r#"hubbub_token_key_fetches_total{source="token_jwks_url",result="fetched"}"#)
    }
}

/// What became of a connect command with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connected {
    Yes,
    Error(u64),
    Closed(u16),
}

fn of(user: &str) -> Value {
    json!({"sub": user})
}

fn keys_are_rotated_while_clients_are_connected(driver: Driver) {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let keys = KeyServer::start(Answer::keys(&[&old]));
    let keyed = Keyed::of_url(
        driver,
        &format!("{}?canary=correct-horse", keys.url()),
        OFTEN,
    );
    keyed.await_ready();
    assert_eq!(
        keyed.metric(r#"hubbub_token_keys{source="token_jwks_url"}"#),
        1.0
    );
    let (mut stays, connected) = keyed.connect(&old.token(&of("ann")));
    assert_eq!(connected, Connected::Yes);
    let mut raw = Client::join(&keyed.server, &format!("a?token={}", old.token(&of("bob"))));

    keys.set(Answer::keys(&[&old, &new]));
    eventually("the new key is good", || {
        keyed.connects(&new.token(&of("ann"))) == Connected::Yes
    });
    assert_eq!(keyed.connects(&old.token(&of("ann"))), Connected::Yes);
    assert_eq!(keyed.raw(&new.token(&of("bob"))), 101);
    keys.set(Answer::keys(&[&new]));
    eventually("the old key is not", || {
        keyed.connects(&old.token(&of("ann"))) == Connected::Closed(3500)
    });
    assert_eq!(keyed.raw(&old.token(&of("bob"))), 401);
    assert_eq!(keyed.connects(&new.token(&of("ann"))), Connected::Yes);

    let reply = stays.ask(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
    assert!(reply["subscribe"].is_object(), "{reply}");
    raw.send("still here");
    assert_eq!(raw.text(), "still here");
    let log = keyed.server.log();
    assert!(!log.contains("correct-horse"), "{log}");
    assert!(log.contains("/keys?..."), "{log}");
}

fn keys_that_came_last_stay_in_force_while_the_url_gives_none(driver: Driver) {
    let signer = Signer::new("a");
    let keys = KeyServer::start(Answer::keys(&[&signer]));
    let elsewhere = KeyServer::start(Answer::keys(&[&Signer::new("a")]));
    let settings =
        format!("{OFTEN}token_jwks_timeout = \"300ms\"\ntoken_jwks_bytes_max = \"1KiB\"\n");
    let keyed = Keyed::of_url(driver, &keys.url(), &settings);
    keyed.await_ready();
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url()
    );
    let long = "x".repeat(1025);
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{long}\r\n0\r\n\r\n");
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(64 << 10));
    let token = signer.token(&of("ann"));
    for (answer, told) in [
        (Answer::Nothing, "the request failed"),
        (
            Answer::Raw("no HTTP at all\r\n\r\n".into()),
            "the request failed",
        ),
        (Answer::Raw(head), "the request failed"),
        (
            Answer::Raw(redirect),
            "the answer is a redirect (302 Found), and none is followed",
        ),
        (
            Answer::Raw("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into()),
            "the answer is 503 Service Unavailable",
        ),
        (
            Answer::Body(vec![b'x'; 1025]),
            "the answer is longer than 1024 bytes",
        ),
        (Answer::Raw(chunked), "the answer is longer than 1024 bytes"),
        (
            Answer::Stall("HTTP/1.1 200 OK\r\n".into()),
            "there was no whole answer within 300ms",
        ),
        (
            Answer::Stall("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"keys\":".into()),
            "there was no whole answer within 300ms",
        ),
        (Answer::Body(vec![0xff; 9]), "the answer is not UTF-8"),
        (Answer::Body(b"<html>".to_vec()), "this is no JWKS"),
        (
            Answer::Body(br#"{"keys":[]}"#.to_vec()),
            "there is no key in it that can be used",
        ),
    ] {
        // After many failures in a row the server asks but once a minute; a good answer makes it forget them.
        let fetched = keyed.fetched();
        keys.set(Answer::keys(&[&signer]));
        eventually("keys are fetched", || keyed.fetched() > fetched);
        keys.set(answer);
        let (failed, lines) = (keyed.failed(), keyed.server.log().matches(told).count());
        eventually(told, || {
            keyed.failed() > failed && keyed.server.log().matches(told).count() > lines
        });
        assert_eq!(keyed.connects(&token), Connected::Yes, "{told}");
        assert_eq!(keyed.raw(&token), 101, "{told}");
        assert!(keyed.is_ready(), "{told}");
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
    let log = keyed.server.log();
    assert!(log.contains("those that came last stay in force"), "{log}");
    assert!(log.contains("age_s="), "{log}");
    let fetched_s =
        keyed.metric(r#"hubbub_token_keys_fetched_timestamp_seconds{source="token_jwks_url"}"#);
    let fetched = keyed.fetched();
    keys.set(Answer::keys(&[&signer]));
    eventually("keys are fetched again", || keyed.fetched() > fetched);
    let again_s =
        keyed.metric(r#"hubbub_token_keys_fetched_timestamp_seconds{source="token_jwks_url"}"#);
    assert!(
        fetched_s > 1e9 && again_s >= fetched_s,
        "{fetched_s} {again_s}"
    );
}

fn server_starts_without_keys_and_refuses_for_a_time(driver: Driver) {
    let signer = Signer::new("a");
    let keys = KeyServer::start(Answer::Nothing);
    let keyed = Keyed::of_url(driver, &keys.url(), OFTEN);
    let token = signer.token(&of("ann"));
    eventually("a fetch has failed", || keyed.failed() > 0.0);
    let page = get_internal(&keyed.server, "/readyz");
    let said = String::from_utf8(page.body).unwrap();
    assert_eq!(page.status, 503);
    assert!(said.contains("token_jwks_url has not answered"), "{said}");
    assert_eq!(get_internal(&keyed.server, "/healthz").status, 200);
    assert_eq!(keyed.connects(&token), Connected::Error(100));
    let request = wire::upgrade(&format!("/rooms/a?token={token}"));
    let answer = ask(&keyed.server, request);
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(keyed.raw_at("/rooms/a"), 401);
    keys.set(Answer::keys(&[&signer]));
    keyed.await_ready();
    assert_eq!(keyed.connects(&token), Connected::Yes);
    assert_eq!(keyed.raw(&token), 101);
}

fn unknown_keys_cause_one_fetch_and_are_refused_for_good_behind_it(driver: Driver) {
    const CLIENTS: usize = 300;
    const PAUSE_S: u64 = 2;
    let (known, new) = (Signer::new("known"), Signer::new("new"));
    let keys = KeyServer::start(Answer::keys(&[&known]));
    let settings = format!("token_jwks_refresh = \"1h\"\ntoken_jwks_pause = \"{PAUSE_S}s\"\n");
    let keyed = Keyed::of_url(driver, &keys.url(), &settings);
    keyed.await_ready();
    assert_eq!(keys.asked(), 1);
    let began = Instant::now();
    let forged: Vec<_> = (0..CLIENTS)
        .map(|at| known.token_naming(&at.to_string(), &of("eve")))
        .collect();
    for token in &forged {
        let connected = keyed.connects(token);
        assert!(
            matches!(connected, Connected::Error(100) | Connected::Closed(3500)),
            "{connected:?}"
        );
    }
    eventually("it has asked again", || keys.asked() > 1);
    let most = 2 + usize::try_from(began.elapsed().as_secs() / PAUSE_S).unwrap();
    assert!(
        keys.asked() <= most,
        "{} fetches, at most {most}",
        keys.asked()
    );
    // Whoever waits learns it for good, and who has a newer key comes in.
    let (unknown, newer) = (
        new.token_naming("nowhere", &of("eve")),
        new.token(&of("ann")),
    );
    keys.set(Answer::keys(&[&known, &new]));
    let mut first = None;
    eventually("the newer key is good", || {
        let connected = keyed.connects(&newer);
        first = first.or(Some(connected));
        assert!(
            matches!(connected, Connected::Error(100) | Connected::Yes),
            "{connected:?}"
        );
        connected == Connected::Yes
    });
    assert_eq!(
        first,
        Some(Connected::Error(100)),
        "it was not refused for good"
    );
    eventually("the key that does not exist is refused", || {
        std::thread::sleep(Duration::from_millis(50));
        keyed.connects(&unknown) == Connected::Closed(3500)
    });
    assert_eq!(keyed.connects(&known.token(&of("ann"))), Connected::Yes);
}

fn keys_of_subscription_tokens_are_their_own(driver: Driver) {
    let (connection, subscription) = (Signer::new("same"), Signer::new("same"));
    let own = Signer::new("own");
    let keys = KeyServer::start(Answer::keys(&[&connection]));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, jwks(&[&subscription, &own])).unwrap();
    let settings =
        format!("subscription_token_jwks = {file:?}\nsubscription_token_issuer = \"rooms\"\n");
    let keyed = Keyed::of_url(driver, &keys.url(), &settings);
    keyed.await_ready();
    assert_eq!(
        keyed.connects(&subscription.token(&of("ann"))),
        Connected::Closed(3500)
    );
    let (mut session, connected) = keyed.connect(&connection.token(&of("ann")));
    assert_eq!(connected, Connected::Yes);
    let claims = json!({"sub": "ann", "channel": "$a", "iss": "rooms"});
    let another = json!({"sub": "ann", "channel": "$a", "iss": "others"});
    let mut subscribe = |id: u64, token: String| {
        let command = json!({"id": id, "subscribe": {"channel": "$a", "token": token}});
        session.ask(&command.to_string())
    };
    assert_eq!(
        subscribe(2, connection.token(&claims))["error"]["code"],
        103
    );
    assert_eq!(
        subscribe(3, subscription.token(&another))["error"]["code"],
        103
    );
    let reply = subscribe(4, subscription.token(&claims));
    assert!(reply["subscribe"].is_object(), "{reply}");
    // The same holds for raw clients.
    let of_room = json!({"sub": "ann", "channel": "a", "iss": "rooms"});
    assert_eq!(keyed.raw(&subscription.token(&of_room)), 101);
    assert_eq!(keyed.raw(&connection.token(&of_room)), 401);
    assert_eq!(keyed.raw(&connection.token(&of("ann"))), 101);
    // The keys of connections may yet have this one, but what is wrong with a token for a room is known.
    let expired = json!({"sub": "ann", "channel": "a", "iss": "rooms", "exp": in_seconds(-60)});
    assert_eq!(keyed.raw(&own.token(&of_room)), 101);
    assert_eq!(keyed.raw(&own.token(&expired)), 401);
    assert_eq!(keyed.raw(&Signer::new("nobody's").token(&of_room)), 503);
}

fn insecure_server_asks_nobody_for_a_token(driver: Driver) {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, crate::commands::SECRET).unwrap();
    // Nobody may do anything in these rooms.
    let tables =
        "[rooms]\nhistory_size = 5\npresence = true\n[namespaces.listed]\nuser_limited = true\n";
    let settings = format!("token_secret = {secret:?}\n{tables}");
    let keyed = Keyed::start(driver, &settings);
    let refused = Session::open(&keyed.server);
    let closed = |mut session: Session| {
        session.send(r#"{"id":1,"connect":{}}"#);
        session.closed().0
    };
    assert_eq!(closed(refused), 3501);
    keyed.reload(&format!("insecure = \"on\"\n{settings}"));
    assert!(
        keyed
            .server
            .log()
            .contains("insecure is on: whoever can reach this server")
    );
    let mut session = Session::anonymous(&keyed.server);
    for (id, command) in (2..).zip([
        json!({"subscribe": {"channel": "a"}}),
        json!({"publish": {"channel": "b", "data": 1}}),
        json!({"history": {"channel": "b", "limit": 5}}),
        json!({"presence": {"channel": "b"}}),
    ]) {
        let mut command = command;
        command["id"] = json!(id);
        let reply = session.ask(&command.to_string());
        assert!(reply["error"].is_null(), "{command}: {reply}");
    }
    // What names say stays, and a token that is shown must be good.
    for (id, room) in [(10, "$a"), (11, "listed:a#ann")] {
        let command = json!({"id": id, "subscribe": {"channel": room}});
        assert_eq!(
            session.ask(&command.to_string())["error"]["code"],
            103,
            "{room}"
        );
    }
    assert_eq!(keyed.connects("a.b.c"), Connected::Closed(3500));
    assert_eq!(
        keyed.connects(&crate::commands::token(&of("ann"))),
        Connected::Yes
    );
    // Raw clients need `raw`, as ever.
    assert_eq!(keyed.raw_at("/rooms/a"), 403);
    keyed.reload(&settings);
    assert_eq!(closed(Session::open(&keyed.server)), 3501);
}

fn file_of_keys_and_another_url_are_taken_by_a_reload(driver: Driver) {
    let (one, other, third) = (Signer::new("1"), Signer::new("2"), Signer::new("3"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, jwks(&[&one])).unwrap();
    let settings = format!("token_jwks = {file:?}\n{ROOMS}");
    let keyed = Keyed::start(driver, &settings);
    assert_eq!(keyed.connects(&one.token(&of("ann"))), Connected::Yes);
    assert_eq!(
        keyed.connects(&other.token(&of("ann"))),
        Connected::Closed(3500)
    );
    fs::write(&file, jwks(&[&other])).unwrap();
    keyed.reload(&settings);
    assert_eq!(keyed.connects(&other.token(&of("ann"))), Connected::Yes);
    assert_eq!(
        keyed.connects(&one.token(&of("ann"))),
        Connected::Closed(3500)
    );

    let keys = KeyServer::start(Answer::keys(&[&one]));
    let of_url =
        |url: &str| format!("token_jwks_url = {url:?}\ntoken_jwks_pause = \"100ms\"\n{ROOMS}");
    keyed.reload(&of_url(&keys.url()));
    keyed.await_ready();
    assert_eq!(keyed.connects(&one.token(&of("ann"))), Connected::Yes);
    // A reload fetches at once, and the keys hold until others have come.
    keys.set(Answer::Nothing);
    keyed.reload(&of_url(&keys.url()));
    assert!(keyed.is_ready());
    assert_eq!(keyed.connects(&one.token(&of("ann"))), Connected::Yes);
    // Those of another URL are nobody's any more.
    let others = KeyServer::start(Answer::Nothing);
    keyed.reload(&of_url(&others.url()));
    assert!(!keyed.is_ready());
    assert_eq!(
        keyed.connects(&one.token(&of("ann"))),
        Connected::Error(100)
    );
    others.set(Answer::keys(&[&third]));
    keyed.await_ready();
    assert_eq!(keyed.connects(&third.token(&of("ann"))), Connected::Yes);
}

#[test]
fn keys_over_https_are_those_of_a_server_that_the_authority_knows() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let signer = Signer::new("a");
    let good = KeyServer::start_tls(Answer::keys(&[&signer]), &authority.issue("keys"));
    let bad = KeyServer::start_tls(Answer::keys(&[&signer]), &stranger.issue("keys"));
    let settings = format!("{OFTEN}token_jwks_ca = {:?}\n", authority.root());
    let keyed = Keyed::of_url(Driver::Epoll, &good.secure_url(), &settings);
    keyed.await_ready();
    assert_eq!(keyed.connects(&signer.token(&of("ann"))), Connected::Yes);
    let keyed = Keyed::of_url(Driver::Epoll, &bad.secure_url(), &settings);
    eventually("the certificate is refused", || {
        keyed.server.log().contains("invalid peer certificate")
    });
    assert!(!keyed.is_ready());
    assert_eq!(bad.asked(), 0);
    assert_eq!(
        keyed.connects(&signer.token(&of("ann"))),
        Connected::Error(100)
    );
}
