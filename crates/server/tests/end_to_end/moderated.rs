//! Who is kept out, kept silent, or has a token that holds no longer; and messages that are deleted.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    back_end::{Answer, BackEnd},
    caller::Api,
    client::{Client, scrape},
    commands::{SECRET, Session, in_seconds, token},
    harness::{Driver, Server, eventually},
    streamed::{End, ONE_WAY, STREAMS, Stream, begin},
    wire,
};

on_both_drivers![
    blocked_user_is_cut_off_on_every_transport_and_kept_out,
    block_is_over_at_its_time,
    muted_user_hears_and_may_not_publish_in_that_room,
    revoked_tokens_end_their_connections_and_are_believed_no_more,
    tokens_of_all_users_are_revoked_at_once,
    subscriptions_of_revoked_tokens_begin_anew,
    whom_a_back_end_lets_in_is_kept_out_and_silent_like_anybody,
    what_is_kept_survives_a_kill_and_memory_does_not,
    without_a_place_to_keep_it_moderation_is_refused_by_name,
    lists_are_told_in_parts_and_bounds_hold,
    requests_that_make_no_sense_are_refused,
    deleted_message_is_null_for_everybody_and_offsets_stay_dense,
];

const TABLES: &str = r#"
[namespaces.chat]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
read_history = ["client", "anonymous"]
history_size = 50
positions = "allowed"
recovery = "allowed"
raw = "publish"
[namespaces.secret]
publish = "subscriber"
raw = "publish"
[namespaces.map]
kind = "latest_per_key"
subscribe = "client"
publish = "client"
[namespaces.bare]
subscribe = "client"
publish = "client"
"#;

/// A server whose API moderates, and what outlives it.
struct Moderated {
    api: Api,
    dir: TempDir,
    driver: Driver,
}

impl Moderated {
    fn start(driver: Driver) -> Self {
        Self::with(driver, "state_dir = \"STATE\"")
    }

    /// With these settings, where STATE stands for a directory.
    fn with(driver: Driver, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), SECRET).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let api = Api::start(driver, &config(&dir, settings), &["--cores", "2"]);
        Self { api, dir, driver }
    }

    /// Another process on the same directory, behind a kill.
    fn killed(self, settings: &str) -> Self {
        let Self { api, dir, driver } = self;
        // It is killed where it stands.
        drop(api);
        let api = Api::start(driver, &config(&dir, settings), &["--cores", "2"]);
        Self { api, dir, driver }
    }

    fn call(&self, method: &str, request: Value) -> Value {
        self.api.call(method, request)
    }

    /// A session of whoever has this token.
    fn session(&self, token: &str) -> Session {
        let mut session = self.connecting(token);
        let reply = session.reply();
        assert!(reply["error"].is_null(), "{reply}");
        session
    }

    fn connecting(&self, token: &str) -> Session {
        let mut session = Session::open(&self.api);
        session.send(json!({"id": 1, "connect": {"token": token}}).to_string());
        session
    }

    /// A raw client of `chat:r`, or the status with which it is refused.
    fn raw(&self, token: &str) -> Result<Client, u16> {
        Client::connect_to(self.api.address(), &raw_path(token), &[])
    }
}

fn config(dir: &TempDir, settings: &str) -> String {
    let state = dir.path().join("state").display().to_string();
    let secret = dir.path().join("secret");
    let settings = settings.replace("STATE", &state);
    format!("token_secret = {secret:?}\n{settings}\n{TABLES}")
}

fn raw_path(token: &str) -> String {
    format!("/rooms/chat:r?token={token}")
}

/// A token of this user, issued so many seconds from now.
fn issued(user: &str, seconds: i64) -> String {
    token(&json!({"sub": user, "iat": in_seconds(seconds)}))
}

fn subscribe(id: u32, room: &str) -> String {
    json!({"id": id, "subscribe": {"channel": room}}).to_string()
}

fn publish(id: u32, room: &str) -> String {
    json!({"id": id, "publish": {"channel": room, "data": {}}}).to_string()
}

fn blocked_user_is_cut_off_on_every_transport_and_kept_out(driver: Driver) {
    let server = Moderated::start(driver);
    let (ann, bob) = (issued("ann", -10), issued("bob", -10));
    let mut session = server.session(&ann);
    let mut raw = server.raw(&ann).unwrap();
    let connect = json!({"id": 1, "connect": {"token": ann}}).to_string();
    let two_way = STREAMS.map(|path| begin(path, &connect));
    let alone = json!({"token": ann}).to_string();
    let one_way = ONE_WAY.map(|path| begin(path, &alone));
    let streams = two_way.into_iter().chain(one_way).map(|request| {
        let mut stream = Stream::ask(&server.api, request);
        assert!(stream.next().unwrap().contains("\"client\""));
        stream
    });
    let streams: Vec<_> = streams.collect();
    let path = format!("/rooms/chat:r/sse?token={ann}");
    let mut events = Stream::ask(&server.api, wire::request("GET", &path, &[]));
    let mut other = server.session(&bob);

    server.call("block_user", json!({"user": "ann"}));
    assert_eq!(session.closed(), (3503, "force disconnect".to_owned()));
    assert_eq!(raw.closed(), 1008);
    for mut stream in streams {
        assert_eq!(stream.closed(), (3503, End::Whole));
    }
    while events.event().is_ok() {}
    assert_eq!(
        server.connecting(&ann).closed(),
        (3507, "permission denied".to_owned())
    );
    assert_eq!(server.raw(&ann).err(), Some(403));
    // Another user notices nothing.
    assert!(other.ask(&publish(2, "chat:r"))["error"].is_null());

    server.call("unblock_user", json!({"user": "ann"}));
    server.session(&ann);
    server.raw(&ann).unwrap();
    let refused = r#"hubbub_moderation_refused_total{reason="blocked"}"#;
    assert!(scrape(&server.api)[refused] >= 6.0);
}

fn block_is_over_at_its_time(driver: Driver) {
    let server = Moderated::start(driver);
    let ann = issued("ann", -10);
    let until = in_seconds(2);
    server.call("block_user", json!({"user": "ann", "expire_at": until}));
    assert_eq!(server.raw(&ann).err(), Some(403));
    eventually("the block is over", || server.raw(&ann).is_ok());
    assert!(in_seconds(0) >= until, "it was not over before");
}

fn muted_user_hears_and_may_not_publish_in_that_room(driver: Driver) {
    let server = Moderated::start(driver);
    let (ann, bob) = (issued("ann", 0), issued("bob", 0));
    let mut muted = server.session(&ann);
    muted.ask(&subscribe(2, "chat:r"));
    server.call("mute_user", json!({"user": "ann", "channel": "chat:r"}));
    assert_eq!(muted.ask(&publish(3, "chat:r"))["error"]["code"], 103);
    assert!(muted.ask(&publish(4, "chat:other"))["error"].is_null());
    // It hears others.
    let mut other = server.session(&bob);
    assert!(other.ask(&publish(2, "chat:r"))["error"].is_null());
    assert_eq!(muted.reply()["push"]["channel"], "chat:r");
    // A raw client is treated as one that may not publish.
    let mut raw = server.raw(&ann).unwrap();
    server.raw(&bob).unwrap().send("hello");
    assert_eq!(raw.text(), "hello");
    raw.send("hello");
    assert_eq!(raw.closed(), 1008);
    server.call("unmute_user", json!({"user": "ann", "channel": "chat:r"}));
    assert!(muted.ask(&publish(5, "chat:r"))["error"].is_null());
    assert_eq!(
        scrape(&server.api)[r#"hubbub_moderation_refused_total{reason="muted"}"#],
        2.0
    );
}

fn revoked_tokens_end_their_connections_and_are_believed_no_more(driver: Driver) {
    let server = Moderated::start(driver);
    let (old, new) = (issued("ann", -100), issued("ann", 0));
    let undated = token(&json!({"sub": "ann"}));
    let (mut first, mut second) = (server.session(&old), server.session(&undated));
    let mut stays = server.session(&new);
    let mut raw = server.raw(&old).unwrap();
    let before = in_seconds(-50);
    server.call(
        "revoke_tokens",
        json!({"user": "ann", "issued_before": before}),
    );
    let invalid = (3500, "invalid token".to_owned());
    assert_eq!(first.closed(), invalid);
    assert_eq!(second.closed(), invalid);
    assert_eq!(raw.closed(), 1008);
    for token in [&old, &undated] {
        assert_eq!(server.connecting(token).closed(), invalid);
        assert_eq!(server.raw(token).err(), Some(401));
    }
    // Who has a newer one stays, and another user has nothing to do with it.
    assert!(stays.ask(&publish(2, "chat:r"))["error"].is_null());
    server.raw(&new).unwrap();
    server.session(&issued("bob", -100));
    // A connection cannot go back to an older one.
    stays.send(json!({"id": 3, "refresh": {"token": old}}).to_string());
    assert_eq!(stays.closed(), invalid);
    // What is taken back is good again.
    server.call("revoke_tokens", json!({"user": "ann", "issued_before": 0}));
    server.session(&old);
}

fn tokens_of_all_users_are_revoked_at_once(driver: Driver) {
    let server = Moderated::start(driver);
    let sessions = ["ann", "bob"].map(|user| server.session(&issued(user, -100)));
    let mut raw = server.raw(&issued("cid", -100)).unwrap();
    server.call("revoke_tokens", json!({"all": true}));
    for mut session in sessions {
        assert_eq!(session.closed().0, 3500);
    }
    assert_eq!(raw.closed(), 1008);
    let told = server.call("list_revocations", json!({}));
    assert_eq!(told["revocations"][0]["all"], true);
    // Those that are issued from now on are good.
    server.session(&issued("ann", 1));
}

fn subscriptions_of_revoked_tokens_begin_anew(driver: Driver) {
    let server = Moderated::start(driver);
    let mut session = server.session(&issued("ann", 1));
    let of_room = |seconds| {
        let claims = json!({"sub": "ann", "channel": "secret:$r", "iat": in_seconds(seconds)});
        token(&claims)
    };
    let subscribe = |id: u32, token: &str| {
        json!({"id": id, "subscribe": {"channel": "secret:$r", "token": token}}).to_string()
    };
    assert!(session.ask(&subscribe(2, &of_room(-100)))["error"].is_null());
    server.call("revoke_tokens", json!({"user": "ann"}));
    // The connection's own token is newer.
    let told = session.reply();
    assert_eq!(told["push"]["unsubscribe"]["code"], 2501, "{told}");
    assert_eq!(
        session.ask(&subscribe(3, &of_room(-100)))["error"]["code"],
        103
    );
    assert!(session.ask(&subscribe(4, &of_room(1)))["error"].is_null());
}

fn whom_a_back_end_lets_in_is_kept_out_and_silent_like_anybody(driver: Driver) {
    let back_end = BackEnd::start(|_| Answer::result(json!({"user": "ann"})));
    let settings = format!("moderation = \"memory\"\n{}", back_end.hook("connect", ""));
    let server = Moderated::with(driver, &settings);
    let mut session = server.session("");
    server.call("mute_user", json!({"user": "ann", "channel": "chat:r"}));
    assert_eq!(session.ask(&publish(2, "chat:r"))["error"]["code"], 103);
    // It has no token that could be revoked.
    server.call("revoke_tokens", json!({"all": true}));
    assert!(session.ask(&publish(3, "chat:other"))["error"].is_null());
    server.call("block_user", json!({"user": "ann"}));
    assert_eq!(session.closed().0, 3503);
    assert_eq!(server.connecting("").closed().0, 3507);
}

fn what_is_kept_survives_a_kill_and_memory_does_not(driver: Driver) {
    let server = Moderated::start(driver);
    let ann = issued("ann", 0);
    server.call("block_user", json!({"user": "ann"}));
    server.call("mute_user", json!({"user": "bob", "channel": "chat:r"}));
    server.call("revoke_tokens", json!({"user": "cid"}));
    let server = server.killed("state_dir = \"STATE\"");
    assert_eq!(server.connecting(&ann).closed().0, 3507);
    let mut bob = server.session(&issued("bob", 0));
    assert_eq!(bob.ask(&publish(2, "chat:r"))["error"]["code"], 103);
    assert_eq!(server.raw(&issued("cid", -100)).err(), Some(401));

    let in_memory = "state_dir = \"STATE\"\nmoderation = \"memory\"";
    let server = server.killed(in_memory);
    server.session(&ann);
    server.call("block_user", json!({"user": "ann"}));
    assert_eq!(server.connecting(&ann).closed().0, 3507);
    let server = server.killed(in_memory);
    server.session(&ann);
}

fn without_a_place_to_keep_it_moderation_is_refused_by_name(driver: Driver) {
    let server = Moderated::with(driver, "");
    for (method, request) in [
        ("block_user", json!({"user": "ann"})),
        ("unblock_user", json!({"user": "ann"})),
        ("mute_user", json!({"user": "ann", "channel": "chat:r"})),
        ("revoke_tokens", json!({"user": "ann"})),
    ] {
        let answer = server
            .api
            .post(&format!("/api/{method}"), &[], request.to_string());
        let error = crate::caller::json(&answer)["error"].clone();
        assert_eq!(error["code"], 108, "{method}: {error}");
        let message = error["message"].as_str().unwrap();
        for word in ["state_dir", "moderation = \"memory\""] {
            assert!(message.contains(word), "{message}");
        }
    }
    server.session(&issued("ann", 0));
}

fn lists_are_told_in_parts_and_bounds_hold(driver: Driver) {
    let server = Moderated::with(driver, "state_dir = \"STATE\"\nblocks_max = 5");
    let until = in_seconds(1_000);
    for user in ["a", "b", "c", "d/e", "f"] {
        server.call("block_user", json!({"user": user, "expire_at": until}));
        server.call("mute_user", json!({"user": user, "channel": "chat:r"}));
        server.call("revoke_tokens", json!({"user": user, "issued_before": 7}));
    }
    assert_eq!(
        server.api.fail("block_user", json!({"user": "one more"})),
        106
    );
    let all = |method: &str, of: &str| {
        let (mut users, mut cursor) = (Vec::new(), String::new());
        loop {
            let part = server.call(method, json!({"limit": 2, "cursor": cursor}));
            let entries = part[of].as_array().unwrap().clone();
            assert!((1..=2).contains(&entries.len()));
            users.extend(entries);
            match part["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return users,
            }
        }
    };
    let blocks = all("list_blocks", "blocks");
    assert_eq!(blocks.len(), 5);
    assert_eq!(blocks[3], json!({"user": "d/e", "expire_at": until}));
    let mutes = all("list_mutes", "mutes");
    assert_eq!(mutes.len(), 5);
    assert_eq!(mutes[3], json!({"user": "d/e", "channel": "chat:r"}));
    let revocations = all("list_revocations", "revocations");
    assert_eq!(revocations.len(), 5);
    assert_eq!(revocations[3], json!({"user": "d/e", "issued_before": 7}));
    assert_eq!(
        scrape(&server.api)[r#"hubbub_moderation_entries{kind="mute"}"#],
        5.0
    );
}

fn requests_that_make_no_sense_are_refused(driver: Driver) {
    let server = Moderated::start(driver);
    let long = "x".repeat(5_000);
    for (method, request) in [
        ("block_user", json!({})),
        ("block_user", json!({"user": long})),
        ("block_user", json!({"user": "ann", "expire_at": 5})),
        ("mute_user", json!({"user": "ann"})),
        ("mute_user", json!({"channel": "chat:r"})),
        ("revoke_tokens", json!({})),
        ("revoke_tokens", json!({"user": "ann", "all": true})),
        (
            "revoke_tokens",
            json!({"user": "ann", "issued_before": in_seconds(10_000)}),
        ),
        ("delete_message", json!({"offset": 1})),
        ("delete_message", json!({"channel": "chat:r"})),
        ("delete_message", json!({"channel": "chat:r", "offset": 1})),
    ] {
        assert_eq!(
            server.api.fail(method, request.clone()),
            107,
            "{method} {request}"
        );
    }
    assert_eq!(
        server
            .api
            .fail("mute_user", json!({"user": "a", "channel": "no:r"})),
        102
    );
    for room in ["map:r", "bare:r"] {
        let request = json!({"channel": room, "offset": 1});
        assert_eq!(server.api.fail("delete_message", request), 108, "{room}");
    }
    server.call("publish", json!({"channel": "chat:r", "data": 1}));
    let request = json!({"channel": "chat:r", "offset": 1, "epoch": "other"});
    assert_eq!(server.api.fail("delete_message", request), 112);
}

fn deleted_message_is_null_for_everybody_and_offsets_stay_dense(driver: Driver) {
    let server = Moderated::start(driver);
    let mut session = server.session(&issued("ann", 0));
    let wish = json!({"channel": "chat:r", "positioned": true, "recoverable": true});
    let epoch = session.ask(&json!({"id": 2, "subscribe": wish}).to_string());
    let epoch = epoch["subscribe"]["epoch"].as_str().unwrap().to_owned();
    let mut publisher = server.session(&issued("bob", 0));
    for id in 2..5 {
        publisher.ask(&publish(id, "chat:r"));
        session.reply();
    }
    let told = server.call(
        "delete_message",
        json!({"channel": "chat:r", "offset": 2, "epoch": epoch}),
    );
    assert_eq!(told, json!({"offset": 4, "epoch": epoch}));
    // Who is here is told which.
    let push = session.reply()["push"]["pub"].clone();
    assert_eq!(
        push,
        json!({"data": null, "tags": {"erased": "2"}, "offset": 4})
    );
    check_deleted(&server.api, &server, &epoch);
    // It does not come back with the next process, either.
    drop((session, publisher));
    server.api.signal(Signal::TERM);
    let Moderated {
        mut api,
        dir,
        driver,
    } = server;
    assert_eq!(api.ended().code(), Some(0));
    drop(api);
    let api = Api::start(
        driver,
        &config(&dir, "state_dir = \"STATE\""),
        &["--cores", "2"],
    );
    let server = Moderated { api, dir, driver };
    check_deleted(&server.api, &server, &epoch);
}

/// The second of four messages is deleted for whoever asks.
fn check_deleted(server: &Server, moderated: &Moderated, epoch: &str) {
    let erased = json!({"data": null, "tags": {"erased": "2"}, "offset": 2});
    let history = moderated.call("history", json!({"channel": "chat:r", "limit": -1}));
    let kept = history["publications"].as_array().unwrap();
    let offsets: Vec<_> = kept
        .iter()
        .map(|it| it["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, [1, 2, 3, 4]);
    assert_eq!(kept[1], erased, "who has said it is gone, too");
    let mut session = moderated.session(&issued("cid", 0));
    let since = json!({"channel": "chat:r", "positioned": true, "recoverable": true,
                       "recover": true, "epoch": epoch, "offset": 1});
    let back = session.ask(&json!({"id": 2, "subscribe": since}).to_string());
    assert_eq!(back["subscribe"]["recovered"], true, "{back}");
    assert_eq!(back["subscribe"]["publications"][0], erased);
    let mut raw = Client::join(
        server,
        &format!("chat:r?since={epoch}:1&token={}", issued("dan", 0)),
    );
    raw.text();
    let envelope: Value = serde_json::from_str(&raw.text()).unwrap();
    assert_eq!(
        (&envelope["offset"], &envelope["data"]),
        (&json!(2), &json!("null"))
    );
}
