//! The protocol in JSON.

use super::said::{Command, Connected, Publication, Reply, Said, Subscribed};
use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct WireReply<'a> {
    id: u32,
    error: Option<WireEnding>,
    #[serde(borrow)]
    push: Option<WirePush<'a>>,
    connect: Option<WireConnected<'a>>,
    subscribe: Option<WireSubscribed<'a>>,
    publish: Option<IgnoredAny>,
    presence: Option<WirePresence>,
}

#[derive(Deserialize)]
struct WireEnding {
    #[serde(default)]
    code: u32,
}

#[derive(Deserialize)]
struct WireConnected<'a> {
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    node: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WirePush<'a> {
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow, rename = "pub")]
    publication: Option<WirePublication<'a>>,
    unsubscribe: Option<WireEnding>,
    disconnect: Option<WireEnding>,
}

#[derive(Deserialize)]
struct WirePublication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    offset: u64,
    #[serde(borrow, default)]
    epoch: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireSubscribed<'a> {
    recoverable: bool,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
    recovered: bool,
    phase: u32,
    publications: Vec<WirePublication<'a>>,
}

#[derive(Deserialize)]
struct WirePresence {
    #[serde(default)]
    presence: BTreeMap<Box<str>, IgnoredAny>,
}

impl<'a> From<WirePublication<'a>> for Publication<'a> {
    fn from(wire: WirePublication<'a>) -> Self {
        Self {
            data: wire.data.get().as_bytes(),
            offset: wire.offset,
            epoch: wire.epoch,
            key: wire.key,
        }
    }
}

impl<'a> From<WireSubscribed<'a>> for Subscribed<'a> {
    fn from(wire: WireSubscribed<'a>) -> Self {
        let publications = wire.publications.into_iter();
        Self {
            recoverable: wire.recoverable,
            epoch: wire.epoch,
            offset: wire.offset,
            recovered: wire.recovered,
            phase: wire.phase,
            publications: publications.map(Publication::from).collect(),
        }
    }
}

/// What a frame says: values one behind the other, parted by newlines.
pub fn read(frame: &[u8]) -> Result<Vec<Said<'_>>> {
    let values = serde_json::Deserializer::from_slice(frame).into_iter::<WireReply<'_>>();
    let said = values.map(|wire| wire.map(said)).collect::<Result<_, _>>();
    said.with_context(|| format!("unreadable: {}", String::from_utf8_lossy(frame)))
}

fn said(wire: WireReply<'_>) -> Said<'_> {
    if let Some(push) = wire.push {
        return match (push.publication, push.unsubscribe, push.disconnect) {
            (Some(publication), ..) => Said::Publication(push.channel, publication.into()),
            (None, Some(ending), _) => Said::Unsubscribed(push.channel, ending.code),
            (None, None, Some(ending)) => Said::Disconnected(ending.code),
            (None, None, None) => Said::Other,
        };
    }
    let reply = if let Some(error) = wire.error {
        Reply::Failed(error.code)
    } else if let Some(connected) = wire.connect {
        Reply::Connected(Connected {
            client: connected.client,
            session: connected.session,
            node: connected.node,
        })
    } else if let Some(subscribed) = wire.subscribe {
        Reply::Subscribed(subscribed.into())
    } else if let Some(presence) = wire.presence {
        Reply::Present(presence.presence.into_keys().collect())
    } else if wire.publish.is_some() {
        Reply::Published
    } else if wire.id == 0 {
        return Said::Ping;
    } else {
        Reply::Other
    };
    Said::Reply(wire.id, reply)
}

/// Appends a command to a frame.
pub fn append(id: u32, command: Command<'_>, frame: &mut Vec<u8>) {
    if !frame.is_empty() {
        frame.push(b'\n');
    }
    let text = match command {
        Command::Pong => "{}".to_owned(),
        Command::Connect(token) => {
            let token = token.map_or(String::new(), |token| format!(r#","token":"{token}""#));
            format!(r#"{{"id":{id},"connect":{{"name":"bench"{token}}}}}"#)
        }
        Command::Subscribe(room, from) => {
            let recover = from.map_or(String::new(), |(epoch, offset)| {
                format!(r#","recover":true,"epoch":"{epoch}","offset":{offset}"#)
            });
            format!(
                r#"{{"id":{id},"subscribe":{{"channel":"{room}","positioned":true,"recoverable":true{recover}}}}}"#
            )
        }
        Command::SubscribeKeys(room) => {
            format!(r#"{{"id":{id},"subscribe":{{"channel":"{room}","type":1,"phase":2}}}}"#)
        }
        Command::Publish(room, data) => {
            frame.extend_from_slice(
                format!(r#"{{"id":{id},"publish":{{"channel":"{room}","data":"#).as_bytes(),
            );
            frame.extend_from_slice(data);
            "}}".to_owned()
        }
        Command::Set(room, key, data) => {
            let head = format!(
                r#"{{"id":{id},"publish":{{"channel":"{room}","type":1,"key":"{key}","data":"#
            );
            frame.extend_from_slice(head.as_bytes());
            frame.extend_from_slice(data);
            "}}".to_owned()
        }
        Command::Presence(room) => format!(r#"{{"id":{id},"presence":{{"channel":"{room}"}}}}"#),
    };
    frame.extend_from_slice(text.as_bytes());
}

/// A request that brings commands to a stream.
pub fn emulation(session: &str, node: &str, frame: &[u8]) -> Vec<u8> {
    let data = String::from_utf8_lossy(frame);
    serde_json::json!({ "session": session, "node": node, "data": data })
        .to_string()
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_is_read_line_by_line_and_payloads_stay_as_they_are() {
        let frame =
            br#"{"push":{"channel":"r","pub":{"data":{"a": 1},"offset":2,"epoch":"e","key":"k"}}}
{"id":3,"publish":{}}
{"id":4,"error":{"code":103,"message":"permission denied"}}
{}
{"push":{"channel":"r","unsubscribe":{"code":2500}}}
{"push":{"channel":"r","join":{"info":{"user":"","client":"c"}}}}
{"push":{"disconnect":{"code":3012,"reason":"no pong"}}}
{"id":1,"connect":{"client":"c","session":"s","node":"n"}}
"#;
        let publication = Publication {
            data: br#"{"a": 1}"#,
            offset: 2,
            epoch: "e".into(),
            key: "k".into(),
        };
        let expected = [
            Said::Publication("r".into(), publication),
            Said::Reply(3, Reply::Published),
            Said::Reply(4, Reply::Failed(103)),
            Said::Ping,
            Said::Unsubscribed("r".into(), 2500),
            Said::Other,
            Said::Disconnected(3012),
            Said::Reply(
                1,
                Reply::Connected(Connected {
                    client: "c".into(),
                    session: "s".into(),
                    node: "n".into(),
                }),
            ),
        ];
        assert_eq!(read(frame).unwrap(), expected);
        assert!(read(b"{").is_err());
    }

    #[test]
    fn subscription_is_read_with_what_was_missed() {
        let frame =
            br#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e","offset":4,
            "recovered":true,"was_recovering":true,"publications":[{"data":1,"offset":5}]}}"#;
        let frame: Vec<u8> = frame.iter().copied().filter(|it| *it != b'\n').collect();
        let said = read(&frame).unwrap();
        let [Said::Reply(2, Reply::Subscribed(subscribed))] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(subscribed.recovered && subscribed.recoverable);
        assert_eq!((&*subscribed.epoch, subscribed.offset), ("e", 4));
        assert_eq!(subscribed.publications[0].offset, 5);
    }

    #[test]
    fn commands_are_json() {
        let mut frame = Vec::new();
        append(1, Command::Connect(Some("a.b.c")), &mut frame);
        append(2, Command::Subscribe("r", Some(("e", 7))), &mut frame);
        append(3, Command::Publish("r", b"[1]"), &mut frame);
        append(4, Command::Presence("r"), &mut frame);
        append(5, Command::SubscribeKeys("r"), &mut frame);
        append(6, Command::Set("r", "k", b"[1]"), &mut frame);
        append(0, Command::Pong, &mut frame);
        let lines: Vec<serde_json::Value> = frame
            .split(|it| *it == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines[0]["connect"]["token"], "a.b.c");
        assert_eq!(lines[1]["subscribe"]["offset"], 7);
        assert_eq!(lines[2]["publish"]["data"][0], 1);
        assert_eq!(lines[4]["subscribe"]["phase"], 2);
        assert_eq!(lines[5]["publish"]["key"], "k");
        assert_eq!(lines.len(), 7);
    }
}
