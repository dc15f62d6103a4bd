//! `/rooms/{room}`: every message is published to the room, and reaches the sender, too.

use hub::RoomName;

use super::{Protocol, Refusal, Select, Transport, raw};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "room",
    select: Select::PathPrefix("/rooms/"),
    transport: Transport::WebSocket,
    open: |asked| {
        let room = RoomName::from_path_segment(asked.text).map_err(Refusal::Name)?;
        raw::enter(asked, room, None)
    },
};
