//! Messages with their places, and who comes and goes, for those who have entered a room.

use std::io::Write;

use codec::Kind;
use hub::{Epoch, Keyed, RoomName};
use runtime::{BodyEncoder, BodyForm, Delivered, RoomEvent};

/// The form of what those get who have entered a room.
pub(super) const NUMBERED: BodyForm = BodyForm(1);

/// The form of what those get who watch a room with a table.
pub(super) const TICKS: BodyForm = BodyForm(2);

/// Encodes these forms.
pub(super) struct Numbered;

impl BodyEncoder for Numbered {
    fn encode(
        &self,
        form: BodyForm,
        delivered: &Delivered<'_>,
        body: &mut Vec<u8>,
    ) -> Option<Kind> {
        let room = delivered.room;
        match delivered.event {
            RoomEvent::Message {
                epoch,
                offset,
                keyed: Some(keyed),
                payload,
                ..
            } if form == TICKS => tick(room, (epoch, offset), keyed, payload, body),
            RoomEvent::Message {
                epoch,
                offset,
                payload,
                ..
            } => {
                write!(body, "o {} {offset} ", epoch.0).ok()?;
                body.extend_from_slice(payload);
            }
            RoomEvent::Came(member) => writeln!(body, "came {room} {}", info(&member.info)).ok()?,
            RoomEvent::Went(member) => writeln!(body, "went {room} {}", info(&member.info)).ok()?,
        }
        Some(Kind::Text)
    }

    /// Each body is a line.
    fn gathers(&self, _: BodyForm) -> bool {
        true
    }
}

/// A value of a key, or that it is gone.
pub(super) fn tick(
    room: &RoomName,
    (epoch, offset): (Epoch, u64),
    Keyed { key, is_removed }: &Keyed,
    payload: &[u8],
    body: &mut Vec<u8>,
) {
    let head = format!("t {room} {} {offset} {key}", epoch.0);
    body.extend_from_slice(head.as_bytes());
    match is_removed {
        true => body.push(b'\n'),
        false => {
            body.push(b' ');
            body.extend_from_slice(payload);
        }
    }
}

/// What is told of a member.
pub(super) fn info(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}
