//! What a session's messages look like on its transport.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use centrifuge::{ConnectResult, Encoding, Push, Reply, is_json};
use codec::Kind;
use runtime::BodyForm;

/// The transports, as far as they differ in what messages look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// JSON in text messages of a WebSocket; several in one are separated by newlines.
    Json,
    /// Protobuf behind lengths, in binary messages of a WebSocket or on a stream.
    Protobuf,
    /// Lines of JSON on a stream.
    Lines,
    /// Server-sent events with a line of JSON each.
    Events,
    /// To clients that never ask: each a text message of a WebSocket.
    OneWay,
    /// To clients that never ask: lines on a stream.
    OneWayLines,
    /// To clients that never ask: server-sent events.
    OneWayEvents,
}

const ALL: [Wire; 7] = [
    Wire::Json,
    Wire::Protobuf,
    Wire::Lines,
    Wire::Events,
    Wire::OneWay,
    Wire::OneWayLines,
    Wire::OneWayEvents,
];

impl Wire {
    /// How messages are encoded.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Protobuf => Encoding::Protobuf,
            _ => Encoding::Json,
        }
    }

    /// Whether its clients look at messages, whatever carries them, and not at close codes.
    pub fn looks_at_messages_alone(self) -> bool {
        self == Self::OneWay
    }

    /// Whether its clients never ask, but are only told.
    pub fn is_one_way(self) -> bool {
        matches!(self, Self::OneWay | Self::OneWayLines | Self::OneWayEvents)
    }

    /// The kind of WebSocket message that carries it.
    pub fn kind(self) -> Kind {
        match self.encoding() {
            Encoding::Json => Kind::Text,
            Encoding::Protobuf => Kind::Binary,
        }
    }

    /// The form of a room's messages for a subscriber that is told who comes and goes, or is not.
    pub fn form(self, hears_members: bool) -> BodyForm {
        BodyForm(1 + 2 * self as u8 + u8::from(hears_members))
    }

    /// The wire of a form, and whether its subscribers are told who comes and goes.
    pub fn of_form(form: BodyForm) -> Option<(Self, bool)> {
        let number = form.0.checked_sub(1)?;
        let wire = ALL.get(usize::from(number / 2))?;
        Some((*wire, number % 2 == 1))
    }

    /// Appends an answer to `messages`, which are separated as on the wire. Clients that never ask are told
    /// only that they are connected.
    pub fn append_reply(self, id: u32, reply: &Reply<'_>, messages: &mut Vec<u8>) {
        match (self.is_one_way(), reply) {
            (false, _) => {
                self.encoding().separate(messages);
                self.encoding().append_reply(id, reply, messages);
            }
            (true, Reply::Connect(result)) => self.append_connect(result, messages),
            (true, _) => {}
        }
    }

    fn append_connect(self, result: &ConnectResult<'_>, messages: &mut Vec<u8>) {
        self.append_push("", &Push::Connect(result), messages);
    }

    /// Appends news to `messages`.
    pub fn append_push(self, room: &str, push: &Push<'_>, messages: &mut Vec<u8>) {
        self.encoding().separate(messages);
        self.append_alone(room, push, messages);
    }

    fn append_alone(self, room: &str, push: &Push<'_>, out: &mut Vec<u8>) {
        match self.is_one_way() {
            false => self.encoding().append_push(room, push, out),
            true => self.encoding().append_bare_push(room, push, out),
        }
    }

    /// Appends news as the transport carries it, behind other news if one message of the transport may have
    /// [several](Self::gathers).
    pub fn append_carried(self, room: &str, push: &Push<'_>, carried: &mut Vec<u8>) {
        match self {
            Self::Json | Self::Protobuf | Self::OneWay => self.append_push(room, push, carried),
            Self::Lines | Self::OneWayLines => {
                self.append_alone(room, push, carried);
                carried.push(b'\n');
            }
            Self::Events | Self::OneWayEvents => {
                let mut message = Vec::new();
                self.append_alone(room, push, &mut message);
                append_event(&message, carried);
            }
        }
    }

    /// Whether one message of the transport may carry several pieces of news.
    pub fn gathers(self) -> bool {
        self != Self::OneWay
    }

    /// Makes of messages, which are not empty, what the transport carries.
    pub fn frame(self, messages: &mut Vec<u8>) {
        match self {
            Self::Json | Self::Protobuf | Self::OneWay => {}
            Self::Lines | Self::OneWayLines => messages.push(b'\n'),
            Self::Events | Self::OneWayEvents => {
                let lines = std::mem::take(messages);
                for line in lines.split(|byte| *byte == b'\n') {
                    append_event(line, messages);
                }
            }
        }
    }
}

/// Appends an event with this line (HTML Standard, section 9.2.6, "Interpreting an event stream"). A carriage
/// return would end the line there; in JSON it means nothing, because it stands only between values.
fn append_event(line: &[u8], events: &mut Vec<u8>) {
    events.extend_from_slice(b"data: ");
    events.extend(line.iter().filter(|byte| **byte != b'\r'));
    events.extend_from_slice(b"\n\n");
}

/// A payload as subscribers of an encoding get it. In JSON, a text that is not JSON is a string, and a binary
/// message is a string in base64.
pub fn data_of(encoding: Encoding, kind: Kind, payload: &[u8]) -> Cow<'_, [u8]> {
    match (encoding, kind) {
        (Encoding::Protobuf, _) => payload.into(),
        (Encoding::Json, Kind::Text) if is_json(payload) => payload.into(),
        (Encoding::Json, Kind::Text) => json_string(&String::from_utf8_lossy(payload)).into(),
        (Encoding::Json, Kind::Binary) => json_string(&BASE64_STANDARD.encode(payload)).into(),
    }
}

fn json_string(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a string is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_own_wire() {
        for (at, wire) in ALL.into_iter().enumerate() {
            assert_eq!(wire as usize, at);
            for hears in [false, true] {
                assert_eq!(Wire::of_form(wire.form(hears)), Some((wire, hears)));
            }
        }
        assert_eq!(Wire::of_form(BodyForm::RAW), None);
        assert_eq!(Wire::of_form(BodyForm(15)), None);
    }

    #[test]
    fn news_is_carried_as_messages_that_are_framed() {
        for wire in ALL.into_iter().filter(|wire| wire.gathers()) {
            let push = |code| Push::Disconnect { code, reason: "" };
            let (mut framed, mut carried) = (Vec::new(), Vec::new());
            for code in [1, 2, 3] {
                wire.append_push("a", &push(code), &mut framed);
                wire.append_carried("a", &push(code), &mut carried);
            }
            wire.frame(&mut framed);
            assert_eq!(framed, carried, "{wire:?}");
        }
    }

    #[test]
    fn messages_are_framed_as_each_transport_carries_them() {
        for (wire, expected) in [
            (
                Wire::Json,
                "{\"push\":{\"message\":{\"data\":[1,\r2]}}}\n{\"push\":{}}",
            ),
            (
                Wire::Lines,
                "{\"push\":{\"message\":{\"data\":[1,\r2]}}}\n{\"push\":{}}\n",
            ),
            (
                Wire::Events,
                "data: {\"push\":{\"message\":{\"data\":[1,2]}}}\n\ndata: {\"push\":{}}\n\n",
            ),
            (Wire::OneWayLines, "{\"message\":{\"data\":[1,\r2]}}\n{}\n"),
            (
                Wire::OneWayEvents,
                "data: {\"message\":{\"data\":[1,2]}}\n\ndata: {}\n\n",
            ),
        ] {
            let mut messages = Vec::new();
            wire.append_push("", &Push::Message { data: b"[1,\r2]" }, &mut messages);
            wire.encoding().separate(&mut messages);
            let empty: &[u8] = match wire.is_one_way() {
                false => b"{\"push\":{}}",
                true => b"{}",
            };
            messages.extend_from_slice(empty);
            wire.frame(&mut messages);
            assert_eq!(str::from_utf8(&messages), Ok(expected), "{wire:?}");
        }
    }

    #[test]
    fn json_subscribers_get_every_payload_as_json() {
        for (kind, payload, expected) in [
            (Kind::Text, r#"{"a": 1}"#, r#"{"a": 1}"#),
            (Kind::Text, "hello", r#""hello""#),
            (Kind::Text, "a\nb\"", r#""a\nb\"""#),
            (Kind::Binary, "{}", r#""e30=""#),
        ] {
            let json = Encoding::Json;
            let payload = payload.as_bytes();
            let data = data_of(json, kind, payload);
            assert_eq!(str::from_utf8(&data), Ok(expected));
            assert_eq!(*data_of(Encoding::Protobuf, kind, payload), *payload);
        }
    }
}
