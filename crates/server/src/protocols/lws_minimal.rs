//! `lws-minimal` or `chat` on any other path: the one room of libwebsockets' minimal example.

use hub::RoomName;

use super::{Protocol, Select, Started, raw};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "lws-minimal",
    select: Select::Subprotocol(SUBPROTOCOLS),
    open: |asked| {
        let subprotocol = SUBPROTOCOLS.iter().find(|it| **it == asked.text).copied();
        let started = raw::enter(asked, RoomName::reserved("lws-minimal"))?;
        Ok(Started {
            subprotocol,
            ..started
        })
    },
};

const SUBPROTOCOLS: &[&str] = &["lws-minimal", "chat"];
