//! The forms in which raw clients get messages, beside the messages as they are: envelopes with positions, and
//! server-sent events.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use codec::Kind;
use hub::{Epoch, Position};
use runtime::{BodyForm, RoomEvent};

use super::super::epoch;

/// A form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they were published.
    Plain,
    /// A JSON object with the position and the message.
    Envelope,
    /// An event of a stream (HTML Standard, section 9.2), whose id is the position.
    Event,
    /// An event without an id, for rooms without positions.
    EventWithoutId,
}

impl Form {
    /// The number of the form. Those below 64 are other protocols'.
    pub fn body(self) -> BodyForm {
        match self {
            Self::Plain => BodyForm::RAW,
            Self::Envelope => BodyForm(64),
            Self::Event => BodyForm(65),
            Self::EventWithoutId => BodyForm(66),
        }
    }

    /// The form of this number, if it is one of these.
    pub fn of(body: BodyForm) -> Option<Self> {
        match body.0 {
            64 => Some(Self::Envelope),
            65 => Some(Self::Event),
            66 => Some(Self::EventWithoutId),
            _ => None,
        }
    }

    /// Appends what a room tells; `None` if subscribers of this form are not told of it.
    pub fn encode(self, event: &RoomEvent<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        let &RoomEvent::Message {
            epoch,
            offset,
            kind,
            payload,
            ..
        } = event
        else {
            return None;
        };
        Some(self.append(Position { epoch, offset }, kind, payload, body))
    }

    /// Appends a message; returns the kind of what it is now.
    pub fn append(self, at: Position, kind: Kind, payload: &[u8], body: &mut Vec<u8>) -> Kind {
        match self {
            Self::Plain => {
                body.extend_from_slice(payload);
                return kind;
            }
            Self::Envelope => append_envelope(at, kind, payload, body),
            Self::Event => {
                append_id(at, body);
                append_event(kind, payload, body);
            }
            Self::EventWithoutId => append_event(kind, payload, body),
        }
        Kind::Text
    }
}

fn append_envelope(at: Position, kind: Kind, payload: &[u8], body: &mut Vec<u8>) {
    append_position(at, body);
    match kind {
        Kind::Text => {
            body.extend_from_slice(b",\"data\":");
            let text = String::from_utf8_lossy(payload);
            serde_json::to_writer(&mut *body, &*text)
                .expect("a string is JSON, and memory takes it");
        }
        Kind::Binary => {
            body.extend_from_slice(b",\"data_base64\":\"");
            append_base64(payload, body);
            body.push(b'"');
        }
    }
    body.push(b'}');
}

/// The beginning of an object that says a position. Its end is the caller's.
pub fn append_position(at: Position, body: &mut Vec<u8>) {
    let Position { epoch, offset } = at;
    let text = epoch::text(epoch);
    body.extend_from_slice(format!("{{\"epoch\":\"{text}\",\"offset\":{offset}").as_bytes());
}

/// The field of an event that says its position.
pub fn append_id(at: Position, body: &mut Vec<u8>) {
    let id = format!("id: {}\n", position_text(at.epoch, at.offset));
    body.extend_from_slice(id.as_bytes());
}

fn position_text(epoch: Epoch, offset: u64) -> String {
    format!("{}:{offset}", epoch::text(epoch))
}

/// A text has a field for each of its lines, however they end; a client puts line feeds between them. A space
/// follows each colon, because a client takes one away.
fn append_event(kind: Kind, payload: &[u8], body: &mut Vec<u8>) {
    match kind {
        Kind::Text => {
            for line in lines(payload) {
                body.extend_from_slice(b"data: ");
                body.extend_from_slice(line);
                body.push(b'\n');
            }
        }
        Kind::Binary => {
            body.extend_from_slice(b"event: binary\ndata: ");
            append_base64(payload, body);
            body.push(b'\n');
        }
    }
    body.push(b'\n');
}

/// The lines of a text, which end with CR, LF or both: one more than it has ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            rest = None;
            return Some(text);
        };
        let (line, end) = text.split_at(end);
        let end_bytes = if end.starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&end[end_bytes..]);
        Some(line)
    })
}

fn append_base64(payload: &[u8], body: &mut Vec<u8>) {
    let begin = body.len();
    let bytes = payload.len().div_ceil(3) * 4;
    body.resize(begin + bytes, 0);
    BASE64_STANDARD
        .encode_slice(payload, &mut body[begin..])
        .expect("the place is as long as the text");
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position {
        epoch: Epoch(0xab),
        offset: 7,
    };

    fn text_of(form: Form, kind: Kind, payload: &[u8]) -> String {
        let mut body = Vec::new();
        assert_eq!(form.append(AT, kind, payload, &mut body), Kind::Text);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn envelope_has_the_text_as_a_string_and_binary_in_base64() {
        let envelope = |kind, payload| text_of(Form::Envelope, kind, payload);
        for text in ["", "hello", "{\"a\": 1}", "a\"b\\\n\r\u{0}\u{7f}é\u{2028}"] {
            let read: serde_json::Value =
                serde_json::from_str(&envelope(Kind::Text, text.as_bytes())).unwrap();
            assert_eq!(
                read,
                serde_json::json!({"epoch": "00000000000000ab", "offset": 7, "data": text})
            );
        }
        for (payload, expected) in [(&b""[..], ""), (b"\xff", "/w=="), (b"\x00\x01\x02", "AAEC")] {
            assert_eq!(
                envelope(Kind::Binary, payload),
                format!(
                    "{{\"epoch\":\"00000000000000ab\",\"offset\":7,\"data_base64\":\"{expected}\"}}"
                )
            );
        }
    }

    #[test]
    fn event_has_a_field_for_each_line_and_its_position_as_id() {
        for (text, expected) in [
            ("", "data: \n\n"),
            ("one", "data: one\n\n"),
            (" one", "data:  one\n\n"),
            ("id: 1", "data: id: 1\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\rb", "data: a\ndata: b\n\n"),
            ("a\r\nb", "data: a\ndata: b\n\n"),
            ("a\n\rb", "data: a\ndata: \ndata: b\n\n"),
            ("a\r\n", "data: a\ndata: \n\n"),
            ("\r", "data: \ndata: \n\n"),
        ] {
            let event = text_of(Form::EventWithoutId, Kind::Text, text.as_bytes());
            assert_eq!(event, expected, "{text:?}");
            let event = text_of(Form::Event, Kind::Text, text.as_bytes());
            assert_eq!(event, format!("id: 00000000000000ab:7\n{expected}"));
        }
        let event = text_of(Form::EventWithoutId, Kind::Binary, b"\xff\n");
        assert_eq!(event, "event: binary\ndata: /wo=\n\n");
    }

    #[test]
    fn form_is_found_by_its_number() {
        for form in [Form::Envelope, Form::Event, Form::EventWithoutId] {
            assert_eq!(Form::of(form.body()), Some(form));
        }
        assert_eq!(Form::of(BodyForm::RAW), None);
        assert_eq!(Form::of(BodyForm(1)), None);
    }
}
