//! What commands from outside do to a connection: close, join, leave, say, or one of the application's
//! own. `reactor/command.rs` brings them here.

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use codec::{CloseCode, Kind};
use hub::{ConnectionId, RoomName};

use super::{Actor, LeftReason, SessionEvent, Stage};
use crate::end::EndReason;

/// What a connection is told to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Close, after what was sent so far, with this code and text.
    Close(CloseCode, &'static str),
    /// Ask for this room. The session is handed [`SessionEvent::Joining`] with the ticket, and the
    /// room's answer later.
    Join(RoomName),
    /// Leave this room. The session is handed [`SessionEvent::Left`].
    Leave(RoomName),
    /// Send this message to the peer.
    Say(Kind, Bytes),
    /// Hand the session a command of the application's own.
    Hand(Arc<dyn Any + Send + Sync>),
}

/// Whom a command is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// One connection ([`Outlet::id`](super::Outlet::id)).
    Connection(ConnectionId),
    /// All connections of a user ([`Outlet::identify`](super::Outlet::identify)).
    User(Arc<str>),
    /// All connections.
    Everyone,
}

impl Actor<'_> {
    /// Does what the connection is told to do, unless it is not open. What is for its session waits for that to
    /// open: it may be about what the session was let in by.
    pub(crate) fn obey(&mut self, command: Command) {
        if let (Stage::Joining(_), Command::Hand(command)) = (&self.connection.stage, &command) {
            if !self.connection.rare.keep_early(command.clone()) {
                self.close(EndReason::JoinRefused);
            }
            return;
        }
        if !matches!(self.connection.stage, Stage::Open { .. }) {
            return;
        }
        match command {
            Command::Close(code, text) => self.close(EndReason::SessionClosed(code, text)),
            Command::Join(name) => self.with_session(|session, outlet| {
                if let Ok(room) = outlet.join(name.clone()) {
                    session.handle(SessionEvent::Joining { room, name }, outlet);
                }
            }),
            Command::Leave(name) => {
                let tickets = self
                    .connection
                    .rooms
                    .in_room_named(&name, &self.parts.rooms);
                for ticket in tickets {
                    self.left(ticket, LeftReason::Commanded);
                }
            }
            Command::Say(kind, payload) => {
                self.with_session(|_, outlet| outlet.send(kind, &payload));
            }
            Command::Hand(command) => self.handle(SessionEvent::Command(command)),
        }
        self.close_if_behind();
    }

    /// Commands are not slowed down by a full queue, and neither is what a session sends because of them.
    /// So a connection whose queue exceeds its bound is closed here, like a slow subscriber.
    fn close_if_behind(&mut self) {
        let queued = self.connection.queued_bytes(&self.parts.rooms.shards);
        let is_behind = self.connection.out.queue.sending.is_behind();
        if is_behind && queued > self.parts.config.send_queue_bytes_max {
            self.close(EndReason::SendQueueFull);
        }
    }
}
