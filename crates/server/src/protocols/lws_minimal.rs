//! `lws-minimal` or `chat` on any other path: the one room of libwebsockets' minimal example.

use hub::RoomName;

use super::{Protocol, Select, Started, room::InRoom};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "lws-minimal",
    select: Select::Subprotocol(&["lws-minimal", "chat"]),
    open: |_| {
        Ok(Started {
            session: Box::new(InRoom),
            room: Some(RoomName::reserved("lws-minimal")),
        })
    },
};
