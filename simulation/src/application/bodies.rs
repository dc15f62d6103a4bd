//! Messages with their places, and who comes and goes, for those who have entered a room.

use std::io::Write;

use codec::Kind;
use runtime::{BodyEncoder, BodyForm, Delivered, RoomEvent};

/// The form of what those get who have entered a room.
pub(super) const NUMBERED: BodyForm = BodyForm(1);

/// Encodes that form.
pub(super) struct Numbered;

impl BodyEncoder for Numbered {
    fn encode(&self, _: BodyForm, delivered: &Delivered<'_>, body: &mut Vec<u8>) -> Option<Kind> {
        let room = delivered.room;
        match delivered.event {
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

/// What is told of a member.
pub(super) fn info(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}
