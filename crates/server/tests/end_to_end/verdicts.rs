//! Who may do what, asked for by SDK sessions and by raw clients with their token in each of its places: one
//! verdict for all.

use serde_json::json;
use tungstenite::Message;

use crate::{
    client::Client,
    commands::{Configured, Session, token},
    harness::{Driver, Server},
};

on_both_drivers![every_way_in_meets_the_same_verdict];

const RULES: &str = r#"
[rooms]
subscribe = "client"
publish = "nobody"
raw = "subscribe"
[namespaces.open]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
raw = "publish"
[namespaces.users]
subscribe = "client"
publish = "subscriber"
raw = "publish"
[namespaces.heard]
subscribe = ["client", "anonymous"]
publish = "client"
raw = "publish"
[namespaces.tokens]
subscribe = "token"
publish = "subscriber"
raw = "publish"
[namespaces.once]
oneshot = "60s"
raw = "publish"
[namespaces.few]
subscribe = "client"
publish = "subscriber"
user_limited = true
raw = "publish"
"#;

/// What a client shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Nothing,
    /// A token of this user's for connections.
    User(&'static str),
    /// A token of the user 7 for the room.
    ForRoom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Refused,
    Hears,
    Publishes,
}
use Shows::{ForRoom, Nothing, User};
use Verdict::{Hears, Publishes, Refused};

/// A room, and the verdict for those who show nothing, who are the users 7 and 8, and who have a token for it.
const VERDICTS: [(&str, [Verdict; 4]); 10] = [
    ("plain", [Refused, Hears, Hears, Hears]),
    ("open:a", [Publishes; 4]),
    ("users:a", [Refused, Publishes, Publishes, Publishes]),
    ("heard:a", [Hears, Publishes, Publishes, Publishes]),
    ("tokens:a", [Refused, Refused, Refused, Publishes]),
    ("few:a#7,9", [Refused, Publishes, Refused, Publishes]),
    ("few:a", [Refused, Publishes, Publishes, Publishes]),
    ("$open:a", [Refused, Refused, Refused, Publishes]),
    ("nowhere:a", [Refused; 4]),
    // A one-shot room is opened by its secret alone.
    ("once:a", [Refused; 4]),
];

fn every_way_in_meets_the_same_verdict(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let server = &configured.server;
    for (room, verdicts) in VERDICTS {
        let shown = [Nothing, User("7"), User("8"), ForRoom];
        for (shows, expected) in shown.into_iter().zip(verdicts) {
            let verdict = of_session(server, room, shows);
            assert_eq!(verdict, expected, "{room} {shows:?} by SDK");
            for place in 0..3 {
                let verdict = of_raw(server, room, shows, place);
                assert_eq!(verdict, expected, "{room} {shows:?} raw, {place}");
            }
        }
    }
}

fn of_session(server: &Server, room: &str, shows: Shows) -> Verdict {
    let user = match shows {
        Nothing => "",
        User(user) => user,
        ForRoom => "7",
    };
    let own = match shows {
        Nothing => String::new(),
        User(_) | ForRoom => token(&json!({"sub": user})),
    };
    let of_room = match shows {
        ForRoom => token(&json!({"sub": user, "channel": room})),
        Nothing | User(_) => String::new(),
    };
    let mut session = Session::open(server);
    let connected = session.ask(&json!({"id": 1, "connect": {"token": own}}).to_string());
    assert!(connected["connect"].is_object(), "{connected}");
    let subscribe = json!({"channel": room, "token": of_room});
    let subscribed = session.ask(&json!({"id": 2, "subscribe": subscribe}).to_string());
    if subscribed["subscribe"].is_null() {
        return Refused;
    }
    let publish = json!({"channel": room, "data": {}});
    let published = session.ask(&json!({"id": 3, "publish": publish}).to_string());
    match published["publish"].is_object() {
        true => Publishes,
        false => Hears,
    }
}

/// The token is in the query, in a field, or in a subprotocol.
fn of_raw(server: &Server, room: &str, shows: Shows, place: usize) -> Verdict {
    let token = match shows {
        Nothing => None,
        User(user) => Some(token(&json!({"sub": user}))),
        ForRoom => Some(token(&json!({"sub": "7", "channel": room}))),
    };
    let path = format!("/rooms/{}", room.replace('#', "%23"));
    let token = token.as_deref();
    let (path, field) = match (token, place) {
        (None, _) => (path, None),
        (Some(token), 0) => (format!("{path}?token={token}"), None),
        (Some(token), 1) => (path, Some(("authorization", format!("Bearer {token}")))),
        (Some(token), _) => {
            let offer = format!("hubbub, hubbub.token.{token}");
            (path, Some(("sec-websocket-protocol", offer)))
        }
    };
    let fields: Vec<_> = field
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let Ok(mut client) = Client::with_fields(server, &path, &fields) else {
        return Refused;
    };
    client.send("{}");
    match client.next() {
        Ok(Message::Text(text)) if text == "{}" => Publishes,
        Ok(Message::Close(Some(frame))) if u16::from(frame.code) == 1008 => Hears,
        other => panic!("{room} {shows:?}: {other:?}"),
    }
}
