//! `/rooms/{room}`: every message is published to the room, and reaches the sender, too. `/rooms/{room}/sse`: the
//! room's messages as a stream of server-sent events.

use hub::RoomName;

use super::{Asked, Protocol, Refusal, Select, Transport, raw};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "room",
    select: Select::PathPrefix("/rooms/"),
    transport: Transport::WebSocket,
    open: |asked| raw::enter(asked, name(asked)?, None),
};

pub(super) const EVENTS: Protocol = Protocol {
    name: "room-sse",
    select: Select::PathBetween("/rooms/", "/sse"),
    transport: Transport::Streams(&["GET"]),
    open: |asked| raw::listen(asked, name(asked)?),
};

fn name(asked: &Asked<'_>) -> Result<RoomName, Refusal> {
    RoomName::from_path_segment(asked.text).map_err(Refusal::Name)
}
