//! Raw clients where rooms have rules: who is let in, with a token in each of its places, and for how long.

use serde_json::{Value, json};

use crate::{
    client::Client,
    commands::{Configured, OPEN, Session, in_seconds, token},
    harness::Driver,
};

on_both_drivers![
    raw_client_is_let_in_or_told_why_not_before_the_101,
    raw_client_is_closed_when_its_token_is_over,
    newest_connection_of_a_user_ends_the_older_ones_of_either_kind,
];

const RULES: &str = r#"
[rooms]
[namespaces.users]
subscribe = "client"
publish = "client"
raw = "publish"
[namespaces.listen]
subscribe = ["client", "anonymous"]
raw = "subscribe"
[namespaces.framed]
subscribe = ["client", "anonymous"]
"#;

fn raw_client_is_let_in_or_told_why_not_before_the_101(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let server = &configured.server;
    let ask = |path: &str, fields: &[(&'static str, &str)]| match Client::with_fields(
        server, path, fields,
    ) {
        Ok(client) => {
            let chosen = client.subprotocol().map(str::to_owned);
            client.leave();
            (101, chosen)
        }
        Err(status) => (status, None),
    };
    let status = |path: &str| ask(path, &[]).0;
    let good = token(&json!({"sub": "1"}));
    let of_room = token(&json!({"sub": "1", "channel": "users:a"}));
    let expired = token(&json!({"sub": "1", "exp": in_seconds(-600)}));
    assert_eq!(status("/rooms/users:a"), 401);
    assert_eq!(status(&format!("/rooms/users:a?token={good}")), 101);
    assert_eq!(status(&format!("/rooms/users:a?x=1&token={of_room}")), 101);
    assert_eq!(status(&format!("/rooms/users:b?token={of_room}")), 401);
    assert_eq!(status(&format!("/rooms/users:a?token={expired}")), 401);
    assert_eq!(status(&format!("/rooms/users:a?token={good}x")), 401);
    assert_eq!(status("/rooms/listen:a"), 101);
    assert_eq!(status(&format!("/rooms/framed:a?token={good}")), 403);
    assert_eq!(status(&format!("/rooms/nowhere:a?token={good}")), 404);

    let bearer = format!("Bearer {good}");
    let offer = format!("hubbub, hubbub.token.{good}");
    let offer_alone = format!("hubbub.token.{good}");
    assert_eq!(ask("/rooms/users:a", &[("authorization", &bearer)]).0, 101);
    let offered = |offer: &str| ask("/rooms/users:a", &[("sec-websocket-protocol", offer)]);
    assert_eq!(offered(&offer), (101, Some("hubbub".to_owned())));
    assert_eq!(offered(&offer_alone).0, 400);

    let mut listener = Client::join(server, "listen:a");
    listener.send("may I?");
    assert_eq!(listener.closed(), 1008);
}

fn raw_client_is_closed_when_its_token_is_over(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let token = token(&json!({"sub": "1", "exp": in_seconds(3)}));
    let mut client = Client::join(&configured.server, &format!("users:a?token={token}"));
    client.send("still here");
    assert_eq!(client.text(), "still here");
    assert_eq!(client.closed(), 1008);
}

fn newest_connection_of_a_user_ends_the_older_ones_of_either_kind(driver: Driver) {
    let tables = format!("[rooms]{OPEN}raw = \"publish\"\n");
    let settings = "single_connection = \"on\"\n";
    let configured = Configured::start(driver, settings, &tables, &["--cores", "2"]);
    let server = &configured.server;
    let of = |user: &str| token(&json!({"sub": user}));
    let raw = |user: &str| Client::join(server, &format!("a?token={}", of(user)));
    let session = |user: &str| {
        let mut session = Session::open(server);
        let command = json!({"id": 1, "connect": {"token": of(user)}});
        let reply: Value = session.ask(&command.to_string());
        assert!(reply["connect"].is_object(), "{reply}");
        session
    };
    let mut other = raw("2");
    let mut first = raw("1");
    let mut second = raw("1");
    assert_eq!(first.closed(), 1008);
    let mut third = session("1");
    assert_eq!(second.closed(), 1008);
    let mut fourth = raw("1");
    assert_eq!(third.closed().0, 3504);
    fourth.send("alone");
    for client in [&mut fourth, &mut other] {
        assert_eq!(client.text(), "alone");
    }
}
