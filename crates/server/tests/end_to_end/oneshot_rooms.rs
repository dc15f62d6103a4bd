//! One-shot rooms, as tests make them and come to them.

use serde_json::{Value, json};

use crate::{
    client::{Client, Response, ask},
    commands::token,
    harness::Server,
    wire,
};

pub const RULES: &str = r#"
[namespaces.login]
oneshot = "10m"
raw = "publish"
[namespaces.framed]
oneshot = "10m"
[namespaces.chat]
subscribe = ["client", "anonymous"]
publish = ["client", "anonymous"]
raw = "publish"
"#;

/// A room, and what opens it.
pub struct OneShot {
    pub room: String,
    pub secret: String,
}

pub fn post(server: &Server, namespace: &str, fields: &[&str]) -> Response {
    ask(
        server,
        wire::request("POST", &format!("/oneshot/{namespace}"), fields),
    )
}

pub fn make(server: &Server, namespace: &str) -> OneShot {
    let answer = post(server, namespace, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let made: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    OneShot {
        room: text("room"),
        secret: text("secret"),
    }
}

impl OneShot {
    /// A token of the user 7 that publishes here.
    pub fn token(&self) -> String {
        token(&json!({"sub": "7", "channel": self.room, "publish": true}))
    }

    pub fn raw_page(&self, server: &Server) -> Client {
        Client::join(server, &format!("{}?secret={}", self.room, self.secret))
    }

    pub fn raw_publisher(&self, server: &Server) -> Client {
        Client::join(server, &format!("{}?token={}", self.room, self.token()))
    }
}
