//! Who may do what, asked for by SDK sessions and by raw clients with their token in each of its places: one
//! verdict for all.

use serde_json::json;
use tungstenite::Message;

use crate::{
    client::Client,
    commands::{Configured, Session, token},
    harness::{Driver, Server},
    streamed::Stream,
    wire,
};

on_both_drivers![
    every_way_in_meets_the_same_verdict,
    token_that_says_so_lets_its_client_publish_where_nobody_else_may,
];

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
read_history = "subscriber"
history_size = 5
raw = "publish"
[namespaces.heard]
subscribe = ["client", "anonymous"]
publish = "client"
read_history = "client"
history_size = 5
raw = "publish"
[namespaces.tokens]
subscribe = "token"
publish = "subscriber"
raw = "publish"
[namespaces.given]
subscribe = "token"
publish = "nobody"
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
    /// The same, and the token says that it lets its client publish.
    ToPublish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Refused,
    Hears,
    Publishes,
}
use Shows::{ForRoom, Nothing, ToPublish, User};
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
            for place in 0..2 {
                let hears = of_stream(server, room, shows, place);
                let expected = expected != Refused;
                assert_eq!(hears, expected, "{room} {shows:?} by a stream, {place}");
            }
            // A session that is not in the room publishes there where a raw client does that is not.
            let publishes = [publishes_as_session, publishes_raw].map(|by| by(server, room, shows));
            assert_eq!(publishes[0], publishes[1], "{room} {shows:?} from outside");
            let reads = [reads_as_session, reads_raw].map(|by| by(server, room, shows));
            assert_eq!(reads[0], reads[1], "{room} {shows:?} the history");
        }
    }
}

fn token_that_says_so_lets_its_client_publish_where_nobody_else_may(driver: Driver) {
    let configured = Configured::start(driver, "", RULES, &[]);
    let server = &configured.server;
    for (shows, expected) in [
        (User("7"), Refused),
        (ForRoom, Hears),
        (ToPublish, Publishes),
    ] {
        assert_eq!(of_session(server, "given:a", shows), expected, "{shows:?}");
        for place in 0..3 {
            let verdict = of_raw(server, "given:a", shows, place);
            assert_eq!(verdict, expected, "{shows:?} raw, {place}");
        }
        let publishes = publishes_raw(server, "given:a", shows);
        assert_eq!(publishes, expected == Publishes, "{shows:?} from outside");
    }
}

fn of_session(server: &Server, room: &str, shows: Shows) -> Verdict {
    let (mut session, is_in) = session(server, room, shows, true);
    if !is_in {
        return Refused;
    }
    let publish = json!({"channel": room, "data": {}});
    let published = session.ask(&json!({"id": 3, "publish": publish}).to_string());
    match published["publish"].is_object() {
        true => Publishes,
        false => Hears,
    }
}

/// A token of the user 7 for the room.
fn of_room(room: &str, shows: Shows) -> String {
    token(&json!({"sub": "7", "channel": room, "publish": shows == ToPublish}))
}

/// The token of a raw client.
fn shown(room: &str, shows: Shows) -> Option<String> {
    match shows {
        Nothing => None,
        User(user) => Some(token(&json!({"sub": user}))),
        ForRoom | ToPublish => Some(of_room(room, shows)),
    }
}

/// Whether a stream opens. The token is in the query, or in a field.
fn of_stream(server: &Server, room: &str, shows: Shows, place: usize) -> bool {
    let token = shown(room, shows).unwrap_or_default();
    let path = format!("/rooms/{}/sse", room.replace('#', "%23"));
    let bearer = format!("Authorization: Bearer {token}");
    let request = match (&*token, place) {
        ("", _) => wire::request("GET", &path, &[]),
        (_, 0) => wire::request("GET", &format!("{path}?token={token}"), &[]),
        _ => wire::request("GET", &path, &[&bearer]),
    };
    Stream::ask(server, request).head.status == 200
}

/// A session that shows who it is, and whether it is in the room, if it is to be.
fn session(server: &Server, room: &str, shows: Shows, subscribes: bool) -> (Session, bool) {
    let user = match shows {
        Nothing => "",
        User(user) => user,
        ForRoom | ToPublish => "7",
    };
    let own = match shows {
        Nothing => String::new(),
        User(_) | ForRoom | ToPublish => token(&json!({"sub": user})),
    };
    let mut session = Session::open(server);
    let connected = session.ask(&json!({"id": 1, "connect": {"token": own}}).to_string());
    assert!(connected["connect"].is_object(), "{connected}");
    let of_room_token = match shows {
        ForRoom | ToPublish => of_room(room, shows),
        Nothing | User(_) => String::new(),
    };
    if !subscribes {
        return (session, false);
    }
    let subscribe = json!({"channel": room, "token": of_room_token});
    let subscribed = session.ask(&json!({"id": 2, "subscribe": subscribe}).to_string());
    let is_in = subscribed["subscribe"].is_object();
    (session, is_in)
}

fn publishes_as_session(server: &Server, room: &str, shows: Shows) -> bool {
    let (mut session, _) = session(server, room, shows, false);
    let publish = json!({"channel": room, "data": {}});
    let published = session.ask(&json!({"id": 3, "publish": publish}).to_string());
    published["publish"].is_object()
}

fn publishes_raw(server: &Server, room: &str, shows: Shows) -> bool {
    opens(server, room, shows, "mode=publish")
}

fn reads_as_session(server: &Server, room: &str, shows: Shows) -> bool {
    let (mut session, is_in) = session(server, room, shows, true);
    let history = json!({"channel": room, "limit": 1});
    let read = session.ask(&json!({"id": 4, "history": history}).to_string());
    is_in && read["history"].is_object()
}

fn reads_raw(server: &Server, room: &str, shows: Shows) -> bool {
    opens(server, room, shows, "last=1")
}

fn opens(server: &Server, room: &str, shows: Shows, query: &str) -> bool {
    let token = shown(room, shows).map_or_else(String::new, |token| format!("&token={token}"));
    let path = format!("/rooms/{}?{query}{token}", room.replace('#', "%23"));
    Client::with_fields(server, &path, &[]).is_ok()
}

/// The token is in the query, in a field, or in a subprotocol.
fn of_raw(server: &Server, room: &str, shows: Shows, place: usize) -> Verdict {
    let token = shown(room, shows);
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
