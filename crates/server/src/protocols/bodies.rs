//! What rooms tell, encoded once for each form and core: a push of the Centrifuge protocol, or what a raw client
//! gets. A form's number says whose it is.

use std::{borrow::Cow, sync::Arc};

use centrifuge::{Encoding, Publication, Push};
use codec::Kind;
use runtime::{BodyEncoder, BodyForm, Delivered, RoomEvent};

use super::{
    centrifuge::{Wire, data_of},
    epoch,
    raw::Form,
};
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
                keyed,
                payload,
            } => {
                let has_positions = self.0.now().has_positions(room);
                // Whoever subscribed before there was a first message learns the epoch with it.
                let epoch = match has_positions && offset == 1 {
                    true => epoch::text(epoch),
                    false => String::new(),
                };
                let is_removed = keyed.is_some_and(|keyed| keyed.is_removed);
                let publication = Publication {
                    meta,
                    data: &data_or_removal(wire.encoding(), kind, payload, is_removed),
                    offset: if has_positions { offset } else { 0 },
                    epoch: &epoch,
                    key: keyed.map_or("", |keyed| &keyed.key),
                    removed: is_removed,
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

/// A payload as subscribers of an encoding get it; nothing of a message that removes its key.
fn data_or_removal(
    encoding: Encoding,
    kind: Kind,
    payload: &[u8],
    is_removed: bool,
) -> Cow<'_, [u8]> {
    match is_removed {
        true => Cow::default(),
        false => data_of(encoding, kind, payload),
    }
}
