//! What rooms tell, encoded once for each form and core: a push of the Centrifuge protocol, or what a raw client
//! gets. A form's number says whose it is.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use centrifuge::{Encoding, Publication, Push, is_json};
use codec::Kind;
use runtime::{BodyEncoder, BodyForm, Delivered, RoomEvent};

use super::{centrifuge::Wire, epoch, raw::Form};
use crate::world::Live;

/// Encodes pushes, and what raw clients get.
pub struct Bodies(pub Arc<Live>);

impl BodyEncoder for Bodies {
    fn encode(
        &self,
        form: BodyForm,
        delivered: &Delivered<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Kind> {
        if let Some(raw) = Form::of(form) {
            return raw.encode(&delivered.event, body);
        }
        let (wire, hears_members) = Wire::of_form(form)?;
        let room = delivered.room.as_str();
        if matches!(delivered.event, RoomEvent::Came(_) | RoomEvent::Went(_)) && !hears_members {
            return None;
        }
        match delivered.event {
            RoomEvent::Message {
                epoch,
                offset,
                kind,
                meta,
                payload,
            } => {
                let has_positions = self.0.now().has_positions(room);
                // Whoever subscribed before there was a first message learns the epoch with it.
                let epoch = match has_positions && offset == 1 {
                    true => epoch::text(epoch),
                    false => String::new(),
                };
                let publication = Publication {
                    meta,
                    data: &data_of(wire.encoding(), kind, payload),
                    offset: if has_positions { offset } else { 0 },
                    epoch: &epoch,
                };
                wire.append_carried(room, &Push::Publication(publication), body);
            }
            RoomEvent::Came(member) => {
                let info = &member.info;
                wire.append_carried(room, &Push::Join { info }, body);
            }
            RoomEvent::Went(member) => {
                let info = &member.info;
                wire.append_carried(room, &Push::Leave { info }, body);
            }
        }
        Some(wire.kind())
    }

    /// The messages of raw clients, and those of clients that never ask over a WebSocket, are alone in their frames.
    fn gathers(&self, form: BodyForm) -> bool {
        Wire::of_form(form).is_some_and(|(wire, _)| wire.gathers())
    }
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
