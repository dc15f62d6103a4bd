//! `lws-minimal` or `chat` on any other path: the one room of libwebsockets' minimal example.

use hub::RoomName;

use super::{Protocol, Select, Transport, raw};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "lws-minimal",
    select: Select::Subprotocol(SUBPROTOCOLS),
    transport: Transport::WebSocket,
    open: |asked| {
        let subprotocol = SUBPROTOCOLS.iter().find(|it| **it == asked.text).copied();
        raw::enter(asked, RoomName::reserved("lws-minimal"), subprotocol)
    },
};

const SUBPROTOCOLS: &[&str] = &["lws-minimal", "chat"];
