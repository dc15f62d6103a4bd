//! `/echo`: every message is sent back unchanged.

use codec::Message;
use runtime::{Outlet, Session};

use super::{Begun, Protocol, Select, Started, Transport, witnessed::Whose};

pub(super) const PROTOCOL: Protocol = Protocol {
    name: "echo",
    select: Select::Path("/echo"),
    transport: Transport::WebSocket,
    open: |asked| {
        Ok(Begun::Now(Started {
            whose: Whose::of(asked.live, None, &"".into(), None),
            ..Started::new(Echo)
        }))
    },
};

struct Echo;

impl Session for Echo {
    fn receive(&mut self, message: Message<'_>, outlet: &mut Outlet<'_>) {
        outlet.send(message.kind, message.payload);
    }
}
