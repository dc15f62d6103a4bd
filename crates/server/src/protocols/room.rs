//! `/rooms/{room}`: every message is published to the room, and reaches the sender, too.

use codec::Message;
use hub::RoomName;
use runtime::{Outlet, Session};

use super::{Protocol, Select, Started};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "room",
    select: Select::PathPrefix("/rooms/"),
    open: |segment| {
        Ok(Started {
            session: Box::new(InRoom),
            room: Some(RoomName::from_path_segment(segment)?),
        })
    },
};

/// A member of one room.
pub(super) struct InRoom;

impl Session for InRoom {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        if let Some(room) = outlet.room() {
            outlet.publish(room, message.kind, message.payload);
        }
    }
}
